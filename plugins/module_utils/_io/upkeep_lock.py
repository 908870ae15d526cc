# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The lock that vacuuming and reindexing share in a database, and the look whether it is still held."""

from __future__ import annotations

from typing import Callable, Optional, Sequence

from .._core.errors import DatabaseFailed
from .clock import Clock
from .postgres import Database, require_held

LOCK = "postgresql_upkeep"
_EVERY_SECONDS = 1.0


class LockWatch:
    """Looks now and then whether the sessions of a run that hold its lock still do. For one thread."""

    def __init__(self, holders: Sequence[Database], clock: Clock) -> None:
        self._holders = holders
        self._clock = clock
        self._next = clock.monotonic() + _EVERY_SECONDS
        self.lost: Optional[DatabaseFailed] = None

    def tick(self, when_lost: Callable[[DatabaseFailed], None]) -> None:
        """Look when it is time to; ``when_lost`` is called once."""
        if self.lost is None and self._clock.monotonic() >= self._next:
            self._next = self._clock.monotonic() + _EVERY_SECONDS
            self.look()
            if self.lost is not None:
                when_lost(self.lost)

    def look(self) -> None:
        """Look now."""
        try:
            for holder in self._holders if self.lost is None else ():
                require_held(holder, LOCK)
        except DatabaseFailed as error:
            self.lost = error
