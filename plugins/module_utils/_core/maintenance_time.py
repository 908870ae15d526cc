# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Until when may the run go on: the shorter of a budget and the end of the maintenance window."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Callable, Optional

from .errors import InvalidValue, PreconditionFailed
from .timestamps import parse_rfc3339
from .units import rfc3339
from .window import parse_clock

_LONGEST = timedelta(hours=12)
_DAY_MINUTES = 1440


def seconds_allowed(
    budget: Optional[float], window_end: Optional[str], now: datetime, localize: Callable[[datetime], datetime]
) -> Optional[float]:
    """Return how many seconds the run has, None for as long as it takes. ``localize`` makes a local time aware.

    Raises:
        InvalidValue: the end of the window is no time.
        PreconditionFailed: the window is over (code ``window_closed``), or the budget is nothing.
    """
    if budget is not None and budget <= 0:
        raise InvalidValue("budget must be longer than nothing", hint="leave budget out for as long as it takes")
    if window_end is None:
        return budget
    left = (end_of_window(window_end, now, localize) - now).total_seconds()
    return left if budget is None else min(left, budget)


def end_of_window(text: str, now: datetime, localize: Callable[[datetime], datetime]) -> datetime:
    """Return the moment at which the window ends.

    ``HH:MM`` is the next such time of the host, ``HH:MMZ`` of UTC; one that is more than 12 hours ahead has just
    passed: a late start must not run through the whole next day.

    Raises:
        InvalidValue: neither RFC 3339 nor HH:MM.
        PreconditionFailed: the window is over, code ``window_closed``.
    """
    end = _next_time_of_day(text, now, localize) if len(text) <= 6 else _moment(text)
    if end <= now or (len(text) <= 6 and end - now > _LONGEST):
        raise PreconditionFailed(
            f"the maintenance window is over: window_end {text} has passed, it is {rfc3339(now)}",
            code="window_closed",
            hint="start earlier, or give a later window_end",
        )
    return end


def _next_time_of_day(text: str, now: datetime, localize: Callable[[datetime], datetime]) -> datetime:
    utc = text.endswith(("Z", "z"))
    minutes = parse_clock(text[:-1] if utc else text, "window_end", _DAY_MINUTES)
    place = (lambda naive: naive.replace(tzinfo=timezone.utc)) if utc else localize
    today = now.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    candidates = (place(today + timedelta(days=days, minutes=minutes)) for days in (-1, 0, 1, 2))
    return next(moment for moment in candidates if moment > now)


def _moment(text: str) -> datetime:
    moment = parse_rfc3339(text)
    if moment is None:
        raise InvalidValue(
            f"window_end must be a time such as 06:00, 06:00Z or 2026-11-22T06:00:00Z, not {text!r}",
            hint="a date needs its time zone: Z or an offset such as +01:00",
        )
    return moment
