"""Faults while postgresql_db dumps: made as our own suite makes them, over a good dump of an earlier day."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.backup_faults import broken_pg_dump, gone, pg_dump_that_stops, small_disk
from tests.support.every_object import EVERY_OBJECT
from tests.support.servers import Database, Roles
from tests.support.sessions import eventually
from tools.embedded_postgres import client_bin_dir
from tools.incumbent.world import MAJOR, Outcome, Report, World, case, kill_tree

ROWS = 150_000
PATIENCE_SECONDS = 20
TEXT, GZIP, CUSTOM, FOLDER = ".sql", ".sql.gz", ".pgc", ".dir"


@dataclass
class Dumping:
    """A database of known contents, and a good dump of it under the name that the next one gets too."""

    world: World
    database: Database
    target: Path
    before: bytes

    @classmethod
    def of(cls, world: World, form: str, folder: Path | None = None, rows: int = ROWS) -> Dumping:
        database = world.database()
        database.execute(f"CREATE TABLE item AS SELECT i, md5(i::text) AS x FROM generate_series(1, {rows}) i")
        target = (folder or world.folder) / f"daily{form}"
        made = cls(world, database, target, b"")
        report = world.run(made.options())
        assert not report.failed and made.rows_in_dump() == rows, report
        made.before = target.read_bytes()
        return made

    def options(self, **more: Any) -> dict[str, Any]:
        return {"name": self.database.name, "state": "dump", "target": str(self.target), **more}

    def rows_in_dump(self) -> int | None:
        """Load the dump so strictly that nothing is passed over; None when that fails."""
        scratch = self.world.database()
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {strict_load(self.target)}"],
            env={**os.environ, **address(scratch)},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return None
        table = scratch.fetch("SELECT to_regclass('item')")[0][0]  # an empty file restores without an error
        return int(scratch.fetch("SELECT count(*) FROM item")[0][0]) if table else 0

    def outcome(self, report: Report, note: str = "") -> Outcome:
        """Compare what lies under the dump's name with the dump of the earlier day."""
        wanted = self.database.fetch("SELECT count(*) FROM item")[0][0]
        now = self.target.read_bytes() if self.target.exists() else b""
        if now == self.before:
            return Outcome(report, False, False, f"the dump of the day before is untouched{note}")
        rows = self.rows_in_dump()
        if rows == wanted:
            return Outcome(report, True, False, f"a new dump of all {wanted} rows{note}")
        held = "which do not restore" if rows is None else f"which restore to {rows} of {wanted} rows"
        lost = f"the good dump of the day before ({len(self.before)} bytes) is gone: {len(now)} bytes under its name"
        return Outcome(report, False, True, f"{lost}, {held}{note}")


def address(database: Database) -> dict[str, str]:
    return {
        "PATH": f"{client_bin_dir(MAJOR)}:{os.environ['PATH']}",
        "PGHOST": database.server.host,
        "PGPORT": str(database.server.port),
        "PGUSER": "postgres",
        "PGDATABASE": database.name,
    }


def strict_load(target: Path) -> str:
    strict = "psql -X -q -v ON_ERROR_STOP=1"
    if target.name.endswith(GZIP):
        return f"zcat '{target}' | {strict}"
    if target.name.endswith(TEXT):
        return f"{strict} -f '{target}'"
    return f"pg_restore --exit-on-error -d \"$PGDATABASE\" '{target}'"


# --- disks ------------------------------------------------------------------------------------------------------


@case(
    "the disk of the dump gets full", "disk_full_staging", "no_room_staging", "disk_full_repository",
    forms=(TEXT, GZIP, CUSTOM),
)  # fmt: skip
def disk_full(world: World, form: str) -> Outcome:
    disk = world.undo.enter_context(small_disk(world.folder / "disk", 8))
    dumping = Dumping.of(world, form, disk)
    noise = "SELECT i, md5(i::text) || md5((-i)::text) AS x FROM generate_series(1, 300000) i"
    dumping.database.execute(f"CREATE TABLE big AS {noise}")
    return dumping.outcome(world.run(dumping.options()))


