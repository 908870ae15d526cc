# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The only place that knows AnsibleModule: errors, check mode, the diff and the redaction of every module."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Callable, Mapping

from ansible.module_utils.basic import AnsibleModule

from .._core.errors import OpsError
from .._core.redact import redact_text, redact_value
from .._core.result import Decision, Outcome, render_decision, render_outcome
from .._io.clock import Clock, SystemClock
from .._io.command import CommandRunner, SystemCommands
from .._io.progress import ProgressFile
from .secrets import secrets_of
from .spec import ArgumentSpec


@dataclass(frozen=True)
class Task:
    """What an operation is given: its options and its ports to the world."""

    params: Mapping[str, Any]
    clock: Clock
    commands: CommandRunner
    progress: ProgressFile


class Operation(ABC):
    """Collect and decide without changing anything; apply carries out exactly the plan that was decided."""

    @abstractmethod
    def decide(self) -> Decision:
        """Read the facts and return what is to be done."""

    @abstractmethod
    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan, verify each step, and read again what is true now."""

    def freshen(self) -> None:  # noqa: B027  (most results have no age)
        """Renew the age of a result that says the same as before, outside check mode; that is no change."""

    def close(self) -> None:  # noqa: B027  (most operations hold nothing when they are done)
        """Give back connections and files."""


class OpsModule(AnsibleModule):  # type: ignore[misc]
    """An AnsibleModule whose failures always carry ``failure.code``, those of the argument parser too."""

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """Fail; without a code of our own the options were wrong."""
        kwargs.setdefault("failure", {"code": "invalid_arguments", "hint": "see ansible-doc", "details": {}})
        super().fail_json(msg, **kwargs)


def run(
    spec: ArgumentSpec,
    start: Callable[[Task], Operation],
    secrets_in: Callable[[Mapping[str, Any]], tuple[str, ...]] = secrets_of,
) -> None:
    """Run one module to its end; ``start`` makes the operation from the task, ``secrets_in`` finds what is secret."""
    module = OpsModule(supports_check_mode=True, **spec.to_kwargs())
    secrets = secrets_in(module.params)
    module.no_log_values.update(secrets)  # the options are part of the result too
    clock = SystemClock()
    task = Task(
        module.params, clock, SystemCommands(), ProgressFile(module.params.get("progress_file"), clock.monotonic)
    )
    try:
        task.progress.begin()
        result = carry_out(start, task, check_mode=module.check_mode)
    except OpsError as error:
        module.fail_json(**failure_of(error, secrets))
    except Exception as error:  # noqa: BLE001  (the one net under all modules: nothing ends as a bare traceback)
        module.fail_json(**crash_of(error, secrets))
    else:
        module.exit_json(**presented(result, module._diff, module.warn, secrets))


def carry_out(start: Callable[[Task], Operation], task: Task, check_mode: bool) -> dict[str, Any]:
    """Return the result of an operation and its ``warnings``; the one place where check mode is looked at."""
    operation = start(task)
    try:
        decision = operation.decide()
        if check_mode or not decision.plan:
            if not check_mode:
                operation.freshen()
            return {**render_decision(decision), "warnings": decision.warnings}
        outcome = operation.apply(decision)
        return {**render_outcome(decision, outcome), "warnings": decision.warnings + outcome.warnings}
    finally:
        operation.close()


def presented(
    result: dict[str, Any], diff: bool, warn: Callable[[str], Any], secrets: tuple[str, ...]
) -> dict[str, Any]:
    """Return what a person sees of what ``carry_out`` returned, and tell them its warnings."""
    for warning in result.pop("warnings"):
        warn(redact_text(warning, secrets))
    if diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return dict(redact_value(result, secrets))


def failure_of(error: OpsError, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return what a failed module says."""
    partial = {"changed": False, **error.partial}
    return dict(redact_value({**partial, "msg": error.words(), "failure": error.failure()}, secrets))


def crash_of(error: Exception, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return what a module says that met a bug."""
    where = traceback.format_exc().splitlines()[-12:]
    details = {"type": type(error).__name__, "traceback": where}
    failure = {"code": "bug", "hint": "please report it with the traceback", "details": details}
    return dict(redact_value({"msg": f"unexpected {type(error).__name__}: {error}", "failure": failure}, secrets))
