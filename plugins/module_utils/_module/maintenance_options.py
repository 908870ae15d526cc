# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of postgresql_maintenance, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .._core.errors import InvalidValue
from .._core.maintenance_policy import Manner, Override, Policy, Thresholds
from .._core.units import parse_duration, parse_size
from .ranges import check_ranges
from .spec import ArgumentSpec
from .upkeep_options import RANGES, UpkeepOptions, upkeep_options

_NEED = {
    "dead_rows_min": {"type": "int"},
    "dead_ratio": {"type": "float"},
    "inserted_rows_min": {"type": "int"},
    "inserted_ratio": {"type": "float"},
    "modified_rows_min": {"type": "int"},
    "modified_ratio": {"type": "float"},
    "freeze_age": {"type": "int"},
    "multixact_freeze_age": {"type": "int"},
}
_HOW = {
    "freeze": {"type": "bool"},
    "truncate": {"type": "bool"},
    "index_cleanup": {"type": "str", "choices": ["auto", "on", "off"]},
    "parallel": {"type": "int"},
    "process_toast": {"type": "bool"},
    "buffer_usage_limit": {"type": "str"},
    "skip_locked": {"type": "bool"},
}
_DEFAULTS = {
    "dead_rows_min": 50,
    "dead_ratio": 0.05,
    "inserted_rows_min": 1000,
    "inserted_ratio": 0.2,
    "modified_rows_min": 50,
    "modified_ratio": 0.05,
    "freeze": False,
    "skip_locked": False,
}
_RANGES: dict[str, tuple[float, float]] = {
    "dead_rows_min": (0, 2**31),
    "dead_ratio": (0, 1),
    "inserted_rows_min": (0, 2**31),
    "inserted_ratio": (0, 100),
    "modified_rows_min": (0, 2**31),
    "modified_ratio": (0, 100),
    "freeze_age": (0, 2_000_000_000),
    "multixact_freeze_age": (0, 2_000_000_000),
    "parallel": (0, 1024),
    **RANGES,
    "vacuum_cost_limit": (1, 10_000),
}
_KB = 1024
_BUFFER_LIMITS = (128 * _KB, 16 * _KB**3)
_LONGEST_COST_DELAY_MS = 100.0


def maintenance_spec() -> ArgumentSpec:
    """Return the module's own options."""
    patterns = {"type": "list", "elements": "str", "default": []}
    common = {
        name: {**option, **({"default": _DEFAULTS[name]} if name in _DEFAULTS else {})}
        for name, option in {**_NEED, **_HOW}.items()
    }
    override = {"pattern": {"type": "str", "required": True}, "vacuum": {"type": "bool"}, "analyze": {"type": "bool"}}
    return ArgumentSpec(
        {
            **common,
            "databases": patterns,
            "include": patterns,
            "exclude": patterns,
            "system_catalogs": {"type": "bool", "default": True},
            "all_tables": {"type": "bool", "default": False},
            "analyze_only": {"type": "bool", "default": False},
            "vacuum_only": {"type": "bool", "default": False},
            "partitioned_max_age": {"type": "str", "default": "30d"},
            "overrides": {"type": "list", "elements": "dict", "default": [], "options": {**override, **_NEED, **_HOW}},
            "vacuum_cost_delay": {"type": "str"},
            "vacuum_cost_limit": {"type": "int"},
            "maintenance_work_mem": {"type": "str"},
            "jobs": {"type": "int", "default": 2},
            "limit": {"type": "int"},
            "budget": {"type": "str"},
            "window_end": {"type": "str"},
            "cancel_at_end": {"type": "bool", "default": False},
            "lock_attempts": {"type": "int", "default": 3},
            "table_timeout": {"type": "str", "default": "24h"},
            "xmin_warning": {"type": "str", "default": "1h"},
            "xmin_critical": {"type": "str", "default": "24h"},
        },
        mutually_exclusive=(("analyze_only", "vacuum_only"),),
    )


@dataclass(frozen=True)
class Options(UpkeepOptions):
    """The options as values; ``table_timeout`` in seconds."""

    policy: Policy
    table_timeout: float
    cost_delay_ms: Optional[float]
    cost_limit: Optional[int]


def read_options(params: Mapping[str, Any]) -> Options:
    """Read the options.

    Raises:
        InvalidValue: a value is out of its range; the message names the option.
    """
    check_ranges(params, _RANGES)
    delay = _cost_delay_ms(params["vacuum_cost_delay"])
    return Options(
        **upkeep_options(params, _settings(params, delay)),
        policy=_policy(params),
        table_timeout=parse_duration(params["table_timeout"], "table_timeout"),
        cost_delay_ms=delay,
        cost_limit=params["vacuum_cost_limit"],
    )


def _policy(params: Mapping[str, Any]) -> Policy:
    overrides = []
    for number, override in enumerate(params["overrides"]):
        where = f"overrides[{number}]."
        check_ranges(override, _RANGES, where)
        given = {name: value for name, value in override.items() if value is not None and name != "pattern"}
        manner = {name: given[name] for name in (*_HOW, "vacuum", "analyze") if name in given}
        thresholds = {name: given[name] for name in _NEED if name in given}
        overrides.append(Override(override["pattern"], thresholds, _readable(manner, where)))
    manner = _readable({name: params[name] for name in _HOW}, "")
    return Policy(
        thresholds=Thresholds(**{name: params[name] for name in _NEED}),
        manner=Manner(vacuum=not params["analyze_only"], analyze=not params["vacuum_only"], **manner),
        overrides=tuple(overrides),
        include=tuple(params["include"]),
        exclude=tuple(params["exclude"]),
        system_catalogs=params["system_catalogs"],
        all_tables=params["all_tables"],
        parent_max_age=parse_duration(params["partitioned_max_age"], "partitioned_max_age"),
        xmin_warning=parse_duration(params["xmin_warning"], "xmin_warning"),
        xmin_critical=parse_duration(params["xmin_critical"], "xmin_critical"),
        limit=params["limit"],
    )


def _readable(manner: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the manner with the size of the buffer ring in bytes."""
    text = manner.get("buffer_usage_limit")
    if text is None:
        return manner
    size = parse_size(text, f"{where}buffer_usage_limit")
    if size != 0 and not _BUFFER_LIMITS[0] <= size <= _BUFFER_LIMITS[1]:
        raise InvalidValue(f"{where}buffer_usage_limit must be 0 or between 128kB and 16GB, not {text}")
    return {**manner, "buffer_usage_limit": size}


def _cost_delay_ms(text: Optional[str]) -> Optional[float]:
    if text is None:
        return None
    delay = parse_duration(text, "vacuum_cost_delay") * 1000
    if delay > _LONGEST_COST_DELAY_MS:
        raise InvalidValue(
            f"vacuum_cost_delay must be at most 100ms, not {text}", hint="a number without a unit counts as seconds"
        )
    return delay


def _settings(params: Mapping[str, Any], delay_ms: Optional[float]) -> dict[str, str]:
    settings = {}
    if delay_ms is not None:
        settings["vacuum_cost_delay"] = f"{delay_ms:g}ms"
    if params["vacuum_cost_limit"] is not None:
        settings["vacuum_cost_limit"] = str(params["vacuum_cost_limit"])
    return settings
