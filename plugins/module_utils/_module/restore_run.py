# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_restore: which copy, what will be lost, and the whole way from the repository to the swap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from .._core import restore as plans
from .._core.backup import POSTGRESQL, Catalog, Copy, parse_at
from .._core.backup_catalog import unreadable_findings
from .._core.backup_load import GlobalStatement
from .._core.backup_manifest import Manifest
from .._core.backup_proof import data_age
from .._core.errors import InvalidValue, OpsError
from .._core.redact import printable
from .._core.restore_check import check_copy, check_needs, check_space, check_tablespaces, check_use
from .._core.restore_facts import ServerFacts
from .._core.restore_loss import LiveState, Loss, load_failure, measure
from .._core.restore_marker import READY
from .._core.restore_roles import role_statements
from .._core.result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding, Outcome
from .._core.units import count_of, human_duration, rfc3339
from .._io import restore_aside as aside
from .._io.backup_fetch import read_head
from .._io.backup_load import apply_globals, restore_tool
from .._io.backup_sentinel import SCHEMA, TABLE
from .._io.maintenance_stop import StopSignal
from .._io.postgres import advisory_lock
from .._io.postgres_tools import Tool
from .._io.restic import Restic
from .._io.restore_server import read_server
from .._io.restore_swap import Swapped, Swapper
from .._io.workspace import ends_in_order
from .copy_steps import Steps
from .repository import repository_of, source_of
from .restore_ground import ANSWER, Ground, state_of
from .restore_load import Loader

_VERDICTS = {"proven": OK, "bad": CRITICAL, "unproven": UNKNOWN}


@dataclass(frozen=True)
class _Work:
    """What was decided."""

    copy: Copy
    manifest: Manifest
    plan: plans.RestorePlan
    loss: Loss
    tool: Tool
    create: str
    roles: tuple[GlobalStatement, ...]


