"""When a service is ready: tables of what can happen after a restart, and properties over any sequence of polls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.service import ServiceState
from plugins.module_utils._core.service_watch import Gate, Reading, Watch, advance, begin, look

GATE = Gate(successes=3, interval=1.0, deadline=10.0)
NEW = ServiceState(
    manager="systemd",
    name="shop.service",
    state="active",
    detail="active (running)",
    wanted=True,
    pids=(200,),
    restarts=0,
    identity=("new", "2", "200"),
)
OLD = replace(NEW, pids=(100,), identity=("old", "1", "100"))
STARTING = replace(NEW, state="starting", detail="activating (start)", identity=("new", "2", "0"))
LOOPING = replace(NEW, state="failed", detail="activating (auto-restart)", looping=True)
DEAD = replace(NEW, state="failed", detail="failed (failed)")
GONE = replace(NEW, state="stopped", detail="inactive (dead)")
FLAPPED = replace(NEW, restarts=1, identity=("third", "3", "300"))
OTHERS = replace(NEW, identity=("third", "3", "300"))
PM2 = replace(NEW, manager="pm2", restarts=4, identity=("0:200:1",))
COMMAND = replace(NEW, manager="command", restarts=None, identity=("200:5",))
PROBES_ONLY = replace(COMMAND, identity=())


def watched(before: ServiceState, states: list[ServiceState], action: str = "restart", gate: Gate = GATE) -> Watch:
    watch = begin(before, action)
    for second, state in enumerate(states):
        assert watch.verdict == "waiting", "nobody polls after the verdict"
        watch = advance(watch, Reading(float(second), state), gate)
    return watch


@pytest.mark.parametrize(
    ("before", "states", "verdict"),
    [
        (OLD, [NEW] * 3, "ready"),
        (OLD, [NEW] * 2, "waiting"),
        (OLD, [STARTING, STARTING, NEW, NEW, NEW], "ready"),
        (OLD, [DEAD], "service_failed"),
        (OLD, [GONE], "service_failed"),
        (OLD, [NEW, GONE], "service_failed"),
        (OLD, [LOOPING], "crash_loop"),
        (OLD, [NEW, NEW, LOOPING], "crash_loop"),
        (OLD, [NEW, FLAPPED], "crash_loop"),
        (OLD, [FLAPPED], "crash_loop"),
        (OLD, [STARTING, FLAPPED], "crash_loop"),
        (OLD, [NEW, OTHERS], "restarted_meanwhile"),
        (OLD, [STARTING] * 11, "not_ready"),
        # an old crash does not excuse a new one: the count of a unit that ran begins with 0
        (replace(OLD, restarts=1), [NEW] * 3, "ready"),
        (replace(OLD, restarts=1), [FLAPPED], "crash_loop"),
        (replace(OLD, restarts=1), [STARTING, FLAPPED], "crash_loop"),
        (replace(DEAD, restarts=1), [FLAPPED], "crash_loop"),
        # a unit that was waiting for its automatic restart goes on counting
        (replace(LOOPING, restarts=7), [replace(NEW, restarts=7)] * 3, "ready"),
        (replace(LOOPING, restarts=7), [NEW] * 3, "ready"),
        (replace(LOOPING, restarts=7), [replace(NEW, restarts=8)], "crash_loop"),
        (replace(LOOPING, restarts=7), [NEW, replace(NEW, restarts=7)], "crash_loop"),
        # systemd before 235 does not count: the identity is all there is
        (replace(OLD, restarts=None), [replace(NEW, restarts=None)] * 3, "ready"),
        # pm2 counts a restart by hand of each process that was running
        (replace(PM2, restarts=3, running=1), [PM2] * 3, "ready"),
        (replace(PM2, restarts=3, running=1), [replace(PM2, restarts=5)], "crash_loop"),
        (replace(PM2, restarts=4, running=0), [PM2] * 3, "ready"),
        (replace(PM2, restarts=3, running=1), [PM2, replace(PM2, restarts=5, identity=("0:201:2",))], "crash_loop"),
        (replace(PM2, restarts=2, running=2, instances=2), [replace(PM2, instances=2)] * 3, "ready"),
        (replace(PM2, restarts=3, running=1), [replace(PM2, state="failed", looping=True)], "crash_loop"),
        # commands: a status that says no may only be slow, until the service was seen
        (COMMAND, [replace(COMMAND, state="stopped", identity=())] * 2 + [COMMAND] * 3, "ready"),
        (COMMAND, [COMMAND, replace(COMMAND, state="stopped", identity=())], "service_failed"),
        (COMMAND, [COMMAND, replace(COMMAND, identity=("201:9",))], "crash_loop"),
        (PROBES_ONLY, [PROBES_ONLY] * 3, "ready"),
    ],
)
def test_what_happens_after_a_restart_has_one_verdict(
    before: ServiceState, states: list[ServiceState], verdict: str
) -> None:
    assert watched(before, states).verdict == verdict


@pytest.mark.parametrize(
    ("states", "verdict"),
    [([OLD] * 3, "ready"), ([NEW], "restarted_meanwhile"), ([replace(OLD, restarts=1)], "crash_loop")],
)
def test_a_reload_keeps_the_main_process(states: list[ServiceState], verdict: str) -> None:
    assert watched(OLD, states, "reload").verdict == verdict


@pytest.mark.parametrize(
    ("first", "then", "verdict"),
    [
        (NEW, NEW, "waiting"),
        (NEW, OTHERS, "restarted_meanwhile"),
        (NEW, replace(NEW, restarts=7), "crash_loop"),
        (STARTING, NEW, "waiting"),
        (STARTING, FLAPPED, "crash_loop"),
    ],
)
def test_what_is_seen_before_the_first_probe_must_stay(first: ServiceState, then: ServiceState, verdict: str) -> None:
    """It is no poll: nothing was asked yet."""
    watch = look(begin(replace(LOOPING, restarts=7), "restart"), first)
    assert (watch.verdict, watch.passed, watch.polls) == ("waiting", 0, 0)
    assert advance(watch, Reading(5.0, then), GATE).verdict == verdict


@pytest.mark.parametrize(("state", "verdict"), [(DEAD, "service_failed"), (LOOPING, "crash_loop")])
def test_what_is_dead_before_the_first_probe_is_not_asked(state: ServiceState, verdict: str) -> None:
    watch = look(begin(OLD, "restart"), state)
    assert (watch.verdict, watch.polls) == (verdict, 0)


def test_a_failed_probe_begins_the_count_anew() -> None:
    watch = begin(OLD, "restart")
    for second, failures in enumerate([(), (), ("http: 503",), (), ()]):
        watch = advance(watch, Reading(second, NEW, failures), GATE)
    assert (watch.verdict, watch.passed) == ("waiting", 2)
    assert advance(watch, Reading(5, NEW), GATE).verdict == "ready"


def test_a_late_verdict_names_the_last_failure() -> None:
    watch = advance(begin(OLD, "restart"), Reading(10.0, NEW, ("http: status 200, but version is 1",)), GATE)
    assert (watch.verdict, watch.reason) == ("not_ready", "http: status 200, but version is 1")


POLLS = st.lists(st.tuples(st.sampled_from([NEW, STARTING]), st.booleans()), max_size=20)
ANY_STATE = st.sampled_from([NEW, STARTING, LOOPING, DEAD, GONE, FLAPPED, OTHERS])


@given(POLLS, st.integers(1, 5))
def test_ready_means_that_the_last_polls_were_all_good(polls: list[tuple[ServiceState, bool]], successes: int) -> None:
    gate = replace(GATE, successes=successes, deadline=100)
    watch, good = begin(OLD, "restart"), 0
    for second, (state, passes) in enumerate(polls):
        watch = advance(watch, Reading(second, state, () if passes else ("no",)), gate)
        good = good + 1 if passes and state is NEW else 0
        assert (watch.verdict == "ready") == (good >= successes)
        if watch.verdict != "waiting":
            break


@given(st.lists(st.tuples(ANY_STATE, st.booleans()), min_size=1, max_size=20))
def test_a_service_that_broke_is_never_ready(polls: list[tuple[ServiceState, bool]]) -> None:
    watch, seen = begin(OLD, "restart"), []
    for second, (state, passes) in enumerate(polls):
        if watch.verdict == "waiting":
            seen.append(state)
            watch = advance(watch, Reading(second, state, () if passes else ("no",)), GATE)
    if watch.verdict == "ready":
        assert {id(state) for state in seen} <= {id(NEW), id(STARTING), id(OTHERS)}
        assert not ({id(NEW), id(OTHERS)} <= {id(state) for state in seen}), "two lives in one watch"


@given(st.lists(st.tuples(ANY_STATE, st.booleans()), min_size=12, max_size=12))
def test_there_is_always_a_verdict_at_the_deadline(polls: list[tuple[ServiceState, bool]]) -> None:
    watch = begin(OLD, "restart")
    for second, (state, passes) in enumerate(polls):
        if watch.verdict == "waiting":
            watch = advance(watch, Reading(second, state, () if passes else ("no",)), GATE)
    assert watch.verdict != "waiting"
