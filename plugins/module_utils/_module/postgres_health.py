# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_health_info: options to limits and questions."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

from .._core.counters import read_previous
from .._core.errors import InvalidValue
from .._core.limits import Limit, check_limit, read_limits
from .._core.postgres_health import decide
from .._core.postgres_health_facts import DEFAULT_LIMITS, Policy, Question
from .._core.result import Decision
from .._core.units import parse_duration
from .._io.postgres_health import read_health
from .info import InfoOperation
from .postgres import postgres_target
from .ranges import check_ranges
from .run import Task
from .spec import ArgumentSpec

_HIGHER, _LOWER = "higher_is_worse", "lower_is_worse"
_UNITS = ["count", "bytes", "seconds", "percent", "ratio", "per_second", "per_minute", "per_hour"]
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


def postgres_health_spec() -> ArgumentSpec:
    """Return the module's own options."""
    query = {
        "name": {"type": "str", "required": True},
        "query": {"type": "str", "required": True},
        "unit": {"type": "str", "choices": _UNITS, "default": "count"},
        "warning": {"type": "float"},
        "critical": {"type": "float"},
        "direction": {"type": "str", "choices": [_HIGHER, _LOWER], "default": _HIGHER},
        "labels": {"type": "dict", "default": {}},
        "area": {"type": "str", "default": "database"},
        "timeout": {"type": "str", "default": "10s"},
    }
    return ArgumentSpec(
        {
            "limits": {"type": "dict", "default": {}},
            "pool_size": {"type": "int"},
            "pool_roles": {"type": "list", "elements": "str", "default": []},
            "expected_standbys": {"type": "int"},
            "statements": {"type": "int", "default": 10},
            "statement_calls": {"type": "int", "default": 10},
            "previous": {"type": "dict", "default": {}},
            "queries": {"type": "list", "elements": "dict", "default": [], "options": query},
            "timeout": {"type": "str", "default": "60s"},
        }
    )


class PostgresHealth(InfoOperation):
    """Look at a database's health in one connection."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._policy = read_policy(params)
        self._timeout = parse_duration(params["timeout"], "timeout")
        if self._timeout <= 0:
            raise InvalidValue("timeout must be longer than 0 s", hint="for example timeout: 60s")
        self._target = postgres_target(params, "postgresql_health_info")
        self._clock = task.clock

    def decide(self) -> Decision:
        """Read the server against its limits."""
        return decide(read_health(self._target, self._policy, self._timeout, self._clock), self._policy)


def read_policy(params: Mapping[str, Any]) -> Policy:
    """Return what is expected.

    Raises:
        InvalidValue: an option means nothing; the message names it.
    """
    lowest = {"pool_size": 1, "expected_standbys": 0, "statements": 0, "statement_calls": 1}
    check_ranges(params, {name: (least, 10_000) for name, least in lowest.items()})
    questions = tuple(_question(raw, f"queries[{number}]") for number, raw in enumerate(params["queries"]))
    twice = {one.name for one in questions if [other.name for other in questions].count(one.name) > 1}
    if twice:
        raise InvalidValue(f"queries have the same name: {', '.join(sorted(twice))}", hint="use labels, or other names")
    return Policy(
        limits=read_limits(params["limits"], DEFAULT_LIMITS),
        pool_size=params["pool_size"],
        pool_roles=tuple(params["pool_roles"]),
        expected_standbys=params["expected_standbys"],
        statements=params["statements"],
        statement_calls=params["statement_calls"],
        previous=read_previous(params["previous"]),
        questions=questions,
    )


def _question(raw: Mapping[str, Any], option: str) -> Question:
    for part in ("name", "area"):
        if not _NAME.fullmatch(raw[part]):
            raise InvalidValue(
                f"{option}.{part} must be a name such as orders_waiting, not {raw[part]!r}",
                hint="lower-case letters, digits and _; it becomes a part of the metric's name",
            )
    timeout = parse_duration(raw["timeout"], f"{option}.timeout")
    if timeout <= 0:
        raise InvalidValue(f"{option}.timeout must be longer than 0 s", hint="for example 10s")
    return Question(
        name=raw["name"],
        query=_one_statement(raw["query"], option),
        unit=raw["unit"],
        limit=check_limit(_limit(raw), option),
        area=raw["area"],
        labels={str(name): str(value) for name, value in raw["labels"].items()},
        timeout=timeout,
    )


def _one_statement(query: str, option: str) -> str:
    text = query.strip().rstrip(";").strip()
    if not text:
        raise InvalidValue(f"{option}.query is empty")
    return text


def _limit(raw: Mapping[str, Any]) -> Limit:
    warning: Optional[float] = raw["warning"]
    return Limit(warning, raw["critical"], lower_is_worse=raw["direction"] == _LOWER)
