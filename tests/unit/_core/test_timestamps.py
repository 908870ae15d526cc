from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.timestamps import (
    find_timestamp,
    from_epoch,
    parse_own,
    parse_rfc3339,
    parse_timestamp,
)
from plugins.module_utils._core.units import rfc3339

NOW = datetime(2026, 11, 21, 14, 30, tzinfo=timezone.utc)
BERLIN = ZoneInfo("Europe/Berlin")
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(timezone.utc))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T14:00:00Z", "2026-11-21T14:00:00+00:00"),
        ("2026-11-21 14:00:00.12345+01", "2026-11-21T13:00:00.123450+00:00"),
        ("2026-11-21 14:00:00-03:30", "2026-11-21T17:30:00+00:00"),
        ("2026-11-21 14:00:00 UTC", "2026-11-21T14:00:00+00:00"),
        ("2026-11-21 14:00:00", "2026-11-21T13:00:00+00:00"),
        ("2026-07-21 14:00", "2026-07-21T12:00:00+00:00"),
        ("2026-10-25 02:30:00", "2026-10-25T00:30:00+00:00"),
        (" 2026-11-21T14:00:60Z ", "2026-11-21T14:00:59+00:00"),
    ],
)
def test_a_moment_is_read_in_its_zone(text: str, expected: str) -> None:
    found = parse_timestamp(text, BERLIN)
    assert found is not None and found.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "infinity", "2026-13-21T14:00:00", "2026-02-30 10:00:00", "14:00:00", "2026-11-21T14:00:00Z x",
     "0001-01-01 00:00:00+01", "0044-03-15T00:00:00 BC", "٢٠٢٦-11-21T14:00:00"],
)  # fmt: skip
def test_what_is_no_moment_is_none(text: str) -> None:
    assert parse_timestamp(text, BERLIN) is None


@given(MOMENTS)
def test_iso_is_read_back(moment: datetime) -> None:
    assert parse_timestamp(moment.isoformat(), BERLIN) == moment
    assert parse_timestamp(moment.astimezone(BERLIN).isoformat(" "), timezone.utc) == moment


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21T14:00:00.123Z ERROR x",
        '{"time":"2026-11-21T14:00:00Z","msg":"x"}',
        '10.0.0.1 - - [21/Nov/2026:15:00:00 +0100] "GET / HTTP/1.1" 200 1',
        "2026/11/21 14:00:00 [error] 1#1: x",
        "2026-11-21 14:00:00.123 UTC [7] ERROR:  x",
        "Nov 21 14:00:00 db1 app[1]: x",
        "<11>Nov 21 14:00:00 db1 app[1]: x",
    ],
)
def test_the_head_of_a_line_tells_its_moment(line: str) -> None:
    found = find_timestamp(line, timezone.utc, NOW)
    assert found is not None and found.replace(microsecond=0) == NOW.replace(minute=0)


def test_a_line_without_a_year_is_of_the_past() -> None:
    assert find_timestamp("Dec 31 23:59:59 x", timezone.utc, NOW) == datetime(
        2025, 12, 31, 23, 59, 59, tzinfo=timezone.utc
    )
    assert find_timestamp("Feb 29 10:00:00 x", timezone.utc, NOW) == datetime(2024, 2, 29, 10, tzinfo=timezone.utc)
    assert find_timestamp("Feb 30 10:00:00 x", timezone.utc, NOW) is None
    assert find_timestamp("no moment at all 12:00:00", timezone.utc, NOW) is None


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    for found in (parse_timestamp(text, BERLIN), find_timestamp(text, BERLIN, NOW)):
        assert found is None or found.utcoffset() == timedelta(0)


def test_seconds_and_milliseconds_are_told_apart() -> None:
    assert from_epoch(1795271400) == from_epoch(1795271400000) == NOW
    assert from_epoch(1e300) is None and from_epoch(float("nan")) is None
    assert from_epoch(10**400) is None and from_epoch(float("inf")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T14:00:00Z", "2026-11-21T14:00:00+00:00"),
        ("2026-11-21t14:00:00z", "2026-11-21T14:00:00+00:00"),
        ("2026-11-21 14:00:00-03:30", "2026-11-21T17:30:00+00:00"),
        ("2026-11-21T14:00Z", "2026-11-21T14:00:00+00:00"),
        ("2026-11-21T14:00:00.5Z", "2026-11-21T14:00:00.500000+00:00"),
        ("2026-11-21T14:00:00.123456789+01:00", "2026-11-21T13:00:00.123456+00:00"),
        (datetime(2026, 11, 21, 14, tzinfo=timezone.utc), "2026-11-21T14:00:00+00:00"),  # what YAML makes of it
    ],
)
def test_an_rfc_3339_moment_is_returned_in_utc(text: object, expected: str) -> None:
    found = parse_rfc3339(text)
    assert found is not None and found.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    ["", "Z", "soon", None, 5, True, "2026-11-21", "2026-11-21T14:00:00", "2026-13-21T14:00:00Z",
     "2026-11-21T14:00:00ZZ", "2026-11-21T14:00:00+99:00",
     "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", " 2026-11-21T14:00:00Z"],
)  # fmt: skip
def test_what_is_no_rfc_3339_moment_with_a_zone_is_none(text: object) -> None:
    assert parse_rfc3339(text) is None


@given(MOMENTS)
def test_our_own_moments_are_read_back_by_both(moment: datetime) -> None:
    second = moment.replace(microsecond=0)
    assert parse_own(rfc3339(moment)) == parse_rfc3339(rfc3339(moment)) == second


@pytest.mark.parametrize("text", ["", "2026-11-21T14:00:00", "2026-11-21T14:00:00+00:00", "2026-11-21 14:00:00Z"])
def test_what_we_did_not_write_is_not_ours(text: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        parse_own(text)


def test_our_own_moments_may_have_a_fraction() -> None:
    assert parse_own("2026-11-21T14:00:00.25Z").isoformat() == "2026-11-21T14:00:00.250000+00:00"
