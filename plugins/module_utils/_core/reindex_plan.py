# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which indexes are rebuilt, which leftovers are dropped, in which order; and what is left alone with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Sequence, Union

from .redact import printable
from .reindex_bloat import Shape, fresh_bytes, fresh_bytes_measured
from .reindex_facts import PGSTATTUPLE, DatabaseFacts, IndexFacts, Policy, Transaction
from .reindex_leftover import leftover_of, stale_records
from .reindex_record import FreshSize, Rebuild
from .result import Action
from .units import human_duration, human_size

LEFTOVER, INVALID, BLOATED, RECORD = "leftover", "invalid", "bloated", "record"
_VERBS = {LEFTOVER: "drop", INVALID: "reindex", BLOATED: "reindex", RECORD: "forget"}
_ORDER = {LEFTOVER: 0, INVALID: 1, BLOATED: 2}

NO_RIGHT = "insufficient_privilege"
NOT_POSSIBLE = "not_supported"
EXCLUDED = "excluded"
IN_PROGRESS = "already_running"
OLD_TRANSACTION = "old_transaction"
NO_SPACE = "disk_full"
READ_ONLY = "read_only"
LEFT_OVER = "limit_reached"

_HOW_TO_KNOW = {
    "not_analyzed": "no statistics: run ANALYZE, or use bloat_method=pgstattuple",
    "not_readable": "the statistics may not be read: GRANT SELECT on the columns or pg_read_all_data, or work as owner",
    "too_wide": "its values are too wide for the statistics: use bloat_method=pgstattuple",
    "not_counted": "its rows were never counted: run ANALYZE or VACUUM",
    "not_measured": "pgstatindex() could not look at it in time",
}


@dataclass(frozen=True)
class Bloat:
    """How large an index is beside a fresh one. ``fresh`` None: not known, and ``unknown`` says why."""

    bytes: int
    fresh: Optional[int] = None
    unknown: str = ""

    @property
    def wasted(self) -> int:
        """Return the bytes that a rebuild would give back."""
        return 0 if self.fresh is None else max(0, self.bytes - self.fresh)

    @property
    def ratio(self) -> float:
        """Return the share of the index that is waste, 0 to 1."""
        return self.wasted / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class Work:
    """One thing to do. ``become``: the role to work as; ``record_oid``: the record that proves a leftover ours."""

    id: str
    kind: str
    index: IndexFacts
    bloat: Bloat
    reason: str
    command: str
    become: Optional[str] = None
    record_oid: Optional[int] = None

    def action(self) -> Action:
        """Return the entry of the plan."""
        return Action(self.id, _VERBS[self.kind], target_of(self.index), self.reason, self.command)


