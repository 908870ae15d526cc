# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read all sources of a run: first what there is to read, then each within its share of bytes and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from typing import Mapping, Optional, Sequence

from .._core.errors import PreconditionFailed
from .._core.log_errors import Requests, SourceFacts, hours_of
from .._core.log_groups import Groups
from .._core.log_lines import ACCESS, Reading
from .._core.log_scan import Scan
from .._core.log_state import Position, State, shares
from .._core.log_usual import Memory
from .._core.redact import printable
from .clock import Clock
from .command import CommandRunner
from .log_journal import JournalAsk, read_journal
from .log_open import find_logs
from .log_read import read_log
from .log_resume import Resume, resume
from .window import local_zone

_IDLE_SECONDS = 3600.0  # a log that nobody wrote to for so long was read to its end when it disappeared
_JOURNAL_SECONDS = 30.0


@dataclass(frozen=True)
class LogSource:
    """One source of the inventory: files by shell patterns, or units of the journal (``units`` empty: all of them)."""

    name: str
    paths: tuple[str, ...] = ()
    journal: bool = False
    units: tuple[str, ...] = ()
    directory: Optional[str] = None
    form: str = "auto"
    zone: Optional[tzinfo] = None
    level_field: str = ""
    message_field: str = ""
    time_field: str = ""
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ask:
    """How much may be read: bytes of all files, entries of each journal, seconds; ``since`` seconds at first sight."""

    max_bytes: int
    max_entries: int
    timeout: float
    since: float
    minimum_requests: int
    usual: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Work:
    """One source while it is read."""

    source: LogSource
    scan: Scan
    first: bool
    memory: Memory
    plans: dict[str, Resume] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    units: int = 0
    size: int = 0
    skipped: int = 0
    left: int = 0
    cursor: Optional[str] = None


@dataclass(frozen=True)
class Harvest:
    """What was read of every source, and how far."""

    facts: tuple[SourceFacts, ...]
    files: Mapping[str, Position]
    cursors: Mapping[str, str]


class LogReader:
    """Reads the sources of one run from where the last one stopped."""

    def __init__(self, state: State, ask: Ask, clock: Clock, commands: CommandRunner) -> None:
        self._state = state
        self._ask = ask
        self._clock = clock
        self._commands = commands
        self._now = clock.now()
        self._deadline = clock.monotonic() + ask.timeout

    def read(self, sources: Sequence[LogSource]) -> Harvest:
        """Return what was read; nothing that goes wrong with one log stops the others."""
        works = [self._start(source) for source in sources]
        wanted = {_key(work.source, path): plan.unread for work in works for path, plan in work.plans.items()}
        granted = shares(wanted, self._ask.max_bytes)
        for work in works:
            for path, plan in work.plans.items():
                self._read_file(work, path, plan, granted[_key(work.source, path)])
            if work.source.journal:
                self._read_journal(work)
        files = {_key(work.source, path): one for work in works for path, one in work.positions.items()}
        cursors = {work.source.name: work.cursor for work in works if work.cursor}
        return Harvest(tuple(self._facts(work) for work in works), files, cursors)

    def _start(self, source: LogSource) -> _Work:
        reading = self._reading(source)
        memory = self._state.memories.get(source.name, Memory())
        known = {path[len(source.name) + 1 :]: one for path, one in self._state.files.items() if _is_of(path, source)}
        cursor = self._state.cursors.get(source.name)
        first = not known and cursor is None
        scan = Scan(Groups(source.name, memory.groups), reading, source.form, source.ignore)
        if first:
            scan.since = self._now - timedelta(seconds=self._ask.since)
        work = _Work(source, scan, first, memory, cursor=cursor)
        found = find_logs(source.paths)
        work.problems += found.problems
        for path in dict.fromkeys([*found.paths, *known]):
            self._plan(work, path, known.get(path), gone=path not in found.paths)
        return work

    def _reading(self, source: LogSource) -> Reading:
        return Reading(
            source.zone or local_zone(), self._now, source.level_field, source.message_field, source.time_field
        )

    def _plan(self, work: _Work, path: str, position: Optional[Position], gone: bool) -> None:
        try:
            plan = resume(path, position)
        except PreconditionFailed as error:
            work.problems.append(error.message)
            if position is not None:
                work.positions[path] = position
            return
        if gone and not plan.segments:
            idle = position is not None and self._now.timestamp() - position.modified > _IDLE_SECONDS
            if not idle:
                work.problems.append(
                    f"{printable(path)} is gone, and no rotated file holds what was written to it last"
                )
            return
        work.plans[path] = plan

    def _read_file(self, work: _Work, path: str, plan: Resume, limit: int) -> None:
        outcome = read_log(plan, work.scan, limit, self._is_late, self._now.timestamp())
        position = outcome.position or self._state.files.get(_key(work.source, path))
        if position is not None:
            work.positions[path] = position
        work.units += outcome.position is not None
        work.size += outcome.read
        work.skipped += outcome.skipped
        work.left += outcome.left
        work.problems += outcome.problems

    def _is_late(self) -> bool:
        return self._clock.monotonic() >= self._deadline

    def _read_journal(self, work: _Work) -> None:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            work.problems.append("the time for all sources was used up before the journal: raise timeout")
            return
        source, since = work.source, self._state.at if not work.first else None
        start = since.timestamp() if since is not None else self._now.timestamp() - self._ask.since
        ask = JournalAsk(
            source.units, source.directory, work.cursor, start, self._ask.max_entries, min(left, _JOURNAL_SECONDS)
        )
        outcome = read_journal(ask, work.scan, self._reading(source), self._commands)
        work.cursor = outcome.cursor
        if outcome.problem:
            work.problems.append(outcome.problem)
        else:
            work.units += 1
        if outcome.full:
            work.problems.append(
                f"only the newest {self._ask.max_entries} entries of the journal were read (max_entries)"
            )

    def _facts(self, work: _Work) -> SourceFacts:
        scan, access = work.scan, work.scan.access
        requests = None
        if access is not None:
            found = access.worst(self._ask.minimum_requests)
            requests = Requests(access.requests, access.failed, found, access.times.percentile(0.95))
        return SourceFacts(
            name=work.source.name,
            units=work.units,
            hours=hours_of(self._seconds(work)),
            lines=scan.lines,
            size=work.size,
            errors=scan.errors,
            warnings=scan.warnings,
            ignored=scan.ignored,
            other=scan.other,
            skipped=work.skipped,
            left=work.left,
            groups=scan.groups,
            requests=requests,
            wants_requests=work.source.form == ACCESS,
            problems=tuple(work.problems),
            memory=work.memory,
            first_sight=work.first,
            usual=self._ask.usual,
        )

    def _seconds(self, work: _Work) -> Optional[float]:
        """Return the time that the lines are about: since the last run; at first sight since the first of them."""
        if not work.first and self._state.at is not None:
            return (self._now - self._state.at).total_seconds()
        if work.source.journal:
            return self._ask.since
        firsts = [
            at for at in (work.scan.first, work.scan.access.first if work.scan.access else None) if at is not None
        ]
        if not firsts:
            return None
        return min(self._ask.since, max(0.0, (self._now - min(firsts)).total_seconds()))


def _key(source: LogSource, path: str) -> str:
    return f"{source.name}|{path}"


def _is_of(key: str, source: LogSource) -> bool:
    return key.startswith(f"{source.name}|")
