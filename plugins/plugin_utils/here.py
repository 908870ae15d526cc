# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run an operation on the controller, by an action plugin, with the results and failures that every module has."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Protocol

from ansible.utils.display import Display

from ..module_utils._core.errors import OpsError
from ..module_utils._core.redact import redact_text, redact_value
from ..module_utils._core.result import Decision, Outcome, render_decision, render_outcome
from ..module_utils._io.clock import SystemClock
from ..module_utils._io.command import SystemCommands
from ..module_utils._io.progress import ProgressFile
from ..module_utils._module.run import Task, crash_of, failure_of
from ..module_utils._module.secrets import secrets_of


class Operation(Protocol):
    """An operation whose result has an age: what is not different is renewed too, outside check mode."""

    def decide(self) -> Decision:
        """Read the facts and return what is to be done."""

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan."""

    def freshen(self) -> None:
        """Renew the age of what is not different; that is no change."""

    def close(self) -> None:
        """Give back connections and files."""


def run_here(
    start: Callable[[Task], Operation], params: Mapping[str, Any], check_mode: bool, diff: bool
) -> dict[str, Any]:
    """Return the result of an operation, failed or not."""
    secrets, clock = secrets_of(params), SystemClock()
    task = Task(params, clock, SystemCommands(), ProgressFile(None, clock.monotonic))
    try:
        result = _carry_out(start, task, check_mode)
    except OpsError as error:
        return {"failed": True, **failure_of(error, secrets)}
    except Exception as error:  # noqa: BLE001  (as under every module: nothing ends as a bare traceback)
        return {"failed": True, **crash_of(error, secrets)}
    for warning in result.pop("warnings"):
        Display().warning(redact_text(warning, secrets))
    if diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return dict(redact_value(result, secrets))


def _carry_out(start: Callable[[Task], Operation], task: Task, check_mode: bool) -> dict[str, Any]:
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