@dataclass(frozen=True)
class PassedOver:
    """One index that needs work and does not get it in this run."""

    index: IndexFacts
    kind: str
    bloat: Bloat
    code: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """The whole decision: what is done, in order of work; what is not; and which sizes could not be judged."""

    works: tuple[Work, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    unjudged: tuple[tuple[IndexFacts, Bloat], ...] = ()


def target_of(index: IndexFacts) -> str:
    """Return what people see: database and index."""
    return f"{printable(index.database)} {printable(index.sql_name)}"


def how_to_know(unknown: str) -> str:
    """Return what to do about a size that could not be judged."""
    return _HOW_TO_KNOW[unknown]


def survey(databases: Sequence[DatabaseFacts], policy: Policy) -> Survey:
    """Return what is done in all databases: leftovers first, then invalid indexes, then the largest waste."""
    works: list[Work] = []
    passed: list[PassedOver] = []
    unjudged: list[tuple[IndexFacts, Bloat]] = []
    for database in databases:
        for index in database.indexes:
            bloat = bloat_of(index, database, policy)
            if bloat.unknown and policy.wants(index) and not index.system:
                unjudged.append((index, bloat))
            needed = _needed(index, bloat, database, policy)
            if isinstance(needed, Work):
                works.append(needed)
            elif needed is not None:
                passed.append(needed)
    works.sort(key=lambda work: (_ORDER[work.kind], -work.bloat.wasted, work.index.database, work.index.sql_name))
    limit = len(works) if policy.limit is None else policy.limit
    passed += [
        PassedOver(work.index, work.kind, work.bloat, LEFT_OVER, f"only {limit} a run") for work in works[limit:]
    ]
    records = [work for database in databases if not database.standby for work in _records(database)]
    return Survey((*works[:limit], *records), tuple(passed), tuple(unjudged))


def _records(database: DatabaseFacts) -> Iterator[Work]:
    """Yield the records that have nothing to say any more; they go on the name of the large object."""
    for record, reason in stale_records(database):
        name = f"large object {record.record_oid}"
        nothing = IndexFacts(database.name, 0, "", "", name, 0, "", "", "")
        yield Work(
            id=f"forget:{printable(database.name)}:{record.record_oid}",
            kind=RECORD,
            index=nothing,
            bloat=Bloat(0, 0),
            reason=reason,
            command=f"SELECT pg_catalog.lo_unlink({record.record_oid})",
            record_oid=record.record_oid,
        )


def bloat_of(index: IndexFacts, database: DatabaseFacts, policy: Policy) -> Bloat:
    """Return how large an index is beside a fresh one; only B-trees of some size are judged."""
    if index.method != "btree" or index.kind != "i" or not index.usable or not index.live:
        return Bloat(index.bytes, index.bytes)
    if index.bytes < max(policy.min_index_size, policy.min_wasted):
        return Bloat(index.bytes, index.bytes)
    fresh: Union[int, str] = _fresh(index, database, policy)
    if isinstance(fresh, str):
        return Bloat(index.bytes, None, fresh)
    return Bloat(index.bytes, max(fresh, _reached(index, database.fresh_sizes)))


def _fresh(index: IndexFacts, database: DatabaseFacts, policy: Policy) -> Union[int, str]:
    """Return the size of a fresh index, or why it is not known."""
    shape = Shape(
        columns=index.columns,
        rows=index.rows or 0.0,
        fillfactor=index.fillfactor,
        deduplicates=index.deduplicates,
        block_size=database.block_size,
        sample_rows=database.sample_rows,
    )
    if policy.bloat_method == PGSTATTUPLE:
        return "not_measured" if index.measured is None else fresh_bytes_measured(shape, index.measured)
    if index.rows is None:
        return "not_counted"
    unknown = next((column.unknown for column in index.columns if column.width is None), "")
    size = fresh_bytes(shape)
    return unknown if size is None else size


def _reached(index: IndexFacts, sizes: Sequence[FreshSize]) -> int:
    """Return what an earlier rebuild of this index came to, for as many rows as it holds now.

    Of a partial index the rows are only known from a sample: fewer of them are no reason to expect a smaller index.
    """
    for known in sizes:
        if known.index_oid == index.oid:
            growth = (index.rows or 0.0) / known.rows if known.rows else 1.0
            return int(known.bytes * (max(1.0, growth) if index.partial else growth))
    return 0


def is_bloated(bloat: Bloat, policy: Policy) -> bool:
    """Tell whether the waste is above both thresholds."""
    return bloat.fresh is not None and bloat.ratio >= policy.bloat_ratio and bloat.wasted >= policy.min_wasted


def _needed(index: IndexFacts, bloat: Bloat, database: DatabaseFacts, policy: Policy) -> Union[Work, PassedOver, None]:
    """Return the work that an index needs, or why it does not get it; None when it needs none."""
    kind, reason, record = _kind(index, bloat, database, policy)
    if kind is None:
        return None
    obstacle = _obstacle(index, kind, bloat, database, policy)
    if obstacle is not None:
        return PassedOver(index, kind, bloat, *obstacle)
    verb = "DROP INDEX CONCURRENTLY" if kind == LEFTOVER else "REINDEX INDEX CONCURRENTLY"
    return Work(
        id=f"{_VERBS[kind]}:{printable(index.database)}:{printable(index.sql_name)}",
        kind=kind,
        index=index,
        bloat=bloat,
        reason=reason,
        command=f"{verb} {index.sql_name}",
        become=_become(index, database),
        record_oid=record.record_oid if record else None,
    )


def _kind(
    index: IndexFacts, bloat: Bloat, database: DatabaseFacts, policy: Policy
) -> tuple[Optional[str], str, Optional[Rebuild]]:
    """Return what is wrong with an index, the reason for people, and the record of a leftover of ours."""
    record = leftover_of(index, database)
    if record is not None:
        return (
            (LEFTOVER if policy.drop_leftovers else None),
            f"left behind by our own interrupted rebuild of {record.started}",
            record,
        )
    if index.kind != "i" or index.looks_left_over or not index.live:
        return None, "", None
    if not index.usable:
        reason = f"invalid: no query can use it ({human_size(index.bytes)})"
        return (INVALID if policy.rebuild_invalid else None), reason, None
    if is_bloated(bloat, policy):
        return BLOATED, _bloat_reason(bloat, policy), None
    return None, "", None


def _bloat_reason(bloat: Bloat, policy: Policy) -> str:
    how = "measured" if policy.bloat_method == PGSTATTUPLE else "estimated"
    return (
        f"{bloat.ratio:.0%} of {human_size(bloat.bytes)} is waste ({human_size(bloat.wasted)}, {how}); "
        f"needs up to {human_size(space_needed(bloat))} of free space meanwhile"
    )


def space_needed(bloat: Bloat) -> int:
    """Return the free space that a rebuild may need: the new index, and as much again to sort its keys."""
    return bloat.bytes if bloat.fresh is None else min(bloat.bytes, 2 * bloat.fresh)


def _obstacle(
    index: IndexFacts, kind: str, bloat: Bloat, database: DatabaseFacts, policy: Policy
) -> Optional[tuple[str, str]]:
    """Return the code and the reason why nothing is done for an index that needs work."""
    if not policy.wants(index):
        return EXCLUDED, "left out by include or exclude"
    if database.standby:
        return READ_ONLY, "this is a standby: rebuild on its primary"
    if index.system:
        return NOT_POSSIBLE, "a system catalog cannot be rebuilt CONCURRENTLY"
    if index.exclusion and kind != LEFTOVER:
        return NOT_POSSIBLE, "the index of an exclusion constraint cannot be rebuilt CONCURRENTLY"
    if index.worked_on_by is not None:
        worker = (transaction for transaction in database.transactions if transaction.pid == index.worked_on_by)
        return IN_PROGRESS, f"{who(next(worker, Transaction(index.worked_on_by)))} is at work on it"
    return (
        _right(index, kind, database) or _waiting(index, kind, database, policy) or _space(index, kind, bloat, database)
    )


def _right(index: IndexFacts, kind: str, database: DatabaseFacts) -> Optional[tuple[str, str]]:
    rights = index.rights
    if _become(index, database) is not None:
        return None
    allowed = rights.superuser or rights.owns or (rights.maintains and kind != LEFTOVER)
    if not allowed:
        more = "; needs MAINTAIN on the table or pg_maintain" if database.version >= 170000 and kind != LEFTOVER else ""
        return NO_RIGHT, f"role {printable(rights.role)} is not its owner ({printable(index.owner)}){more}"
    if not rights.sees_schema:
        return NO_RIGHT, f"role {printable(rights.role)} lacks USAGE on schema {printable(index.schema)}"
    if index.calls_functions and kind != LEFTOVER and rights.superuser and not database.restricts_functions:
        return NO_RIGHT, (
            f"it calls functions, its owner {printable(index.owner)} cannot do the work itself, and this release would "
            "run them as superuser (CVE-2022-1552): update the server"
        )
    return None


def _become(index: IndexFacts, database: DatabaseFacts) -> Optional[str]:
    """Return the owner when the work can be done as that role: its functions never see a stronger one."""
    rights = index.rights
    if index.owner == rights.role or index.toast or not rights.can_become_owner or not rights.owner_sees_schema:
        return None
    return index.owner


def _waiting(index: IndexFacts, kind: str, database: DatabaseFacts, policy: Policy) -> Optional[tuple[str, str]]:
    blocker = blocker_of(index.table_oid, kind, database.transactions, policy.max_wait)
    return (OLD_TRANSACTION, f"would have to wait for {who(blocker)}") if blocker else None


def _space(index: IndexFacts, kind: str, bloat: Bloat, database: DatabaseFacts) -> Optional[tuple[str, str]]:
    free = database.free_bytes.get(index.tablespace)
    if kind == LEFTOVER or free is None or free > space_needed(bloat):
        return None
    return NO_SPACE, f"needs up to {human_size(space_needed(bloat))} of free space, there are {human_size(free)}"


def blocker_of(
    table_oid: int, kind: str, transactions: Sequence[Transaction], max_wait: float
) -> Optional[Transaction]:
    """Return the transaction that a work would wait for longer than allowed, the oldest one, or None.

    A concurrent rebuild waits for every older snapshot of the database and for every lock on the table, a concurrent
    drop for the locks only. A transaction that is already older than ``max_wait`` is not expected to end in time; a
    prepared one does not end by itself.
    """
    in_the_way = [
        transaction
        for transaction in transactions
        if ((transaction.has_snapshot and kind != LEFTOVER) or table_oid in transaction.relations)
        and (transaction.gid is not None or (transaction.age or 0.0) >= max_wait)
    ]
    return max(in_the_way, key=lambda transaction: transaction.age or 0.0, default=None)


def who(transaction: Transaction) -> str:
    """Return a transaction in words."""
    if transaction.gid is not None:
        name = f"prepared transaction {printable(transaction.gid, 80)} (role {printable(transaction.role or '?', 63)})"
    else:
        known = ", ".join(printable(part, 63) for part in (transaction.application, transaction.role) if part)
        state = f", {transaction.state}" if transaction.state else ""
        name = f"pid {transaction.pid}" + (f" ({known}{state})" if known else "")
    return name if transaction.age is None else f"{name}, open for {human_duration(transaction.age)}"
