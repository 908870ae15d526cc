# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Carry out a plan of log rotation, one verified operation after the other."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from itertools import groupby
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from .._core.errors import OpsError
from .._core.log_rotation import FREE, HELD, Entry, FileId, Holdings, Policy
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
from .._core.log_rotation_report import Result
from .._core.progress import Progress
from .._core.result import DONE, FAILED, SKIPPED
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

_NAME_ATTEMPTS = 100  # seconds that a stamp may move on because its name is taken
_CODES = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EFBIG: "file_too_large",
          errno.EACCES: "insufficient_privilege", errno.EPERM: "insufficient_privilege",
          errno.EROFS: "read_only"}  # fmt: skip


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


class Rotation:
    """One run: each operation ends as done, skipped (left as it is) or failed, and the next one goes on."""

    def __init__(self, work: Work, means: Means) -> None:
        self._work = work
        self._means = means
        self._results: Dict[str, Result] = {}
        self._left: Dict[str, Left] = {}
        self._unproven: Set[FileId] = set()
        self._began = means.clock.monotonic()

    def run(self) -> List[Result]:
        """Carry out all operations and return their results in the order of the plan."""
        simple: Sequence[Tuple[str, Callable[[int, Operation], Left]]] = (
            (CLEAN, self._clean),
            (SETTLE, self._settle),
            (CREATE, self._create),
            (REMOVE, self._remove),
        )
        for kind, handler in simple:
            self._each(self._work.of(kind), handler)
        self._rotate_all()
        self._reopen()
        self._each(self._work.of(PRUNE), self._remove)
        self._compress_all()
        return [self._results[operation.id] for operation in self._work.operations]

    def _each(self, operations: Iterable[Operation], handler: Callable[[int, Operation], Left]) -> None:
        for directory, group in groupby(operations, key=_directory_of):
            with contextlib.ExitStack() as stack:
                fd = -1
                for operation in group:
                    with self._attempt(operation) as keep:
                        if fd < 0:
                            fd = stack.enter_context(self._means.tree.directory(directory))
                        keep(handler(fd, operation))

    @contextlib.contextmanager
    def _attempt(self, operation: Operation) -> Iterator[Callable[[Left], None]]:
        """Record how one operation ends; ``keep`` takes what it left."""
        began = self._means.clock.monotonic()
        left: List[Left] = []
        problem: Optional[Exception] = None
        try:
            self._need(operation.follows)
            yield left.append
        except (OSError, OpsError, LeftAlone) as error:
            problem = error
        seconds = self._means.clock.monotonic() - began
        if problem is not None or not left:
            self._results[operation.id] = _failure(operation, problem or LeftAlone("not done"), seconds)
        else:
            self._left[operation.id] = left[0]
            found = left[0]
            self._results[operation.id] = Result(operation, DONE, found.detail, seconds, found.size, found.target)
        self._show(operation)

    def _need(self, follows: str) -> None:
        if follows and self._results[follows].status != DONE:
            raise LeftAlone("its log was not rotated")

    def _show(self, operation: Operation) -> None:
        total, elapsed = len(self._work.operations), self._means.clock.monotonic() - self._began
        done = len(self._results)
        self._means.progress.show(Progress(operation.path, operation.kind, done, total, "operations", elapsed))

    def _clean(self, directory: int, operation: Operation) -> Left:
        entry = _entry(operation)
        if is_staging(entry.name):
            remove_staging(directory, entry.name)
            return Left()
        fd = open_entry(directory, entry)
        try:
            if os.fstat(fd).st_size:
                raise LeftAlone("no longer empty")
        finally:
            os.close(fd)
        return self._remove(directory, operation)

    def _settle(self, directory: int, operation: Operation) -> Left:
        entry = _entry(operation)
        if entry.name.endswith(COPIED):
            if finish_copy(directory, entry, operation.log, operation.target):
                return Left(entry.size, operation.target, entry.identity, "the copy is whole, the log was truncated")
            return Left(detail="the log was not truncated, it has all the lines of the copy")
        if not _same_content(directory, operation, self._means.commands):
            raise LeftAlone(f"{operation.target} has not the same content: both are kept, look at them")
        unlink_same(directory, entry.name, entry.identity)
        return Left(0, operation.target)

    def _create(self, directory: int, operation: Operation) -> Left:
        model = _entry(operation)
        with Staging(directory) as staging:
            fd = open_entry(directory, model)
            try:
                _offer_new(staging, operation.log, os.fstat(fd))
            finally:
                os.close(fd)
        return Left(0, operation.log)

    def _remove(self, directory: int, operation: Operation) -> Left:
        entry = _entry(operation)
        fd = open_entry(directory, entry)
        try:
            if open_for_writing(fd):
                raise LeftAlone("a process has it open for writing")
            unlink_same(directory, entry.name, entry.identity)
        finally:
            os.close(fd)
        return Left()

    def _rotate_all(self) -> None:
        for directory, group in groupby(self._work.of(ROTATE), key=_directory_of):
            with contextlib.ExitStack() as stack:
                opened: List[Tuple[int, Staging]] = []
                for operation in group:
                    with self._attempt(operation) as keep:
                        if not opened:
                            fd = stack.enter_context(self._means.tree.directory(directory))
                            opened.append((fd, stack.enter_context(Staging(fd))))
                        keep(self._rotate(*opened[0], operation))
                for fd, _staging in opened:
                    os.fsync(fd)

    def _rotate(self, directory: int, staging: Staging, operation: Operation) -> Left:
        entry = _entry(operation)
        copying = self._means.policy.reopening.method == "copytruncate"
        for target in _free_names(operation):
            try:
                if copying:
                    identity, size = copy_and_truncate(directory, staging, entry, target)
                    return Left(size, target, identity, self._went_on(entry))
                size = _rename(directory, staging, entry, target, self._means.policy.create)
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

    def _reopen(self) -> None:
        for operation in self._work.of(REOPEN):
            with self._attempt(operation) as keep:
                moves = self._moves()
                if not moves or self._means.reopener is None:
                    raise LeftAlone("no log that is held open was rotated")
                self._unproven = {move.old for move in moves}
                detail = self._means.reopener.ask()
                doubts = self._means.reopener.prove(moves)
                self._unproven = {move.old for move, _why in doubts}
                if doubts:
                    raise _unproven(len(moves), doubts)
                keep(Left(detail=f"{detail}; {len(moves)} of {len(moves)} new files are proven to be written to"))

    def _moves(self) -> List[Move]:
        """Return the files whose writers must go over to a new one."""
        holdings, found = self._means.holdings, []
        for operation in self._work.of(ROTATE):
            left, entry = self._left.get(operation.id), _entry(operation)
            if left is not None and holdings.verdict(entry.identity) != FREE:
                writers = holdings.writers(entry.identity)
                found.append(Move(entry.directory, left.target, entry.identity, operation.log, writers))
        for operation in self._work.of(COMPRESS):
            entry = _entry(operation)
            if not operation.follows and holdings.verdict(entry.identity) == HELD:
                writers = holdings.writers(entry.identity)
                found.append(Move(entry.directory, entry.name, entry.identity, operation.log, writers))
        return found

    def _compress_all(self) -> None:
        jobs: List[Job] = []
        operations = {operation.id: operation for operation in self._work.of(COMPRESS)}
        for operation in operations.values():
            problem = self._not_ready(operation)
            if problem:
                self._results[operation.id] = _failure(operation, LeftAlone(problem), 0.0)
            else:
                jobs.append(self._job(operation))

        def report(compressed: Compressed) -> None:
            operation, problem = operations[compressed.job.id], compressed.problem
            done = Result(operation, DONE, "", 0.0, compressed.size, compressed.job.target)
            self._results[operation.id] = done if problem is None else _failure(operation, problem, 0.0)
            self._show(operation)

        if self._means.compressor is not None:
            Compression(self._means.tree, self._means.compressor, self._means.threads).run(jobs, report)

    def _not_ready(self, operation: Operation) -> str:
        if operation.follows and operation.follows not in self._left:
            return "its log was not rotated"
        name, identity = self._source(operation)
        if not name:
            return "nothing was left to compress"
        return "not proven that nobody writes to it any more" if identity in self._unproven else ""

    def _source(self, operation: Operation) -> Tuple[str, FileId]:
        if operation.follows:
            left = self._left[operation.follows]
            return left.target, left.identity
        return _entry(operation).name, _entry(operation).identity

    def _job(self, operation: Operation) -> Job:
        name, identity = self._source(operation)
        target = name + self._means.policy.suffix
        return Job(operation.id, _entry(operation).directory, name, identity, target, operation.size)


