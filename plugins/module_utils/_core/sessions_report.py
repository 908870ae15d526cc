# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is told about sessions: rows, findings and the one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Optional

from .redact import printable
from .result import OK, UNKNOWN, WARNING, Finding, threshold_status
from .sessions import CLIENT, Activity, Session, blocking_trees
from .sessions_choice import NO_EFFECT, NOT_PERMITTED, OBSERVED, OVER_CAP, PLANNED, PROTECTED, Choice
from .sessions_policy import CANCEL, TERMINATE, Policy, Rule
from .units import count_of, human_duration, rfc3339

_LEFT_ALONE = ((OBSERVED, "observed"), (PROTECTED, "protected"), (NOT_PERMITTED, "not permitted"))
_ALSO_LEFT = ((NO_EFFECT, "not to be cancelled"), (OVER_CAP, "over the ceiling"))


@dataclass(frozen=True)
class Limits:
    """Where readings become a warning or critical: percent of max_connections, and seconds."""

    connections_warning: float = 80.0
    connections_critical: float = 95.0
    transaction_warning: float = 3600.0
    transaction_critical: float = 86400.0
    wait_warning: float = 1.0
    wait_critical: float = 60.0


def session_row(choice: Choice, outcome: Optional[str] = None, detail: str = "") -> dict[str, Any]:
    """Return a matched session's entry in the result."""
    session, ages = choice.session, choice.session.ages
    return {
        "pid": session.pid,
        "backend_start": None if session.started is None else rfc3339(session.started),
        "role": printable(session.role),
        "database": printable(session.database),
        "application": printable(session.application),
        "client": session.client or "local",
        "state": session.state,
        "age_seconds": {
            "connected": _rounded(ages.connected),
            "state": _rounded(ages.state),
            "query": _rounded(ages.query),
            "transaction": _rounded(ages.transaction),
        },
        "query": session.shown_query(),
        "blocked": [blocked.as_result() for blocked in choice.tree.blocked] if choice.tree else [],
        "rule": choice.rule.name,
        "action": choice.rule.action,
        "outcome": outcome or choice.verdict,
        "reason": printable(detail or choice.reason),
    }


