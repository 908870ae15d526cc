# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Carry out a plan of log rotation, one verified operation after the other."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from .._core.errors import OpsError
from .._core.log_rotation import FREE, HELD, UNCLEAR, Entry, FileId, Holdings, Policy
from .._core.log_rotation_decide import (
    CLEAN,
    COMPRESS,
    CREATE,
    PRUNE,
    REMOVE,
    REOPEN,
    ROTATE,
    SETTLE,
    Operation,
    Work,
)  # fmt: skip
from .._core.log_rotation_names import COPIED, generation_name, generation_of, is_staging
from .._core.log_rotation_report import NOT_NEEDED, Result
from .._core.progress import Progress
from .._core.result import DONE, FAILED, SKIPPED
from .._core.units import count_of
from .clock import Clock
from .command import CommandRunner
from .log_rotation_batch import Compressed, Compression, Job
from .log_rotation_compress import Compressor, pieces, unpack
from .log_rotation_copy import copy_and_truncate, equal, finish_copy
from .log_rotation_holders import Processes, open_for_writing
from .log_rotation_place import Staging, remove_staging, rename_free, take_after
from .log_rotation_reopen import Move, Reopener
from .log_rotation_tree import LeftAlone, LogTree, open_entry, open_same, unlink_same
from .progress import ProgressFile

_NEW = "oncall-new"  # name of an empty log before it gets its place
_NAME_ATTEMPTS = 100  # seconds that a stamp may move on because its name is taken
_CODES = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EFBIG: "file_too_large",
          errno.EACCES: "insufficient_privilege", errno.EPERM: "insufficient_privilege",
          errno.EROFS: "read_only"}  # fmt: skip


class NotNeeded(LeftAlone):
    """What was planned turned out to have nothing to do."""


@dataclass(frozen=True)
class Left:
    """What an operation left: size in bytes, name and identity of the file that is there now."""

    size: int = 0
    target: str = ""
    identity: FileId = (0, 0)
    detail: str = ""


@dataclass(frozen=True)
class Means:
    """Everything that the work needs besides the plan."""

    tree: LogTree
    policy: Policy
    holdings: Holdings
    processes: Processes
    compressor: Optional[Compressor]
    reopener: Optional[Reopener]
    threads: int
    clock: Clock
    commands: CommandRunner
    progress: ProgressFile


class _Place:
    """A directory that is opened when the first operation needs it, and a working directory of ours in it."""

    def __init__(self, tree: LogTree, relative: str, stack: contextlib.ExitStack) -> None:
        self._tree = tree
        self._relative = relative
        self._stack = stack
        self._fd: Optional[int] = None
        self._staging: Optional[Staging] = None

    @property
    def fd(self) -> int:
        if self._fd is None:
            self._fd = self._stack.enter_context(self._tree.directory(self._relative))
        return self._fd

    @property
    def staging(self) -> Staging:
        if self._staging is None:
            self._staging = self._stack.enter_context(Staging(self.fd))
        return self._staging

    def sync(self) -> None:
        """Make the names durable."""
        if self._fd is not None:
            os.fsync(self._fd)


