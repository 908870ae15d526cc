"""Faults while a database is restored: the live one goes on as it was, and nothing half made is called done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from plugins.module_utils._core.backup_manifest import ServerState
from plugins.module_utils._io.postgres import LOCK_CLASS, lock_key
from tests.support.backup_faults import small_disk
from tests.support.copies import add_proof
from tests.support.database_copies import source_of
from tests.support.faults import fault
from tests.support.modules import run_failed
from tests.support.repositories import make_repository
from tests.support.restores import MODULE, ROWS, Shop
from tests.support.servers import Database, Roles, Server, administer, random_name
from tests.support.sessions import eventually
from tests.support.standby import standby_of
from tests.support.tablespaces import tablespace
from tools.embedded_postgres import give_to_server_account

SURPLUS = [
    "CREATE TABLE surplus (id int)",
    "CREATE VIEW surplus AS SELECT 1 AS one",
    "CREATE FUNCTION surplus() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE surplus AS ENUM ('a')",
    "CREATE SCHEMA surplus",
    "CREATE SEQUENCE surplus",
    "ALTER TABLE orders ADD COLUMN surplus int",
    "CREATE INDEX surplus ON orders (id, what)",
    "CREATE EXTENSION pg_prewarm",
    "SELECT lo_from_bytea(0, 'surplus')",
]
UNTOUCHED = "fails with a code; the live database goes on as it was, nothing is left aside"


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(database, make_repository(tmp_path), tmp_path)
    made.fill()
    yield made
    made.remove()


# --- what the server lacks --------------------------------------------------------------------------------------


@fault("role_missing_on_restore", "restore: before", "fails before anything is made, and names every missing role")
def test_roles_are_missing(shop: Shop, role: Roles) -> None:
    gone = [random_name(word) for word in ("seller", "buyer")]
    for name in gone:
        words = "CREATE ROLE {0}; GRANT SELECT ON orders TO {0}"
        shop.database.execute(words.format(name))
    shop.copy()
    shop.spoil()
    for name in gone:
        shop.database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    failed = shop.fails("role_missing")
    assert failed["failure"]["details"]["roles"] == sorted(gone) and all(name in failed["msg"] for name in gone)


@fault("extension_missing_on_restore", "restore: before", "fails before anything is made, and names every extension")
def test_extensions_are_missing(shop: Shop) -> None:
    shop.copy(extensions={"plpgsql": "1.0", "postgis": "3", "timescaledb": "2"})
    failed = shop.fails("extension_missing")
    assert failed["failure"]["details"]["extensions"] == ["postgis", "timescaledb"]


@fault(
    "tablespace_missing_on_restore",
    "restore: before",
    "fails before anything is made, and names every tablespace; only when told to, all goes where the database is",
)
def test_tablespaces_are_missing(shop: Shop) -> None:
    server = shop.database.server
    with tablespace(server) as first, tablespace(server) as second:
        shop.database.execute(
            f"ALTER TABLE orders SET TABLESPACE {first}; ALTER INDEX orders_what SET TABLESPACE {second}"
        )
        copy = shop.copy()
        without_facts = shop.copy(tablespaces=())
        shop.database.execute(
            "ALTER TABLE orders SET TABLESPACE pg_default; ALTER INDEX orders_what SET TABLESPACE pg_default"
        )
    shop.spoil()
    failed = shop.fails("tablespace_missing", snapshot=copy)
    assert failed["failure"]["details"]["tablespaces"] == sorted([first, second]), failed
    assert "tablespaces: false" in failed["failure"]["hint"]
    shop.fails("tablespace_missing", snapshot=without_facts)  # found while it is loaded
    checked, done = shop.check(snapshot=copy, tablespaces=False), shop.restore(snapshot=copy, tablespaces=False)
    for result in (checked, done):
        assert [one["status"] for one in result["findings"] if one["check"] == "tablespaces"] == ["warning"]
    assert shop.orders() == ROWS


@fault(
    "no_room_on_server", "restore: before", "fails before anything is made, and says what is needed and what is free"
)
def test_the_server_has_no_room(shop: Shop) -> None:
    shop.copy(size_bytes=1 << 60)
    details = shop.fails("not_enough_space")["failure"]["details"]
    assert details["free_bytes"] < details["needed_bytes"]


@fault("disk_full_restore_target", "restore: load", UNTOUCHED)
def test_the_disk_of_the_server_fills_up(shop: Shop, tmp_path: Path) -> None:
    noise = "SELECT i, md5(i::text) || md5((-i)::text) AS x FROM generate_series(1, 180000) i"
    shop.database.execute(f"CREATE TABLE big AS {noise}")
    shop.copy()
    name, server = random_name("small"), shop.database.server
    with small_disk(server.directory / name, 44) as disk:
        place = disk / "tablespace"
        place.mkdir()
        give_to_server_account(disk)
        administer(
            server, sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(name), sql.Literal(str(place)))
        )
        move = "ALTER DATABASE {} SET TABLESPACE {}"
        there, back = sql.Identifier(name), sql.Identifier("pg_default")
        administer(server, sql.SQL(move).format(sql.Identifier(shop.name), there))
        try:
            shop.fails("disk_full")
        finally:
            administer(server, sql.SQL(move).format(sql.Identifier(shop.name), back))
            administer(server, sql.SQL("DROP TABLESPACE {}").format(there))


@fault(
    "psql_commands_in_globals",
    "restore: roles",
    "roles are made from the statements alone: \\restrict of newer dumps is no obstacle, and no command of psql runs",
)
def test_globals_hold_commands_of_psql(
    shop: Shop, role: Roles, throwaway_server: Callable[..., Server], tmp_path: Path
) -> None:
    owner, sign = role(), tmp_path / "sign"
    shop.database.execute(f'ALTER TABLE orders OWNER TO "{owner}"; ALTER ROLE "{owner}" SET work_mem TO \'7MB\'')

    def restrict(folder: Path) -> None:
        path = folder / "globals.sql"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("\\")]
        lines.insert(lines.index(f"CREATE ROLE {owner};"), f"\\! touch {sign}")
        key = "fy40HYrnLSAqhAkKRy6YYJ"
        path.write_text("\n".join([f"\\restrict {key}", *lines, f"\\unrestrict {key}", ""]))

    shop.copy(on_folder=restrict)
    other = throwaway_server(own_identity=True)
    shop.restore(login_port=other.port, allow_other_server=True, create_roles=True)
    found = Database(other, shop.name)
    assert found.fetch("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == [(owner,)]
    assert found.fetch("SELECT rolconfig FROM pg_roles WHERE rolname = %s", owner) == [(["work_mem=7MB"],)]
    assert not sign.exists()


# --- who is there already ---------------------------------------------------------------------------------------


@fault(
    "aside_name_taken", "restore: before", "somebody else's database of that name is left alone, another name is taken"
)
def test_the_name_aside_is_taken(shop: Shop) -> None:
    shop.copy()
    name = shop.check()["aside"]
    administer(shop.database.server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    Database(shop.database.server, name).execute("CREATE TABLE orders AS SELECT 'not yours' AS what")
    done = shop.restore()
    assert done["aside"] == f"{name}_2" and shop.orders() == ROWS
    assert any(finding["check"] == "leftover" for finding in done["findings"])
    assert Database(shop.database.server, name).fetch("SELECT what FROM orders") == [("not yours",)]


@fault(
    "surplus_in_a_database_aside",
    "restore: verify",
    "what came in beside the copy is never swapped in with it; with force another one is restored, without it",
)
@pytest.mark.parametrize("surplus", SURPLUS)
def test_there_is_more_in_the_database_aside(shop: Shop, surplus: str) -> None:
    shop.copy()
    name = shop.restore(swap=False)["aside"]
    Database(shop.database.server, name).execute(surplus)
    shop.spoil()
    shop.fails("verification_failed")
    done = shop.restore(force=True)
    assert done["aside"] != name and name in shop.family() and shop.orders() == ROWS


@fault("objects_in_template1", "restore: create", "none of them comes into the restored database, none is in its way")
@pytest.mark.parametrize("live", [True, False])
def test_a_template_holds_objects(tmp_path: Path, throwaway_server: Callable[..., Server], live: bool) -> None:
    server = throwaway_server()
    shop = Shop(Database.create(server, "shop"), make_repository(tmp_path), tmp_path)
    shop.fill()
    shop.copy()
    Database(server, "template1").execute("CREATE TABLE orders (other text); CREATE TABLE surplus (id int)")
    if not live:
        shop.database.drop()
    shop.restore()
    assert shop.orders() == ROWS and shop.database.fetch("SELECT to_regclass('surplus')") == [(None,)]


@fault(
    "restore_over_live_database", "restore: swap", "sessions that come back at once are held off; none sees half of it"
)
def test_writers_keep_coming_back(shop: Shop) -> None:
    shop.copy()
    shop.spoil()
    over, seen = threading.Event(), []

    def write() -> None:
        while not over.is_set():
            with contextlib.suppress(psycopg2.Error):
                connection = shop.database.connect()
                while not over.is_set():
                    cursor = connection.cursor()
                    cursor.execute("INSERT INTO orders (what) VALUES ('busy')")
                    cursor.execute("SELECT count(*) FROM orders WHERE what = 'late'")
                    seen.append(cursor.fetchall()[0][0])
                connection.close()

    threads = [threading.Thread(target=write, daemon=True) for _number in range(3)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(seen) > 20, "the writers to write")
        done = shop.restore()
        count = len(seen)
        eventually(lambda: len(seen) > count + 20, "the writers to write again")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {0, 7} and seen[-1] == 0
    assert done["outage_seconds"] < 10 and done["loss"]["measured"]
    kept = Database(shop.database.server, done["kept"])
    administer(
        shop.database.server, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(kept.name))
    )
    assert kept.fetch("SELECT count(*) FROM orders WHERE what = 'late'") == [(7,)]


@fault("writers_refused", "restore: before", "with writers: refuse nobody is thrown out; the sessions are named")
def test_sessions_are_there_and_must_not_be_ended(shop: Shop) -> None:
    shop.copy()
    session = shop.database.connect()
    failed = shop.fails("target_in_use", writers="refuse")
    assert f"pid {session.info.backend_pid}" in failed["msg"]
    session.cursor().execute("SELECT 1")
    session.close()


@fault("prepared_transaction", "restore: before", UNTOUCHED)
def test_a_prepared_transaction_is_in_the_way(shop: Shop) -> None:
    shop.copy()
    connection = shop.database.connect(autocommit=False)
    connection.cursor().execute("INSERT INTO orders (what) VALUES ('waits')")
    connection.cursor().execute("PREPARE TRANSACTION 'waits'")
    connection.close()
    failed = shop.fails("target_in_use")
    assert "prepared" in failed["msg"]


@fault("two_restores_at_once", "restore: before", "the second one fails with lock_busy and touches nothing")
def test_another_restore_is_at_work(shop: Shop) -> None:
    shop.copy()
    other = shop.database.server.connect()
    other.cursor().execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, lock_key(f"{MODULE} {shop.name}")))
    shop.fails("lock_busy")
    other.close()


# --- the wrong place --------------------------------------------------------------------------------------------


@fault("wrong_confirmation", "restore: before", "fails with confirmation_missing and says the word")
@pytest.mark.parametrize("confirm", [None, "another", ""])
def test_the_confirmation_is_wrong(shop: Shop, confirm: str | None) -> None:
    shop.copy()
    failed = shop.fails("confirmation_missing", confirm=confirm)
    assert shop.name in failed["failure"]["hint"]


@fault("fingerprint_mismatch", "restore: before", "fails: it is not the server that was confirmed")
def test_the_server_is_not_the_one_that_was_confirmed(shop: Shop) -> None:
    shop.copy()
    shop.fails("fingerprint_mismatch", fingerprint={"system_identifier": "4711"})
    shop.fails("fingerprint_mismatch", fingerprint={"database": "other"})


@fault("copy_of_another_server", "restore: before", "fails unless allow_other_server says that it is meant so")
def test_the_copy_is_of_another_server(shop: Shop, throwaway_server: Callable[..., Server]) -> None:
    shop.copy()
    other = throwaway_server(own_identity=True)
    failed = shop.refused(login_port=other.port)
    assert failed["failure"]["code"] == "fingerprint_mismatch"
    assert Database(other, "postgres").fetch("SELECT count(*) FROM pg_database WHERE NOT datistemplate") == [(1,)]


@fault("restore_over_standby", "restore: before", "fails with is_standby")
def test_the_target_is_a_standby(tmp_path: Path, throwaway_server: Callable[..., Server]) -> None:
    primary = throwaway_server()
    shop = Shop(Database.create(primary, "shop"), make_repository(tmp_path), tmp_path)
    shop.fill()
    shop.copy()
    standby = standby_of(primary, throwaway_server)
    for options in (shop.options, {**shop.about, "state": "undone"}, {**shop.about, "state": "cleaned"}):
        failed = run_failed(MODULE, {**options, "login_port": standby.port})
        assert failed["failure"]["code"] == "is_standby"


@fault("server_older_than_copy", "restore: before", "fails with server_too_old")
def test_the_server_is_older_than_the_copy(shop: Shop) -> None:
    manifest_server = {"version": "99.1", "major": 99, "system_identifier": "", "in_recovery": False, "wal_lsn": "0/0",
                       "encoding": "UTF8", "collate": "C", "ctype": "C", "locale_provider": "libc"}  # fmt: skip
    shop.copy(server=ServerState(**manifest_server))  # type: ignore[arg-type]
    shop.fails("server_too_old")


# --- copies that are not what they should be --------------------------------------------------------------------


@fault("facts_differ", "restore: verify", "what was restored is not what was copied: never swapped in, and gone again")
@pytest.mark.parametrize("change", ["DELETE FROM orders WHERE id = 7", "UPDATE orders SET what = 'x' WHERE id = 7",
                                    "DROP INDEX orders_what", "SELECT setval('orders_id_seq', 1)"])  # fmt: skip
def test_the_copy_is_not_what_its_facts_say(shop: Shop, change: str) -> None:
    shop.copy(damage=lambda: shop.database.execute(change))
    shop.fails("verification_failed")


@fault("damaged_pack_on_restore", "restore: fetch", UNTOUCHED)
def test_a_bit_of_the_repository_is_flipped(shop: Shop) -> None:
    shop.copy()
    packs = [path for path in (shop.repository.location / "data").rglob("*") if path.is_file()]
    for victim in packs:
        damaged = bytearray(victim.read_bytes())
        damaged[len(damaged) // 3] ^= 1
        victim.chmod(0o600)
        victim.write_bytes(bytes(damaged))
    shop.fails("repository_damaged")


@fault("dump_cut_short", "restore: load", UNTOUCHED)
@pytest.mark.parametrize("form", ["directory", "stream"])
def test_the_dump_is_cut_short(shop: Shop, form: str) -> None:
    def cut(folder: Path) -> None:
        files = folder.rglob("*.dat") if form == "directory" else [folder / "stream.tar"]
        victim = max((path for path in files if path.name != "toc.dat"), key=lambda path: path.stat().st_size)
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])

    shop.copy(form=form, on_folder=cut)
    before = shop.family()
    failed = shop.refused()
    assert failed["failure"]["code"] in ("load_failed", "incomplete", "verification_failed"), failed
    assert shop.family() == before and shop.leftovers() == []


@fault(
    "known_bad_copy", "restore: before", "a copy that was found bad is passed over; when there is no other, it fails"
)
def test_the_newest_copy_is_known_to_be_bad(shop: Shop) -> None:
    bad = shop.copy()
    add_proof(shop.repository, bad, datetime.now(timezone.utc), "critical", source_of(shop.database))
    shop.fails("no_good_copy")


@fault("no_copy_old_enough", "restore: before", "fails and says when the oldest copy was taken")
def test_no_copy_is_old_enough(shop: Shop) -> None:
    shop.copy()
    assert "oldest" in shop.fails("no_copy_old_enough", at="20010101-000000")["msg"]


@fault("unknown_time", "restore: before", "fails and says how a time is written")
def test_the_time_means_nothing(shop: Shop) -> None:
    shop.copy()
    assert "YYYYMMDD" in shop.fails("invalid_value", at="last tuesday")["msg"]
