"""Windows of the handbooks, and the nights on which clocks change."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed
from plugins.module_utils._core.window import (
    DayRule,
    Window,
    WindowPolicy,
    answer,
    check_window,
    decide,
    occurrences,
    parse_clock,
    parse_days,
)

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def window(
    days: list[str], start: str, end: str | None = None, duration: float | None = None, **more: object
) -> Window:
    return Window(
        name=str(more.pop("name", "w")),
        days=parse_days(days, "days"),
        start_minute=parse_clock(start, "start"),
        end_minute=None if end is None else parse_clock(end, "end", 1440),
        duration_seconds=duration,
        zone=more.pop("zone", timezone.utc),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


DATABASE = window(["sun"], "04:00", "05:00", name="database", scope=("database",))
APPLICATION = window(["tue", "thu"], "03:00", duration=1800, name="application", scope=("application",))
INFRASTRUCTURE = window(["first sun"], "02:00", duration=7200, name="infrastructure", scope=("infrastructure",))
HANDBOOK = (DATABASE, APPLICATION, INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("now", "name", "end", "following"),
    [
        ("2026-11-22T04:30", "database", "2026-11-22T05:00", "2026-11-24T03:00"),
        ("2026-11-22T04:00", "database", "2026-11-22T05:00", "2026-11-24T03:00"),
        ("2026-11-22T05:00", None, None, "2026-11-24T03:00"),
        ("2026-11-26T03:29:59", "application", "2026-11-26T03:30", "2026-11-29T04:00"),
        ("2026-12-06T03:00", "infrastructure", "2026-12-06T04:00", "2026-12-08T03:00"),
        ("2026-12-13T02:30", None, None, "2026-12-13T04:00"),
    ],
)
def test_the_handbooks_windows(now: str, name: str | None, end: str | None, following: str) -> None:
    windows = (DATABASE, APPLICATION, INFRASTRUCTURE)
    if name == "infrastructure":  # 02:00-04:00 touches the database's 04:00-05:00
        windows = (APPLICATION, INFRASTRUCTURE)
    found = answer(windows, utc(now))
    assert (found.current.name if found.current else None) == name
    assert (found.current.end if found.current else None) == (utc(end) if end else None)
    assert found.following is not None and found.following.start == utc(following)


def test_windows_that_touch_count_as_one() -> None:
    found = answer(HANDBOOK, utc("2026-12-06T02:30"))
    assert found.current is not None and found.current.end == utc("2026-12-06T05:00")


def test_a_window_over_midnight() -> None:
    night = window(["sat"], "23:00", "01:30")
    assert answer([night], utc("2026-11-22T01:29")).current is not None
    assert answer([night], utc("2026-11-22T01:30")).current is None


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("first sun", [(2026, 11, 1), (2026, 12, 6)]),
        ("last sun", [(2026, 11, 29), (2026, 12, 27)]),
        ("third tue", [(2026, 11, 17), (2026, 12, 15)]),
        ("fourth Thursday", [(2026, 11, 26), (2026, 12, 24)]),
    ],
)
def test_days_of_the_month(text: str, dates: list[tuple[int, int, int]]) -> None:
    found = [interval.start.date() for interval in occurrences(window([text], "02:00", "03:00"), date(2026, 11, 1), 61)]
    assert found == [date(*parts) for parts in dates]


@pytest.mark.parametrize("text", ["sunn", "fifth sun", "", "first", "first daily", "s", "mon-", "first sun x", "1"])
def test_no_days(text: str) -> None:
    with pytest.raises(InvalidValue, match="days must name days"):
        parse_days([text], "days")


def test_no_days_at_all_is_impossible() -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_days([], "days")
    assert caught.value.code == "impossible_window"


def test_ranges_go_over_the_end_of_the_week() -> None:
    assert [rule.weekday for rule in parse_days(["fri-mon"], "days")] == [4, 5, 6, 0]
    assert parse_days(["sun", "sat-sun"], "days") == (DayRule(6), DayRule(5))


@pytest.mark.parametrize("text", ["840", "4", "24:00", "12:60", "-1:00", "", "04:00:00", "nine"])
def test_no_time_of_the_day(text: str) -> None:
    with pytest.raises(InvalidValue, match="start must be a time of the day") as caught:
        parse_clock(text, "start")
    assert ("quotes" in (caught.value.hint or "")) == text.isdigit()


# Europe/Berlin 2026: clocks go 02:00 -> 03:00 on 29 March and 03:00 -> 02:00 on 25 October.
@pytest.mark.parametrize(
    ("day", "start", "end", "duration", "expected"),
    [
        (date(2026, 3, 29), "01:30", "03:30", None, ("2026-03-29T00:30", "2026-03-29T01:30")),
        (date(2026, 3, 29), "02:15", "02:45", None, ("2026-03-29T01:15", "2026-03-29T01:45")),
        (date(2026, 3, 29), "01:30", None, 3600, ("2026-03-29T00:30", "2026-03-29T01:30")),
        (date(2026, 3, 29), "02:50", "03:10", None, None),
        (date(2026, 10, 25), "01:30", "02:30", None, ("2026-10-24T23:30", "2026-10-25T00:30")),
        (date(2026, 10, 25), "02:30", "03:30", None, ("2026-10-25T00:30", "2026-10-25T02:30")),
        (date(2026, 10, 24), "23:00", "04:00", None, ("2026-10-24T21:00", "2026-10-25T03:00")),
    ],
)
def test_nights_on_which_the_clocks_change(
    day: date, start: str, end: str | None, duration: float | None, expected: tuple[str, str] | None
) -> None:
    found = list(occurrences(window(["daily"], start, end, duration, zone=BERLIN), day, 1))
    assert [(interval.start, interval.end) for interval in found] == ([tuple(map(utc, expected))] if expected else [])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"end": "04:00"},
        {"end": None},
        {"end": "05:00", "duration": 3600},
        {"duration": 0},
        {"duration": 8 * 86400},
    ],
)
def test_impossible_windows_are_refused(kwargs: dict[str, object]) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_window(window(["sun"], "04:00", **kwargs))  # type: ignore[arg-type]
    assert caught.value.code == "impossible_window"


def test_a_window_that_is_never_long_enough_is_impossible() -> None:
    with pytest.raises(InvalidValue) as caught:
        decide(WindowPolicy((DATABASE,), minimum_left=3601), utc("2026-11-22T04:00"))
    assert caught.value.code == "impossible_window"


def test_no_window_for_the_scope_is_impossible() -> None:
    with pytest.raises(InvalidValue) as caught:
        decide(WindowPolicy((DATABASE,), scope=("cache",)), utc("2026-11-22T04:00"))
    assert caught.value.code == "impossible_window"


def test_too_little_time_left_is_not_open() -> None:
    policy = WindowPolicy((DATABASE,), minimum_left=600)
    decision = decide(policy, utc("2026-11-22T04:55"))
    assert decision.extra["open"] is False and decision.extra["window_end"] is None
    assert decision.findings[0].status == "warning"
    assert decision.msg == (
        "in window database until Sun 2026-11-22 05:00 UTC, 5 min left, but at least 10 min are needed; "
        "the next one opens Sun 2026-11-29 04:00 UTC"
    )


def test_enforced_and_closed_is_a_failure_that_names_the_next_chance() -> None:
    with pytest.raises(PreconditionFailed, match="opens Sun 2026-11-29 04:00 UTC") as caught:
        decide(WindowPolicy(HANDBOOK, ("database",), enforce=True), utc("2026-11-22T05:00"))
    assert caught.value.code == "window_closed"
    assert caught.value.details["next_start"] == "2026-11-29T04:00:00Z"


def test_without_windows_any_time_will_do() -> None:
    decision = decide(WindowPolicy((), enforce=True), utc("2026-11-22T05:00"))
    assert decision.extra["open"] is True and decision.extra["window_end"] is None and not decision.plan
    assert decision.findings[0].status == "ok"


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(timezone.utc)),
    start=st.integers(0, 1439),
    length=st.integers(1, 1439),
    weekday=st.integers(0, 6),
)
def test_a_minute_inside_is_open_and_the_next_start_is_ahead(
    now: datetime, start: int, length: int, weekday: int
) -> None:
    one = Window("w", (DayRule(weekday),), start, BERLIN, (start + length) % 1440 or 1440)
    found = answer([one], now)
    inside = any(i.start <= now < i.end for i in occurrences(one, now.date() - timedelta(days=9), 20))
    assert (found.current is not None) == inside
    assert found.following is not None and now < found.following.start <= now + timedelta(days=15)
    assert answer([one], found.following.start).current is not None


def test_what_is_about_to_begin_is_left_for_the_next_run_when_no_window_is_open() -> None:
    policy = WindowPolicy(HANDBOOK, before="updates")
    closed = decide(policy, utc("2026-11-22T05:00"))
    assert closed.extra["open"] is False and "; left for the next run: updates; the next one opens " in closed.msg
    assert [(found.check, found.status) for found in closed.findings] == [("maintenance_window:updates", "warning")]
    opened = decide(policy, utc("2026-11-22T04:30"))
    assert opened.extra["open"] is True and "left for the next run" not in opened.msg
    short = decide(WindowPolicy(HANDBOOK, minimum_left=3600, before="updates"), utc("2026-11-22T04:30"))
    assert short.extra["open"] is False and "are needed; left for the next run: updates" in short.msg
