# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decide whether a database is fit for work: readings against limits, nothing is ever planned."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Iterator, Optional

from .postgres_preflight_facts import (
    ANY,
    END_OF_LIFE,
    STANDBY,
    AtWork,
    Facts,
    Failure,
    Grants,
    Limits,
    Server,
)
from .postgres_preflight_rights import lacks_of, rights_findings
from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding, threshold_status, worst
from .sessions import CLIENT, Activity, Session
from .sessions_policy import BATCH_APPLICATIONS, matches_any
from .units import count_of, human_duration, human_size, rfc3339

OLDEST_SUPPORTED, OLDEST_FULLY, NEWEST_TESTED = 13, 14, 18


def decide(facts: Facts, limits: Limits) -> Decision:
    """Return the readings of a server against their limits."""
    findings = tuple(_findings(facts, limits))
    return Decision(_sentence(facts, findings), findings=findings, extra=_result(facts))


def _findings(facts: Facts, limits: Limits) -> Iterator[Finding]:
    yield _reachable(facts)
    if facts.unreachable is not None and facts.server is None:
        return
    yield from _section(facts, "server", facts.server, lambda server: _about_server(server, limits))
    yield from _section(facts, "grants", facts.grants, lambda _grants: rights_findings(facts))
    yield from _at_work_findings(facts, limits)
    yield from _section(facts, "activity", facts.activity, lambda activity: _about_activity(facts, activity, limits))
    yield from _section(facts, "databases", facts.databases, lambda _databases: [_sizes(facts)])


def _section(facts: Facts, name: str, value: Any, look: Any) -> Iterator[Finding]:
    if value is not None:
        yield from look(value)
        return
    failure = facts.failures.get(name, Failure("not_read", "it was not read"))
    yield Finding(name, UNKNOWN, f"{name} could not be read: {failure.msg}")


def _reachable(facts: Facts) -> Finding:
    if facts.unreachable is None:
        return Finding("reachable", OK, f"{facts.target} answers", True)
    hint = f" ({facts.unreachable.hint})" if facts.unreachable.hint else ""
    return Finding("reachable", CRITICAL, f"{facts.unreachable.msg}{hint}", False)


# --- the server --------------------------------------------------------------------------------------------------


def _about_server(server: Server, limits: Limits) -> Iterator[Finding]:
    yield _version(server)
    yield _end_of_life(server)
    yield _server_role(server, limits)


def _version(server: Server) -> Finding:
    status, text = OK, f"PostgreSQL {server.version}"
    if server.major < OLDEST_SUPPORTED:
        status, text = CRITICAL, f"{text} is older than {OLDEST_SUPPORTED}, the oldest that is supported"
    elif 140000 <= server.version_number < 140004:
        status, text = (
            WARNING,
            f"{text} corrupts indexes that are built concurrently (BUG #17485): update to 14.4 or newer",
        )
    elif server.major < OLDEST_FULLY:
        status, text = WARNING, f"{text} is supported as well as it can be, {OLDEST_FULLY} and newer fully"
    elif server.major > NEWEST_TESTED:
        status, text = WARNING, f"{text} is newer than {NEWEST_TESTED}, the newest that was tested"
    return Finding("version", status, text, server.version)


def _end_of_life(server: Server) -> Finding:
    end = END_OF_LIFE.get(server.major)
    if end is None:
        past = server.major < min(END_OF_LIFE)
        text = f"PostgreSQL {server.major} {'is past' if past else 'has no known'} end of life"
        return Finding("end_of_life", WARNING if past else OK, text)
    past = server.now.date() > end
    text = (
        f"PostgreSQL {server.major} {'has had' if past else 'gets'} no more fixes {'since' if past else 'after'} {end}"
    )
    return Finding("end_of_life", WARNING if past else OK, text, end.isoformat())


def _server_role(server: Server, limits: Limits) -> Finding:
    role = _role_of(server)
    if limits.expect in (ANY, role):
        return Finding("server_role", OK, f"it is a {role}", role)
    return Finding("server_role", CRITICAL, f"it is a {role}, and a {limits.expect} was expected", role)


def _role_of(server: Server) -> str:
    return STANDBY if server.in_recovery else "primary"


# --- who is there ------------------------------------------------------------------------------------------------


def at_work(facts: Facts) -> tuple[AtWork, ...]:
    """Return who is at work on the server: runs of this collection, commands in progress, and tools by their name."""
    by_pid = facts.activity.by_pid() if facts.activity else {}
    found: dict[int, AtWork] = {}
    for pid in facts.locked or ():
        session = by_pid.get(pid, Session(pid, None))
        found[pid] = AtWork(session, "holds a lock of this collection", lock=True)
    for progress in facts.progress or ():
        session = by_pid.get(progress.pid, Session(progress.pid, None))
        detail = ", ".join(text for text in (progress.relation, progress.phase) if text)
        found.setdefault(progress.pid, AtWork(session, progress.activity, detail))
    for session in by_pid.values():
        if session.leader is None and matches_any(session.application.lower(), BATCH_APPLICATIONS):
            found.setdefault(session.pid, AtWork(session, session.application))
    return tuple(work for work in found.values() if not work.session.own)


def _at_work_findings(facts: Facts, limits: Limits) -> Iterator[Finding]:
    for name in ("locked", "progress"):
        if getattr(facts, name) is None:
            yield from _section(facts, name, None, None)
    everybody = at_work(facts)
    runs = [work for work in everybody if work.lock]
    others = [work for work in everybody if not work.lock and not work.routine]
    if facts.locked is not None:
        text = "another run of this collection is at work: " if runs else "no other run of this collection is at work"
        yield Finding("own_runs", limits.own_runs if runs else OK, text + _listed(runs), len(runs), "sessions")
    if facts.progress is not None and facts.activity is not None:
        routine = sum(1 for work in everybody if work.routine)
        text = _listed(others) or "nobody else is at work"
        text += f", {count_of(routine, 'autovacuum worker')}" if routine else ""
        yield Finding("others_at_work", WARNING if others else OK, text, len(others), "sessions", 1)


