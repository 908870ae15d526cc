# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Carry out one entry of the plan: written down before, watched meanwhile, verified and cleaned up after."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Callable, Optional

from .._core.errors import DatabaseFailed
from .._core.maintenance_schedule import backoff
from .._core.redact import printable
from .._core.reindex import Done
from .._core.reindex_facts import IndexFacts
from .._core.reindex_leftover import has_copy_name
from .._core.reindex_plan import INVALID, LEFTOVER, OLD_TRANSACTION, RECORD, Work, blocker_of, who
from .._core.reindex_record import Rebuild
from .._core.reindex_watch import LOCK_TIMEOUT, MAX_WAIT, Patience, Sighting, new_copies
from .._core.result import DONE, FAILED, SKIPPED
from .._core.units import human_duration, human_size, rfc3339
from .clock import Clock
from .postgres import Database
from .reindex_control import Control, State, state_of
from .reindex_statement import Ended, run_watched

FATAL = frozenset({"server_gone", "server_unavailable", "connection_failed", "disk_full", "data_corrupted"})
STOPPED, NO_TIME = "stopped", "no_time_left"
_TRIED_AGAIN = frozenset({LOCK_TIMEOUT, "deadlock", "object_in_use"})
_PAUSE_SECONDS = 0.2
NOT_OUR_FAULT = frozenset({*_TRIED_AGAIN, MAX_WAIT, STOPPED, NO_TIME, "object_missing", "insufficient_privilege"})


@dataclass(frozen=True)
class Terms:
    """How each work is done; seconds."""

    lock_timeout: float
    max_wait: float
    attempts: int = 3


