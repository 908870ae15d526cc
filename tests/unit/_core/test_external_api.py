"""When an API may be asked, and what is remembered from run to run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerPolicy
from plugins.module_utils._core.endpoint import HttpRequest
from plugins.module_utils._core.external_api import (
    ASK,
    BREAKER_OPEN,
    RATE_LIMITED,
    SHARE_USED,
    Api,
    Memory,
    permit,
    read_memory,
    render_memory,
)
from plugins.module_utils._core.http_answer import Expectation
from plugins.module_utils._core.quota import RateLimit

NOW = datetime(2026, 9, 18, 4, tzinfo=timezone.utc)
OPENED = Breaker(OPEN, 3, NOW, NOW)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def api(*rates: RateLimit) -> Api:
    request = HttpRequest("http://127.0.0.1/")
    return Api("a", request, Expectation(), 1.0, 5, rates, 10, {}, BreakerPolicy(3, 60), 86400, {})


@pytest.mark.parametrize(
    ("memory", "rates", "requests", "reason"),
    [
        (Memory(), (), 5, ASK),
        (Memory(retry_at=later(1)), (), 0, RATE_LIMITED),
        (Memory(retry_at=NOW), (), 5, ASK),
        (Memory(OPENED, retry_at=later(1)), (), 0, RATE_LIMITED),
        (Memory(OPENED), (), 0, BREAKER_OPEN),
        (Memory(Breaker(OPEN, 3, later(-60), later(-60))), (), 1, ASK),
        (Memory(Breaker(HALF_OPEN, 3)), (), 1, ASK),
        (Memory(), (RateLimit(30, 60),), 3, SHARE_USED),
        (Memory(sent=(later(-1), later(-30), later(-61))), (RateLimit(30, 60),), 1, SHARE_USED),
        (Memory(sent=(later(-1),) * 3), (RateLimit(30, 60),), 0, SHARE_USED),
        (Memory(), (RateLimit(9, 60),), 0, SHARE_USED),
        (Memory(), (RateLimit(100, 60), RateLimit(20, 3600)), 2, SHARE_USED),
    ],
)
def test_how_many_requests_may_be_sent(
    memory: Memory, rates: tuple[RateLimit, ...], requests: int, reason: str
) -> None:
    permission = permit(api(*rates), memory, NOW)
    assert (permission.requests, permission.reason) == (requests, reason)
    assert bool(permission.words) == (reason != ASK)


MOMENTS = st.datetimes(datetime(2026, 9, 17, 5), datetime(2026, 9, 18, 3, 59)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=timezone.utc)
)


@given(
    st.builds(
        Breaker,
        st.sampled_from([CLOSED, OPEN, HALF_OPEN]),
        st.integers(0, 99),
        st.none() | MOMENTS,
        st.none() | MOMENTS,
    ),
    st.none() | st.integers(1, 90_000),
    st.lists(MOMENTS, max_size=20),
)
def test_what_one_run_tells_is_what_the_next_one_hears(
    breaker: Breaker, wait: int | None, sent: list[datetime]
) -> None:
    memory = Memory(breaker, later(wait) if wait else None, tuple(sorted(sent)))
    heard = read_memory(render_memory(api(RateLimit(5000, 86400)), memory, NOW), "previous.a")
    assert (heard.breaker, heard.retry_at, tuple(sorted(heard.sent))) == (memory.breaker, memory.retry_at, memory.sent)


def test_a_wait_is_never_told_shorter_than_it_is() -> None:
    told = render_memory(api(), Memory(retry_at=later(5.25)), NOW)["retry_at"]
    assert told == "2026-09-18T04:00:06Z"
