# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Tell whether a run that was never closed can still be alive."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Optional

from .._core.journal import INTERRUPTED, LONGEST_RUN_SECONDS, RUNNING, Run
from .process_identity import boot_id, pid_space, process_start


def this_process() -> str:
    """Return what tells this process apart for ever: the boot and PID namespace, its pid, and when it started."""
    return f"{pid_space()}:{os.getpid()}:{process_start(os.getpid())}"


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
    """Tell whether the process of a run is there; None when this machine, or this container, cannot know."""
    place, _colon, start = run.process.rpartition(":")
    space, _colon, pid = place.rpartition(":")
    boot = space.partition(":")[0]
    if run.controller != controller() or not boot or not pid.isdigit():
        return None
    if boot != boot_id():
        return False
    return str(process_start(int(pid))) == start if space == pid_space() else None
