# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Indexes that somebody may want to drop, and sequences near their end: told with the statement, never done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterable, Iterator, Mapping, Optional, Sequence

from .redact import printable
from .reindex_facts import DatabaseFacts, IndexFacts, Policy, SequenceFacts
from .result import OK, UNKNOWN, WARNING, Finding, threshold_status
from .sql_text import identifier
from .units import count_of, human_duration, human_size

_NOT_RIGHT_AWAY = 20  # findings of one kind before the rest is told in one line


@dataclass(frozen=True)
class Whole:
    """An index as people know it: a plain one, or a partitioned one with all its parts (bytes and scans summed)."""

    index: IndexFacts
    bytes: int
    scans: int


def wholes(indexes: Sequence[IndexFacts]) -> tuple[Whole, ...]:
    """Return the indexes that can be dropped by themselves; the parts of a partitioned index count for their root."""
    by_oid = {index.oid: index for index in indexes}
    parts: dict[int, list[IndexFacts]] = {}
    for index in indexes:
        parts.setdefault(_root(index, by_oid).oid, []).append(index)
    return tuple(_whole(by_oid[oid], group) for oid, group in parts.items())


def _whole(root: IndexFacts, parts: Sequence[IndexFacts]) -> Whole:
    """Put the parts together: who drops the root drops them all, with what they are there for."""
    duties = replace(
        root,
        replica_identity=any(part.replica_identity for part in parts),
        clustered=any(part.clustered for part in parts),
        referenced=any(part.referenced for part in parts),
    )
    return Whole(duties, sum(part.bytes for part in parts), sum(part.scans for part in parts))


def _root(index: IndexFacts, by_oid: Mapping[int, IndexFacts]) -> IndexFacts:
    while index.parent_oid is not None and index.parent_oid in by_oid:
        index = by_oid[index.parent_oid]
    return index


def advice(database: DatabaseFacts, policy: Policy) -> Iterator[Finding]:
    """Yield the findings about indexes that are not needed."""
    users = [index for index in database.indexes if not index.system and not index.toast]
    wanted = (whole for whole in wholes(users) if policy.wants(whole.index))
    candidates = [whole for whole in wanted if whole.index.usable and whole.index.live]
    duplicates = tuple(_duplicates(candidates))
    doubled = {redundant.index.oid for redundant, _kept in duplicates}
    overlapping = tuple(_overlapping([whole for whole in candidates if whole.index.oid not in doubled]))
    yield from _shortened("duplicate_index", database, [_duplicate(pair) for pair in duplicates])
    yield from _shortened("overlapping_index", database, [_overlap(pair) for pair in overlapping])
    yield from _unused(database, candidates, policy)


def drop_statement(index: IndexFacts) -> str:
    """Return what a person could run to be rid of an index."""
    if index.constraint is not None:
        return f"ALTER TABLE {index.table_sql_name} DROP CONSTRAINT {identifier(index.constraint)}"
    return f"DROP INDEX {'' if index.kind == 'I' else 'CONCURRENTLY '}{index.sql_name}"


def _is_needed(index: IndexFacts) -> bool:
    """Tell whether an index has a duty beside making queries faster."""
    return bool(index.unique or index.primary or index.exclusion or index.constraint or _is_chosen(index))


def _is_chosen(index: IndexFacts) -> bool:
    """Tell whether something refers to this very index, so that no equal one can stand in for it."""
    return index.replica_identity or index.clustered or index.referenced


# --- the same definition twice ------------------------------------------------------------------------------------


def _duplicates(candidates: Iterable[Whole]) -> Iterator[tuple[Whole, Whole]]:
    """Yield (redundant, kept) for indexes that hold the same keys of the same rows."""
    groups: dict[tuple[object, ...], list[Whole]] = {}
    for whole in candidates:
        keys = whole.index.keys
        if keys.expressions is not None and keys.predicate is not None:
            groups.setdefault((whole.index.table_oid, whole.index.method, keys), []).append(whole)
    for group in groups.values():
        kept: list[Whole] = []
        for whole in sorted(group, key=_worth):
            instead = next((other for other in kept if _stands_in(other.index, whole.index)), None)
            if instead is None:
                kept.append(whole)
            else:
                yield whole, instead


def _worth(whole: Whole) -> tuple[bool, bool, bool, bool, int, int]:
    """Sort what should stay to the front: duties first, then the one that is used, then the older one."""
    index = whole.index
    return (
        not index.primary,
        not _is_chosen(index),
        index.constraint is None,
        not index.unique,
        -whole.scans,
        index.oid,
    )


def _stands_in(kept: IndexFacts, redundant: IndexFacts) -> bool:
    """Tell whether one index fulfils every duty of another with the same keys.

    A unique one stands in only for one with the same rule: a deferrable constraint lets duplicates in until the commit,
    and is neither arbiter of ON CONFLICT nor target of a foreign key; NULLS NOT DISTINCT refuses rows that the default
    lets in (source: PostgreSQL documentation of CREATE TABLE).
    """
    if _is_chosen(redundant) or redundant.exclusion:
        return False
    same_rule = (kept.deferrable, kept.nulls_not_distinct) == (redundant.deferrable, redundant.nulls_not_distinct)
    return not redundant.unique or (kept.unique and same_rule)


def _duplicate(pair: tuple[Whole, Whole]) -> Finding:
    redundant, kept = pair
    return _finding("duplicate_index", redundant, f"has the same definition as {printable(kept.index.sql_name)}")


# --- a leading part of another index ------------------------------------------------------------------------------


