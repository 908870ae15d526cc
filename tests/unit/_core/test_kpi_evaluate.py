from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.kpi import Kpi, read_kpis
from plugins.module_utils._core.kpi_evaluate import Verdict, evaluate
from plugins.module_utils._core.kpi_report import decide, finding
from plugins.module_utils._core.kpi_steps import steps
from plugins.module_utils._core.result import _RANK
from plugins.module_utils._core.source import Series

MINUTE = 60.0
NOW = 1_800_000_000.0


def kpi(**changes: Any) -> Kpi:
    """Errors in percent: a warning from 0.5, critical from 1 for 5 min, read each minute, relied on for 3 min."""
    raw: dict[str, Any] = {
        "name": "errors",
        "title": "Error rate",
        "source": {"metric": "availability.error_percent", "aggregate": "max"},
        "unit": "%",
        "warning": 0.5,
        "critical": 1,
        "for": "5m",
        "interval": "1m",
        "max_age": "3m",
    }
    return read_kpis([{**raw, **changes}])[0]


def series(*values: tuple[float, float], host: str = "web1", unit: str = "percent") -> Series:
    """Readings as (minutes ago, value), the oldest first."""
    return Series(host, {}, unit, tuple((NOW - ago * MINUTE, value) for ago, value in values))


def each_minute(value: float, since: float, until: float = 0) -> list[tuple[float, float]]:
    return [(ago, value) for ago in range(int(since), int(until) - 1, -1)]


def judge(one: Kpi, *found: Series) -> Verdict:
    return evaluate(one, found, NOW)


