# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_preflight_info: options to limits."""

from __future__ import annotations

from .._core.errors import InvalidValue
from .._core.postgres_preflight import decide
from .._core.postgres_preflight_facts import ANY, PRIMARY, STANDBY, Limits
from .._core.result import CRITICAL, WARNING, Decision
from .._core.units import parse_duration
from .._io.postgres_preflight import read_facts
from .info import InfoOperation
from .postgres import postgres_target
from .run import Task
from .spec import ArgumentSpec


def preflight_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "expect": {"type": "str", "choices": [PRIMARY, STANDBY, ANY], "default": PRIMARY},
            "own_runs": {"type": "str", "choices": [WARNING, CRITICAL], "default": CRITICAL},
            "free_connections_warning": {"type": "int", "default": 10},
            "free_connections_critical": {"type": "int", "default": 3},
            "transaction_warning": {"type": "str", "default": "1h"},
            "transaction_critical": {"type": "str"},
        }
    )


class PostgresPreflight(InfoOperation):
    """Look whether a database is fit for work."""

    def __init__(self, task: Task) -> None:
        params = task.params
        critical = params["transaction_critical"]
        self._limits = Limits(
            expect=params["expect"],
            own_runs=params["own_runs"],
            free_warning=params["free_connections_warning"],
            free_critical=params["free_connections_critical"],
            transaction_warning=parse_duration(params["transaction_warning"], "transaction_warning"),
            transaction_critical=None if critical is None else parse_duration(critical, "transaction_critical"),
        )
        _check(self._limits)
        self._target = postgres_target(params, "postgresql_preflight_info")

    def decide(self) -> Decision:
        """Read the server against its limits."""
        return decide(read_facts(self._target), self._limits)


def _check(limits: Limits) -> None:
    if limits.free_critical < 0 or limits.free_warning < limits.free_critical:
        raise InvalidValue(
            f"free_connections_critical ({limits.free_critical}) must be from 0 to free_connections_warning "
            f"({limits.free_warning})",
            hint="the warning comes first, while more are free",
        )
    critical = limits.transaction_critical
    if critical is not None and limits.transaction_warning is not None and critical < limits.transaction_warning:
        raise InvalidValue("transaction_critical is below transaction_warning", hint="the warning comes first")
