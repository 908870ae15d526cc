# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_backup: every database as one snapshot, each on its own; what fails does not stop the others."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

from .._core import backup_plan as plan
from .._core.backup import POSTGRESQL, Catalog
from .._core.backup_manifest import DIRECTORY, Sentinel
from .._core.errors import InvalidValue, OpsError
from .._core.progress import Progress
from .._core.redact import printable
from .._core.result import DONE, FAILED, SKIPPED, Action, Decision, Finding, Outcome, Step, render_outcome
from .._core.units import count_of, human_size, rfc3339
from .._io.backup_copy import Copier, Made, Tools, free_bytes, try_sentinel
from .._io.backup_dump import dump_arguments
from .._io.backup_sentinel import NAME as SENTINEL_TABLE
from .._io.backup_survey import Survey
from .._io.postgres import Database, advisory_lock
from .._io.postgres_tools import find_tool, login
from .._io.restic import RepositoryFailed, Restic
from .._io.workspace import Stopped, ends_in_order
from .backup_options import read_options
from .postgres import postgres_target
from .repository import repository_of, source_of
from .run import Operation, Task

LOCK = "postgresql_backup"


class Backup(Operation):
    """Copy databases into a repository."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._target = postgres_target(task.params, LOCK)
        self._options = read_options(task.params, self._target.lock_timeout, self._target.session_role)
        self._restic = Restic(repository_of(task.params))
        self._survey: Optional[Survey] = None
        self._standby = False
        self._catalog: Optional[Catalog] = None
        self._candidates: tuple[plan.Candidate, ...] = ()
        self._no_repository: Optional[OpsError] = None

    def decide(self) -> Decision:
        """Look at the databases, at the room that there is, and at the copies that there are."""
        options, now = self._options, self._task.clock.now()
        self._catalog = self._read_catalog()
        self._survey = Survey(self._target, options.databases)
        self._tools = self._find_tools()
        newest = {name: self._newest(name) for name in self._survey.names}
        self._standby = self._survey.in_recovery
        room = self._room()
        found = self._survey.candidates(newest)
        self._candidates = tuple(plan.plan_form(one, options.mode, room) for one in found)
        self._raise_when_nothing_is_possible()
        findings = plan.space_findings(self._candidates, room, options.mode)
        findings.append(plan.unchosen_finding(self._survey.there, self._survey.names, options.left_out))
        if self._standby:
            findings.append(plan.standby_finding(options.terms.sentinel))
        actions = [action for one in self._candidates for action in self._actions(one)]
        if self._catalog is None:
            actions.insert(0, plan.create_action(self._restic.repository.location))
        size = human_size(sum(one.estimate_bytes for one in self._candidates))
        return Decision(
            msg=f"{count_of(len(self._candidates), 'database')} to back up, about {size} to dump",
            plan=tuple(actions),
            findings=tuple(findings),
            before=self._shown(newest),
            after=self._shown({name: now for name in self._survey.names}),
            extra={"copies": [_planned(one) for one in self._candidates]},
        )

    def apply(self, decision: Decision) -> Outcome:
        """Make the copies one after the other, and fail at the end when one of them could not be made."""
        steps: list[Step] = []
        made: dict[str, Made] = {}
        errors: dict[str, OpsError] = {}
        try:
            with ends_in_order(), login(self._target) as account, self._repository(steps) as ready:
                copier = Copier(self._target, account, self._restic, self._tools, self._options.terms, ready)
                for number, candidate in enumerate(self._candidates):
                    self._attempt(copier, candidate, number, (steps, made, errors))
        except OpsError as error:  # the run was stopped, or there is no repository to write to
            errors[""] = error
        outcome = self._outcome(decision, steps, made, errors)
        if errors:
            first = next(iter(errors.values()))
            others = f" (and {len(errors) - 1} more failed)" if len(errors) > 1 else ""
            partial = render_outcome(decision, outcome)
            raise OpsError(
                first.message + others, code=first.code, hint=first.hint, details=first.details, partial=partial
            ) from first
        return outcome

    def close(self) -> None:
        """Give back every connection."""
        if self._survey is not None:
            self._survey.close()

    def _read_catalog(self) -> Optional[Catalog]:
        """Return what the repository has; None: there is none yet, and it may be made."""
        try:
            return self._restic.catalog()
        except RepositoryFailed as error:
            if error.code == "repository_missing" and self._options.repository_create:
                return None
            raise

    def _find_tools(self) -> Tools:
        commands, folders, major = self._task.commands, self._options.client_bin_dirs, self._first.first.major
        return Tools(
            find_tool(commands, "pg_dump", major, folders),
            lambda: find_tool(commands, "pg_dumpall", major, folders),
            self._restic.version(),
        )

    @property
    def _first(self) -> Survey:
        if self._survey is None:
            raise RuntimeError("decide() opens the sessions")
        return self._survey

    def _newest(self, name: str) -> Optional[datetime]:
        copies = () if self._catalog is None else self._catalog.of(source_of(self._task.params, POSTGRESQL, name))
        return copies[-1].taken if copies else None

    def _room(self) -> plan.Room:
        place, repository = self._options.terms.staging_dir, plan.local_path(self._restic.repository.location)
        if not Path(place).is_dir():
            raise InvalidValue(f"staging_dir: {place} is no folder", hint="make it, or choose another one")
        return plan.Room(place, free_bytes(place), free_bytes(repository) if repository is not None else None)

    def _raise_when_nothing_is_possible(self) -> None:
        blocked = [one.blocked for one in self._candidates if one.blocked is not None]
        if len(blocked) == len(self._candidates):
            raise blocked[0]

    def _actions(self, candidate: plan.Candidate) -> Iterator[Action]:
        if self._wants_sentinel(candidate):
            yield plan.sentinel_action(candidate, SENTINEL_TABLE)
        yield plan.action_of(candidate, self._command(candidate))

    def _wants_sentinel(self, candidate: plan.Candidate) -> bool:
        return self._options.terms.sentinel and not self._standby and candidate.blocked is None

    def _command(self, candidate: plan.Candidate) -> str:
        arguments = dump_arguments(self._options.terms.dump, candidate.form == DIRECTORY)
        return " ".join(["pg_dump", *arguments, printable(candidate.name), "| restic backup"])

    @contextlib.contextmanager
    def _repository(self, steps: list[Step]) -> Iterator[Callable[[], None]]:
        """Give what waits for the repository: one that must be made is made while the first database is dumped."""
        if self._catalog is not None:
            yield lambda: None
            return
        began, finished = self._task.clock.monotonic(), False

        def ready() -> None:
            nonlocal finished
            if finished:
                return
            try:
                finish()
            except OpsError as error:
                steps.insert(0, self._step(plan.REPOSITORY_STEP, FAILED, began, error.message))
                self._no_repository = error
                raise
            finished = True
            steps.insert(0, self._step(plan.REPOSITORY_STEP, DONE, began, ""))

        with self._restic.creating() as finish:
            yield ready
            ready()  # also when no dump came as far as that

    def _attempt(
        self,
        copier: Copier,
        candidate: plan.Candidate,
        number: int,
        account: tuple[list[Step], dict[str, Made], dict[str, OpsError]],
    ) -> None:
        """Copy one database and note what became of it; nothing goes further but what ends the run."""
        steps, made, errors = account
        began = self._task.clock.monotonic()
        try:
            made[candidate.name] = one = self._copy(copier, candidate, number, steps)
        except OpsError as error:
            steps.append(self._step(candidate.step_id, FAILED, began, error.message))
            if isinstance(error, Stopped) or error is self._no_repository:
                raise
            errors[candidate.name] = error
            return
        rows, size = sum(table.rows for table in one.manifest.tables), human_size(one.copy.size_bytes or 0)
        text = f"{size}, {count_of(rows, 'row')}, {human_size(one.added_bytes)} new in the repository"
        steps.append(self._step(candidate.step_id, DONE, began, f"snapshot {one.copy.id[:8]}: {text}"))

    def _copy(self, copier: Copier, candidate: plan.Candidate, number: int, steps: list[Step]) -> Made:
        if candidate.blocked is not None:
            raise candidate.blocked
        session = self._first.session(candidate.name)
        began, total = self._task.clock.monotonic(), len(self._candidates)

        def tell(phase: str, done: int, expected: int) -> None:
            seconds = self._task.clock.monotonic() - began
            percent = min(100.0 * done / expected, 100.0) if expected else None
            of = (done, expected, "tables") if phase == "count" else (done >> 20, max(done, expected) >> 20, "MB")
            item = f"{printable(candidate.name)} ({number + 1} of {total} databases)"
            self._task.progress.show(Progress(item, phase, *of, seconds, None, percent))

        with advisory_lock(session, LOCK):
            source = source_of(self._task.params, POSTGRESQL, candidate.name)
            sentinel, problem = self._sentinel(session, candidate, steps)
            made = copier.copy(source, candidate, sentinel, tell)
            return made if problem is None else replace(made, findings=(problem, *made.findings))

    def _sentinel(
        self, session: Database, candidate: plan.Candidate, steps: list[Step]
    ) -> tuple[Optional[Sentinel], Optional[Finding]]:
        if not self._wants_sentinel(candidate):
            return None, None
        began = self._task.clock.monotonic()
        sentinel, problem = try_sentinel(session, self._options.terms.sentinel_keep)
        status, detail = (DONE, "") if problem is None else (SKIPPED, problem.msg)
        steps.append(self._step(candidate.sentinel_id, status, began, detail))
        return sentinel, problem

    def _step(self, step_id: str, status: str, began: float, detail: str) -> Step:
        return Step(step_id, status, round(self._task.clock.monotonic() - began, 3), detail)

    def _outcome(
        self, decision: Decision, steps: list[Step], made: Mapping[str, Made], errors: Mapping[str, OpsError]
    ) -> Outcome:
        by_id = {step.id: step for step in steps}
        missing = [Step(action.id, SKIPPED, 0.0, "not begun") for action in decision.plan if action.id not in by_id]
        findings = list(decision.findings)
        newest = {}
        for one in self._candidates:
            copy = made.get(one.name)
            newest[one.name] = one.newest if copy is None else copy.taken_at
            if copy is not None:
                skew = plan.clock_finding(one.name, copy.taken_at, one.newest, self._task.clock.now())
                findings += [*copy.findings, *([skew] if skew is not None else [])]
        entries = []
        for one in self._candidates:
            entry = _entry(one, by_id.get(one.step_id), made.get(one.name))
            entries.append({**entry, "code": errors[one.name].code} if one.name in errors else entry)
        failed = f", {len(self._candidates) - len(made)} not" if errors else ""
        added = human_size(sum(one.added_bytes for one in made.values()))
        size = human_size(sum(one.copy.size_bytes or 0 for one in made.values()))
        return Outcome(
            msg=f"{count_of(len(made), 'database')} backed up{failed}: {size}, {added} new in the repository",
            steps=(*steps, *missing),
            findings=tuple(findings),
            after=self._shown(newest),
            extra={"copies": entries},
        )

    def _shown(self, newest: Mapping[str, Optional[datetime]]) -> dict[str, Any]:
        return {"newest_copy": {name: None if at is None else rfc3339(at) for name, at in newest.items()}}


def _planned(candidate: plan.Candidate) -> dict[str, Any]:
    return {
        "database": candidate.name,
        "status": "planned" if candidate.blocked is None else FAILED,
        "code": "" if candidate.blocked is None else candidate.blocked.code,
        "form": candidate.form,
        "estimate_bytes": candidate.estimate_bytes,
        "database_bytes": candidate.size_bytes,
        **dict.fromkeys(("snapshot", "taken_at", "size_bytes", "added_bytes", "seconds", "tables", "rows", "sentinel")),
    }


def _entry(candidate: plan.Candidate, step: Optional[Step], made: Optional[Made]) -> dict[str, Any]:
    entry = _planned(candidate)
    if step is None:
        return {**entry, "status": "skipped"}
    entry = {**entry, "status": step.status, "seconds": step.duration_seconds}
    if made is None:
        return entry
    sentinel = made.manifest.sentinel
    return {
        **entry,
        "snapshot": made.copy.id,
        "taken_at": rfc3339(made.taken_at),
        "size_bytes": made.copy.size_bytes,
        "added_bytes": made.added_bytes,
        "tables": len(made.manifest.tables),
        "rows": sum(table.rows for table in made.manifest.tables),
        "sentinel": None if sentinel is None else sentinel.written_at,
    }
