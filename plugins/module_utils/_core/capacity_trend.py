# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Trends of daily values: fitted lines that say what a later day will be, within what interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Mapping, Optional, Protocol, Sequence, Tuple

from .student import f_tail, t_quantile

# Days are numbers since the epoch, with the time of the day as a fraction; the epoch was a Thursday.
Point = Tuple[float, float]
LINE, WEEKLY, DRIFT = "line", "weekly", "drift"

_WEEK = 7
_WEEKLY_DAYS = 28
_WEEKLY_CERTAINTY = 0.01
# Durbin and Watson's statistic is near 2 for deviations that are independent of each other, and near 0 for those of a
# quantity that grows by chance from where it is, to which the interval of a line does not apply.
_WANDERING = 1.0
_TELLING_POINTS = 42


@dataclass(frozen=True)
class Forecast:
    """What one later reading will be: its mean, and the interval that holds it with the confidence asked for."""

    mean: float
    lower: float
    upper: float


class Trend(Protocol):
    """A fitted trend."""

    @property
    def model(self) -> str:
        """Return line, weekly or drift."""

    @property
    def slope(self) -> float:
        """Return the growth for each day."""

    def slope_interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval that holds the true growth with a confidence (0 to 1)."""

    def at(self, day: float, confidence: float) -> Forecast:
        """Return what a reading of a day will be."""

    @property
    def deviation(self) -> float:
        """Return the standard deviation of what the trend does not explain, of one day."""


@dataclass(frozen=True)
class Line:
    """Least squares; one intercept, or one for each weekday with a common slope.

    With intercepts a_g = mean(y)_g - b mean(x)_g, b = Sxy/Sxx within the groups g, and s^2 = SSE/(n - k - 1) for k
    groups, a new reading at x lies within a_g + b x +- t(n - k - 1) s sqrt(1 + 1/n_g + (x - mean(x)_g)^2 / Sxx). For
    one group it is the prediction interval of simple regression (NIST/SEMATECH e-Handbook of Statistical Methods,
    4.5.2.2; Draper and Smith, Applied Regression Analysis, 3rd edition, 3.1), for more that of parallel lines (14.6).
    """

    groups: Mapping[int, tuple[int, float, float]]
    slope: float
    sxx: float
    deviation: float
    freedom: int

    @property
    def model(self) -> str:
        """Return line or weekly."""
        return LINE if len(self.groups) == 1 else WEEKLY

    def slope_interval(self, confidence: float) -> tuple[float, float]:
        """Return b +- t s / sqrt(Sxx)."""
        reach = t_quantile((1 + confidence) / 2, self.freedom) * self.deviation / math.sqrt(self.sxx)
        return self.slope - reach, self.slope + reach

    def mean_at(self, day: float) -> float:
        """Return the line's own value."""
        _number, x, y = self._group(day)
        return y + self.slope * (day - x)

    def at(self, day: float, confidence: float) -> Forecast:
        """Return the line with the prediction interval of a new reading."""
        number, x, _y = self._group(day)
        mean = self.mean_at(day)
        error = self.deviation * math.sqrt(1 + 1 / number + (day - x) ** 2 / self.sxx)
        reach = t_quantile((1 + confidence) / 2, self.freedom) * error
        return Forecast(mean, mean - reach, mean + reach)

    def _group(self, day: float) -> tuple[int, float, float]:
        return self.groups[0] if len(self.groups) == 1 else self.groups[weekday(day)]


@dataclass(frozen=True)
class Drift:
    """A random walk with drift: growth from day to day varies by chance around a mean, and what is gained stays.

    The mean m is the growth over the whole time T of n readings, s^2 the sum of (d - m w)^2 / w over the steps d of
    width w, by n - 2. A reading h days after the last, y, lies within y + m h +- t(n - 2) s sqrt(h + h^2 / T) (Hyndman
    and Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 5.5, drift method, for steps of any width).
    """

    last: Point
    slope: float
    deviation: float
    span: float
    freedom: int

    @property
    def model(self) -> str:
        """Return drift."""
        return DRIFT

    def slope_interval(self, confidence: float) -> tuple[float, float]:
        """Return m +- t s / sqrt(T)."""
        reach = t_quantile((1 + confidence) / 2, self.freedom) * self.deviation / math.sqrt(self.span)
        return self.slope - reach, self.slope + reach

    def at(self, day: float, confidence: float) -> Forecast:
        """Return the last reading with the mean growth since, and its interval."""
        ahead = max(day - self.last[0], 0.0)
        mean = self.last[1] + self.slope * (day - self.last[0])
        error = self.deviation * math.sqrt(ahead + ahead * ahead / self.span)
        reach = t_quantile((1 + confidence) / 2, self.freedom) * error
        return Forecast(mean, mean - reach, mean + reach)


