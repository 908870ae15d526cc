# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""backup_retention: options to policy, the repository to a selection, the selection to an empty place."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .._core.backup import parse_at
from .._core.backup_retention import Facts, Policy, Selection, check_policy, decide, parse_cap
from .._core.errors import PreconditionFailed
from .._core.result import Decision, Outcome
from .._core.units import parse_duration
from .._io.backup_retention import Remover
from .._io.restic import Restic
from .repository import repository_of
from .run import Operation, Task
from .spec import ArgumentSpec


def retention_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "products": {"type": "list", "elements": "str", "required": True},
            "source_hosts": {"type": "list", "elements": "str", "default": []},
            "keep_hourly": {"type": "int", "default": 24},
            "keep_daily": {"type": "int", "default": 30},
            "keep_weekly": {"type": "int", "default": 0},
            "keep_monthly": {"type": "int", "default": 0},
            "keep_within": {"type": "str", "default": "0"},
            "keep_proven": {"type": "int", "default": 2},
            "keep_bad": {"type": "str", "default": "7d"},
            "protect_newer_than": {"type": "str"},
            "max_removals": {"type": "str", "default": "50%"},
            "confirm": {"type": "str"},
            "prune": {"type": "bool", "default": True},
            "prune_timeout": {"type": "str", "default": "2h"},
            "clock_tolerance": {"type": "str", "default": "5m"},
            "allow_clock_skew": {"type": "bool", "default": False},
        }
    )


class Retention(Operation):
    """Remove the copies that the policy no longer needs."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._clock = task.clock
        self._restic = Restic(repository_of(params))
        self._policy = policy_of(params, self._restic.repository.location)
        self._remover = Remover(self._restic, task.clock, parse_duration(params["prune_timeout"], "prune_timeout"))
        self._before: frozenset[str] = frozenset()
        self._selection = Selection()

    def decide(self) -> Decision:
        """List the repository and choose what goes; what it stores is only measured where something does."""
        now, catalog = self._clock.now(), self._restic.catalog()
        self._before = catalog.ids()
        facts = Facts(self._restic.repository.location, catalog.until(now, self._policy.tolerance))
        decision, self._selection = decide(facts, self._policy, now)
        if decision.plan:
            full = Facts(facts.location, facts.catalog, len(self._restic.locks()), self._restic.stored_bytes())
            decision, self._selection = decide(full, self._policy, now)
        return decision

    def apply(self, decision: Decision) -> Outcome:
        """Remove exactly what was selected, and look again."""
        return self._remover.remove(decision, self._selection, self._before)


def policy_of(params: Mapping[str, Any], location: str) -> Policy:
    """Return the policy of some options.

    Raises:
        InvalidValue: an option cannot be read, or they keep nothing.
        PreconditionFailed: ``confirm`` names another repository (code ``confirmation_missing``).
    """
    return check_policy(
        Policy(
            products=tuple(params["products"]),
            hosts=tuple(params["source_hosts"]),
            periods={
                "hour": params["keep_hourly"],
                "day": params["keep_daily"],
                "week": params["keep_weekly"],
                "month": params["keep_monthly"],
            },
            within=parse_duration(params["keep_within"], "keep_within"),
            proven=params["keep_proven"],
            bad=parse_duration(params["keep_bad"], "keep_bad"),
            protect_newer_than=(
                parse_at(params["protect_newer_than"], "protect_newer_than") if params["protect_newer_than"] else None
            ),
            max_removals=parse_cap(params["max_removals"], "max_removals"),
            confirmed=_is_confirmed(params["confirm"], location),
            prune=params["prune"],
            future_allowed=params["allow_clock_skew"],
            tolerance=parse_duration(params["clock_tolerance"], "clock_tolerance"),
        )
    )


def _is_confirmed(confirm: Optional[str], location: str) -> bool:
    if confirm and confirm != location:
        raise PreconditionFailed(
            f"confirm names {confirm}, the repository is {location}",
            code="confirmation_missing",
            hint="look at both: you may be about to remove copies from another repository than you think",
        )
    return bool(confirm)
