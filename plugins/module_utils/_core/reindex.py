# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Rebuild what is bloated or invalid: from facts to a decision, and from what was done to the outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Optional, Sequence, Union

from .maintenance_schedule import Rate
from .redact import printable
from .reindex_facts import DatabaseFacts, IndexFacts, Policy, Transaction
from .reindex_findings import advice, drop_statement, sequence_findings
from .reindex_leftover import leftover_of
from .reindex_plan import (
    BLOATED,
    EXCLUDED,
    INVALID,
    LEFTOVER,
    RECORD,
    Bloat,
    PassedOver,
    Survey,
    Work,
    bloat_of,
    how_to_know,
    is_bloated,
    space_needed,
    survey,
    target_of,
    who,
)
from .reindex_record import FreshSize
from .reindex_watch import seconds_of
from .result import CRITICAL, DONE, FAILED, OK, SKIPPED, UNKNOWN, WARNING, Decision, Finding, Outcome, Step
from .units import count_of, human_duration, human_size

_NAMED = 5  # indexes that a finding about many of them names


@dataclass(frozen=True)
class Done:
    """What became of one work. ``bytes_after``: of the index under its name, None when nothing was done.

    ``left_behind``: something of it could not be dropped; its record stays for the next run.
    """

    work: Work
    status: str
    code: str = ""
    detail: str = ""
    hint: str = ""
    seconds: float = 0.0
    bytes_after: Optional[int] = None
    left_behind: bool = False

    @property
    def freed(self) -> int:
        """Return the bytes that came free; negative when a bloated index came out larger than it was."""
        if self.bytes_after is None:
            return 0
        freed = self.work.index.bytes - self.bytes_after
        return max(0, freed) if self.work.kind == INVALID else freed

    def step(self) -> Step:
        """Return the step of the result."""
        return Step(self.work.id, self.status, round(self.seconds, 3), self.detail)


def decide(
    databases: Sequence[DatabaseFacts], policy: Policy, unreachable: Sequence[tuple[str, str]] = ()
) -> tuple[Decision, tuple[Work, ...]]:
    """Return the decision, and the plan's entries in the same order with all that is needed to carry them out.

    ``unreachable``: names of databases that could not be looked at, and why.
    """
    found = survey(databases, policy)
    before = state(found)
    wasted = sum(work.bloat.wasted for work in found.works)
    block_size = max((database.block_size for database in databases), default=8192)
    decision = Decision(
        msg=_planned_text(found, databases),
        plan=tuple(work.action() for work in found.works),
        findings=(*_unreachable(unreachable), *findings(databases, found, policy)),
        before=before,
        after={name: before[name] - _planned(found, kind) for name, kind in _STATE},
        extra={
            "indexes": [_index(work) for work in found.works if work.kind != RECORD],
            "passed_over": [_passed_over(item) for item in found.passed_over],
            "wasted_bytes": wasted,
            "freed_bytes": 0,
            "estimate_seconds": round(sum(seconds_of(work, Rate(), block_size) for work in found.works), 1),
            "space_needed_bytes": max(
                (space_needed(work.bloat) for work in found.works if work.kind != LEFTOVER), default=0
            ),
        },
        warnings=_warnings(databases, policy),
    )
    return decision, found.works


_STATE = (("leftover_indexes", LEFTOVER), ("invalid_indexes", INVALID), ("bloated_indexes", BLOATED))


def state(found: Survey) -> dict[str, int]:
    """Return how many indexes are in which bad state, whether or not they are worked on."""
    kinds = Counter([work.kind for work in found.works] + [item.kind for item in found.passed_over])
    return {name: kinds[kind] for name, kind in _STATE}


def _planned(found: Survey, kind: str) -> int:
    return sum(1 for work in found.works if work.kind == kind)


def outcome_of(
    done: Sequence[Done],
    databases: Optional[Sequence[DatabaseFacts]],
    policy: Policy,
    unreachable: Sequence[tuple[str, str]] = (),
) -> Outcome:
    """Return what was reached; ``databases`` was read again afterwards, None when the server was lost."""
    found = survey(databases, policy) if databases is not None else Survey()
    freed = sum(item.freed for item in done if item.status == DONE)
    return Outcome(
        msg=_done_text(done, freed),
        steps=tuple(item.step() for item in done),
        findings=(
            *_failures(done),
            *_unreachable(unreachable),
            *(findings(databases, found, policy) if databases is not None else ()),
        ),
        after=state(found) if databases is not None else {},
        extra={
            "indexes": [
                {**_index(item.work), "bytes_after": item.bytes_after} for item in done if item.work.kind != RECORD
            ],
            "freed_bytes": freed,
        },
    )


def to_remember(
    done: Sequence[Done], databases: Sequence[DatabaseFacts], policy: Policy
) -> tuple[tuple[str, FreshSize], ...]:
    """Return, by database, the true sizes of rebuilt indexes that by the estimate would be rebuilt again and again."""
    names = {(item.work.index.database, item.work.index.sql_name) for item in done if item.status == DONE}
    return tuple(
        (database.name, FreshSize(database.oid, index.oid, index.bytes, index.rows or 0.0))
        for database in databases
        for index in database.indexes
        if (database.name, index.sql_name) in names and is_bloated(bloat_of(index, database, policy), policy)
    )


