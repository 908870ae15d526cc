from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.capacity_change import since_last_change
from plugins.module_utils._core.capacity_trend import DRIFT, LINE, WEEKLY, Point, fit, weekday

FIRST = 20000.5
SERIES = 500


def points(values: list[float]) -> list[Point]:
    return [(FIRST + number, value) for number, value in enumerate(values)]


def line(days: int, random_: random.Random) -> list[float]:
    slope = random_.uniform(-1, 3)
    return [100 + slope * day + random_.gauss(0, 5) for day in range(days)]


def weekly(days: int, random_: random.Random) -> list[float]:
    slope, week = random_.uniform(-1, 3), [random_.gauss(0, 10) for _n in range(7)]
    return [100 + slope * day + week[day % 7] + random_.gauss(0, 3) for day in range(days)]


def walk(days: int, random_: random.Random) -> list[float]:
    slope, values = random_.uniform(-1, 3), [100.0]
    for _n in range(days - 1):
        values.append(values[-1] + slope + random_.gauss(0, 2))
    return values


def after_a_step(days: int, random_: random.Random) -> list[float]:
    return [value - (80 if day >= 20 else 0) for day, value in enumerate(line(days, random_))]


def after_more_growth(days: int, random_: random.Random) -> list[float]:
    return [value + 3 * max(0, day - 30) for day, value in enumerate(line(days, random_))]


Simulation = Callable[[int, random.Random], list[float]]


def coverage(simulated: Simulation, known: int, ahead: int, confidence: float = 0.95) -> tuple[float, Counter[str]]:
    """Return the share of series whose later value lies within the interval, and the models that were chosen."""
    within, models = 0, Counter[str]()
    for seed in range(SERIES):
        values = simulated(known + ahead, random.Random(seed))
        own = since_last_change(points(values[:known])).points
        if len(own) < 7:
            models["too short"] += 1
            continue
        trend = fit(own)
        models[trend.model] += 1
        forecast = trend.at(FIRST + known + ahead - 1, confidence)
        within += forecast.lower <= values[-1] <= forecast.upper
    return within / (SERIES - models["too short"]), models


@pytest.mark.parametrize(
    ("simulated", "known", "ahead", "model"),
    [
        (line, 60, 1, LINE),
        (line, 60, 30, LINE),
        (line, 90, 30, LINE),
        (weekly, 60, 10, WEEKLY),
        (walk, 90, 1, DRIFT),
        (walk, 90, 30, DRIFT),
        (after_a_step, 80, 20, LINE),
        (after_more_growth, 90, 20, LINE),
    ],
)
def test_the_interval_holds_what_it_promises(simulated: Simulation, known: int, ahead: int, model: str) -> None:
    """500 series of which the truth is known: an interval of 95 % holds 92 to 98 % of what comes."""
    share, models = coverage(simulated, known, ahead)
    assert 0.92 <= share <= 0.98, models
    assert models[model] >= 0.9 * SERIES, models
    assert models["too short"] <= 0.05 * SERIES, models


def test_another_confidence_gives_another_interval() -> None:
    share, _models = coverage(line, 60, 10, 0.8)
    assert 0.76 <= share <= 0.84


@pytest.mark.parametrize("simulated", [line, weekly, walk])
@pytest.mark.parametrize("ahead", [1, 14])
def test_a_short_history_has_an_interval_that_is_rather_too_wide(simulated: Simulation, ahead: int) -> None:
    share, models = coverage(simulated, 12, ahead)
    assert share >= 0.92, models


def test_a_line_is_found_as_it_is() -> None:
    trend = fit(points([10 + 2.5 * day for day in range(60)]))
    assert (trend.model, trend.slope) == (LINE, pytest.approx(2.5))
    ahead = trend.at(FIRST + 70, 0.95)
    assert ahead.mean == pytest.approx(185) and ahead.upper - ahead.lower < 1e-6


