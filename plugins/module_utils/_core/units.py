# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Sizes and durations: read what people write, write what people read."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from .errors import InvalidValue

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|min|m|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, None: 1}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kKmMgGtT]?)(?P<suffix>i?[bB])?")
_STEPS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(text: object, option: str) -> float:
    """Return seconds for ``90``, ``90s``, ``15m``, ``1h30m``, ``2d`` or ``1w``.

    Raises:
        InvalidValue: the text is no duration; the message names ``option``.

    >>> parse_duration("1h30m", "budget"), parse_duration(90, "budget"), parse_duration("500ms", "lock_timeout")
    (5400.0, 90.0, 0.5)
    """
    rest, total = str(text).strip(), 0.0
    while rest:
        match = _DURATION.match(rest)
        if match is None:
            break
        total += float(match["number"]) * _SECONDS[match["unit"]]
        rest = rest[match.end() :].lstrip()
    if rest or not str(text).strip():
        raise InvalidValue(
            f"{option} must be a duration such as 90s, 15m, 1h30m or 2d, not {text!r}",
            hint=f"write {option} as a number of seconds or with a unit: ms, s, m, h, d, w",
        )
    return total


def parse_size(text: object, option: str) -> int:
    """Return bytes for ``4096``, ``64kB``, ``1.5GiB`` or ``2G``; the steps are powers of 1024, as in PostgreSQL.

    Raises:
        InvalidValue: the text is no size; the message names ``option``.

    >>> parse_size("64kB", "x"), parse_size("1.5GiB", "x"), parse_size(10, "x")
    (65536, 1610612736, 10)
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise InvalidValue(
            f"{option} must be a size such as 512MB or 10GiB, not {text!r}",
            hint=f"write {option} as a number of bytes or with a unit: kB, MB, GB, TB (powers of 1024)",
        )
    return int(float(match["number"]) * 1024 ** _POWER[match["prefix"].lower()])


def human_size(size_bytes: float) -> str:
    """Return a size for people.

    >>> human_size(0), human_size(1536), human_size(5 * 1024**3)
    ('0 B', '1.5 kB', '5.0 GB')
    """
    sign, value = ("-" if size_bytes < 0 else ""), abs(float(size_bytes))
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1024 or unit == "TB":
            break
        value /= 1024
    return f"{sign}{value:.0f} B" if unit == "B" else f"{sign}{value:.1f} {unit}"


def human_duration(seconds: float) -> str:
    """Return a duration for people, with the two units that matter.

    >>> human_duration(0.42), human_duration(75), human_duration(5400), human_duration(200000)
    ('0.4 s', '1 min 15 s', '1 h 30 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds)
    size, unit, lower_size, lower = next(step for step in _STEPS if whole >= step[0])
    rest = whole % size // lower_size
    return f"{whole // size} {unit} {rest} {lower}" if rest else f"{whole // size} {unit}"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> count_of(1, "table"), count_of(2, "index", "indexes")
    ('1 table', '2 indexes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def rfc3339(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC, to the second.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be placed in time")
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
