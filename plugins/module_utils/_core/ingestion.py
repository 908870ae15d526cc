# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ingestion: what a source of events is, what was read of it, and how its own queries are made safe to send."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Mapping, Optional, Sequence

from .errors import InvalidValue
from .limits import Limit
from .number import number_of
from .timestamps import parse_timestamp
from .window import Window

EVENTS, SUCCESS, LAST_EVENT, DUPLICATES = MEASURES = ("events", "success", "last_event", "duplicates")
PLACEHOLDERS = ("source", "since", "until")

# The warnings are the handbooks' numbers; they say nothing about critical.
DEFAULT_LIMITS: Mapping[str, Limit] = {
    "events": Limit(1000, 0, lower_is_worse=True),  # per hour
    "success": Limit(95, 80, lower_is_worse=True),  # %
    "freshness": Limit(3600, 14400),  # seconds
    "duplicates": Limit(1, 5),  # %
    "drop": Limit(50, 90),  # % below the usual rate
}
_MEASURE_OF = {"events": EVENTS, "success": SUCCESS, "freshness": LAST_EVENT, "duplicates": DUPLICATES, "drop": EVENTS}
_PERCENT = (SUCCESS, DUPLICATES)
_TOKEN = re.compile(
    r"[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|(?P<end>;)",
    re.DOTALL,
)
_PERCENT_SIGN = re.compile(r"%(?:%|\((?P<name>\w*)\)s|(?P<wrong>.?))", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table of events from which the queries are made; names are as they are, not quoted."""

    schema: str
    name: str
    time_column: str
    source_column: Optional[str] = None
    source_value: str = ""
    success_column: Optional[str] = None
    success_values: tuple[str, ...] = ("true",)
    key_columns: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is named."""
        named = (self.time_column, self.source_column, self.success_column, *self.key_columns)
        return tuple(dict.fromkeys(column for column in named if column))


@dataclass(frozen=True)
class Source:
    """One source of the inventory. ``usual`` in events per hour; a limit that is None is switched off."""

    name: str
    zone_name: str
    zone: tzinfo
    queries: Mapping[str, str] = field(default_factory=dict)
    table: Optional[Table] = None
    active: tuple[Window, ...] = ()
    usual: Optional[float] = None
    limits: Mapping[str, Optional[Limit]] = field(default_factory=lambda: dict(DEFAULT_LIMITS))

    def wanted(self, measure: str) -> bool:
        """Tell whether a check that is switched on needs this measure; a drop needs the usual rate."""
        return any(
            self.limits.get(check) is not None and (check != "drop" or self.usual is not None)
            for check, needed in _MEASURE_OF.items()
            if needed == measure
        )


@dataclass(frozen=True)
class Reading:
    """What one query gave: a number, a moment, or why there is none."""

    number: Optional[float] = None
    moment: Optional[datetime] = None
    problem: str = ""


@dataclass(frozen=True)
class SourceFacts:
    """What was read of one source between two moments of the database's clock; ``active_seconds`` of it count."""

    source: Source
    since: datetime
    until: datetime
    active_seconds: float
    readings: Mapping[str, Reading]


def check_query(text: str, option: str) -> str:
    """Return a query of the inventory without its last semicolon.

    Raises:
        InvalidValue: it is empty, holds several statements, or a percent sign that is no placeholder.
    """
    ends = [match.start() for match in _TOKEN.finditer(text) if match["end"]]
    query, rest = (text[: ends[0]], text[ends[0] :]) if ends else (text, "")
    if not _without_comments(query).strip():
        raise InvalidValue(f"{option} is empty", hint="write one SELECT that returns one value")
    if _without_comments(rest).strip("; \t\r\n"):
        raise InvalidValue(f"{option} holds more than one statement", hint="write one SELECT that returns one value")
    for match in _PERCENT_SIGN.finditer(query):
        if match["wrong"] is not None or (match["name"] is not None and match["name"] not in PLACEHOLDERS):
            raise InvalidValue(
                f"{option} holds {match[0]!r}, which is no placeholder",
                hint="the placeholders are %(source)s, %(since)s and %(until)s; write %% for a percent sign",
            )
    return query.strip()


def _without_comments(text: str) -> str:
    return _TOKEN.sub(lambda match: " " if match[0].startswith(("--", "/*")) else match[0], text)


def bind(query: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the query with positional placeholders, and their values.

    >>> bind("SELECT %(b)s, '%%', %(a)s", {"a": 1, "b": 2})
    ("SELECT %s, '%%', %s", [2, 1])
    """
    bound: list[Any] = []

    def place(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        bound.append(values[match["name"]])
        return "%s"

    return _PERCENT_SIGN.sub(place, query), bound


def read_rows(rows: Sequence[str], measure: str, zone: tzinfo) -> Reading:
    """Return the reading in the rows of a query, each a row as JSON; anything but one value is a problem in words."""
    if not rows:
        return Reading(problem="the query returned no row, it must return one")
    if len(rows) > 1:
        return Reading(problem="the query returned more than one row, it must return one")
    columns = json.loads(rows[0], object_pairs_hook=list)
    if len(columns) != 1:
        return Reading(problem=f"the query returned {len(columns)} columns, it must return one")
    value = columns[0][1]
    return _read_moment(value, zone) if measure == LAST_EVENT else _read_number(value, measure)


def _read_number(value: Any, measure: str) -> Reading:
    if value is None:
        nothing = "the query returned nothing (NULL)"
        return Reading(problem=f"there is no event to judge: {nothing}" if measure in _PERCENT else nothing)
    number = number_of(value)
    if number is None:
        return Reading(problem=f"the query returned {_shown(value)}, which is no number")
    if number < 0 or (measure in _PERCENT and number > 100):
        wanted = "between 0 and 100" if measure in _PERCENT else "of 0 or more"
        return Reading(problem=f"the query returned {number:g}, it must return a number {wanted}")
    return Reading(number=number)


def _read_moment(value: Any, zone: tzinfo) -> Reading:
    if value is None:
        return Reading(problem="there is no event at all (NULL)")
    moment = parse_timestamp(value, zone) if isinstance(value, str) else None
    if moment is None:
        return Reading(problem=f"the query returned {_shown(value)}, which is no timestamp (a date alone is none)")
    return Reading(moment=moment)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
