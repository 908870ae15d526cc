# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Carry out the plan: several connections side by side, each statement guarded, nothing started that will not fit."""

from __future__ import annotations

import random
import threading
from concurrent import futures
from dataclasses import dataclass, field, replace
from typing import Callable, Mapping, Optional, Sequence

from .._core.errors import DatabaseFailed, OpsError
from .._core.maintenance_outcome import (
    BROKEN,
    CANCELLED,
    GIVEN_UP,
    NO_TIME,
    RAN,
    STOPPED,
    Attempt,
    Counters,
    expected,
    not_started,
)
from .._core.maintenance_plan import Planned
from .._core.maintenance_schedule import Choice, Rate, Unit, backoff, choose, estimate, split
from .clock import Clock
from .maintenance import read_lock_owners, wait_for_counters, wait_for_end
from .postgres import Database, Target, connect, end_with_client, may_idle

FATAL = frozenset({"server_gone", "server_unavailable", "connection_failed", "disk_full", "data_corrupted"})
_WAITS = frozenset({"lock_timeout", "deadlock", "object_in_use"})
_GIVES_UP = frozenset({"object_missing", "insufficient_privilege"})
_COUNTERS_SECONDS = 3.0
_TICK_SECONDS = 0.2
_SENT = Attempt(RAN)


