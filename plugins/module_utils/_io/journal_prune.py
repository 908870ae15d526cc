# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Retention: raw readings for a while and then their days, findings that were fine for a while, runs for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Union

from .._core.journal import DAY_SECONDS, RUNNING, day_of
from .journal_open import journal_errors
from .journal_read import Journal
from .journal_tables import sa, table
from .journal_write import JournalWriter

_ROWS = 5000
_SERIES = 200


@dataclass(frozen=True)
class Retention:
    """For how many days what is kept.

    ``samples``: raw readings, and findings that were fine. ``runs``: runs with their steps and all other findings.
    ``rollups``: what is left of each day. Drills and incidents are kept for ever.
    """

    samples: int = 35
    runs: int = 400
    rollups: int = 1100


@dataclass(frozen=True)
class Pruned:
    """How many rows were removed, or would be."""

    samples: int = 0
    days: int = 0
    findings: int = 0
    steps: int = 0
    runs: int = 0

    @property
    def total(self) -> int:
        """Return the sum."""
        return sum(vars(self).values())


def prunable(journal: Union[Journal, JournalWriter], keep: Retention, now: float) -> Pruned:
    """Count what is older than it has to be; nothing is removed."""
    with journal_errors("read", journal.where), journal.engine.begin() as connection:
        counts = {
            name: int(connection.execute(sa.select(sa.func.count()).select_from(rows).where(condition)).scalar() or 0)
            for name, (rows, condition) in _old(keep, now).items()
        }
    return Pruned(**counts)


def prune(writer: JournalWriter, keep: Retention, now: float) -> Pruned:
    """Remove what is older than it has to be, in short transactions: others go on writing in between.

    Raises:
        JournalUnreachable: what was removed before stays removed; the next time goes on from there.
    """
    old, removed = _old(keep, now), {}
    with journal_errors("prune", writer.where):
        removed["samples"] = _prune_samples(writer, now - keep.samples * DAY_SECONDS)
        for name in ("days", "findings", "steps", "runs"):
            removed[name] = _prune_rows(writer, *old[name])
        _prune_rest(writer, now - keep.runs * DAY_SECONDS)
        _give_back(writer)
    return Pruned(**removed)


def _old(keep: Retention, now: float) -> dict[str, tuple[Any, Any]]:
    """Return for each kind of row its table and what makes a row old."""
    samples, days, findings, steps, runs = (
        table(name) for name in ("samples", "sample_days", "findings", "steps", "runs")
    )
    raw, whole = now - keep.samples * DAY_SECONDS, now - keep.runs * DAY_SECONDS
    # By the run and not by the row's own time: a run goes with all that belongs to it.
    gone = sa.select(runs.c.id).where(runs.c.started_at < whole, runs.c.status != RUNNING)
    fine = sa.and_(findings.c.at < raw, findings.c.status == "ok")
    return {
        "samples": (samples, samples.c.at < raw),
        "days": (days, days.c.day < day_of(now) - keep.rollups),
        "findings": (findings, sa.or_(fine, findings.c.run_id.in_(gone))),
        "steps": (steps, steps.c.run_id.in_(gone)),
        "runs": (runs, runs.c.id.in_(gone)),
    }


def _prune_samples(writer: JournalWriter, before: float) -> int:
    """Go by series: their readings lie in the order of series and time."""
    samples, series, removed, last = table("samples"), table("series"), 0, -1
    while True:
        with writer.engine.begin() as connection:
            query = sa.select(series.c.id).where(series.c.id > last).order_by(series.c.id).limit(_SERIES)
            numbers = [int(number) for number in connection.execute(query).scalars()]
            if not numbers:
                return removed
            old = sa.and_(samples.c.series_id.in_(numbers), samples.c.at < before)
            removed += int(connection.execute(sa.delete(samples).where(old)).rowcount)
            last = numbers[-1]


def _prune_rows(writer: JournalWriter, rows: Any, condition: Any) -> int:
    key, removed = list(rows.primary_key.columns), 0
    while True:
        some = sa.select(*key).where(condition).limit(_ROWS)
        with writer.engine.begin() as connection:
            count = int(connection.execute(sa.delete(rows).where(sa.tuple_(*key).in_(some))).rowcount)
        removed += count
        if count < _ROWS:
            return removed


def _prune_rest(writer: JournalWriter, before: float) -> None:
    """Remove what belonged to what is gone: counters of old writers, newest readings and states of lost hosts."""
    writers, newest, states, series = (table(name) for name in ("writers", "newest_findings", "states", "series"))
    samples, days, runs = table("samples"), table("sample_days"), table("runs")
    with writer.engine.begin() as connection:
        alive = sa.select(runs.c.id)
        connection.execute(sa.delete(writers).where(writers.c.at < before, writers.c.id.not_in(alive)))
        connection.execute(sa.delete(newest).where(newest.c.at < before))
        connection.execute(sa.delete(states).where(states.c.at < before))
        used = sa.or_(
            sa.exists().where(samples.c.series_id == series.c.id), sa.exists().where(days.c.series_id == series.c.id)
        )
        connection.execute(sa.delete(series).where(sa.not_(used)))


def _give_back(writer: JournalWriter) -> None:
    """Give the room back to the disk where that is cheap; PostgreSQL's autovacuum does its own."""
    if writer.engine.dialect.name != "sqlite":
        return
    connection: Optional[Any] = writer.engine.raw_connection()
    try:
        cursor = connection.cursor()  # type: ignore[union-attr]
        cursor.execute("PRAGMA incremental_vacuum")
        cursor.fetchall()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.fetchall()
        cursor.close()
    finally:
        connection.close()  # type: ignore[union-attr]
