# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Work that may never end, such as a name resolution or a look at a dead file server: waited for only so long."""

from __future__ import annotations

import threading
from typing import Callable, Generic, Optional, TypeVar

from .._core.errors import TimedOut

T = TypeVar("T")


class Background(Generic[T]):
    """Work that has begun in a thread of its own; it is given up, not stopped, and never keeps the process alive.

    What hangs in the kernel (NFS, FUSE) or knows no time-out cannot be stopped, but it ends with the process.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: Optional[T] = None
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  (it would be lost in the thread: it is raised where it is waited for)
            self._error = error

    def wait(self, seconds: Optional[float] = None) -> bool:
        """Wait for the end, or so long; tell whether it came."""
        self._thread.join(None if seconds is None else max(0.0, seconds))
        return not self._thread.is_alive()

    def result(self, seconds: Optional[float] = None) -> T:
        """Return what came of the work; raise what it raised.

        Raises:
            TimedOut: it has not ended within ``seconds``.
        """
        if not self.wait(seconds):
            raise TimedOut(f"no answer within {max(0.0, seconds or 0.0):.3g} s")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]
