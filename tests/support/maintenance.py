"""Tables in every state of neglect, and ways to see what maintenance really did to them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from psycopg2 import sql

from tests.support.modules import run_failed, run_module, run_ok
from tests.support.servers import Database

MODULE = "postgresql_maintenance"
SLOW = {"vacuum_cost_delay": "100ms", "vacuum_cost_limit": 1}  # at least 0.4 s for each page that is made dirty


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Return the condition's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)
    return value


def named(name: str, schema: str = "public") -> sql.Composable:
    return sql.Identifier(schema, name)


def run_sql(database: Database, template: str, *names: Any, **parameters: Any) -> None:
    """Run a statement with identifiers filled in, in a connection of its own: its counters are reported at its end."""
    connection = database.connect(**parameters)
    try:
        connection.cursor().execute(sql.SQL(template).format(*names))
    finally:
        connection.close()


def counters(database: Database, name: str, schema: str = "public") -> dict[str, Any]:
    """Return what the server counts about a table."""
    query = """SELECT coalesce(n_dead_tup, 0), coalesce(n_mod_since_analyze, 0), vacuum_count, analyze_count,
                      coalesce(n_live_tup, 0), age(relfrozenxid)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                 LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE nspname = %s AND c.relname = %s"""
    ((dead, modified, vacuums, analyzes, live, age),) = database.fetch(query, schema, name)
    return {"dead": dead, "modified": modified, "vacuums": vacuums, "analyzes": analyzes, "live": live, "age": age}


def make_table(database: Database, name: str, schema: str = "public", rows: int = 1000, user: str = "postgres") -> None:
    """Make a table that needs nothing."""
    create = "CREATE TABLE {} (id int PRIMARY KEY, a int, b text)"
    run_sql(database, create, named(name, schema), user=user)
    fill = "INSERT INTO {} SELECT g, g, repeat('x', 50) FROM generate_series(1, " + str(rows) + ") g"
    run_sql(database, fill, named(name, schema), user=user)
    until(lambda: counters(database, name, schema)["live"] == rows, "the inserts to be counted")
    run_sql(database, "VACUUM (ANALYZE) {}", named(name, schema), user=user)
    until(lambda: counters(database, name, schema)["modified"] == 0, "the analyze to be counted")


def make_dead_rows(database: Database, name: str, schema: str = "public", rows: int = 500) -> None:
    """Update rows of a table, so that their old versions are dead."""
    known = counters(database, name, schema)["dead"]
    run_sql(database, "UPDATE {} SET a = a + 1 WHERE id <= " + str(rows), named(name, schema))
    until(lambda: counters(database, name, schema)["dead"] >= known + rows * 0.9, "the updates to be counted")


def make_needy(database: Database, *names: str, schema: str = "public", rows: int = 1000) -> None:
    """Make tables that need a vacuum."""
    for name in names:
        make_table(database, name, schema, rows)
        make_dead_rows(database, name, schema, rows // 2)


def maintain(database: Database, *, check: bool = False, user: str = "postgres", **options: Any) -> dict[str, Any]:
    """Run the module on one database; system catalogs are left out unless asked for."""
    return run_ok(MODULE, arguments(database, user, **options), check=check)


def maintain_failing(database: Database, *, user: str = "postgres", **options: Any) -> dict[str, Any]:
    return run_failed(MODULE, arguments(database, user, **options))


def maintain_whatever(database: Database, **options: Any) -> dict[str, Any]:
    return run_module(MODULE, arguments(database, "postgres", **options))


def arguments(database: Database, user: str = "postgres", **options: Any) -> dict[str, Any]:
    return {"dsn": database.dsn(user), "system_catalogs": False, "lock_timeout": "200ms", **options}


def by_table(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of a result by table name."""
    return {entry["table"]: entry for entry in result["tables"]}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {name: entry["status"] for name, entry in by_table(result).items()}


def finding(result: dict[str, Any], check: str) -> dict[str, Any]:
    (found,) = [found for found in result["findings"] if found["check"] == check]
    return dict(found)


@contextlib.contextmanager
def holding(database: Database, *statements: str, **options: Any) -> Iterator[Any]:
    """Keep a transaction open in which the statements were run."""
    connection = database.connect(autocommit=False, **options)
    try:
        for statement in statements:
            connection.cursor().execute(statement)
        yield connection
    finally:
        connection.close()
