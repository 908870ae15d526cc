# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The only place that asks what time it is."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Callable, Protocol

from .._core.errors import TimedOut


class Clock(Protocol):
    """Time as the operations see it; tests pass their own."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC: for stamps and windows, never for durations."""

    def monotonic(self) -> float:
        """Return seconds that never jump: for durations and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def wait_until(condition: Callable[[], bool], what: str, seconds: float, clock: Clock, every: float = 0.1) -> None:
    """Wait for a condition, asking ``every`` seconds.

    Raises:
        TimedOut: it did not become true within ``seconds``; the message names ``what``.
    """
    deadline = clock.monotonic() + seconds
    while not condition():
        if clock.monotonic() >= deadline:
            raise TimedOut(f"waited {seconds:g} s for {what}, in vain")
        clock.sleep(every)