@case("the last block of a compressed dump does not fit", "disk_full_staging", "disk_full_repository", forms=(GZIP,))
def last_block(world: World, form: str) -> Outcome:
    disk = world.undo.enter_context(small_disk(world.folder / "disk", 4))
    dumping = Dumping.of(world, form, disk, 20_000)
    dumping.database.execute("INSERT INTO item SELECT i, md5(i::text) FROM generate_series(20001, 20400) i")
    elsewhere = world.folder / f"elsewhere{form}"
    assert not world.run(dumping.options(target=str(elsewhere))).failed
    state = os.statvfs(disk)
    block = state.f_frsize
    back = -(-len(dumping.before) // block) * block  # the room that the old dump gives back when it is overwritten
    leave = (elsewhere.stat().st_size - 1) // block * block
    (disk / "others").write_bytes(b"x" * (state.f_bavail * block + back - leave))
    return dumping.outcome(world.run(dumping.options()))


@case("the dump gets larger than a file may be", "file_limit_staging", forms=(TEXT, CUSTOM))
def file_limit(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    clients = broken_pg_dump(world.folder, "trap '' XFSZ; ulimit -f 500", 'exec "$REAL" "$@"')
    return dumping.outcome(world.run(dumping.options(), clients=clients))


# --- something is killed ----------------------------------------------------------------------------------------


@case("pg_dump is killed (SIGKILL) in the middle", "kill_pg_dump", forms=(TEXT, GZIP, CUSTOM))
def kill_pg_dump(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    stop, clients = pg_dump_that_stops(world.folder, "stream")
    running = world.start(dumping.options(), clients=clients)
    kill_tree(stop.pid)
    return dumping.outcome(running.report())


def stop_module(world: World, form: str, number: signal.Signals) -> Outcome:
    dumping = Dumping.of(world, form)
    stop, clients = pg_dump_that_stops(world.folder, "stream")
    running = world.start(dumping.options(), clients=clients)
    dumper = stop.pid
    os.kill(running.module(), number)
    report = running.report(PATIENCE_SECONDS)
    alive = not gone(dumper)
    outcome = dumping.outcome(report)
    kill_tree(dumper)
    note = "; pg_dump runs on without it" if alive else ""
    return Outcome(outcome.report, outcome.done, outcome.harm, outcome.afterwards + note)


@case("the module is killed (SIGKILL)", "kill_module", forms=(TEXT, CUSTOM))
def kill_module(world: World, form: str) -> Outcome:
    return stop_module(world, form, signal.SIGKILL)


@case("the module is asked to end (SIGTERM)", "terminate_module", forms=(TEXT, CUSTOM))
def terminate_module(world: World, form: str) -> Outcome:
    return stop_module(world, form, signal.SIGTERM)


@case("pg_dump ends well with half of the dump", "pg_dump_lies", forms=(TEXT, CUSTOM))
def half_a_dump(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    clients = broken_pg_dump(world.folder, '"$REAL" "$@" | head -c 2000000', "exit 0")
    return dumping.outcome(world.run(dumping.options(), clients=clients))


# --- the server does not answer ---------------------------------------------------------------------------------


@case("the connection is lost in the middle of a table", "connection_lost_stream", forms=(TEXT, GZIP, CUSTOM))
def connection_lost(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form, rows=600_000)
    stop, clients = pg_dump_that_stops(world.folder, "stream")
    running = world.start(dumping.options(), clients=clients)
    assert stop.pid
    end_sessions(dumping.database)
    stop.let_go()
    return dumping.outcome(running.report())


def end_sessions(database: Database) -> None:
    ended = database.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'pg_dump' AND datname = current_database()"
    )
    assert ended == [(True,)], ended


@case("the connection is lost while pg_dump waits for a lock", "connection_lost_directory", forms=(TEXT,))
def connection_lost_early(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    holder = dumping.database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    running = world.start(dumping.options())
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    eventually(lambda: dumping.database.fetch(waiting), "pg_dump to wait")
    end_sessions(dumping.database)
    report = running.report()
    holder.close()
    return dumping.outcome(report)


@case("a table is locked all the time", "table_locked", forms=(TEXT,))
def table_locked(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    holder = dumping.database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
    report = world.start(dumping.options()).report(PATIENCE_SECONDS)
    holder.close()
    return dumping.outcome(report, "; it has no limit without --lock-wait-timeout in dump_extra_args")


@case("pg_dump hangs", "pg_dump_hangs", forms=(TEXT,))
def hangs(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    _stop, clients = pg_dump_that_stops(world.folder, "stream")
    report = world.start(dumping.options(), clients=clients).report(PATIENCE_SECONDS)
    return dumping.outcome(report, "; it has no limit of its own")


@case("nobody answers", "server_down", forms=(TEXT,))
def server_down(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    return dumping.outcome(world.run(dumping.options(login_port=1)))


# --- what it is asked for ---------------------------------------------------------------------------------------


@case("two dumps to one name at once", "two_backups", forms=(TEXT, CUSTOM))
def two_at_once(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    stop, clients = pg_dump_that_stops(world.folder, "stream")
    first = world.start(dumping.options(), clients=clients)
    assert stop.pid
    dumping.database.execute("INSERT INTO item SELECT i, 'late' FROM generate_series(1, 5000) i")
    second = world.run(dumping.options())
    stop.let_go()
    report = first.report()
    other = f"; the one begun later, with 5000 rows more, {'fails' if second.failed else 'said success'}"
    return dumping.outcome(report, other)


@case("pg_dump is two majors older than the server", "old_client", forms=(TEXT, GZIP, CUSTOM))
def old_client(world: World, form: str) -> Outcome:
    dumping = Dumping.of(world, form)
    return dumping.outcome(world.run(dumping.options(), clients=[str(client_bin_dir(16))]))


@case("one table may not be read", "no_select_on_a_table", forms=(TEXT, CUSTOM))
def unreadable(world: World, form: str) -> Outcome:
    reader = a_role(world)  # before the database: it goes after it
    dumping = Dumping.of(world, form)
    dumping.database.execute(f'CREATE TABLE secret (x int); GRANT SELECT ON item TO "{reader}"')
    return dumping.outcome(world.run(dumping.options(login_user=reader)))


@case("a policy hides rows", "row_policy", forms=(TEXT, CUSTOM))
def row_policy(world: World, form: str) -> Outcome:
    reader = a_role(world)  # before the database: it goes after it
    dumping = Dumping.of(world, form)
    dumping.database.execute(f'GRANT SELECT ON item TO "{reader}"; ALTER TABLE item ENABLE ROW LEVEL SECURITY')
    return dumping.outcome(world.run(dumping.options(login_user=reader)))


def a_role(world: World) -> str:
    roles = Roles(world.server)
    world.undo.callback(roles.drop)
    return roles()


HOSTILE = ("dbname=postgres host=/nowhere", "two\nlines '\"", "a b", "it's", "$(id) `id`")


@case("names that break what is not quoted", "hostile_names", forms=(CUSTOM,))
def hostile_names(world: World, form: str) -> Outcome:
    wrong, told = [], []
    for number, name in enumerate(HOSTILE):
        database = world.database(name)
        database.execute(f"CREATE TABLE item_{number} AS SELECT 1 AS x")
        target = world.folder / f"{number}{form}"
        report = world.run({"name": name, "state": "dump", "target": str(target)})
        listing = subprocess.run(
            [client_bin_dir(MAJOR) / "pg_restore", "-l", target], capture_output=True, text=True, check=False
        )
        if f"TABLE DATA public item_{number}" not in listing.stdout:
            wrong.append(repr(name))
        told.append(report)
    report = next((one for one in told if one.failed), told[0])
    words = f"{len(HOSTILE) - len(wrong)} of {len(HOSTILE)} dumped" + (f"; not: {', '.join(wrong)}" if wrong else "")
    return Outcome(report, not wrong, False, words)


@case("a login_user that is a shell command")
def shell_in_user(world: World) -> Outcome:
    database, trace = world.database(), world.folder / "pwned"
    user = f"x;touch {trace};true "
    cursor = world.server.connect().cursor()
    cursor.execute(f'CREATE ROLE "{user}" SUPERUSER LOGIN')
    world.undo.callback(lambda: world.server.connect().cursor().execute(f'DROP ROLE "{user}"'))
    options = {"name": database.name, "state": "dump", "target": str(world.folder / "x.sql"), "login_user": user}
    report = world.run(options)
    ran = "the shell ran the command that was in the name" if trace.exists() else "it was not run"
    return Outcome(report, not trace.exists(), trace.exists(), ran)


@case("check mode of a dump into a folder that does not exist")
def check_dump(world: World) -> Outcome:
    database = world.database()
    options = {"name": database.name, "state": "dump", "target": str(world.folder / "nowhere" / "x.sql")}
    checked, report = world.run(options, "--check"), world.run(options)
    foretold = checked.failed == report.failed and checked.changed == report.changed
    real = f"the real run {'fails' if report.failed else f'says changed: {report.changed}'}"
    return Outcome(checked, foretold, False, f"check mode says changed: {checked.changed}; {real}")


@case("every kind of object and hostile names", "every_object_kind", "every_kind_of_object", forms=(TEXT, CUSTOM))
def every_object(world: World, form: str) -> Outcome:
    role = a_role(world)
    source, copy, target = world.database(), world.database(), world.folder / f"all{form}"
    source.execute(EVERY_OBJECT.replace("{role}", role))
    dumped = world.run({"name": source.name, "state": "dump", "target": str(target)})
    report = world.run({"name": copy.name, "state": "restore", "target": str(target)})
    same = contents(reference(world, source)) == contents(copy)
    words = "definitions and data are equal after a restore" if same else "a restore shows other definitions or data"
    return Outcome(dumped if dumped.failed else report, same, False, words)


def reference(world: World, source: Database) -> Database:
    """Copy a database with every error fatal; a definition is written otherwise after its first copy."""
    copy = world.database()
    command = f"set -o pipefail; pg_dump '{source.name}' | psql -X -q -v ON_ERROR_STOP=1"
    subprocess.run(["bash", "-c", command], env={**os.environ, **address(copy)}, check=True, capture_output=True)
    return copy


def contents(database: Database) -> list[str]:
    """Return a plain dump without what differs between two dumps of the same."""
    command: list[str | Path] = [client_bin_dir(MAJOR) / "pg_dump", "--restrict-key=same"]
    environment = {**os.environ, **address(database)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return sorted(done.stdout.splitlines())
