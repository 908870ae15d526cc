"""The breaker's state machine: its table, and what holds whatever happens."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.breaker import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    Breaker,
    BreakerPolicy,
    allowed,
    at,
    record,
    trial_at,
)

NOW = datetime(2026, 9, 18, 4, tzinfo=timezone.utc)
POLICY = BreakerPolicy(failures=3, cooldown=60)
OPENED = Breaker(OPEN, 3, NOW, NOW)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("before", "succeeded", "state", "failures"),
    [
        (Breaker(), True, CLOSED, 0),
        (Breaker(), False, CLOSED, 1),
        (Breaker(CLOSED, 1), False, CLOSED, 2),
        (Breaker(CLOSED, 2), False, OPEN, 3),
        (Breaker(CLOSED, 2), True, CLOSED, 0),
        (Breaker(HALF_OPEN, 3, NOW, NOW), True, CLOSED, 0),
        (Breaker(HALF_OPEN, 3, NOW, NOW), False, OPEN, 4),
        (OPENED, False, OPEN, 4),
    ],
)
def test_a_request_moves_the_breaker(before: Breaker, succeeded: bool, state: str, failures: int) -> None:
    after = record(before, POLICY, succeeded, later(5))
    assert (after.state, after.failures) == (state, failures)


def test_it_says_since_when_it_is_in_its_state() -> None:
    opened = record(Breaker(CLOSED, 2), POLICY, False, NOW)
    assert (opened.since, opened.opened) == (NOW, NOW)
    again = record(at(opened, POLICY, later(60)), POLICY, False, later(61))
    assert (again.state, again.opened, trial_at(again, POLICY, later(61))) == (OPEN, later(61), later(121))
    closed = record(at(again, POLICY, later(121)), POLICY, True, later(122))
    assert (closed.state, closed.since) == (CLOSED, later(122))
    assert record(closed, POLICY, True, later(200)).since == later(122)


@pytest.mark.parametrize(
    ("breaker", "seconds", "state", "number"),
    [
        (Breaker(), 0, CLOSED, None),
        (OPENED, 0, OPEN, 0),
        (OPENED, 59.9, OPEN, 0),
        (OPENED, 60, HALF_OPEN, 1),
        (Breaker(HALF_OPEN, 3, NOW, NOW), 0, HALF_OPEN, 1),
    ],
)
def test_time_half_opens_it_for_one_trial(breaker: Breaker, seconds: float, state: str, number: int | None) -> None:
    now = at(breaker, POLICY, later(seconds))
    assert (now.state, allowed(now)) == (state, number)


def test_a_clock_that_was_set_back_keeps_it_open_for_no_longer_than_its_cooldown() -> None:
    assert trial_at(OPENED, POLICY, later(-86400)) == later(-86400 + 60)


def test_one_whose_opening_is_not_known_waits_for_a_whole_cooldown() -> None:
    assert trial_at(Breaker(OPEN, 3), POLICY, NOW) == later(60)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 200)), max_size=40), st.integers(1, 5))
def test_nothing_is_sent_within_the_cooldown_of_a_failure_that_opened_it(
    events: list[tuple[bool, float]], failures: int
) -> None:
    policy, breaker, now = BreakerPolicy(failures, 60), Breaker(), NOW
    row, opened = 0, None
    for succeeded, pause in events:
        now += timedelta(seconds=pause)
        breaker = at(breaker, policy, now)
        if allowed(breaker) == 0:
            assert opened is not None and now < opened + timedelta(seconds=60)
            continue
        assert opened is None or now >= opened + timedelta(seconds=60)
        breaker = record(breaker, policy, succeeded, now)
        row = 0 if succeeded else row + 1
        opened = now if row >= failures else None
        assert (breaker.state == OPEN) == (opened is not None) and breaker.failures == row