def _listed(works: list[AtWork]) -> str:
    shown = ", ".join(f"{work.session.label()}: {printable(work.activity)}" for work in works[:5])
    return f"{shown}, and {len(works) - 5} more" if len(works) > 5 else shown


def _about_activity(facts: Facts, activity: Activity, limits: Limits) -> Iterator[Finding]:
    free = free_connections(facts, activity)
    used = len(activity.connections)
    text = f"{free} of {activity.max_connections} connections are free for this role ({used} used)"
    status = threshold_status(-free, -limits.free_warning, -limits.free_critical)
    yield Finding("free_connections", status, text, free, "connections", limits.free_warning, limits.free_critical)
    yield _oldest(activity, limits)


def free_connections(facts: Facts, activity: Activity) -> int:
    """Return how many more connections the role could open; the reserved ones only count for who may use them."""
    reserved = 0 if facts.grants and facts.grants.superuser else activity.reserved
    return max(0, activity.max_connections - reserved - len(activity.connections))


def oldest_transaction(activity: Activity) -> Optional[Session]:
    """Return the client that has had a transaction open for longest."""
    clients = [s for s in activity.sessions if s.kind == CLIENT and s.ages.transaction is not None and not s.own]
    return max(clients, key=lambda s: s.ages.transaction or 0.0, default=None)


def _oldest(activity: Activity, limits: Limits) -> Finding:
    session = oldest_transaction(activity)
    seconds = (session.ages.transaction or 0.0) if session else 0.0
    status = threshold_status(seconds, limits.transaction_warning, limits.transaction_critical)
    hidden = sum(1 for other in activity.connections if other.hidden)
    text = f"{session.label()} has had one open for {human_duration(seconds)}" if session else "no transaction is open"
    text += f"; {count_of(hidden, 'session')} cannot be seen" if hidden else ""
    if status == OK and hidden:
        status = UNKNOWN
    warning, critical = limits.transaction_warning, limits.transaction_critical
    return Finding("oldest_transaction", status, text, round(seconds, 1), "s", warning, critical)


def _sizes(facts: Facts) -> Finding:
    databases = facts.databases or ()
    total = sum(database.size_bytes or 0 for database in databases)
    unknown = sum(1 for database in databases if database.size_bytes is None)
    text = f"{count_of(len(databases), 'database')}, {human_size(total)}"
    text += f" without {unknown} whose size is not known" if unknown else ""
    return Finding("database_size", UNKNOWN if unknown else OK, text, total, "bytes")


# --- the result --------------------------------------------------------------------------------------------------


def _sentence(facts: Facts, findings: tuple[Finding, ...]) -> str:
    bad = [finding for finding in findings if finding.status != OK]
    if bad:
        verdict = worst(finding.status for finding in bad)
        first = next(finding for finding in bad if finding.status == verdict)
        return first.msg + (f" (and {count_of(len(bad) - 1, 'more finding')})" if len(bad) > 1 else "")
    version = f"PostgreSQL {facts.server.version}, {_role_of(facts.server)}, " if facts.server else ""
    return f"{facts.target} is fit for work: {version}{_sizes(facts).msg}"


def _result(facts: Facts) -> dict[str, Any]:
    return {
        "reachable": facts.unreachable is None,
        "unreachable": asdict(facts.unreachable) if facts.unreachable else {},
        "server": _server_result(facts.server) if facts.server else {},
        "rights": _rights_result(facts.grants) if facts.grants else {},
        "cannot": [lack.as_result() for lack in lacks_of(facts)],
        "at_work": [_work_result(work) for work in at_work(facts)],
        "connections": _connections_result(facts, facts.activity) if facts.activity else {},
        "oldest_transaction": _oldest_result(facts.activity),
        "databases": [asdict(database) for database in facts.databases or ()],
    }


def _server_result(server: Server) -> dict[str, Any]:
    return {
        "version": server.version,
        "version_number": server.version_number,
        "major": server.major,
        "role": _role_of(server),
        "started": rfc3339(server.started),
        "now": rfc3339(server.now),
        "database": server.database,
        "system_identifier": server.system_identifier,
        "data_directory": server.data_directory,
        "last_replayed": rfc3339(server.last_replayed) if server.last_replayed else None,
    }


def _rights_result(grants: Grants) -> dict[str, Any]:
    return {**asdict(grants), "memberships": dict(grants.memberships)}


def _work_result(work: AtWork) -> dict[str, Any]:
    session = work.session
    return {
        "pid": session.pid,
        "activity": printable(work.activity),
        "detail": printable(work.detail),
        "role": printable(session.role),
        "database": printable(session.database),
        "application": printable(session.application),
        "kind": session.kind or "",
        "own_run": work.lock,
    }


def _connections_result(facts: Facts, activity: Activity) -> dict[str, int]:
    return {
        "max": activity.max_connections,
        "reserved": activity.reserved,
        "used": len(activity.connections),
        "free": free_connections(facts, activity),
    }


def _oldest_result(activity: Optional[Activity]) -> dict[str, Any]:
    session = oldest_transaction(activity) if activity else None
    if session is None:
        return {}
    return {
        "pid": session.pid,
        "role": printable(session.role),
        "database": printable(session.database),
        "application": printable(session.application),
        "state": session.state,
        "seconds": round(session.ages.transaction or 0.0, 1),
        "query": session.shown_query(),
    }
