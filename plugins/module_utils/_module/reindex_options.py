# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of postgresql_reindex, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from .._core.errors import InvalidValue
from .._core.reindex_facts import ESTIMATE, PGSTATTUPLE, Policy
from .._core.units import parse_duration, parse_size
from .ranges import check_ranges
from .spec import ArgumentSpec
from .upkeep_options import RANGES, UpkeepOptions, upkeep_options

_RANGES: dict[str, tuple[float, float]] = {
    "bloat_ratio": (0.05, 0.99),
    "sequence_warning": (0, 100),
    "sequence_critical": (0, 100),
    **RANGES,
}
_LONGEST_WAIT_SECONDS = 2_000_000.0  # lock_timeout is a 32-bit number of milliseconds


def reindex_spec() -> ArgumentSpec:
    """Return the module's own options."""
    patterns = {"type": "list", "elements": "str", "default": []}
    return ArgumentSpec(
        {
            "databases": patterns,
            "include": patterns,
            "exclude": patterns,
            "bloat_method": {"type": "str", "choices": [ESTIMATE, PGSTATTUPLE], "default": ESTIMATE},
            "bloat_ratio": {"type": "float", "default": 0.4},
            "min_wasted": {"type": "str", "default": "16MB"},
            "min_index_size": {"type": "str", "default": "10MB"},
            "rebuild_invalid": {"type": "bool", "default": True},
            "drop_leftovers": {"type": "bool", "default": True},
            "unused_after": {"type": "str", "default": "30d"},
            "sequence_warning": {"type": "float", "default": 75},
            "sequence_critical": {"type": "float", "default": 90},
            "max_wait": {"type": "str", "default": "10m"},
            "lock_attempts": {"type": "int", "default": 3},
            "jobs": {"type": "int", "default": 1},
            "limit": {"type": "int"},
            "budget": {"type": "str"},
            "window_end": {"type": "str"},
            "cancel_at_end": {"type": "bool", "default": False},
            "maintenance_work_mem": {"type": "str"},
        }
    )


@dataclass(frozen=True)
class Options(UpkeepOptions):
    """The options as values."""

    policy: Policy


def read_options(params: Mapping[str, Any]) -> Options:
    """Read the options.

    Raises:
        InvalidValue: a value is out of its range or cannot be read; the message names the option.
    """
    check_ranges(params, _RANGES)
    if params["sequence_warning"] > params["sequence_critical"]:
        raise InvalidValue("sequence_warning is above sequence_critical", hint="the warning comes first")
    return Options(**upkeep_options(params, {}), policy=_policy(params))


def _policy(params: Mapping[str, Any]) -> Policy:
    max_wait = parse_duration(params["max_wait"], "max_wait")
    if not 0 < max_wait <= _LONGEST_WAIT_SECONDS:
        raise InvalidValue(f"max_wait must be longer than nothing and at most 23d, not {params['max_wait']}")
    return Policy(
        include=tuple(params["include"]),
        exclude=tuple(params["exclude"]),
        bloat_method=params["bloat_method"],
        bloat_ratio=params["bloat_ratio"],
        min_wasted=parse_size(params["min_wasted"], "min_wasted"),
        min_index_size=parse_size(params["min_index_size"], "min_index_size"),
        rebuild_invalid=params["rebuild_invalid"],
        drop_leftovers=params["drop_leftovers"],
        unused_after=parse_duration(params["unused_after"], "unused_after"),
        sequence_warning=params["sequence_warning"],
        sequence_critical=params["sequence_critical"],
        max_wait=max_wait,
        limit=params["limit"],
    )
