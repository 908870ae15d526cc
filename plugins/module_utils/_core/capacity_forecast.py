# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""When a resource runs out: the trend of its daily values, and the days until the limit with their interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Mapping, Optional, Sequence

from .capacity import EARLIEST, Resource
from .capacity_change import History, since_last_change
from .capacity_trend import Forecast, Point, Trend, fit, r_squared
from .journal import DAY_SECONDS, Day, day_of
from .result import CRITICAL, OK, UNKNOWN, WARNING
from .source import Series, short_unit

STALE, NO_LIMIT, OTHER_UNIT, TOO_SHORT, FULL, FORESEEN = (
    "stale",
    "no_limit",
    "other_unit",
    "too_short",
    "at_limit",
    "forecast",
)


@dataclass(frozen=True)
class Reach:
    """Days from now until the limit is reached; None: not within the horizon.

    ``earliest`` and ``latest``: where the upper and the lower bound of the prediction interval reach it.
    """

    expected: Optional[float]
    earliest: Optional[float]
    latest: Optional[float]


@dataclass(frozen=True)
class Outlook:
    """How one series of a resource stands at ``now`` (epoch seconds).

    ``reason`` says what ``status`` rests on: stale, no_limit, other_unit, too_short, at_limit or forecast. ``ahead``
    are the forecasts of the days 0, 1, 2 ... from now. ``missing_days`` and ``missing_points``: what more is needed.
    """

    resource: Resource
    series: Series
    now: float
    status: str
    reason: str
    level: Optional[float] = None
    limit: Optional[float] = None
    history: Optional[History] = None
    points: tuple[Point, ...] = ()
    trend: Optional[Trend] = None
    fit_quality: Optional[float] = None
    reach: Optional[Reach] = None
    ahead: tuple[Forecast, ...] = ()
    missing_days: float = 0.0
    missing_points: int = 0

    @property
    def judged(self) -> Optional[float]:
        """Return the days to the limit that are compared with the resource's warning and critical."""
        if self.reach is None:
            return None
        return self.reach.earliest if self.resource.judge_by == EARLIEST else self.reach.expected


def foresee(resource: Resource, series: Series, days: Sequence[Day], limit: Optional[float], now: float) -> Outlook:
    """Return how one series of a resource stands.

    Nothing is ok for lack of data: without a limit, or with too little history since the last change, it is unknown;
    readings that are too old are critical, and so is a limit that is reached already, whatever the history.
    """
    if short_unit(series.unit) != resource.unit:
        return Outlook(resource, series, now, UNKNOWN, OTHER_UNIT)
    level, at = _newest(series, days, now)
    if level is None or at is None or now - at > resource.max_age * DAY_SECONDS:
        return Outlook(resource, series, now, CRITICAL, STALE, level, limit)
    if limit is None:
        return Outlook(resource, series, now, UNKNOWN, NO_LIMIT, level)
    sign = -1.0 if resource.lower_is_worse else 1.0
    points = daily_points(resource, series, days, now)
    history = since_last_change(points)
    missing_days, missing_points = _missing(resource, history.points)
    common = {"level": level, "limit": limit, "history": history, "points": points}
    if sign * level >= sign * limit:
        return Outlook(resource, series, now, CRITICAL, FULL, reach=Reach(0.0, 0.0, 0.0), **common)  # type: ignore[arg-type]
    if missing_days > 0 or missing_points > 0:
        short = {"missing_days": missing_days, "missing_points": missing_points}
        return Outlook(resource, series, now, UNKNOWN, TOO_SHORT, **common, **short)  # type: ignore[arg-type]
    return _forecast(resource, series, now, level, limit, history, points)


def _forecast(
    resource: Resource,
    series: Series,
    now: float,
    level: float,
    limit: float,
    history: History,
    points: Sequence[Point],
) -> Outlook:
    trend = fit(history.points)
    start = now / DAY_SECONDS
    ahead = tuple(trend.at(start + day, resource.confidence) for day in range(math.ceil(resource.horizon) + 1))
    reach = _reach(ahead, limit, resource)
    outlook = Outlook(
        resource=resource,
        series=series,
        now=now,
        status=OK,
        reason=FORESEEN,
        level=level,
        limit=limit,
        history=history,
        points=tuple(points),
        trend=trend,
        fit_quality=r_squared(history.points, trend),
        reach=reach,
        ahead=ahead,
    )
    return Outlook(**{**vars(outlook), "status": _status(outlook)})


