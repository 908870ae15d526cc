from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.capacity import LimitSource, Resource, read_resources
from plugins.module_utils._core.capacity_forecast import Outlook, foresee
from plugins.module_utils._core.capacity_report import decide, rendered, sentence
from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.journal import Day
from plugins.module_utils._core.source import Series

DISK: dict[str, Any] = {
    "name": "disk",
    "title": "Disk",
    "source": {"metric": "host.disk.used_percent"},
    "limit": 100,
    "unit": "%",
    "warning": "30d",
    "critical": "7d",
}
TODAY = 20778
NOW = (TODAY + 1) * 86400.0 - 60  # a minute before midnight: today is as full as any other day


def disk(**changes: Any) -> Resource:
    return read_resources([{**DISK, **changes}])[0]


def days(values: list[float], until: int = TODAY) -> list[Day]:
    first = until - len(values) + 1
    return [Day(1, first + n, 24, value, value, value, value) for n, value in enumerate(values)]


def outlook(
    values: list[float], resource: Resource | None = None, *, limit: float | None = 100, now: float = NOW
) -> Outlook:
    newest = ((now - 60, values[-1]),) if values else ()
    return foresee(resource or disk(), Series("db1", {"mount": "/"}, "percent", newest), days(values), limit, now)


def growing(to: float, by: float, number: int = 60) -> list[float]:
    return [to - by * (number - 1 - n) for n in range(number)]


@pytest.mark.parametrize(
    ("level", "by", "status", "expected"),
    [
        (50, 0.1, "ok", None),
        (80, 0.5, "ok", 40),
        (80, 1, "warning", 20),
        (95, 1, "critical", 5),
        (50, -0.5, "ok", None),
    ],
)
def test_the_days_to_the_limit_decide(level: float, by: float, status: str, expected: float | None) -> None:
    one = outlook(growing(level, by))
    assert (one.status, one.reason) == (status, "forecast")
    assert one.reach is not None
    assert one.reach.expected == (None if expected is None else pytest.approx(expected, abs=0.6))


def test_the_interval_surrounds_the_expectation() -> None:
    random_ = random.Random(1)
    one = outlook([value + random_.gauss(0, 1) for value in growing(80, 0.5)])
    assert one.reach is not None and one.reach.expected is not None
    assert one.reach.earliest is not None and one.reach.latest is not None
    assert one.reach.earliest < one.reach.expected < one.reach.latest
    assert "grows by 0.5 % a day" in sentence(one)


def test_what_does_not_move_never_ends() -> None:
    one = outlook([60.0] * 60)
    assert one.status == "ok"
    assert sentence(one) == "Disk db1 mount=/: 60 % of 100 %, no clear trend, the limit is not within 180 d"


def test_a_limit_that_is_reached_needs_no_history() -> None:
    for values in ([100.0], growing(101, 1)):
        one = outlook(values)
        assert (one.status, one.reason, one.judged) == ("critical", "at_limit", 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (growing(50, 1, 3), "readings of 4 more days needed"),
        (
            [*growing(80, 1, 40), 30, 31, 32],
            "readings of 4 more days needed since it went down by 51 %",
        ),
    ],
)
def test_too_little_history_is_unknown_and_says_how_much_is_missing(values: list[float], words: str) -> None:
    one = outlook(values)
    assert (one.status, one.reason) == ("unknown", "too_short")
    assert words in sentence(one), sentence(one)


def test_few_readings_in_much_time_are_too_few() -> None:
    few = [day for day in days(growing(50, 1, 41)) if (TODAY - day.day) % 20 == 0]
    one = foresee(disk(), Series("db1", {}, "percent", ((NOW, 50.0),)), few, 100, NOW)
    assert (one.status, one.missing_points, one.missing_days) == ("unknown", 4, 0)


def test_after_a_clean_up_its_own_growth_counts() -> None:
    one = outlook([*growing(95, 0.2, 40), *growing(60, 1, 20)])
    assert one.reach is not None and one.reach.expected == pytest.approx(40, abs=0.6)
    assert rendered(one)["change"]["kind"] == "step"
    assert len(one.history.points if one.history else ()) == 20


def test_less_can_be_worse() -> None:
    left = disk(direction="lower_is_worse", limit=0)
    one = outlook(growing(20, -1), left, limit=0)
    assert one.status == "warning"
    assert one.reach is not None and one.reach.expected == pytest.approx(20, abs=0.6)
    assert outlook([5.0, 0.0], left, limit=0).reason == "at_limit"


def test_the_earliest_time_can_decide() -> None:
    random_ = random.Random(7)
    values = [value + random_.gauss(0, 3) for value in growing(80, 0.5)]
    assert outlook(values).status == "ok"
    assert outlook(values, disk(judge_by="earliest")).status == "warning"


def test_old_readings_are_critical() -> None:
    one = outlook(growing(50, 0.1), now=NOW + 3 * 86400)
    assert one.status == "ok"  # the helper reads anew: its newest reading is a minute old
    stale = foresee(disk(), Series("db1", {}, "percent"), days(growing(50, 0.1)), 100, NOW + 3 * 86400)
    assert (stale.status, stale.reason) == ("critical", "stale")
    assert "stale, not read for more than 2 d" in sentence(stale)


def test_without_a_limit_it_is_unknown() -> None:
    one = outlook(growing(50, 1), disk(limit={"metric": "host.disk.total"}), limit=None)
    assert (one.status, one.reason) == ("unknown", "no_limit")
    assert "host.disk.total" in sentence(one)


def test_another_unit_is_not_compared() -> None:
    series = Series("db1", {}, "bytes", ((NOW, 50.0),))
    assert foresee(disk(), series, days(growing(50, 1)), 100, NOW).reason == "other_unit"


