# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a restore, its undoing and the cleaning up after it will do, decided from facts alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Optional, Tuple

from .backup import Copy
from .backup_manifest import Belongings
from .errors import PreconditionFailed
from .redact import printable
from .restore_check import require_live
from .restore_facts import DatabaseFacts, ServerFacts, Wish
from .restore_marker import KEPT, LIVE, LOADING, READY, UNDONE, Marker, derived_name
from .result import OK, WARNING, Action, Finding
from .timestamps import parse_own
from .units import count_of, human_duration, rfc3339


@dataclass(frozen=True)
class Exchange:
    """One swap by rename: ``live`` becomes ``live_name``, ``coming`` the target; live None: nothing is there.

    The coming one is given what belongs to the live one (``carry_over``), or the copy's ``belongings``.
    """

    target: str
    coming: str
    live: Optional[DatabaseFacts] = None
    live_name: str = ""
    live_marker: Optional[Marker] = None
    coming_marker: Optional[Marker] = None
    carry_over: bool = False
    belongings: Optional[Belongings] = None


@dataclass(frozen=True)
class RestorePlan:
    """How a copy comes into place. ``ready``: was restored from this very copy before, and not swapped in yet."""

    leftovers: Tuple[DatabaseFacts, ...]
    aside: str
    marker: Marker
    live: Optional[DatabaseFacts]
    kept: str = ""
    ready: Optional[DatabaseFacts] = None

    def exchange(self, target: str, at: datetime, belongings: Optional[Belongings] = None) -> Exchange:
        """Return the swap at the end; ``at`` is its time, ``belongings`` are the copy's."""
        live = self.live
        marker = replace(self.marker, at=rfc3339(at))
        previous = live.marker if live is not None else None
        return Exchange(
            target=target,
            coming=self.aside,
            live=live,
            live_name=self.kept,
            live_marker=replace(marker, role=KEPT, previous=previous),
            coming_marker=replace(marker, role=LIVE),
            carry_over=live is not None,
            belongings=belongings if live is None else None,
        )


def already_restored(facts: ServerFacts, wish: Wish, copy: Copy) -> Optional[Finding]:
    """Return a finding when this very copy is live already: what was written since cannot be told from it."""
    live = facts.find(wish.target)
    marker = None if live is None else live.marker
    if wish.force or not wish.swap or marker is None or marker.role != LIVE or marker.snapshot != copy.id:
        return None
    text = f"{printable(wish.target)} was restored from this copy at {marker.at}; force: true does it once more"
    return Finding("already_restored", OK, text, marker.at)


def plan_restore(facts: ServerFacts, wish: Wish, copy: Copy) -> RestorePlan:
    """Return the names and leftovers of a restore. Runs cannot overlap: a database still loading is of a dead run."""
    live = facts.find(wish.target)
    ready = [one for one, marker in facts.of(wish.target, READY) if marker.snapshot == copy.id]
    leftovers = tuple(one for one, _marker in facts.of(wish.target, LOADING))
    number = facts.next_number(wish.target)
    marker = Marker(LOADING, wish.target, "", copy.id, rfc3339(copy.taken), number=number)
    used = facts.names - {one.name for one in leftovers}
    kept = derived_name(wish.target, "kept", used) if live is not None and wish.swap else ""
    if ready and not wish.force:
        return RestorePlan(leftovers, ready[-1].name, marker, live, kept, ready[-1])
    return RestorePlan(leftovers, derived_name(wish.target, "restored", used, copy.taken), marker, live, kept)


def unmarked_leftovers(facts: ServerFacts, wish: Wish) -> Tuple[Finding, ...]:
    """Return a finding for each database that is named as ours but does not say so: it is left alone."""
    found = []
    for one in facts.databases:
        head, _word, stamp = one.name.rpartition("_restored_")
        if one.marker is None and head and wish.target.startswith(head) and stamp[:14].isdigit() and len(stamp) >= 14:
            text = f"{printable(one.name)} looks like a leftover of a restore and does not say so: look at it, drop it"
            found.append(Finding("leftover", WARNING, text, one.name))
    return tuple(found)


@dataclass(frozen=True)
class UndoPlan:
    """The kept database that comes back, and what the live one is called afterwards."""

    kept: DatabaseFacts
    marker: Marker
    live: DatabaseFacts
    undone: str
    number: int

    def exchange(self, at: datetime) -> Exchange:
        """Return the swap; ``at`` is its time. Everything that belongs to the kept database comes back with it."""
        marker = self.live.marker or self.marker
        marker = replace(marker, role=UNDONE, at=rfc3339(at), previous=None, number=self.number)
        return Exchange(
            target=self.marker.target,
            coming=self.kept.name,
            live=self.live,
            live_name=self.undone,
            live_marker=marker,
            coming_marker=self.marker.previous,
        )


