from __future__ import annotations

from datetime import datetime, timedelta, timezone
from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.ingestion import Reading, Source, SourceFacts, bind, check_query, read_rows
from plugins.module_utils._core.ingestion_active import active_intervals, active_seconds, measured_since
from plugins.module_utils._core.ingestion_report import decide, unreachable
from plugins.module_utils._core.limits import Limit
from plugins.module_utils._core.window import Window, parse_days

NOW = datetime(2026, 11, 21, 14, 30, tzinfo=timezone.utc)  # a Saturday
UTC = timezone.utc


def window(start: str, end: str, days: str = "daily") -> Window:
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (start, end)]
    return Window(f"{start}-{end}", parse_days([days], "days"), minutes[0], UTC, end_minute=minutes[1])


# --- queries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["SELECT 1;", "SELECT ';'", "SELECT E'\\';'", 'SELECT ";" FROM x', "SELECT 1 -- a; b", "SELECT /* ; */ 1 ; -- end;",
     "SELECT $a$;$a$", "SELECT 'it''s; so'", "SELECT 1 WHERE x LIKE '50%%'", "SELECT %(since)s"],
)  # fmt: skip
def test_one_statement_is_taken(text: str) -> None:
    assert check_query(text, "q").startswith("SELECT")


@pytest.mark.parametrize(
    "text",
    ["", ";", " -- only a comment", "SELECT 1; SELECT 2", "SELECT '--'; DELETE FROM x", "SELECT $a$ $a$; DROP",
     "SELECT %s", "SELECT 5 % 2", "SELECT %(secret)s", "SELECT 1 %"],
)  # fmt: skip
def test_anything_else_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"sources\[1\]\.queries"):
        check_query(text, "sources[1].queries.events")


