"""Tables, bloat and interrupted rebuilds for the tests of postgresql_reindex."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers import SUPERUSER, Database
from tests.support.sessions import PATIENCE_SECONDS, eventually

ROOT = Path(__file__).resolve().parent.parent.parent

SMALL = {"min_index_size": "64kB", "min_wasted": "32kB", "unused_after": "0s"}
RECORDS = """
SELECT description FROM pg_largeobject_metadata m
  JOIN pg_description d ON d.objoid = m.oid AND d.classoid = 'pg_largeobject'::regclass
"""
INDEX = """
SELECT x.oid, i.indisvalid AND i.indisready, pg_relation_size(x.oid), pg_get_userbyid(x.relowner)
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
 WHERE n.nspname = %s AND x.relname = %s
"""
SESSIONS_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = %s AND pid <> pg_backend_pid() AND application_name = '' AND backend_type = 'client backend'
"""
MISCOUNTED = """
WITH tables AS (
    SELECT %s::regclass::oid AS oid UNION SELECT relid FROM pg_partition_tree(%s::regclass)
)
SELECT count(*) FROM pg_class c
 WHERE c.relkind IN ('r', 't') AND abs(pg_stat_get_live_tuples(c.oid) - c.reltuples) > 0.1 * c.reltuples + 10
   AND (c.oid IN (SELECT oid FROM tables)
        OR c.oid IN (SELECT t.reltoastrelid FROM pg_class t JOIN tables USING (oid)))
"""


@dataclass(frozen=True)
class Index:
    oid: int
    usable: bool
    bytes: int
    owner: str


def options(database: Database, user: str = SUPERUSER, **more: Any) -> dict[str, Any]:
    return {"dsn": database.dsn(user), **SMALL, **more}


def index(database: Database, name: str, schema: str = "public") -> Index | None:
    rows = database.fetch(INDEX, schema, name)
    return Index(*rows[0]) if rows else None


def index_names(database: Database, table: str) -> set[str]:
    query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass"
    return {name.rpartition(".")[2] for (name,) in database.fetch(query, table)}


def make_bloated(database: Database, table: str = "t", rows: int = 20_000, keep: int = 10) -> None:
    """Make a table whose primary key and index on v are nine tenths empty."""
    database.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v text)")
    database.execute(f"INSERT INTO {table} SELECT g, md5(g::text) FROM generate_series(1, {rows}) g")
    database.execute(f"CREATE INDEX {table.rpartition('.')[2]}_v ON {table} (v)")
    empty(database, table, keep)


def empty(database: Database, table: str, keep: int = 10) -> None:
    database.execute(f"DELETE FROM {table} WHERE id % {keep} <> 0")
    vacuum(database, table)


def vacuum(database: Database, table: str, options: str = "ANALYZE") -> None:
    """Vacuum, and wait until the statistics say so too: before 15 they come late, the last ones at a session's end."""
    eventually(lambda: database.fetch(SESSIONS_AT_WORK, database.name) == [(0,)], "earlier sessions to end")
    database.execute(f"VACUUM ({options}) {table}")
    eventually(lambda: database.fetch(MISCOUNTED, table, table) == [(0,)], f"the statistics of {table}")


def invalidate(database: Database, name: str) -> None:
    """Make an index what a failed CREATE INDEX CONCURRENTLY leaves behind."""
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", name)


def findings(result: dict[str, Any], check: str) -> list[dict[str, Any]]:
    """Return the findings whose check begins with this word."""
    return [finding for finding in result["findings"] if finding["check"].split(":")[0] == check]


def step(result: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [step for step in result["steps"] if step["id"].endswith(name)]
    return dict(found)


def records(database: Database) -> list[str]:
    return [description for (description,) in database.fetch(RECORDS)]


@contextlib.contextmanager
def held(database: Database, statement: str, user: str = SUPERUSER, application: str = "holder") -> Iterator[Any]:
    """Keep a transaction open in which a statement was run."""
    connection = database.connect(user, autocommit=False, application_name=application)
    try:
        connection.cursor().execute(statement)
        yield connection
    finally:
        connection.close()


def working_pids(database: Database) -> list[int]:
    query = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = %s AND query LIKE 'REINDEX INDEX CONCURRENTLY%%' AND state = 'active'
    """
    return [pid for (pid,) in database.fetch(query, database.name)]


def wait_for_copy(database: Database, name: str) -> None:
    eventually(lambda: index(database, name) is not None, f"{name} to appear")


class Subprocess:
    """The module in a process of its own, so that it can be killed."""

    def __init__(self, args: dict[str, Any]) -> None:
        program = (
            "import json, sys; from tests.support.modules import run_module; "
            "print(json.dumps(run_module('postgresql_reindex', json.loads(sys.argv[1]))))"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(args)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(PATIENCE_SECONDS)

    def result(self) -> dict[str, Any]:
        output, _unused = self._process.communicate(timeout=PATIENCE_SECONDS)
        return dict(json.loads(output))

    def __enter__(self) -> Subprocess:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
