"""What headers say of quotas, in all the forms that they come in, and how much of one a look may use."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.quota import (
    Quota,
    RateLimit,
    ceiling,
    http_date,
    read_quota,
    read_reset,
    retry_at,
    spacing,
    still_counting,
)

NOW = datetime(2026, 9, 18, 4, tzinfo=timezone.utc)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        (
            {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "42", "x-ratelimit-reset": "30"},
            Quota(100, 42, later(30)),
        ),
        ({"x-rate-limit-limit": "9", "x-rate-limit-remaining": "0"}, Quota(9, 0)),
        (
            {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "50", "ratelimit-reset": "50"},
            Quota(100, 50, later(50)),
        ),
        (
            {"rate-limit": "5000", "rate-limit-available": "4711", "rate-limit-reset": "1789790400000"},
            Quota(5000, 4711, datetime(2026, 9, 19, 4, tzinfo=timezone.utc)),
        ),
        ({"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'}, Quota(100, 50, later(30))),
        ({"ratelimit": "default;r=50;t=30"}, Quota(None, 50, later(30))),
        (
            {"ratelimit": '"hour";r=900;t=9, "min";r=1;t=5', "ratelimit-policy": '"hour";q=1000, "min";q=10'},
            Quota(10, 1, later(5)),
        ),
        ({"x-ratelimit-limit": "many", "x-ratelimit-remaining": "-1", "x-ratelimit-reset": "\x1b["}, Quota()),
        ({"x-ratelimit-limit": "9" * 400}, Quota()),
        ({"ratelimit": '"' * 999}, Quota()),
        ({}, Quota()),
    ],
)
def test_headers_of_all_families_are_read(headers: dict[str, str], quota: Quota) -> None:
    assert read_quota(headers, {}, (), NOW) == quota


def test_names_of_the_inventory_come_instead_of_the_usual_ones() -> None:
    headers = {"x-left": "7", "x-ratelimit-remaining": "50", "x-ratelimit-limit": "100"}
    assert read_quota(headers, {"remaining": "X-Left"}, (), NOW) == Quota(None, 7)
    assert read_quota(headers, {"remaining": "X-Other"}, (), NOW) == Quota()


def test_the_only_known_limit_stands_for_one_that_is_not_told() -> None:
    headers = {"x-ratelimit-remaining": "7"}
    assert read_quota(headers, {}, (RateLimit(50, 60),), NOW).left_percent == 14
    assert read_quota(headers, {}, (RateLimit(50, 60), RateLimit(5, 1)), NOW).left_percent is None


@pytest.mark.parametrize(
    ("quota", "percent"), [(Quota(100, 150), 100), (Quota(0, 0), None), (Quota(None, 1), None), (Quota(10, 0), 0)]
)
def test_what_is_left_is_a_share(quota: Quota, percent: float | None) -> None:
    assert quota.left_percent == percent


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Fri, 18 Sep 2026 04:05:00 GMT", later(300)),
        ("Friday, 18-Sep-26 04:05:00 GMT", later(300)),
        ("Fri Sep 18 04:05:00 2026", later(300)),
        ("tomorrow", None),
        ("", None),
        ("Fri, 99 Sep 2026 04:05:00 GMT", None),
        ("Fri, 18 Sep 99999 04:05:00 GMT", None),
    ],
)
def test_dates_as_http_writes_them(text: str, moment: datetime | None) -> None:
    assert http_date(text) == moment == read_reset(text, NOW)


@given(st.text(max_size=40))
def test_whatever_a_server_asks_for_is_bounded(text: str) -> None:
    until = retry_at(text, NOW, 60, 3600)
    assert NOW <= until <= later(3600)
    read_quota({"x-ratelimit-limit": text, "x-ratelimit-reset": text, "ratelimit": text}, {}, (), NOW)
    read_quota({"ratelimit": text, "ratelimit-policy": text}, {}, (), NOW)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("60", 60), ("99999999", 3600), ("", 300), ("1e3", 300), ("²", 300)]
)
def test_seconds_to_wait(text: str, seconds: float) -> None:
    assert retry_at(text, NOW, 300, 3600) == later(seconds)


def test_the_pause_keeps_the_tightest_limit_of_a_minute_or_less() -> None:
    assert spacing([RateLimit(2, 1), RateLimit(50, 60)]) == 1.2
    assert spacing([RateLimit(1440, 86400)]) == spacing([]) == 0


@given(
    st.lists(st.integers(-200_000, 10), max_size=60),
    st.integers(1, 5000),
    st.sampled_from([60.0, 3600.0, 86400.0]),
    st.floats(0.5, 100),
)
def test_our_looks_are_never_more_than_their_share(ago: list[int], requests: int, seconds: float, share: float) -> None:
    sent = [later(one) for one in ago]
    limits = [RateLimit(requests, seconds)]
    number = ceiling(limits, share, sent, NOW)
    used = sum(1 for one in ago if -seconds < one <= 0)
    assert number is not None and number >= 0
    assert number == 0 or number + used <= requests * share / 100
    assert len(still_counting(sent, limits, NOW)) == used


def test_without_a_limit_there_is_no_ceiling() -> None:
    assert ceiling([], 5, [], NOW) is None and ceiling([RateLimit(5, 1)], 5, [], NOW) is None
