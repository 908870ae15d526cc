# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The geometry of a chart: what an SVG needs when nothing else can draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Iterable, Optional, Sequence

from .report import Line, Plot

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICKS = 4
_DAY = 86400.0
# Not strftime: its names are those of the user's locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Frame:
    """The box of the curves in the drawing's units, and the values at its edges."""

    left: float
    top: float
    width: float
    height: float
    since: float
    until: float
    low: float
    high: float

    def x(self, at: float) -> float:
        """Return where a moment lies."""
        return round(self.left + self.width * (at - self.since) / ((self.until - self.since) or 1.0), 1)

    def y(self, value: float) -> float:
        """Return where a value lies."""
        return round(self.top + self.height * (self.high - value) / ((self.high - self.low) or 1.0), 1)


@dataclass(frozen=True)
class Drawing:
    """A chart as SVG paths: curves, the band, level lines, and the ticks of both axes."""

    width: float
    height: float
    frame: Frame
    curves: tuple[tuple[str, str], ...]
    band: str
    levels: tuple[tuple[str, float], ...]
    y_ticks: tuple[tuple[float, float], ...]
    x_ticks: tuple[tuple[float, str], ...]


def nice_ticks(low: float, high: float, about: int = _TICKS) -> tuple[float, ...]:
    """Return round values that span a range.

    >>> nice_ticks(0, 97), nice_ticks(0.3, 0.31), nice_ticks(5, 5)
    ((0.0, 25.0, 50.0, 75.0, 100.0), (0.3, 0.3025, 0.305, 0.3075, 0.31), (0.0, 2.0, 4.0, 6.0))
    """
    if high <= low:
        low, high = min(0.0, low), max(0.0, high) or 1.0
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def draw(plot: Plot, width: float = 640, height: float = 200) -> Optional[Drawing]:
    """Return the drawing of a plot; None when it has no value at all."""
    values = [value for line in _all_lines(plot) for value in line.values if value is not None]
    if not values or not plot.times:
        return None
    shown = values + [level for _label, level in plot.levels if _is_near(level, values)]
    low = 0.0 if min(shown) >= 0 and min(shown) < 0.6 * max(shown) else min(shown)
    scale = 1024.0 ** int(math.log(max(map(abs, shown), default=1.0) or 1.0, 1024)) if plot.unit == "bytes" else 1.0
    ticks = tuple(tick * scale for tick in nice_ticks(low / scale, max(shown) / scale))
    frame = Frame(52, 8, width - 60, height - 32, plot.times[0], plot.times[-1], ticks[0], ticks[-1])
    return Drawing(
        width,
        height,
        frame,
        tuple((line.label, _curve(frame, plot.times, line.values)) for line in plot.lines),
        _band(frame, plot) if plot.band else "",
        tuple((label, frame.y(level)) for label, level in plot.levels if frame.low <= level <= frame.high),
        tuple((tick, frame.y(tick)) for tick in ticks),
        tuple((frame.x(at), label) for at, label in time_ticks(plot.times[0], plot.times[-1])),
    )


def sparkline(points: Sequence[tuple[float, float]], width: float = 160, height: float = 36) -> str:
    """Return the path of a small curve without axes; empty for less than two points."""
    if len(points) < 2:
        return ""
    values = [value for _at, value in points]
    margin = 3.0
    frame = Frame(
        0, margin, width, height - 2 * margin, points[0][0], points[-1][0], min(values), max(values) or min(values)
    )
    if frame.low == frame.high:
        return f"M0 {height / 2:g}L{width:g} {height / 2:g}"
    return _curve(frame, [at for at, _value in points], values)


def thinned(points: Sequence[tuple[float, float]], most: int) -> tuple[tuple[float, float], ...]:
    """Return at most about ``most`` points, keeping the smallest and the largest of each stretch, and the last one.

    >>> thinned([(0, 1), (1, 9), (2, 0), (3, 1), (4, 1), (5, 2)], 4)
    ((1, 9), (2, 0), (3, 1), (5, 2))
    """
    if len(points) <= most:
        return tuple(points)
    kept: list[tuple[float, float]] = []
    stretches = max(1, most // 2)
    for index in range(stretches):
        stretch = points[index * len(points) // stretches : (index + 1) * len(points) // stretches]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return tuple(kept if kept[-1] == points[-1] else [*kept, points[-1]])


def time_ticks(since: float, until: float, about: int = 5) -> tuple[tuple[float, str], ...]:
    """Return moments on the time axis with their labels, in UTC: months, days or hours.

    >>> time_ticks(0, 4 * 86400)
    ((0.0, '1 Jan'), (86400.0, '2 Jan'), (172800.0, '3 Jan'), (259200.0, '4 Jan'), (345600.0, '5 Jan'))
    """
    span = until - since
    if span > 75 * _DAY:
        return tuple(_months(since, until, max(1, math.ceil(span / (30.4 * _DAY) / 6))))
    steps = (3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY)
    step = next((size for size in steps if span / size <= about), steps[-1])
    first = math.ceil(since / step) * step
    moments = [first + index * step for index in range(int((until - first) // step) + 1)] if first <= until else []
    return tuple((at, _label(at, step)) for at in moments)


def _months(since: float, until: float, step: int) -> Iterable[tuple[float, str]]:
    day = datetime.fromtimestamp(since, timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    number = 0
    while day.timestamp() <= until:
        if day.timestamp() >= since and number % step == 0:
            yield day.timestamp(), f"{_MONTHS[day.month - 1]} {day.year}" if day.month == 1 else _MONTHS[day.month - 1]
        number += day.timestamp() >= since
        day = (day + timedelta(days=32)).replace(day=1)


def _label(at: float, step: float) -> str:
    day = datetime.fromtimestamp(at, timezone.utc)
    if step < _DAY and (day.hour or day.minute):
        return day.strftime("%H:%M")
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _all_lines(plot: Plot) -> tuple[Line, ...]:
    return plot.lines + (plot.band or ())


def _is_near(level: float, values: Sequence[float]) -> bool:
    """Tell whether a level can be shown without flattening the curves."""
    return abs(level) <= 3 * max(abs(value) for value in values)


def _curve(frame: Frame, times: Sequence[float], values: Sequence[Optional[float]]) -> str:
    parts, pen = [], "M"
    for at, value in zip(times, values):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{frame.x(at):g} {frame.y(value):g}")
        pen = "L"
    return "".join(parts)


def _band(frame: Frame, plot: Plot) -> str:
    low, high = plot.band or (Line("", ()), Line("", ()))
    both = [
        (at, below, above)
        for at, below, above in zip(plot.times, low.values, high.values)
        if below is not None and above is not None
    ]
    if len(both) < 2:
        return ""
    upper = [f"{frame.x(at):g} {frame.y(above):g}" for at, _below, above in both]
    lower = [f"{frame.x(at):g} {frame.y(below):g}" for at, below, _above in reversed(both)]
    return f"M{'L'.join(upper + lower)}Z"
