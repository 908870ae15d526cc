# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""host_preflight_info: options to limits."""

from __future__ import annotations

from .._core.host_preflight import Limits, check_limits, decide
from .._core.result import Decision
from .._core.units import parse_size
from .._io.host_preflight import read_host
from .info import InfoOperation
from .run import Task


class HostPreflight(InfoOperation):
    """Look whether this host is fit for work."""

    def __init__(self, task: Task) -> None:
        self._task = task
        params = task.params
        self._limits = check_limits(
            Limits(
                disk_warning=params["disk_warning_percent"],
                disk_critical=params["disk_critical_percent"],
                inodes_warning=params["inodes_warning_percent"],
                inodes_critical=params["inodes_critical_percent"],
                free_minimum=parse_size(params["free_minimum"], "free_minimum"),
                load_warning=params["load_warning"],
                load_critical=params["load_critical"],
            )
        )

    def decide(self) -> Decision:
        """Read the host against its limits."""
        params = self._task.params
        facts = read_host(params["paths"], params["commands"], params["writable"], self._task.commands)
        return decide(facts, self._limits)