# --- findings -----------------------------------------------------------------------------------------------------


def findings(databases: Sequence[DatabaseFacts], found: Survey, policy: Policy) -> Iterator[Finding]:
    """Yield the state of every database: what is wrong with its indexes first, advice after it."""
    for database in databases:
        both: tuple[Union[Work, PassedOver], ...] = (*found.works, *found.passed_over)
        mine = [item for item in both if item.index.database == database.name and item.kind != RECORD]
        yield from _needs(database, mine, policy)
        yield from _strangers(database, policy)
        yield from _unjudged(database, [pair for pair in found.unjudged if pair[0].database == database.name])
        yield from _transactions(database, policy)
        if database.standby:
            name = printable(database.name)
            text = f"{name}: skipped (read_only): this is a standby; indexes are rebuilt on its primary"
            yield Finding(f"server_role:{name}", OK, text, "standby")
        yield from advice(database, policy)
        yield from sequence_findings(database, policy)


def _needs(database: DatabaseFacts, items: Sequence[Union[Work, PassedOver]], policy: Policy) -> Iterator[Finding]:
    """Yield a finding for each index that needs work, or one that says that none does."""
    judged = [item for item in items if not (isinstance(item, PassedOver) and item.code == EXCLUDED)]
    for item in judged:
        yield _need(item, policy)
    if not any(item.kind == BLOATED for item in judged):
        name = printable(database.name)
        text = f"{name}: {count_of(_own_indexes(database), 'index', 'indexes')}, none above the thresholds"
        yield Finding(f"bloated_index:{name}", OK, text, 0)


def _need(item: Union[Work, PassedOver], policy: Policy) -> Finding:
    index, bloat = item.index, item.bloat
    text = f"{target_of(index)}: {item.reason}" if isinstance(item, Work) else _passed_over_text(item)
    if item.kind == BLOATED:
        value = round(100 * bloat.ratio, 1)
        return Finding(_check("bloated", index), WARNING, text, value, "%", round(100 * policy.bloat_ratio, 1))
    return Finding(_check(item.kind, index), CRITICAL if index.unique and item.kind == INVALID else WARNING, text)


def _passed_over_text(item: PassedOver) -> str:
    what = {
        LEFTOVER: "is left over from an interrupted rebuild",
        INVALID: "is invalid",
        BLOATED: f"is bloated ({human_size(item.bloat.wasted)} of {human_size(item.index.bytes)} is waste)",
    }[item.kind]
    return f"{target_of(item.index)} {what} and is left alone: {item.reason}"


def _check(kind: str, index: IndexFacts) -> str:
    return f"{kind}_index:{printable(index.database)}:{printable(index.sql_name)}"


def _strangers(database: DatabaseFacts, policy: Policy) -> Iterator[Finding]:
    """Yield unusable indexes that nobody here may touch: others' leftovers, half-dropped and partitioned ones."""
    for index in database.indexes:
        ours = leftover_of(index, database) is not None
        if (
            index.usable
            or index.worked_on_by is not None
            or not policy.wants(index)
            or (ours and policy.drop_leftovers)
        ):
            continue
        statement = printable(drop_statement(index))
        if index.kind == "I":
            text = "is invalid until each partition has its index attached (ALTER INDEX ... ATTACH PARTITION)"
        elif ours:
            text = f"was left behind by our own interrupted rebuild; drop_leftovers is off; to drop it: {statement}"
        elif index.looks_left_over:
            text = (
                "is invalid and looks like the leftover of an interrupted REINDEX CONCURRENTLY, but this module has no "
                f"record of making it; to drop it: {statement}"
            )
        elif not index.live:
            text = f"is half dropped: an interrupted DROP INDEX CONCURRENTLY; to finish it: {statement}"
        elif policy.rebuild_invalid:
            continue
        else:
            text = "is invalid: no query can use it; rebuild_invalid is off"
        kind = "leftover" if index.looks_left_over else "invalid"
        yield Finding(
            _check(kind, index), WARNING, f"{target_of(index)} ({human_size(index.bytes)}) {text}", index.bytes
        )


def _unjudged(database: DatabaseFacts, pairs: Sequence[tuple[IndexFacts, Bloat]]) -> Iterator[Finding]:
    for unknown in sorted({bloat.unknown for _index, bloat in pairs}):
        names = [printable(index.sql_name) for index, bloat in pairs if bloat.unknown == unknown]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = (
            f"{printable(database.name)}: bloat of {', '.join(names[:_NAMED])}{more} is unknown: {how_to_know(unknown)}"
        )
        yield Finding(f"index_bloat:{printable(database.name)}:{unknown}", UNKNOWN, text, len(names))