def _rounded(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else round(seconds, 1)


def matching(choices: Iterable[Choice], policy: Policy, without: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return, for each rule, the sessions in its reach, without some verdicts: what the diff is made of."""
    left_out = {PROTECTED, *without}
    return {
        rule.name: [c.session.label() for c in choices if c.rule.name == rule.name and c.verdict not in left_out]
        for rule in policy.rules
    }


def findings_of(activity: Activity, choices: Iterable[Choice], policy: Policy, limits: Limits) -> tuple[Finding, ...]:
    """Return the readings: each rule, the connections, the oldest transaction, who is blocked, what is hidden."""
    choices = tuple(choices)
    hidden = [session for session in activity.connections if session.hidden]
    return (
        *(_rule_finding(rule, choices, hidden) for rule in policy.rules),
        _connections_finding(activity, limits),
        _transaction_finding(activity, hidden, limits),
        _blocked_finding(activity, limits),
        *([_hidden_finding(hidden)] if hidden else []),
    )


def _rule_finding(rule: Rule, choices: tuple[Choice, ...], hidden: list[Session]) -> Finding:
    mine = [choice for choice in choices if choice.rule.name == rule.name]
    count = sum(1 for choice in mine if choice.verdict != PROTECTED)
    unseen = [session for session in hidden if rule.may_be_about(session)]
    status = WARNING if count else UNKNOWN if unseen else OK
    words = [f"{count_of(count, 'session')} {rule.condition()}"]
    words += [left for left in (_left_alone(mine),) if left]
    words += [f"{len(unseen)} more are {_why_hidden(unseen)}"] if unseen else []
    return Finding(f"rule:{rule.name}", status, "; ".join(words), count, "sessions", 1)


def _connections_finding(activity: Activity, limits: Limits) -> Finding:
    used = len(activity.connections)
    percent = round(100.0 * used / activity.max_connections, 1)
    return Finding(
        "connections",
        threshold_status(percent, limits.connections_warning, limits.connections_critical),
        f"{used} of {activity.max_connections} connections used ({activity.reserved} are reserved)",
        percent,
        "%",
        limits.connections_warning,
        limits.connections_critical,
    )


def _transaction_finding(activity: Activity, hidden: list[Session], limits: Limits) -> Finding:
    open_ones = [s for s in activity.sessions if s.kind == CLIENT and s.ages.transaction is not None and not s.own]
    oldest = max(open_ones, key=lambda s: s.ages.transaction or 0, default=None)
    seconds = (oldest.ages.transaction or 0.0) if oldest else 0.0
    status = threshold_status(seconds, limits.transaction_warning, limits.transaction_critical)
    text = f"{oldest.label()}, {oldest.state}, for {human_duration(seconds)}" if oldest else "no transaction is open"
    return Finding(
        "oldest_transaction",
        UNKNOWN if status == OK and hidden else status,
        text,
        round(seconds, 1),
        "s",
        limits.transaction_warning,
        limits.transaction_critical,
    )


def _blocked_finding(activity: Activity, limits: Limits) -> Finding:
    waiting = [session for session in activity.sessions if session.blockers]
    known = [session.waiting for session in waiting if session.waiting is not None]
    longest = max(known, default=None if waiting else 0.0)
    trees = blocking_trees(activity.sessions)
    by_pid = activity.by_pid()
    roots = "; ".join(f"{_root_label(pid, by_pid)} {tree.summary()}" for pid, tree in list(trees.items())[:5])
    return Finding(
        "blocked_sessions",
        threshold_status(longest, limits.wait_warning, limits.wait_critical),
        f"{count_of(len(waiting), 'session')} blocked" + (f": {roots}" if roots else ""),
        _rounded(longest),
        "s",
        limits.wait_warning,
        limits.wait_critical,
    )


def _root_label(pid: int, by_pid: Mapping[int, Session]) -> str:
    if pid == 0:
        return "a prepared transaction (pg_prepared_xacts)"
    return by_pid[pid].label() if pid in by_pid else f"pid {pid}"


def _hidden_finding(hidden: list[Session]) -> Finding:
    text = f"{count_of(len(hidden), 'session')} {_why_hidden(hidden)}"
    return Finding("hidden_sessions", UNKNOWN, text, len(hidden), "sessions")


def _why_hidden(sessions: list[Session]) -> str:
    return " or ".join(sorted({session.hidden for session in sessions}))


def decision_line(choices: Iterable[Choice]) -> str:
    """Return the line for a plan that is only shown."""
    choices = tuple(choices)
    to_do = [
        f"{count_of(count, 'session')} to {action}"
        for action in (TERMINATE, CANCEL)
        if (count := sum(1 for c in choices if c.verdict == PLANNED and c.rule.action == action))
    ]
    left = _left_alone(choices)
    return "; ".join([", ".join(to_do) or "no session to end", *([left] if left else [])])


def _left_alone(choices: Iterable[Choice]) -> str:
    verdicts = [choice.verdict for choice in choices]
    counts = ((verdicts.count(verdict), words) for verdict, words in _LEFT_ALONE + _ALSO_LEFT)
    return ", ".join(f"{count} {words}" for count, words in counts if count)


def outcome_line(outcomes: Iterable[str], choices: Iterable[Choice]) -> str:
    """Return the line for a run: what became of the planned sessions, and who was left alone."""
    outcomes = list(outcomes)
    ended = ", ".join(
        f"{count_of(outcomes.count(outcome), 'session')} {outcome.replace('_', ' ')}"
        for outcome in dict.fromkeys(outcomes)
    )
    left = _left_alone(choices)
    return "; ".join([ended or "no session ended", *([left] if left else [])])
