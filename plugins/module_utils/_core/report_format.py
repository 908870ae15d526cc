# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Numbers and moments of a report as people read them, by their unit."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Optional

from .units import human_duration, human_size, rfc3339

NOTHING = "\u2013"
_SECONDS = ("s", "seconds")
_PERCENT = ("%", "percent")
_EACH = {"per_second": "/s", "per_minute": "/min", "per_hour": "/h"}


def number(value: float) -> str:
    """Return a number with the digits that matter, thousands apart.

    >>> number(1234567), number(99.95), number(0.0213), number(12.345), number(-3.0)
    ('1,234,567', '99.95', '0.0213', '12.3', '-3')
    """
    if not math.isfinite(value):
        return NOTHING
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 20 else 1 if size >= 10 else 2
    if 0 < size < 1:
        digits = min(6, 2 - math.floor(math.log10(size)))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount(value: Optional[float], unit: str) -> str:
    """Return a value with its unit.

    >>> amount(0.21, "seconds"), amount(5 * 1024**3, "bytes"), amount(81.5, "percent"), amount(12, "per_hour")
    ('210 ms', '5.0 GB', '81.5 %', '12 /h')
    >>> amount(3, "days"), amount(3, "count"), amount(0.5, "ratio"), amount(12.5, "EUR"), amount(None, "s")
    ('3 d', '3', '0.5', '12.5 EUR', '\u2013')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if unit in _SECONDS:
        return f"{number(value * 1000)} ms" if 0 < abs(value) < 1 else duration(value)
    if unit == "bytes":
        return human_size(value)
    if unit in ("count", "ratio", ""):
        return number(value)
    suffix = "%" if unit in _PERCENT else "d" if unit == "days" else _EACH.get(unit, unit)
    return f"{number(value)} {suffix}"


def duration(seconds: Optional[float]) -> str:
    """Return a duration; nothing where there is none.

    >>> duration(-90), duration(None)
    ('-1 min 30 s', '\u2013')
    """
    if seconds is None:
        return NOTHING
    return f"-{human_duration(-seconds)}" if seconds < 0 else human_duration(seconds)


def moment(at: Optional[float]) -> str:
    """Return a moment as RFC 3339 in UTC.

    >>> moment(0), moment(None)
    ('1970-01-01T00:00:00Z', '')
    """
    return "" if at is None else rfc3339(datetime.fromtimestamp(at, timezone.utc))


def shown_moment(at: Optional[float]) -> str:
    """Return a moment for people, in UTC.

    >>> shown_moment(0), shown_moment(None)
    ('1970-01-01 00:00 UTC', 'never')
    """
    return "never" if at is None else datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