def test_a_morning_is_no_day() -> None:
    """Today has 2 of 24 readings, and their mean is far from that of a day."""
    known = [*days(growing(50, 0.5, 30), TODAY - 1), Day(1, TODAY, 2, 20, 20, 20, 20)]
    morning = TODAY * 86400.0 + 7200
    one = foresee(disk(), Series("db1", {}, "percent", ((morning, 20.0),)), known, 100, morning)
    assert one.points[-1][0] == TODAY - 0.5
    assert one.reason == "forecast"


@pytest.mark.parametrize("daily", ["mean", "max", "min", "last"])
@pytest.mark.parametrize("every", [1, 4, 24])
@pytest.mark.parametrize("noise", [0, 0.5])
def test_the_time_of_day_makes_no_change(daily: str, every: int, noise: float) -> None:
    """A disk that grows by 1 % a day, read each few hours, looked at in each hour of a day: full in 20 days."""
    for hour in range(24):
        random_, now = random.Random(hour), TODAY * 86400.0 + hour * 3600 + 1800
        readings = [
            (now - 60 - n * every * 3600, 80 - n * every / 24 + (random_.gauss(0, noise) if n else 0))
            for n in reversed(range(60 * 24 // every))
        ]
        one = foresee(disk(daily=daily), Series("db1", {}, "percent", tuple(readings)), (), 100, now)
        assert one.history is not None and one.history.change is None, sentence(one)
        assert one.reach is not None and one.reach.expected == pytest.approx(20, abs=1.5)


def test_raw_readings_stand_in_for_days_that_are_not_kept() -> None:
    samples = tuple(((TODAY - 39 + n) * 86400.0 + 43200, 40.0 + n) for n in range(40))
    one = foresee(disk(), Series("db1", {}, "percent", samples), (), 100, NOW)
    assert one.reach is not None and one.reach.expected == pytest.approx(20.5, abs=0.6)


def test_the_plot_has_at_most_200_points() -> None:
    one = rendered(outlook(growing(80, 0.01, 400), disk(history="400d", horizon="3650d")))
    plot = one["plot"]
    assert len(plot["dates"]) == len(plot["values"]) <= 120
    assert len(plot["forecast_dates"]) == len(plot["mean"]) == len(plot["lower"]) == len(plot["upper"]) <= 80
    assert plot["dates"][-1] == "2026-11-21"


def test_bad_ones_are_named_and_good_ones_counted() -> None:
    resource = disk()
    good = [outlook(growing(50, 0.1)) for _n in range(3)]
    decision = decide([resource], {"disk": good})
    assert [one.status for one in decision.findings] == ["ok"]
    assert decision.findings[0].msg.endswith("; 2 others later or not at all")
    bad = [outlook(growing(95, 1)) for _n in range(25)]
    findings = decide([resource], {"disk": [*good, *bad]}).findings
    assert len(findings) == 21 and findings[-1].msg == "Disk: 5 more"
    assert {one.status for one in findings} == {"critical"}


def test_what_was_never_read_is_unknown() -> None:
    decision = decide([disk(source={"metric": "host.disk.used_percent", "hosts": ["db9"]})], {"disk": []})
    assert decision.findings[0].status == "unknown"
    assert "never read of db9" in decision.msg


@given(
    level=st.floats(1, 99),
    by=st.floats(-2, 2),
    number=st.integers(1, 80),
    noise=st.floats(0, 5),
    seed=st.integers(0, 99),
)
def test_nearer_limits_are_never_later(level: float, by: float, number: int, noise: float, seed: int) -> None:
    random_ = random.Random(seed)
    values = [value + random_.gauss(0, noise) for value in growing(level, by, number)]
    near, far = outlook(values, limit=100), outlook(values, limit=120)
    if near.reach is not None and far.reach is not None:
        for one, other in zip(vars(near.reach).values(), vars(far.reach).values()):
            assert (one if one is not None else 1e9) <= (other if other is not None else 1e9) + 1e-9
    if near.reach is not None and near.reason == "forecast":
        order = [near.reach.earliest, near.reach.expected, near.reach.latest]
        found = [1e9 if one is None else one for one in order]
        assert found == sorted(found)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"limit": None}, r"capacity_resources\[0\].limit is missing"),
        ({"limit": "much"}, r"capacity_resources\[0\].limit must be a number"),
        ({"limit": {"metric": "x"}}, r"capacity_resources\[0\].limit.metric must be a dotted name"),
        ({"limit": {"name": "x"}}, r"capacity_resources\[0\].limit.name is no key"),
        ({"critical": "60d"}, r"capacity_resources\[0\].critical must be shorter than warning"),
        ({"warning": "soon"}, r"capacity_resources\[0\].warning must be a duration"),
        ({"horizon": "20d"}, r"capacity_resources\[0\].horizon is shorter"),
        ({"horizon": "11000d"}, r"capacity_resources\[0\].horizon is longer than ten years"),
        ({"confidence": 95}, r"capacity_resources\[0\].confidence must be from 0.5 to 0.999"),
        ({"daily": "sum"}, r"capacity_resources\[0\].daily must be one of"),
        ({"min_history": "100d"}, r"capacity_resources\[0\].min_history is longer than history"),
        ({"min_points": 2}, r"capacity_resources\[0\].min_points must be from 4"),
        ({"source": {"metric": "a.b", "aggregate": "max"}}, r"capacity_resources\[0\].source.aggregate is no key"),
        ({"colour": "red"}, r"capacity_resources\[0\].colour is no key"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidValue, match=place):
        read_resources([{**DISK, **changes}], "capacity_resources")


def test_a_limit_can_be_read() -> None:
    limit = disk(limit={"metric": "host.disk.total", "labels": {"mount": "/"}}).limit
    assert limit == LimitSource("host.disk.total", {"mount": "/"})
