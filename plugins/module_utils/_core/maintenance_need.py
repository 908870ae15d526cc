# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Why a table needs work, or why it is left alone although it does.

The thresholds follow autovacuum's formulas (PostgreSQL documentation, 24.1.6 "The Autovacuum Daemon").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Iterable, Optional, Sequence, Union

from .maintenance_facts import Facts, Holder, ServerFacts, TableFacts
from .maintenance_policy import Manner, Policy, Thresholds
from .units import human_duration

OVERDUE, FREEZE, DEAD, INSERTED, CHANGED, ASKED, PARENT, STATISTICS = range(8)
_SMALL_GAIN = 0.05  # a freeze that lowers the age by less of the limit is not worth repeating
_UNKNOWN_HOLD = timedelta(
    hours=24
)  # how long a vacuum in vain is remembered when nobody knows since when rows are held
_RECURSION = timedelta(hours=1)  # up to 17 ANALYZE of a parent ends with its partitions: they look newer than it


@dataclass(frozen=True)
class Need:
    """What a table needs; a lower ``urgency`` comes first. ``reason`` is for people."""

    urgency: int
    reason: str
    vacuum: bool = False
    freeze: bool = False
    analyze: bool = False


@dataclass(frozen=True)
class InVain:
    """Work is needed and would achieve nothing, because ``holder`` keeps the dead rows alive."""

    need: Need
    holder: Holder


def need_of(table: TableFacts, facts: Facts, policy: Policy) -> Union[Need, InVain, None]:
    """Return what one table needs; a partitioned parent is the matter of parent_need()."""
    thresholds, manner = policy.for_table(table)
    if table.is_statistics:  # the server silently refuses to analyze it
        manner = replace(manner, analyze=False)
    analyze = _analyze_reason(table, thresholds) if manner.analyze else ""
    vacuum = _vacuum_need(table, facts, thresholds) if manner.vacuum else None
    if policy.all_tables and vacuum is None and (manner.vacuum or manner.analyze):
        return Need(ASKED, "asked for", vacuum=manner.vacuum, freeze=manner.freeze, analyze=manner.analyze)
    if isinstance(vacuum, Need):
        return _with_analyze(vacuum, table, manner, analyze)
    if analyze:
        return Need(CHANGED, analyze, analyze=True)
    return vacuum


def _with_analyze(need: Need, table: TableFacts, manner: Manner, analyze: str) -> Need:
    """Analyze on the way whatever was modified: the pages are in memory anyhow."""
    wanted = manner.analyze and bool(analyze or table.modified_rows)
    reason = f"{need.reason}; {analyze}" if analyze else need.reason
    return replace(need, reason=reason, analyze=wanted, freeze=need.freeze or manner.freeze)


def _vacuum_need(table: TableFacts, facts: Facts, thresholds: Thresholds) -> Union[Need, InVain, None]:
    frozen = _freeze_need(table, facts, thresholds)
    if isinstance(frozen, Need):
        return frozen
    reasons = [
        (DEAD, _dead_reason(table, thresholds)),
        (INSERTED, _inserted_reason(table, thresholds)),
    ]
    found = [(urgency, reason) for urgency, reason in reasons if reason]
    if not found:
        return frozen
    need = Need(found[0][0], "; ".join(reason for _urgency, reason in found), vacuum=True)
    holder = holder_in_the_way(table, facts.holders, facts.now)
    return need if holder is None else InVain(need, holder)


def holder_in_the_way(table: TableFacts, holders: Iterable[Holder], now: datetime) -> Optional[Holder]:
    """Return who makes another vacuum useless: the last one came after the holder, so it removed all that it could."""
    if table.last_vacuum is None:
        return None
    for holder in sorted(holders, key=lambda holder: -holder.age):
        if holder.concerns(table) and table.last_vacuum > _held_since(holder, now):
            return holder
    return None


def _held_since(holder: Holder, now: datetime) -> datetime:
    """Return since when rows are held: a standby with feedback always holds, and mostly for seconds only."""
    if holder.since is not None:
        return holder.since
    return max(now - _UNKNOWN_HOLD, holder.not_before or now - _UNKNOWN_HOLD)


def freeze_limits(table: TableFacts, server: ServerFacts) -> tuple[int, int]:
    """Return at which ages autovacuum is forced to act: the server's limits, or the table's own lower ones."""
    xids = min(server.freeze_max_age, int(table.options.get("autovacuum_freeze_max_age", server.freeze_max_age)))
    key = "autovacuum_multixact_freeze_max_age"
    multixacts = min(server.multixact_freeze_max_age, int(table.options.get(key, server.multixact_freeze_max_age)))
    return xids, multixacts


def _freeze_need(table: TableFacts, facts: Facts, thresholds: Thresholds) -> Union[Need, InVain, None]:
    xid_limit, multixact_limit = freeze_limits(table, facts.server)
    oldest = max((h for h in facts.holders if h.concerns(table)), key=lambda h: h.age, default=None)
    held = oldest.age if oldest else 0
    found: Union[Need, InVain, None] = None
    for age, limit, own, noun, floor in (
        (table.xid_age, xid_limit, thresholds.freeze_age, "transaction", held),
        (table.multixact_age, multixact_limit, thresholds.multixact_freeze_age, "multixact", 0),
    ):
        due = own if own is not None else limit * 3 // 4
        if age is None or age < due:
            continue
        reason = f"oldest {noun} is {_count(age)} old, autovacuum is forced at {_count(limit)}"
        need = Need(OVERDUE if age >= limit else FREEZE, reason, vacuum=True, freeze=True)
        if age - floor > due * _SMALL_GAIN:
            return need
        found = InVain(need, oldest) if oldest else need
    return found


