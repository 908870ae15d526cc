# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""runbook_lock: options to policy, and the lease file."""

from __future__ import annotations

from pathlib import Path

from .._core.errors import InvalidValue
from .._core.lease import Holder, LeasePolicy, check_name, check_ttl, decide, wanted_lease
from .._core.result import DONE, Decision, Outcome, Step
from .._core.units import parse_duration
from .._io.lease import LeaseFiles, default_directory
from .run import Operation, Task
from .spec import ArgumentSpec


def lease_spec() -> ArgumentSpec:
    """Return the options of the module."""
    holder = {
        "run": {"type": "str", "required": True},
        "host": {"type": "str", "required": True},
        "boot_id": {"type": "str", "default": ""},
        "pid": {"type": "int"},
        "pid_start": {"type": "int"},
        "user": {"type": "str", "default": ""},
        "runbook": {"type": "str", "default": ""},
    }
    return ArgumentSpec(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["acquired", "renewed", "released"], "default": "acquired"},
            "ttl": {"type": "str", "default": "2h"},
            "directory": {"type": "path"},
            "holder": {"type": "dict", "options": holder},
            "dead_runs": {"type": "list", "elements": "str", "default": []},
        }
    )


class RunbookLock(Operation):
    """Take, renew or release the lease of one name on this host."""

    def __init__(self, task: Task) -> None:
        params = task.params
        if not params["holder"]:
            raise InvalidValue(
                "holder is missing: nobody would know whose lock this is",
                hint="leave holder out in a playbook (the action plugin fills it in), give it anywhere else",
            )
        self._clock = task.clock
        self._files = LeaseFiles(Path(params["directory"] or default_directory()), task.clock)
        self._policy = LeasePolicy(
            name=check_name(params["name"]),
            state=params["state"],
            me=Holder(**params["holder"]),
            ttl=check_ttl(parse_duration(params["ttl"], "ttl")),
            dead_runs=frozenset(params["dead_runs"]),
        )

    def decide(self) -> Decision:
        """Read the lease and decide."""
        return decide(self._policy, self._files.read(self._policy.name), self._clock.now())

    def apply(self, decision: Decision) -> Outcome:
        """Decide again while nobody else can write, and write."""
        started = self._clock.monotonic()
        with self._files.exclusive() as folder:
            found, now = folder.read(self._policy.name), self._clock.now()
            final = decide(self._policy, found, now)
            wanted = wanted_lease(self._policy, found, now)
            if wanted is None:
                folder.remove(self._policy.name)
            elif wanted != found:
                folder.write(wanted)
        step = Step(decision.plan[0].id, DONE, round(self._clock.monotonic() - started, 3), final.msg)
        return Outcome(final.msg, (step,), final.findings, final.after)
