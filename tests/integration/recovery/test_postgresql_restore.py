"""postgresql_restore against real servers, a real repository and real copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql

from tests.support.backups import backup_options
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import make_repository
from tests.support.restores import MODULE, ROWS, Shop
from tests.support.servers import Database, Roles, Server, administer, random_name
from tests.support.tablespaces import tablespace


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(database, make_repository(tmp_path), tmp_path)
    made.fill()
    yield made
    made.remove()


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def actions(result: dict[str, Any]) -> list[str]:
    return [action["action"] for action in result["plan"]]


@pytest.mark.parametrize("form", ["directory", "stream"])
def test_check_run_again_undo_again(shop: Shop, form: str) -> None:
    copy = shop.copy(form=form)
    shop.spoil()
    before = shop.family()
    checked = shop.check()
    assert shop.family() == before and checked["changed"]
    assert actions(checked) == ["fetch", "create", "load", "analyze", "verify", "swap"]
    assert checked["loss"]["measured"] and checked["loss"]["rows"] == 0
    differences = {table["name"]: table["difference"] for table in checked["loss"]["tables"]}
    assert differences == {"orders": -93, "customers": -50}
    assert "orders -93" in checked["plan"][-1]["reason"]

    done = shop.restore()
    assert done["plan"] == checked["plan"] and done["changed"]
    assert done["before"] == checked["before"] and done["after"] == checked["after"]
    assert {step["status"] for step in done["steps"]} == {"done"}
    assert shop.orders() == ROWS and shop.database.fetch("SELECT count(*) FROM customers") == [(50,)]
    assert shop.family() == {shop.name: shop.family()[shop.name], done["kept"]: before[shop.name]}
    assert done["copy"]["id"] == copy and done["kept"] == f"{shop.name}_kept_1"
    assert statuses(done)["rows"] == statuses(done)["checksums"] == statuses(done)["schema"] == "ok"
    assert 0 < done["outage_seconds"] < done["rto_seconds"] and 0 < done["rpo_seconds"] < 600
    assert shop.leftovers() == []
    assert shop.database.fetch("SELECT count(*) FROM pg_statistic WHERE starelid = 'orders'::regclass") != [(0,)]

    again = shop.restore()
    assert not again["changed"] and again["plan"] == [] and "force" in again["msg"]
    assert again["before"] == again["after"] == done["after"]

    checked = run_ok(MODULE, {**shop.about, "state": "undone"}, check=True)
    undone = shop.undo()
    assert undone["plan"] == checked["plan"] and undone["changed"] and undone["after"] == checked["after"]
    assert shop.family()[shop.name] == before[shop.name] and shop.orders() == 207
    assert undone["kept"] in shop.family() and undone["outage_seconds"] < 10
    assert shop.comment() == (None, None)

    again = shop.undo()
    assert not again["changed"] and again["plan"] == []
    assert shop.orders() == 207


def test_a_copy_by_the_backup_module_comes_back(shop: Shop, tmp_path: Path) -> None:
    run_ok("postgresql_backup", backup_options(shop.database, shop.repository, tmp_path / "staging"))
    shop.spoil()
    done = shop.restore()
    assert shop.orders() == ROWS
    assert statuses(done)["sentinel"] == "ok" and done["loss"]["newest_sentinel"]


def test_the_newest_copy_before_a_time_is_taken(shop: Shop) -> None:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    ids = []
    for hours in (3, 2, 1):
        shop.database.execute("INSERT INTO orders (what) VALUES ('one more')")
        ids.append(shop.copy(taken_at=(now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")))
    at = (now - timedelta(hours=1, minutes=30)).strftime("%Y%m%d-%H%M%S")
    done = shop.restore(at=at)
    assert done["copy"]["id"] == ids[1] and shop.orders() == ROWS + 2
    assert done["loss"]["rows"] == 1
    older = shop.restore(snapshot=ids[0][:10])
    assert shop.orders() == ROWS + 1 and older["kept"] == f"{shop.name}_kept_2"
    assert shop.undo()["changed"] and shop.orders() == ROWS + 2
    assert not shop.undo()["changed"] and shop.orders() == ROWS + 2
    assert shop.undo(force=True)["changed"] and shop.orders() == ROWS + 3
    failed = run_failed(MODULE, {**shop.about, "state": "undone", "force": True})
    assert failed["failure"]["code"] == "no_kept_database"


def test_a_newer_copy_that_cannot_be_read_is_told(shop: Shop) -> None:
    older = shop.copy()
    shop.database.execute("INSERT INTO orders (what) VALUES ('one more')")
    elsewhere = shop.repository.damage_snapshot(shop.copy())
    for result in (shop.check(**elsewhere), shop.restore(**elsewhere)):
        told = {one["check"]: (one["status"], one["value"]) for one in result["findings"]}
        assert told["snapshots_unreadable"] == ("warning", 1) and result["copy"]["id"] == older
    assert shop.orders() == ROWS
    failed = shop.refused(**elsewhere, at="20010101-000000", force=True)
    assert failed["failure"]["code"] == "no_copy_old_enough" and "1 snapshot cannot be read" in failed["msg"]


def test_only_aside_then_swapped_without_another_load(shop: Shop) -> None:
    shop.copy()
    shop.spoil()
    aside = shop.restore(swap=False, confirm=None)
    assert actions(aside) == ["fetch", "create", "load", "analyze", "verify"] and aside["kept"] == ""
    assert shop.orders() == 207
    assert Database(shop.database.server, aside["aside"]).fetch("SELECT count(*) FROM orders") == [(ROWS,)]
    again = shop.restore(swap=False, confirm=None)
    assert not again["changed"] and again["aside"] == aside["aside"]
    swapped = shop.restore()
    assert actions(swapped) == ["verify", "swap"] and shop.orders() == ROWS
    assert aside["aside"] not in shop.family()


def test_what_somebody_changed_aside_is_not_swapped_in(shop: Shop) -> None:
    shop.copy()
    aside = shop.restore(swap=False)
    Database(shop.database.server, aside["aside"]).execute("DELETE FROM orders WHERE id = 7")
    before = shop.family()
    failed = shop.refused()
    assert failed["failure"]["code"] == "verification_failed" and "orders" in failed["msg"]
    assert shop.family() == before


def dress(shop: Shop, reader: str) -> Callable[[], list[Any]]:
    """Give the database all that belongs to it besides its contents; return what reads that again."""
    for words in (
        "COMMENT ON DATABASE {0} IS 'the shop'",
        "ALTER DATABASE {0} CONNECTION LIMIT 42",
        "ALTER DATABASE {0} SET app.key TO 'x, y'",
        'ALTER DATABASE {0} SET search_path TO public, "$user"',
        "ALTER ROLE {1} IN DATABASE {0} SET work_mem TO '9MB'",
        "REVOKE ALL ON DATABASE {0} FROM PUBLIC",
        "GRANT CONNECT, TEMPORARY ON DATABASE {0} TO {1}",
    ):
        administer(shop.database.server, sql.SQL(words).format(sql.Identifier(shop.name), sql.Identifier(reader)))
    about = """SELECT datconnlimit, datacl::text, pg_get_userbyid(datdba), (SELECT array_agg(s.setrole || x ORDER BY 1)
               FROM pg_db_role_setting s, unnest(setconfig) x WHERE setdatabase = d.oid)
               FROM pg_database d WHERE datname = %s"""
    return lambda: Database(shop.database.server, "postgres").fetch(about, shop.name)


@pytest.mark.parametrize("older", [False, True], ids=["whole", "copied before they were read"])
def test_a_database_that_is_gone_comes_back(shop: Shop, role: Roles, older: bool) -> None:
    about = dress(shop, role())
    before = about()
    shop.copy(**{"belongings": None} if older else {})
    shop.database.drop()
    done = shop.restore()
    assert shop.orders() == ROWS and done["kept"] == "" and done["undo"] == ""
    assert (about() == before and shop.comment()[0] == "the shop") is not older
    assert statuses(done)["settings"] == ("warning" if older else "ok")
    assert not done["loss"]["measured"] and statuses(done)["loss"] == "unknown"
    failed = run_failed(MODULE, {**shop.about, "state": "undone"})
    assert failed["failure"]["code"] == "no_kept_database"


def test_another_name_on_the_server(shop: Shop) -> None:
    shop.copy()
    target = f"{shop.name}_twin"
    failed = shop.refused(target=target)
    assert failed["failure"]["code"] == "confirmation_missing"
    shop.restore(target=target, confirm=target)
    assert Database(shop.database.server, target).fetch("SELECT count(*) FROM orders") == [(ROWS,)]


def test_settings_rights_and_the_comment_of_the_live_one_stay(shop: Shop, role: Roles) -> None:
    about = dress(shop, role())
    before = about()
    shop.copy()
    done = shop.restore()
    assert about() == before and statuses(done)["settings"] == "ok"
    own, marker = shop.comment()
    assert own == "the shop" and marker is not None and marker.snapshot == done["copy"]["id"]
    shop.undo()
    assert shop.comment() == ("the shop", None) and about() == before


def test_logical_replication_stays_with_the_old_one_and_is_told(shop: Shop) -> None:
    shop.copy()
    name = random_name("slot")
    shop.database.fetch("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", name)
    done = shop.restore()
    (finding,) = [one for one in done["findings"] if one["check"] == "logical_slots"]
    assert finding["status"] == "warning" and name in finding["msg"] and shop.orders() == ROWS
    assert shop.clean(keep="0s", keep_last=False)["changed"]


def test_cleaning_up_drops_what_is_old_enough_and_spares_the_last(shop: Shop) -> None:
    shop.copy()
    first, second = shop.restore(), shop.restore(force=True)
    stays = shop.clean()
    assert not stays["changed"] and set(statuses(stays)) == {"kept_database"}
    checked = run_ok(MODULE, {**shop.about, "state": "cleaned", "keep": "0s"}, check=True)
    done = shop.clean(keep="0s")
    assert done["plan"] == checked["plan"] and done["after"] == checked["after"]
    assert first["kept"] not in shop.family() and second["kept"] in shop.family() and done["freed_bytes"] > 0
    assert not shop.clean(keep="0s")["changed"]
    assert shop.clean(keep="0s", keep_last=False)["changed"]
    assert set(shop.family()) == {shop.name} and shop.orders() == ROWS
    failed = run_failed(MODULE, {**shop.about, "state": "undone"})
    assert failed["failure"]["code"] == "no_kept_database"


def hand_over(shop: Shop, owner: str) -> None:
    """Let an ordinary role own all of it, and make a copy as that role."""
    for table in ("orders", "customers"):
        shop.database.execute(f'ALTER TABLE {table} OWNER TO "{owner}"')
    for words in ("ALTER DATABASE {} OWNER TO {}", "GRANT ALL ON DATABASE {} TO {}"):
        administer(shop.database.server, sql.SQL(words).format(sql.Identifier(shop.name), sql.Identifier(owner)))
    shop.database.execute(f'GRANT ALL ON SCHEMA public TO "{owner}"')
    shop.user = owner
    own = backup_options(shop.database, shop.repository, shop.folder / "staging", login_user=owner)
    run_ok("postgresql_backup", own)


def test_the_owner_of_a_database_can_do_all_of_it(shop: Shop, role: Roles) -> None:
    owner = role(createdb=True)
    hand_over(shop, owner)
    shop.spoil()
    worker = shop.database.connect(owner)
    done = shop.restore()
    assert shop.orders() == ROWS and worker.closed == 0 and "statistics" not in statuses(done)
    assert shop.undo()["changed"] and shop.orders() == 207
    assert shop.clean(keep="0s")["changed"]


def test_a_swap_that_nobody_can_look_at_is_done_all_the_same(shop: Shop, role: Roles) -> None:
    hand_over(shop, role(createdb=True))
    closed = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(sql.Identifier(shop.name))
    administer(shop.database.server, closed)
    for swap in (shop.restore, shop.undo):
        done = swap()
        assert done["changed"] and done["kept"] in shop.family() and done["steps"][-1]["status"] == "done"
        assert statuses(done)["answer"] == "unknown" and "looked at" in done["msg"]


def test_a_hostile_name_of_the_database_itself(server: Server, role: Roles, tmp_path: Path) -> None:
    name = random_name('it\'s a "name"\n= %s ' + "表" * 10)
    shop = Shop(Database.create(server, name), make_repository(tmp_path), tmp_path)
    try:
        shop.fill()
        run_ok("postgresql_backup", backup_options(shop.database, shop.repository, tmp_path / "staging"))
        shop.spoil()
        done = shop.restore()
        assert shop.orders() == ROWS and len(done["kept"].encode()) <= 63
        assert shop.undo()["changed"] and shop.orders() == 207
    finally:
        shop.remove()
        shop.database.drop()


def test_tablespaces_are_those_of_the_copy(shop: Shop) -> None:
    where = """SELECT s.spcname, coalesce(i.spcname, s.spcname)
               FROM pg_database d JOIN pg_tablespace s ON s.oid = d.dattablespace,
               pg_class c LEFT JOIN pg_tablespace i ON i.oid = c.reltablespace
               WHERE d.datname = current_database() AND c.relname = 'orders_what'"""
    move = sql.SQL("ALTER DATABASE {} SET TABLESPACE {}")
    server, name = shop.database.server, sql.Identifier(shop.name)
    with tablespace(server) as own, tablespace(server) as other:
        administer(server, move.format(name, sql.Identifier(own)))
        shop.database.execute(f"ALTER INDEX orders_what SET TABLESPACE {other}")
        shop.copy()
        shop.database.drop()
        done = shop.restore()
        assert shop.database.fetch(where) == [(own, other)] and statuses(done)["tablespaces"] == "ok"
        shop.database.drop()
    failed = shop.refused()
    assert failed["failure"]["code"] == "tablespace_missing", failed
    assert failed["failure"]["details"]["tablespaces"] == sorted([own, other]) and shop.family() == {}
    done = shop.restore(tablespaces=False)
    assert shop.database.fetch(where) == [("pg_default", "pg_default")] and statuses(done)["tablespaces"] == "warning"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"at": "yesterday"}, "invalid_value"),
        ({"at": "2026-09-18T04:00:00"}, "invalid_value"),
        ({"at": "20010101-000000"}, "no_copy_old_enough"),
        ({"snapshot": "0123456789"}, "no_copy"),
        ({"product": "other"}, "no_copy"),
        ({"source_host": "other"}, "no_copy"),
        ({"jobs": 0}, "invalid_value"),
        ({"keep": "long"}, "invalid_value"),
        ({"max_time": "x"}, "invalid_value"),
        ({"fingerprint": "12345"}, "fingerprint_mismatch"),
        ({"fingerprint": {"system_identifier": 1}}, "fingerprint_mismatch"),
        ({"fingerprint": {"colour": "red"}}, "invalid_value"),
        ({"fingerprint": [1]}, "invalid_value"),
        ({"confirm": "another"}, "confirmation_missing"),
        ({"confirm": None}, "confirmation_missing"),
        ({"target": "postgres", "confirm": "postgres"}, "invalid_value"),
        ({"target": "template1", "confirm": "template1"}, "invalid_value"),
        ({"client_bin_dirs": ["/nowhere"]}, "command_missing"),
        ({"work_dir": "/nowhere"}, "invalid_value"),
        ({"repository_password": "another"}, "wrong_key"),
        ({"repository": None}, "invalid_arguments"),
        ({"at": "20010101-000000", "snapshot": "ab"}, "invalid_arguments"),
        ({"login_user": "nobody_at_all"}, "authentication_failed"),
        ({"maintenance_db": "nowhere"}, "database_missing"),
    ],
)
def test_bad_input_says_so_and_nothing_happens(shop: Shop, wrong: dict[str, Any], code: str) -> None:
    shop.copy()
    before = shop.family()
    failed = shop.refused(**wrong)
    assert failed["failure"]["code"] == code, failed
    assert shop.family() == before and shop.orders() == ROWS


def test_a_check_needs_no_confirmation_and_the_refusal_says_it(shop: Shop) -> None:
    shop.copy()
    assert shop.check(confirm=None)["changed"]
    failed = shop.refused(confirm=None)
    assert shop.name in failed["failure"]["hint"]
    for state in ("undone", "cleaned"):
        shop.restore(force=True)
        gone = run_failed(MODULE, {**shop.about, "state": state, "confirm": None, "keep": "0s", "keep_last": False})
        assert gone["failure"]["code"] == "confirmation_missing"


def test_the_right_fingerprint_lets_it_pass(shop: Shop) -> None:
    shop.copy()
    identifier = shop.database.fetch("SELECT system_identifier::text FROM pg_control_system()")[0][0]
    shop.restore(fingerprint={"system_identifier": identifier, "database": shop.name})
    shop.restore(fingerprint=identifier, force=True)


def test_another_server_must_be_allowed(shop: Shop, tmp_path: Path, throwaway_server: Callable[..., Server]) -> None:
    shop.copy()
    other = throwaway_server(own_identity=True)
    elsewhere = {"login_port": other.port}
    failed = shop.refused(**elsewhere)
    assert failed["failure"]["code"] == "fingerprint_mismatch"
    done = shop.restore(**elsewhere, allow_other_server=True)
    assert statuses(done)["origin"] == "warning"
    assert Database(other, shop.name).fetch("SELECT count(*) FROM orders") == [(ROWS,)]


def test_a_lost_server_is_replaced_with_its_roles(
    shop: Shop, role: Roles, throwaway_server: Callable[..., Server]
) -> None:
    owner, reader, group, bystander = role(password="s3cret-of-owner"), role(), role(), role()
    shop.database.execute(f'GRANT "{group}" TO "{owner}"; ALTER TABLE orders OWNER TO "{owner}"')
    shop.database.execute(f'GRANT SELECT ON orders TO "{reader}"')
    shop.copy()
    other = throwaway_server(own_identity=True)
    elsewhere = {"login_port": other.port, "allow_other_server": True}
    assert shop.refused(**elsewhere)["failure"]["code"] == "role_missing"
    checked = shop.check(**elsewhere, create_roles=True)
    done = shop.restore(**elsewhere, create_roles=True)
    assert actions(done)[0] == "roles" and done["plan"] == checked["plan"]
    assert "s3cret" not in str(done) and "SCRAM" not in str(done)
    found = Database(other, shop.name)
    names = {name for (name,) in found.fetch("SELECT rolname FROM pg_roles")}
    assert {owner, reader, group} <= names and bystander not in names
    assert found.fetch("SELECT pg_has_role(%s, %s, 'MEMBER')", owner, group) == [(True,)]
    assert found.fetch("SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = %s", owner) == [(True,)]
    assert found.fetch("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == [(owner,)]


def test_results_are_documented(shop: Shop) -> None:
    import yaml

    import plugins.modules.postgresql_restore as module

    documented = set(yaml.safe_load(module.RETURN)) | {"changed", "failed", "diff", "warnings"}
    shop.copy()
    for result in (shop.check(), shop.restore(), shop.undo(), shop.clean()):
        assert set(result) <= documented
