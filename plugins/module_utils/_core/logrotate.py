# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Judge whether logrotate is alive: its timer, and when it last noted what it has done."""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

from .units import human_duration

_TIMER, _SERVICE = "logrotate.timer", "logrotate.service"
_HOUR = 3600.0


def logrotate_faults(
    states: Sequence[Mapping[str, Any]],
    configuration: Iterable[Mapping[str, Any]],
    units: str,
    now: float,
    max_silence_hours: float,
) -> list[str]:
    """Return why logrotate counts as dead; nothing when it is alive.

    ``states`` and ``configuration`` are results of a loop of ansible.builtin.stat over the paths of its state files,
    and over the files that were rendered for it. ``units`` is what ``systemctl show`` printed of its timer and its
    service, empty where systemd does not run it. ``now`` in seconds of the Unix epoch.

    Distributions keep the state at different paths: the newest that is there counts. Where there is none, logrotate
    has been silent since the oldest of its configuration was written.
    """
    faults = list(_timer_faults(units)) if units else []
    silence = _silence_fault(states, configuration, now, max_silence_hours)
    return faults if silence is None else [*faults, silence]


def _timer_faults(units: str) -> Iterator[str]:
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in units.split("\n\n"))
    by_id = {block["Id"]: block for block in blocks if "Id" in block}
    timer = by_id.get(_TIMER, {})
    for name, wanted in (("ActiveState", "active"), ("UnitFileState", "enabled")):
        if timer.get(name) != wanted:
            yield f"{_TIMER} is {timer.get(name) or 'unknown to systemd'}, not {wanted}"
    for unit in (_TIMER, _SERVICE):
        result = by_id.get(unit, {}).get("Result", "success")
        if result != "success":
            yield f"the last run of {unit} ended with {result}"


def _silence_fault(
    states: Sequence[Mapping[str, Any]], configuration: Iterable[Mapping[str, Any]], now: float, max_hours: float
) -> Optional[str]:
    limit = max_hours * _HOUR
    why = "nothing runs it, or it does not come to its end"
    noted = [state for state in states if state["stat"]["exists"]]
    if noted:
        newest = max(noted, key=_mtime)
        silent = now - _mtime(newest)
        what = f"logrotate has not written {newest['item']} for {human_duration(silent)}"
        return f"{what}: {why}" if silent >= limit else None
    paths = ", ".join(str(state["item"]) for state in states)
    written = [_mtime(one) for one in configuration if one["stat"]["exists"]]
    if not written:
        return f"logrotate has never written {paths}: {why}"
    silent = now - min(written)
    what = f"logrotate has not written {paths} since it was configured {human_duration(silent)} ago"
    return f"{what}: {why}" if silent >= limit else None


def _mtime(result: Mapping[str, Any]) -> float:
    return float(result["stat"]["mtime"])
