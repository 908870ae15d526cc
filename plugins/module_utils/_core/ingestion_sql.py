# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ingestion: the queries for a table of events, made of names that the server has quoted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Mapping

from .errors import PreconditionFailed
from .ingestion import DUPLICATES, EVENTS, LAST_EVENT, SUCCESS, Table

_TIMES = ("timestamp without time zone", "timestamp with time zone")
_TEXTS = ("text", "character varying", "character")

Query = tuple[str, list[Any]]


@dataclass(frozen=True)
class Columns:
    """A table as the server describes it: quoted, and the type of each column that it has."""

    relation: str
    quoted: Mapping[str, str]
    types: Mapping[str, str]


def table_query(table: Table, columns: Columns, measure: str, since: datetime, until: datetime) -> Query:
    """Return the query of one measure, with its values.

    The window is half open: ``since`` <= time < ``until``. Duplicates are the rows of the window, in percent, whose key
    is there already; NULLs are equal. A row whose success column is NULL is no success.

    Raises:
        PreconditionFailed: a column is missing, is of no use as a time, or the inventory does not name it.
    """
    _check(table, columns)
    time = _time(table, columns)
    where, values = _of_source(table, columns)
    if measure == LAST_EVENT:
        return _select(_last(table, columns), columns, where), values
    counted, first = _counted(table, columns, measure)
    where = [*where, f"{time} >= %s", f"{time} < %s"]
    return _select(counted, columns, where), [*first, *values, since, until]


def _check(table: Table, columns: Columns) -> None:
    missing = [name for name in table.columns if name not in columns.types]
    if missing:
        raise PreconditionFailed(
            f"{table.schema}.{table.name} has no column {', '.join(missing)}", hint="correct the inventory"
        )
    kind = columns.types[table.time_column]
    if kind not in (*_TIMES, *_TEXTS):
        raise PreconditionFailed(
            f"{table.schema}.{table.name}.{table.time_column} is {kind}, not a timestamp or text",
            hint="give queries of its own for this source",
        )


def _name(columns: Columns, column: str) -> str:
    return columns.quoted[column].replace("%", "%%")  # the driver reads percent signs


def _time(table: Table, columns: Columns) -> str:
    name = _name(columns, table.time_column)
    return name if columns.types[table.time_column] in _TIMES else f"{name}::timestamptz"


def _last(table: Table, columns: Columns) -> str:
    """Return the newest time: of a timestamp without a cast inside, so that an index answers."""
    if columns.types[table.time_column] in _TIMES:
        return f"pg_catalog.max({_time(table, columns)})::timestamptz"
    return f"pg_catalog.max({_time(table, columns)})"


def _of_source(table: Table, columns: Columns) -> tuple[list[str], list[Any]]:
    if table.source_column is None:
        return [], []
    name = _name(columns, table.source_column)
    text = name if columns.types[table.source_column] in _TEXTS else f"{name}::text"
    return [f"{text} = %s"], [table.source_value]


def _select(what: str, columns: Columns, conditions: list[str]) -> str:
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {what} FROM {columns.relation}{where}"  # noqa: S608  (names quoted by the server, values apart)


def _counted(table: Table, columns: Columns, measure: str) -> Query:
    if measure == EVENTS:
        return "pg_catalog.count(*)", []
    if measure == SUCCESS and table.success_column:
        column = f"{_name(columns, table.success_column)}::text"
        good = f"pg_catalog.count(*) FILTER (WHERE {column} = ANY (%s::text[]))"
        return f"100.0 * {good} / nullif(pg_catalog.count(*), 0)", [list(table.success_values)]
    if measure == DUPLICATES and table.key_columns:
        key = ", ".join(_name(columns, column) for column in table.key_columns)
        twice = f"pg_catalog.count(*) - pg_catalog.count(DISTINCT ROW({key}))"
        return f"100.0 * ({twice}) / nullif(pg_catalog.count(*), 0)", []
    option = "success_column" if measure == SUCCESS else "key_columns"
    raise PreconditionFailed(
        f"the inventory does not say how {measure} is read",
        hint=f"give {option} or queries.{measure}, or switch it off with limits.{measure}: false",
    )
