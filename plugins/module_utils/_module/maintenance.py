# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_maintenance: put facts, policy and connections together."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Mapping, Optional

from .._core import maintenance_outcome as outcomes
from .._core import maintenance_report as report
from .._core.errors import DatabaseFailed, OpsError
from .._core.maintenance_facts import Facts, TableFacts
from .._core.maintenance_plan import Survey, actions, current_pages, leaves_of_parents, survey
from .._core.maintenance_policy import Policy, check_supported
from .._core.maintenance_schedule import Rate, cost_ceiling, estimate_table, units_of
from .._core.maintenance_statement import END_OF_RUN, can_defer_database_stats
from .._core.maintenance_time import seconds_allowed
from .._core.result import DONE, FAILED, UNKNOWN, Decision, Finding, Outcome, Step, render_outcome
from .._io import maintenance as reading
from .._io.maintenance_collect import Collector
from .._io.maintenance_stop import StopSignal
from .._io.maintenance_watch import Watch
from .._io.maintenance_work import Crew, Terms, Work
from .._io.postgres import Target, advisory_lock
from .._io.upkeep_lock import LOCK, LockWatch
from .maintenance_options import Options, read_options
from .postgres import postgres_target
from .run import Operation, Task
from .upkeep_options import raise_when_cut_short, unread

_COUNTERS_SECONDS = 5.0
_MEASURED_TABLES = 200


@dataclass(frozen=True)
class _Aftermath:
    """What was read after the work; without ``facts`` the look failed, and ``problems`` say why."""

    facts: Optional[Facts]
    counters: Mapping[tuple[str, int], outcomes.Counters]
    sizes: Mapping[tuple[str, int], int]
    problems: tuple[Finding, ...] = ()

    def tables(self) -> dict[tuple[str, int], TableFacts]:
        return {(table.database, table.oid): table for table in (self.facts.tables if self.facts else ())}


