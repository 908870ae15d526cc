# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the processes of this host from /proc."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Optional

from .._core.redact import printable
from .._core.service_processes import Process, stale_files, unit_of


def read_processes(proc: Path = Path("/proc")) -> tuple[Process, ...]:
    """Return the processes of this host that are no container's; those that end meanwhile are left out."""
    found = []
    namespace = _link(proc / "self/ns/pid")
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            process = _read(entry, namespace)
            if process is not None:
                found.append(process)
    return tuple(sorted(found, key=lambda process: process.pid))


def start_time(pid: int, proc: Path = Path("/proc")) -> Optional[int]:
    """Return when a process started, in clock ticks since boot; None when there is no such process.

    With the id it names a process for good: ids are used again. Field 22 of /proc/PID/stat, proc(5).
    """
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _read(entry: Path, namespace: Optional[str]) -> Optional[Process]:
    text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    name = text[text.index("(") + 1 : text.rindex(")")]
    parent = int(text.rpartition(")")[2].split()[1])
    own = _link(entry / "ns/pid")
    if own is not None and own != namespace:
        return None
    stale: Optional[tuple[str, ...]] = None
    with contextlib.suppress(PermissionError):
        stale = stale_files((entry / "maps").read_text(encoding="utf-8", errors="replace"))
    unit = unit_of((entry / "cgroup").read_text(encoding="utf-8", errors="replace"))
    return Process(int(entry.name), parent, printable(name), unit, stale)


def _link(path: Path) -> Optional[str]:
    """Return what a link of /proc says; None when it is another user's."""
    try:
        return str(path.readlink())
    except PermissionError:
        return None
