"""Faults while a database is copied: an error with a code, no snapshot that looks good, nothing lost, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Source
from plugins.module_utils._io.process import follow
from tests.support.backup_faults import (
    ModuleProcess,
    broken_pg_dump,
    children,
    gone,
    meanwhile,
    pg_dump_that_stops,
    script,
    small_disk,
    snapshot_files,
)
from tests.support.backups import HOST, MODULE, PRODUCT, backup_options
from tests.support.copies import add_copy
from tests.support.every_object import EVERY_OBJECT
from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.restic_lock import until_locked
from tests.support.servers import Database, Roles, Server, client_bin_dir, random_name
from tests.support.sessions import eventually
from tests.support.verify import options as verify_options
from tests.support.verify import verdict_of

NO_COPY = "fails with a code; no snapshot, the copy before untouched, nothing left in the staging folder"
MODES = ("directory", "stream")


@dataclass
class Scene:
    """A database, a repository with an earlier copy of it, and what the faults must not touch."""

    database: Database
    repository: TestRepository
    staging: Path
    temp: Path
    before: dict[str, bytes]

    def options(self, **more: Any) -> dict[str, Any]:
        options = backup_options(self.database, self.repository, self.staging, **{"sentinel": False, **more})
        return {name: value for name, value in options.items() if value is not None}

    def fails(self, code: str, **more: Any) -> dict[str, Any]:
        """Run the module, which must fail with this code and leave everything as it was."""
        result = run_failed(MODULE, self.options(**more))
        assert result["failure"]["code"] == code, result
        assert not result["changed"]
        self.untouched()
        return result

    def untouched(self) -> None:
        assert snapshot_files(self.repository) == self.before
        assert list(self.staging.iterdir()) == []
        # without a lock: that of a killed restic counts until init has buried it
        follow(self.repository.restic.program("check", "--no-lock"), timeout=60)

    def goes_on(self) -> None:
        """The next run succeeds, adds its one copy, and clears what a dead one left."""
        (copy,) = run_ok(MODULE, self.options())["copies"]
        now = snapshot_files(self.repository)
        assert now.keys() - self.before.keys() == {copy["snapshot"]}
        assert list(self.staging.iterdir()) == []


@pytest.fixture
def scene(database: Database, tmp_path: Path) -> Scene:
    database.execute("CREATE TABLE item AS SELECT i, md5(i::text) AS x FROM generate_series(1, 60000) i")
    return make_scene(database, tmp_path)


def make_scene(database: Database, tmp_path: Path) -> Scene:
    repository = make_repository(tmp_path)
    taken = datetime.now(timezone.utc) - timedelta(hours=1)
    add_copy(repository, taken, Source(PRODUCT, HOST, "postgresql", database.name))
    staging = tmp_path / "staging"
    staging.mkdir()
    return Scene(database, repository, staging, tmp_path, snapshot_files(repository))


# --- disks ------------------------------------------------------------------------------------------------------


@fault("disk_full_staging", "backup: staging", NO_COPY)
def test_the_staging_disk_fills_up(scene: Scene) -> None:
    """What is stored compressed grows in a dump beyond every estimate."""
    scene.database.execute("CREATE TABLE big AS SELECT repeat('x', 1000000) AS x FROM generate_series(1, 150)")
    with small_disk(scene.temp / "disk", 90) as disk:
        scene.staging = disk / "staging"
        scene.fails("disk_full", mode="directory")


@fault("file_limit_staging", "backup: staging", NO_COPY)
def test_a_file_gets_larger_than_it_may(scene: Scene) -> None:
    clients = broken_pg_dump(scene.temp, "trap '' XFSZ; ulimit -f 1000", 'exec "$REAL" "$@"')
    scene.fails("disk_full", mode="directory", client_bin_dirs=clients)


@fault(
    "no_room_staging", "backup: before", "fails before anything is written, and says what it needs and what there is"
)
def test_the_dump_would_not_fit(scene: Scene) -> None:
    with small_disk(scene.temp / "disk", 8) as disk:
        scene.staging = disk / "staging"
        details = scene.fails("not_enough_space", mode="directory")["failure"]["details"]
        assert details["free_bytes"] < details["needed_bytes"]


@fault("disk_full_repository", "backup: repository", NO_COPY)
@pytest.mark.parametrize("mode", MODES)
def test_the_repository_disk_fills_up(database: Database, tmp_path: Path, mode: str) -> None:
    noise = "SELECT i, md5(i::text) || md5((-i)::text) AS x FROM generate_series(1, 900000) i"
    database.execute(f"CREATE TABLE noise AS {noise}")
    with small_disk(tmp_path / "disk", 16) as disk:
        scene = make_scene(database, disk)
        scene.staging = tmp_path / "staging"
        scene.fails("disk_full", mode=mode)


# --- something is killed ----------------------------------------------------------------------------------------


@fault("kill_pg_dump", "backup: dump", NO_COPY)
@pytest.mark.parametrize("mode", MODES)
def test_pg_dump_is_killed(scene: Scene, mode: str) -> None:
    stop, clients = pg_dump_that_stops(scene.temp, mode)
    with meanwhile(lambda: os.killpg(stop.pid, signal.SIGKILL)):
        scene.fails("killed", mode=mode, client_bin_dirs=clients)
    stop.let_go()
    scene.goes_on()


@fault("kill_restic_stream", "backup: repository", NO_COPY)
def test_restic_is_killed_in_a_stream(scene: Scene) -> None:
    stop, clients = pg_dump_that_stops(scene.temp, "stream")

    def kill() -> None:
        assert stop.pid
        (restic,) = children("restic")
        os.kill(restic, signal.SIGKILL)
        stop.let_go()

    with meanwhile(kill):
        scene.fails("restic_failed", mode="stream", client_bin_dirs=clients)
    scene.goes_on()


@fault("kill_restic_directory", "backup: repository", NO_COPY)
def test_restic_is_killed_over_a_folder(scene: Scene) -> None:
    """As soon as it has locked the repository; at 1 KiB each second it would be at work for long."""
    real = shutil.which("restic")
    restic = script(
        scene.temp / "broken" / "restic",
        f'if [ "$1" != backup ]; then exec {real} "$@"; fi',
        f'{real} --limit-upload 1 "$@" & {until_locked(scene.repository.location)}; kill -9 $!; kill -9 $$',
    )
    scene.fails("restic_failed", mode="directory", restic_path=str(restic))
    scene.goes_on()


@fault("kill_module", "backup: dump", "no snapshot; the next run clears what was left and succeeds")
@pytest.mark.parametrize("mode", MODES)
def test_the_module_is_killed(scene: Scene, mode: str) -> None:
    stop, clients = pg_dump_that_stops(scene.temp, mode)
    run = ModuleProcess.start(scene.options(mode=mode, client_bin_dirs=clients), scene.temp / "tmp")
    pg_dump = stop.pid
    run.kill()
    assert run.result() == {}
    eventually(lambda: gone(pg_dump), "pg_dump to end with the module")
    stop.let_go()
    assert snapshot_files(scene.repository) == scene.before
    left = [*scene.staging.iterdir(), *(scene.temp / "tmp").iterdir()]
    assert left and all(path.name.startswith("oncall-") and path.stat().st_mode & 0o777 == 0o700 for path in left)
    scene.goes_on()
    scene.before = snapshot_files(scene.repository)
    again = ModuleProcess.start(scene.options(), scene.temp / "tmp")
    assert again.result()["changed"]
    assert list((scene.temp / "tmp").iterdir()) == []


@fault("terminate_module", "backup: dump", NO_COPY)
@pytest.mark.parametrize("mode", MODES)
def test_the_module_is_asked_to_end(scene: Scene, mode: str) -> None:
    stop, clients = pg_dump_that_stops(scene.temp, mode)
    run = ModuleProcess.start(scene.options(mode=mode, client_bin_dirs=clients), scene.temp / "tmp")
    pg_dump = stop.pid
    run.kill(signal.SIGTERM)
    result = run.result()
    assert (result["failed"], result["failure"]["code"], result["changed"]) == (True, "stopped", False)
    assert [step["status"] for step in result["steps"]] == ["failed"]
    eventually(lambda: gone(pg_dump), "pg_dump to end with the module")
    assert list((scene.temp / "tmp").iterdir()) == []
    scene.untouched()


@fault("pg_dump_hangs", "backup: dump", NO_COPY)
@pytest.mark.parametrize("mode", MODES)
def test_pg_dump_does_not_end(scene: Scene, mode: str) -> None:
    _stop, clients = pg_dump_that_stops(scene.temp, mode)
    scene.fails("timed_out", mode=mode, client_bin_dirs=clients, max_duration="3s")


@fault("pg_dump_lies", "backup: dump", "a dump that lacks a table's file is not believed, whatever its exit status")
@pytest.mark.parametrize("lost", ["toc.dat", "[0-9]*.dat"])
def test_pg_dump_ends_well_without_everything(scene: Scene, lost: str) -> None:
    remove = f'for argument; do case $argument in --file=*) rm "${{argument#--file=}}"/{lost};; esac; done'
    clients = broken_pg_dump(scene.temp, '"$REAL" "$@" || exit', remove)
    scene.fails("incomplete", mode="directory", client_bin_dirs=clients)


# --- the server -------------------------------------------------------------------------------------------------


@fault("connection_lost_stream", "backup: dump", NO_COPY)
def test_the_connection_is_lost_in_the_middle_of_a_table(scene: Scene) -> None:
    scene.database.execute("CREATE TABLE long AS SELECT i, md5(i::text) AS x FROM generate_series(1, 600000) i")
    stop, clients = pg_dump_that_stops(scene.temp, "stream")
    dumping = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query ILIKE 'COPY %%'"

    def cut() -> None:
        assert stop.pid
        assert scene.database.fetch(dumping, scene.database.name) == [(True,)]
        stop.let_go()

    with meanwhile(cut):
        scene.fails("server_gone", mode="stream", client_bin_dirs=clients)


@fault("connection_lost_directory", "backup: dump", NO_COPY)
def test_the_connection_is_lost_while_tables_are_locked(scene: Scene) -> None:
    """The facts are read; pg_dump waits for its locks."""
    scene.database.execute("CREATE TABLE parent (x int) PARTITION BY LIST (x)")
    holder = scene.database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE ONLY parent IN ACCESS EXCLUSIVE MODE")
    waiting = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def cut() -> None:
        eventually(lambda: scene.database.fetch(f"SELECT pid {waiting}"), "pg_dump to wait for a lock")
        assert scene.database.fetch(f"SELECT pg_terminate_backend(pid) {waiting}")

    with meanwhile(cut):
        scene.fails("server_gone", mode="directory", lock_timeout="60s")
    holder.close()


@fault("table_locked", "backup: dump", NO_COPY)
def test_a_table_is_locked_all_the_time(scene: Scene) -> None:
    holder = scene.database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    scene.fails("lock_timeout", lock_timeout="300ms")
    holder.close()


@fault("server_down", "backup: before", NO_COPY)
def test_nobody_answers(scene: Scene) -> None:
    scene.fails("connection_failed", login_port=1)


@fault("two_backups", "backup: before", "the second one says who is at work and does nothing; the first one succeeds")
def test_two_backups_at_once(scene: Scene) -> None:
    stop, clients = pg_dump_that_stops(scene.temp, "directory")
    first = ModuleProcess.start(scene.options(client_bin_dirs=clients), scene.temp / "tmp")
    assert stop.pid
    second = run_failed(MODULE, scene.options())
    assert (second["failure"]["code"], second["changed"]) == ("lock_busy", False)
    assert "postgresql_backup" in second["msg"]
    stop.let_go()
    assert [one["status"] for one in first.result()["copies"]] == ["done"]
    assert len(snapshot_files(scene.repository)) == len(scene.before) + 1


@fault("old_client", "backup: before", NO_COPY)
def test_pg_dump_is_older_than_the_server(scene: Scene) -> None:
    old = script(scene.temp / "old" / "pg_dump", "echo 'pg_dump (PostgreSQL) 12.1'")
    failed = scene.fails("client_too_old", client_bin_dirs=[str(old.parent)])
    assert "12.1" in failed["msg"]


@fault("no_select_on_a_table", "backup: before", "names everything that may not be read; nothing is dumped")
def test_a_table_may_not_be_read(scene: Scene, role: Roles) -> None:
    reader = role()
    scene.database.execute(f'CREATE TABLE "se cret" (x int); GRANT SELECT ON item TO "{reader}"')
    assert '"se cret"' in scene.fails("insufficient_privilege", login_user=reader)["msg"]


@fault("row_policy", "backup: before", "a table whose policy hides rows is never dumped in part")
def test_a_policy_hides_rows(scene: Scene, role: Roles) -> None:
    reader = role()
    scene.database.execute(f'GRANT SELECT ON item TO "{reader}"; ALTER TABLE item ENABLE ROW LEVEL SECURITY')
    scene.database.execute("CREATE POLICY few ON item USING (i < 10)")
    assert "row policy" in scene.fails("insufficient_privilege", login_user=reader)["msg"]


# --- the repository and the clock -------------------------------------------------------------------------------


@fault("wrong_repository_password", "backup: before", NO_COPY)
def test_the_password_is_wrong(scene: Scene) -> None:
    assert "not-this-one" not in str(scene.fails("wrong_key", repository_password="not-this-one"))


@fault("missing_key_file", "backup: before", NO_COPY)
def test_the_key_file_is_missing(scene: Scene) -> None:
    scene.fails("wrong_key", repository_password=None, repository_password_file=str(scene.temp / "none"))


@fault("facts_changed_in_repository", "backup: proof", "the snapshot is taken away again, and the module fails")
@pytest.mark.parametrize("mode", MODES)
def test_the_repository_gives_back_something_else(scene: Scene, mode: str) -> None:
    real = shutil.which("restic")
    lie = f'if [ "$1" = dump ]; then {real} "$@" | sed s/shop/shod/g; else exec {real} "$@"; fi'
    restic = script(scene.temp / "lying" / "restic", lie)
    scene.fails("verification_failed", mode=mode, restic_path=str(restic))


@fault("clock_set_back", "backup: proof", "the copy is made, and a finding says that it will not count as the newest")
def test_the_clock_was_set_back(scene: Scene) -> None:
    ahead = datetime.now(timezone.utc) + timedelta(days=1)
    add_copy(scene.repository, ahead, Source(PRODUCT, HOST, "postgresql", scene.database.name))
    result = run_ok(MODULE, scene.options())
    (skew,) = [one for one in result["findings"] if one["check"] == "clock_skew"]
    assert skew["status"] == "warning" and skew["value"] > 80_000


@pytest.fixture
def hostile(server: Server) -> Iterator[Database]:
    names = ("dbname=postgres host=/nowhere", "two\nlines '\"", "é" * 31)
    databases = [Database.create(server, name[: 31 - 8] + random_name("")[-8:]) for name in names]
    for one in databases:
        one.execute("CREATE TABLE item AS SELECT 1 AS x")
    yield databases[0]
    for one in databases:
        one.drop()


@fault("hostile_names", "backup: dump", "every name is copied as it is; none is taken for a connection string")
def test_names_that_break_what_is_not_quoted(hostile: Database, tmp_path: Path) -> None:
    scene = make_scene(hostile, tmp_path)
    names = [
        name
        for (name,) in hostile.fetch("SELECT datname FROM pg_database WHERE datname ~ '[^a-z0-9_]'")
        if not name.startswith("it's")
    ]
    copies = run_ok(MODULE, scene.options(databases=sorted(names)))["copies"]
    assert [one["database"] for one in copies] == sorted(names) and len(names) == 3
    assert {copy.source.name for copy in scene.repository.catalog().copies} == set(names)


@fault("every_object_kind", "backup: proof", "what was written down of each kind of object is what a restore shows")
@pytest.mark.parametrize("mode", MODES)
def test_every_object_is_proven_by_a_restore(database: Database, role: Roles, tmp_path: Path, mode: str) -> None:
    database.execute(EVERY_OBJECT.replace("{role}", role()))
    scene = make_scene(database, tmp_path)
    (copy,) = run_ok(MODULE, scene.options(mode=mode, sentinel=True))["copies"]
    tools = [str(client_bin_dir(18))]  # the dump is of this one
    verified = run_ok("postgresql_backup_verify", verify_options(scene.repository, database, client_bin_dirs=tools))
    assert {one["check"]: one["msg"] for one in verified["findings"] if one["status"] not in ("ok", "warning")} == {}
    assert verdict_of(scene.repository, copy["snapshot"]) == "proven"


@fault(
    "damaged_snapshot_backup", "backup: repository", "the copy is made and proven all the same; the list names the one"
)
def test_another_snapshot_is_damaged(database: Database, tmp_path: Path) -> None:
    scene = make_scene(database, tmp_path)
    (earlier,) = scene.before
    elsewhere = scene.repository.damage_snapshot(Path(earlier).name)
    for mode in MODES:
        (copy,) = run_ok(MODULE, scene.options(mode=mode, **elsewhere))["copies"]
        assert copy["status"] == "done"
        asked = {**verify_options(scene.repository, database, client_bin_dirs=[str(client_bin_dir(18))]), **elsewhere}
        verified = run_ok("postgresql_backup_verify", asked)
        assert (verified["copy"]["id"], verified["verdict"], verified["status"]) == (copy["snapshot"], "ok", "critical")
