# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Where a new history begins: a clean-up, a disk that was made larger, a growth that is not what it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Optional, Sequence

from .capacity_trend import Line, Point, durbin_watson, line_of, weekday
from .student import f_tail, t_quantile

STEP, GROWTH = "step", "growth"

# What chance alone would show somewhere in a history: a step once in a hundred histories, another growth in a thousand.
_STEP_CHANCE = 0.01
_GROWTH_CHANCE = 0.001
# The median absolute deviation of normal deviations is this part of their standard deviation, and as an estimate of it
# is worth as much as this part of the readings (Rousseeuw and Croux, JASA 88 (1993), 1273: efficiency 37 %).
_MAD = 0.6745
_EFFICIENCY = 0.37
_STEP_DAYS = 2
_WEEKS = 4
_GROWTH_POINTS = 7
_PLACES = 60
# Deviations from two lines that still hang together from day to day are those of a walk, which has no lines.
_WANDERING = 1.3


@dataclass(frozen=True)
class Change:
    """A new history begins with the reading of ``day``; ``kind`` is step (the level changed) or growth."""

    day: float
    kind: str
    size: float


@dataclass(frozen=True)
class History:
    """The readings since the last change, without ``outliers``: single days that were off and came back."""

    points: tuple[Point, ...]
    change: Optional[Change]
    outliers: tuple[Point, ...]


def since_last_change(points: Sequence[Point]) -> History:
    """Return the readings since the last change of a history in order of days."""
    kept, outliers = _without_spikes(points)
    step = _last_step(kept)
    own = kept if step is None else [point for point in kept if point[0] >= step.day]
    growth = None
    while (found := _line_break(own) or _growth_break(own)) is not None:
        growth = found
        own = [point for point in own if point[0] >= found.day]
    return History(tuple(own), growth or step, tuple(outliers))


@dataclass(frozen=True)
class _Growths:
    """The growth by day from each reading to the next, the usual one, and how far from it a growth is a step."""

    rates: tuple[float, ...]
    middle: float
    far: float


def _growths(points: Sequence[Point]) -> _Growths:
    """Return the growths without what is usual for the weekday, where four weeks of readings say what that is.

    Where most days grow by nearly the same, any other growth would be far, but for the least that counts.
    """
    rates = _rates(points)
    least = _least(points)
    days = [weekday(point[0]) for point in points[1:]]
    weeks = min(days.count(day) for day in range(7))
    deflated = 1.0
    if len(rates) >= _WEEKS * 7 and weeks >= _WEEKS:
        usual = {day: median(rate for rate, own in zip(rates, days) if own == day) for day in range(7)}
        rates = [rate - usual[day] for rate, day in zip(rates, days)]
        deflated = 1 + 2 / weeks  # what is taken away is made of the same few readings
    middle = median(rates)
    spread = median(abs(rate - middle) for rate in rates) / _MAD * deflated
    freedom = max(_EFFICIENCY * len(rates), 1.0)
    far = t_quantile(1 - _STEP_CHANCE / 2 / len(rates), freedom) * spread
    return _Growths(tuple(rates), middle, max(far, least))


def _least(points: Sequence[Point]) -> float:
    """Return the least move that counts, however certain: a day's usual growth and a thousandth of the level.

    Readings are not taken at the same time of each day.
    """
    return max(max(abs(y) for _day, y in points) / 1000, median(abs(rate) for rate in _rates(points)))


def _rates(points: Sequence[Point]) -> list[float]:
    return [(after[1] - before[1]) / (after[0] - before[0]) for before, after in zip(points, points[1:])]