class Restore:
    """Restore a copy aside, verify it there, and swap it in by rename."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        params = ground.task.params
        missing = [name for name in ("repository", "product", "source_host") if not params[name]]
        if missing:
            raise InvalidValue(f"to restore, {', '.join(missing)} must be given", code="invalid_arguments")
        folder = ground.means.work_dir
        if folder is not None and not Path(folder).is_dir():
            raise InvalidValue(f"work_dir: {folder} is no folder", hint="make it, or choose another one")
        self._source = source_of(params, POSTGRESQL, ground.wish.database)
        self._at = parse_at(params["at"], "at") if params["at"] else None
        self._restic = Restic(repository_of(params))
        self._work: Optional[_Work] = None
        self._seconds: dict[str, float] = {}

    # --- decide -------------------------------------------------------------------------------------------------

    def decide(self) -> Decision:
        """Choose the copy, look at the server, and say what is to be done and what will be lost."""
        ground, wish = self._ground, self._ground.wish
        facts = ground.look()
        catalog = self._restic.catalog().until(ground.task.clock.now())
        copy = self._choose(catalog)
        before = state_of(facts, wish.target)
        about = {"copy": _shown(copy), "database": wish.target}
        already = plans.already_restored(facts, wish, copy)
        if already is not None:
            extra = {**about, **_nothing_yet(), "loss": {}}
            return Decision(already.msg, findings=(already,), before=before, after=before, extra=extra)
        head = read_head(self._restic, copy)
        manifest = head.manifest
        findings = (self._verdict(catalog, copy), check_copy(facts, wish, copy, manifest))
        findings += unreadable_findings(catalog, WARNING)
        roles: tuple[GlobalStatement, ...] = ()
        if wish.create_roles:
            roles = role_statements(head.globals_sql, {*manifest.roles, manifest.owner}, facts.roles)
        check_needs(facts, manifest, [one.creates for one in roles])
        if wish.swap:
            check_use(facts, wish)
        plan = plans.plan_restore(facts, wish, copy)
        if plan.ready is None:
            findings += check_tablespaces(facts, wish, manifest, plan.live)
            findings += (check_space(facts, manifest, sum(one.size_bytes or 0 for one in plan.leftovers)),)
        findings += (*plans.unmarked_leftovers(facts, wish), *_slots(facts))
        self._work = self._prepare(facts, plan, copy, manifest, roles)
        return self._decision(self._work, before, findings, about)

    def _choose(self, catalog: Catalog) -> Copy:
        wanted = self._ground.task.params["snapshot"]
        if not wanted:
            return catalog.pick(self._source, self._at)
        copy = catalog.by_id(wanted)
        if copy.source != self._source:
            raise InvalidValue(f"snapshot {copy.id[:8]} is {copy.source.label()}, not {self._source.label()}")
        return copy

    @staticmethod
    def _verdict(catalog: Catalog, copy: Copy) -> Finding:
        verdict = catalog.verdict_of(copy)
        text = f"copy {copy.id[:8]} of {rfc3339(copy.taken)} is {verdict}; it is verified before it is swapped in"
        return Finding("copy", _VERDICTS[verdict], text, verdict)

    def _prepare(
        self,
        facts: ServerFacts,
        plan: plans.RestorePlan,
        copy: Copy,
        manifest: Manifest,
        roles: tuple[GlobalStatement, ...],
    ) -> _Work:
        ground, wish = self._ground, self._ground.wish
        tool = restore_tool(ground.task.commands, manifest, facts.major, ground.means.client_bin_dirs)
        if plan.live is None:
            live = LiveState(unreachable=f"there is no database {printable(wish.target)}")
        else:
            live = aside.count_live(ground.target, wish.target, ground.means.loss_time, ground.task.clock)
        loss = measure(manifest, live, ground.task.clock.now(), (SCHEMA, TABLE))
        owner = plan.live.owner if plan.live is not None else manifest.owner
        loader = Loader(ground, self._restic, copy, manifest)
        return _Work(copy, manifest, plan, loss, tool, loader.create_statement(plan, owner), roles)

    def _decision(
        self, work: _Work, before: dict[str, Any], findings: tuple[Finding, ...], about: dict[str, Any]
    ) -> Decision:
        ground, wish, plan = self._ground, self._ground.wish, work.plan
        loader = Loader(ground, self._restic, work.copy, work.manifest)
        commands = loader.commands(plan, work.tool, work.create)
        if wish.swap:
            commands["swap"] = ground.swap_command(plan.exchange(wish.target, ground.task.clock.now()))
            findings = (*findings, work.loss.finding())
        after = {
            "exists": before["exists"] or wish.swap,
            "restored_from": work.copy.id if wish.swap else before["restored_from"],
            "kept": [*before["kept"], *([plan.kept] if plan.kept else [])],
        }
        actions = plans.restore_actions(plan, wish, work.copy, commands, work.loss.by_rows(), _names(work.roles))
        text = f"{printable(wish.target)} is to be restored from the copy of {rfc3339(work.copy.taken)}"
        if not actions:
            text = f"the copy of {rfc3339(work.copy.taken)} is restored aside already, as {printable(plan.aside)}"
        elif wish.swap:
            text += f": {work.loss.finding().msg}"
        extra = {**about, **_nothing_yet(), "aside": plan.aside, "loss": work.loss.shown()}
        return Decision(text, actions, findings, before, after, extra)

    # --- apply --------------------------------------------------------------------------------------------------

    def apply(self, decision: Decision) -> Outcome:
        """Carry it out; until the swap the live database is not touched, and what was made aside goes on failure."""
        ground, work = self._ground, self._work
        if work is None:
            return Outcome(decision.msg)
        if ground.wish.swap or work.plan.leftovers:
            ground.require_confirmation()
        steps = Steps(decision, ground.task.clock)
        with ends_in_order(), advisory_lock(ground.database, ground.lock):
            for one in work.plan.leftovers:
                with steps.doing(f"drop:{one.name}"):
                    aside.drop(ground.database, one)
            if work.roles:
                self._make_roles(work, steps)
            loader = Loader(ground, self._restic, work.copy, work.manifest)
            findings = loader.make_and_verify(work.plan, work.tool, work.create, steps)
            self._seconds = loader.seconds
            if work.plan.ready is None:  # a swap that fails can be tried again without loading
                marker = replace(work.plan.marker, role=READY, at=rfc3339(ground.task.clock.now()))
                aside.mark(ground.database, work.plan.aside, marker)
            if not ground.wish.swap:
                return self._aside_only(decision, work, steps, findings)
            with StopSignal():  # nobody may be told that it was taken back
                swapped, lost_seconds = self._swap(work, steps)
                after, answer = ground.look_at_swapped(steps, swapped.oid, work.plan.kept, work.manifest)
            findings += (_belongings(work, swapped), *answer)
        return self._outcome(decision, work, steps, findings, swapped, lost_seconds, after)

    def _make_roles(self, work: _Work, steps: Steps) -> None:
        ground = self._ground
        with steps.doing(f"roles:{ground.wish.target}") as note:
            errors = apply_globals(ground.database, work.roles)
            if errors:
                raise load_failure(errors, "roles")
            note.detail = printable(", ".join(_names(work.roles)), 300)

    def _swap(self, work: _Work, steps: Steps) -> tuple[Swapped, float]:
        ground, clock = self._ground, self._ground.task.clock
        target = ground.wish.target
        with steps.doing(f"swap:{target}") as note:
            now = clock.now()
            try:
                exchange = work.plan.exchange(target, now, work.manifest.belongings)
                swapped = Swapper(ground.database, ground.target, clock).swap(exchange)
            except OpsError as error:
                error.details = {**error.details, "aside": work.plan.aside}
                raise
            note.detail = f"outage {swapped.outage_seconds:g} s, {count_of(swapped.ended, 'session')} ended"
        return swapped, data_age(work.manifest, now)

    def _aside_only(self, decision: Decision, work: _Work, steps: Steps, findings: tuple[Finding, ...]) -> Outcome:
        ground = self._ground
        after = state_of(read_server(ground.database, ground.wish.target), ground.wish.target)
        text = f"restored aside as {printable(work.plan.aside)} and verified; nothing was swapped"
        extra = {"seconds": {**self._seconds}}
        return Outcome(text, tuple(steps.done), (*decision.findings, *findings), after, extra)

    def _outcome(
        self,
        decision: Decision,
        work: _Work,
        steps: Steps,
        findings: tuple[Finding, ...],
        swapped: Swapped,
        lost_seconds: float,
        after: dict[str, Any],
    ) -> Outcome:
        ground, plan = self._ground, work.plan
        target = printable(ground.wish.target)
        took = round(ground.task.clock.monotonic() - ground.began, 3)
        kept = f"; the old one is kept as {printable(plan.kept)}" if plan.kept else ""
        extra = {
            "kept": plan.kept,
            "undo": f"state=undone database={target} confirm={target}" if plan.kept else "",
            "seconds": {**self._seconds, "outage": swapped.outage_seconds},
            "outage_seconds": swapped.outage_seconds,
            "rto_seconds": took,
            "rpo_seconds": round(lost_seconds, 3),
        }
        text = (
            f"{target} was restored from the copy of {rfc3339(work.copy.taken)} in {human_duration(took)} "
            f"(outage {swapped.outage_seconds:g} s, data {human_duration(max(lost_seconds, 0))} old){kept}"
        )
        text = "; ".join([text, *(one.msg for one in findings if one.check == ANSWER)])
        return Outcome(text, tuple(steps.done), (*decision.findings, *findings), after, extra)


def _names(roles: tuple[GlobalStatement, ...]) -> tuple[str, ...]:
    return tuple(one.creates for one in roles if one.creates)


def _shown(copy: Copy) -> dict[str, Any]:
    return {"id": copy.id, "taken": rfc3339(copy.taken), "form": copy.form, "server": copy.server,
            "size_bytes": copy.size_bytes}  # fmt: skip


def _nothing_yet() -> dict[str, Any]:
    nothing = {"aside": "", "kept": "", "undo": "", "seconds": {}}
    return {**nothing, "outage_seconds": None, "rto_seconds": None, "rpo_seconds": None}


def _slots(facts: ServerFacts) -> tuple[Finding, ...]:
    if not facts.slots:
        return ()
    text = f"logical replication stays with the old database: slots {printable(', '.join(facts.slots), 300)}"
    return (Finding("logical_slots", WARNING, text, len(facts.slots), "slots"),)


def _belongings(work: _Work, swapped: Swapped) -> Finding:
    if work.plan.live is None and work.manifest.belongings is None:
        text = (
            "the copy is of before connection limit, rights, settings and comment of the database were read: set them"
        )
        return Finding("settings", WARNING, text)
    if not swapped.not_carried:
        return Finding("settings", OK, "settings and rights of the database were carried over", 0)
    text = f"could not be carried over, set them by hand: {printable(', '.join(swapped.not_carried), 500)}"
    return Finding("settings", WARNING, text, len(swapped.not_carried))
