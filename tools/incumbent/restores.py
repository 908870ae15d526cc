"""Faults while postgresql_db restores: the dump is its own, and was good when it was made."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from tests.support.backup_faults import small_disk
from tests.support.servers import Database, administer, random_name
from tests.support.sessions import eventually
from tests.support.standby import standby_of
from tests.support.tablespaces import tablespace
from tools.embedded_postgres import Server, give_to_server_account
from tools.incumbent.world import Outcome, Report, World, case

ROWS = 20_000
PATIENCE_SECONDS = 20
TEXT, GZIP, CUSTOM, TAR = ".sql", ".sql.gz", ".pgc", ".tar"
TABLE = f"""
CREATE TABLE orders (id int PRIMARY KEY, what text NOT NULL);
INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i;
"""
SUM = "SELECT count(*), md5(string_agg(o::text, ',' ORDER BY id)) FROM public.orders o"


@dataclass
class Restoring:
    """A dump of a database, and the database that it is restored into."""

    world: World
    source: Database
    fresh: Database
    target: Path
    wanted: tuple[Any, ...]

    @classmethod
    def of(cls, world: World, form: str, more: str = "", server: Server | None = None, flags: str = "") -> Restoring:
        source = world.database()
        source.execute(TABLE + more)
        target = world.folder / f"copy{form}"
        report = world.run({"name": source.name, "state": "dump", "target": str(target), "target_opts": flags})
        assert not report.failed, report
        return cls(world, source, world.database(server=server), target, source.fetch(SUM)[0])

    def options(self, **more: Any) -> dict[str, Any]:
        return {"name": self.fresh.name, "state": "restore", "target": str(self.target), **more}

    def restore(self, **more: Any) -> Report:
        return self.world.run(self.options(**more))

    def found(self) -> tuple[Any, ...]:
        try:
            return self.fresh.fetch(SUM)[0]
        except psycopg2.errors.UndefinedTable:
            return ()

    def outcome(self, report: Report, before: tuple[Any, ...] = (), lacks: str = "") -> Outcome:
        """Compare the table with the copied one; ``lacks`` is what is missing although all its rows are there."""
        now = self.found()
        if now == self.wanted:
            return Outcome(
                report, not lacks, bool(lacks), f"all {ROWS} rows are there" + (f"; {lacks}" if lacks else "")
            )
        if now == before:
            words = f"the {now[0]} rows from before are there, nothing of the dump" if now else "no table was made"
            return Outcome(report, False, False, words)
        if not now:
            return Outcome(report, False, True, f"the table is gone, with its {before[0]} rows")
        words = f"{now[0]} rows instead of {ROWS}" if now[0] != ROWS else f"{ROWS} rows, not all with what was in them"
        return Outcome(report, False, True, words)


# --- what the server lacks --------------------------------------------------------------------------------------


@case("a role of the dump is missing", "role_missing_on_restore", forms=(TEXT, CUSTOM))
def role_missing(world: World, form: str) -> Outcome:
    seller = random_name("seller")
    restoring = Restoring.of(world, form, f"CREATE ROLE {seller}; ALTER TABLE orders OWNER TO {seller};")
    restoring.source.execute(f"REASSIGN OWNED BY {seller} TO postgres; DROP OWNED BY {seller}; DROP ROLE {seller}")
    report = restoring.restore()
    owner = restoring.fresh.fetch("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'")
    return restoring.outcome(report, lacks=f"the table belongs to {owner[0][0]}" if owner else "")


@case("an extension of the dump is missing", "extension_missing_on_restore", forms=(TEXT, CUSTOM))
def extension_missing(world: World, form: str) -> Outcome:
    more = (
        "CREATE EXTENSION hstore; CREATE TABLE tags (id int, tag public.hstore); INSERT INTO tags VALUES (1, 'a=>1');"
    )
    restoring = Restoring.of(world, form, more)
    restoring.target.write_bytes(restoring.target.read_bytes().replace(b"hstore", b"absent"))
    report = restoring.restore()
    there = restoring.fresh.fetch("SELECT 1 FROM pg_tables WHERE tablename = 'tags'")
    return restoring.outcome(report, lacks="" if there else "the table that uses the extension is missing")


@case("a tablespace of the dump is missing", "tablespace_missing_on_restore", forms=(TEXT, CUSTOM))
def tablespace_missing(world: World, form: str) -> Outcome:
    name = random_name("fast")
    with tablespace(world.server, name):
        restoring = Restoring.of(world, form, f"ALTER TABLE orders SET TABLESPACE {name};")
        restoring.source.execute("ALTER TABLE orders SET TABLESPACE pg_default")
    report = restoring.restore()
    there = restoring.fresh.fetch("SELECT 1 FROM pg_class WHERE relname = 'orders' AND reltablespace = 0")
    outcome = restoring.outcome(report, lacks="the table is in the default tablespace" if there else "")
    return replace(outcome, done=restoring.found() == restoring.wanted)  # its rows are what was asked for


@case("the disk of the server gets full", "disk_full_restore_target", "no_room_on_server", forms=(TEXT, CUSTOM))
def disk_full(world: World, form: str) -> Outcome:
    noise = "SELECT i, md5(i::text) || md5((-i)::text) AS x FROM generate_series(1, 180000) i"
    restoring = Restoring.of(world, form, f"CREATE TABLE big AS {noise};")
    name = random_name("small")
    disk = world.undo.enter_context(small_disk(world.server.directory / name, 20))
    place = disk / "tablespace"
    place.mkdir()
    give_to_server_account(disk)
    space, database = sql.Identifier(name), sql.Identifier(restoring.fresh.name)
    make = sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(space, sql.Literal(str(place)))
    administer(world.server, make)
    world.undo.callback(administer, world.server, sql.SQL("DROP TABLESPACE {}").format(space))
    move = sql.SQL("ALTER DATABASE {} SET TABLESPACE {}")
    administer(world.server, move.format(database, space))
    world.undo.callback(administer, world.server, move.format(database, sql.Identifier("pg_default")))
    report = restoring.restore()
    big = restoring.fresh.fetch("SELECT count(*) FROM big")[0][0]
    return restoring.outcome(report, lacks="" if big == 180_000 else f"a second table has {big} of 180000 rows")


# --- what is there already --------------------------------------------------------------------------------------


@case("a table of that name is there, with other rows", "restore_over_live_database", forms=(TEXT, GZIP, CUSTOM))
def conflicting(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form)
    restoring.fresh.execute("CREATE TABLE orders (id int PRIMARY KEY, what text); INSERT INTO orders VALUES (1, 'new')")
    before = restoring.found()
    return restoring.outcome(restoring.restore(), before)


@case("the same rows are there, and no key that would notice", "restore_over_live_database", forms=(TEXT, CUSTOM))
def twice(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form, "ALTER TABLE orders DROP CONSTRAINT orders_pkey;")
    assert not restoring.restore().failed
    return restoring.outcome(restoring.restore(), ())


@case("readers are at work, restored with --clean --if-exists", "restore_over_live_database", forms=(CUSTOM,))
def readers(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form)
    assert not restoring.restore().failed
    over, seen = threading.Event(), []

    def read() -> None:
        while not over.is_set():
            try:
                seen.append(restoring.fresh.fetch("SELECT count(*) FROM orders")[0][0])
            except psycopg2.Error:
                seen.append(None)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        report = restoring.restore(target_opts="--clean --if-exists")
    finally:
        over.set()
        thread.join()
    wrong = [one for one in seen if one != ROWS]
    outcome = restoring.outcome(report)
    words = f"{outcome.afterwards}; on the way {len(wrong)} of {len(seen)} reads failed or found an empty table"
    return Outcome(report, outcome.done, bool(wrong), words)


@case("sessions are there: state=absent before a restore", "writers_refused")
def absent_in_use(world: World) -> Outcome:
    database = world.database()
    session = database.connect()
    report = world.run({"name": database.name, "state": "absent"})
    session.cursor().execute("SELECT 1")
    session.close()
    return Outcome(report, False, False, "the database and the session go on")


@case("sessions are there: state=absent with force", "writers_refused")
def absent_forced(world: World) -> Outcome:
    name = random_name("db")
    database = Database.create(world.server, name)
    session = database.connect()
    report = world.run({"name": name, "state": "absent", "force": True})
    left = Database(world.server, "postgres").fetch("SELECT 1 FROM pg_database WHERE datname = %s", name)
    session.close()
    return Outcome(
        report, not left, False, "it stays" if left else "the database is dropped under its sessions, as asked"
    )


@case("a prepared transaction is in the way of state=absent", "prepared_transaction")
def prepared(world: World) -> Outcome:
    database = world.database()
    database.execute("CREATE TABLE orders (id int)")
    connection = database.connect(autocommit=False)
    connection.cursor().execute("INSERT INTO orders VALUES (1)")
    connection.cursor().execute("PREPARE TRANSACTION 'waits'")
    connection.close()
    report = world.run({"name": database.name, "state": "absent", "force": True})
    left = Database(world.server, "postgres").fetch("SELECT 1 FROM pg_database WHERE datname = %s", database.name)
    return Outcome(report, not left, not left, "the database goes on" if left else "the database is gone")


@case("two restores into one database at once", "two_restores_at_once", forms=(TEXT, CUSTOM))
def two_at_once(world: World, form: str) -> Outcome:
    restoring = Slow(world, form).restoring
    both = [world.start(restoring.options()) for _number in range(2)]
    reports = [running.report() for running in both]
    worst = next((report for report in reports if report.failed), reports[0])
    outcome = restoring.outcome(worst)
    told = f"{sum(not report.failed for report in reports)} of the two say success"
    return Outcome(worst, outcome.done, outcome.harm, f"{outcome.afterwards}; {told}")


# --- the wrong place --------------------------------------------------------------------------------------------


@case("the target is a standby", "restore_over_standby", forms=(TEXT, CUSTOM))
def standby(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form)
    primary = world.another_server(settings={})
    Database.create(primary, restoring.fresh.name)
    follower = standby_of(primary, world.another_server)
    report = restoring.restore(login_port=follower.port)
    there = Database(follower, restoring.fresh.name).fetch("SELECT count(*) FROM pg_tables WHERE tablename = 'orders'")
    return Outcome(report, False, there != [(0,)], "no table was made" if there == [(0,)] else "the table is there")


@case("the server is older than the copy (18 into 13)", "server_older_than_copy", forms=(TEXT, CUSTOM))
def older_server(world: World, form: str) -> Outcome:
    old = world.another_server(13)
    more = "CREATE TABLE newer (x int) PARTITION BY LIST (x); CREATE TABLE u (x int, UNIQUE NULLS NOT DISTINCT (x));"
    restoring = Restoring.of(world, form, more, old)
    report = restoring.restore(login_port=old.port)
    unique = restoring.fresh.fetch("SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass('public.u')")
    return restoring.outcome(report, lacks="" if unique else "a constraint that 13 does not know is missing")


# --- dumps that are not what they were --------------------------------------------------------------------------


@case("the dump is cut at half", "dump_cut_short", forms=(TEXT, GZIP, CUSTOM, TAR))
def cut_short(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form)
    whole = restoring.target.read_bytes()
    restoring.target.write_bytes(whole[: len(whole) // 2])
    return restoring.outcome(restoring.restore())


def flip(restoring: Restoring) -> None:
    """Flip the lowest bit of a letter or digit of the last row, or of a byte in the middle when it is compressed."""
    content = bytearray(restoring.target.read_bytes())
    last = restoring.source.fetch("SELECT what FROM orders ORDER BY id DESC LIMIT 1")[0][0].encode()
    place = content.find(last) if last in content else len(content) // 2
    content[place] ^= 1
    restoring.target.write_bytes(bytes(content))


@case("one bit of the dump is flipped", "damaged_pack_on_restore", forms=(TEXT, GZIP, CUSTOM))
def flipped(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form)
    flip(restoring)
    return restoring.outcome(restoring.restore())


@case("one bit of an uncompressed dump is flipped (-Z0)", "damaged_pack_on_restore", forms=(CUSTOM,))
def flipped_plain(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form, flags="-Z0")
    flip(restoring)
    return restoring.outcome(restoring.restore())


@case("a script with errors in the middle", forms=(TEXT, GZIP))
def script_errors(world: World, form: str) -> Outcome:
    restoring = Restoring.of(world, form)
    text = f"CREATE TABLE orders (id int, what text);\nINSERT INTO nowhere VALUES (1);\nSELEC 1;\n{TABLE}"
    restoring.target.unlink()
    restoring.target = world.folder / "script.sql"
    restoring.target.write_text(text.replace("INSERT INTO orders SELECT i,", "INSERT INTO orders SELECT"))
    if form == GZIP:
        subprocess.run(["gzip", restoring.target], check=True)
        restoring.target = world.folder / "script.sql.gz"
    return restoring.outcome(restoring.restore())


@case("a dump that does not exist")
def missing(world: World) -> Outcome:
    database = world.database()
    report = world.run({"name": database.name, "state": "restore", "target": str(world.folder / "none.sql")})
    return Outcome(report, False, False, "no table was made")


@case("check mode of a restore of a dump that does not exist")
def check_missing(world: World) -> Outcome:
    database = world.database()
    options = {"name": database.name, "state": "restore", "target": str(world.folder / "none.sql")}
    checked, report = world.run(options, "--check"), world.run(options)
    words = f"check mode says changed: {checked.changed}; the real run {'fails' if report.failed else 'succeeds'}"
    return Outcome(checked, checked.failed == report.failed, False, words)


# --- somebody dies ----------------------------------------------------------------------------------------------


class Slow:
    """A dump whose load stops behind its rows, at an index, for as long as a role exists."""

    def __init__(self, world: World, form: str, server: Server | None = None) -> None:
        self.role = random_name("slow")
        self.server = server or world.server
        more = f"""CREATE FUNCTION public.slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{self.role}') THEN
            PERFORM pg_catalog.pg_sleep(600); END IF; RETURN i; END $$;
            CREATE INDEX orders_slow ON orders (slow(id));"""
        self.restoring = Restoring.of(world, form, more, server)

    def on(self) -> None:
        administer(self.server, sql.SQL("CREATE ROLE {}").format(sql.Identifier(self.role)))

    def off(self) -> None:
        administer(self.server, sql.SQL("DROP ROLE {}").format(sql.Identifier(self.role)))

    def wait(self) -> None:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        eventually(lambda: self.restoring.fresh.fetch(query), "the load to be in the middle")

    def outcome(self, report: Report) -> Outcome:
        index = self.restoring.fresh.fetch("SELECT 1 FROM pg_indexes WHERE indexname = 'orders_slow'")
        lacks = "" if index else "an index is missing"
        return self.restoring.outcome(report, lacks=lacks)


def in_the_middle(slow: Slow, act: Callable[[Any], None]) -> Report:
    slow.on()
    try:
        running = slow.restoring.world.start(slow.restoring.options(login_port=slow.server.port))
        slow.wait()
        act(running)
        return running.report(PATIENCE_SECONDS)
    finally:
        if slow.server.running:
            slow.off()


@case("the tool is killed in the middle of the load", "kill_mid_load", forms=(TEXT, CUSTOM))
def kill_tool(world: World, form: str) -> Outcome:
    slow, tool = Slow(world, form), "psql" if form == TEXT else "pg_restore"
    return slow.outcome(in_the_middle(slow, lambda running: os.kill(running.tool(tool), signal.SIGKILL)))


@case("the module is asked to end in the middle of the load", "stopped_mid_load", forms=(TEXT, CUSTOM))
def stop_module(world: World, form: str) -> Outcome:
    slow = Slow(world, form)
    return slow.outcome(in_the_middle(slow, lambda running: os.kill(running.module(), signal.SIGTERM)))


@case("the load does not end", "no_end_of_the_load", forms=(TEXT,))
def no_end(world: World, form: str) -> Outcome:
    slow = Slow(world, form)
    return slow.outcome(in_the_middle(slow, lambda _running: None))


@case("the server dies in the middle of the load", "server_killed_mid_load", forms=(TEXT, CUSTOM))
def server_dies(world: World, form: str) -> Outcome:
    own = world.another_server()
    slow = Slow(world, form, own)
    report = in_the_middle(slow, lambda _running: own.stop("immediate"))
    own.start()
    return slow.outcome(report)
