# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Tell the person who watches which table is worked on and how far it is."""

from __future__ import annotations

from typing import Any, Optional

from .._core.errors import DatabaseFailed
from .._core.maintenance_plan import verb
from .._core.maintenance_schedule import Unit
from .._core.progress import Progress
from .._core.redact import printable
from .clock import Clock
from .maintenance_queries import PROGRESS
from .maintenance_work import Crew
from .postgres import Database, Target, connect
from .progress import ProgressFile

_EVERY_SECONDS = 0.5


class Watch:
    """Follows the crew through a connection of its own; without anybody watching it does nothing at all."""

    def __init__(
        self, target: Target, progress: ProgressFile, clock: Clock, total: int, budget: Optional[float]
    ) -> None:
        self._target = target
        self._progress = progress
        self._clock = clock
        self._total = total
        self._budget = budget
        self._start = self._next = clock.monotonic()
        self._session: Optional[Database] = None
        self._blind = not progress.wanted

    def tick(self, crew: Crew) -> None:
        """Show the work that has run the longest."""
        if not self._progress.wanted or self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + _EVERY_SECONDS
        running = sorted(crew.running(), key=lambda entry: entry[1])
        if running:
            unit, _since, pid = running[0]
            self._show(unit, self._reading(pid), crew.finished_count())

    def close(self) -> None:
        """Give the connection back."""
        if self._session is not None:
            self._session.close()

    def _show(self, unit: Unit, reading: dict[str, Any], done: int) -> None:
        total = reading.get("total") or 0
        name = printable(unit.tables[0].table.target)
        self._progress.show(
            Progress(
                item=f"{name} and {len(unit.tables) - 1} more" if unit.is_batch else name,
                activity=verb(unit.tables[0].need),
                done=done,
                total=self._total,
                noun="tables",
                elapsed=self._clock.monotonic() - self._start,
                budget=self._budget,
                percent=100 * reading["done"] / total if total and not unit.is_batch else None,
            )
        )

    def _reading(self, pid: Optional[int]) -> dict[str, Any]:
        """Ask the server; lines are an extra, so a failure only takes away the percentage."""
        if self._blind or pid is None:
            return {}
        try:
            self._session = self._session or connect(self._target)
            rows = self._session.fetch(PROGRESS, [[pid], [pid]])
        except DatabaseFailed:
            self._blind = True
            return {}
        return rows[0] if rows else {}
