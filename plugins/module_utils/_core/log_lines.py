# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read one log entry: its level, its message and its moment. Every format ends as the same few fields."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Mapping, Optional, Sequence

from .log_levels import ERROR, level_of_line, level_of_value
from .log_patterns import plain
from .timestamps import find_timestamp, from_epoch, parse_timestamp

AUTO, PLAIN, JSON, ACCESS, NGINX_ERROR, POSTGRESQL, POSTGRESQL_CSV, SYSLOG = FORMATS = (
    "auto",
    "plain",
    "json",
    "nginx_access",
    "nginx_error",
    "postgresql",
    "postgresql_csv",
    "syslog",
)
ENTRY_CHARACTERS = 16384
_HEAD = 120
LEVEL_NAMES = ("level", "severity", "lvl", "levelname", "log.level", "loglevel", "priority", "PRIORITY")
_MESSAGE_FIELDS = ("msg", "message", "MESSAGE", "event", "error.message", "err.message", "error", "err")
_TIME_FIELDS = ("time", "timestamp", "@timestamp", "ts", "t", "datetime", "date")
_CSV_SEVERITY, _CSV_STATE, _CSV_MESSAGE, _CSV_LEAST = 11, 12, 13, 14
_CSV_START = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \w+,")
_ACCESS_START = re.compile(r"\S+ \S+ .{0,200}?\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] \"")
_EXCEPTION = re.compile(r"^(?:Caused by: )?[A-Za-z_][\w.$]{0,200}(?:Exception|Error|Interrupt|Exit)\b(?::|$)")


@dataclass(frozen=True)
class Reading:
    """How a source's entries are read; fields of JSON entries are names, dots lead into nested ones."""

    zone: tzinfo
    now: datetime
    level_field: str = ""
    message_field: str = ""
    time_field: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of a log, with the lines that belong to it. ``at`` is None when it does not say when."""

    level: Optional[str]
    message: str
    at: Optional[datetime]


def detect(sample: str) -> str:
    """Return the format that the first lines of a log are in.

    >>> detect('{"level":50,"msg":"x"}'), detect("Nov 21 14:00:00 db1 app: x")
    ('json', 'plain')
    """
    lines = [line for line in sample.splitlines()[:20] if line.strip()]
    tests = (
        (JSON, lambda line: line.lstrip().startswith("{") and line.rstrip().endswith("}")),
        (ACCESS, lambda line: _ACCESS_START.match(line) is not None),
        (POSTGRESQL_CSV, lambda line: _CSV_START.match(line) is not None),
    )
    for name, test in tests:
        if lines and 2 * sum(1 for line in lines if test(line)) > len(lines):
            return name
    return PLAIN  # plain, syslog, nginx and PostgreSQL errors are read alike


def read_entry(lines: Sequence[str], reading: Reading) -> Entry:
    """Return the entry of a line and those that belong to it; a JSON line is told by its brace."""
    first = lines[0]
    if first.lstrip().startswith("{"):
        found = _from_json(first, reading)
        if found is not None:
            return found
    text = plain(first)
    exception = "" if len(lines) == 1 else _exception(lines)
    message = exception if text.startswith("Traceback (most") and exception else text
    if exception and message is not exception:
        message = f"{text} | {exception}"
    return Entry(level_of_line(text), message, find_timestamp(text[:_HEAD], reading.zone, reading.now))


def _exception(lines: Sequence[str]) -> str:
    """Return the line that names the exception of a stack trace: the last one of them."""
    named = [line.strip() for line in lines[1:] if _EXCEPTION.match(line.strip())]
    return named[-1] if named else ""


def _from_json(line: str, reading: Reading) -> Optional[Entry]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    return from_fields(fields, reading)


def from_fields(fields: Mapping[str, Any], reading: Reading) -> Entry:
    """Return the entry of a structured log; one that has an error and no level is an error."""
    level = level_of_value(_first(fields, reading.level_field, LEVEL_NAMES))
    message = _text(_first(fields, reading.message_field, _MESSAGE_FIELDS))
    if level is None and any(fields.get(name) for name in ("error", "err", "exception")):
        level = ERROR
    kind = _text(_first(fields, "", ("err.type", "error.type", "err.name", "error.name", "exception.type")))
    if kind and kind not in message:
        message = f"{message} | {kind}"
    return Entry(level, message, _moment(_first(fields, reading.time_field, _TIME_FIELDS), reading.zone))


def _first(fields: Mapping[str, Any], named: str, usual: Sequence[str]) -> Any:
    for path in (named,) if named else usual:
        value: Any = fields.get(path)
        if value is None and "." in path:
            value = fields
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("message") or value.get("msg") or value
    if value is None:
        return ""
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:ENTRY_CHARACTERS]


def _moment(value: Any, zone: tzinfo) -> Optional[datetime]:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return from_epoch(value)
    return parse_timestamp(value, zone) if isinstance(value, str) else None


def read_csv_row(text: str, reading: Reading) -> Optional[Entry]:
    """Return the entry of a row of PostgreSQL's csvlog (documentation, 19.8.4); None when it is none."""
    try:
        row = next(csv.reader([text], strict=False), [])
    except csv.Error:
        return None
    if len(row) < _CSV_LEAST:
        return None
    level = level_of_value(row[_CSV_SEVERITY])
    message = f"{row[_CSV_SEVERITY]} {row[_CSV_STATE]}: {row[_CSV_MESSAGE]}"
    return Entry(level, message, find_timestamp(row[0], reading.zone, reading.now))
