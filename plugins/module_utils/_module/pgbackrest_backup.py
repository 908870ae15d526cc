# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""pgbackrest_backup: the stanza made where it is missing, and the backups that are due in each repository."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Iterator, Optional

from .._core.errors import OpsError, VerificationFailed
from .._core.pgbackrest import Backup, Ran, Stanza, pages_finding
from .._core.pgbackrest_schedule import (
    STANZA_STEP,
    Due,
    Schedule,
    due,
    failure_of,
    lacks_stanza,
    new_backup,
    new_stanza,
)
from .._core.result import SKIPPED, Action, Decision, Outcome, Step, render_outcome
from .._core.units import count_of, human_size, parse_duration, rfc3339
from .._io.pgbackrest import PgBackRest
from .._io.workspace import Stopped, ends_in_order
from .copy_steps import Steps
from .run import Operation, Task
from .spec import ArgumentSpec


def pgbackrest_backup_spec() -> ArgumentSpec:
    """Return the module's options."""
    return ArgumentSpec(
        {
            "stanza": {"type": "str", "required": True},
            "config": {"type": "path"},
            "pgbackrest_path": {"type": "path", "default": "pgbackrest"},
            "full_every": {"type": "str", "default": "7d"},
            "diff_every": {"type": "str", "default": "1d"},
            "incr_every": {"type": "str", "default": "0"},
            "max_duration": {"type": "str", "default": "12h"},
            "planned_repositories": {"type": "int", "default": 0},
        }
    )


class PgBackRestBackup(Operation):
    """Make the physical backups that are due, each in its repository; one that fails does not stop the others."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task, self._name = task, params["stanza"]
        self._schedule = Schedule(
            *(parse_duration(params[name], name) for name in ("full_every", "diff_every", "incr_every"))
        )
        timeout = parse_duration(params["max_duration"], "max_duration")
        self._tool = PgBackRest(params["pgbackrest_path"], params["config"], timeout)

    def decide(self) -> Decision:
        """Read what the repositories have and say what is missing in them."""
        self._before = self._planned() or self._read()
        self._due = due(self._before, self._schedule, self._task.clock.now())
        text = f"{count_of(len(self._due), 'backup')} due" if self._due else "no backup is due"
        return Decision(
            f"stanza {self._name}: {text}",
            tuple(self._actions()),
            before=_shown(self._before),
            after={
                **_shown(self._before),
                **{f"repository {one.repository}": f"a new {one.type}" for one in self._due},
            },
            extra={"backups": [_entry(one, None) for one in self._due]},
        )

    def _actions(self) -> Iterator[Action]:
        name, lacking = self._name, lacks_stanza(self._before)
        if lacking:
            where = ", ".join(f"repository {key}" for key in lacking)
            yield Action(STANZA_STEP, "create", name, f"not in {where} yet", self._command("stanza-create"))
        for one in self._due:
            command = self._command(f"--repo={one.repository} backup --type={one.type}")
            yield Action(one.step_id, "backup", f"{name}, repository {one.repository}", one.reason, command)

    def apply(self, decision: Decision) -> Outcome:
        """Carry it out; each backup is looked for in its repository afterwards."""
        steps, errors = Steps(decision, self._task.clock), []
        made: dict[int, Backup] = {}
        with ends_in_order():
            if lacks_stanza(self._before):
                with steps.doing(STANZA_STEP):
                    self._require(self._tool.create_stanza(self._name), "make the stanza")
            for one in self._due:
                try:
                    with steps.doing(one.step_id) as note:
                        made[one.repository] = backup = self._make(one)
                        note.detail = f"{backup.label}, {backup.type}, {human_size(backup.size_bytes)} of database"
                except Stopped:
                    raise
                except OpsError as error:
                    errors.append(error)
        outcome = self._outcome(decision, steps, made)
        if errors:
            others = f" (and {len(errors) - 1} more failed)" if errors[1:] else ""
            first = errors[0]
            raise OpsError(
                first.message + others,
                code=first.code,
                hint=first.hint,
                details=first.details,
                partial=render_outcome(decision, outcome),
            ) from first
        return outcome

    def _command(self, text: str) -> str:
        return f"pgbackrest --stanza={self._name} {text}"

    def _planned(self) -> Optional[Stanza]:
        """Return what a configuration that is yet to be written will begin with; None when there is one."""
        params = self._task.params
        number = params["planned_repositories"]
        if not number or not params["config"]:
            return None
        try:
            Path(params["config"]).stat()
        except FileNotFoundError:
            return new_stanza(self._name, number)
        except OSError:
            pass  # something is there; pgBackRest says what is wrong with it
        return None

    def _read(self) -> Stanza:
        stanzas, unreadable = self._tool.info(self._name)
        if unreadable is not None:
            raise failure_of(unreadable, "read what the repositories have")
        found = [one for one in stanzas if one.name == self._name]
        if not found:
            raise VerificationFailed(
                f"pgbackrest info says nothing about stanza {self._name}",
                code="pgbackrest_failed",
                hint="is there a repository in its configuration?",
            )
        return found[0]

    def _require(self, ran: Ran, what: str) -> None:
        if ran.rc != 0:
            raise failure_of(ran, f"stanza {self._name}: {what}")

    def _make(self, one: Due) -> Backup:
        what = f"back up into repository {one.repository}"
        self._require(self._tool.backup(self._name, one.repository, one.type), what)
        backup = new_backup(self._before, self._read(), one.repository)
        if backup is None:
            raise VerificationFailed(
                f"stanza {self._name}: {what}: pgBackRest said that it was done, but there is no new backup",
                hint="look at its configuration: is it the one that the server archives with?",
            )
        return backup

    def _outcome(self, decision: Decision, steps: Steps, made: dict[int, Backup]) -> Outcome:
        done = {step.id for step in steps.done}
        missing = [Step(action.id, SKIPPED, 0.0, "not begun") for action in decision.plan if action.id not in done]
        findings = [pages_finding(self._name, backup) for backup in made.values()]
        return Outcome(
            f"stanza {self._name}: {count_of(len(made), 'backup')} made" if self._due else decision.msg,
            (*steps.done, *missing),
            tuple(findings),
            after={**_shown(self._before), **{f"repository {key}": one.label for key, one in made.items()}},
            extra={"backups": [_entry(one, made.get(one.repository)) for one in self._due]},
        )


def _entry(one: Due, backup: Optional[Backup]) -> dict[str, Any]:
    entry = {**asdict(one), **dict.fromkeys(("label", "start", "stop", "size_bytes", "repository_bytes"))}
    if backup is None:
        return entry
    times = {"start": rfc3339(backup.start), "stop": rfc3339(backup.stop)}
    sizes = {"size_bytes": backup.size_bytes, "repository_bytes": backup.repository_bytes}
    return {**entry, "type": backup.type, "label": backup.label, **times, **sizes}


def _shown(stanza: Stanza) -> dict[str, Any]:
    """Return the newest backup of each repository."""
    shown = {}
    for repository in stanza.repositories:
        labels = [one for one in stanza.backups if one.repository == repository.key]
        newest = max(labels, key=lambda one: one.start, default=None)
        shown[f"repository {repository.key}"] = newest.label if newest else None
    return shown