def _overlapping(candidates: Sequence[Whole]) -> Iterator[tuple[Whole, Whole]]:
    """Yield (redundant, covering) where a B-tree's columns are the first ones of another B-tree."""
    by_table: dict[int, list[Whole]] = {}
    for whole in candidates:
        if whole.index.method == "btree":
            by_table.setdefault(whole.index.table_oid, []).append(whole)
    for group in by_table.values():
        for short in group:
            covering = next((long for long in group if _covers(long.index, short.index)), None)
            if covering is not None:
                yield short, covering


def _covers(long: IndexFacts, short: IndexFacts) -> bool:
    """Tell whether every query that ``short`` serves is served by ``long``; expressions are compared whole."""
    ours, theirs = short.keys, long.keys
    if _is_needed(short) or None in (ours.expressions, theirs.expressions, ours.predicate):
        return False
    count = ours.key_count
    if count >= theirs.key_count or ours.predicate != theirs.predicate or ours.expressions != theirs.expressions:
        return False
    same = all(
        mine[:count] == yours[:count]
        for mine, yours in (
            (ours.columns, theirs.columns),
            (ours.classes, theirs.classes),
            (ours.collations, theirs.collations),
            (ours.options, theirs.options),
        )
    )
    return same and set(ours.columns[count:]) <= set(theirs.columns)


def _overlap(pair: tuple[Whole, Whole]) -> Finding:
    short, covering = pair
    text = f"is a leading part of {printable(covering.index.sql_name)}, which can do its work"
    return _finding("overlapping_index", short, text)


# --- never used ---------------------------------------------------------------------------------------------------


def _unused(database: DatabaseFacts, candidates: Iterable[Whole], policy: Policy) -> Iterator[Finding]:
    check, name = f"unused_index:{printable(database.name)}", printable(database.name)
    age, needed = database.stats_age, policy.unused_after
    if database.standby:
        yield Finding(check, UNKNOWN, f"{name}: this is a standby, which does not know the scans on its primary")
        return
    if age is None or age < needed:
        since = "since when is not known" if age is None else f"only for {human_duration(age)}"
        text = f"{name}: scans are counted, {since}: that is not enough to call an index unused"
        yield Finding(check, UNKNOWN, text, age, "s", needed)
        return
    unused = [whole for whole in candidates if whole.scans == 0 and not _is_needed(whole.index)]
    since = human_duration(age)
    status, more = WARNING, "; an index that was made since would look the same"
    if database.has_standbys:
        status, more = UNKNOWN, "; scans on standbys are not counted here: look at pg_stat_user_indexes there first"
    found = [_finding("unused_index", whole, f"no scan was counted in {since}{more}", status) for whole in unused]
    yield from _shortened("unused_index", database, found)


# --- sequences ----------------------------------------------------------------------------------------------------


def used_percent(sequence: SequenceFacts) -> float:
    """Return how much of its range a sequence has given out.

    >>> used_percent(SequenceFacts("s", 1, 101, 1, 51)), used_percent(SequenceFacts("s", -101, -1, -1, -26))
    (50.0, 25.0)
    """
    room = sequence.maximum - sequence.minimum
    if sequence.last_value is None or room <= 0:
        return 0.0
    used = sequence.last_value - sequence.minimum if sequence.step > 0 else sequence.maximum - sequence.last_value
    return max(0.0, 100.0 * used / room)


def sequence_findings(database: DatabaseFacts, policy: Policy) -> Iterator[Finding]:
    """Yield the sequences near their end, and how many could not be read."""
    low, high, name = policy.sequence_warning, policy.sequence_critical, printable(database.name)
    hidden = [sequence for sequence in database.sequences if not sequence.readable]
    found = []
    for sequence in database.sequences:
        percent = used_percent(sequence)
        status = threshold_status(percent, low, high)
        if status != OK:
            target = printable(sequence.sql_name)
            end = sequence.maximum if sequence.step > 0 else sequence.minimum
            text = f"{name} {target}: {percent:.1f} % used, {sequence.last_value} of {end}"
            found.append(
                Finding(f"sequence_exhaustion:{name}:{target}", status, text, round(percent, 1), "%", low, high)
            )
    yield from _shortened("sequence_exhaustion", database, found)
    if hidden:
        many = count_of(len(hidden), "sequence")
        text = f"{name}: {many} cannot be read: GRANT SELECT ON ALL SEQUENCES, or pg_read_all_data"
        yield Finding(f"sequence_exhaustion:{name}:hidden", UNKNOWN, text, len(hidden))


# --- shared -------------------------------------------------------------------------------------------------------


def _finding(check: str, whole: Whole, text: str, status: str = WARNING) -> Finding:
    name, target = printable(whole.index.database), printable(whole.index.sql_name)
    message = (
        f"{name} {target} ({human_size(whole.bytes)}) {text}; to drop it: {printable(drop_statement(whole.index))}"
    )
    return Finding(f"{check}:{name}:{target}", status, message, whole.bytes, "bytes")


def _shortened(check: str, database: DatabaseFacts, found: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the findings of one kind: one that all is well, or the largest ones and how many there are besides."""
    name = printable(database.name)
    if not found:
        yield Finding(f"{check}:{name}", OK, f"{name}: none", 0)
        return
    ranked = sorted(found, key=lambda finding: -_size(finding.value))
    yield from ranked[:_NOT_RIGHT_AWAY]
    rest = ranked[_NOT_RIGHT_AWAY:]
    if rest:
        yield Finding(f"{check}:{name}:more", rest[0].status, f"{name}: {len(rest)} more", len(rest))


def _size(value: Optional[object]) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