def statistics_need(table: TableFacts, analyzed: Iterable[TableFacts], facts: Facts, policy: Policy) -> Optional[Need]:
    """Return whether pg_statistic has to be vacuumed after all others: each ANALYZE leaves a dead row per column."""
    rewritten = sum(other.columns for other in analyzed)
    thresholds, manner = policy.for_table(table)
    limit = thresholds.dead_rows_min + thresholds.dead_ratio * table.known_rows
    if not manner.vacuum or table.dead_rows + rewritten <= limit:
        return None
    if holder_in_the_way(table, facts.holders, facts.now) is not None:
        return None
    return Need(STATISTICS, f"the ANALYZE of this run rewrites up to {_count(rewritten)} of its rows", vacuum=True)


def _limit(minimum: float, ratio: float, rows: float, table: TableFacts, scale: str, threshold: str) -> float:
    """Return the limit in rows; a table whose own storage parameters are stricter keeps them."""
    own_ratio = float(table.options.get(scale, ratio))
    own_minimum = float(table.options.get(threshold, minimum))
    own = own_minimum + own_ratio * rows if own_minimum >= 0 else float("inf")
    return min(minimum + ratio * rows, own)


def _dead_reason(table: TableFacts, limits: Thresholds) -> str:
    names = ("autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold")
    limit = _limit(limits.dead_rows_min, limits.dead_ratio, table.known_rows, table, *names)
    if table.dead_rows > limit:
        return f"{dead_share(table):.0%} dead ({_count(table.dead_rows)} of {_count(_all_rows(table))} rows)"
    toast = limits.dead_rows_min + limits.dead_ratio * max(table.toast_rows, 0)
    return f"TOAST has {_count(table.toast_dead_rows)} dead rows" if table.toast_dead_rows > toast else ""


def _inserted_reason(table: TableFacts, limits: Thresholds) -> str:
    if table.is_statistics:  # its rows are rewritten, not added to: dead rows tell when it is due
        return ""
    names = ("autovacuum_vacuum_insert_scale_factor", "autovacuum_vacuum_insert_threshold")
    limit = _limit(limits.inserted_rows_min, limits.inserted_ratio, table.known_rows, table, *names)
    inserted = _count(table.inserted_rows)
    return f"{inserted} rows inserted since the last vacuum" if table.inserted_rows > limit else ""


def _analyze_reason(table: TableFacts, limits: Thresholds) -> str:
    if table.last_analyze is None and table.may_hold_rows:
        return "never analyzed, as far as the server remembers"
    names = ("autovacuum_analyze_scale_factor", "autovacuum_analyze_threshold")
    limit = _limit(limits.modified_rows_min, limits.modified_ratio, table.known_rows, table, *names)
    changed = _count(table.modified_rows)
    return f"{changed} rows changed since the last analyze" if table.modified_rows > limit else ""


def parent_need(parent: TableFacts, leaves: Sequence[TableFacts], facts: Facts, policy: Policy) -> Optional[Need]:
    """Return whether a partitioned parent must be analyzed: autovacuum never does it.

    13 does not record when a parent was analyzed: there only missing statistics and changes that no analyze of the
    partitions has seen yet can be told.
    """
    thresholds, manner = policy.for_table(parent)
    rows = sum(leaf.known_rows for leaf in leaves)
    if not manner.analyze or not any(leaf.may_hold_rows for leaf in leaves):
        return None
    if policy.all_tables:
        return Need(PARENT, "asked for", analyze=True)
    tracked = facts.server.major >= 14
    since = parent.last_analyze
    if since is None and (tracked or not parent.has_statistics):
        return Need(PARENT, "partitioned and never analyzed", analyze=True)
    changed = _changed_since(parent, since, leaves)
    if changed > thresholds.modified_rows_min + thresholds.modified_ratio * rows:
        return Need(PARENT, f"about {_count(changed)} rows of its partitions changed since", analyze=True)
    return None if since is None else _old_parent(since, leaves, facts.now, policy)


def _changed_since(parent: TableFacts, since: Optional[datetime], leaves: Sequence[TableFacts]) -> float:
    """Estimate the changed rows: not yet analyzed ones, what autovacuum saw, and the growth since the last analyze.

    Only what ANALYZE of the parent brings back to nothing may count, or every run would find the same again.
    """
    changed = float(sum(leaf.modified_rows for leaf in leaves if leaf.may_maintain))
    if since is None:
        return changed
    for leaf in leaves:
        if leaf.last_autoanalyze is not None and leaf.last_autoanalyze > since:
            changed += 50 + 0.1 * leaf.known_rows  # the least that makes autovacuum analyze, by its defaults
    if parent.rows < 0 or not any(leaf.last_analyze and leaf.last_analyze > since for leaf in leaves):
        return changed
    return max(changed, abs(sum(leaf.known_rows for leaf in leaves) - parent.rows))


def _old_parent(since: datetime, leaves: Sequence[TableFacts], now: datetime, policy: Policy) -> Optional[Need]:
    age = (now - since).total_seconds()
    newer = sum(1 for leaf in leaves if leaf.last_analyze and leaf.last_analyze > since + _RECURSION)
    if age <= policy.parent_max_age or not newer:
        return None
    return Need(PARENT, f"analyzed {human_duration(age)} ago, {newer} of its partitions later", analyze=True)


def dead_share(table: TableFacts) -> float:
    """Return the share of dead rows, 0 to 1."""
    return table.dead_rows / max(_all_rows(table), 1)


def _all_rows(table: TableFacts) -> int:
    return table.live_rows + table.dead_rows


def _count(number: float) -> str:
    """Return a number for people.

    >>> _count(950), _count(1234567), _count(2000)
    ('950', '1.2 million', '2,000')
    """
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{int(number):,}"
