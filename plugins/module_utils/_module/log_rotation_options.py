# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of the log_rotation module, and what they mean."""

from __future__ import annotations

import os
from typing import Any, Callable, Mapping, Optional, TypeVar

from .._core.errors import InvalidValue
from .._core.log_rotation import Policy, Reopening
from .._core.log_rotation_names import SUFFIXES, matcher
from .._core.units import parse_duration, parse_size
from .._io.log_rotation_reopen import Request
from .spec import ArgumentSpec, progress_spec

T = TypeVar("T", int, float)

_LEVELS = {"gzip": (1, 9), "zstd": (1, 19), "none": (0, 0)}
_JOBS_LIMIT = 64
_REOPEN: dict[str, Any] = {
    "type": "dict",
    "options": {
        "method": {"type": "str", "choices": ["none", "signal", "command", "copytruncate"], "default": "none"},
        "unit": {"type": "str"},
        "pid_file": {"type": "path"},
        "signal": {"type": "str", "choices": ["HUP", "USR1", "USR2"], "default": "HUP"},
        "command": {"type": "list", "elements": "str"},
        "timeout": {"type": "str", "default": "10s"},
    },
    "mutually_exclusive": [("unit", "pid_file")],
    "required_if": [("method", "signal", ("unit", "pid_file"), True), ("method", "command", ("command",))],
}


def log_rotation_spec() -> ArgumentSpec:
    """Return the module's options."""
    return ArgumentSpec(
        {
            "path": {"type": "path", "required": True},
            "patterns": {"type": "list", "elements": "str", "default": ["*.log"]},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "recurse": {"type": "bool", "default": False},
            "min_size": {"type": "str", "default": "1"},
            "max_size": {"type": "str"},
            "max_age": {"type": "str", "default": "20h"},
            "keep": {"type": "int", "default": 14},
            "prune_age": {"type": "str"},
            "max_total_size": {"type": "str"},
            "prune_logs_age": {"type": "str"},
            "prune_existing": {"type": "bool", "default": False},
            "compress": {"type": "str", "choices": list(SUFFIXES), "default": "gzip"},
            "compress_level": {"type": "int"},
            "delay_compress": {"type": "bool", "default": False},
            "create": {"type": "bool", "default": True},
            "reopen": _REOPEN,
            "jobs": {"type": "int", "default": 0},
        }
    ).merge(progress_spec())


def policy_of(params: Mapping[str, Any]) -> Policy:
    """Return the options as a policy.

    Raises:
        InvalidValue: a value means nothing, or two contradict each other.
    """
    min_size, max_size = _limit(params, "min_size", parse_size) or 0, _limit(params, "max_size", parse_size)
    if min_size < 1 or (max_size is not None and max_size < min_size):
        raise InvalidValue(
            f"min_size must be at least 1 byte and not above max_size, not {params['min_size']!r}",
            hint="an empty log is never rotated",
        )
    if params["keep"] < 0:
        raise InvalidValue(f"keep must be 0 (no limit) or more, not {params['keep']}")
    max_age, prune_age = parse_duration(params["max_age"], "max_age"), _limit(params, "prune_age", parse_duration)
    if prune_age is not None and prune_age < max_age:
        raise InvalidValue(
            f"prune_age ({params['prune_age']}) must not be below max_age ({params['max_age']})",
            hint="the youngest generation says when a log was rotated; without it the log is rotated in every run",
        )
    return Policy(
        matches=matcher(params["patterns"], params["exclude"]),
        min_size=min_size,
        max_size=max_size,
        max_age=max_age,
        keep=params["keep"],
        prune_age=prune_age,
        prune_logs_age=_limit(params, "prune_logs_age", parse_duration),
        max_total_size=_limit(params, "max_total_size", parse_size),
        prune_existing=params["prune_existing"],
        suffix=SUFFIXES[params["compress"]],
        delay_compress=params["delay_compress"],
        create=params["create"],
        reopening=_reopening(params["reopen"] or {}),
    )


def _reopening(reopen: Mapping[str, Any]) -> Reopening:
    method = reopen.get("method") or "none"
    if method == "signal":
        target = f"unit {reopen['unit']}" if reopen["unit"] else f"pid file {reopen['pid_file']}"
        who = f"MainPID of {reopen['unit']}" if reopen["unit"] else f"pid in {reopen['pid_file']}"
        return Reopening(method, target, f"kill -{reopen['signal']} <{who}>")
    if method == "command":
        return Reopening(method, reopen["command"][0], " ".join(reopen["command"]))
    return Reopening(method)


def request_of(params: Mapping[str, Any]) -> Optional[Request]:
    """Return how to tell the process that writes; None when there is nothing to tell.

    Raises:
        InvalidValue: a value means nothing.
    """
    reopen = params["reopen"] or {}
    if reopen.get("method") not in ("signal", "command"):
        return None
    unit, command = reopen["unit"] or "", tuple(reopen["command"] or ())
    if unit.startswith("-") or not all(command):
        raise InvalidValue("reopen.unit must be a unit's name, reopen.command a program with its arguments")
    timeout = parse_duration(reopen["timeout"], "reopen.timeout")
    if reopen["method"] == "command":
        return Request(command=command, timeout=timeout)
    return Request(unit, reopen["pid_file"] or "", reopen["signal"], timeout=timeout)


def _limit(params: Mapping[str, Any], option: str, parse: Callable[[str, str], T]) -> Optional[T]:
    if params[option] is None:
        return None
    limit = parse(params[option], option)
    if limit == 0:
        raise InvalidValue(f"{option} must be more than 0", hint=f"leave {option} out for no such limit")
    return limit


def level_of(params: Mapping[str, Any]) -> Optional[int]:
    """Return the level of the compression; None for the default.

    Raises:
        InvalidValue: the format has no such level.
    """
    level, kind = params["compress_level"], params["compress"]
    lowest, highest = _LEVELS[kind]
    if level is not None and not lowest <= level <= highest:
        raise InvalidValue(f"compress_level of {kind} must be from {lowest} to {highest}, not {level}")
    return int(level) if level is not None else None


def threads_of(params: Mapping[str, Any]) -> int:
    """Return how many files are compressed at the same time.

    Raises:
        InvalidValue: the number is impossible.
    """
    jobs: int = params["jobs"]
    if not 0 <= jobs <= _JOBS_LIMIT:
        raise InvalidValue(f"jobs must be from 0 (as many as cores) to {_JOBS_LIMIT}, not {jobs}")
    return jobs or len(os.sched_getaffinity(0))
