from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.timestamps import find_timestamp, from_epoch, parse_timestamp

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