def plan_undo(facts: ServerFacts, wish: Wish) -> Optional[UndoPlan]:
    """Return how the newest restore is undone; None when the last thing that happened was an undoing already.

    Raises:
        PreconditionFailed: what it replaced is not kept (``no_kept_database``), or there is no live database.
    """
    live = require_live(facts.find(wish.target), wish)
    undone = facts.of(wish.target, UNDONE)
    if undone and not wish.force and (live.marker is None or undone[-1][1].order > live.marker.order):
        return None
    found = _replaced(facts, wish.target)
    if found is None:
        others = ", ".join(one.name for one, _marker in facts.of(wish.target, KEPT))
        rest = f"; of earlier restores there are {printable(others, 300)}" if others else ""
        raise PreconditionFailed(
            f"undo: no database is kept for {printable(wish.target)} that the newest restore replaced",
            code="no_kept_database",
            hint=f"it was dropped, or there was none; restore an older copy instead{rest}",
        )
    chosen, marker = found
    undone_name = derived_name(wish.target, "undone", facts.names, parse_own(marker.taken))
    return UndoPlan(chosen, marker, live, undone_name, facts.next_number(wish.target))


def _replaced(facts: ServerFacts, target: str) -> Optional[Tuple[DatabaseFacts, Marker]]:
    """Return what was live before the newest restore: both got the same marker in one transaction.

    A live database that says nothing (its comment was written anew) is taken for that of the newest one.
    """
    live, kept = facts.find(target), facts.of(target, KEPT)
    if live is not None and live.marker is not None:
        swap = (live.marker.order, live.marker.snapshot)
        kept = tuple(pair for pair in kept if (pair[1].order, pair[1].snapshot) == swap)
    return kept[-1] if kept else None


def plan_clean(facts: ServerFacts, wish: Wish, now: datetime) -> Tuple[Tuple[DatabaseFacts, ...], Tuple[Finding, ...]]:
    """Return the databases to drop and a finding for each that stays.

    All that restores of the target left behind counts: kept, undone, and restored aside but never swapped in. Unless
    ``keep_last`` is false, the one that an undoing would take stays however old it is.
    """
    before = rfc3339(now - timedelta(seconds=wish.keep))
    replaced = _replaced(facts, wish.target)
    last = replaced[0].oid if replaced is not None and wish.keep_last else None
    drop, stay = [], []
    for one, marker in facts.of(wish.target, KEPT, UNDONE, READY, LOADING):
        fresh = marker.role != LOADING and marker.at > before
        if not fresh and one.oid != last:
            drop.append(one)
            continue
        why = f"younger than {human_duration(wish.keep)}" if fresh else "an undoing would need it (keep_last)"
        text = f"{printable(one.name)} ({marker.role} since {marker.at}) stays: {why}"
        stay.append(Finding("kept_database", OK, text, one.size_bytes, "bytes"))
    return tuple(drop), tuple(stay)


def restore_actions(
    plan: RestorePlan, wish: Wish, copy: Copy, commands: dict[str, str], loss: str = "", roles: Tuple[str, ...] = ()
) -> Tuple[Action, ...]:
    """Return the actions in order; ``commands`` has the exact texts by what they do, ``loss`` says what goes.

    ``roles`` are those that are made; the statements hold passwords and are not shown.
    """
    shown = f"copy {copy.id[:8]} of {rfc3339(copy.taken)}"
    actions = drop_actions(plan.leftovers, "a dead run left it behind", commands)
    if roles:
        actions += (_action("roles", wish, f"made as in the copy: {printable(', '.join(roles), 300)}", commands),)
    if plan.ready is None:
        actions += (
            _action("fetch", wish, f"{shown} out of the repository", commands),
            _action(
                "create", wish, f"restored aside as {printable(plan.aside)}; the live database is not touched", commands
            ),
            _action("load", wish, shown, commands),
            _action("analyze", wish, "a restored database has no planner statistics", commands),
        )
    if plan.ready is None or wish.swap:
        actions += (
            _action("verify", wish, "rows, checksums, definitions and rights must be those of the copy", commands),
        )
    if wish.swap:
        reason = f"the live one stays as {printable(plan.kept)}" if plan.kept else "there is no live database now"
        actions += (_action("swap", wish, f"{reason}; {loss}" if loss else reason, commands),)
    return actions


def drop_actions(databases: Tuple[DatabaseFacts, ...], reason: str, commands: dict[str, str]) -> Tuple[Action, ...]:
    """Return an action for each database that is dropped."""
    return tuple(
        Action(f"drop:{one.name}", "drop", printable(one.name), reason, commands.get(f"drop:{one.name}", ""))
        for one in databases
    )


def _action(name: str, wish: Wish, reason: str, commands: dict[str, str]) -> Action:
    return Action(f"{name}:{wish.target}", name, printable(wish.target), reason, commands.get(name, ""))


def clean_message(drop: Tuple[DatabaseFacts, ...], stay: Tuple[Finding, ...]) -> str:
    """Return the line for the person."""
    return f"{count_of(len(drop), 'database')} to drop, {len(stay)} stay"
