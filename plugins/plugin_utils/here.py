# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run an operation on the controller, by an action plugin, with the results and failures that every module has."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from ansible.utils.display import Display

from ..module_utils._core.errors import OpsError
from ..module_utils._io.clock import SystemClock
from ..module_utils._io.command import SystemCommands
from ..module_utils._io.progress import ProgressFile
from ..module_utils._module.run import Operation, Task, carry_out, crash_of, failure_of, presented
from ..module_utils._module.secrets import secrets_of


def run_here(
    start: Callable[[Task], Operation], params: Mapping[str, Any], check_mode: bool, diff: bool
) -> dict[str, Any]:
    """Return the result of an operation, failed or not."""
    secrets, clock = secrets_of(params), SystemClock()
    task = Task(params, clock, SystemCommands(), ProgressFile(None, clock.monotonic))
    try:
        result = carry_out(start, task, check_mode)
    except OpsError as error:
        return {"failed": True, **failure_of(error, secrets)}
    except Exception as error:  # noqa: BLE001  (as under every module: nothing ends as a bare traceback)
        return {"failed": True, **crash_of(error, secrets)}
    return presented(result, diff, Display().warning, secrets)
