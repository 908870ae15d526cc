# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decide about a database's health: every check against its limits, nothing is ever planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterator, Optional

from .counters import render_counters
from .number import parse_number
from .postgres_health_databases import look_at_ages, look_at_databases, look_at_prepared
from .postgres_health_facts import START, Facts, Failure, Judge, Policy, Question, Row, Said, tidy
from .postgres_health_replication import (
    look_at_archive_backlog,
    look_at_archiver,
    look_at_own_replay,
    look_at_slots,
    look_at_standbys,
    look_at_synchronous,
)
from .postgres_health_server import (
    look_at_autovacuum,
    look_at_checkpoints,
    look_at_indexes,
    look_at_overdue,
    look_at_pending_restart,
    look_at_sequences,
    look_at_slow_log,
    look_at_statements,
    look_at_uptime,
    shown_statement,
)
from .postgres_health_sessions import look_at_connections, look_at_locks, look_at_transactions
from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, Decision, Finding
from .samples import DATABASE, Sample, render_samples
from .units import rfc3339
from .verdict import headline

_ROWS_OF_A_QUESTION = 20
SERVER = "server"


@dataclass(frozen=True)
class Look:
    """The checks that come out of one reading, and how; those for one kind of server say nothing on the other.

    ``with_start``: it is helped by the reading of when the server and its statistics began, and does without it.
    """

    checks: tuple[str, ...]
    reading: str
    look: Callable[[Judge], Iterator[Said]]
    with_start: bool = False
    primary_only: bool = False
    standby_only: bool = False


LOOKS = (
    Look(("connections", "free_connections", "reserved_connections", "pool"), "activity", look_at_connections),
    Look(("long_transactions", "idle_in_transaction"), "activity", look_at_transactions),
    Look(("lock_waits", "blocked_sessions"), "activity", look_at_locks),
    Look(("prepared_transactions",), "prepared", look_at_prepared, primary_only=True),
    Look(("standbys", "replication_lag", "replication_lag_bytes"), "replication", look_at_standbys),
    Look(("synchronous_standbys",), "synchronous", look_at_synchronous, primary_only=True),
    Look(("wal_receiver", "replay_lag", "replay_paused"), "standby", look_at_own_replay, standby_only=True),
    Look(("slots_inactive", "slots_retained", "slots_lost", "slots_safe"), "slots", look_at_slots),
    Look(("archiver",), "archiver", look_at_archiver, primary_only=True),
    Look(("archive_backlog",), "archive_backlog", look_at_archive_backlog, primary_only=True),
    Look(("xid_age", "multixact_age"), "ages", look_at_ages),
    Look(
        ("cache_hit", "deadlocks", "temp_bytes", "transactions", "transaction_spike", "rollbacks", "database_size",
         "checksum_failures", "recovery_conflicts"),
        "databases", look_at_databases, with_start=True,
    ),
    Look(("query_mean", "slow_statements"), "statements", look_at_statements, with_start=True),
    Look(("checkpoints",), "checkpoints", look_at_checkpoints, with_start=True),
    Look(("autovacuum", "autovacuum_workers"), "autovacuum", look_at_autovacuum, primary_only=True),
    Look(("autovacuum_overdue",), "overdue", look_at_overdue, primary_only=True),
    Look(("sequences",), "sequences", look_at_sequences, primary_only=True),
    Look(("invalid_indexes",), "invalid_indexes", look_at_indexes),
    Look(("pending_restart",), "pending_restart", look_at_pending_restart),
    Look(("uptime",), SERVER, look_at_uptime, with_start=True),
    Look(("slow_log",), "slow_log", look_at_slow_log),
)  # fmt: skip


def readings_for(policy: Policy, in_recovery: bool) -> tuple[str, ...]:
    """Return the readings, in the order of the checks that need them and are not switched off."""
    wanted = [look for look in LOOKS if _applies(look, policy, in_recovery)]
    start = [START] if any(look.with_start for look in wanted) else []
    return tuple(name for name in dict.fromkeys([*start, *(look.reading for look in wanted)]) if name != SERVER)


def _applies(look: Look, policy: Policy, in_recovery: bool) -> bool:
    if (look.primary_only and in_recovery) or (look.standby_only and not in_recovery):
        return False
    return any(policy.limits[check] is not None for check in look.checks)


def decide(facts: Facts, policy: Policy) -> Decision:
    """Return the health of a database, worst first in one line."""
    judge = Judge(facts, policy)
    said = list(_said(judge))
    findings = tuple(one for one in said if isinstance(one, Finding))
    samples = render_samples(one for one in said if isinstance(one, Sample))
    extra = {"area": DATABASE, "samples": samples, **_result(facts, judge)}
    return Decision(headline(findings), findings=findings, extra=extra)


def _said(judge: Judge) -> Iterator[Said]:
    facts = judge.facts
    yield Sample("database.up", 0.0 if facts.unreachable else 1.0, "count")
    yield _reachable(facts)
    if facts.unreachable is not None and facts.server is None:
        return
    for look in LOOKS:
        if _applies(look, judge.policy, facts.in_recovery):
            failure = facts.failures.get(look.reading)
            yield from look.look(judge) if failure is None else _not_read(judge, look, failure)
    for question in judge.policy.questions:
        yield from _answer(facts, question)