@dataclass(frozen=True)
class Either:
    """The likelier of two trends, with intervals that span both."""

    likelier: Trend
    other: Trend

    @property
    def model(self) -> str:
        """Return the likelier one."""
        return self.likelier.model

    @property
    def slope(self) -> float:
        """Return the growth of the likelier one."""
        return self.likelier.slope

    @property
    def deviation(self) -> float:
        """Return the deviation of the likelier one."""
        return self.likelier.deviation

    def slope_interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval that spans both."""
        one, other = self.likelier.slope_interval(confidence), self.other.slope_interval(confidence)
        return min(one[0], other[0]), max(one[1], other[1])

    def at(self, day: float, confidence: float) -> Forecast:
        """Return the mean of the likelier one, with the interval that spans both."""
        one, other = self.likelier.at(day, confidence), self.other.at(day, confidence)
        return Forecast(one.mean, min(one.lower, other.lower), max(one.upper, other.upper))


def weekday(day: float) -> int:
    """Return the weekday, Monday is 0.

    >>> weekday(0), weekday(4.9)
    (3, 0)
    """
    return (math.floor(day) + 3) % _WEEK


def fit(points: Sequence[Point]) -> Trend:
    """Return the trend of at least three readings of different days, in order.

    A line; one with weekdays when four weeks of readings show at the level of 1 % that weekdays differ (F test); a
    random walk with drift when the deviations from the line hang together from day to day (Durbin-Watson statistic
    below 1). Readings of less than six weeks cannot tell a line from a walk: there the interval spans both.

    Raises:
        ValueError: there are fewer than three.
    """
    if len(points) < 3:
        raise ValueError("a trend needs three readings")
    plain = line_of(points, weekly=False)
    weekly = _weekly(points, plain)
    best, drift = weekly or plain, _drift(points)
    wanders = durbin_watson(points, best) < _WANDERING
    if len(points) >= _TELLING_POINTS:
        return drift if wanders else best
    return Either(drift, best) if wanders else Either(best, drift)


def line_of(points: Sequence[Point], *, weekly: bool) -> Line:
    """Return the line of least squares; weekly: with an intercept for each weekday."""
    members: dict[int, list[Point]] = {}
    for point in points:
        members.setdefault(weekday(point[0]) if weekly else 0, []).append(point)
    groups = {
        group: (len(own), math.fsum(x for x, _y in own) / len(own), math.fsum(y for _day, y in own) / len(own))
        for group, own in members.items()
    }
    sxx = math.fsum((x - groups[group][1]) ** 2 for group, own in members.items() for x, _y in own)
    sxy = math.fsum((x - groups[group][1]) * (y - groups[group][2]) for group, own in members.items() for x, y in own)
    freedom = len(points) - len(groups) - 1
    line = Line(groups, sxy / sxx, sxx, 0.0, freedom)
    squares = math.fsum((y - line.mean_at(x)) ** 2 for x, y in points)
    return Line(groups, line.slope, sxx, math.sqrt(squares / freedom), freedom)


def _weekly(points: Sequence[Point], plain: Line) -> Optional[Line]:
    counts = [sum(1 for x, _y in points if weekday(x) == day) for day in range(_WEEK)]
    if points[-1][0] - points[0][0] < _WEEKLY_DAYS - 1 or min(counts) < 3:
        return None
    weekly = line_of(points, weekly=True)
    more = plain.freedom - weekly.freedom
    left = weekly.deviation**2 * weekly.freedom
    gained = plain.deviation**2 * plain.freedom - left
    if left <= 0:
        return weekly if gained > 0 else None
    return weekly if f_tail(gained / more / (left / weekly.freedom), more, weekly.freedom) < _WEEKLY_CERTAINTY else None


def durbin_watson(points: Sequence[Point], line: Line) -> float:
    """Return the sum of squared differences of neighbouring deviations by the sum of squared deviations."""
    left = [y - line.mean_at(x) for x, y in points]
    squares = math.fsum(one * one for one in left)
    scale = max(abs(y) for _day, y in points)
    if squares <= (1e-9 * scale) ** 2 * len(points):
        return 2.0  # what is left of a line without deviations is rounding
    return math.fsum((after - before) ** 2 for before, after in zip(left, left[1:])) / squares


def _drift(points: Sequence[Point]) -> Drift:
    span = points[-1][0] - points[0][0]
    slope = (points[-1][1] - points[0][1]) / span
    squares = math.fsum(
        (after[1] - before[1] - slope * (after[0] - before[0])) ** 2 / (after[0] - before[0])
        for before, after in zip(points, points[1:])
    )
    freedom = len(points) - 2
    return Drift(points[-1], slope, math.sqrt(squares / freedom), span, freedom)


def r_squared(points: Sequence[Point], trend: Trend) -> float:
    """Return the share of the variance that a line explains; of a drift, the share of a straight line too.

    >>> r_squared([(0, 1), (1, 2), (2, 3)], fit([(0, 1), (1, 2), (2, 3)]))
    1.0
    """
    line = trend if isinstance(trend, Line) else line_of(points, weekly=False)
    mean = math.fsum(y for _day, y in points) / len(points)
    total = math.fsum((y - mean) ** 2 for _day, y in points)
    left = line.deviation**2 * line.freedom
    return max(0.0, 1 - left / total) if total > 0 else 1.0
