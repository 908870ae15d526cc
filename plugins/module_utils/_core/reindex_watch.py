# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is seen of a rebuild while it runs, when it has waited long enough, and what is begun next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import AbstractSet, Optional, Sequence

from .maintenance_schedule import Rate
from .reindex_plan import LEFTOVER, RECORD, Work

LOCK_TIMEOUT, MAX_WAIT = "lock_timeout", "max_wait"

# Share of the whole work at which each phase begins and ends, percent. Source: PostgreSQL documentation, "CREATE INDEX
# Progress Reporting"; the shares are what rebuilds of large B-trees took.
_PHASES = (
    ("waiting for writers before build", 0, 0),
    ("building index: scanning table", 0, 25),
    ("building index: sorting live tuples", 25, 45),
    ("building index: loading tuples in tree", 45, 70),
    ("building index", 0, 70),
    ("waiting for writers before validation", 70, 70),
    ("index validation: scanning index", 70, 78),
    ("index validation: sorting tuples", 78, 86),
    ("index validation: scanning table", 86, 97),
    ("waiting for old snapshots", 97, 97),
    ("waiting for readers", 98, 98),
)


@dataclass(frozen=True)
class Sighting:
    """One look at the session that works. ``waits_for`` is the kind of lock it waits for, by ``blockers`` (pids).

    ``locked``: the relations that it holds in the modes which only its own index, copy and table have.
    """

    waits_for: Optional[str] = None
    blockers: tuple[int, ...] = ()
    locked: frozenset[int] = frozenset()
    phase: Optional[str] = None
    blocks_done: int = 0
    blocks_total: int = 0
    tuples_done: int = 0
    tuples_total: int = 0


@dataclass
class Patience:
    """How long a session may wait: for the lock on the table, and in all for other transactions. Seconds.

    A wait is counted from one look to the next, so that neither a slow look nor a moved clock makes it longer.
    """

    lock_timeout: float
    max_wait: float
    waited_for_lock: float = 0.0
    waited_for_others: float = 0.0
    blockers: tuple[int, ...] = field(default=())

    def exhausted(self, sighting: Sighting, elapsed: float) -> Optional[str]:
        """Take note of one look, ``elapsed`` seconds after the last, and return which limit is used up, or None."""
        if sighting.waits_for is None:
            self.waited_for_lock = 0.0
            return None
        self.blockers = sighting.blockers or self.blockers
        if sighting.waits_for == "relation":
            self.waited_for_lock += elapsed
            return LOCK_TIMEOUT if self.waited_for_lock >= self.lock_timeout else None
        self.waited_for_others += elapsed
        return MAX_WAIT if self.waited_for_others >= self.max_wait else None


def percent_of(sighting: Sighting) -> Optional[float]:
    """Return how far a rebuild is, 0 to 100, or None when the server does not say.

    >>> percent_of(Sighting(phase="building index: scanning table", blocks_done=50, blocks_total=100))
    12.5
    >>> percent_of(Sighting(phase="waiting for old snapshots")), percent_of(Sighting())
    (97.0, None)
    """
    phase = sighting.phase or ""
    for name, low, high in _PHASES:
        if phase.startswith(name):
            done, total = sighting.blocks_done, sighting.blocks_total
            if "tuples" in name:
                done, total = sighting.tuples_done, sighting.tuples_total
            return low + (high - low) * min(1.0, done / total if total else 0.0)
    return None


def new_copies(sighting: Sighting, known: AbstractSet[int]) -> tuple[int, ...]:
    """Return the relations that appeared since the work began: the new index, even before it is committed."""
    return tuple(sorted(sighting.locked - known))


def pages_of(work: Work, block_size: int) -> int:
    """Return how many pages the work reads and writes: the table twice, the old index and the new one."""
    if work.kind in (LEFTOVER, RECORD):
        return 1
    return max(1, 2 * (work.index.table_bytes + work.index.bytes) // block_size)


def seconds_of(work: Work, rate: Rate, block_size: int) -> float:
    """Return how long the work will take at the rate that was measured so far, or is believed at the beginning."""
    return pages_of(work, block_size) / rate.pages_per_second


@dataclass(frozen=True)
class Choice:
    """What a free connection does next; ``work`` None: nothing that may run beside what is at work now."""

    work: Optional[Work] = None
    unfit: tuple[Work, ...] = ()


def choose(
    queue: Sequence[Work],
    busy: AbstractSet[tuple[str, int]],
    seconds_left: Optional[float],
    rate: Rate,
    block_size: int,
) -> Choice:
    """Return the first work that fits into the time left; two rebuilds on one table would wait for each other.

    ``busy`` holds (database, table oid). ``unfit`` are those that no longer fit, to be given up: the time only gets
    shorter, and a rate that was measured counts more than a guess.
    """
    unfit = tuple(work for work in queue if not fits(work, seconds_left, rate, block_size))
    ready = (work for work in queue if work not in unfit and table_of(work) not in busy)
    return Choice(next(ready, None), unfit)


def fits(work: Work, seconds_left: Optional[float], rate: Rate, block_size: int) -> bool:
    """Tell whether a work will be done in the time that is left (None: as long as it takes)."""
    return seconds_left is None or seconds_of(work, rate, block_size) <= seconds_left


def table_of(work: Work) -> tuple[str, int]:
    """Return the database and the table that the work locks against other rebuilds."""
    return (work.index.database, work.index.table_oid)
