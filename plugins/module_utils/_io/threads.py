# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Work in threads of its own that can be given up: name resolution, for one, knows no time-out."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Generic, TypeVar, Union

from .._core.errors import TimedOut

T = TypeVar("T")


class Started(Generic[T]):
    """Work that has begun; it is given up, not stopped, and never keeps the process alive."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._box: queue.SimpleQueue[Union[tuple[T], Exception]] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._box.put((work(),))
        except Exception as error:  # noqa: BLE001  (it would be lost in the thread: it is raised where it is collected)
            self._box.put(error)

    def collect(self, seconds: float) -> T:
        """Return what came out, or raise what went wrong.

        Raises:
            TimedOut: it is not done within ``seconds``.
        """
        try:
            outcome = self._box.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise TimedOut("it is not done in time") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome[0]