@dataclass(frozen=True)
class Terms:
    """How the work is done. ``deadline`` in monotonic seconds; ``settings`` are set in each session."""

    jobs: int
    major: int
    attempts: int = 3
    deadline: Optional[float] = None
    cancel_at_end: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What came of it: one attempt for every planned table, and why the run ended early, if it did."""

    attempts: Mapping[str, Attempt]
    fatal: Optional[OpsError] = None
    stopped: bool = False


class Crew:
    """The connections that work. All methods but work() and the read-only views belong to its threads."""

    def __init__(self, target: Target, terms: Terms, clock: Clock, rate: Rate) -> None:
        self._target = target
        self._terms = terms
        self._clock = clock
        self._rate = rate
        self._queue: list[Unit] = []
        self._attempts: dict[str, Attempt] = {}
        self._running: dict[str, tuple[Unit, float, Optional[Database]]] = {}
        self._pids: list[int] = []  # of the first stage
        self._cancelled_ids: set[str] = set()
        self._changed = threading.Condition()
        self._hands = 0  # threads that are still at work
        self._fatal: Optional[OpsError] = None
        self._ending = ""

    def work(self, units: Sequence[Unit], tick: Callable[[Crew], None], stopped: Callable[[], bool]) -> Work:
        """Work until nothing is left that fits; ``tick`` is called now and then by the calling thread."""
        for stage in sorted({unit.stage for unit in units}):
            self._work_stage([unit for unit in units if unit.stage == stage], tick, stopped)
        self._close_books(units)
        return Work(self._attempts, self._fatal, self._ending == STOPPED)

    def _work_stage(self, units: Sequence[Unit], tick: Callable[[Crew], None], stopped: Callable[[], bool]) -> None:
        """Work off what belongs together; afterwards every session is closed, so that its counters are reported."""
        self._queue = list(units)
        jobs = max(1, min(self._terms.jobs, sum(len(unit.tables) for unit in units)))
        self._hands = jobs
        with futures.ThreadPoolExecutor(jobs, thread_name_prefix="maintenance") as pool:
            workers = {pool.submit(self._thread) for _job in range(jobs)}
            while futures.wait(workers, timeout=_TICK_SECONDS, return_when=futures.FIRST_EXCEPTION).not_done:
                crashed = any(worker.done() and worker.exception() for worker in workers)
                self._end_when_due(stopped() or crashed)
                tick(self)
        for worker in workers:
            worker.result()

    def running(self) -> list[tuple[Unit, float, Optional[int]]]:
        """Return what is being worked on: unit, since when (monotonic) and the server's process."""
        with self._changed:
            return [(unit, since, db.reported_pid if db else None) for unit, since, db in self._running.values()]

    def finished_count(self) -> int:
        """Return how many tables are through."""
        with self._changed:
            return len(self._attempts)

    def _close_books(self, units: Sequence[Unit]) -> None:
        left = (self._terms.deadline or 0.0) - self._clock.monotonic()
        reason = self._fatal.code if self._fatal else self._ending or NO_TIME
        for item in (item for unit in units for item in unit.tables):
            if item.id not in self._attempts:
                seconds = estimate(Unit((item,)), self._rate)
                self._attempts[item.id] = not_started(reason, seconds, left)

    def _end_when_due(self, stopped: bool) -> None:
        deadline = self._terms.deadline
        due = self._terms.cancel_at_end and deadline is not None and self._clock.monotonic() >= deadline
        if not (stopped or due):
            return
        with self._changed:
            self._ending = STOPPED if stopped else self._ending or NO_TIME
            sessions = {
                key: session
                for key, (_unit, _since, session) in self._running.items()
                if session is not None and key not in self._cancelled_ids
            }
            self._cancelled_ids.update(sessions)
            self._changed.notify_all()
        for session in sessions.values():
            session.cancel()

    def _thread(self) -> None:
        session: Optional[Database] = None
        try:
            while (unit := self._take()) is not None:
                try:
                    session = self._session_for(unit, session)
                except DatabaseFailed as error:
                    if not self._leave_to_others(unit, error):
                        raise
                    return
                self._run(unit, session)
        except OpsError as error:
            self.give_up(error)
        finally:
            if session is not None:
                session.close()

    def _leave_to_others(self, unit: Unit, error: DatabaseFailed) -> bool:
        """Go on with fewer connections when the server has no more; the last one must not leave."""
        with self._changed:
            if error.code != "too_many_connections" or self._hands == 1:
                return False
            self._hands -= 1
            self._running.pop(unit.key, None)
            self._queue.insert(0, unit)
            self._changed.notify_all()
            return True

    def give_up(self, error: OpsError) -> None:
        """Begin nothing any more: the error concerns all of the run."""
        with self._changed:
            self._fatal = self._fatal or error
            self._changed.notify_all()

    def _take(self) -> Optional[Unit]:
        with self._changed:
            while not self._ending and self._fatal is None:
                now = self._clock.monotonic()
                choice: Choice = choose(self._queue, now, self._terms.deadline, self._rate)
                if choice.unit is not None:
                    self._queue.remove(choice.unit)
                    self._running[choice.unit.key] = (choice.unit, now, None)
                    return choice.unit
                if choice.wait is None and not self._running:
                    return None
                self._changed.wait(min(choice.wait or _TICK_SECONDS, _TICK_SECONDS))
            return None

    def _session_for(self, unit: Unit, session: Optional[Database]) -> Database:
        if session is None or session.closed or session.dbname != unit.database:
            if session is not None:
                session.close()
            session = open_session(self._target, unit.database, self._terms)
            if unit.stage:
                wait_for_end(session, self._pids, self._clock, _COUNTERS_SECONDS)
            else:
                self._pids.append(session.reported_pid)
        with self._changed:
            self._running[unit.key] = (unit, self._clock.monotonic(), session)
        return session

    def _run(self, unit: Unit, session: Database) -> None:
        start = self._clock.monotonic()
        try:
            notices, error = session.execute(unit.text(self._terms.major)), None
        except DatabaseFailed as failure:
            notices, error = list(failure.details.get("notices", ())), failure
        seconds = self._clock.monotonic() - start
        if error is not None and error.code in FATAL:
            self._settle(unit, {item.id: _broken(error, seconds) for item in unit.tables})
            raise error
        if unit.is_batch and (notices or error is not None):
            self._sort_out(unit, session, notices, error, seconds)
        elif error is None:
            self._settle(unit, _ran(unit, unit.tables, notices, seconds), measured=seconds)
        else:
            self._retry_or_give_up(unit, session, error, seconds)

    def _sort_out(
        self, unit: Unit, session: Database, notices: Sequence[str], error: Optional[DatabaseFailed], seconds: float
    ) -> None:
        """Find out by the counters which tables of a batch were left out, and try those again alone."""
        wanted = {item.table.oid: expected(item, _SENT) for item in unit.tables}
        try:
            found = wait_for_counters(session, wanted, self._clock, _COUNTERS_SECONDS)
        except DatabaseFailed as failure:
            if failure.code != "cancelled":  # the run ends: the books are closed by the counters anyhow
                raise
            found = {}
        done = tuple(item for item in unit.tables if _is_reached(wanted[item.table.oid], found.get(item.table.oid)))
        rest = tuple(item for item in unit.tables if item not in done)
        settled = _ran(unit, done, (), seconds)
        if error is not None and error.code == "cancelled":
            settled.update({item.id: self._cancelled(error, seconds) for item in rest})
            rest = ()
        self._settle(unit, settled, again=split(replace(unit, tables=rest)) if rest else ())

    def _retry_or_give_up(self, unit: Unit, session: Database, error: DatabaseFailed, seconds: float) -> None:
        (item,) = unit.tables
        if error.code == "cancelled":
            self._settle(unit, {item.id: self._cancelled(error, seconds)})
        elif error.code in _WAITS and unit.attempt < self._terms.attempts:
            pause = backoff(unit.attempt, random.random())  # noqa: S311  (spreads retries; no secret)
            self._settle(unit, {}, again=(unit.again(self._clock.monotonic() + pause),))
        elif error.code in _WAITS:
            who = read_lock_owners(session, item.table.oid)
            text = f"no lock after {unit.attempt} attempts" + (f", held by {who}" if who else "")
            self._settle(unit, {item.id: Attempt(GIVEN_UP, seconds, code=error.code, message=text)})
        elif error.code in _GIVES_UP:
            self._settle(unit, {item.id: Attempt(GIVEN_UP, seconds, code=error.code, message=error.message)})
        else:
            self._settle(unit, {item.id: _broken(error, seconds)})

    def _cancelled(self, error: DatabaseFailed, seconds: float) -> Attempt:
        if not self._ending:
            return Attempt(BROKEN, seconds, code=error.code, message=error.message)
        why = "the run was stopped" if self._ending == STOPPED else "the time is used up"
        return Attempt(CANCELLED, seconds, code=self._ending, message=f"cancelled: {why}")

    def _settle(
        self,
        unit: Unit,
        attempts: Mapping[str, Attempt],
        again: Sequence[Unit] = (),
        measured: Optional[float] = None,
    ) -> None:
        with self._changed:
            self._running.pop(unit.key, None)
            self._attempts.update(attempts)
            self._queue += again
            if measured is not None:
                self._rate = self._rate.plus(unit.pages, measured)
            self._changed.notify_all()


