# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""maintenance_window_info: options to policy."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Mapping

from .._core.errors import InvalidValue
from .._core.result import Decision
from .._core.timestamps import parse_rfc3339
from .._core.units import parse_duration
from .._core.window import Window, WindowPolicy, check_window, decide, parse_clock, parse_days
from .._io.window import zone
from .info import InfoOperation
from .run import Task


class WindowInfo(InfoOperation):
    """Say where the present moment stands among the maintenance windows."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._policy = WindowPolicy(
            windows=tuple(read_window(raw, number) for number, raw in enumerate(params["windows"])),
            scope=tuple(params["scope"]),
            minimum_left=parse_duration(params["minimum_left"], "minimum_left"),
            enforce=params["enforce"],
            before=params["before"],
        )
        self._now = parse_moment(params["at"]) if params["at"] else task.clock.now()

    def decide(self) -> Decision:
        """Read the clock against the windows."""
        return decide(self._policy, self._now)


def read_window(raw: Mapping[str, Any], number: int, list_option: str = "windows") -> Window:
    """Return one window of the inventory.

    Raises:
        InvalidValue: a part of it cannot be read, or it can never be open (code ``impossible_window``).
    """
    option = f"{list_option}[{number}]"
    end, duration = raw["end"], raw["duration"]
    days = parse_days(raw["days"], f"{option}.days")
    return check_window(
        Window(
            name=raw["name"] or f"{'/'.join(str(day) for day in raw['days'])} {raw['start']}",
            days=days,
            start_minute=parse_clock(raw["start"], f"{option}.start"),
            end_minute=None if end is None else parse_clock(end, f"{option}.end", 1440),
            duration_seconds=None if duration is None else parse_duration(duration, f"{option}.duration"),
            zone=zone(raw["timezone"]),
            scope=tuple(raw["scope"]),
        )
    )


def parse_moment(text: str) -> datetime:
    """Return an RFC 3339 moment.

    Raises:
        InvalidValue: it cannot be read, or has no time zone.
    """
    moment = parse_rfc3339(text)
    if moment is None:
        raise InvalidValue(
            f"at must be a moment such as 2026-11-22T04:30:00Z, not {text!r}", hint="give the time zone too"
        )
    return moment
