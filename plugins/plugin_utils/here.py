# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run an operation on the controller, by an action plugin, with the results and failures that every module has."""

from __future__ import annotations

import sys
from typing import Any, Callable, Mapping, Optional

from ansible.module_utils.errors import AnsibleValidationErrorMultiple, UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.plugins.action.normal import ActionModule as OnTheHost
from ansible.utils.display import Display

from ..module_utils._core.errors import OpsError
from ..module_utils._core.redact import redact_value
from ..module_utils._io.clock import SystemClock
from ..module_utils._io.command import SystemCommands
from ..module_utils._io.progress import ProgressFile
from ..module_utils._module.run import Operation, Task, carry_out, crash_of, failure_of, presented
from ..module_utils._module.secrets import secrets_of
from ..module_utils._module.spec import ArgumentSpec


class Here(ActionBase):  # type: ignore[misc]
    """Carry the operation out in this process: its options, and the operation, are what a module gives to run()."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = False

    spec: Callable[[], ArgumentSpec]
    start: Callable[[Task], Operation]
    secrets_in: Callable[[Mapping[str, Any]], tuple[str, ...]] = staticmethod(secrets_of)

    def run(self, tmp: Any = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Check the options and run the operation."""
        return {**ActionBase.run(self, tmp, task_vars), **self.answer(self._task.args)}

    def answer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result as the module would with these arguments."""
        checked = self.spec().validate(arguments)
        secrets = (*self.secrets_in(checked.validated_parameters), *sorted(map(str, checked._no_log_values)))
        if checked.error_messages:
            return {"failed": True, **redact_value(refusal(checked.errors, self._task.action), secrets)}
        check_mode, diff = bool(self._task.check_mode), bool(self._task.diff)
        return run_here(self.start, checked.validated_parameters, check_mode, diff, secrets)


class Near(Here, OnTheHost):  # type: ignore[misc]
    """Carry the operation out in this process where the host is the controller itself; else the module travels.

    To pack, start and compile a module costs more than most looks, or than a lock that each step renews: with many
    databases that are asked from here it would be most of the time of the run (benchmarks/README.md, the daily look).
    """

    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the operation here, or the module on its host."""
        if self.is_here(task_vars or {}):
            return Here.run(self, tmp, task_vars)
        return dict(OnTheHost.run(self, tmp, task_vars))

    def is_here(self, task_vars: Mapping[str, Any]) -> bool:
        """Tell whether the module would be run by this user with this Python, in this environment."""
        if self._connection.transport != "local" or self._connection.become is not None:
            return False
        if self._task.delegate_to or self._task.async_val or any(self._task.environment or ()):
            return False
        # Not resolved: the Python of a virtual environment is a link to one that knows other packages.
        return str(self._templar.template(task_vars.get("ansible_python_interpreter"))) == sys.executable


def refusal(errors: AnsibleValidationErrorMultiple, name: str) -> dict[str, Any]:
    """Return what AnsibleModule says of options that it cannot take: the first of the errors."""
    first = errors.messages[0]
    words = f"Unsupported parameters for ({name}) module: {first}" if isinstance(errors[0], UnsupportedError) else first
    return {"msg": words, "failure": {"code": "invalid_arguments", "hint": "see ansible-doc", "details": {}}}


def run_here(
    start: Callable[[Task], Operation],
    params: Mapping[str, Any],
    check_mode: bool,
    diff: bool,
    secrets: tuple[str, ...],
) -> dict[str, Any]:
    """Return the result of an operation, failed or not; ``secrets`` are not shown."""
    clock = SystemClock()
    task = Task(params, clock, SystemCommands(), ProgressFile(None, clock.monotonic))
    try:
        result = carry_out(start, task, check_mode)
    except OpsError as error:
        return {"failed": True, **failure_of(error, secrets)}
    except Exception as error:  # noqa: BLE001  (as under every module: nothing ends as a bare traceback)
        return {"failed": True, **crash_of(error, secrets)}
    return presented(result, diff, Display().warning, secrets)
