# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""From needs to an ordered plan, and what is left alone with the reason why."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Iterable, Iterator, Mapping, Optional, Sequence, Union

from .maintenance_facts import Facts, Running, TableFacts
from .maintenance_need import FREEZE, PARENT, STATISTICS, InVain, Need, need_of, parent_need, statistics_need
from .maintenance_policy import PROCESS_TOAST_MAJOR, Manner, Policy
from .maintenance_statement import statement
from .redact import printable
from .result import Action

Found = Union[Need, InVain]

NO_RIGHT = "insufficient_privilege"
HELD = "xmin_horizon"
RUNNING = "already_running"
EXCLUDED = "excluded"
LEFT_OVER = "limit_reached"

_PAGE_BYTES, _ROWS_A_PAGE = 8192, 80  # for a table of which nothing is known
_ANALYZE_SAMPLE_PAGES = 30_000  # 300 x the default statistics target, PostgreSQL documentation of ANALYZE


@dataclass(frozen=True)
class Planned:
    """One table that will be worked on. ``pages``: how many will be read at most, for the estimate."""

    id: str
    table: TableFacts
    need: Need
    manner: Manner
    pages: int
    command: str

    @property
    def target(self) -> str:
        """Return what people see: database and table."""
        return f"{printable(self.table.database)} {printable(self.table.target)}"

    def action(self) -> Action:
        """Return the entry of the plan."""
        return Action(self.id, verb(self.need), self.target, self.need.reason, self.command)


