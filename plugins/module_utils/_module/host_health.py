# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""host_health_info: options to limits, one look, verdicts."""

from __future__ import annotations

from typing import Optional

from .._core.counters import read_moment, read_previous
from .._core.errors import InvalidValue
from .._core.host_health import LIMITS, Moment, decide
from .._core.limits import read_limits
from .._core.result import Decision
from .._core.units import parse_duration
from .._io.host_health import Budget, Ports, read_host
from .info import InfoOperation
from .run import Task
from .spec import ArgumentSpec


def host_health_spec() -> ArgumentSpec:
    """Return the options of a look at a host."""
    return ArgumentSpec(
        {
            "window": {"type": "str", "default": "1s"},
            "mount_timeout": {"type": "str", "default": "3s"},
            "timeout": {"type": "str", "default": "30s"},
            "exclude_mounts": {
                "type": "list",
                "elements": "str",
                "default": [
                    "/run/user/*",
                    "/run/credentials/*",
                    "/run/netns*",
                    "/run/.containerenv",
                    "/run/secrets",
                    "/etc/host*",
                    "/etc/resolv.conf",
                    "/snap/*",
                    "/var/lib/containers/*",
                    "/var/lib/docker/*",
                    "/var/lib/kubelet/*",
                ],
            },
            "controller_time": {"type": "str"},
            "previous": {"type": "dict", "default": {}},
            "limits": {"type": "dict", "default": {}},
        }
    )


class HostHealth(InfoOperation):
    """Look whether this host is well."""

    def __init__(self, task: Task, ports: Optional[Ports] = None) -> None:
        params = task.params
        self._clock = task.clock
        self._ports = ports or Ports(task.commands, task.clock)
        self._limits = read_limits(params["limits"], LIMITS)
        self._previous = read_previous(params["previous"])
        self._exclude = params["exclude_mounts"]
        raw = params["controller_time"]
        self._controller_time = read_moment(raw, "controller_time") if raw else None
        window, mount, total = (parse_duration(params[name], name) for name in ("window", "mount_timeout", "timeout"))
        if not 0.1 <= window <= 300 or window + mount > total:
            raise InvalidValue(
                f"window ({window:g} s) must be from 0.1 s to 5 min, and with mount_timeout ({mount:g} s) within"
                f" timeout ({total:g} s)",
                hint="give a longer timeout",
            )
        self._budget = Budget(window, mount, total)

    def decide(self) -> Decision:
        """Read the host against its limits."""
        facts = read_host(self._ports, self._budget, self._exclude, self._controller_time)
        return decide(facts, self._limits, Moment(self._clock.now(), self._previous))
