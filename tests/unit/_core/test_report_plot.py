"""Charts: round ticks that hold all values, curves within their box, points that are kept."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.report import Line, Plot
from plugins.module_utils._core.report_plot import draw, nice_ticks, sparkline, thinned, time_ticks
from plugins.module_utils._core.report_series import band_plot, lines_plot

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)
MOMENTS = st.floats(0, 4e9, allow_nan=False)


@given(NUMBERS, NUMBERS)
def test_ticks_are_even_few_and_hold_the_range(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    if high - low < 1e-6 * max(1.0, abs(high)):
        return
    ticks = nice_ticks(low, high)
    margin = 1e-6 * (high - low)
    assert 2 <= len(ticks) <= 7 and ticks[0] <= low + margin and ticks[-1] >= high - margin
    steps = [b - a for a, b in zip(ticks, ticks[1:])]
    assert max(steps) - min(steps) <= 1e-6 * max(abs(tick) for tick in ticks) + 1e-9


@given(st.lists(st.tuples(MOMENTS, NUMBERS), unique_by=lambda point: point[0], max_size=300), st.integers(2, 50))
def test_thinning_keeps_the_extremes_the_last_point_and_the_order(points: list[tuple[float, float]], most: int) -> None:
    points.sort()
    kept = thinned(points, most)
    assert set(kept) <= set(points) and list(kept) == sorted(kept) and len(kept) <= max(most, 2) + 1
    if points:
        values = [value for _at, value in points]
        assert kept[-1] == points[-1]
        assert {min(values), max(values)} <= {value for _at, value in kept}


@given(st.lists(st.one_of(st.none(), NUMBERS), min_size=1, max_size=40), st.sampled_from(["bytes", "percent", "EUR"]))
def test_every_curve_lies_within_the_drawing(values: list[float | None], unit: str) -> None:
    plot = Plot("p", "t", unit, tuple(float(n * 3600) for n in range(len(values))), (Line("l", tuple(values)),))
    drawing = draw(plot)
    if all(value is None for value in values):
        assert drawing is None
        return
    assert drawing is not None
    numbers = [tuple(map(float, pair)) for pair in re.findall(r"([-\d.e+]+) ([-\d.e+]+)", drawing.curves[0][1])]
    assert len(numbers) == sum(value is not None for value in values)
    assert all(0 <= x <= drawing.width and -0.2 <= y <= drawing.height for x, y in numbers)


def test_a_gap_interrupts_the_curve() -> None:
    plot = Plot("p", "t", "", (0.0, 1.0, 2.0, 3.0), (Line("l", (1.0, 2.0, None, 3.0)),))
    drawing = draw(plot)
    assert drawing is not None and drawing.curves[0][1].count("M") == 2


def test_a_level_far_away_does_not_flatten_the_curve() -> None:
    times, line = (0.0, 1.0), (Line("l", (1.0, 2.0)),)
    near, far = (draw(Plot("p", "t", "", times, line, None, (("limit", level),))) for level in (4.0, 4000.0))
    assert near is not None and far is not None
    assert len(near.levels) == 1 and far.levels == ()


def test_months_and_days_are_named_whatever_the_locale() -> None:
    assert [label for _at, label in time_ticks(1767225600, 1767225600 + 365 * 86400)] == [
        "Jan 2026", "Apr", "Jul", "Oct", "Jan 2027",
    ]  # fmt: skip
    assert [label for _at, label in time_ticks(0, 12 * 3600)] == ["1 Jan", "03:00", "06:00", "09:00", "12:00"]


def test_small_curves_need_two_points() -> None:
    assert sparkline([]) == sparkline([(0, 1)]) == ""
    assert sparkline([(0, 1), (1, 1)]) == "M0 18L160 18"
    assert sparkline([(0, 1), (1, 2)]).startswith("M0 33")


def test_many_series_become_a_band_and_few_lines_over_common_times() -> None:
    band = band_plot("p", "CPU", "percent", [(0.0, 1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 9.0)], 50)
    assert band.band is not None and band.band[1].values == (3.0, 9.0)
    assert band.about == "50 series; mean now 3 %; between 1 % and 9 %"
    plot = lines_plot("p", "Up", "ratio", {"a": [(0.0, 1.0)], "b": [(1.0, 0.5)]})
    assert plot.times == (0.0, 1.0) and plot.lines[1].values == (None, 0.5)
