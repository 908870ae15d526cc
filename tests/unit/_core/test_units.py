from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.units import (
    count_of,
    human_duration,
    human_size,
    parse_duration,
    parse_size,
    rfc3339,
)

DURATIONS = [("0", 0), ("1.5h", 5400), ("2d 3h", 183600), ("1w", 604800), ("250ms", 0.25), (7, 7), ("15min", 900)]
NO_DURATIONS = ["", " ", "soon", "-5s", "5 parsecs", "1h-", "1,5h", None, "['5s']", "1e3s"]
SIZES = [("0", 0), ("10 MB", 10 * 1024**2), ("1T", 1024**4), ("2gib", 2 * 1024**3), (5, 5), ("0.5kB", 512)]
NO_SIZES = ["", "-1", "1 PB", "ten", "1.2.3", None, "1 k b"]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text, "budget") == seconds


@pytest.mark.parametrize("text", NO_DURATIONS)
def test_what_is_no_duration_is_refused_with_the_name_of_the_option(text):
    with pytest.raises(InvalidValue, match="budget must be a duration"):
        parse_duration(text, "budget")


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_a_size_is_read(text, size):
    assert parse_size(text, "min_size") == size


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused_with_the_name_of_the_option(text):
    with pytest.raises(InvalidValue, match="min_size must be a size"):
        parse_size(text, "min_size")


@given(st.integers(min_value=0, max_value=10**16))
def test_every_size_is_written_short_and_near_the_truth(size):
    text = human_size(size)
    number, unit = text.split()
    factor = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}[unit]
    assert abs(float(number) * factor - size) <= 0.05 * factor + 1e-9 * size


@given(st.floats(min_value=0, max_value=10**9))
def test_every_duration_can_be_written(seconds):
    assert human_duration(seconds)


def test_a_negative_size_keeps_its_sign():
    assert human_size(-2048) == "-2.0 kB"


def test_one_and_many_are_told_apart():
    assert [count_of(n, "index", "indexes") for n in (0, 1, 2)] == ["0 indexes", "1 index", "2 indexes"]


def test_a_moment_is_written_in_utc_and_never_without_a_zone():
    moment = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(moment) == "2026-02-28T23:30:00Z"
    with pytest.raises(ValueError, match="without a time zone"):
        rfc3339(datetime(2026, 3, 1))
