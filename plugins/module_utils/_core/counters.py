# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Counters that only grow: what was counted since the last run, or since they began."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Mapping, Optional

from .errors import InvalidValue
from .number import parse_number
from .timestamps import parse_rfc3339
from .units import human_duration, rfc3339


@dataclass(frozen=True)
class Previous:
    """The counters that an earlier run returned, and when."""

    at: datetime
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Growth:
    """What was counted in a time; ``since`` says for people which time it is."""

    count: float
    seconds: float
    since: str

    def per(self, seconds: float) -> float:
        """Return how many there were in so many seconds.

        >>> Growth(30, 7200, "the last run").per(3600)
        15.0
        """
        return self.count / self.seconds * seconds


def read_previous(raw: Mapping[str, Any], option: str = "previous") -> Optional[Previous]:
    """Return the counters of an earlier run; None when there are none.

    Raises:
        InvalidValue: it is not what a run returns as ``counters``.

    >>> read_previous({"at": "2026-11-21T12:00:00Z", "evicted": 4}).values
    {'evicted': 4.0}
    """
    if not raw:
        return None
    values = {str(name): _number(value, f"{option}.{name}") for name, value in raw.items() if name != "at"}
    return Previous(read_moment(raw.get("at"), f"{option}.at"), values)


def read_moment(raw: object, option: str) -> datetime:
    """Return a moment that was written as RFC 3339 or as seconds of the Unix epoch.

    Raises:
        InvalidValue: it is no moment, or has no time zone.
    """
    try:
        return datetime.fromtimestamp(float(str(raw)), timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    moment = parse_rfc3339(str(raw).strip())
    if moment is None:
        raise InvalidValue(
            f"{option} must be a moment such as 2026-11-21T12:00:00Z, not {str(raw)[:60]!r}",
            hint="pass on what the last run returned as counters",
        )
    return moment


def _number(raw: object, option: str) -> float:
    number = parse_number(raw)
    if number is None:
        raise InvalidValue(f"{option} must be a number, not {str(raw)[:60]!r}")
    return number


def growth(
    name: str,
    value: Optional[float],
    now: datetime,
    previous: Optional[Previous],
    age_seconds: Optional[float],
    began: str,
) -> Optional[Growth]:
    """Return what was counted since the last run; without one, or when the counter began anew, since its beginning.

    ``age_seconds`` is how long ago the counter began and ``began`` says with what ("the start of the server"). None:
    the counter, or since when it counts, is not known.

    >>> noon = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    >>> last = Previous(datetime(2026, 11, 21, 11, tzinfo=timezone.utc), {"evicted": 4.0})
    >>> growth("evicted", 10, noon, last, 86400, "the start")
    Growth(count=6.0, seconds=3600.0, since='the last run, 1 h ago')
    >>> growth("evicted", 3, noon, last, 600, "the start")
    Growth(count=3, seconds=600, since='the start, 10 min ago')
    """
    if value is None:
        return None
    elapsed = (now - previous.at).total_seconds() if previous is not None else 0.0
    earlier = previous.values.get(name) if previous is not None else None
    began_anew = age_seconds is not None and age_seconds < elapsed
    if earlier is not None and earlier <= value and elapsed > 0 and not began_anew:
        return Growth(value - earlier, elapsed, f"the last run, {human_duration(elapsed)} ago")
    if age_seconds is None or age_seconds <= 0:
        return None
    return Growth(value, age_seconds, f"{began}, {human_duration(age_seconds)} ago")


def render_counters(now: datetime, values: Mapping[str, Optional[float]]) -> dict[str, Any]:
    """Return the counters as they stand in a result, for the next run's ``previous``; what is not known is left out."""
    return {"at": rfc3339(now), **{name: value for name, value in values.items() if value is not None}}
