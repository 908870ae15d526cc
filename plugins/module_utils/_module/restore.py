# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_restore: undoing a restore, cleaning up after it, and which of the three is wanted."""

from __future__ import annotations

from typing import Any, Optional

from .._core import restore as plans
from .._core.redact import printable
from .._core.restore_check import check_use, require_live
from .._core.restore_facts import CLEANED, UNDONE, DatabaseFacts
from .._core.result import OK, Action, Decision, Finding, Outcome
from .._core.units import count_of, human_size
from .._io import restore_aside as aside
from .._io.maintenance_stop import StopSignal
from .._io.postgres import advisory_lock
from .._io.restore_server import quoted, read_server
from .._io.restore_swap import Swapper
from .copy_steps import Steps
from .restore_ground import Ground, state_of
from .restore_run import Restore
from .run import Operation, Task


class Undo:
    """Swap back what was live before the newest restore."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._plan: Optional[plans.UndoPlan] = None

    def decide(self) -> Decision:
        """Find the kept database."""
        ground = self._ground
        wish, facts = ground.wish, ground.look()
        before = state_of(facts, wish.target)
        self._plan = plans.plan_undo(facts, wish)
        if self._plan is None:
            text = (
                f"{printable(wish.target)}: the last restore was undone already; force: true undoes the one before it"
            )
            finding = Finding("already_undone", OK, text)
            return Decision(text, findings=(finding,), before=before, after=before, extra=_undo_result(None))
        check_use(facts, wish)
        plan = self._plan
        exchange = plan.exchange(ground.task.clock.now())
        reason = f"{printable(plan.kept.name)} was live until {plan.marker.at}; the live one stays as "
        action = Action(
            f"swap:{wish.target}", "swap", printable(wish.target), reason + printable(plan.undone),
            ground.swap_command(exchange),
        )  # fmt: skip
        coming = exchange.coming_marker
        return Decision(
            f"{printable(wish.target)} goes back to what it was until {plan.marker.at}",
            (action,),
            before=before,
            after={
                "exists": True,
                "restored_from": None if coming is None else coming.snapshot,
                "kept": [name for name in before["kept"] if name != plan.kept.name],
            },
            extra=_undo_result(plan),
        )

    def apply(self, decision: Decision) -> Outcome:
        """Swap, and look who answers."""
        ground, plan = self._ground, self._plan
        if plan is None:
            return Outcome(decision.msg)
        wish, clock = ground.wish, ground.task.clock
        ground.require_confirmation()
        steps = Steps(decision, clock)
        with StopSignal(), advisory_lock(ground.database, ground.lock):
            with steps.doing(f"swap:{wish.target}") as note:
                swapped = Swapper(ground.database, ground.target, clock).swap(plan.exchange(clock.now()))
                note.detail = f"outage {swapped.outage_seconds:g} s, {count_of(swapped.ended, 'session')} ended"
            after, answer = ground.look_at_swapped(steps, plan.kept.oid, plan.undone)
        was, undone = (
            f"{printable(wish.target)} is what it was",
            f"the restored one is kept as {printable(plan.undone)}",
        )
        outage = f"outage {swapped.outage_seconds:g} s"
        return Outcome(
            "; ".join([f"{was} until {plan.marker.at}", undone, outage, *(one.msg for one in answer)]),
            tuple(steps.done),
            answer,
            after,
            extra={"outage_seconds": swapped.outage_seconds},
        )


def _undo_result(plan: Optional[plans.UndoPlan]) -> dict[str, Any]:
    return {"kept": "" if plan is None else plan.undone, "outage_seconds": 0.0}


class Clean:
    """Drop what restores left behind and nobody needs any more."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._drop: tuple[DatabaseFacts, ...] = ()

    def decide(self) -> Decision:
        """Find the databases that are old enough."""
        ground = self._ground
        wish, facts = ground.wish, ground.look()
        require_live(facts.find(wish.target), wish)
        self._drop, stay = plans.plan_clean(facts, wish, ground.task.clock.now())
        commands = {f"drop:{one.name}": quoted(ground.database, "DROP DATABASE %I", one.name) for one in self._drop}
        before = state_of(facts, wish.target)
        gone = {one.name for one in self._drop}
        return Decision(
            plans.clean_message(self._drop, stay),
            plans.drop_actions(self._drop, f"a restore of {printable(wish.target)} left it", commands),
            stay,
            before=before,
            after={**before, "kept": [name for name in before["kept"] if name not in gone]},
            extra={"freed_bytes": 0},
        )

    def apply(self, decision: Decision) -> Outcome:
        """Drop them one by one."""
        ground = self._ground
        ground.require_confirmation()
        steps, freed = Steps(decision, ground.task.clock), 0
        with advisory_lock(ground.database, ground.lock):
            for one in self._drop:
                with steps.doing(f"drop:{one.name}") as note:
                    aside.drop(ground.database, one)
                    freed += one.size_bytes or 0
                    note.detail = human_size(one.size_bytes or 0)
            after = state_of(read_server(ground.database, ground.wish.target), ground.wish.target)
        return Outcome(
            f"{count_of(len(self._drop), 'database')} dropped, {human_size(freed)} freed",
            tuple(steps.done),
            decision.findings,
            after,
            extra={"freed_bytes": freed},
        )


class PostgresRestore(Operation):
    """Restore a database, undo it, or clean up after it."""

    def __init__(self, task: Task) -> None:
        self._ground = Ground(task)
        kinds: dict[str, Any] = {UNDONE: Undo, CLEANED: Clean}
        self._work: Any = kinds.get(self._ground.wish.state, Restore)(self._ground)

    def decide(self) -> Decision:
        """Read the facts and return what is to be done."""
        decision: Decision = self._work.decide()
        return decision

    def apply(self, decision: Decision) -> Outcome:
        """Carry it out."""
        outcome: Outcome = self._work.apply(decision)
        return outcome

    def close(self) -> None:
        """Give back the session."""
        self._ground.close()