@pytest.mark.parametrize(
    ("readings", "status", "words"),
    [
        (each_minute(0.1, 10), "ok", "0.1 %"),
        (each_minute(2, 10), "critical", r"2 % for at least 10 min"),
        ([(6, 0.1), *each_minute(2, 5)], "critical", "2 % for 5 min"),
        ([(5, 0.1), *each_minute(2, 4)], "ok", "2 % for 4 min, critical at 1 % only for 5 min"),
        ([*each_minute(2, 10, 3), (2, 0.1), (1, 2), (0, 2)], "ok", "2 % for 1 min"),
        ([*each_minute(2, 10, 1), (0, 0.2)], "ok", "0.2 %"),
        ([(0, 2)], "unknown", "readings cover only 0.0 s of it: one every 1 min is needed"),
        (each_minute(2, 3), "unknown", "cover only 3 min of it"),
        ([(8, 0.1), *each_minute(2, 3)], "unknown", "2 % for 3 min"),
        ([(9, 2), (7, 2), (5, 2), (3, 2), (1, 2)], "unknown", "2 % for at least 9 min"),
        (each_minute(2, 12, 2), "critical", "2 % for at least 12 min"),
        (each_minute(0.7, 10), "warning", "0.7 %"),
        ([*each_minute(0.7, 10, 3), *each_minute(3, 2)], "warning", "3 % for at least 10 min (warning"),
        (each_minute(0.1, 60, 4), "critical", "stale, not read for 4 min"),
        (each_minute(0.1, 60, 3), "ok", "0.1 %"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_threshold_counts_when_readings_cover_its_time(
    readings: list[tuple[float, float]], status: str, words: str
) -> None:
    verdict = judge(kpi(), series(*readings))
    said = finding(verdict)
    assert verdict.status == status, said.msg
    assert words in said.msg, said.msg


def test_silence_does_not_end_a_breach_that_was_sustained() -> None:
    readings = [*each_minute(2, 30, 10), (0, 2)]
    assert judge(kpi(), series(*readings)).status == "critical"
    assert judge(kpi(), series(*readings[:-1], (7, 0.1), (0, 2))).status == "unknown"


def test_without_a_time_the_newest_reading_decides() -> None:
    assert judge(kpi(**{"for": None}), series((2, 3))).status == "critical"
    assert judge(kpi(**{"for": None}), series((2, 0.1))).status == "ok"


def test_what_was_never_read_is_unknown() -> None:
    verdict = judge(kpi())
    assert verdict.status == "unknown" and verdict.value is None
    assert "never read: the journal has no availability.error_percent" in finding(verdict).msg


def test_a_series_without_any_reading_that_is_kept_is_stale() -> None:
    verdict = judge(kpi(), series())
    assert verdict.status == "critical"
    assert "stale, not read for longer than is kept" in finding(verdict).msg


def test_readings_of_the_future_do_not_count() -> None:
    assert judge(kpi(), series(*each_minute(0.1, 60, 10), (-5, 0.1))).status == "critical"


def test_another_unit_is_not_compared() -> None:
    verdict = judge(kpi(), series(*each_minute(0.001, 10), unit="bytes"))
    assert verdict.status == "unknown"
    assert "read in bytes, not in %" in finding(verdict).msg


def test_a_unit_of_the_same_kind_is_turned_into_the_asked_one() -> None:
    assert judge(kpi(), series(*each_minute(0.02, 10), unit="ratio")).value == pytest.approx(2)
    hourly = kpi(unit="per_hour", warning=100, critical=200)
    assert judge(hourly, series(*each_minute(1, 10), unit="per_minute")).value == pytest.approx(60)


class TestSeveralHosts:
    def test_the_worst_of_them_decides_with_max(self) -> None:
        verdict = judge(kpi(), series(*each_minute(0, 10)), series(*each_minute(2, 10), host="web2"))
        assert (verdict.status, verdict.value) == ("critical", 2)

    def test_one_that_is_silent_is_stale_and_named(self) -> None:
        verdict = judge(kpi(), series(*each_minute(0, 10)), series(*each_minute(0, 30, 20), host="web2"))
        assert verdict.status == "critical"
        assert "web2" in finding(verdict).msg and "web1" not in finding(verdict).msg

    def test_one_that_is_named_and_never_came_is_unknown(self) -> None:
        source = {"metric": "availability.error_percent", "aggregate": "max", "hosts": ["web1", "web9", "db*"]}
        verdict = judge(kpi(source=source), series(*each_minute(0, 10)))
        assert verdict.status == "unknown"
        assert "never read of web9" in finding(verdict).msg and "db*" not in finding(verdict).msg

    def test_one_that_is_gone_for_long_is_left_out_and_said(self) -> None:
        gone = series((60 * 24 * 8, 0), host="web2")
        verdict = judge(kpi(), series(*each_minute(0, 10)), gone)
        assert verdict.status == "ok"
        assert "web2 left out" in finding(verdict).msg
        named = {"metric": "availability.error_percent", "aggregate": "max", "hosts": ["web1", "web2"]}
        assert judge(kpi(source=named), series(*each_minute(0, 10)), gone).status == "critical"

    @pytest.mark.parametrize(("aggregate", "status"), [("max", "critical"), ("mean", "unknown")])
    def test_a_gap_of_one_hides_a_breach_only_where_it_could_have_mended_it(self, aggregate: str, status: str) -> None:
        source = {"metric": "availability.error_percent", "aggregate": aggregate}
        other = series((30, 3), (29, 3), (0, 3), host="web2")
        verdict = judge(kpi(source=source), series(*each_minute(3, 10)), other)
        assert verdict.status == status, finding(verdict).msg

    @pytest.mark.parametrize(
        ("aggregate", "value"), [("mean", 2.5), ("sum", 10), ("min", 1), ("max", 4), ("p95", 3.85), ("last", 4)]
    )
    def test_values_are_put_together(self, aggregate: str, value: float) -> None:
        source = {"metric": "availability.error_percent", "aggregate": aggregate}
        found = [series(((4 - n) / 10, float(n)), host=f"web{n}") for n in (1, 2, 3, 4)]
        assert judge(kpi(source=source), *found).value == pytest.approx(value)


class TestObjective:
    def test_time_is_weighed_not_readings(self) -> None:
        """50 min good with a reading each minute, then 10 min bad with a reading each 2 min: 50 of 60 min are good."""
        one = kpi(interval="2m", max_age="10m", critical=None, objective={"target": 80, "window": "1h"})
        readings = [*each_minute(0, 60, 11), (10, 5), (8, 5), (6, 5), (4, 5), (2, 5)]
        attained = judge(one, series(*readings)).attainment
        assert attained is not None
        assert attained.attained == pytest.approx(100 * 50 / 60)
        assert attained.budget == pytest.approx(12 * MINUTE) and attained.budget_left == pytest.approx(2 * MINUTE)

    def test_a_missed_target_says_by_how_much(self) -> None:
        one = kpi(objective={"target": 90, "window": "1h"})
        verdict = judge(one, series(*each_minute(0, 60, 31), *each_minute(0.7, 30, 10), *each_minute(0, 9)))
        assert verdict.status == "warning"
        assert "objective 90 % over 1 h missed with 65 %, error budget overdrawn by 15 min" in finding(verdict).msg
        assert judge(
            kpi(objective={"target": 90, "window": "1h", "when_missed": "critical"}), *verdict.series
        ).status == ("critical")

    def test_too_little_seen_is_not_attained(self) -> None:
        one = kpi(objective={"target": 90, "window": "1d"})
        verdict = judge(one, series(*each_minute(0, 60)))
        assert verdict.status == "unknown"
        assert "objective 90 % over 1 d not known, 100 %, 4.17 % of the time observed, too little to tell" in (
            finding(verdict).msg
        )

    def test_a_budget_that_is_used_up_is_missed_however_little_was_seen(self) -> None:
        one = kpi(critical=None, objective={"target": 99, "window": "1d", "fast_burn": {"rate": 1000}})
        verdict = judge(one, series(*each_minute(5, 60, 1), (0, 0)))
        assert verdict.attainment is not None and verdict.attainment.is_missed
        assert verdict.status == "warning"

    def test_time_that_nobody_saw_can_count_as_bad(self) -> None:
        one = kpi(objective={"target": 90, "window": "1d", "unobserved": "bad"})
        attained = judge(one, series(*each_minute(0, 720))).attainment
        assert attained is not None and attained.is_missed
        assert attained.attained == pytest.approx(50)

    def test_a_value_can_be_the_share_itself(self) -> None:
        one = kpi(objective={"target": 99, "window": "1h", "attained_by": "value"}, **{"for": "30m"})
        attained = judge(one, series(*each_minute(0, 60, 31), *each_minute(1, 30))).attainment
        assert attained is not None
        assert attained.attained == pytest.approx(99.5)
        assert attained.budget_left == pytest.approx(attained.budget / 2)

    def test_a_fast_burn_is_critical_and_over_when_the_short_window_is_good(self) -> None:
        objective = {"target": 99.9, "window": "30d", "minimum_observed": 0}
        one = kpi(critical=None, objective=objective)
        month = [(60.0 * hour, 0.0) for hour in range(720, 2, -1)]
        burning = [*month, *each_minute(0, 120, 11), *each_minute(0.7, 10)]
        verdict = judge(one, series(*burning))
        assert verdict.status == "critical"
        assert "error budget used up 167 times too fast in the last 1 h (limit 14.4)" in finding(verdict).msg
        over = [*month, *each_minute(0, 120, 21), *each_minute(0.7, 20, 8), *each_minute(0, 7)]
        attained = judge(one, series(*over)).attainment
        assert attained is not None and attained.fast.long is not None
        assert attained.fast.long > 14.4 and not attained.fast.is_burning

    def test_a_share_is_never_rounded_up_to_the_target(self) -> None:
        one = kpi(objective={"target": 99.9, "window": "1h", "attained_by": "value"})
        verdict = judge(one, series(*each_minute(0.1000001, 60)))
        assert "missed with 99.899 %" in finding(verdict).msg


def test_the_result_has_plain_values_and_samples() -> None:
    one = kpi(objective={"target": 90, "window": "1h"}, owner="platform")
    decision = decide([judge(one, series(*each_minute(2, 60)))])
    (listed,) = decision.extra["kpis"]
    assert listed["breach"] == {
        "level": "critical",
        "state": "reached",
        "since": "2027-01-15T07:00:00Z",
        "since_is_earliest": False,
        "covered_seconds": 3600.0,
    }
    assert (listed["owner"], listed["samples_used"], listed["objective"]["attained"]) == ("platform", 61, 0)
    metrics = {sample["metric"]: sample["value"] for sample in decision.extra["samples"]}
    assert metrics == {"kpis.errors.value": 2, "kpis.errors.attainment": 0, "kpis.errors.budget_left": -900}
    assert decision.msg.startswith("1 critical: Error rate: 2 %")


def test_the_step_function_covers_no_more_than_was_read() -> None:
    found = steps([series((10, 1), (9, 2), (5, 3))], "max", 90, NOW)
    assert [((NOW - s.start) / 60, (NOW - s.end) / 60, s.value) for s in found] == [
        (10, 9, 1),
        (9, 7.5, 2),
        (5, 3.5, 3),
    ]


# Minutes ago with a value that is good (0.2), a warning (0.7) or critical (2).
READINGS = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from([0.2, 0.7, 2.0])), max_size=40, unique_by=lambda reading: reading[0]
)


def sorted_series(readings: list[tuple[int, float]]) -> Series:
    return series(*sorted(readings, reverse=True))


@given(readings=READINGS, more=st.sets(st.integers(0, 90), max_size=30), objective=st.booleans())
def test_good_readings_never_make_it_worse(readings: list[tuple[int, float]], more: set[int], objective: bool) -> None:
    """Unknown may turn into anything: there the good readings only show what was not seen before."""
    wanted = {"target": 90, "window": "1h"} if objective else None
    one = kpi(objective=wanted)
    taken = {ago for ago, _value in readings}
    before = judge(one, sorted_series(readings))
    after = judge(one, sorted_series([*readings, *((ago, 0.1) for ago in more - taken)]))
    if before.status != "unknown":
        assert _RANK[after.status] <= _RANK[before.status]
    if before.attainment is not None and after.attainment is not None:
        assert after.attainment.observed.share >= before.attainment.observed.share - 1e-9
        assert after.attainment.budget_left >= before.attainment.budget_left - 1e-6
        assert (after.attainment.attained or 0) >= (before.attainment.attained or 0) - 1e-6


@given(readings=READINGS, fewer=st.integers(0, 40))
def test_ok_needs_readings_that_show_it(readings: list[tuple[int, float]], fewer: int) -> None:
    """Whatever is left of the readings: ok only where the newest is fresh and good, or a good one is near enough."""
    left = sorted(readings, reverse=True)[fewer:]
    verdict = judge(kpi(), sorted_series(left))
    if verdict.status == "ok":
        ago, value = left[-1]
        assert ago <= 3
        last_good = min((ago for ago, value in left if value < 0.5), default=None)
        assert value < 0.5 or (last_good is not None and last_good <= 5 + 1.5)


@given(readings=READINGS)
def test_critical_needs_readings_over_the_whole_time(readings: list[tuple[int, float]]) -> None:
    verdict = judge(kpi(), sorted_series(readings))
    if verdict.status == "critical" and not verdict.silence.stale:
        row: list[int] = []
        for ago, value in sorted(readings):
            if value < 1:
                break
            row.append(ago)
        assert row and max(row) >= 5 - 1.5


@given(readings=READINGS, hours=st.integers(1, 48))
def test_time_that_passes_without_readings_never_mends_anything(readings: list[tuple[int, float]], hours: int) -> None:
    one = kpi()
    found = sorted_series(readings)
    if readings and evaluate(one, [found], NOW).status != "unknown":
        assert evaluate(one, [found], NOW + hours * 3600).status == "critical"


@given(first=READINGS, second=READINGS, aggregate=st.sampled_from(["mean", "max", "min", "sum", "p95", "last"]))
def test_steps_are_in_order_and_do_not_overlap(
    first: list[tuple[int, float]], second: list[tuple[int, float]], aggregate: str
) -> None:
    found = steps([sorted_series(first), sorted_series(second)], aggregate, 90, NOW)
    for one, following in zip(found, found[1:]):
        assert one.start <= one.end <= following.start
    assert all(step.end <= NOW for step in found)
    alone = steps([sorted_series(first)], aggregate, 90, NOW)
    assert sum(step.end - step.start for step in found) >= sum(step.end - step.start for step in alone) - 1e-6
