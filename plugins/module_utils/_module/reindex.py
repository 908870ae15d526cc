# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_reindex: put facts, policy and connections together."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Mapping, Optional

from .._core.errors import DatabaseFailed, OpsError
from .._core.maintenance_time import seconds_allowed
from .._core.reindex import Done, decide, outcome_of, to_remember
from .._core.reindex_bloat import Measured
from .._core.reindex_facts import DatabaseFacts, check_version
from .._core.reindex_leftover import stale_records
from .._core.reindex_plan import Work
from .._core.result import DONE, FAILED, Decision, Outcome, render_outcome
from .._io.maintenance_stop import StopSignal
from .._io.postgres import connect, require_unlocked
from .._io.reindex import database_names, read_database
from .._io.reindex_control import Control, control
from .._io.reindex_crew import Crew, Limits, Result
from .._io.reindex_work import Terms
from .._io.upkeep_lock import LOCK
from .postgres import postgres_target
from .reindex_options import read_options
from .run import Operation, Task
from .upkeep_options import raise_when_cut_short, unread

NAME = "postgresql_reindex"


class Reindex(Operation):
    """Rebuild what is bloated or invalid, and drop what earlier runs left behind."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._started = task.clock.monotonic()
        self._options = read_options(task.params)
        target = postgres_target(task.params, NAME)
        self._target = replace(target, application_name=f"{target.application_name} {uuid.uuid4().hex[:8]}")
        self._allowed = seconds_allowed(
            self._options.budget, self._options.window_end, task.clock.now(), datetime.astimezone
        )
        self._facts: tuple[DatabaseFacts, ...] = ()
        self._works: tuple[Work, ...] = ()
        self._unreachable: tuple[tuple[str, str], ...] = ()

    def decide(self) -> Decision:
        """Read the facts and return what is to be done."""
        with connect(self._target) as first:
            check_version(first.server_version)
            names = database_names(first, self._options.databases)
        self._facts, self._unreachable = self._collect(names)
        decision, self._works = decide(self._facts, self._options.policy, self._unreachable)
        return decision

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan; each rebuild is verified in the catalog, and the sizes are read again.

        Raises:
            LockBusy: another run is at work in one of the databases; nothing was done.
            DatabaseFailed: the run ended early, or an index could not be rebuilt; all that was done is in ``partial``.
        """
        oids = {facts.name: facts.oid for facts in self._facts}
        names = sorted({work.index.database for work in self._works})
        with contextlib.ExitStack() as held:
            controls = {name: held.enter_context(control(self._target, name, oids[name])) for name in names}
            with StopSignal() as stop:
                result = self._crew(controls).work(self._works, lambda: stop.is_set)
            outcome = self._outcome(result, controls)
        self._raise_for(decision, outcome, result)
        return outcome

    def _collect(
        self, names: list[str], measured: Optional[Mapping[str, Mapping[int, Measured]]] = None
    ) -> tuple[tuple[DatabaseFacts, ...], tuple[tuple[str, str], ...]]:
        facts: list[DatabaseFacts] = []
        unreachable: list[tuple[str, str]] = []
        for name in names:
            try:
                session = connect(self._target, name)
            except DatabaseFailed as error:
                if len(names) == 1:
                    raise
                unreachable.append((name, error.message))
                continue
            with session:
                if measured is None:
                    require_unlocked(session, LOCK)
                facts.append(read_database(session, self._options.policy, (measured or {}).get(name)))
        return tuple(facts), tuple(unreachable)

    def _crew(self, controls: Mapping[str, Control]) -> Crew:
        options = self._options
        return Crew(
            target=self._target,
            controls=controls,
            clock=self._task.clock,
            terms=Terms(self._target.lock_timeout, options.policy.max_wait, options.lock_attempts),
            limits=Limits(
                jobs=options.jobs,
                deadline=None if self._allowed is None else self._started + self._allowed,
                cancel_at_end=options.cancel_at_end,
                budget=self._allowed,
                settings=options.settings,
            ),
            progress=self._task.progress,
            block_size=max((facts.block_size for facts in self._facts), default=8192),
        )

    def _outcome(self, result: Result, controls: Mapping[str, Control]) -> Outcome:
        """Read again what is true now; what was done is told whether that can be read or not."""
        policy = self._options.policy
        try:
            now, lost = self._read_again(result.done, controls)
        except OpsError as error:
            outcome = outcome_of(result.done, None, policy, self._unreachable)
            return replace(outcome, findings=(*outcome.findings, unread("indexes", error)))
        return outcome_of(result.done, now, policy, (*self._unreachable, *lost))

    def _read_again(
        self, done: tuple[Done, ...], controls: Mapping[str, Control]
    ) -> tuple[tuple[DatabaseFacts, ...], tuple[tuple[str, str], ...]]:
        """Return the databases as they are now, and which of them cannot be looked at any more and why."""
        measured = {
            facts.name: {index.oid: index.measured for index in facts.indexes if index.measured is not None}
            for facts in self._facts
        }
        facts, lost = self._collect([facts.name for facts in self._facts], measured)
        new_sizes = to_remember(done, facts, self._options.policy)
        for name, size in new_sizes:
            controls[name].write(size)
        for one in facts:
            for record, _reason in stale_records(one):
                if one.name in controls:
                    controls[one.name].erase(record.record_oid)
        now = tuple(
            replace(one, fresh_sizes=one.fresh_sizes + tuple(size for name, size in new_sizes if name == one.name))
            for one in facts
        )
        return now, lost

    def _raise_for(self, decision: Decision, outcome: Outcome, result: Result) -> None:
        """Fail when the run ended early or an index could not be rebuilt; what was done stays in the result."""
        partial = render_outcome(decision, outcome)
        count = sum(1 for item in result.done if item.status == DONE)
        progress = f"{count} of {len(result.done)} indexes done"
        raise_when_cut_short("rebuild indexes", progress, result.fatal, result.stopped, partial)
        failed = [item for item in result.done if item.status == FAILED]
        if failed:
            more = f" (and {len(failed) - 1} more)" if failed[1:] else ""
            raise DatabaseFailed(
                f"rebuild indexes: {progress}, failed {failed[0].work.id}: {failed[0].detail}{more}",
                code=failed[0].code,
                hint=failed[0].hint or "mend what the server complains about, then run again",
                partial=partial,
            )
