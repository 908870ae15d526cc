"""postgresql_backup against real servers and a real repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql

from plugins.module_utils._core.backup import Source
from tests.support.backups import HOST, MODULE, PRODUCT, backup_options, manifest_of, restore_by_hand, untar
from tests.support.every_object import EVERY_OBJECT, HOSTILE_NAMES
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.servers import Database, Roles, Server, random_name
from tests.support.standby import standby_of


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def options(database: Database, repository: TestRepository, tmp_path: Path) -> dict[str, Any]:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    database.execute("INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 1000) i")
    return backup_options(database, repository, tmp_path / "staging")


@pytest.fixture
def another(server: Server) -> Iterator[Database]:
    """A second database, with a name that breaks what is not quoted."""
    fresh = Database.create(server, 'it\'s a "name"\n= 表 %s ' + random_name("x"))
    fresh.execute("CREATE TABLE t AS SELECT 1 AS x")
    yield fresh
    fresh.drop()


def ids(repository: TestRepository) -> list[str]:
    return [one.id for one in repository.restic.snapshots()]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"jobs": 0}, "invalid_value"),
        ({"max_duration": "soon"}, "invalid_value"),
        ({"staging_dir": "/nowhere"}, "invalid_value"),
        ({"databases": ["none_of_them"]}, "database_missing"),
        ({"client_bin_dirs": ["/nowhere"]}, "command_missing"),
        ({"repository_password": "another"}, "wrong_key"),
        ({"repository": "/nowhere", "repository_create": False}, "repository_missing"),
        ({"restic_path": "/nowhere/restic"}, "command_missing"),
        ({"login_user": "nobody_at_all"}, "authentication_failed"),
        ({"mode": "sometimes"}, "invalid_arguments"),
    ],
)
def test_bad_input_says_so(
    options: dict[str, Any], repository: TestRepository, wrong: dict[str, Any], code: str
) -> None:
    assert run_failed(MODULE, {**options, **wrong})["failure"]["code"] == code
    assert ids(repository) == []


def test_a_database_that_nobody_chose_is_named(options: dict[str, Any], database: Database) -> None:
    others = [name for (name,) in database.fetch("SELECT datname FROM pg_database") if name != database.name]
    billing = Database.create(database.server)
    try:
        (found,) = unchosen(run_ok(MODULE, {**options, "databases_without_copy": others}, check=True))
        assert found["status"] == "warning" and found["msg"].endswith(billing.name), found
        (found,) = unchosen(run_ok(MODULE, {**options, "databases_without_copy": [*others, billing.name]}))
        assert found["status"] == "ok", found
    finally:
        billing.drop()


def unchosen(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in result["findings"] if finding["check"] == "databases_without_copy"]


@pytest.mark.parametrize("mode", ["directory", "stream"])
def test_check_then_run(
    options: dict[str, Any], repository: TestRepository, database: Database, tmp_path: Path, mode: str
) -> None:
    options |= {"mode": mode, "application_version": "2.1", "migration_head_query": "SELECT max(id) FROM public.item"}
    checked = run_ok(MODULE, options, check=True)
    assert checked["changed"] and [one["form"] for one in checked["copies"]] == [mode]
    assert ids(repository) == []
    assert database.fetch("SELECT to_regclass('oncall_runbooks.backup_sentinel')") == [(None,)]

    done = run_ok(MODULE, options)
    assert done["plan"] == checked["plan"] and done["changed"]
    assert [(step["id"].split(":")[0], step["status"]) for step in done["steps"]] == [
        ("sentinel", "done"),
        ("backup", "done"),
    ]
    (copy,) = done["copies"]
    assert (copy["form"], copy["tables"], copy["rows"]) == (mode, 2, 1001)
    assert copy["size_bytes"] > 10_000 and copy["added_bytes"] > 1000
    (known,) = repository.catalog().of(Source(PRODUCT, HOST, "postgresql", database.name))
    assert (known.id, known.form) == (copy["snapshot"], mode)
    facts = manifest_of(repository, copy)
    assert (facts["application_version"], facts["migration_head"]) == ("2.1", "1000")
    assert facts["globals"] == "complete" and facts["tools"]["pg_dump"].startswith("18")
    assert facts["sentinel"]["written_at"] < facts["taken_at"]
    assert {(table["name"], table["rows"]) for table in facts["tables"]} == {("item", 1000), ("backup_sentinel", 1)}
    assert list((tmp_path / "staging").iterdir()) == []

    copied = Database.create(database.server)
    try:
        restore_by_hand(repository, copy, copied, tmp_path / "by_hand")
        assert copied.fetch("SELECT count(*), min(name) FROM item") == [(1000, "item 1")]
        found = copied.fetch("SELECT id FROM oncall_runbooks.backup_sentinel")
        assert found == [(facts["sentinel"]["id"],)]
    finally:
        copied.drop()


def test_a_second_copy_adds_little(options: dict[str, Any], repository: TestRepository, database: Database) -> None:
    database.execute("CREATE TABLE noise AS SELECT i, md5(i::text) AS x FROM generate_series(1, 50000) i")
    (first,) = run_ok(MODULE, options)["copies"]
    (second,) = run_ok(MODULE, options)["copies"]
    assert second["snapshot"] != first["snapshot"]
    assert second["added_bytes"] < first["added_bytes"] / 5
    assert second["rows"] == first["rows"] + 1
    assert len(ids(repository)) == 2


def test_globals_hold_the_roles(options: dict[str, Any], repository: TestRepository, role: Roles) -> None:
    name = role(password="hidden")
    (copy,) = run_ok(MODULE, {**options, "mode": "stream"})["copies"]
    text = untar(repository, copy, "globals.sql").decode()
    assert f"CREATE ROLE {name}" in text and "PASSWORD '" in text
    (copy,) = run_ok(MODULE, {**options, "globals": "none"})["copies"]
    assert manifest_of(repository, copy)["globals"] == "left out: not wanted"


def test_a_managed_server_gives_what_its_role_may(
    options: dict[str, Any], repository: TestRepository, database: Database, role: Roles
) -> None:
    """No superuser: no passwords, no sentinel, and everything else."""
    reader = role()
    database.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{reader}"')
    database.execute(f"ALTER DATABASE {database.name} SET work_mem TO '9MB'")
    result = run_ok(MODULE, {**options, "login_user": reader, "databases_without_copy": ["*"]})
    warned = {one["check"] for one in result["findings"] if one["status"] == "warning"}
    assert warned == {"sentinel", "globals"}
    (copy,) = result["copies"]
    facts = manifest_of(repository, copy)
    assert facts["sentinel"] is None and copy["sentinel"] is None
    assert facts["globals"] == "without passwords"
    assert facts["belongings"]["settings"] == [{"role": "", "name": "work_mem", "value": "9MB"}]
    assert "PASSWORD '" not in repository.restic.read_file(copy["snapshot"], "/globals.sql")
    failed = run_failed(MODULE, {**options, "login_user": reader, "globals": "required"})
    assert failed["failure"]["code"] == "insufficient_privilege"


def test_several_databases_fail_one_by_one(
    options: dict[str, Any], repository: TestRepository, database: Database, another: Database, role: Roles
) -> None:
    reader = role()
    database.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{reader}"')
    options |= {"databases": [another.name, database.name], "login_user": reader}
    checked = run_ok(MODULE, options, check=True)
    assert [one["status"] for one in checked["copies"]] == ["failed", "planned"]
    assert "critical" in {one["status"] for one in checked["findings"]}
    failed = run_failed(MODULE, options)
    assert failed["failure"]["code"] == "insufficient_privilege"
    assert [step["status"] for step in failed["steps"]] == ["failed", "skipped", "done"]
    assert [one["code"] for one in failed["copies"]] == ["insufficient_privilege", ""]
    assert failed["plan"] == checked["plan"] and failed["changed"]
    assert ids(repository) == [failed["copies"][1]["snapshot"]]


@pytest.mark.parametrize("mode", ["directory", "stream"])
def test_names_and_objects_that_break_what_is_not_quoted(
    options: dict[str, Any], repository: TestRepository, another: Database, role: Roles, tmp_path: Path, mode: str
) -> None:
    another.execute(EVERY_OBJECT.replace("{role}", role()))
    connection = another.connect()
    for name in HOSTILE_NAMES:
        table = sql.SQL("CREATE TABLE app.{0} AS SELECT i AS {0} FROM generate_series(1, 5) i")
        connection.cursor().execute(table.format(sql.Identifier(name)).as_string(connection))
    connection.close()
    options |= {"databases": [another.name], "login_db": another.name, "mode": mode}
    (copy,) = run_ok(MODULE, options)["copies"]
    facts = manifest_of(repository, copy)
    assert facts["database"] == another.name and facts["globals"] == "complete"
    assert set(HOSTILE_NAMES) <= {table["name"] for table in facts["tables"]}
    (known,) = repository.catalog().copies
    assert known.source.name == another.name
    copied = Database.create(another.server)
    try:
        restore_by_hand(repository, copy, copied, tmp_path / "by_hand")
        assert copied.fetch("SELECT count(*) FROM app.person") == [(50,)]
    finally:
        copied.drop()


def test_what_is_true_of_other_sessions_meanwhile_is_not_in_it(
    options: dict[str, Any], repository: TestRepository, database: Database
) -> None:
    """A writer that is at work all the time: the facts are those of the dumped moment."""
    database.execute("CREATE TABLE busy AS SELECT 0 AS x")
    writer = database.connect(autocommit=False)
    writer.cursor().execute("INSERT INTO busy SELECT generate_series(1, 100)")
    (copy,) = run_ok(MODULE, options)["copies"]
    writer.commit()
    writer.close()
    facts = {table["name"]: table["rows"] for table in manifest_of(repository, copy)["tables"]}
    assert facts["busy"] == 1


def test_room_decides(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, repository: TestRepository) -> None:
    real = shutil.disk_usage

    def little(path: Any) -> Any:
        usage = real(path)
        return usage._replace(free=1 << 20) if "staging" in str(path) else usage

    monkeypatch.setattr(shutil, "disk_usage", little)
    failed = run_failed(MODULE, {**options, "mode": "directory"})
    assert failed["failure"]["code"] == "not_enough_space"
    assert failed["failure"]["details"]["free_bytes"] == 1 << 20 and "64" in failed["msg"] and "1.0 MB" in failed["msg"]
    result = run_ok(MODULE, options)
    assert [one["form"] for one in result["copies"]] == ["stream"]
    assert "staging_space" in {one["check"] for one in result["findings"] if one["status"] == "warning"}
    assert len(ids(repository)) == 1


def test_the_repository_is_made_when_there_is_none(
    options: dict[str, Any], tmp_path: Path, repository: TestRepository
) -> None:
    options |= {"repository": str(tmp_path / "new")}
    checked = run_ok(MODULE, options, check=True)
    assert not (tmp_path / "new").exists()
    done = run_ok(MODULE, options)
    assert [step["id"].split(":")[0] for step in done["steps"]] == ["repository", "sentinel", "backup"]
    assert done["plan"] == checked["plan"]


@pytest.mark.parametrize("mode", ["directory", "stream"])
def test_a_repository_that_cannot_be_made_ends_the_run(
    options: dict[str, Any], another: Database, database: Database, mode: str, tmp_path: Path
) -> None:
    """It is made while the first database is dumped; no other one is begun without it."""
    names, place = [database.name, another.name], tmp_path / "blocked"
    place.mkdir()
    (place / "snapshots").write_text("where restic wants a folder")
    failed = run_failed(MODULE, {**options, "repository": str(place), "databases": names, "mode": mode})
    by_id = {step["id"]: step["status"] for step in failed["steps"]}
    assert by_id["repository:create"] == "failed" and failed["failure"]["code"] != "failed"
    assert (by_id[f"backup:{names[0]}"], by_id[f"backup:{names[1]}"]) == ("failed", "skipped")
    assert all(copy["snapshot"] is None for copy in failed["copies"])


def test_a_standby_gives_copies_too(
    database: Database, repository: TestRepository, tmp_path: Path, throwaway_server: Callable[..., Server]
) -> None:
    primary = throwaway_server()
    source = Database.create(primary)
    source.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS x; CREATE UNLOGGED TABLE u AS SELECT 1 AS x")
    standby = Database(standby_of(primary, throwaway_server), source.name)
    for mode in ("directory", "stream"):
        result = run_ok(MODULE, backup_options(standby, repository, tmp_path / "staging", mode=mode))
        (copy,) = result["copies"]
        facts = manifest_of(repository, copy)
        assert (facts["server"]["in_recovery"], facts["sentinel"], copy["rows"]) == (True, None, 10)
        assert "standby" in {one["check"] for one in result["findings"]}


def test_a_question_for_the_head_that_fails_is_a_finding(options: dict[str, Any], database: Database) -> None:
    for query in ("SELECT nothing FROM nowhere", "SELECT 1 WHERE false", "DELETE FROM public.item RETURNING 1"):
        result = run_ok(MODULE, {**options, "migration_head_query": query})
        assert "migration_head" in {one["check"] for one in result["findings"] if one["status"] == "warning"}
    assert database.fetch("SELECT count(*) FROM item") == [(1000,)]


def test_sentinels_do_not_pile_up(options: dict[str, Any], database: Database) -> None:
    for _unused in range(3):
        run_ok(MODULE, {**options, "sentinel_keep": 2, "globals": "none"})
    assert database.fetch("SELECT count(*) FROM oncall_runbooks.backup_sentinel") == [(2,)]
