from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.endpoint import Attempt, DnsTarget, Endpoint
from plugins.module_utils._core.rounds import SILENT, Rounds

GOOD, SILENCE = Attempt(0.1), Attempt(1.0, "no answer", answered=False)


def endpoint(requests: int, concurrency: int = 1) -> Endpoint:
    return Endpoint("e", "dns", DnsTarget("h"), 1.0, requests, concurrency, {})


def test_each_is_asked_once_before_any_is_asked_twice() -> None:
    rounds = Rounds([endpoint(3, 3), endpoint(3, 3), endpoint(1)])
    assert [rounds.take() for _turn in range(8)] == [0, 1, 2, 0, 1, 0, 1, None]


def test_what_is_silent_is_given_up_early_and_what_answers_is_not() -> None:
    rounds = Rounds([endpoint(9)])
    for attempt in (SILENCE, GOOD, SILENCE, SILENCE):
        assert rounds.take() == 0
        rounds.put(0, attempt)
    assert rounds.take() is None and rounds.is_over and len(rounds.attempts(0)) == 4


def test_one_that_says_nothing_is_taken_back() -> None:
    rounds = Rounds([endpoint(1)])
    assert rounds.take() == 0
    rounds.drop(0)
    assert rounds.attempts(0) == () and not rounds.is_over and rounds.take() == 0


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=1, max_size=5), st.integers(1, 6), st.randoms()
)
def test_all_are_asked_as_often_as_wanted_and_no_more_at_once(
    wanted: list[tuple[int, int]], workers: int, chance: random.Random
) -> None:
    rounds, running = Rounds([endpoint(*one) for one in wanted]), []
    while not rounds.is_over:
        number = rounds.take() if len(running) < workers else None
        if number is not None:
            running.append(number)
            assert running.count(number) <= wanted[number][1]
        else:
            done = running.pop(chance.randrange(len(running)))
            rounds.put(done, chance.choice([GOOD, SILENCE]))
    for number, (requests, concurrency) in enumerate(wanted):
        attempts = rounds.attempts(number)
        silent = [one.answered for one in attempts[-SILENT:]] == [False] * SILENT
        assert len(attempts) == requests or (len(attempts) < requests + concurrency and (silent or concurrency > 1))
