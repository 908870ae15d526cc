# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What people and playbooks read: findings, totals, one entry per table, and the line for a plan."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional, Sequence

from .maintenance_facts import XID_LIMIT, Facts, Holder, TableFacts
from .maintenance_need import OVERDUE
from .maintenance_plan import EXCLUDED, HELD, NO_RIGHT, PassedOver, Planned, Survey, verb
from .maintenance_policy import Policy
from .maintenance_schedule import Rate, estimate_table
from .redact import printable, redact_query
from .result import CRITICAL, OK, UNKNOWN, WARNING, Finding, threshold_status, worst
from .units import count_of, human_duration, rfc3339

_SHOWN_HOLDERS = 20
_SHOWN_NAMES = 5


def findings(facts: Facts, survey: Survey, policy: Policy, unmatched: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Return every reading: wraparound, who holds back vacuum, rights, orphans, and what could not be looked at."""
    found = [*_wraparound(facts), _horizon(facts, survey, policy)]
    found += _passed_over(survey)
    orphans = [running for running in facts.running if running.orphan]
    if orphans:
        who = ", ".join(f"pid {running.pid} in {printable(running.database)}" for running in orphans)
        text = (
            f"an earlier run died and its statement still runs: {who}; cancel it with pg_cancel_backend if it is stuck"
        )
        found.append(Finding("orphan_backend", WARNING, text, len(orphans), "sessions"))
    found += [
        Finding("pattern_unmatched", WARNING, f"pattern {printable(pattern)!r} matches no table", pattern)
        for pattern in unmatched
    ]
    found += [
        Finding("database_unreachable", UNKNOWN, f"database {printable(name)}: {why}", name)
        for name, why in facts.unreachable
    ]
    return (*found, *_blind_spots(facts))


def _wraparound(facts: Facts) -> list[Finding]:
    server = facts.server
    readings = (
        ("wraparound", "transactions", "xid_age", server.freeze_max_age, server.failsafe_age),
        ("multixact_wraparound", "multixacts", "multixact_age", server.multixact_freeze_max_age,
         server.multixact_failsafe_age),
    )  # fmt: skip
    found = []
    for check, unit, key, limit, failsafe in readings:
        oldest = max(facts.ages, key=lambda age: int(getattr(age, key)), default=None)
        critical = min(max(failsafe, limit * 105 // 100), XID_LIMIT - 3_000_000)
        value = None if oldest is None else int(getattr(oldest, key))
        where = "no database" if oldest is None else f"database {printable(oldest.name)}"
        text = f"{where} holds {unit} that are {value or 0:,} old; {XID_LIMIT:,} is the end"
        found.append(Finding(check, threshold_status(value, limit, critical), text, value, unit, limit, critical))
    return found


def held_seconds(holder: Holder, facts: Facts) -> Optional[float]:
    """Return for how long a holder has held back vacuum, None when nobody can know."""
    return None if holder.since is None else max((facts.now - holder.since).total_seconds(), 0.0)


def _holder_status(holder: Holder, facts: Facts, policy: Policy) -> str:
    by_age = threshold_status(holder.age, facts.server.freeze_max_age // 10, facts.server.freeze_max_age * 3 // 4)
    seconds = held_seconds(holder, facts)
    by_time = OK if seconds is None else threshold_status(seconds, policy.xmin_warning, policy.xmin_critical)
    return worst([by_age, UNKNOWN if _is_hidden(holder) else by_time])


def _is_hidden(holder: Holder) -> bool:
    """Tell whether the role may not see since when a holder holds; slots and standbys tell nobody."""
    return holder.kind == "session" and holder.since is None


def _horizon(facts: Facts, survey: Survey, policy: Policy) -> Finding:
    held = sum(1 for passed in survey.passed_over if passed.code == HELD)
    ranked = sorted(facts.holders, key=lambda holder: -holder.age)
    bad = [holder for holder in ranked if _holder_status(holder, facts, policy) != OK] or (ranked[:1] if held else [])
    status = worst([*(_holder_status(holder, facts, policy) for holder in bad), *([WARNING] if held else [])])
    if not ranked:
        return Finding("xmin_horizon", OK, "nobody holds back vacuum", 0, "transactions")
    if not bad:
        many, oldest = count_of(len(ranked), "holder"), ranked[0].age
        text = f"vacuum is held back within the limits: {many}, the oldest by {oldest:,} transactions"
    else:
        text = _bad_horizon_text(sorted(bad, key=_is_hidden), held, facts)
    return Finding("xmin_horizon", status, text, (bad or ranked)[0].age, "transactions",
                   facts.server.freeze_max_age // 10, facts.server.freeze_max_age * 3 // 4)  # fmt: skip


def _bad_horizon_text(bad: Sequence[Holder], held: int, facts: Facts) -> str:
    who = "; ".join(_holder_text(holder, facts) for holder in bad[:_SHOWN_NAMES])
    text = f"vacuum cannot remove rows that died after this began: {who}"
    text += f" and {len(bad) - _SHOWN_NAMES} more" if len(bad) > _SHOWN_NAMES else ""
    text += f"; {count_of(held, 'table')} left alone because of it" if held else ""
    hidden = any(_is_hidden(holder) for holder in bad)
    return text + ("; to see for how long: GRANT pg_read_all_stats (pg_monitor)" if hidden else "")


def _holder_text(holder: Holder, facts: Facts) -> str:
    seconds = held_seconds(holder, facts)
    unknown = " for an unknown time" if _is_hidden(holder) else ""
    time = unknown if seconds is None else f" for {human_duration(seconds)}"
    return f"{holder.kind} {holder.name}{time}, {holder.age:,} transactions"


def _passed_over(survey: Survey) -> list[Finding]:
    found = []
    denied = [passed for passed in survey.passed_over if passed.code == NO_RIGHT]
    if denied:
        text = f"{count_of(len(denied), 'table')} need work that this role may not do: {_names(denied)}"
        status = CRITICAL if any(passed.need.urgency == OVERDUE for passed in denied) else WARNING
        found.append(Finding("rights", status, text, len(denied), "tables"))
    excluded = [passed for passed in survey.passed_over if passed.code == EXCLUDED]
    if excluded:
        text = f"{count_of(len(excluded), 'table')} near wraparound and excluded: {_names(excluded)}"
        status = CRITICAL if any(passed.need.urgency == OVERDUE for passed in excluded) else WARNING
        found.append(Finding("excluded_wraparound", status, text, len(excluded), "tables"))
    rest = [passed for passed in survey.passed_over if passed.code not in (NO_RIGHT, EXCLUDED, HELD)]
    if rest:
        text = f"{count_of(len(rest), 'table')} left for another run: {_names(rest)}"
        found.append(Finding("left_over", WARNING, text, len(rest), "tables"))
    return found


def _names(items: Sequence[PassedOver]) -> str:
    shown = ", ".join(
        f"{printable(i.table.database)} {printable(i.table.target)} ({i.reason})" for i in items[:_SHOWN_NAMES]
    )
    return shown + (f" and {len(items) - _SHOWN_NAMES} more" if len(items) > _SHOWN_NAMES else "")


def _blind_spots(facts: Facts) -> list[Finding]:
    found = []
    if not facts.server.track_counts:
        found.append(
            Finding("track_counts", UNKNOWN, "track_counts is off: dead and changed rows are not known", False)
        )
    if facts.server.major < 14 and any(table.is_parent for table in facts.tables):
        text = "13 does not record when a partitioned table was analyzed: changes that its partitions' own analyze has "
        found.append(Finding("partitioned_statistics", UNKNOWN, text + "seen already are not noticed", None))
    return found


def unfinished(codes: Mapping[str, str], planned: Sequence[Planned]) -> list[Finding]:
    """Return what the run itself left undone, by reason; ``codes`` maps ids to reasons."""
    found = []
    for code in sorted({code for code in codes.values() if code}):
        items = [item for item in planned if codes.get(item.id) == code]
        names = ", ".join(item.target for item in items[:_SHOWN_NAMES])
        more = f" and {len(items) - _SHOWN_NAMES} more" if len(items) > _SHOWN_NAMES else ""
        text = f"{count_of(len(items), 'table')} not done ({code}): {names}{more}"
        found.append(Finding("not_done", WARNING, text, len(items), "tables"))
    return found


def standby_finding() -> Finding:
    """Return the finding of a server that has nothing to maintain: its primary has."""
    return Finding("read_only", OK, "read_only: this is a standby, maintenance is the primary's matter", True)


def holders_shown(facts: Facts) -> list[dict[str, Any]]:
    """Return the result key ``xmin_holders``, the oldest first."""
    shown = []
    for holder in sorted(facts.holders, key=lambda holder: -holder.age)[:_SHOWN_HOLDERS]:
        seconds = held_seconds(holder, facts)
        shown.append({
            "kind": holder.kind,
            "name": printable(holder.name),
            "database": None if holder.database is None else printable(holder.database),
            "age_transactions": holder.age,
            "held_seconds": None if seconds is None else round(seconds, 1),
            "since": None if holder.since is None else rfc3339(holder.since),
            "catalog_only": holder.catalog_only,
            "detail": redact_query(holder.detail) if holder.kind == "session" else printable(holder.detail),
        })  # fmt: skip
    return shown


def table_reading(table: TableFacts, size: Optional[int]) -> dict[str, Any]:
    """Return the numbers of one table; ``size`` with indexes and TOAST in bytes, None when it was not measured."""
    return {
        "live_rows": table.live_rows,
        "dead_rows": table.dead_rows,
        "size_bytes": size,
        "xid_age": table.xid_age,
        "last_vacuum": None if table.last_vacuum is None else rfc3339(table.last_vacuum),
        "last_analyze": None if table.last_analyze is None else rfc3339(table.last_analyze),
    }


def planned_entry(item: Planned, rate: Rate, size: Optional[int]) -> dict[str, Any]:
    """Return the entry of a table that will be worked on."""
    seconds = round(estimate_table(item, rate), 2)
    return _entry(item.table, "planned", "", verb(item.need), item.need.reason, size) | {"estimate_seconds": seconds}


def passed_entry(passed: PassedOver, size: Optional[int]) -> dict[str, Any]:
    """Return the entry of a table that needs work and does not get it."""
    reason = f"{passed.reason} (needs work: {passed.need.reason})"
    return _entry(passed.table, "skipped", passed.code, verb(passed.need), reason, size) | {"estimate_seconds": None}


def _entry(table: TableFacts, status: str, code: str, action: str, reason: str, size: Optional[int]) -> dict[str, Any]:
    return {
        "database": printable(table.database),
        "table": printable(table.target),
        "kind": table.kind,
        "status": status,
        "code": code,
        "action": action,
        "reason": reason,
        "before": table_reading(table, size),
        "after": None,
    }


def totals(facts: Facts, survey: Survey, policy: Policy) -> dict[str, Any]:
    """Return the small numbers of which the diff is made."""
    dead = sum(table.dead_rows for table in facts.tables if not table.is_parent and policy.wants(table))
    return {**survey.counts(), "dead_rows": dead}


def predicted(facts: Facts, survey: Survey, policy: Policy) -> dict[str, Any]:
    """Return the totals after the plan; dead rows that somebody holds back are not promised away."""
    rest = Survey((), survey.passed_over)
    holding = [holder for holder in facts.holders if _holder_status(holder, facts, policy) != OK]
    gone = sum(
        item.table.dead_rows
        for item in survey.planned
        if item.need.vacuum and not any(holder.concerns(item.table) for holder in holding)
    )
    return {**rest.counts(), "dead_rows": totals(facts, survey, policy)["dead_rows"] - gone}


def plan_message(survey: Survey, facts: Facts, seconds: float) -> str:
    """Return the one line for a plan, or for having nothing to do."""
    skipped = f", {len(survey.passed_over)} left alone" if survey.passed_over else ""
    if not survey.planned:
        return f"nothing to do: {count_of(facts.table_count, 'table')} looked at{skipped}"
    counts = Survey(survey.planned).counts()
    words = (("tables_to_freeze", "freeze"), ("tables_to_vacuum", "vacuum"))
    parts = [f"{counts[key]} to {word}" for key, word in words if counts[key]]
    only_analyze = sum(1 for item in survey.planned if not item.need.vacuum)
    parts += [f"{only_analyze} to analyze"] if only_analyze else []
    tables = "1 table needs" if len(survey.planned) == 1 else f"{len(survey.planned)} tables need"
    return f"{tables} work: {', '.join(parts)}{skipped}; about {human_duration(seconds)}"
