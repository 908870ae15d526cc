# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read what a host is and how much room it has, without running anything."""

from __future__ import annotations

import getpass
import os
import platform
from pathlib import Path
from typing import Optional, Sequence

from .._core.host_preflight import Disk, HostFacts
from .command import CommandRunner


def read_host(
    paths: Sequence[str], commands: Sequence[str], writable: Sequence[str], runner: CommandRunner
) -> HostFacts:
    """Return the facts; a path that cannot be read keeps its error."""
    return HostFacts(
        disks=tuple(read_disk(path) for path in paths),
        commands=tuple((name, runner.find(name) is not None) for name in commands),
        writable=tuple((path, os.access(path, os.W_OK)) for path in writable),
        load_per_cpu=_load_per_cpu(),
        uptime_seconds=_uptime(),
        release=_release(),
        kernel=platform.release(),
        python=platform.python_version(),
        user=_user(),
    )


def read_disk(path: str) -> Disk:
    """Return the room of the file system that holds a path."""
    try:
        status = os.statvfs(path)
    except OSError as error:
        return Disk(path, error=error.strerror or str(error))
    unit = status.f_frsize
    return Disk(
        path,
        total_bytes=status.f_blocks * unit,
        used_bytes=(status.f_blocks - status.f_bfree) * unit,
        free_bytes=status.f_bavail * unit,
        inodes_total=status.f_files,
        inodes_free=status.f_favail,
        read_only=bool(status.f_flag & os.ST_RDONLY),
    )


def _load_per_cpu() -> Optional[float]:
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except OSError:
        return None


def _uptime() -> Optional[float]:
    try:
        return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _release() -> str:
    """Return PRETTY_NAME of os-release(5)."""
    for file in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _sign, value = line.partition("=")
            if name == "PRETTY_NAME":
                return value.strip().strip("\"'")
    return platform.system()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
