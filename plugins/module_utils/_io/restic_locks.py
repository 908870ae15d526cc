# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Whether restic may be asked which locks are those of dead runs: it asks in a way that can do harm."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from .._core.restic import STALE_SECONDS, read_lock
from .clock import SystemClock


def is_judged_rightly(shown: str) -> bool:
    """Tell whether ``restic unlock`` harms nobody, and sees whether the run of a lock, as it shows it, is dead.

    To the process of a younger lock of this host it sends SIGHUP. That ends many a program which has got that number
    since then, and a run that it must not signal, because it is of another user, is dead to it.
    """
    try:
        lock = read_lock(shown)
    except (ValueError, KeyError):
        return False
    age = (SystemClock().now() - lock.time).total_seconds()
    if lock.host != socket.gethostname() or age > STALE_SECONDS:
        return True
    try:
        os.kill(lock.pid, 0)
        return Path(f"/proc/{lock.pid}/comm").read_text(encoding="utf-8").startswith("restic")
    except ProcessLookupError:
        return True
    except OSError:
        return False
