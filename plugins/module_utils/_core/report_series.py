# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Readings over time become plots."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

from .report import Forecast, Line, Plot
from .report_format import amount

MOST_LINES = 4

Points = Sequence[tuple[float, float]]


def forecast_plot(one: Forecast, plot_id: str) -> Plot:
    """Return a resource's past, its expected future with the interval, and its limit."""
    past = dict(one.history.points)
    future = {at: (low, middle, high) for at, low, middle, high in one.expected}
    times = tuple(sorted({*past, *future}))
    band = None
    lines = [Line("measured", tuple(past.get(at) for at in times))]
    if future:
        low, middle, high = (tuple(future[at][part] if at in future else None for at in times) for part in range(3))
        lines.append(Line("expected", middle))
        band = (Line("least", low), Line("most", high))
    levels = () if one.limit is None else (("limit", one.limit),)
    where = f"{one.name}, {one.host}" if one.host else one.name
    return Plot(plot_id, where, one.unit, times, tuple(lines), band, levels, one.msg)


def lines_plot(plot_id: str, title: str, unit: str, curves: Mapping[str, Points]) -> Plot:
    """Return a plot with one line for each of a few curves."""
    times = tuple(sorted({at for points in curves.values() for at, _value in points}))
    lines = []
    for label, points in list(curves.items())[:MOST_LINES]:
        known = dict(points)
        lines.append(Line(label, tuple(known.get(at) for at in times)))
    about = _about([value for points in curves.values() for _at, value in points], unit, _newest(curves))
    return Plot(plot_id, title, unit, times, tuple(lines), None, (), about)


def band_plot(
    plot_id: str, title: str, unit: str, days: Sequence[tuple[float, float, float, float]], series: int
) -> Plot:
    """Return a plot of many curves as one: ``days`` are (moment, least, mean, most) over all of them."""
    times = tuple(at for at, _least, _mean, _most in days)
    least, mean, most = (tuple(day[part] for day in days) for part in (1, 2, 3))
    about = f"{series} series; " + _about([*least, *most], unit, mean[-1] if mean else None, "mean now")
    band = (Line("least", least), Line("most", most))
    return Plot(plot_id, title, unit, times, (Line("mean", mean),), band, (), about)


def _newest(curves: Mapping[str, Points]) -> Optional[float]:
    newest = [points[-1] for points in curves.values() if points]
    return max(newest)[1] if len(newest) == 1 else None


def _about(values: Sequence[float], unit: str, newest: Optional[float], word: str = "now") -> str:
    if not values:
        return ""
    now = "" if newest is None else f"{word} {amount(newest, unit)}; "
    return f"{now}between {amount(min(values), unit)} and {amount(max(values), unit)}"
