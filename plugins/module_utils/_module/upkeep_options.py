# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What vacuuming and reindexing have in common: options of work that is long, has an end, and can fail half way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .._core.errors import DatabaseFailed, InvalidValue, OpsError
from .._core.result import UNKNOWN, Finding
from .._core.units import parse_duration, parse_size

RANGES: Mapping[str, tuple[float, float]] = {"jobs": (1, 64), "limit": (1, 2**31), "lock_attempts": (1, 100)}
_LEAST_MEMORY, _MOST_MEMORY = 1024**2, 2048 * 1024**3 - 1024


@dataclass(frozen=True)
class UpkeepOptions:
    """The options as values; ``budget`` in seconds, ``settings`` as the server names them."""

    databases: tuple[str, ...]
    jobs: int
    lock_attempts: int
    cancel_at_end: bool
    budget: Optional[float]
    window_end: Optional[str]
    settings: Mapping[str, str]


def upkeep_options(params: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of UpkeepOptions; ``settings`` are those beside the memory.

    Raises:
        InvalidValue: a value cannot be read, or is out of its range.
    """
    return {
        "databases": tuple(params["databases"]),
        "jobs": params["jobs"],
        "lock_attempts": params["lock_attempts"],
        "cancel_at_end": params["cancel_at_end"],
        "budget": None if params["budget"] is None else parse_duration(params["budget"], "budget"),
        "window_end": None if params["window_end"] is None else str(params["window_end"]).strip(),
        "settings": {**settings, **_memory(params["maintenance_work_mem"])},
    }


def _memory(text: Optional[str]) -> dict[str, str]:
    if text is None:
        return {}
    size = parse_size(text, "maintenance_work_mem")
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise InvalidValue("maintenance_work_mem must be between 1MB and 2047GB")
    return {"maintenance_work_mem": f"{size // 1024}kB"}


def unread(what: str, error: OpsError) -> Finding:
    """Return what is said in place of the look after the work, when it failed: what was done stands all the same."""
    return Finding(what, UNKNOWN, f"the {what} could not be read again after the run: {error.message}", error.code)


def raise_when_cut_short(
    doing: str, progress: str, fatal: Optional[OpsError], stopped: bool, partial: Mapping[str, Any]
) -> None:
    """Fail when the run ended before its end; what was done stays in the result.

    Raises:
        DatabaseFailed: by an error that concerns all of it, with the code of that error.
        OpsError: by a signal, code ``interrupted``.
    """
    if fatal is not None:
        raise DatabaseFailed(
            f"{doing}: {progress}, then: {fatal.message}",
            code=fatal.code,
            hint=fatal.hint,
            details=fatal.details,
            partial=partial,
        )
    if stopped:
        hint = "run it again: it goes on with what is left"
        raise OpsError(f"{doing}: stopped by a signal, {progress}", code="interrupted", hint=hint, partial=partial)
