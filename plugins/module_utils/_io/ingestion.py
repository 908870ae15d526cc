# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the sources of events: one connection, a read-only transaction for each query, each with its own time-out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Callable, Optional, Sequence

from .._core.errors import DatabaseFailed, OpsError, PreconditionFailed
from .._core.ingestion import MEASURES, Reading, Source, SourceFacts, bind, read_rows
from .._core.ingestion_active import measured_since
from .._core.ingestion_sql import Columns, Query, table_query
from .._core.redact import printable
from .._core.sql_text import identifier
from .clock import Clock
from .postgres import Database, Target, connect

_WHO = "SELECT pg_catalog.clock_timestamp() AS now, CURRENT_USER::text AS role"
_GUARD = """
BEGIN TRANSACTION READ ONLY;
SELECT pg_catalog.set_config('statement_timeout', %s, true), pg_catalog.set_config('TimeZone', %s, true)
"""
# JSON keeps what a driver would not: columns of one name, infinity, years before Christ. LIMIT bounds the answer.
_WRAPPED = (
    "SELECT pg_catalog.row_to_json(oncall_runbooks_row)::text AS row FROM (\n{}\n) AS oncall_runbooks_row LIMIT 2"
)
_COLUMNS = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS relation, a.attname AS name,
       pg_catalog.quote_ident(a.attname) AS quoted, pg_catalog.format_type(a.atttypid, NULL) AS type
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (%s::name[])
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_GONE = ("server_gone", "connection_failed", "server_unavailable")


@dataclass(frozen=True)
class Ask:
    """How to ask: the window in seconds and the time that the whole may take."""

    window: float
    timeout: float


def read_sources(target: Target, sources: Sequence[Source], ask: Ask, clock: Clock) -> tuple[SourceFacts, ...]:
    """Return what could be read of each source; a query that fails is a problem of its measure.

    Raises:
        OpsError: there is no connection.
    """
    deadline = clock.monotonic() + ask.timeout
    connecting = {"connect_timeout": max(2, min(10, int(ask.timeout)))}
    with connect(replace(target, parameters={**connecting, **target.parameters})) as database:
        reader = _Reader(database, target.statement_timeout, lambda: deadline - clock.monotonic())
        return tuple(reader.source(source, ask.window) for source in sources)


class _Reader:
    def __init__(self, database: Database, statement_timeout: float, left: Callable[[], float]) -> None:
        self._database = database
        self._statement_timeout = statement_timeout
        self._left = left
        self._lost: Optional[OpsError] = None
        who = database.fetch(_WHO)[0]
        self._now: datetime = who["now"].astimezone(timezone.utc)
        self._role: str = who["role"]

    def source(self, source: Source, window: float) -> SourceFacts:
        """Return what could be read of a source; its window ends now, by the database's clock."""
        until = self._now
        since, active = measured_since(source.active, until, window)
        columns = self._columns(source)
        readings = {
            measure: self._measure(source, measure, columns, since, until)
            for measure in MEASURES
            if source.wanted(measure)
        }
        return SourceFacts(source, since, until, active, readings)

    def _measure(self, source: Source, measure: str, columns: Any, since: datetime, until: datetime) -> Reading:
        try:
            query, values = _query(source, measure, columns, since, until)
            rows = self._rows(_WRAPPED.format(query), values, source.zone_name)
        except OpsError as error:
            return Reading(problem=self._words(error, source))
        return read_rows([row["row"] for row in rows], measure, source.zone)

    def _columns(self, source: Source) -> Any:
        """Return the columns of the source's table, or the error that stands in their place; None without a table."""
        table = source.table
        if table is None or all(measure in source.queries for measure in MEASURES if source.wanted(measure)):
            return None
        try:
            rows = self._rows(_COLUMNS, [list(table.columns), table.schema, table.name], source.zone_name)
        except OpsError as error:
            return error
        if not rows:
            return PreconditionFailed(f"there is no table {table.schema}.{table.name}", hint="correct schema and table")
        named = [row for row in rows if row["name"] is not None]
        return Columns(
            rows[0]["relation"].replace("%", "%%"),
            {row["name"]: row["quoted"] for row in named},
            {row["name"]: row["type"] for row in named},
        )

    def _rows(self, query: str, values: Sequence[Any], zone: str) -> list[dict[str, Any]]:
        if self._lost is not None:
            raise self._lost
        seconds = min(self._statement_timeout or self._left(), self._left())
        if seconds <= 0:
            raise PreconditionFailed("the time for all sources was used up before it", hint="raise timeout")
        try:
            self._database.execute(_GUARD, [f"{max(1, int(seconds * 1000))}ms", zone])
            return self._database.fetch(query, values)
        except DatabaseFailed as error:
            if error.code in _GONE or self._database.closed:
                self._lost = error
            raise
        finally:
            with contextlib.suppress(DatabaseFailed):
                self._database.execute("ROLLBACK")

    def _words(self, error: OpsError, source: Source) -> str:
        hint = error.hint
        if error.code == "insufficient_privilege":
            table = source.table
            what = identifier(table.schema, table.name) if table else "what the query reads"
            hint = f"GRANT SELECT ON {what} TO {identifier(self._role)}"
        elif error.code == "cancelled":
            hint = "an index on the source and the time makes it fast; statement_timeout and timeout bound it"
        elif error.code == "read_only":
            hint = "only a SELECT is allowed here"
        return printable(f"{error.message} ({hint})" if hint else error.message)


def _query(source: Source, measure: str, columns: Any, since: datetime, until: datetime) -> Query:
    own = source.queries.get(measure)
    if own is not None:
        return bind(own, {"source": source.name, "since": since, "until": until})
    if source.table is None:
        raise PreconditionFailed(
            f"the inventory does not say how {measure} is read",
            hint=f"give queries.{measure} or a table, or switch the check off in limits",
        )
    if isinstance(columns, OpsError):
        raise columns
    return table_query(source.table, columns, measure, since, until)