class Maintenance(Operation):
    """Vacuum, analyze and freeze by need."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._started = task.clock.monotonic()
        self._options: Options = read_options(task.params)
        target = postgres_target(task.params, "postgresql_maintenance")
        self._target: Target = replace(target, application_name=f"{target.application_name} {uuid.uuid4().hex[:8]}")
        self._allowed = seconds_allowed(
            self._options.budget, self._options.window_end, task.clock.now(), datetime.astimezone
        )
        self._opened: Optional[Collector] = None
        self._survey = Survey()
        self._tables: tuple[TableFacts, ...] = ()
        self._sizes: Mapping[tuple[str, int], int] = {}
        self._rate = Rate()

    def decide(self) -> Decision:
        """Read the facts and return what is to be done."""
        collector, policy = self._collector, self._options.policy
        about = collector.about
        check_supported(policy, about.server)
        if about.server.in_recovery:
            return _standby()
        facts = collector.collect(policy, LOCK)
        self._survey, self._tables = survey(facts, policy), facts.tables
        collector.keep_only({item.table.database for item in self._survey.planned})
        self._rate = self._first_rate()
        self._sizes = self._read_sizes()
        seconds = sum(estimate_table(item, self._rate) for item in self._survey.planned)
        unmatched = policy.unmatched(facts.tables) if policy.has_patterns else ()
        return Decision(
            msg=report.plan_message(self._survey, facts, seconds),
            plan=actions(self._survey.planned),
            findings=report.findings(facts, self._survey, policy, unmatched),
            before=report.totals(facts, self._survey, policy),
            after=report.predicted(facts, self._survey, policy),
            extra={
                "tables": self._entries(),
                "xmin_holders": report.holders_shown(facts),
                "estimate_seconds": round(seconds, 1),
                "read_only": False,
            },
        )

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan; what became of each table is proven by the server's own counters."""
        collector = self._collector
        names = sorted({item.table.database for item in self._survey.planned})
        with contextlib.ExitStack() as held:
            holders = [collector.session(name) for name in names]
            for holder in holders:
                held.enter_context(advisory_lock(holder, LOCK))
            work = self._work(LockWatch(holders, self._task.clock))
            unfinished = self._end_of_run(names, work)
        after = self._read_again(work)
        outcome, steps = self._outcome(decision, work, after, unfinished)
        self._raise_for(decision, outcome, work, steps)
        return outcome

    def close(self) -> None:
        """Give back every connection."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _collector(self) -> Collector:
        if self._opened is None:
            self._opened = Collector(self._target, self._options.databases)
        return self._opened

    def _first_rate(self) -> Rate:
        about, options = self._collector.about, self._options
        delay = about.cost_delay_ms if options.cost_delay_ms is None else options.cost_delay_ms
        return Rate(cost_ceiling=cost_ceiling(delay, options.cost_limit or about.cost_limit))

    def _read_sizes(self) -> dict[tuple[str, int], int]:
        """Measure the largest tables: of thousands of small ones it would take longer than to look after them."""
        sizes: dict[tuple[str, int], int] = {}
        largest = sorted(self._survey.planned, key=lambda item: -current_pages(item.table))[:_MEASURED_TABLES]
        for name in sorted({item.table.database for item in largest}):
            oids = [item.table.oid for item in largest if item.table.database == name]
            found = reading.read_sizes(self._collector.session(name), oids)
            sizes.update({(name, oid): size for oid, size in found.items()})
        return sizes

    def _entries(self) -> list[dict[str, Any]]:
        planned = [
            report.planned_entry(item, self._rate, self._sizes.get((item.table.database, item.table.oid)))
            for item in self._survey.planned
        ]
        return planned + [report.passed_entry(passed, None) for passed in self._survey.passed_over]

    def _work(self, lock: LockWatch) -> Work:
        clock, options = self._task.clock, self._options
        terms = Terms(
            jobs=options.jobs,
            major=self._collector.about.server.major,
            attempts=options.lock_attempts,
            deadline=None if self._allowed is None else self._started + self._allowed,
            cancel_at_end=options.cancel_at_end,
            settings=options.settings,
        )
        target = replace(self._target, statement_timeout=options.table_timeout)
        watch = Watch(self._target, self._task.progress, clock, len(self._survey.planned), self._allowed)
        crew = Crew(target, terms, clock, self._rate)

        def tick(crew: Crew) -> None:
            watch.tick(crew)
            lock.tick(crew.give_up)

        with StopSignal() as stop, contextlib.closing(watch):
            work = crew.work(units_of(self._survey.planned), tick, lambda: stop.is_set)
        lock.look()
        return replace(work, fatal=work.fatal or lock.lost)

    @property
    def _wish_afterwards(self) -> Policy:
        """What was asked for whether needed or not is done; what counts afterwards is what is still needed."""
        return replace(self._options.policy, all_tables=False)

    def _end_of_run(self, names: list[str], work: Work) -> list[Finding]:
        """Let the server note once per database what each vacuum left to the end (16)."""
        vacuumed = {item.table.database for item in self._survey.planned if item.need.vacuum}
        if work.fatal is not None or not can_defer_database_stats(self._collector.about.server.major):
            return []
        found = []
        for name in (name for name in names if name in vacuumed):
            try:
                self._collector.session(name).execute(END_OF_RUN)
            except DatabaseFailed as error:
                text = f"{END_OF_RUN} failed: {error.message}; the next vacuum does it"
                found.append(Finding("database_statistics", UNKNOWN, text, error.code))
        return found

    def _read_again(self, work: Work) -> _Aftermath:
        """Read what is true now; when that fails, only what was read before it and the warnings can speak."""
        collector = self._collector
        server, leaves = collector.about.server, leaves_of_parents(self._tables)
        counters: dict[tuple[str, int], outcomes.Counters] = {}
        also: dict[str, list[int]] = {}
        try:
            for name in sorted({item.table.database for item in self._survey.planned}):
                items = [item for item in self._survey.planned if item.table.database == name]
                also[name] = [item.table.oid for item in items]
                expected = outcomes.all_expected(items, work.attempts, leaves, server)
                found = reading.wait_for_counters(
                    collector.session(name), expected, self._task.clock, _COUNTERS_SECONDS
                )
                found.update(outcomes.parents_counters(items, expected, found, leaves, server))
                counters.update({(name, oid): value for oid, value in found.items()})
            facts = collector.collect(self._wish_afterwards, LOCK, also)
            return _Aftermath(facts, counters, self._read_sizes())
        except OpsError as error:
            return _Aftermath(None, counters, {}, (unread("tables", error),))

    def _outcome(
        self, decision: Decision, work: Work, after: _Aftermath, found: list[Finding]
    ) -> tuple[Outcome, tuple[Step, ...]]:
        planned, policy = self._survey.planned, self._options.policy
        steps, codes, entries, tables = [], {}, [], after.tables()
        for item, entry in zip(planned, decision.extra["tables"]):
            key, attempt = (item.table.database, item.table.oid), work.attempts.get(item.id)
            now = tables.get(key)
            step = outcomes.step_of(item, attempt, after.counters.get(key), now)
            codes[item.id] = outcomes.code_of(item, attempt, step, now)
            steps.append(step)
            reading_now = None if now is None else report.table_reading(now, after.sizes.get(key))
            entries.append({**entry, "status": step.status, "code": codes[item.id], "after": reading_now})
        entries += decision.extra["tables"][len(planned) :]
        left = report.unfinished(codes, planned)
        if after.facts is None:
            findings, totals = after.problems, {}
        else:
            now_needed = survey(after.facts, self._wish_afterwards)
            unmatched = policy.unmatched(after.facts.tables) if policy.has_patterns else ()
            findings = report.findings(after.facts, self._survey.still_passed_over(now_needed), policy, unmatched)
            totals = report.totals(after.facts, now_needed, policy)
        freed = sum(self._sizes[key] - after.sizes[key] for key in self._sizes.keys() & after.sizes.keys())
        outcome = Outcome(
            msg=outcomes.message(steps, planned, codes, freed),
            steps=tuple(steps),
            findings=(*findings, *left, *found),
            after=totals,
            extra={"tables": entries},
        )
        return outcome, tuple(steps)

    def _raise_for(self, decision: Decision, outcome: Outcome, work: Work, steps: tuple[Step, ...]) -> None:
        """Fail when the run ended early or a table could not be done; what was done stays in the result."""
        failed = [step for step in steps if step.status == FAILED]
        if work.fatal is None and not work.stopped and not failed:
            return
        partial = render_outcome(decision, outcome)
        done = sum(1 for step in steps if step.status == DONE)
        progress = f"{done} of {len(steps)} tables done"
        raise_when_cut_short("maintain", progress, work.fatal, work.stopped, partial)
        code = work.attempts[failed[0].id].code
        names = f"{failed[0].id}: {failed[0].detail}" + (f" (and {len(failed) - 1} more)" if failed[1:] else "")
        hint = "read the server's log for this table, then run again"
        raise DatabaseFailed(f"maintain: {progress}, failed {names}", code=code, hint=hint, partial=partial)


def _standby() -> Decision:
    finding = report.standby_finding()
    extra = {"tables": [], "xmin_holders": [], "estimate_seconds": 0.0, "read_only": True}
    return Decision(msg=finding.msg, findings=(finding,), extra=extra)