@given(st.lists(st.sampled_from(["%(source)s", "%(since)s", "%%", "x", " "])))
def test_every_placeholder_gets_its_value(parts: list[str]) -> None:
    query, values = bind("".join(parts), {"source": "a", "since": "b", "until": "c"})
    assert values == [{"%(source)s": "a", "%(since)s": "b"}[part] for part in parts if part.startswith("%(")]
    assert query % tuple(values) == "".join(parts) % {"source": "a", "since": "b"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_a_query_returns_is_a_number_or_a_problem(value: Any) -> None:
    import json

    for measure in ("events", "success", "last_event", "duplicates"):
        reading = read_rows(
            [json.dumps({"x": value}, allow_nan=False)]
            if not (isinstance(value, float) and isnan(value)) and abs_ok(value)
            else [],
            measure,
            UTC,
        )
        assert (reading.number is not None or reading.moment is not None) != bool(reading.problem)


def abs_ok(value: Any) -> bool:
    import json

    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


# --- active hours ------------------------------------------------------------------------------------------------


def test_active_time_is_clipped_and_merged() -> None:
    windows = (window("06:00", "12:00"), window("11:00", "23:00"), window("23:00", "23:30"))
    (only,) = active_intervals(windows, NOW.replace(hour=0, minute=0), NOW)
    assert (only.start.hour, only.end) == (6, NOW)
    assert active_seconds(windows, NOW - timedelta(days=1), NOW) == 17.5 * 3600
    assert active_seconds((), NOW - timedelta(hours=2), NOW) == 7200
    assert active_seconds((), NOW, NOW - timedelta(hours=2)) == active_seconds(windows, NOW, NOW) == 0


def test_the_window_reaches_back_over_the_quiet_hours() -> None:
    windows = (window("06:00", "23:00"),)
    assert measured_since((), NOW, 3600) == (NOW - timedelta(hours=1), 3600)
    assert measured_since(windows, NOW, 3600) == (NOW - timedelta(hours=1), 3600)
    night = NOW.replace(hour=3, minute=0)
    assert measured_since(windows, night, 3600) == (night.replace(hour=22) - timedelta(days=1), 3600)
    morning = NOW.replace(hour=6, minute=15)
    assert measured_since(windows, morning, 3600) == (morning.replace(hour=22, minute=15) - timedelta(days=1), 3600)


def test_less_active_time_than_wanted_is_all_there_is() -> None:
    last_sunday = (window("04:00", "05:00", "last sun"),)
    since, seconds = measured_since(last_sunday, NOW, 7200)
    assert (since, seconds) == (datetime(2026, 10, 25, 4, tzinfo=UTC), 3600)
    assert measured_since((window("15:00", "15:01", "last sun"),), datetime(2026, 10, 25, 14, tzinfo=UTC), 60)[1] == 60


@given(st.integers(1, 20 * 86400), st.integers(0, 90 * 86400))
def test_what_is_measured_holds_the_wanted_time(seconds: int, offset: int) -> None:
    windows = (window("22:00", "06:00"), window("05:00", "07:30", "mon-fri"))
    until = NOW + timedelta(seconds=offset)
    since, active = measured_since(windows, until, seconds)
    assert abs(active_seconds(windows, since, until) - active) < 0.001 and active <= seconds


# --- verdicts ----------------------------------------------------------------------------------------------------


def facts(readings: dict[str, Reading], active_seconds: float = 3600, **source: Any) -> SourceFacts:
    return SourceFacts(Source("api", "UTC", UTC, **source), NOW - timedelta(hours=1), NOW, active_seconds, readings)


GOOD = {
    "events": Reading(number=2000),
    "success": Reading(number=99.5),
    "last_event": Reading(moment=NOW - timedelta(minutes=3)),
    "duplicates": Reading(number=0.1),
}


@pytest.mark.parametrize(
    ("changed", "check", "status"),
    [
        ({}, "events", "ok"),
        ({"events": Reading(number=1001)}, "events", "ok"),
        ({"events": Reading(number=1000)}, "events", "warning"),
        ({"events": Reading(number=0)}, "events", "critical"),
        ({"events": Reading(problem="x")}, "events", "unknown"),
        ({"success": Reading(number=95)}, "success", "warning"),
        ({"success": Reading(number=79)}, "success", "critical"),
        ({"duplicates": Reading(number=1)}, "duplicates", "warning"),
        ({"duplicates": Reading(number=0.99)}, "duplicates", "ok"),
        ({"last_event": Reading(moment=NOW - timedelta(hours=1))}, "freshness", "warning"),
        ({"last_event": Reading(moment=NOW - timedelta(hours=5))}, "freshness", "critical"),
        ({"last_event": Reading(moment=NOW + timedelta(seconds=59))}, "freshness", "ok"),
        ({"last_event": Reading(moment=NOW + timedelta(seconds=61))}, "freshness", "unknown"),
        ({"last_event": Reading(problem="none")}, "freshness", "unknown"),
        ({"events": Reading(number=1400)}, "drop", "ok"),
        ({"events": Reading(number=300)}, "drop", "warning"),
        ({"events": Reading(number=20)}, "drop", "critical"),
        ({"events": Reading(problem="x")}, "drop", "unknown"),
    ],
)
def test_each_limit_is_the_handbooks(changed: dict[str, Reading], check: str, status: str) -> None:
    decision = decide([facts({**GOOD, **changed}, usual=1500)], max_skew=60)
    found = {finding.check: finding.status for finding in decision.findings}
    assert found[f"{check}:api"] == status and len(found) == 6


def test_a_database_that_answers_again_takes_its_silence_back() -> None:
    gone = unreachable([facts(GOOD).source], "no route to db1")
    back = decide([facts(GOOD)], max_skew=60)
    assert [(one.check, one.status) for one in gone.findings] == [("database", "unknown")]
    assert [one.status for one in back.findings if one.check == "database"] == ["ok"]


def test_a_source_without_active_hours_is_unknown() -> None:
    decision = decide([facts(GOOD, active_seconds=0, usual=10)], max_skew=60)
    unknown = {finding.check for finding in decision.findings if finding.status == "unknown"}
    assert unknown == {"events:api", "drop:api", "freshness:api"}


def test_what_is_not_known_is_no_sample() -> None:
    decision = decide([facts({"events": Reading(number=5)})], max_skew=60)
    assert [sample["metric"] for sample in decision.extra["samples"]] == ["ingestion.events"]
    assert set(decision.extra["sources"][0]["problems"]) == {"success", "freshness", "duplicates"}


def test_a_limit_of_its_own_and_one_switched_off() -> None:
    limits = {"events": Limit(5000, 10, lower_is_worse=True), "success": None, "freshness": None, "duplicates": None}
    decision = decide([facts(GOOD, limits=limits)], max_skew=60)
    assert [(finding.check, finding.status) for finding in decision.findings] == [
        ("database", "ok"),
        ("events:api", "warning"),
    ]


def test_a_hostile_name_is_printed_safely() -> None:
    hostile = SourceFacts(Source("\x1b[31m<b>", "UTC", UTC), NOW, NOW, 1, GOOD)
    decision = decide([hostile], max_skew=60)
    assert all(finding.msg.isprintable() and finding.check.isprintable() for finding in decision.findings)
