# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Who does what when: statements for one or many tables, what they are estimated to take, and what still fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterable, Optional, Sequence

from .maintenance_need import PARENT
from .maintenance_plan import Planned
from .maintenance_statement import statement

BATCH_TABLES = 64
BATCH_PAGES = 4096
_SMALL_PAGES = 1024
_PRIOR_PAGES_PER_SECOND = 6400.0  # 50 MB/s, believed until this run has measured better
_SECONDS_PER_TABLE = 0.01
_MEASURED_AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Unit:
    """One statement: a table alone, or a batch of small ones. ``not_before`` in monotonic seconds."""

    tables: tuple[Planned, ...]
    attempt: int = 1
    not_before: float = 0.0

    @property
    def database(self) -> str:
        """Return the database in which it runs."""
        return self.tables[0].table.database

    @property
    def key(self) -> str:
        """Return what tells it from every other unit of a run."""
        return self.tables[0].id

    @property
    def is_batch(self) -> bool:
        """Tell whether several tables share the statement."""
        return len(self.tables) > 1

    @property
    def stage(self) -> int:
        """Return after what it has to wait: parents after the tables, pg_statistic after everything."""
        return max(self.tables[0].need.urgency - PARENT + 1, 0)

    @property
    def pages(self) -> int:
        """Return the pages that it reads at most."""
        return sum(item.pages for item in self.tables)

    def text(self, major: int) -> str:
        """Return the statement; a batch never waits for a lock, or one locked table would stop all of them."""
        first = self.tables[0]
        targets = [item.table.target for item in self.tables]
        return statement(first.need, first.manner, targets, major, skip_locked=True if self.is_batch else None)

    def again(self, not_before: float) -> Unit:
        """Return the next attempt."""
        return replace(self, attempt=self.attempt + 1, not_before=not_before)


@dataclass(frozen=True)
class Rate:
    """Pages that one connection works off in a second: measured in this run, or believed at its beginning.

    ``cost_ceiling``: what cost-based delay allows at most, if it is on.
    """

    pages: int = 0
    seconds: float = 0.0
    cost_ceiling: Optional[float] = None

    def plus(self, pages: int, seconds: float) -> Rate:
        """Return the rate with one more measurement."""
        return replace(self, pages=self.pages + pages, seconds=self.seconds + seconds)

    @property
    def pages_per_second(self) -> float:
        """Return the rate."""
        if self.seconds >= _MEASURED_AFTER_SECONDS and self.pages:
            return self.pages / self.seconds
        return min(_PRIOR_PAGES_PER_SECOND, self.cost_ceiling or _PRIOR_PAGES_PER_SECOND)


def cost_ceiling(delay_ms: float, limit: int) -> Optional[float]:
    """Return the pages a second that cost-based delay allows when each is read from disk and made dirty.

    Costs 2 (vacuum_cost_page_miss since 14) and 20 (vacuum_cost_page_dirty), the server's defaults.
    """
    return None if delay_ms <= 0 else limit / 22 * 1000 / delay_ms


def estimate(unit: Unit, rate: Rate) -> float:
    """Return the seconds that a unit will take."""
    return sum(estimate_table(item, rate) for item in unit.tables)


def estimate_table(item: Planned, rate: Rate) -> float:
    """Return the seconds that one table will take: by its pages, or as long as its vacuums took so far, if longer."""
    earlier = item.table.vacuum_seconds if item.need.vacuum else None
    return max(item.pages / rate.pages_per_second, earlier or 0.0) + _SECONDS_PER_TABLE


def units_of(planned: Sequence[Planned]) -> tuple[Unit, ...]:
    """Put the planned tables into statements, without changing the order of urgencies.

    Large tables and parents are alone and come before the batches of their urgency: they are the critical path.
    """
    units: list[Unit] = []
    for urgency in sorted({item.need.urgency for item in planned}):
        group = [item for item in planned if item.need.urgency == urgency]
        units += [Unit((item,)) for item in group if _is_alone(item)]
        units += _batches(item for item in group if not _is_alone(item))
    return tuple(units)


def _is_alone(item: Planned) -> bool:
    return item.pages > _SMALL_PAGES or item.need.urgency >= PARENT


def _batches(items: Iterable[Planned]) -> list[Unit]:
    done: list[Unit] = []
    open_batches: dict[tuple[object, ...], list[Planned]] = {}
    for item in items:
        need = item.need
        key = (item.table.database, need.vacuum, need.freeze, need.analyze, item.manner)
        batch = open_batches.setdefault(key, [])
        if len(batch) == BATCH_TABLES or sum(b.pages for b in batch) + item.pages > BATCH_PAGES:
            done.append(Unit(tuple(batch)))
            batch = open_batches[key] = []
        batch.append(item)
    return done + [Unit(tuple(batch)) for batch in open_batches.values() if batch]


@dataclass(frozen=True)
class Choice:
    """What a free connection does: work on ``unit``, or wait ``wait`` seconds, or, with neither, stop."""

    unit: Optional[Unit] = None
    wait: Optional[float] = None


def choose(queue: Sequence[Unit], now: float, deadline: Optional[float], rate: Rate) -> Choice:
    """Return the first unit that may start now and will be done by the deadline (monotonic seconds)."""
    fitting = [unit for unit in queue if deadline is None or now + estimate(unit, rate) <= deadline]
    ready = next((unit for unit in fitting if unit.not_before <= now), None)
    if ready is not None:
        return Choice(unit=ready)
    return Choice(wait=max(min(unit.not_before for unit in fitting) - now, 0.0)) if fitting else Choice()


def split(unit: Unit) -> tuple[Unit, ...]:
    """Return each table of a batch as a unit of its own: the locked ones are tried again alone."""
    return tuple(Unit((item,)) for item in unit.tables)


def backoff(attempt: int, random_share: float) -> float:
    """Return the seconds until the next attempt: doubling from 1 s up to 60 s, of which half is chance (0 to 1)."""
    return float(min(2 ** (attempt - 1), 60) * (0.5 + random_share))