def _status(outlook: Outlook) -> str:
    days, resource = outlook.judged, outlook.resource
    if days is None:
        return OK
    if resource.critical is not None and days <= resource.critical:
        return CRITICAL
    return WARNING if resource.warning is not None and days <= resource.warning else OK


def _newest(series: Series, days: Sequence[Day], now: float) -> tuple[Optional[float], Optional[float]]:
    """Return the newest value and its time; raw readings that are no longer kept leave their day's last."""
    raw = [sample for sample in series.samples if sample[0] <= now]
    if raw:
        return raw[-1][1], raw[-1][0]
    past = [day for day in days if day.day <= day_of(now)]
    if not past:
        return None, None
    return past[-1].last, min((past[-1].day + 1) * float(DAY_SECONDS), now)


def daily_points(resource: Resource, series: Series, days: Sequence[Day], now: float) -> tuple[Point, ...]:
    """Return a point for each day: what is kept of it, or else what its raw readings give.

    A mean, maximum or minimum stands at noon, the last reading at the end of the day; of today in the middle and at the
    end of what is over of it; and what is read once a day at its time. The first day and today count when they have at
    least half as many readings as the days beside them: the mean of a morning is not that of a day.
    """
    today, first = day_of(now), day_of(now) - math.ceil(resource.history) + 1
    known = {day.day: day for day in days if first <= day.day <= today}
    for number, day in _days_of(series, now).items():
        if number >= first:
            known.setdefault(number, day)
    ordered = [day for _number, day in sorted(known.items())]
    place, over = (1.0 if resource.daily == "last" else 0.5), now / DAY_SECONDS - today
    if ordered and median(day.count for day in ordered) <= 1:
        newest = _newest(series, days, now)[1]
        place, over = (0.5 if newest is None else newest / DAY_SECONDS % 1), 1.0
    return tuple(
        (day.day + (place * over if day.day == today else place), _value(day, resource.daily))
        for day in _whole(ordered, today)
    )


def _whole(days: Sequence[Day], today: int) -> Sequence[Day]:
    """Return the days without a first one, and without a today, that has less than half of the usual readings."""
    first = 1 if len(days) > 1 and days[0].count < median(day.count for day in days[1:8]) / 2 else 0
    end = len(days)
    if len(days) > 1 and days[-1].day == today and days[-1].count < median(day.count for day in days[-8:-1]) / 2:
        end -= 1
    return days[first:end]


def _days_of(series: Series, now: float) -> Mapping[int, Day]:
    values: dict[int, list[float]] = {}
    for at, value in series.samples:
        if at <= now:
            values.setdefault(day_of(at), []).append(value)
    return {
        day: Day(0, day, len(own), min(own), max(own), math.fsum(own) / len(own), own[-1])
        for day, own in values.items()
    }


def _value(day: Day, daily: str) -> float:
    return {"mean": day.mean, "max": day.maximum, "min": day.minimum, "last": day.last}[daily]


def _missing(resource: Resource, points: Sequence[Point]) -> tuple[float, int]:
    """Return how many days and how many daily values more are needed."""
    return max(0.0, resource.min_history - covered_days(points)), max(0, resource.min_points - len(points))


def covered_days(points: Sequence[Point]) -> int:
    """Return how many days there are from the first to the last; the last reading of a day stands at its very end."""
    return math.ceil(points[-1][0]) - math.ceil(points[0][0]) + 1 if points else 0


def _reach(ahead: Sequence[Forecast], limit: float, resource: Resource) -> Reach:
    sign = -1.0 if resource.lower_is_worse else 1.0
    near = [sign * (one.lower if resource.lower_is_worse else one.upper) for one in ahead]
    far = [sign * (one.upper if resource.lower_is_worse else one.lower) for one in ahead]
    return Reach(
        *(_crossing(row, sign * limit, resource.horizon) for row in ([sign * one.mean for one in ahead], near, far))
    )


def _crossing(row: Sequence[float], limit: float, horizon: float) -> Optional[float]:
    """Return the day at which a row of days reaches a limit from below for the first time, between days on a line."""
    for day, value in enumerate(row):
        if value >= limit:
            before = row[day - 1] if day else value
            found = float(day) if day == 0 or value == before else day - (value - limit) / (value - before)
            return found if found <= horizon else None
    return None