def _reachable(facts: Facts) -> Finding:
    if facts.unreachable is None:
        return Finding("reachable", OK, f"{facts.target} answers", True)
    return Finding("reachable", CRITICAL, facts.unreachable.words(), False)


def _not_read(judge: Judge, look: Look, failure: Failure) -> Iterator[Said]:
    for check in look.checks:
        if not _is_moot(judge, check):
            yield from judge.unknown(check, f"{check} could not be read: {failure.words()}")


def _is_moot(judge: Judge, check: str) -> bool:
    """Tell whether a check that could not be read would have had nothing to say here."""
    archiver = judge.facts.rows.get("archiver", ())
    moot = {
        "pool": judge.policy.pool_size is None,
        "standbys": judge.policy.expected_standbys is None,
        "transaction_spike": judge.policy.previous is None,
        "recovery_conflicts": not judge.facts.in_recovery,
        "archive_backlog": bool(archiver) and archiver[0]["mode"] == "off",
    }
    return moot.get(check, False)


# --- the inventory's own questions --------------------------------------------------------------------------------


def metric_of(question: Question) -> str:
    """Return the name under which the answers are kept."""
    return f"{question.area}.{question.name}" if question.area != DATABASE else f"database.custom.{question.name}"


def _answer(facts: Facts, question: Question) -> Iterator[Said]:
    check, limit = f"custom_{question.name}", question.limit
    failure = facts.failures.get(f"question:{question.name}")
    rows = facts.rows.get(f"question:{question.name}", ())
    if failure is None and not rows:
        failure = Failure("no_row", "the query returned no row")
    if failure is not None:
        yield Finding(check, UNKNOWN, f"{question.name}: {failure.words()}", None, question.unit)
        return
    for row in rows[:_ROWS_OF_A_QUESTION]:
        labels = {**question.labels, **{name: printable(str(value), 60) for name, value in row.items()
                                        if name != "value"}}  # fmt: skip
        value = _number(row["value"])
        of = f" of {', '.join(labels.values())}" if labels else ""
        shown = "no number" if value is None else f"{tidy(value)} {question.unit}".strip()
        words = f"{question.name}{of}: {shown}"
        yield Finding(check, limit.judge(value), words, tidy(value), question.unit, limit.warning, limit.critical)
        if value is not None:
            yield Sample(metric_of(question), value, question.unit, labels)
    if len(rows) > _ROWS_OF_A_QUESTION:
        words = f"{question.name}: more than {_ROWS_OF_A_QUESTION} rows, the others were not read"
        yield Finding(check, UNKNOWN, words, None, question.unit)


def _number(value: Any) -> Optional[float]:
    return float(value) if isinstance(value, bool) else parse_number(value)  # a question may be one of true and false


# --- the result ---------------------------------------------------------------------------------------------------


def _result(facts: Facts, judge: Judge) -> dict[str, Any]:
    now = facts.now
    return {
        "reachable": facts.unreachable is None,
        "server": _server(facts) if facts.server else {},
        "counters": render_counters(now, judge.counters) if now else {},
        "statements": [_statement(row) for row in facts.rows.get("top_statements", ())],
        "databases": [
            {"name": printable(row["name"], 63), "size_bytes": row["size_bytes"]}
            for row in facts.rows.get("databases", ())
            if row["size_bytes"] != 0
        ],
        "standbys": [_standby(row) for row in facts.rows.get("replication", ())],
        "slots": [_slot(row) for row in facts.rows.get("slots", ())],
    }


def _server(facts: Facts) -> dict[str, Any]:
    row: Row = facts.server or {}
    return {
        "version": row["version"],
        "major": facts.major,
        "role": "standby" if row["in_recovery"] else "primary",
        "database": facts.database,
        "started": rfc3339(row["started"]),
        "now": rfc3339(row["now"]),
        "sees_all": row["sees_all"],
    }


def _statement(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"] or "",
        "query": shown_statement(row),
        "database": printable(row["database"] or "", 63),  # it may have been dropped, and so may the role
        "role": printable(row["role"] or "", 63),
        "calls": row["calls"],
        "rows": row["rows"],
        "mean_seconds": tidy(row["mean_seconds"]),
        "total_seconds": tidy(row["total_seconds"]),
        "blocks_read": row["blocks_read"],
    }


def _standby(row: Row) -> dict[str, Any]:
    return {
        "name": printable(row["name"], 63),
        "client": row["client"] or "",
        "kind": row["kind"],
        "state": row["state"] or "",
        "sync_state": row["sync_state"] or "",
        "lag_seconds": tidy(row["lag_seconds"]),
        "lag_bytes": tidy(row["lag_bytes"]),
    }


def _slot(row: Row) -> dict[str, Any]:
    return {
        "name": printable(row["name"], 64),
        "kind": row["kind"],
        "active": row["active"],
        "wal_status": row["wal_status"] or "",
        "retained_bytes": tidy(row["retained_bytes"]),
        "safe_bytes": tidy(row["safe_bytes"]),
    }