def open_session(target: Target, dbname: str, terms: Terms) -> Database:
    """Open a session that may maintain: with the settings of the run, and ending soon when we are gone (14)."""
    session = connect(target, dbname)
    may_idle(session)
    session.execute("SELECT pg_catalog.set_config('client_min_messages', 'warning', false)")
    # A crash in the next moment loses at most statistics, which the next run makes again; a wait per table is saved.
    session.execute("SELECT pg_catalog.set_config('synchronous_commit', 'off', false)")
    end_with_client(session)
    for name, value in terms.settings.items():
        session.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
    return session


def _is_reached(wanted: Counters, found: Optional[Counters]) -> bool:
    if found is None:
        return False
    return found.vacuum_count >= wanted.vacuum_count and found.analyze_count >= wanted.analyze_count


def _ran(unit: Unit, items: Sequence[Planned], notices: Sequence[str], seconds: float) -> dict[str, Attempt]:
    """Share the time of a statement among its tables by their pages."""
    pages = max(unit.pages, 1)
    companions = len(unit.tables) - 1
    return {item.id: Attempt(RAN, seconds * item.pages / pages, companions, tuple(notices)) for item in items}


def _broken(error: DatabaseFailed, seconds: float) -> Attempt:
    return Attempt(BROKEN, seconds, code=error.code, message=error.message)