class Job:
    """One work. ``session`` returns the session that works, a new one when the old one was lost; ``end_now`` names a
    reason to stop at once; ``fits`` tells whether there is time for another attempt; ``show`` gets every look at it.
    """

    def __init__(
        self,
        work: Work,
        session: Callable[[], Database],
        control: Control,
        clock: Clock,
        terms: Terms,
        end_now: Callable[[], Optional[str]],
        fits: Callable[[], bool],
        show: Callable[[Sighting], None],
    ) -> None:
        self._work = work
        self._session = session
        self._control = control
        self._clock = clock
        self._terms = terms
        self._end_now = end_now
        self._fits = fits
        self._show = show
        self._start = clock.monotonic()
        self.waited = 0.0

    def run(self) -> Done:
        """Do it.

        Raises:
            DatabaseFailed: a code of FATAL: nothing else can be done either; what was left behind is cleaned up if
                the server still answers.
        """
        index = self._work.index
        if self._work.kind == RECORD:
            self._control.erase(self._work.record_oid or 0)
            return self._ended(DONE, "", "removed")
        obstacle = self._obstacle()
        if obstacle is not None:
            return self._ended(SKIPPED, *obstacle)
        if self._work.kind == LEFTOVER:
            return self._drop_leftover()
        record: Rebuild = self._control.write(
            Rebuild(
                database_oid=self._control.database_oid,
                table_oid=index.table_oid,
                index_oid=index.oid,
                known=tuple(sorted(self._control.indexes_of(index.table_oid))),
                started=rfc3339(self._clock.now()),
            )
        )
        return self._rebuild(record)

    # --- before ---------------------------------------------------------------------------------------------------

    def _obstacle(self) -> Optional[tuple[str, str]]:
        """Return why the work is no longer wanted or possible: the plan was made some time ago."""
        index, work = self._work.index, self._work
        state = state_of(self._control.states([index.oid], index), index.oid)
        if state is None:
            return "object_missing", "it is gone: somebody dropped or rebuilt it meanwhile"
        if state.sql_name != index.sql_name:
            return "object_missing", f"it is called {printable(state.sql_name)} by now: run again"
        if work.kind in (INVALID, LEFTOVER) and state.usable:
            return "object_missing", "it is valid by now: somebody else has mended it"
        blocker = blocker_of(index.table_oid, work.kind, self._control.transactions(), self._terms.max_wait)
        return (OLD_TRANSACTION, f"would have to wait for {who(blocker)}") if blocker else None

    # --- rebuilding -----------------------------------------------------------------------------------------------

    def _rebuild(self, record: Rebuild) -> Done:
        attempt = 1
        while True:
            known = self._control.indexes_of(record.table_oid)
            ended, record = self._reindex(record, known)
            fresh, rest = self._after(record, known)
            if fresh is not None:
                return self._rebuilt(record, fresh, rest)
            left = self._clean_up(rest)
            if not left and self._may_try_again(ended, attempt):
                attempt += 1
                continue
            if not left:
                self._control.erase(record.record_oid)
            return self._failed(ended, attempt, left)

    def _may_try_again(self, ended: Ended, attempt: int) -> bool:
        """Wait a little and return True when another attempt makes sense and there is time for it."""
        if ended.code not in _TRIED_AGAIN or attempt >= self._terms.attempts:
            return False
        until = self._clock.monotonic() + backoff(attempt, random.random())  # noqa: S311  (spreads retries; no secret)
        while self._clock.monotonic() < until and not self._end_now():
            self._clock.sleep(_PAUSE_SECONDS)
        return self._fits() and not self._end_now()

    def _reindex(self, record: Rebuild, known: frozenset[int]) -> tuple[Ended, Rebuild]:
        """Run the statement, and write each new index down as soon as it appears."""
        own = known | {record.table_oid}
        seen = record

        def look(sighting: Sighting) -> bool:
            nonlocal seen
            copies = new_copies(sighting, own | set(seen.copies))
            if copies:
                seen = replace(seen, copies=seen.copies + copies)
                self._control.rewrite(seen)
            self._show(sighting)
            return not seen.copies

        ended = self._run(self._work.command, look)
        unseen = self._control.indexes_of(record.table_oid) - own - set(seen.copies)
        ours = tuple(state.oid for state in self._control.states(sorted(unseen), self._work.index) if self._made(state))
        if set(ours) - set(seen.copies):
            seen = replace(seen, copies=tuple(dict.fromkeys(seen.copies + ours)))
            self._control.rewrite(seen)
        return ended, seen

    def _made(self, state: State) -> bool:
        """Tell whether an index that appeared meanwhile is the copy of ours: the lock on the table kept others out."""
        index = self._work.index
        return has_copy_name(state.name, index.name) and not state.usable and state.table_oid == index.table_oid

    def _run(self, text: str, look: Callable[[Sighting], bool], tidying: bool = False) -> Ended:
        """Run a statement under watch; tidying up goes on when the run is to end, but does not wait for long."""
        max_wait = self._terms.lock_timeout if tidying else self._terms.max_wait
        patience = Patience(self._terms.lock_timeout, max_wait)
        end_now = _never if tidying else self._end_now
        ended = run_watched(self._session(), text, self._control, self._clock, patience, look, end_now)
        self.waited += ended.waited
        if ended.code == "lock_timeout" and ended.given_up is None:
            return replace(ended, given_up=MAX_WAIT, error=_as_cancelled(ended.error))
        return ended

    def _after(self, record: Rebuild, known: frozenset[int]) -> tuple[Optional[State], tuple[State, ...]]:
        """Return the new index if it stands in the old one's place, and what was left behind."""
        index = self._work.index
        states = self._control.states([index.oid, *record.copies], index)
        fresh = next(
            (
                state
                for state in states
                if state.name == index.name and state.sql_name == index.sql_name and state.oid not in known
            ),
            None,
        )
        if fresh is not None and not (fresh.usable and fresh.live):
            fresh = None
        rest = tuple(
            state
            for state in states
            if not state.usable and record.explains(state.oid, state.name, state.table_oid) and state != fresh
        )
        return fresh, rest

    def _clean_up(self, rest: tuple[State, ...]) -> str:
        """Drop what was left behind and return what could not be dropped, for people; its record stays."""
        problems = []
        for state in rest:
            ended = self._run(f"DROP INDEX CONCURRENTLY {state.sql_name}", _only_wait, tidying=True)
            if state_of(self._control.states([state.oid], self._work.index), state.oid) is not None:
                problems.append(f"{printable(state.sql_name)} is left behind ({self._why(ended, tidying=True)})")
        return f"{'; '.join(problems)}; the next run drops it" if problems else ""

    # --- leftovers of earlier runs --------------------------------------------------------------------------------

    def _drop_leftover(self) -> Done:
        index, attempt = self._work.index, 1
        while True:
            ended = self._run(self._work.command, _only_wait)
            if state_of(self._control.states([index.oid], index), index.oid) is None:
                return self._ended(DONE, "", f"{human_size(index.bytes)} freed", bytes_after=0)
            if not self._may_try_again(ended, attempt):
                return self._failed(ended, attempt, "")
            attempt += 1

    # --- the end --------------------------------------------------------------------------------------------------

    def _rebuilt(self, record: Rebuild, fresh: State, rest: tuple[State, ...]) -> Done:
        left = self._clean_up(rest)
        if not left:
            self._control.erase(record.record_oid)
        before, after = self._work.index.bytes, fresh.bytes
        detail = _sizes(self._work.index, self._work.kind, before, after)
        return self._ended(DONE, "", f"{detail}; {left}" if left else detail, bytes_after=after, left_behind=bool(left))

    def _failed(self, ended: Ended, attempts: int, left: str) -> Done:
        """Return the end of a work that was not done; a code of FATAL ends the run."""
        left = f"; {left}" if left else ""
        if ended.error is None:
            detail = f"the statement ended well, but no valid new index is there{left}"
            return self._ended(FAILED, "not_verified", detail)
        if ended.code in FATAL:
            raise ended.error
        detail = self._why(ended) + (f" ({attempts} attempts)" if attempts > 1 else "")
        done = self._ended(SKIPPED if ended.code in NOT_OUR_FAULT else FAILED, ended.code, detail + left)
        return replace(done, hint=ended.error.hint or "")

    def _why(self, ended: Ended, tidying: bool = False) -> str:
        holders = ", ".join(f"pid {pid}" for pid in ended.blockers)
        by = f", held up by {holders}" if holders else ""
        waited = self._terms.lock_timeout if tidying else self._terms.max_wait
        texts = {
            LOCK_TIMEOUT: f"no lock on the table within {human_duration(self._terms.lock_timeout)}{by}",
            MAX_WAIT: f"waited {human_duration(waited)} for other transactions{by}, then given up",
            STOPPED: "the run was stopped",
            NO_TIME: "cancelled: the time is used up",
        }
        return texts.get(ended.code) or (ended.error.message if ended.error else "no reason was given")

    def _ended(
        self, status: str, code: str, detail: str, bytes_after: Optional[int] = None, left_behind: bool = False
    ) -> Done:
        seconds = self._clock.monotonic() - self._start
        return Done(self._work, status, code, detail, seconds=seconds, bytes_after=bytes_after, left_behind=left_behind)


def _never() -> Optional[str]:
    return None


def _only_wait(_sighting: Sighting) -> bool:
    return False


def _sizes(index: IndexFacts, kind: str, before: int, after: int) -> str:
    if kind == INVALID:
        return f"valid again, {human_size(after)}"
    if after < before:
        return f"{human_size(before)} before, {human_size(after)} after"
    sizes = f"{human_size(before)} before, {human_size(after)} after"
    return f"{sizes}: not smaller, the estimate was wrong for {printable(index.name)}"


def _as_cancelled(error: Optional[DatabaseFailed]) -> Optional[DatabaseFailed]:
    if error is not None:
        error.code = "cancelled"
    return error
