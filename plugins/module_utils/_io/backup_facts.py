# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.
# ruff: noqa: S608  (names are quoted by the server)

"""Reads what a database is and holds, all of it in one MVCC snapshot that several sessions and pg_dump can share."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from .._core.backup_manifest import Checksum, DatabaseState, SequenceState, ServerState, TableState
from .._core.backup_state import (
    ALL,
    Scope,
    counted_scope,
    first_scope,
    hash_lines,
    read_definitions,
    same_scope,
)
from .._core.errors import DatabaseFailed
from .._core.redact import printable
from .._core.units import count_of
from . import backup_facts_queries as queries
from .postgres import Database

_ROW_HASH = 'pg_catalog.hashtextextended((ROW({columns}))::pg_catalog.text COLLATE "C", 0)'
_SHOWN = 20

OnTable = Callable[[int, int, TableState], None]


@dataclass(frozen=True)
class SharedSnapshot:
    """Open transactions that all see the same moment; ``id`` is what pg_dump takes as ``--snapshot``."""

    id: str
    taken_at: datetime
    sessions: tuple[Database, ...]


@contextlib.contextmanager
def shared_snapshot(database: Database, helpers: Sequence[Database] = ()) -> Iterator[SharedSnapshot]:
    """Hold one moment in read-only transactions of all sessions, with settings that make rows comparable.

    What was read in it stays locked against DROP, TRUNCATE and ALTER until the end, so that a dump with this snapshot
    finds the same rows.

    Raises:
        DatabaseFailed: with a code from _core.sqlstate.
    """
    sessions = (database, *helpers)
    try:
        database.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = database.fetch(
            "SELECT pg_catalog.pg_export_snapshot() AS id, pg_catalog.transaction_timestamp() AS taken_at"
        )[0]
        for helper in helpers:
            helper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            helper.execute("SET TRANSACTION SNAPSHOT %s", [found["id"]])
        for session in sessions:
            for name, value in queries.SETTINGS:
                session.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
        yield SharedSnapshot(found["id"], found["taken_at"], sessions)
    finally:
        for session in sessions:
            if not session.closed:
                with contextlib.suppress(DatabaseFailed):
                    session.execute("ROLLBACK")


def read_state(
    database: Database,
    *,
    checksum_rows: int = 1000,
    like: Optional[DatabaseState] = None,
    helpers: Sequence[Database] = (),
    on_table: Optional[OnTable] = None,
) -> DatabaseState:
    """Return everything that a database can say about itself.

    ``like``: make the checksums over the same rows as these facts did; a restored table is smaller than its source,
    and would otherwise be summed up differently. ``helpers``: further sessions in the same database, to count on
    several at once. The time-outs are those of the sessions. Sequences stand outside of snapshots: they may be ahead.

    Raises:
        DatabaseFailed: code ``insufficient_privilege`` with the names of everything that the role may not read, before
            anything is counted; or another one from _core.sqlstate.
    """
    with shared_snapshot(database, helpers) as snapshot:
        return read_shared(snapshot, checksum_rows=checksum_rows, like=like, on_table=on_table)


def read_shared(
    snapshot: SharedSnapshot,
    *,
    checksum_rows: int = 1000,
    like: Optional[DatabaseState] = None,
    on_table: Optional[OnTable] = None,
) -> DatabaseState:
    """Return what ``read_state`` does, within a snapshot that is already held."""
    database = snapshot.sessions[0]
    require_readable(database)
    server, about = _server(database)
    definitions = read_definitions(_lines(database, queries.DEFINITIONS))
    return DatabaseState(
        server=server,
        owner=about["owner"],
        size_bytes=about["size_bytes"],
        schema_hash=definitions.schema_hash,
        grants_hash=hash_lines(_lines(database, queries.GRANTS)),
        definitions=definitions.hashes,
        tables=_tables(snapshot, _Scopes(checksum_rows, like), on_table),
        sequences=tuple(SequenceState(**row) for row in database.fetch(queries.SEQUENCES)),
        extensions={row["name"]: row["version"] for row in database.fetch(queries.EXTENSIONS)},
        objects=definitions.objects,
        roles=tuple(row["name"] for row in database.fetch(queries.ROLES)),
        tablespace=about["tablespace"],
        tablespaces=tuple(row["name"] for row in database.fetch(queries.TABLESPACES)),
    )


def require_readable(database: Database) -> None:
    """Look whether the role may read everything that a dump reads; ``row_security`` must be off in the session.

    Raises:
        DatabaseFailed: code ``insufficient_privilege``; the message and ``details["objects"]`` name all of them.
    """
    found = database.fetch(queries.UNREADABLE)
    if not found:
        return
    shown = ", ".join(printable(f"{row['name']} ({row['reason']})") for row in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if found[_SHOWN:] else ""
    raise DatabaseFailed(
        f"read all of database {printable(database.dbname)}: {count_of(len(found), 'object')} may not be read: "
        f"{shown}{more}",
        code="insufficient_privilege",
        hint="grant SELECT (and USAGE on the schema), or pg_read_all_data (14+); row policies need BYPASSRLS",
        details={"objects": [dict(row) for row in found]},
    )


def _server(database: Database) -> tuple[ServerState, Mapping[str, Any]]:
    row = database.fetch(queries.server_query(database.major))[0]
    identifier = database.fetch(queries.IDENTIFIER)[0]["identifier"] if row["may_identify"] else ""
    names = ("version", "in_recovery", "wal_lsn", "encoding", "collate", "ctype", "locale_provider", "locale")
    return ServerState(major=database.major, system_identifier=identifier, **{name: row[name] for name in names}), row


def _lines(database: Database, questions: Sequence[str]) -> list[str]:
    return [row["line"] for question in questions for row in database.fetch(question)]


@dataclass(frozen=True)
class _Scopes:
    """Decides which rows of a table are summed up."""

    end_rows: int
    like: Optional[DatabaseState]

    def known(self) -> dict[tuple[str, str], Optional[Scope]]:
        tables = self.like.tables if self.like else ()
        return {(table.schema, table.name): same_scope(table.checksum) for table in tables}


def _tables(snapshot: SharedSnapshot, scopes: _Scopes, on_table: Optional[OnTable]) -> tuple[TableState, ...]:
    """Count and sum up all tables, the largest first, each session taking the next one."""
    rows = sorted(snapshot.sessions[0].fetch(queries.TABLES), key=lambda row: -row["size_bytes"])
    waiting, found, known, lock = deque(rows), [], scopes.known(), threading.Lock()

    def work(session: Database) -> None:
        while True:
            try:
                row = waiting.popleft()
            except IndexError:
                return
            try:
                table = _table(session, row, scopes, known)
            except BaseException:
                waiting.clear()  # the others stop after the table they are at
                raise
            with lock:
                found.append(table)
                if on_table is not None:
                    on_table(len(found), len(rows), table)

    with ThreadPoolExecutor(len(snapshot.sessions)) as pool:
        for done in [pool.submit(work, session) for session in snapshot.sessions]:
            done.result()
    return tuple(sorted(found, key=lambda table: (table.schema, table.name)))


def _table(
    session: Database,
    row: Mapping[str, Any],
    scopes: _Scopes,
    known: Mapping[tuple[str, str], Optional[Scope]],
) -> TableState:
    name, source = (row["schema"], row["name"]), f"ONLY {row['sql_name']} AS t {row['condition']}"
    scope = known[name] if name in known else first_scope(row["size_bytes"])
    if scope is not None and scope.scope == ALL:
        return _whole(session, row, source)
    count = session.fetch(f"SELECT pg_catalog.count(*) AS rows FROM {source}")[0]["rows"]
    if name not in known:
        scope = counted_scope(count, bool(row["key"]) and not row["condition"], scopes.end_rows)
    if scope is not None and scope.scope == ALL:
        return _whole(session, row, source)
    checksum = None if scope is None or not row["key"] else _ends(session, row, scope)
    return TableState(*name, rows=count, size_bytes=row["size_bytes"], checksum=checksum)


def _whole(session: Database, row: Mapping[str, Any], source: str) -> TableState:
    value = f"coalesce(pg_catalog.sum({_row_hash(row)}), 0)::pg_catalog.text"
    summed = session.fetch(f"SELECT pg_catalog.count(*) AS rows, {value} AS value FROM {source}")[0]
    checksum = Checksum(ALL, summed["rows"], summed["value"])
    return TableState(row["schema"], row["name"], summed["rows"], row["size_bytes"], checksum)


def _ends(session: Database, row: Mapping[str, Any], scope: Scope) -> Checksum:
    """Sum up the first and the last rows by the key; where there are fewer rows than that, some count twice."""
    parts = " UNION ALL ".join(
        f"(SELECT {_row_hash(row)} AS h FROM ONLY {row['sql_name']} AS t ORDER BY {order} LIMIT {scope.rows // 2})"
        for order in (row["key"], row["key_backwards"])
    )
    value = session.fetch(f"SELECT coalesce(pg_catalog.sum(h), 0)::pg_catalog.text AS value FROM ({parts}) AS ends")
    return Checksum(scope.scope, scope.rows, value[0]["value"])


def _row_hash(row: Mapping[str, Any]) -> str:
    return _ROW_HASH.format(columns=row["columns"])
