# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What tells one process apart for ever: where its number counts, the number, and when it started."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Optional


def boot_id() -> str:
    """Return what names this boot of the machine; nothing when that is not known."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def pid_space() -> str:
    """Return within what a pid names one process: the boot and the PID namespace; nothing when that is not known.

    Containers with the host's network have its name and its boot, and pids of their own.
    """
    boot = boot_id()
    with contextlib.suppress(OSError):
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}" if boot else ""
    return ""


def process_start(pid: int) -> Optional[int]:
    """Return when a process started, in clock ticks since boot (proc(5): field 22 of stat), or None when it is gone."""
    text = _read(f"/proc/{pid}/stat")
    return int(text.rpartition(")")[2].split()[19]) if text else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