class Rotation:
    """One run: each operation ends as done, skipped (left as it is) or failed, and the next one goes on."""

    def __init__(self, work: Work, means: Means) -> None:
        self._work = work
        self._means = means
        self._results: Dict[str, Result] = {}
        self._left: Dict[str, Left] = {}
        self._new: Counter[Tuple[str, str]] = Counter()  # generations that each log got in this run
        self._unproven: Set[FileId] = set()
        self._began = means.clock.monotonic()
        self.not_durable: Optional[OSError] = None  # why names may be the old ones after a power failure

    def run(self) -> List[Result]:
        """Carry out all operations and return their results in the order of the plan."""
        self._each(CLEAN, self._clean)
        self._each(SETTLE, self._settle)
        self._each(CREATE, self._create)
        self._each(REMOVE, self._remove)
        self._each(ROTATE, self._rotate)
        for operation in self._work.of(REOPEN):
            self._attempt(operation, self._tell)
        self._each(PRUNE, self._remove)
        self._compress_all()
        return [self._results[operation.id] for operation in self._work.operations]

    def _each(self, kind: str, handler: Callable[[_Place, Operation], Left]) -> None:
        for directory, group in groupby(self._work.of(kind), key=_directory_of):
            with contextlib.ExitStack() as stack:
                place = _Place(self._means.tree, directory, stack)
                for operation in group:
                    self._attempt(operation, functools.partial(handler, place))
                try:
                    place.sync()
                except OSError as error:
                    self.not_durable = error

    def _attempt(self, operation: Operation, act: Callable[[Operation], Left]) -> None:
        """Carry out one operation and record how it ends."""
        began = self._means.clock.monotonic()
        try:
            if operation.needs > self._new[_log_of(operation)]:
                raise NotNeeded("its log got no new generation")
            left = act(operation)
        except (OSError, OpsError, LeftAlone) as problem:
            self._results[operation.id] = _failure(operation, problem, self._means.clock.monotonic() - began)
        else:
            self._left[operation.id] = left
            if operation.kind in (ROTATE, SETTLE) and left.identity != (0, 0):
                self._new[_log_of(operation)] += 1
            seconds = self._means.clock.monotonic() - began
            self._results[operation.id] = Result(operation, DONE, left.detail, seconds, left.size, left.target)
        self._show(operation)

    def _show(self, operation: Operation) -> None:
        total, elapsed = len(self._work.operations), self._means.clock.monotonic() - self._began
        done = len(self._results)
        self._means.progress.show(Progress(operation.path, operation.kind, done, total, "operations", elapsed))

    def _clean(self, place: _Place, operation: Operation) -> Left:
        entry = _entry(operation)
        if is_staging(entry.name):
            remove_staging(place.fd, entry.name)
            return Left()
        fd = open_entry(place.fd, entry)
        try:
            if os.fstat(fd).st_size:
                raise LeftAlone("no longer empty")
        finally:
            os.close(fd)
        return self._remove(place, operation)

    def _settle(self, place: _Place, operation: Operation) -> Left:
        entry = _entry(operation)
        if entry.name.endswith(COPIED):
            if finish_copy(place.fd, entry, operation.log, operation.target):
                return Left(entry.size, operation.target, entry.identity, "the copy is whole, the log was truncated")
            return Left(detail="the log was not truncated, it has all the lines of the copy")
        if not _same_content(place.fd, operation, self._means.commands):
            raise LeftAlone(f"{operation.target} has not the same content: both are kept, look at them")
        unlink_same(place.fd, entry.name, entry.identity)
        return Left(0, operation.target)

    def _create(self, place: _Place, operation: Operation) -> Left:
        model = _entry(operation)
        fd = open_entry(place.fd, model)
        try:
            _prepare_new(place.staging, fd)
        finally:
            os.close(fd)
        place.staging.offer(_NEW, operation.log)
        return Left(0, operation.log)

    def _remove(self, place: _Place, operation: Operation) -> Left:
        entry = _entry(operation)
        fd = open_entry(place.fd, entry)
        try:
            if open_for_writing(fd):
                raise LeftAlone("a process has it open for writing")
            unlink_same(place.fd, entry.name, entry.identity)
        finally:
            os.close(fd)
        return Left()

    def _rotate(self, place: _Place, operation: Operation) -> Left:
        entry = _entry(operation)
        copying = self._means.policy.reopening.method == "copytruncate"
        for target in _free_names(operation):
            try:
                if copying:
                    identity, size = copy_and_truncate(place.fd, place.staging, entry, target)
                    return Left(size, target, identity, self._went_on(entry))
                size = _rename(place.fd, place.staging, entry, target, self._means.policy.create)
                return Left(size, target, entry.identity)
            except FileExistsError:
                continue
        raise LeftAlone(f"every name from {operation.target} on is taken")

    def _went_on(self, entry: Entry) -> str:
        """Say which of the writers go on with the truncated file."""
        said = []
        for holder in self._means.holdings.writers(entry.identity):
            still = entry.identity in self._means.processes.written_by(holder.pid)
            said.append(f"{holder.command} (pid {holder.pid}) {'goes on writing to it' if still else 'has let it go'}")
        return ", ".join(said)

    def _tell(self, _operation: Operation) -> Left:
        moves, unclear = self._moves()
        if not (moves or unclear) or self._means.reopener is None:
            raise NotNeeded("no log that is held open was rotated")
        self._unproven = {move.old for move in moves}
        detail = self._means.reopener.ask()
        doubts = self._means.reopener.prove(moves)
        self._unproven = {move.old for move, _why in doubts}
        if doubts:
            raise _unproven(len(moves), doubts)
        doubt = f", {unclear} cannot be proven" if unclear else ""
        return Left(detail=f"{detail}; {count_of(len(moves), 'new file')} proven to be written to{doubt}")

    def _moves(self) -> Tuple[List[Move], int]:
        """Return the files whose writers must go over to a new one, and how many others may have one."""
        holdings, found, unclear = self._means.holdings, [], 0
        for operation in self._work.of(ROTATE):
            left, entry = self._left.get(operation.id), _entry(operation)
            verdict = holdings.verdict(entry.identity) if left is not None else FREE
            unclear += verdict == UNCLEAR
            if left is not None and verdict == HELD:
                writers = holdings.writers(entry.identity)
                found.append(Move(entry.directory, left.target, entry.identity, operation.log, writers))
        for operation in self._work.of(COMPRESS):
            entry = _entry(operation)
            if not operation.follows and holdings.verdict(entry.identity) == HELD:
                writers = holdings.writers(entry.identity)
                found.append(Move(entry.directory, entry.name, entry.identity, operation.log, writers))
        return found, unclear

    def _compress_all(self) -> None:
        jobs: List[Job] = []
        operations = {operation.id: operation for operation in self._work.of(COMPRESS)}
        for operation in operations.values():
            try:
                jobs.append(self._job(operation))
            except LeftAlone as problem:
                self._results[operation.id] = _failure(operation, problem, 0.0)

        def report(compressed: Compressed) -> None:
            operation, problem = operations[compressed.job.id], compressed.problem
            done = Result(operation, DONE, "", 0.0, compressed.size, compressed.job.target)
            self._results[operation.id] = done if problem is None else _failure(operation, problem, 0.0)
            self._show(operation)

        if self._means.compressor is not None:
            Compression(self._means.tree, self._means.compressor, self._means.threads).run(jobs, report)

    def _job(self, operation: Operation) -> Job:
        """Return what is to be compressed.

        Raises:
            LeftAlone: it is not there, or somebody may still write to it.
        """
        entry = _entry(operation)
        name, identity = entry.name, entry.identity
        if operation.follows:
            if operation.follows not in self._left:
                raise LeftAlone("its log was not rotated")
            left = self._left[operation.follows]
            name, identity = left.target, left.identity
        if not name:
            raise NotNeeded("nothing was left to compress")
        if identity in self._unproven:
            raise LeftAlone("not proven that nobody writes to it any more")
        target = name + self._means.policy.suffix
        return Job(operation.id, entry.directory, name, identity, target, operation.size)


