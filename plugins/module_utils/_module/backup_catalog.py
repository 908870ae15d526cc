# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""backup_catalog_info: options to limits, the repository to the result."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

from .._core.backup import KINDS, Source
from .._core.backup_catalog import Limits, Policy, report
from .._core.errors import InvalidValue
from .._core.result import Decision
from .._core.units import parse_duration
from .._io.backup_catalog import look_into
from .._io.restic import Restic
from .info import InfoOperation
from .repository import repository_of
from .run import Task
from .spec import ArgumentSpec

_PART = re.compile(r"(100|[1-9]?\d(\.\d+)?)%")


def catalog_spec() -> ArgumentSpec:
    """Return the module's own options."""
    expected = {
        "product": {"type": "str", "required": True},
        "host": {"type": "str", "required": True},
        "kind": {"type": "str", "required": True, "choices": list(KINDS)},
        "name": {"type": "str", "required": True},
        "max_age": {"type": "str"},
        "max_proof_age": {"type": "str"},
    }
    return ArgumentSpec(
        {
            "judge": {"type": "bool", "default": True},
            "products": {"type": "list", "elements": "str", "default": []},
            "expected": {"type": "list", "elements": "dict", "default": [], "options": expected},
            "max_age": {"type": "str", "default": "26h"},
            "max_proof_age": {"type": "str", "default": "8d"},
            "known_copies": {"type": "list", "elements": "str"},
            "clock_tolerance": {"type": "str", "default": "5m"},
            "facts": {"type": "bool", "default": False},
            "stored": {"type": "bool", "default": False},
            "check": {"type": "str", "default": "none"},
        }
    )


class CatalogInfo(InfoOperation):
    """Say what a repository holds and what that is worth."""

    def __init__(self, task: Task) -> None:
        self._params = task.params
        self._clock = task.clock
        self._restic = Restic(repository_of(task.params))
        self._policy = policy_of(task.params)
        self._check = parse_check(task.params["check"])

    def decide(self) -> Decision:
        """Look, and judge what was seen."""
        params = self._params
        look = look_into(self._restic, self._policy, params["facts"], params["stored"], self._check)
        return report(look, self._policy, self._clock.now())


def policy_of(params: Mapping[str, Any]) -> Policy:
    """Return what is to be looked for.

    Raises:
        InvalidValue: an option cannot be read.
    """
    limits = limits_of(params)
    expected = {}
    for number, raw in enumerate(params["expected"]):
        own = f"expected[{number}]"
        expected[Source(raw["product"], raw["host"], raw["kind"], raw["name"])] = Limits(
            _limit(raw["max_age"], f"{own}.max_age") if raw["max_age"] else limits.copy,
            _limit(raw["max_proof_age"], f"{own}.max_proof_age") if raw["max_proof_age"] else limits.proof,
        )
    known = params["known_copies"]
    return Policy(
        judge=params["judge"],
        limits=limits,
        expected=expected,
        products=tuple(params["products"]),
        known=None if known is None else frozenset(known),
        tolerance=parse_duration(params["clock_tolerance"], "clock_tolerance"),
    )


def limits_of(params: Mapping[str, Any]) -> Limits:
    """Return how old a copy and a proof may be.

    Raises:
        InvalidValue: a duration cannot be read.
    """
    return Limits(_limit(params["max_age"], "max_age"), _limit(params["max_proof_age"], "max_proof_age"))


def _limit(text: str, option: str) -> Optional[float]:
    return parse_duration(text, option) or None


def parse_check(text: str) -> Optional[str]:
    """Return None for ``none``, "" for ``structure``, and a share of the data as it is.

    Raises:
        InvalidValue: it is none of them.
    """
    if text in ("none", "structure"):
        return None if text == "none" else ""
    if not _PART.fullmatch(text) or float(text[:-1]) == 0:
        raise InvalidValue(
            f"check must be none, structure or a share of the data such as 10%, not {text!r}",
            hint="100% reads everything, which takes as long as a restore",
        )
    return text