def _rename(directory: int, staging: Staging, entry: Entry, target: str, create: bool) -> int:
    """Rename a log, put an empty one in its place, and return the old one's size in bytes."""
    fd = open_entry(directory, entry)
    try:
        rename_free(directory, entry.name, target, entry.identity)
        if create:
            _offer_new(staging, entry.name, os.fstat(fd))
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _offer_new(staging: Staging, log: str, model: os.stat_result) -> None:
    fd = staging.create("new")
    try:
        take_after(fd, model, times=False)
    finally:
        os.close(fd)
    staging.offer("new", log)


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


def _entry(operation: Operation) -> Entry:
    if operation.entry is None:
        raise ValueError(f"{operation.id} is about no file")
    return operation.entry


def _failure(operation: Operation, problem: Exception, seconds: float) -> Result:
    if isinstance(problem, LeftAlone):
        return Result(operation, SKIPPED, str(problem), seconds, operation.size)
    if isinstance(problem, OpsError):
        return Result(operation, FAILED, problem.message, seconds, operation.size, code=problem.code)
    number = getattr(problem, "errno", None) or 0
    text = getattr(problem, "strerror", None) or str(problem)
    return Result(operation, FAILED, text, seconds, operation.size, code=_CODES.get(number, "io_error"))


def _unproven(total: int, doubts: Sequence[Tuple[Move, str]]) -> OpsError:
    move, why = doubts[0]
    return OpsError(
        f"{len(doubts)} of {total} new files not proven to be written to: {move.log}: {why}",
        code="reopen_unproven",
        hint="the old files are whole and not compressed; look at the process, then run again",
    )
