# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Work that may never end, such as a look at a dead file server: done aside, waited for only so long."""

from __future__ import annotations

import threading
from typing import Callable, Generic, Optional, TypeVar

from .._core.errors import TimedOut

T = TypeVar("T")


class Errand(Generic[T]):
    """One piece of work in a thread of its own, which does not keep the process from ending.

    What hangs in the kernel (NFS, FUSE) cannot be stopped, but it ends with the process.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._answer: Optional[T] = None
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._work()
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            self._error = error

    def wait(self, seconds: float) -> T:
        """Return what came of the work; raise what it raised.

        Raises:
            TimedOut: it has not ended within ``seconds``.
        """
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            raise TimedOut(f"no answer within {seconds:.3g} s")
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]
