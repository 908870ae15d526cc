# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The file systems of a host: room, inodes, growth, and writable as they should be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Iterator, Optional

from .counters import Previous
from .host_facts import HostFacts
from .host_mounts import FileSystem, is_written_to
from .host_preflight import Disk
from .readings import Judge, Unread
from .redact import printable
from .result import UNKNOWN, Finding
from .units import count_of, human_duration, human_size

_DAY = 86400.0
_APART_SECONDS = 6 * 3600.0  # a backup that is written and removed within less than that is no trend


def disk_findings(facts: HostFacts, judge: Judge, now: datetime, previous: Optional[Previous]) -> Iterator[Finding]:
    """Yield the verdicts on all file systems."""
    systems = facts.file_systems
    if isinstance(systems, Unread):
        for check in ("disk", "inodes", "read_only"):
            yield from judge.unread(check, systems)
        return
    written = [system for system in systems if is_written_to(system.mount)]
    number = count_of(len(written), "file system")
    room = [found for system in written for found in _room(system, judge)]
    if facts.mounts_left_out:
        room += judge.fixed("disk", UNKNOWN, f"{facts.mounts_left_out} more file systems were not looked at")
    yield from judge.each("disk", room, f"{number} with room enough{_fullest(written)}")
    inodes = [found for system in written for found in _inodes(system, judge)]
    yield from judge.each("inodes", inodes, f"{number} with inodes enough")
    forced = [found for system in systems for found in _read_only(system, judge)]
    yield from judge.each("read_only", forced, "no file system has become read-only")
    measured = [system for system in written if _days(system, now, previous) is not None]
    if measured:
        growing = [found for system in measured for found in _growth(system, judge, now, previous)]
        yield from judge.each(
            "days_to_full", growing, f"{count_of(len(measured), 'file system')} will not be full soon"
        )


def _name(system: FileSystem) -> str:
    return printable(system.mount.point, 100)


def _room(system: FileSystem, judge: Judge) -> Iterator[Finding]:
    if system.unread is not None:
        yield from judge.unread("disk", Unread(f"{_name(system)} could not be looked at: {system.unread.reason}"))
        return
    disk = system.room
    if disk is not None and disk.used_percent is not None:
        text = f"{_name(system)} {disk.used_percent:g} % full, {human_size(disk.free_bytes)} free"
        yield from judge.reading("disk", disk.used_percent, "%", text)


def _fullest(systems: list[FileSystem]) -> str:
    rooms = [(system.room.used_percent, _name(system)) for system in systems if system.room is not None]
    known = [(percent, name) for percent, name in rooms if percent is not None]
    return f", the fullest {max(known)[1]} with {max(known)[0]:g} %" if known else ""


def _inodes(system: FileSystem, judge: Judge) -> Iterator[Finding]:
    disk = system.room
    percent = disk.inodes_used_percent if disk is not None else None
    if disk is not None and percent is not None:
        text = f"{_name(system)} has used {percent:g} % of its inodes, {disk.inodes_free} left"
        yield from judge.reading("inodes", percent, "%", text)


def _read_only(system: FileSystem, judge: Judge) -> Iterator[Finding]:
    if system.forced_read_only:
        text = f"{_name(system)} is read-only: {printable(system.forced_read_only, 200)}"
        yield from judge.reading("read_only", 1, "count", text)


@dataclass(frozen=True)
class _Point:
    """How much of a file system was used so many seconds ago."""

    used: float
    age: float


# The two points of a file system that the counters hold: the younger becomes the older when it is old enough.
_POINTS = ("disk_used", "disk_earlier")


def disk_counters(facts: HostFacts, now: datetime, previous: Optional[Previous]) -> dict[str, Optional[float]]:
    """Return the points that a trend needs; ages in seconds before the counters' own moment.

    Looks may be minutes apart: a point stays until it is six hours old, and then until a younger one is.
    """
    counters: dict[str, Optional[float]] = {}
    for system in facts.file_systems if isinstance(facts.file_systems, tuple) else ():
        for name, point in zip(_POINTS, _kept(system, now, previous)):
            mount = printable(system.mount.point, 200)
            counters[f"{name}_bytes:{mount}"] = point.used
            if point.age:
                counters[f"{name}_age:{mount}"] = point.age
    return counters


def _kept(system: FileSystem, now: datetime, previous: Optional[Previous]) -> list[_Point]:
    points = _points(system, now, previous)
    if system.room is not None and (not points or points[0].age >= _APART_SECONDS):
        points.insert(0, _Point(system.room.used_bytes, 0.0))
    return points


def _points(system: FileSystem, now: datetime, previous: Optional[Previous]) -> list[_Point]:
    """Return what the run before handed on, the younger first; nothing older than the newest that is old enough."""
    points: list[_Point] = []
    if previous is None:
        return points
    mount = printable(system.mount.point, 200)
    for name in _POINTS:
        used = previous.values.get(f"{name}_bytes:{mount}")
        age = (now - previous.at).total_seconds() + previous.values.get(f"{name}_age:{mount}", 0.0)
        if used is not None and age > 0:
            points.append(_Point(used, age))
        if age >= _APART_SECONDS:
            break
    return points


def _days(system: FileSystem, now: datetime, previous: Optional[Previous]) -> Optional[tuple[float, float]]:
    """Return the days until it is full (infinite when it does not grow) and the seconds between the two points.

    None: there is no earlier point, or one too near to tell a trend.
    """
    disk = system.room
    earlier = next((one for one in _points(system, now, previous) if one.age >= _APART_SECONDS), None)
    if disk is None or earlier is None:
        return None
    return (_days_left(disk, (disk.used_bytes - earlier.used) / earlier.age), earlier.age)


def _days_left(disk: Disk, bytes_per_second: float) -> float:
    return disk.free_bytes / bytes_per_second / _DAY if bytes_per_second > 0 else float("inf")


def _growth(system: FileSystem, judge: Judge, now: datetime, previous: Optional[Previous]) -> Iterator[Finding]:
    measured, disk = _days(system, now, previous), system.room
    if measured is None or disk is None or measured[0] == float("inf"):
        return
    days, seconds = measured
    growing = f"{human_size(disk.free_bytes / days) if days else 'more than is left'} a day"
    left = human_duration(days * _DAY) if days < 365 else "more than a year"
    text = f"{_name(system)} is full in {left} when it grows on like in the last {human_duration(seconds)} ({growing})"
    yield from judge.reading("days_to_full", days, "days", text)
