"""Decisions about generated servers, and their execution on a simulated one: the plan is what is done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import DatabaseFailed, PreconditionFailed
from plugins.module_utils._core.result import render_decision, render_outcome
from plugins.module_utils._core.sessions import CLIENT, Activity, Ages, Rights, Session
from plugins.module_utils._core.sessions_choice import needed_right, planned
from plugins.module_utils._core.sessions_decide import decide, outcome_of
from plugins.module_utils._core.sessions_policy import MATCHES, Clients, Names, Policy, Rule
from plugins.module_utils._core.sessions_report import Limits
from plugins.module_utils._core.sessions_statements import Statement, signal_statement
from plugins.module_utils._io.sessions_ladder import Ladder

NOW = datetime(2026, 3, 1, 2, 30, tzinfo=timezone.utc)
LIMITS = Limits()
ROOT = Rights("ops", superuser=True, signal_backend=True, read_all_stats=True)
STATES = [
    "idle",
    "idle in transaction",
    "idle in transaction (aborted)",
    "active",
    "fastpath function call",
    "disabled",
]
SELDOM = st.sampled_from([False] * 7 + [True])
KINDS = [*[CLIENT] * 12, "walsender", "autovacuum worker", "parallel worker", "logical replication worker", None]
APPLICATIONS = [*["web"] * 3, "", "batch", "psql", "pg_dump", "Barman", "pgBackRest [backup]", "oncall.runbooks x"]


def session(pid, state="idle", seconds=600.0, **changes):
    moment = NOW - timedelta(seconds=seconds)
    in_transaction = state.startswith("idle in") or state == "active"
    common = {
        "started": NOW - timedelta(days=1),
        "role_oid": 16384,
        "role": "app",
        "superuser": False,
        "database": "shop",
        "application": "web",
        "state": state,
        "state_change": moment,
        "query_start": moment,
        "xact_start": moment if in_transaction else None,
        "ages": Ages(86400.0, seconds, seconds, seconds if in_transaction else None),
        "query": "SELECT 1",
        "may_signal": True,
    }
    return Session(pid, changes.pop("kind", CLIENT), **{**common, **changes})


def activity(*sessions, rights=ROOT, max_connections=100):
    return Activity(tuple(sessions), rights, max_connections)


def policy(*rules, **changes):
    return Policy(rules or (Rule("idle", "idle", 300, "terminate"),), **changes)


class Still:
    """A clock that only moves when somebody sleeps."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        raise AssertionError("nobody asks for the wall clock")

    def monotonic(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


@dataclass
class SimulatedServer:
    """Sessions that react each in their own way; every signal that is sent is written down."""

    sessions: dict[int, Session]
    manners: dict[int, str] = field(default_factory=dict)
    signals: list[tuple[str, int]] = field(default_factory=list)
    calm: set[int] = field(default_factory=set)

    def _manner(self, session):
        return self.manners.get(session.pid, "obedient")

    def _is_working(self, session):
        return session.state in ("active", "fastpath function call") and self._manner(session) != "waiting"

    def signal(self, how, session, rule):
        if self._manner(session) == "forbidden":
            raise DatabaseFailed("permission denied", code="insufficient_privilege")
        if how == "terminate" and self._manner(session) == "late":
            self.calm.add(session.pid)
        if not self.holds(session, rule) or (how == "cancel" and not self._is_working(session)):
            return False
        self.signals.append((how, session.pid))
        if how == "terminate" and self._manner(session) != "immortal":
            del self.sessions[session.pid]
        if how == "cancel" and self._manner(session) == "obedient":
            self.calm.add(session.pid)
        return True

    def holds(self, session, rule):
        return session.pid in self.sessions and session.pid not in self.calm and self._manner(session) != "restless"

    def state(self, session):
        return session.state if session.pid in self.sessions else None


def run(facts, chosen_policy, manners=None):
    decision, choices = decide(facts, chosen_policy, LIMITS)
    server = SimulatedServer({s.pid: s for s in facts.sessions}, dict(manners or {}))
    ladder = Ladder(server, Still(), chosen_policy, facts.rights)
    ladder.climb(planned(choices))
    after = replace(facts, sessions=tuple(s for s in server.sessions.values() if s.pid not in server.calm))
    return decision, outcome_of(choices, ladder.endings(), chosen_policy, LIMITS, after), server


# --- generated servers -------------------------------------------------------------------------------------------

SECONDS = st.sampled_from([301.0, 5000.0, 7000.0, 299.0, 0.0])
SESSIONS = st.builds(
    partial(session),  # else hypothesis would make up the rest from the annotations
    pid=st.integers(1, 40),
    state=st.sampled_from(STATES),
    seconds=SECONDS,
    kind=st.sampled_from(KINDS),
    application=st.sampled_from(APPLICATIONS),
    role=st.sampled_from(["app", "app", "app", "report", "rdsadmin", "trusted"]),
    superuser=SELDOM,
    own=SELDOM,
    slot=SELDOM.map({False: "", True: "cdc"}.get),
    holds_backup=SELDOM,
    may_signal=SELDOM.map(lambda seldom: not seldom),
    client=st.sampled_from([None, "10.0.0.1", "2001:db8::1"]),
    blockers=st.sampled_from([(), (), (), (), (7,), (7, 9), (0,), (12,)]),
    waiting=SECONDS,
)
FACTS = st.builds(
    Activity,
    sessions=st.lists(SESSIONS, min_size=8, max_size=25, unique_by=lambda s: s.pid).map(tuple),
    rights=st.just(ROOT),
    max_connections=st.sampled_from([100, 20, 4]),
)
RULES = st.lists(
    st.builds(
        Rule,
        name=st.uuids().map(str),
        match=st.sampled_from(MATCHES),
        older_than=st.sampled_from([1.0, 300.0]),
        action=st.sampled_from(["terminate", "terminate", "cancel", "observe"]),
        roles=st.sampled_from([Names(), Names(), Names(("app",)), Names(("*",), ("report",))]),
        applications=st.sampled_from([Names(), Names(), Names(("pg*",)), Names(None, ("web",))]),
        clients=st.sampled_from([Clients(), Clients(), Clients(("10.0.0.0/8",)), Clients(("local",))]),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
POLICIES = st.builds(
    Policy,
    rules=RULES,
    protect_roles=st.sampled_from([(), ("trusted",)]),
    include_superusers=st.booleans(),
    max_sessions=st.sampled_from([1, 3, 20]),
    max_share=st.sampled_from([0.05, 0.25, 1.0]),
    on_excess=st.just("limit"),
    grace=st.sampled_from([0.0, 10.0]),
)
MANNERS = st.dictionaries(
    st.integers(1, 40),
    st.sampled_from(["obedient", "stubborn", "immortal", "restless", "forbidden", "late", "waiting"]),
    max_size=40,
)


def untouchable(session, policy):
    """Say it again in other words: what the issue promises about whom no rule reaches."""
    application = session.application.lower()
    return (
        session.kind != "client backend"
        or session.own
        or (session.superuser and not policy.include_superusers)
        or application.startswith(("pg_dump", "barman", "pgbackrest", "oncall.runbooks"))
        or session.role == "rdsadmin"
        or session.role in policy.protect_roles
        or session.slot != ""
        or session.holds_backup
    )


@given(FACTS, POLICIES, MANNERS)
def test_the_plan_of_check_mode_is_what_a_run_does_and_nobody_else_is_hit(facts, policy, manners):
    shown = render_decision(decide(facts, policy, LIMITS)[0])
    decision, outcome, server = run(facts, policy, manners)
    done = render_outcome(decision, outcome)

    assert shown["plan"] == done["plan"]
    assert {step["id"] for step in done["steps"]} == {action["id"] for action in shown["plan"]}
    victims = {row["pid"] for row in shown["sessions"] if row["outcome"] == "planned"}
    assert {pid for _how, pid in server.signals} <= victims
    assert len(victims) <= min(policy.max_sessions, int(policy.max_share * facts.max_connections))
    by_pid = facts.by_pid()
    assert not any(untouchable(by_pid[pid], policy) or not by_pid[pid].may_signal for pid in victims)
    assert not any(row["outcome"] == "planned" for row in done["sessions"])
    assert done["changed"] is any(step["status"] == "done" for step in done["steps"])


@given(FACTS, POLICIES)
def test_where_all_obey_a_second_run_has_only_what_is_over_the_ceiling(facts, policy):
    decision, outcome, server = run(facts, policy)
    if not decision.plan:
        assert server.signals == [] and not render_decision(decision)["changed"]
        return
    assert all(step.status == "done" for step in outcome.steps)
    gone = {pid for how, pid in server.signals}
    left = replace(facts, sessions=tuple(s for s in facts.sessions if s.pid not in gone))
    again = decide(left, replace(policy, max_sessions=1000, max_share=1.0), LIMITS)[0]
    beyond = [row["pid"] for row in decision.extra["sessions"] if row["outcome"] == "over_cap"]
    unblocked = [rule for rule in policy.rules if rule.match == "blocking_root"]
    if not unblocked:
        assert [int(action.id.split(":")[1]) for action in again.plan] == beyond[: len(again.plan)]
        assert len(again.plan) == min(len(beyond), facts.max_connections)


@given(FACTS, POLICIES)
def test_the_first_rule_that_matches_decides(facts, policy):
    for choice in decide(facts, policy, LIMITS)[1]:
        earlier = policy.rules[: policy.rules.index(choice.rule)]
        assert not any(rule.lasted(choice.session, choice.tree) for rule in earlier)


# --- single cases ------------------------------------------------------------------------------------------------

ENDINGS = [
    ("idle", "terminate", "obedient", "terminated", "done", ["terminate"]),
    ("idle", "terminate", "immortal", "still_there", "failed", ["terminate"]),
    ("idle", "terminate", "restless", "skipped", "skipped", []),
    ("idle", "terminate", "forbidden", "not_permitted", "skipped", []),
    ("active", "terminate", "obedient", "cancelled", "done", ["cancel"]),
    ("active", "terminate", "stubborn", "terminated", "done", ["cancel", "terminate"]),
    ("active", "terminate", "late", "cancelled", "done", ["cancel"]),
    ("active", "terminate", "waiting", "terminated", "done", ["terminate"]),
    ("active", "cancel", "obedient", "cancelled", "done", ["cancel"]),
    ("active", "cancel", "stubborn", "still_running", "failed", ["cancel"]),
    ("active", "cancel", "restless", "skipped", "skipped", []),
]


@pytest.mark.parametrize(("state", "action", "manner", "outcome", "status", "signals"), ENDINGS)
def test_how_each_session_ends(state, action, manner, outcome, status, signals):
    match = "idle" if state == "idle" else "active_longer_than"
    facts = activity(session(7, state))
    _unused, ended, server = run(facts, policy(Rule("r", match, 300, action)), {7: manner})
    assert [how for how, _pid in server.signals] == signals
    assert (ended.extra["sessions"][0]["outcome"], ended.steps[0].status) == (outcome, status)


def test_more_than_the_ceiling_is_refused_with_everything_that_was_seen():
    facts = activity(*(session(pid) for pid in range(1, 5)))
    with pytest.raises(PreconditionFailed) as refused:
        decide(facts, policy(max_sessions=3), LIMITS)
    assert refused.value.code == "blast_cap_exceeded" and refused.value.details["sessions"] == 4
    assert refused.value.partial["plan"] == [] and not refused.value.partial["changed"]
    assert len(refused.value.partial["sessions"]) == 4
    assert not any(row["outcome"] == "planned" for row in refused.value.partial["sessions"])


def test_observed_and_protected_sessions_do_not_count_towards_the_ceiling():
    facts = activity(*(session(pid) for pid in range(1, 4)), *(session(pid, application="pg_dump") for pid in (8, 9)))
    rules = (Rule("look", "idle", 300, "observe", applications=Names(("w*",))), Rule("end", "idle", 300, "terminate"))
    assert decide(facts, policy(*rules, max_sessions=1), LIMITS)[0].plan == ()


def test_rules_go_before_age_and_age_before_the_rest():
    facts = activity(session(1, seconds=400), session(2, seconds=9000), session(3, "idle in transaction", seconds=301))
    rules = (Rule("stuck", "idle_in_transaction", 300, "terminate"), Rule("idle", "idle", 300, "terminate"))
    decision = decide(facts, policy(*rules, max_sessions=2, on_excess="limit"), LIMITS)[0]
    assert [action.id for action in decision.plan] == ["terminate:3", "terminate:2"]
    assert decision.extra["sessions"][2]["outcome"] == "over_cap"


def test_a_hidden_session_makes_a_rule_unknown_only_where_it_may_be_meant():
    hidden = Session(5, None, role="app", database="shop", application="web")
    rules = (Rule("shop", "idle", 300), Rule("other", "idle", 300, databases=Names(("other",))))
    decision = decide(activity(session(1, seconds=1), hidden), policy(*rules), LIMITS)[0]
    statuses = {finding.check: finding.status for finding in decision.findings}
    assert statuses["rule:shop"] == "unknown" and statuses["rule:other"] == "ok"
    assert statuses["oldest_transaction"] == "unknown" and statuses["hidden_sessions"] == "unknown"


def test_readings_are_held_against_their_limits():
    waiting = session(2, "active", seconds=70, blockers=(1,), waiting=70.0)
    facts = activity(session(1, "idle in transaction", seconds=4000), waiting, max_connections=2)
    found = {finding.check: finding for finding in decide(facts, policy(), LIMITS)[0].findings}
    assert (found["connections"].status, found["connections"].value) == ("critical", 100.0)
    assert (found["oldest_transaction"].status, found["oldest_transaction"].value) == ("warning", 4000.0)
    assert (found["blocked_sessions"].status, found["blocked_sessions"].value) == ("critical", 70.0)
    assert "pid 1 app@shop (web) blocks 1 session for up to 1 min 10 s: pid 2" in found["blocked_sessions"].msg


def test_a_wait_of_unknown_length_is_unknown():
    facts = activity(session(1), session(2, "active", blockers=(1,), waiting=None))
    found = {finding.check: finding for finding in decide(facts, policy(), LIMITS)[0].findings}
    assert found["blocked_sessions"].status == "unknown"


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_a_signal_compares_the_whole_identity_and_can_be_shown(match, how):
    hostile = session(7, "active", application="x'; DROP TABLE t; -- %s", seconds=600)
    statement = signal_statement(how, hostile, Rule("r", match, 300, "terminate"))
    assert statement.sql.count("%s") == len(statement.parameters)
    assert statement.parameters[:4] == (7, hostile.started, 16384, hostile.application)
    assert "backend_type = 'client backend'" in statement.sql and "query" not in statement.sql.replace(
        "query_start", ""
    )
    assert "'x''; DROP TABLE t; -- %s'" in statement.shown()
    assert (" state IN ('active'" in statement.sql) is (how == "cancel" or match == "active_longer_than")


def test_a_statement_without_a_value_shows_null():
    assert Statement("a IS NOT DISTINCT FROM %s", (None,)).shown() == "a IS NOT DISTINCT FROM NULL"


def test_the_right_that_is_needed_can_be_pasted() -> None:
    needed = needed_right(session(7, role="Web App"), Rights('ops"; --', False, False, False))
    assert needed == 'GRANT pg_signal_backend (or "Web App") TO "ops""; --"'