@dataclass(frozen=True)
class PassedOver:
    """One table that needs work and does not get it in this run."""

    table: TableFacts
    need: Need
    code: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """The whole decision about tables, in order of work."""

    planned: tuple[Planned, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return how many tables need what, whether they get it or not."""
        needs = [item.need for item in self.planned] + [passed.need for passed in self.passed_over]
        return {
            "tables_to_freeze": sum(1 for need in needs if need.freeze),
            "tables_to_vacuum": sum(1 for need in needs if need.vacuum and not need.freeze),
            "tables_to_analyze": sum(1 for need in needs if need.analyze),
        }

    def still_passed_over(self, later: Survey) -> Survey:
        """Return a later survey with what this one left to another run, as far as it is still needed."""
        needed = {(item.table.database, item.table.oid) for item in later.planned}
        left = [
            p for p in self.passed_over if (p.table.database, p.table.oid) in needed and p.code not in (HELD, NO_RIGHT)
        ]
        return Survey((), (*later.passed_over, *left))


def verb(need: Need) -> str:
    """Return the name of the action: freeze, vacuum or analyze."""
    if need.freeze:
        return "freeze"
    return "vacuum" if need.vacuum else "analyze"


def survey(facts: Facts, policy: Policy) -> Survey:
    """Return which tables are worked on, in order: by urgency, then the largest first, then by name."""
    needs, trees = _needs(facts, policy), pages_of_parents(facts.tables)
    passed, planned = [], []
    for table, found in needs:
        obstacle = _obstacle(table, found, facts, policy)
        if obstacle is not None:
            passed += [obstacle] if _is_worth_telling(obstacle) else []
        elif isinstance(found, Need):
            pages = trees[table.database, table.oid] if table.is_parent else pages_to_read(table, found)
            planned.append(_planned(table, found, pages, facts, policy))
    planned.sort(key=lambda item: (item.need.urgency, -item.pages, item.table.database, item.table.full_name))
    limit = len(planned) if policy.limit is None else policy.limit
    passed += [PassedOver(p.table, p.need, LEFT_OVER, f"only {limit} tables a run") for p in planned[limit:]]
    passed.sort(key=lambda item: (item.code, item.table.database, item.table.full_name))
    return Survey(tuple(planned[:limit]), tuple(passed))


def _needs(facts: Facts, policy: Policy) -> list[tuple[TableFacts, Found]]:
    found: list[tuple[TableFacts, Found]] = []
    leaves = leaves_of_parents(facts.tables)
    covered: set[tuple[str, int]] = set()
    for parent in (table for table in facts.tables if table.is_parent):
        below = leaves[parent.database, parent.oid]
        need = parent_need(parent, below, facts, policy)
        if need is not None:
            found.append((parent, need))
            if _obstacle(parent, need, facts, policy) is None:
                covered.update((leaf.database, leaf.oid) for leaf in below)
    for table in (table for table in facts.tables if not table.is_parent):
        need_or_vain = need_of(table, facts, policy)
        if need_or_vain is not None and not _is_covered(table, need_or_vain, covered):
            found.append((table, need_or_vain))
    added = _statistics_last(found, facts, policy)
    return found + added


def _statistics_last(
    found: list[tuple[TableFacts, Found]], facts: Facts, policy: Policy
) -> list[tuple[TableFacts, Found]]:
    """Put pg_statistic after everything that is analyzed, unless it must be frozen: else the next run finds it full."""
    own = {table.database: (table, need) for table, need in found if table.is_statistics}
    added: list[tuple[TableFacts, Found]] = []
    for table in (table for table in facts.tables if table.is_statistics):
        analyzed = [
            other
            for other, need in found
            if isinstance(need, Need) and need.analyze and other.database == table.database
            and _obstacle(other, need, facts, policy) is None
        ]  # fmt: skip
        need = statistics_need(table, analyzed, facts, policy)
        present = own.get(table.database)
        if present is None:
            added += [(table, need)] if need else []
        elif isinstance(present[1], Need) and present[1].urgency > FREEZE:
            found.remove(present)
            added.append((table, replace(present[1], urgency=STATISTICS)))
    return added


def _is_covered(table: TableFacts, need: Found, covered: set[tuple[str, int]]) -> bool:
    """Tell whether ANALYZE of the parent, which goes on to the partitions, does all that is needed."""
    only_analyze = isinstance(need, Need) and not need.vacuum
    return only_analyze and table.may_maintain and (table.database, table.oid) in covered


def leaves_of_parents(tables: Iterable[TableFacts]) -> Mapping[tuple[str, int], list[TableFacts]]:
    """Return the tables that hold the rows of each partitioned parent, through all levels."""
    by_oid = _by_oid(tables)
    leaves: dict[tuple[str, int], list[TableFacts]] = defaultdict(list)
    for table in (table for table in by_oid.values() if not table.is_parent):
        for parent in _above(table, by_oid):
            leaves[parent.database, parent.oid].append(table)
    return leaves


def pages_of_parents(tables: Iterable[TableFacts]) -> Mapping[tuple[str, int], int]:
    """Return how many pages the ANALYZE of each partitioned parent reads at most.

    It takes one sample of all its partitions together, and then analyzes each table below it: again one sample for each
    parent among them, and one for each partition (source: PostgreSQL documentation of ANALYZE, notes on partitioned
    tables; the common sample is shared out by the partitions' pages: acquire_inherited_sample_rows() in analyze.c).
    """
    by_oid = _by_oid(tables)
    leaves = leaves_of_parents(by_oid.values())
    pages: dict[tuple[str, int], int] = defaultdict(int)
    for table in by_oid.values():
        sampled = leaves[table.database, table.oid] if table.is_parent else [table]
        sample = min(sum(current_pages(leaf) for leaf in sampled), _ANALYZE_SAMPLE_PAGES)
        for above in (table, *_above(table, by_oid)):
            pages[above.database, above.oid] += sample
    return pages


def _by_oid(tables: Iterable[TableFacts]) -> Mapping[tuple[str, Optional[int]], TableFacts]:
    return {(table.database, table.oid): table for table in tables}


def _above(table: TableFacts, by_oid: Mapping[tuple[str, Optional[int]], TableFacts]) -> Iterator[TableFacts]:
    """Yield the parents of a partition, the nearest one first."""
    parent = by_oid.get((table.database, table.parent_oid))
    while parent is not None:
        yield parent
        parent = by_oid.get((parent.database, parent.parent_oid))


def _obstacle(table: TableFacts, found: Found, facts: Facts, policy: Policy) -> Optional[PassedOver]:
    """Return why nothing is done for a table: not wanted, not allowed, somebody is at it, or in vain."""
    need = found.need if isinstance(found, InVain) else found
    if not policy.wants(table):
        return PassedOver(table, need, EXCLUDED, "left out by include, exclude or system_catalogs")
    if table.temporary:
        return PassedOver(table, need, NO_RIGHT, "temporary table: only its own session can")
    if not table.may_maintain:
        return PassedOver(table, need, NO_RIGHT, _missing_right(table, facts.server.major))
    running = next((r for r in facts.running if _is_at(r, table)), None)
    if running is not None:
        return PassedOver(table, need, RUNNING, f"{running.who} is at it already")
    if isinstance(found, InVain):
        return PassedOver(table, need, HELD, f"vacuumed since, in vain: {found.holder.name} holds back its dead rows")
    return None


def _is_worth_telling(passed: PassedOver) -> bool:
    """Leave out what nobody asked for; near wraparound everything is told."""
    uninvited = passed.code == EXCLUDED or (
        passed.code == NO_RIGHT and (passed.table.catalog or passed.table.temporary)
    )
    return not uninvited or passed.need.urgency <= FREEZE


def _is_at(running: Running, table: TableFacts) -> bool:
    return running.database == table.database and running.relation_oid == table.oid


def _missing_right(table: TableFacts, major: int) -> str:
    if table.shared:
        return "shared catalog: only a superuser may"
    return "not owner; needs MAINTAIN or pg_maintain" if major >= 17 else "not owner of the table or the database"


def _planned(table: TableFacts, need: Need, pages: int, facts: Facts, policy: Policy) -> Planned:
    manner = _manner(table, need, facts, policy)
    return Planned(
        id=f"{verb(need)}:{printable(table.database)}:{printable(table.target)}",
        table=table,
        need=need,
        manner=manner,
        pages=pages,
        command=statement(need, manner, [table.target], facts.server.major),
    )


def _manner(table: TableFacts, need: Need, facts: Facts, policy: Policy) -> Manner:
    """Leave out a TOAST table that is empty: for small tables it is a quarter of the work. A freeze takes it along."""
    _thresholds, manner = policy.for_table(table)
    can_leave_out = need.vacuum and not need.freeze and facts.server.major >= PROCESS_TOAST_MAJOR
    if can_leave_out and manner.process_toast is None and table.has_empty_toast:
        return replace(manner, process_toast=False)
    return manner


def pages_to_read(table: TableFacts, need: Need) -> int:
    """Return how many pages the work on one table reads at most; for a parent see pages_of_parents().

    A vacuum leaves out the pages that are still all-visible, a freeze does not; indexes are read when there are dead
    rows; ANALYZE reads a sample. In the worst case each changed row is on a page of its own.
    """
    pages = current_pages(table)
    if not need.vacuum:
        return min(pages, _ANALYZE_SAMPLE_PAGES)
    touched = pages - table.all_visible_pages + table.dead_rows + table.inserted_rows
    heap = pages if need.freeze else max(min(touched, pages), 1)
    indexes = table.index_pages if table.dead_rows or need.freeze else 0
    return heap + indexes + table.toast_pages


def current_pages(table: TableFacts) -> int:
    """Return the pages of the heap, at least 1: the last count, grown with the rows as the planner does it."""
    counted = table.live_rows + table.dead_rows
    if table.pages and table.rows > 0:
        return max(table.pages, int(table.pages * counted / table.rows))
    guessed = max((table.heap_bytes or 0) // _PAGE_BYTES, counted // _ROWS_A_PAGE)
    return max(table.pages, guessed, 1)


def is_parent_work(item: Planned) -> bool:
    """Tell whether this is the ANALYZE of a partitioned parent."""
    return item.need.urgency == PARENT or item.table.is_parent


def actions(planned: Sequence[Planned]) -> tuple[Action, ...]:
    """Return the plan as the result shows it."""
    return tuple(item.action() for item in planned)
