# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import getpass
import os
import socket
from typing import Any, Mapping, Optional

from ansible.plugins.action import ActionBase

from ..module_utils._io.process_identity import pid_space, process_start
from ..module_utils._module.lease import RunbookLock, lease_spec
from ..plugin_utils.here import Near


class ActionModule(Near):
    """Say who holds the lock, and look whether the process of another holder is still alive: only this side can."""

    _supports_async = False
    spec = staticmethod(lease_spec)
    start = RunbookLock

    def run(self, tmp: Any = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Ask for the lock, and a second time when its holder turns out to be dead."""
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        me = this_run(task_vars or {})
        arguments = {"holder": me, **self._task.args}
        answer = self._ask(arguments, task_vars)
        holder = busy_holder(answer)
        if holder and is_dead(holder, me):
            answer = self._ask({**arguments, "dead_runs": [holder["run"]]}, task_vars)
        return {**result, **answer}

    def _ask(self, arguments: dict[str, Any], task_vars: Optional[dict[str, Any]]) -> dict[str, Any]:
        if self.is_here(task_vars or {}):
            return self.answer(arguments)
        return dict(self._execute_module(module_args=arguments, task_vars=task_vars))


def this_run(task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of this run: the process that forked the workers."""
    pid = os.getppid()
    host, boot_id, start = socket.gethostname(), pid_space(), process_start(pid)
    return {
        "run": f"{host}:{boot_id}:{pid}:{start}",
        "host": host,
        "boot_id": boot_id,
        "pid": pid,
        "pid_start": start,
        "user": user_name(),
        "runbook": str(task_vars.get("ansible_play_name") or "").partition(" (")[0],
    }


def user_name() -> str:
    """Return who started the run, also behind sudo and where the user has no name."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def busy_holder(result: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """Return the other run that a refusal names."""
    failure = result.get("failure") or {}
    return dict(failure["details"]["holder"]) if failure.get("code") == "lock_busy" else None


def is_dead(holder: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """Tell whether the holder was a process that this run would see, and is gone."""
    if (holder["host"], holder["boot_id"]) != (me["host"], me["boot_id"]) or not holder["boot_id"]:
        return False
    return bool(holder["pid"]) and process_start(holder["pid"]) != holder["pid_start"]
