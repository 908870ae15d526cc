# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Tell the person who watches how far the work is: one JSON line in a file that the action plugin follows."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Callable, Optional

from .._core.errors import OpsError
from .._core.progress import Progress, progress_line

STOP_SUFFIX = ".stop"  # a file that the action leaves when it cannot know yet whom to end


class ProgressFile:
    """Write the newest line to a file by temporary file and rename; with no file it does nothing.

    At most one line each ``every`` seconds; calls from several threads are safe.
    """

    def __init__(self, path: Optional[str], monotonic: Callable[[], float], every: float = 0.5) -> None:
        self._path = Path(path) if path else None
        self._monotonic = monotonic
        self._every = every
        self._next = 0.0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Say by which process id this run can be ended, and end at once if that was wanted before it could be said.

        Raises:
            OpsError: the run was interrupted before it began (code ``interrupted``).
        """
        if self._path is None:
            return
        self._write("")
        wanted = self._path.with_name(self._path.name + STOP_SUFFIX)
        if wanted.exists():
            wanted.unlink()
            raise OpsError(
                "the run was interrupted before it began", code="interrupted", hint="nothing was done; run it again"
            )

    @property
    def wanted(self) -> bool:
        """Tell whether anybody watches, so that costly readings can be left out."""
        return self._path is not None

    def show(self, progress: Progress) -> None:
        """Offer a line; it is dropped when the last one is too fresh."""
        if self._path is None:
            return
        with self._lock:
            if self._monotonic() < self._next:
                return
            self._next = self._monotonic() + self._every
            self._write(progress_line(progress))

    def _write(self, line: str) -> None:
        if self._path is not None:
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text(json.dumps({"line": line, "pid": os.getpid()}), encoding="utf-8")
            partial.replace(self._path)
