# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Carry out the plan: several connections side by side, nothing begun that will not fit, all of it ended in order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Sequence

from .._core.errors import DatabaseFailed
from .._core.maintenance_schedule import Rate
from .._core.progress import Progress
from .._core.reindex import Done
from .._core.reindex_plan import LEFTOVER, RECORD, Work, target_of
from .._core.reindex_watch import Sighting, choose, fits, pages_of, percent_of, seconds_of, table_of
from .._core.result import DONE, FAILED, SKIPPED
from .._core.units import human_duration
from .clock import Clock
from .postgres import Database, Target, connect, end_with_client, may_idle
from .progress import ProgressFile
from .reindex_control import Control
from .reindex_work import FATAL, NO_TIME, NOT_OUR_FAULT, STOPPED, Job, Terms

_TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Limits:
    """How much at once and until when. ``deadline`` in monotonic seconds, ``budget`` in seconds (for the lines)."""

    jobs: int = 1
    deadline: Optional[float] = None
    cancel_at_end: bool = False
    budget: Optional[float] = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came of it: one entry for every work, in the order of the plan, and why the run ended early, if it did."""

    done: tuple[Done, ...]
    fatal: Optional[DatabaseFailed] = None
    stopped: bool = False


class Crew:
    """The connections that rebuild. ``controls`` by database name; ``block_size`` for the estimates."""

    def __init__(
        self,
        target: Target,
        controls: Mapping[str, Control],
        clock: Clock,
        terms: Terms,
        limits: Limits,
        progress: ProgressFile,
        block_size: int,
    ) -> None:
        self._target = target
        self._controls = controls
        self._clock = clock
        self._terms = terms
        self._limits = limits
        self._progress = progress
        self._block_size = block_size
        self._rate = Rate()
        self._queue: list[Work] = []
        self._total = 0
        self._busy: set[tuple[str, int]] = set()
        self._done: dict[str, Done] = {}
        self._changed = threading.Condition()
        self._fatal: Optional[DatabaseFailed] = None
        self._crashed = False
        self._stopped: Callable[[], bool] = lambda: False
        self._start = clock.monotonic()

    def work(self, works: Sequence[Work], stopped: Callable[[], bool]) -> Result:
        """Work until nothing is left that fits, or ``stopped`` says so.

        A server that goes away ends the run; what was done until then is in the result.
        """
        self._queue, self._total, self._stopped = list(works), len(works), stopped
        jobs = max(1, min(self._limits.jobs, len({table_of(work) for work in works})))
        with ThreadPoolExecutor(jobs, "reindex") as pool:
            threads = [pool.submit(self._thread) for _unused in range(jobs)]
            while wait(threads, _TICK_SECONDS).not_done:  # signals are only noticed between the steps
                self._crashed = any(thread.done() and thread.exception() for thread in threads)
        for thread in threads:
            thread.result()
        for work in works:
            self._done.setdefault(work.id, self._not_begun(work))
        return Result(tuple(self._done[work.id] for work in works), self._fatal, stopped())

    # --- one thread -----------------------------------------------------------------------------------------------

    def _thread(self) -> None:
        bench = _Bench(self._target, self._limits.settings, self._terms.max_wait)
        try:
            while (work := self._take()) is not None:
                self._do(work, bench)
        finally:
            bench.close()

    def _take(self) -> Optional[Work]:
        with self._changed:
            while self._fatal is None and not self._crashed and not self._stopped():
                choice = choose(self._queue, self._busy, self._seconds_left(), self._rate, self._block_size)
                for work in choice.unfit:
                    self._queue.remove(work)
                    self._done[work.id] = self._not_begun(work)
                if choice.work is not None:
                    self._queue.remove(choice.work)
                    self._busy.add(table_of(choice.work))
                    return choice.work
                if not self._queue:
                    return None
                self._changed.wait(_TICK_SECONDS)
            return None

    def _do(self, work: Work, bench: _Bench) -> None:
        start = self._clock.monotonic()
        job = Job(
            work,
            lambda: bench.session(work),
            self._controls[work.index.database],
            self._clock,
            self._terms,
            self._end_now,
            lambda: fits(work, self._seconds_left(), self._rate, self._block_size),
            lambda sighting: self._show(work, sighting),
        )
        try:
            done = job.run()
        except DatabaseFailed as error:
            status = SKIPPED if error.code in NOT_OUR_FAULT else FAILED
            done = Done(work, status, error.code, error.message, seconds=self._clock.monotonic() - start)
            if error.code in FATAL:
                with self._changed:
                    self._fatal = self._fatal or error
        with self._changed:
            self._busy.discard(table_of(work))
            self._done[work.id] = done
            if done.status == DONE and work.kind not in (LEFTOVER, RECORD):
                self._rate = self._rate.plus(pages_of(work, self._block_size), max(0.0, done.seconds - job.waited))
            self._changed.notify_all()

    # --- time and lines -------------------------------------------------------------------------------------------

    def _seconds_left(self) -> Optional[float]:
        return None if self._limits.deadline is None else self._limits.deadline - self._clock.monotonic()

    def _end_now(self) -> Optional[str]:
        if self._stopped():
            return STOPPED
        left = self._seconds_left()
        return NO_TIME if self._limits.cancel_at_end and left is not None and left <= 0 else None

    def _not_begun(self, work: Work) -> Done:
        if self._fatal is not None:
            return Done(work, SKIPPED, self._fatal.code, "not begun: the run ended early")
        if self._stopped():
            return Done(work, SKIPPED, STOPPED, "not begun: the run was stopped")
        seconds = seconds_of(work, self._rate, self._block_size)
        left = human_duration(max(0.0, self._seconds_left() or 0.0))
        return Done(work, SKIPPED, NO_TIME, f"not begun: estimated {human_duration(seconds)}, {left} left")

    def _show(self, work: Work, sighting: Sighting) -> None:
        self._progress.show(
            Progress(
                item=target_of(work.index),
                activity=work.action().action,
                done=len(self._done),
                total=self._total,
                noun="indexes",
                elapsed=self._clock.monotonic() - self._start,
                budget=self._limits.budget,
                percent=percent_of(sighting),
            )
        )


class _Bench:
    """The session of one thread: in the database of its work, and as the role that the work is done as."""

    def __init__(self, target: Target, settings: Mapping[str, str], max_wait: float) -> None:
        self._target = target
        self._settings = settings
        self._max_wait = max_wait
        self._session: Optional[Database] = None

    def session(self, work: Work) -> Database:
        """Return the session, a new one when it is lost or elsewhere."""
        if self._session is None or self._session.closed or self._session.dbname != work.index.database:
            self.close()
            self._session = open_session(self._target, work.index.database, self._settings, self._max_wait)
        role = work.become or self._target.session_role or "none"
        self._session.execute("SELECT pg_catalog.set_config('role', %s, false)", [role])
        return self._session

    def close(self) -> None:
        """Give the session back."""
        if self._session is not None:
            self._session.close()


def open_session(target: Target, dbname: str, settings: Mapping[str, str], max_wait: float) -> Database:
    """Open a session that rebuilds: no end to its statements, and it ends soon after a client that died (14).

    Its lock_timeout also ends each wait for other transactions; it is the last resort, the watch is there before.
    """
    session = connect(target, dbname)
    may_idle(session)
    chosen = {"statement_timeout": "0", "lock_timeout": f"{int(max_wait * 1000) + 1000}ms", **settings}
    for name, value in chosen.items():
        session.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
    end_with_client(session)
    return session