def _transactions(database: DatabaseFacts, policy: Policy) -> Iterator[Finding]:
    """Yield the transactions that every rebuild in the database would wait for, and whether some cannot be seen."""
    name = printable(database.name)
    for transaction in database.transactions:
        if transaction.has_snapshot and (transaction.age or 0.0) >= policy.max_wait:
            text = f"{name}: every rebuild would have to wait for {who(transaction)}"
            yield Finding(_transaction_check(name, transaction), WARNING, text, transaction.age, "s", policy.max_wait)
    hidden = sum(1 for transaction in database.transactions if transaction.hidden)
    if hidden:
        text = (
            f"{name}: {count_of(hidden, 'session')} of other roles cannot be seen: GRANT pg_read_all_stats (pg_monitor)"
        )
        yield Finding(f"old_transaction:{name}:hidden", UNKNOWN, text, hidden)


def _transaction_check(name: str, transaction: Transaction) -> str:
    return (
        f"old_transaction:{name}:{transaction.pid if transaction.pid is not None else printable(transaction.gid or '')}"
    )


def _unreachable(databases: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    for name, reason in databases:
        text = f"{printable(name)} could not be looked at: {reason}"
        yield Finding(f"database:{printable(name)}", UNKNOWN, text)


def _failures(done: Iterable[Done]) -> Iterator[Finding]:
    for item in done:
        if item.status != DONE:
            status = CRITICAL if item.status == FAILED else WARNING
            verb = {LEFTOVER: "dropped", RECORD: "removed"}.get(item.work.kind, "rebuilt")
            text = f"{target_of(item.work.index)} was not {verb}"
            yield Finding(_check("failed", item.work.index), status, f"{text}: {item.detail}", item.code)


def _warnings(databases: Sequence[DatabaseFacts], policy: Policy) -> tuple[str, ...]:
    unmatched = policy.unmatched(index for database in databases for index in database.indexes)
    return tuple(f"pattern {printable(pattern)} matches no index and no table" for pattern in unmatched)


# --- words and keys of the result ---------------------------------------------------------------------------------


def _index(work: Work) -> dict[str, Any]:
    return {
        **_names(work.index),
        "state": work.kind,
        "bytes_before": work.index.bytes,
        "bytes_expected": 0 if work.kind == LEFTOVER else work.bloat.fresh,
        "bytes_after": None,
        "role": work.become,
    }


def _passed_over(item: PassedOver) -> dict[str, Any]:
    return {
        **_names(item.index),
        "state": item.kind,
        "bytes": item.index.bytes,
        "wasted_bytes": item.bloat.wasted,
        "code": item.code,
        "reason": item.reason,
    }


def _names(index: IndexFacts) -> dict[str, str]:
    return {"database": index.database, "index": index.sql_name, "table": index.table_sql_name}


def _own_indexes(database: DatabaseFacts) -> int:
    return sum(1 for index in database.indexes if not index.system)


def _planned_text(found: Survey, databases: Sequence[DatabaseFacts]) -> str:
    looked_at = (
        f"{count_of(sum(_own_indexes(database) for database in databases), 'index', 'indexes')} in "
        f"{count_of(len(databases), 'database')} looked at"
    )
    passed = [item for item in found.passed_over if item.code != EXCLUDED]
    reasons = ", ".join(sorted({item.code for item in passed}))
    left = f", {len(passed)} left alone ({reasons})" if passed else ""
    unknown = f", {len(found.unjudged)} could not be judged" if found.unjudged else ""
    if any(database.standby for database in databases):
        return f"skipped (read_only): this is a standby; {looked_at}{left}{unknown}"
    records = _records_text(_planned(found, RECORD), "to remove")
    mended = [work for work in found.works if work.kind != RECORD]
    if not mended:
        return f"nothing to rebuild: {looked_at}{left}{unknown}{records}"
    parts = [
        text
        for kind, text in (
            (INVALID, f"{_planned(found, INVALID)} invalid"),
            (BLOATED, f"{_planned(found, BLOATED)} bloated"),
            (LEFTOVER, f"{_planned(found, LEFTOVER)} left over"),
        )
        if _planned(found, kind)
    ]
    wasted = human_size(sum(work.bloat.wasted for work in found.works))
    count = count_of(len(mended), "index", "indexes")
    return f"{count} to mend ({', '.join(parts)}), {wasted} of waste{left}{unknown}{records}"


def _records_text(count: int, what: str) -> str:
    return f", {count_of(count, 'old record')} {what}" if count else ""


def _done_text(done: Sequence[Done], freed: int) -> str:
    kinds = Counter(item.work.kind for item in done if item.status == DONE)
    rebuilt, dropped = kinds[INVALID] + kinds[BLOATED], kinds[LEFTOVER]
    parts = [f"{count_of(rebuilt, 'index', 'indexes')} rebuilt"]
    if dropped:
        parts.append(f"{count_of(dropped, 'leftover')} dropped")
    for status in (FAILED, SKIPPED):
        codes = Counter(item.code for item in done if item.status == status)
        if codes:
            parts.append(f"{sum(codes.values())} {status} ({', '.join(sorted(codes))})")
    seconds = human_duration(sum(item.seconds for item in done))
    records = _records_text(kinds[RECORD], "removed")
    return f"{', '.join(parts)}, {human_size(freed)} freed in {seconds}{records}"