def test_the_interval_is_that_of_a_printed_example() -> None:
    """Least squares by hand for 1, 2, 4, 5, 8: b = 1.7, s^2 = 1.1 / 3, t(0.975, 3) = 3.182."""
    from plugins.module_utils._core.capacity_trend import line_of

    found = line_of([(float(x), y) for x, y in enumerate((1.0, 2.0, 4.0, 5.0, 8.0))], weekly=False)
    assert (found.slope, found.deviation**2) == (pytest.approx(1.7), pytest.approx(1.1 / 3))
    ahead = found.at(5, 0.95)
    assert ahead.mean == pytest.approx(9.1)
    assert ahead.upper - ahead.mean == pytest.approx(3.182446 * ((1.1 / 3) * (1 + 1 / 5 + 9 / 10)) ** 0.5, rel=1e-6)


def test_weekdays_are_those_of_the_calendar() -> None:
    assert weekday(20778.3) == 5  # 2026-11-21 is a Saturday


def test_weekdays_count_only_after_four_weeks() -> None:
    values = weekly(60, random.Random(3))
    assert fit(points(values)).model == WEEKLY
    assert fit(points(values[:27])).model != WEEKLY


class TestChanges:
    def test_nothing_changes_on_a_line(self) -> None:
        found = sum(since_last_change(points(line(60, random.Random(seed)))).change is not None for seed in range(200))
        assert found <= 2

    @pytest.mark.parametrize("size", [-80, 80])
    def test_a_step_begins_a_new_history(self, size: float) -> None:
        values = [value + (size if day >= 40 else 0) for day, value in enumerate(line(60, random.Random(1)))]
        history = since_last_change(points(values))
        assert history.change is not None
        assert (history.change.kind, history.change.day) == ("step", FIRST + 40)
        assert history.change.size == pytest.approx(size, abs=20)
        assert len(history.points) == 20

    def test_the_last_of_several_steps_counts(self) -> None:
        values = [day + 100.0 * (day >= 10) - 150.0 * (day >= 30) for day in range(50)]
        assert since_last_change(points(values)).points[0][0] == FIRST + 30

    def test_more_growth_begins_a_new_history(self) -> None:
        history = since_last_change(points(after_more_growth(90, random.Random(5))))
        assert history.change is not None
        assert (history.change.kind, history.change.day) == ("growth", pytest.approx(FIRST + 30, abs=5))

    def test_one_day_that_was_off_is_left_out(self) -> None:
        values = line(60, random.Random(2))
        values[55] += 200
        history = since_last_change(points(values))
        assert history.outliers == ((FIRST + 55, values[55]),)
        assert history.change is None and len(history.points) == 59

    def test_a_clean_up_each_sunday_is_no_new_history(self) -> None:
        random_ = random.Random(4)
        values = [100 + 5.0 * (day % 7) + random_.gauss(0, 0.3) for day in range(70)]
        history = since_last_change(points(values))
        assert history.change is None
        assert fit(history.points).model == WEEKLY

    def test_what_does_not_move_has_no_changes(self) -> None:
        history = since_last_change(points([50.0] * 30))
        assert history.change is None and len(history.points) == 30

    def test_a_jump_of_what_did_not_move_is_one(self) -> None:
        history = since_last_change(points([50.0] * 30 + [60.0] * 10))
        assert history.change is not None and len(history.points) == 10


@given(
    values=st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=60),
    scale=st.sampled_from([1e-6, 1.0, 1e12]),
    moved=st.floats(-1e6, 1e6),
)
def test_any_history_has_an_interval_around_its_mean(values: list[float], scale: float, moved: float) -> None:
    history = since_last_change(points([value * scale + moved for value in values]))
    assert history.points and history.points[-1][0] == FIRST + len(values) - 1
    if len(history.points) >= 4:
        for confidence in (0.9, 0.95):
            ahead = fit(history.points).at(FIRST + 100, confidence)
            assert ahead.lower <= ahead.mean <= ahead.upper