def _without_spikes(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Return the readings without single ones that leave the trend and come back to it, and those."""
    if len(points) < 5:
        return list(points), []
    growths = _growths(points)
    far, spikes = growths.far, []
    for number in range(1, len(points) - 1):
        there, back = (rate - growths.middle for rate in growths.rates[number - 1 : number + 1])
        if abs(there) > far and abs(back) > far and there * back < 0 and abs(there + back) < max(far, abs(there) / 4):
            spikes.append(number)
    lonely = [n for n in spikes if n - 1 not in spikes and n + 1 not in spikes]
    return [p for n, p in enumerate(points) if n not in lonely], [points[n] for n in lonely]


def _last_step(points: Sequence[Point]) -> Optional[Change]:
    """Return the last growth that is far from the usual one and of which half stays.

    It is of a day or two: what lasts longer is another growth.
    """
    if len(points) < 5:
        return None
    growths = _growths(points)
    middle, far = growths.middle, growths.far
    signs = [0 if abs(rate - middle) <= far else 1 if rate > middle else -1 for rate in growths.rates]
    end = len(signs)
    while end > 0:
        start = end - 1
        while start > 0 and signs[start - 1] == signs[end - 1]:
            start -= 1
        if signs[end - 1] and end - start <= _STEP_DAYS:
            widths = [points[number + 1][0] - points[number][0] for number in range(start, end)]
            size = math.fsum((rate - middle) * width for rate, width in zip(growths.rates[start:end], widths))
            if _moved(points, start, end) * signs[end - 1] > abs(size) / 2:
                return Change(points[end][0], STEP, size)
        end = start
    return None


def _moved(points: Sequence[Point], start: int, end: int) -> float:
    """Return how much higher the week from reading ``end`` on is than that up to ``start``, beyond the usual growth."""
    before, since = points[max(0, start - 6) : start + 1], points[end : end + 7]
    gap = median(day for day, _value in since) - median(day for day, _value in before)
    return (
        median(value for _day, value in since) - median(value for _day, value in before) - gap * median(_rates(points))
    )


def _places(number: int) -> range:
    return range(_GROWTH_POINTS, number - _GROWTH_POINTS + 1, max(1, number // _PLACES))


def _growth_break(points: Sequence[Point]) -> Optional[Change]:
    """Return where the mean growth of a walk changed, if chance does not explain it.

    The place is that of the largest t of two samples (growth by day before and since) over all places with a week on
    both sides; the level is shared by the places (Bonferroni). With deviations around a line the growths of
    neighbouring days cancel out, which makes the test more careful, not less.
    """
    rates = _rates(points)
    places = _places(len(rates))
    if not places:
        return None
    largest, place = max((abs(_t_of(rates, place)), place) for place in places)
    if largest <= t_quantile(1 - _GROWTH_CHANCE / 2 / len(places), len(rates) - 2):
        return None
    before, since = rates[:place], rates[place:]
    size = math.fsum(since) / len(since) - math.fsum(before) / len(before)
    return Change(points[place][0], GROWTH, size) if abs(size) * len(since) > _least(points) else None


def _line_break(points: Sequence[Point]) -> Optional[Change]:
    """Return where one line becomes another, if chance does not explain it.

    The place is that of the largest F of Chow's test (Econometrica 28 (1960), 591) over all places with a week on both
    sides; the level is shared by the places. What is left of both lines has to be independent from day to day.
    """
    places = _places(len(points))
    if not places:
        return None
    single = line_of(points, weekly=False)
    whole = _squares(single)
    place = _best_place(points, places)
    before, since = line_of(points[:place], weekly=False), line_of(points[place:], weekly=False)
    left, freedom = _squares(before) + _squares(since), len(points) - 4
    tiny = (1e-9 * max(abs(y) for _day, y in points)) ** 2 * len(points)
    if whole <= tiny or max(abs(y - single.mean_at(x)) for x, y in points) <= _least(points):
        return None
    certain = left <= tiny or f_tail((whole - left) / 2 / (left / freedom), 2, freedom) < _GROWTH_CHANCE / len(places)
    independent = min(durbin_watson(points[:place], before), durbin_watson(points[place:], since)) >= _WANDERING
    return Change(points[place][0], GROWTH, since.slope - before.slope) if certain and independent else None


def _best_place(points: Sequence[Point], places: range) -> int:
    """Return the place with the least squares left of two lines, from running sums around the means."""
    middle = [math.fsum(values) / len(points) for values in zip(*points)]
    sums = [(0.0, 0.0, 0.0, 0.0, 0.0)]
    for day, value in points:
        x, y = day - middle[0], value - middle[1]
        last = sums[-1]
        sums.append((last[0] + x, last[1] + y, last[2] + x * x, last[3] + x * y, last[4] + y * y))

    def left(first: int, end: int) -> float:
        x, y, xx, xy, yy = (after - before for before, after in zip(sums[first], sums[end]))
        number = end - first
        return (yy - y * y / number) - (xy - x * y / number) ** 2 / (xx - x * x / number)

    return min(places, key=lambda place: left(0, place) + left(place, len(points)))


def _squares(line: Line) -> float:
    return line.deviation**2 * line.freedom


def _t_of(rates: Sequence[float], place: int) -> float:
    before, since = rates[:place], rates[place:]
    means = math.fsum(before) / len(before), math.fsum(since) / len(since)
    squares = math.fsum((rate - means[0]) ** 2 for rate in before) + math.fsum((rate - means[1]) ** 2 for rate in since)
    error = math.sqrt(squares / (len(rates) - 2) * (1 / len(before) + 1 / len(since)))
    gap = means[1] - means[0]
    tiny = 1e-9 * max(abs(means[0]), abs(means[1]))
    if error <= tiny:
        return math.inf if abs(gap) > 1e3 * tiny else 0.0
    return gap / error
