# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Maintenance windows: when work may start, until when, and when the next chance is.

All arithmetic is done on intervals in UTC. A local time that the clocks skip counts as the same time before the
change, one that occurs twice as its first occurrence (PEP 495, fold=0); an occurrence that the change leaves without
any length is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Iterable, Iterator, Optional, Sequence

from .errors import InvalidValue, PreconditionFailed
from .result import OK, WARNING, Decision, Finding
from .units import human_duration, rfc3339

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ORDINALS = {"every": 0, "first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
_TIME = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)")
_DAY_MINUTES = 1440
_WEEK_SECONDS = 7 * 86400
_LOOK_BACK_DAYS = 8  # the longest window is a week
_LOOK_AHEAD_DAYS = 400
_MERGE_AHEAD_DAYS = 8


@dataclass(frozen=True)
class DayRule:
    """A weekday (0 is Monday) and which one of the month: 0 every, 1 to 4, -1 the last."""

    weekday: int
    ordinal: int = 0

    def matches(self, day: date) -> bool:
        """Tell whether a date is one of these days."""
        if day.weekday() != self.weekday:
            return False
        if self.ordinal == -1:
            return (day + timedelta(days=7)).month != day.month
        return self.ordinal in (0, (day.day - 1) // 7 + 1)


@dataclass(frozen=True)
class Window:
    """One recurring window. Minutes count from local midnight; ``end_minute`` not after the start is the next day."""

    name: str
    days: tuple[DayRule, ...]
    start_minute: int
    zone: tzinfo
    end_minute: Optional[int] = None
    duration_seconds: Optional[float] = None
    scope: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interval:
    """One occurrence of a window, in UTC; ``end`` is outside it."""

    start: datetime
    end: datetime
    name: str


@dataclass(frozen=True)
class WindowPolicy:
    """What the run needs. No windows at all means that any time will do. ``minimum_left`` in seconds.

    ``before`` names what is about to begin, and is left for the next run when no window is open.
    """

    windows: tuple[Window, ...]
    scope: tuple[str, ...] = ()
    minimum_left: float = 0.0
    enforce: bool = False
    before: str = ""


@dataclass(frozen=True)
class Answer:
    """Where a moment stands: in which window, until when, and the next one."""

    current: Optional[Interval] = None
    following: Optional[Interval] = None
    enough: bool = False


def parse_days(texts: Iterable[str], option: str) -> tuple[DayRule, ...]:
    """Return the rules for ``sun``, ``Sunday``, ``mon-fri``, ``daily``, ``first sun`` or ``last friday``.

    Raises:
        InvalidValue: a text names no day; the message names ``option``.

    >>> parse_days(["first sun"], "days")
    (DayRule(weekday=6, ordinal=1),)
    >>> len(parse_days(["mon-fri"], "days")), len(parse_days(["daily"], "days"))
    (5, 7)
    """
    rules: list[DayRule] = []
    for text in texts:
        rules += [rule for rule in _parse_day(str(text), option) if rule not in rules]
    if not rules:
        raise InvalidValue(f"{option} is empty: the window would never open", code="impossible_window")
    return tuple(rules)


def _parse_day(text: str, option: str) -> list[DayRule]:
    words = text.lower().split()
    ordinal = _ORDINALS.get(words[0], 0) if words else 0
    if len(words) == 2 and words[0] in _ORDINALS:
        words = words[1:]
    if words in (["daily"], ["day"]):
        return [DayRule(weekday, ordinal) for weekday in range(7)] if ordinal == 0 else _no_day(text, option)
    if len(words) != 1:
        return _no_day(text, option)
    first, _dash, last = words[0].partition("-")
    numbers = [_weekday(name) for name in (first, last or first)]
    if None in numbers or (_dash and not last):
        return _no_day(text, option)
    start, end = (number for number in numbers if number is not None)
    return [DayRule((start + offset) % 7, ordinal) for offset in range((end - start) % 7 + 1)]


def _weekday(name: str) -> Optional[int]:
    found = [number for number, full in enumerate(_WEEKDAYS) if len(name) >= 2 and full.startswith(name)]
    return found[0] if len(found) == 1 else None


def _no_day(text: str, option: str) -> list[DayRule]:
    raise InvalidValue(
        f"{option} must name days such as sun, mon-fri, daily, first sun or last friday, not {text!r}",
        hint="days are the English weekdays or their first letters; first, second, third, fourth and last pick one "
        "of the month",
    )


def parse_clock(text: object, option: str, latest: int = _DAY_MINUTES - 1) -> int:
    """Return minutes after midnight for ``04:00``; ``latest`` is the highest that counts (1440 for an end of 24:00).

    Raises:
        InvalidValue: no time of the day; an unquoted 14:00 in YAML arrives as the number 840 and is named as such.

    >>> parse_clock("04:30", "start"), parse_clock("24:00", "end", 1440)
    (270, 1440)
    """
    match = _TIME.fullmatch(str(text).strip())
    minutes = int(match["hour"]) * 60 + int(match["minute"]) if match else -1
    if not 0 <= minutes <= latest:
        number = str(text).strip().isdigit()
        hint = "put the time in quotes: YAML reads a bare 14:00 as a number" if number else "write HH:MM, 24 hours"
        raise InvalidValue(f"{option} must be a time of the day such as 04:00, not {text!r}", hint=hint)
    return minutes


def check_window(window: Window) -> Window:
    """Return the window when it can ever be open.

    Raises:
        InvalidValue: code ``impossible_window``: no length, more than a week, or neither or both of end and duration.
    """
    problem = None
    if (window.end_minute is None) == (window.duration_seconds is None):
        problem = "needs an end or a duration, one of them"
    elif window.end_minute == window.start_minute:
        problem = "ends when it starts (write duration: 24h for a whole day)"
    elif window.duration_seconds is not None and not 0 < window.duration_seconds <= _WEEK_SECONDS:
        problem = "must last longer than nothing and at most 7 days"
    if problem:
        raise InvalidValue(
            f"maintenance window {window.name} {problem}", code="impossible_window", hint="correct the window's times"
        )
    return window


def occurrences(window: Window, first: date, days: int) -> Iterator[Interval]:
    """Yield the window's occurrences that start on ``days`` local dates from ``first`` on, in order."""
    for offset in range(days):
        day = first + timedelta(days=offset)
        if any(rule.matches(day) for rule in window.days):
            start = _moment(window, day, window.start_minute)
            end = _end(window, day, start)
            if end > start:
                yield Interval(start, end, window.name)


def _moment(window: Window, day: date, minute: int) -> datetime:
    days, rest = divmod(minute, _DAY_MINUTES)
    local = datetime.combine(day + timedelta(days=days), datetime.min.time(), window.zone)
    return local.replace(hour=rest // 60, minute=rest % 60).astimezone(timezone.utc)


def _end(window: Window, day: date, start: datetime) -> datetime:
    if window.duration_seconds is not None or window.end_minute is None:
        return start + timedelta(seconds=window.duration_seconds or 0)
    over_midnight = _DAY_MINUTES if window.end_minute <= window.start_minute else 0
    return _moment(window, day, window.end_minute + over_midnight)


def answer(windows: Sequence[Window], now: datetime, minimum_left: float = 0.0) -> Answer:
    """Return where ``now`` stands; windows that touch or overlap count as one."""
    near = sorted(_intervals(windows, now, _MERGE_AHEAD_DAYS), key=lambda interval: interval.start)
    current = _merged(near, now)
    after = current.end if current else now
    following = min(
        (interval for interval in _intervals(windows, now, _LOOK_AHEAD_DAYS) if interval.start > after),
        key=lambda interval: interval.start,
        default=None,
    )
    return Answer(current, following, bool(current and (current.end - now).total_seconds() >= minimum_left))


def _intervals(windows: Sequence[Window], now: datetime, ahead_days: int) -> Iterator[Interval]:
    for window in windows:
        first = now.astimezone(window.zone).date() - timedelta(days=_LOOK_BACK_DAYS)
        yield from occurrences(window, first, _LOOK_BACK_DAYS + ahead_days)


def _merged(intervals: Sequence[Interval], now: datetime) -> Optional[Interval]:
    current: Optional[Interval] = None
    for interval in intervals:
        if current is None and interval.start <= now < interval.end:
            current = interval
        elif current is not None and interval.start <= current.end < interval.end:
            current = Interval(current.start, interval.end, current.name)
    return current


def decide(policy: WindowPolicy, now: datetime) -> Decision:
    """Return the reading as a decision that never plans anything.

    Raises:
        InvalidValue: code ``impossible_window``: no window is for this scope, or none is ever long enough.
        PreconditionFailed: code ``window_closed``, only with ``enforce``.
    """
    if not policy.windows:
        return _decision(policy, Answer(enough=True), "no maintenance window is defined: any time will do", now)
    windows = tuple(window for window in policy.windows if _is_for(window, policy.scope))
    if not windows:
        raise InvalidValue(
            f"none of the maintenance windows is for {', '.join(policy.scope)}: the work could never start",
            code="impossible_window",
            hint="add a window with this scope, or one without scope, which is for everything",
        )
    found = answer(windows, now, policy.minimum_left)
    if not _ever_enough(windows, now, policy.minimum_left):
        raise InvalidValue(
            f"no maintenance window is ever as long as {human_duration(policy.minimum_left)}",
            code="impossible_window",
            hint="lower minimum_left or widen the window",
        )
    text = _sentence(policy, found, now, windows[0].zone)
    if policy.enforce and not found.enough:
        raise PreconditionFailed(
            text,
            code="window_closed",
            hint="wait for the window, or in an emergency run with enforcement switched off",
            details=_extra(found, now),
        )
    return _decision(policy, found, text, now)


def _is_for(window: Window, scope: Sequence[str]) -> bool:
    return not window.scope or not scope or bool(set(window.scope) & set(scope))


def _ever_enough(windows: Sequence[Window], now: datetime, minimum_left: float) -> bool:
    intervals = sorted(_intervals(windows, now, _LOOK_AHEAD_DAYS), key=lambda interval: interval.start)
    length, reached, started = 0.0, None, None
    for interval in intervals:
        if reached is None or interval.start > reached:
            started, reached = interval.start, interval.end
        reached = max(reached, interval.end)
        length = max(length, (reached - (started or reached)).total_seconds())
    return length > 0 and length >= minimum_left


def _sentence(policy: WindowPolicy, found: Answer, now: datetime, zone: tzinfo) -> str:
    left_out = f"; left for the next run: {policy.before}" if policy.before else ""
    following = f"; the next one opens {_local(found.following.start, zone)}" if found.following else ""
    if found.current is None:
        return f"outside every maintenance window{left_out}{following}"
    left = (found.current.end - now).total_seconds()
    text = f"in window {found.current.name} until {_local(found.current.end, zone)}, {human_duration(left)} left"
    if found.enough:
        return text
    return f"{text}, but at least {human_duration(policy.minimum_left)} are needed{left_out}{following}"


def _local(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%a %Y-%m-%d %H:%M %Z")


def _extra(found: Answer, now: datetime) -> dict[str, object]:
    current, following = found.current, found.following
    return {
        "open": found.enough,
        "window": current.name if current else None,
        "window_end": rfc3339(current.end) if current and found.enough else None,
        "seconds_left": max(0.0, (current.end - now).total_seconds()) if current else None,
        "next_start": rfc3339(following.start) if following else None,
        "next_end": rfc3339(following.end) if following else None,
    }


def _decision(policy: WindowPolicy, found: Answer, text: str, now: datetime) -> Decision:
    check = f"maintenance_window:{policy.before}" if policy.before else "maintenance_window"
    left = (found.current.end - now).total_seconds() if found.current else None
    finding = Finding(check, OK if found.enough else WARNING, text, left, "s")
    return Decision(text, findings=(finding,), extra=_extra(found, now))
