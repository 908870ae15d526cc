"""What people read about a run: findings, steps and lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from plugins.module_utils._core.maintenance_facts import (
    PARENT,
    DatabaseAge,
    Facts,
    Holder,
    Running,
    ServerFacts,
    TableFacts,
)
from plugins.module_utils._core.maintenance_need import Need
from plugins.module_utils._core.maintenance_outcome import (
    BROKEN,
    GIVEN_UP,
    NO_TIME,
    RAN,
    Attempt,
    Counters,
    code_of,
    message,
    not_started,
    step_of,
)
from plugins.module_utils._core.maintenance_plan import Planned, survey
from plugins.module_utils._core.maintenance_policy import Manner, Policy
from plugins.module_utils._core.maintenance_report import findings, holders_shown, plan_message, predicted

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=timezone.utc)
SERVER = ServerFacts(version=180004)
TABLE = TableFacts("shop", 1, "public", "t", "public.t", rows=1000, live_rows=1000, vacuum_count=3, analyze_count=4)
ITEM = Planned("vacuum:shop:public.t", TABLE, Need(2, "", vacuum=True, analyze=True), Manner(), 1, "")


def facts(**changes: Any) -> Facts:
    return Facts(**{"server": SERVER, "now": NOW, "ages": (DatabaseAge("shop", 10, 0),), **changes})


def status(check: str, given: Facts, policy: Policy | None = None) -> tuple[str, str]:
    wish = policy or Policy()
    (found,) = [f for f in findings(given, survey(given, wish), wish) if f.check == check]
    return found.status, found.msg


@pytest.mark.parametrize(
    ("age", "server", "expected"),
    [
        (199_999_999, SERVER, "ok"),
        (200_000_000, SERVER, "warning"),
        (1_600_000_000, SERVER, "critical"),
        (1_600_000_000, replace(SERVER, freeze_max_age=1_900_000_000), "ok"),
        (1_900_000_000, replace(SERVER, freeze_max_age=1_900_000_000), "warning"),
        (2_000_000_000, replace(SERVER, freeze_max_age=1_900_000_000), "critical"),
    ],
)
def test_wraparound_has_limits(age: int, server: ServerFacts, expected: str) -> None:
    ages = (DatabaseAge("template0", age, 0), DatabaseAge("shop", 5, 0))
    verdict, text = status("wraparound", facts(server=server, ages=ages))
    assert verdict == expected and "template0" in text


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (Holder("session", "pid 7 (reports)", 5, NOW - timedelta(minutes=59)), "ok"),
        (Holder("session", "pid 7 (reports)", 5, NOW - timedelta(minutes=61)), "warning"),
        (Holder("session", "pid 7 (reports)", 5, NOW - timedelta(hours=25)), "critical"),
        (Holder("slot", "left behind", 19_999_999), "ok"),
        (Holder("slot", "left behind", 20_000_000), "warning"),
        (Holder("slot", "left behind", 150_000_000), "critical"),
        (Holder("session", "clock ahead", 5, NOW + timedelta(hours=5)), "ok"),
        (Holder("session", "pid 7 (hidden)", 5), "unknown"),
        (Holder("session", "pid 7 (hidden)", 20_000_000), "warning"),
        (Holder("standby", "replica", 5), "ok"),
    ],
    ids=str,
)
def test_who_holds_back_vacuum_is_named_when_it_matters(holder: Holder, expected: str) -> None:
    verdict, text = status("xmin_horizon", facts(holders=(holder,)))
    assert verdict == expected and (holder.name in text) is (expected != "ok") and "nobody" not in text
    assert ("GRANT pg_read_all_stats" in text) is ("hidden" in holder.name)


def test_nobody_holds_back_vacuum() -> None:
    assert status("xmin_horizon", facts()) == ("ok", "nobody holds back vacuum")


def test_hidden_holders_do_not_push_out_the_one_that_is_known_to_be_old() -> None:
    hidden = tuple(Holder("session", f"pid {n} (hidden)", 100 + n) for n in range(7))
    old = Holder("session", "pid 99 (reports)", 5, NOW - timedelta(hours=25))
    verdict, text = status("xmin_horizon", facts(holders=(*hidden, old)))
    assert verdict == "critical" and "reports" in text and " and 3 more" in text


def test_holders_are_shown_without_their_values_oldest_first() -> None:
    one = Holder("session", "pid 7\x1b[0m", 5, NOW - timedelta(seconds=90), "shop", detail="SELECT 'secret', 42")
    two = Holder("slot", "s", 50, detail="physical slot, nobody uses it")
    shown = holders_shown(facts(holders=(one, two)))
    assert [holder["name"] for holder in shown] == ["s", "pid 7\\x1b[0m"]
    assert shown[1]["detail"] == "SELECT ?, ?" and shown[1]["held_seconds"] == 90


def test_what_is_not_done_is_a_finding() -> None:
    denied = replace(TABLE, dead_rows=500, may_maintain=False)
    assert status("rights", facts(tables=(denied,)))[0] == "warning"
    overdue = replace(denied, xid_age=300_000_000)
    assert status("rights", facts(tables=(overdue,)))[0] == "critical"
    near = replace(TABLE, xid_age=300_000_000)
    assert status("excluded_wraparound", facts(tables=(near,)), Policy(exclude=("t",)))[0] == "critical"
    orphan = Running(77, "shop", 1, "an earlier run that died (pid 77)", orphan=True)
    verdict, text = status("orphan_backend", facts(running=(orphan,)))
    assert verdict == "warning" and "pid 77" in text
    assert status("track_counts", facts(server=replace(SERVER, track_counts=False)))[0] == "unknown"
    old = ServerFacts(version=130023)
    parent = replace(TABLE, kind=PARENT)
    assert status("partitioned_statistics", facts(server=old, tables=(parent,)))[0] == "unknown"
    assert status("database_unreachable", facts(unreachable=(("crm", "no right"),)))[0] == "unknown"


def test_held_rows_are_not_promised_away() -> None:
    dead = replace(TABLE, dead_rows=500, last_analyze=NOW)
    wish = Policy()
    free = facts(tables=(dead,))
    held = facts(tables=(dead,), holders=(Holder("session", "x", 5, NOW - timedelta(hours=2), "shop"),))
    assert predicted(free, survey(free, wish), wish)["dead_rows"] == 0
    assert predicted(held, survey(held, wish), wish)["dead_rows"] == 500
    perhaps = facts(tables=(dead,), holders=(Holder("session", "x", 5, None, "shop"),))
    assert predicted(perhaps, survey(perhaps, wish), wish)["dead_rows"] == 500


SENT, MOVED, HALF, STUCK = Attempt(RAN, 0.5), Counters(4, 5), Counters(4, 4), Counters(3, 4)


@pytest.mark.parametrize(
    ("attempt", "counters", "expected", "code"),
    [
        (SENT, MOVED, "done", ""),
        (SENT, HALF, "done", ""),
        (SENT, STUCK, "skipped", "not_confirmed"),
        (SENT, None, "done", ""),
        (replace(SENT, notices=("AVERTISSEMENT",)), STUCK, "skipped", "skipped_by_server"),
        (replace(SENT, notices=("AVERTISSEMENT",)), None, "skipped", "skipped_by_server"),
        (replace(SENT, notices=("AVERTISSEMENT",)), MOVED, "done", ""),
        (Attempt(GIVEN_UP, code="lock_timeout", message="no lock"), STUCK, "skipped", "lock_timeout"),
        (Attempt(BROKEN, code="data_corrupted", message="bad page"), STUCK, "failed", "data_corrupted"),
        (Attempt(BROKEN, code="server_gone", message="gone"), None, "failed", "server_gone"),
        (Attempt(BROKEN, code="cancelled", message="cancelled"), MOVED, "done", ""),
        (not_started(NO_TIME, 90, 10), STUCK, "skipped", "no_time_left"),
        (not_started("data_corrupted"), STUCK, "skipped", "data_corrupted"),  # what ended the run, of another table
        (None, STUCK, "skipped", "stopped"),
    ],
    ids=str,
)
def test_a_step_is_done_only_with_proof_or_without_any_warning(
    attempt: Attempt | None, counters: Counters | None, expected: str, code: str
) -> None:
    step = step_of(ITEM, attempt, counters, TABLE)
    assert (step.status, code_of(ITEM, attempt, step, TABLE)) == (expected, code)


def test_a_right_that_was_lost_meanwhile_is_the_reason() -> None:
    attempt = replace(SENT, notices=("?",))
    step = step_of(ITEM, attempt, STUCK, TABLE)
    assert code_of(ITEM, attempt, step, replace(TABLE, may_maintain=False)) == "insufficient_privilege"
    waiting = replace(ITEM, manner=Manner(skip_locked=True))
    assert code_of(waiting, attempt, step, TABLE) == "lock_timeout"


def test_the_lines_for_people() -> None:
    assert plan_message(survey(facts(table_count=7), Policy()), facts(table_count=7), 0).startswith(
        "nothing to do: 7 tables"
    )
    needy = facts(tables=(replace(TABLE, dead_rows=500, last_analyze=NOW),))
    assert plan_message(survey(needy, Policy()), needy, 90) == "1 table needs work: 1 to vacuum; about 1 min 30 s"
    done = step_of(ITEM, SENT, MOVED, TABLE)
    assert message([done], [ITEM], {ITEM.id: ""}, 2**20) == "1 table vacuumed, 1.0 MB given back"
    left = step_of(ITEM, not_started(NO_TIME, 90, 10), STUCK, TABLE)
    assert left.detail == "not started: estimated 1 min 30 s, 10 s left"
    assert message([left], [ITEM], {ITEM.id: NO_TIME}, 0) == "1 skipped (no_time_left)"
