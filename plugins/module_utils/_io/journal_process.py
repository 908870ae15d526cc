# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Tell whether a run that was never closed can still be alive."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Optional

from .._core.journal import INTERRUPTED, LONGEST_RUN_SECONDS, RUNNING, Run


def this_process() -> str:
    """Return what tells this process apart for ever: boot id, pid, and when it started in clock ticks since boot."""
    return f"{_read('/proc/sys/kernel/random/boot_id').strip()}:{os.getpid()}:{_started(os.getpid())}"


def controller() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def judged(run: Run, now: float) -> Run:
    """Return a run as it is: one that was opened, never closed, and whose process is gone, was interrupted.

    The process of another machine, or of a container that is gone, cannot be asked: its run counts as interrupted
    when it is older than a day.
    """
    if run.status != RUNNING:
        return run
    dead = now - run.started_at > LONGEST_RUN_SECONDS if is_alive(run) is None else not is_alive(run)
    return replace(run, status=INTERRUPTED) if dead else run


def is_alive(run: Run) -> Optional[bool]:
    """Tell whether the process of a run is there; None when this machine cannot know."""
    parts = run.process.split(":")
    if run.controller != controller() or len(parts) != 3 or not parts[1].isdigit():
        return None
    if parts[0] != _read("/proc/sys/kernel/random/boot_id").strip():
        return False
    return _started(int(parts[1])) == parts[2]


def _started(pid: int) -> str:
    """Return proc(5): field 22 of stat; nothing when the process is gone."""
    text = _read(f"/proc/{pid}/stat")
    return text.rpartition(")")[2].split()[19] if text else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
