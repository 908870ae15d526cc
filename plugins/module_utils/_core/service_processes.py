# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which processes still run code that an update has replaced on disk, and which unit they belong to.

Formats: proc(5), /proc/PID/maps and /proc/PID/cgroup; unit names in cgroup paths: systemd.unit(5), cgroups(7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Optional

_DELETED = " (deleted)"
_CODE = ("/usr/", "/lib/", "/lib32/", "/lib64/", "/bin/", "/sbin/", "/opt/")
_LIBRARY = re.compile(r"\.so(?:\.|$)")
_USER_MANAGER = re.compile(r"user@\d+\.service")


@dataclass(frozen=True)
class Process:
    """One process. ``stale`` holds replaced code files that it still runs; None: we may not look."""

    pid: int
    parent: int
    name: str
    unit: Optional[str] = None
    stale: Optional[tuple[str, ...]] = ()


def stale_files(maps: str) -> tuple[str, ...]:
    """Return the programs and libraries in a memory map whose file was deleted or replaced.

    Memory files, shared memory and /dev are no code of a package, and data files do no harm.

    >>> stale_files("7f r-xp 0 08:01 1  /usr/lib/libssl.so.3 (deleted)\\n7f rw-s 0 00:05 2  /dev/zero (deleted)")
    ('/usr/lib/libssl.so.3',)
    """
    found: dict[str, None] = {}
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or not fields[5].endswith(_DELETED):
            continue
        path = fields[5][: -len(_DELETED)]
        if path.startswith(_CODE) and ("x" in fields[1] or _LIBRARY.search(path)):
            found[path] = None
    return tuple(found)


def unit_of(cgroup: str) -> Optional[str]:
    """Return the systemd service that a process belongs to; None for a login session or no systemd.

    A service of a user's own manager counts as that manager: ``user@1000.service``.

    >>> unit_of("4:memory:/x\\n1:name=systemd:/system.slice/nginx.service")
    'nginx.service'
    """
    paths = dict(line.split(":", 2)[1:] for line in cgroup.splitlines() if line.count(":") >= 2)
    parts = paths.get("name=systemd", paths.get("", "")).split("/")
    services = [part for part in parts if part.endswith(".service")]
    managers = [part for part in services if _USER_MANAGER.fullmatch(part)]
    return next(iter(managers or services[-1:]), None)


def family(processes: Iterable[Process], roots: Iterable[int], unit: Optional[str] = None) -> tuple[Process, ...]:
    """Return the processes with these ids or of this unit and all their descendants, in the order of their ids."""
    known = tuple(processes)
    wanted = {*roots, *(process.pid for process in known if unit is not None and process.unit == unit)}
    while True:
        children = {process.pid for process in known if process.parent in wanted} - wanted
        if not children:
            break
        wanted |= children
    return tuple(sorted((process for process in known if process.pid in wanted), key=lambda process: process.pid))


def merged_stale(processes: Iterable[Process]) -> tuple[str, ...]:
    """Return every replaced file that any of the processes still runs, sorted."""
    return tuple(sorted({path for process in processes for path in process.stale or ()}))


def stale_units(processes: Iterable[Process]) -> dict[str, tuple[str, ...]]:
    """Return the replaced files by unit; processes outside every unit stand under their own name in brackets."""
    groups: dict[str, list[Process]] = {}
    for process in processes:
        if process.stale:
            groups.setdefault(process.unit or f"[{process.name}]", []).append(process)
    return {unit: merged_stale(group) for unit, group in sorted(groups.items())}