def _rename(directory: int, staging: Staging, entry: Entry, target: str, create: bool) -> int:
    """Rename a log, put an empty one in its place, and return the old one's size in bytes."""
    fd = open_entry(directory, entry)
    try:
        if create:  # before the rename: where there is no room for it, the log stays as it is
            _prepare_new(staging, fd)
        rename_free(directory, entry.name, target, entry.identity)
        if create:
            staging.offer(_NEW, entry.name)
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _prepare_new(staging: Staging, model: int) -> None:
    fd = staging.create(_NEW)
    try:
        take_after(fd, model, times=False)
    finally:
        os.close(fd)


def _same_content(directory: int, operation: Operation, commands: CommandRunner) -> bool:
    plain = open_entry(directory, _entry(operation))
    try:
        info = os.stat(operation.target, dir_fd=directory, follow_symlinks=False)
        packed = open_same(directory, operation.target, (info.st_dev, info.st_ino))
        try:
            suffix = operation.target[operation.target.rindex(".") :]
            return equal(pieces(plain), unpack(packed, suffix, commands))
        except LeftAlone:
            return False
        finally:
            os.close(packed)
    finally:
        os.close(plain)


def _free_names(operation: Operation) -> Iterator[str]:
    """Yield the planned name and those of the seconds after it."""
    name = generation_of(operation.target)
    stamp = name.stamp if name is not None and name.stamp is not None else 0.0
    return (generation_name(operation.log, stamp + second) for second in range(_NAME_ATTEMPTS))


def _directory_of(operation: Operation) -> str:
    return _entry(operation).directory


def _log_of(operation: Operation) -> Tuple[str, str]:
    return ("" if operation.entry is None else operation.entry.directory, operation.log)


def _entry(operation: Operation) -> Entry:
    if operation.entry is None:
        raise ValueError(f"{operation.id} is about no file")
    return operation.entry


def _failure(operation: Operation, problem: Exception, seconds: float) -> Result:
    if isinstance(problem, (FileNotFoundError, FileExistsError)):
        gone = isinstance(problem, FileNotFoundError)
        problem = LeftAlone("gone meanwhile" if gone else f"there is a file called {operation.target} already")
    if isinstance(problem, LeftAlone):
        code = NOT_NEEDED if isinstance(problem, NotNeeded) else ""
        return Result(operation, SKIPPED, str(problem), seconds, operation.size, code=code)
    if isinstance(problem, OpsError):
        return Result(operation, FAILED, problem.message, seconds, operation.size, code=problem.code)
    text = getattr(problem, "strerror", None) or str(problem)
    return Result(operation, FAILED, text, seconds, operation.size, code=code_of(problem))


def code_of(error: Exception) -> str:
    """Return the failure code of an error of the operating system."""
    return _CODES.get(getattr(error, "errno", None) or 0, "io_error")


def _unproven(total: int, doubts: Sequence[Tuple[Move, str]]) -> OpsError:
    move, why = doubts[0]
    return OpsError(
        f"{len(doubts)} of {total} new files not proven to be written to: {move.log}: {why}",
        code="reopen_unproven",
        hint="the old files are whole and not compressed; look at the process, then run again",
    )
