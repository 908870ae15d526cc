"""Who may have the lock, and when."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue, LockBusy, PreconditionFailed
from plugins.module_utils._core.lease import (
    Holder,
    Lease,
    LeasePolicy,
    check_name,
    check_ttl,
    decide,
    read_record,
    wanted_lease,
)

NOW = datetime(2026, 11, 22, 4, 0, 0, 250_000, tzinfo=timezone.utc)
ME = Holder("run-me", "ops1", "boot-1", 4711, 99, "ana", "weekly-maintenance")
OTHER = Holder("run-other", "ops2", "boot-2", 4712, 98, "ben", "weekly-maintenance")


def lease(holder: Holder, left: float, acquired: float = -600) -> Lease:
    at = NOW.replace(microsecond=0)
    return Lease("maintenance", holder, at + timedelta(seconds=acquired), at + timedelta(seconds=left))


def policy(state: str, dead: tuple[str, ...] = ()) -> LeasePolicy:
    return LeasePolicy("maintenance", state, ME, 7200, frozenset(dead))


@pytest.mark.parametrize(
    ("state", "found", "dead", "verb"),
    [
        ("acquired", None, (), "acquire"),
        ("acquired", lease(ME, 600), (), None),
        ("acquired", lease(ME, -1), (), "renew"),
        ("acquired", lease(OTHER, 0), (), "take over"),
        ("acquired", lease(OTHER, 600), ("run-other",), "take over"),
        ("renewed", lease(ME, 600), (), "renew"),
        ("renewed", lease(ME, -1), (), "renew"),
        ("released", lease(ME, 600), (), "release"),
        ("released", lease(ME, -1), (), "release"),
        ("released", lease(OTHER, 600), (), None),
        ("released", lease(OTHER, -1), (), None),
        ("released", None, (), None),
    ],
)
def test_what_is_done(state: str, found: Lease | None, dead: tuple[str, ...], verb: str | None) -> None:
    decision = decide(policy(state, dead), found, NOW)
    assert [action.action for action in decision.plan] == ([verb] if verb else [])
    assert bool(decision.plan) == (decision.before != decision.after)


@pytest.mark.parametrize(
    ("state", "found", "code"),
    [
        ("acquired", lease(OTHER, 1), "lock_busy"),
        ("renewed", None, "lock_lost"),
        ("renewed", lease(OTHER, 600), "lock_lost"),
        ("renewed", lease(OTHER, -600), "lock_lost"),
    ],
)
def test_what_is_refused(state: str, found: Lease | None, code: str) -> None:
    with pytest.raises((LockBusy, PreconditionFailed)) as caught:
        decide(policy(state), found, NOW)
    assert caught.value.code == code and caught.value.hint


def test_a_refusal_names_the_holder() -> None:
    with pytest.raises(LockBusy) as caught:
        decide(policy("acquired"), lease(OTHER, 600), NOW)
    assert caught.value.message == (
        "lock maintenance: weekly-maintenance of ben at ops2, pid 4712 has been at work here since 2026-11-22T03:50:00Z"
    )
    assert caught.value.details["holder"]["run"] == "run-other"


def test_taking_over_is_a_warning() -> None:
    decision = decide(policy("acquired"), lease(OTHER, -1), NOW)
    assert decision.findings[0].status == "warning" and "has expired" in decision.plan[0].reason


def test_a_clock_that_went_back_prolongs_a_lease_and_never_breaks_it() -> None:
    with pytest.raises(LockBusy):
        decide(policy("acquired"), lease(OTHER, 7200 + 3600, acquired=3600), NOW)


def test_names_that_are_no_file_names_are_refused() -> None:
    for name in ("", "../x", ".x", "a/b", "a\nb", "x" * 101, "ä"):
        with pytest.raises(InvalidValue, match="name of a lock"):
            check_name(name)
    assert check_name("maintenance-db1.example") == "maintenance-db1.example"


def test_a_lease_of_seconds_is_refused() -> None:
    with pytest.raises(InvalidValue, match="ttl must be at least 1m"):
        check_ttl(59.9)


def test_hostile_holders_are_printable() -> None:
    assert Holder("r", "h\x1b[31m", user="a\nb").label() == "a run of a\\nb at h\\x1b[31m"


@pytest.mark.parametrize("record", [{}, {"name": "x"}, {"name": "x", "holder": 1, "acquired_at": "", "expires_at": ""}])
def test_no_record(record: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        read_record(record)


@given(
    left=st.integers(-10_000, 10_000),
    mine=st.booleans(),
    dead=st.booleans(),
    state=st.sampled_from(["acquired", "renewed", "released"]),
)
def test_a_live_lease_of_another_run_is_never_replaced(left: int, mine: bool, dead: bool, state: str) -> None:
    found = lease(ME if mine else OTHER, left)
    try:
        wanted = wanted_lease(policy(state, ("run-other",) if dead else ()), found, NOW)
    except (LockBusy, PreconditionFailed):
        wanted = found
    if not mine and not dead and found.expires_at > NOW:
        assert wanted == found
    if wanted is not None:
        assert read_record(wanted.record()) == wanted
