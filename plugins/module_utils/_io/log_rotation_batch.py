# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Compress many files, several at a time: an original goes only when its successor is on the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from .._core.errors import OpsError
from .._core.log_rotation import FileId
from .log_rotation_compress import Compressor
from .log_rotation_holders import open_for_writing
from .log_rotation_place import Staging, take_after
from .log_rotation_tree import LeftAlone, LogTree, open_same, unlink_same

_BATCH_FILES = 32
_BATCH_BYTES = 64 * 1024 * 1024  # originals that wait together for their successors' sync
_SYNCS = 8  # files that are synced at the same time: the disk does them together
_DESCRIPTORS = 400  # of all threads together, each file needs two; 1024 is the usual limit


@dataclass(frozen=True)
class Job:
    """One file to compress: its name and the name of what is made of it, without directories. Sizes in bytes."""

    id: str
    directory: str
    name: str
    identity: FileId
    target: str
    size: int


@dataclass(frozen=True)
class Compressed:
    """What became of a job; ``problem`` says why it was not done."""

    job: Job
    size: int = 0
    problem: Optional[Exception] = None


class Compression:
    """Works through jobs in threads, one batch of one directory each.

    ``cores`` batches are compressed at the same time, while others wait for the disk.
    """

    def __init__(self, tree: LogTree, compressor: Compressor, cores: int) -> None:
        self._tree = tree
        self._compressor = compressor
        self._threads = cores + max(1, cores // 2)
        self._files = max(1, min(_BATCH_FILES, _DESCRIPTORS // self._threads))
        self._cores = threading.Semaphore(cores)
        self._disk = ThreadPoolExecutor(_SYNCS)
        self._full = threading.Event()

    def run(self, jobs: Sequence[Job], report: Callable[[Compressed], None]) -> None:
        """Do all jobs and report each one; once the disk is full no further batch is begun."""
        with self._disk, ThreadPoolExecutor(self._threads) as pool:
            for results in pool.map(self._batch, list(self._batches(jobs))):
                for result in results:
                    report(result)

    def _batches(self, jobs: Sequence[Job]) -> Iterator[List[Job]]:
        batch: List[Job] = []
        for job in sorted(jobs, key=lambda job: (job.directory, -job.size)):
            full = len(batch) == self._files or sum(b.size for b in batch) + job.size > _BATCH_BYTES
            if batch and (full or batch[0].directory != job.directory):
                yield batch
                batch = []
            batch.append(job)
        if batch:
            yield batch

    def _batch(self, jobs: List[Job]) -> List[Compressed]:
        if self._full.is_set():
            return [Compressed(job, problem=LeftAlone("not begun: the disk is full")) for job in jobs]
        results: Dict[str, Compressed] = {}
        try:
            with contextlib.ExitStack() as stack:
                self._work(jobs, results, stack)
        except (OSError, OpsError, LeftAlone) as error:
            self._note(error)
            return [results.get(job.id, Compressed(job, problem=error)) for job in jobs]
        return [results[job.id] for job in jobs]

    def _work(self, jobs: List[Job], results: Dict[str, Compressed], stack: contextlib.ExitStack) -> None:
        directory = stack.enter_context(self._tree.directory(jobs[0].directory))
        staging = stack.enter_context(Staging(directory))
        opened: List[Tuple[Job, int, os.stat_result]] = []
        for job in jobs:
            with self._recorded(job, results):
                fd = open_same(directory, job.name, job.identity)
                stack.callback(os.close, fd)
                _refuse_written(fd)
                opened.append((job, fd, os.fstat(fd)))
        written: List[Tuple[Job, str, int]] = []
        with self._cores:
            made = self._compressor.compress([fd for _job, fd, _info in opened], staging)
            for (job, source, before), (name, fd, problem) in zip(opened, made):
                with self._recorded(job, results):
                    if problem is not None:
                        raise problem
                    stack.callback(os.close, fd)
                    _complete(fd, source, before)
                    written.append((job, name, fd))
        self._put_in_place(directory, staging, written, results)

    def _put_in_place(
        self, directory: int, staging: Staging, written: List[Tuple[Job, str, int]], results: Dict[str, Compressed]
    ) -> None:
        """Make the files durable, give them their names, make these durable too, and only then remove the originals."""
        placed: List[Tuple[Job, int]] = []
        problems = self._disk.map(_sync, [fd for _job, _name, fd in written])
        for (job, name, fd), problem in zip(written, problems):
            with self._recorded(job, results):
                if problem is not None:
                    raise problem
                try:
                    staging.place(name, fd, job.target)
                except FileExistsError as error:
                    raise LeftAlone(f"there is a file called {job.target} already") from error
                placed.append((job, fd))
        os.fsync(directory)
        for job, fd in placed:
            with self._recorded(job, results):
                unlink_same(directory, job.name, job.identity)
                results[job.id] = Compressed(job, os.fstat(fd).st_size)

    @contextlib.contextmanager
    def _recorded(self, job: Job, results: Dict[str, Compressed]) -> Iterator[None]:
        """Note why a job is not done; the others of its batch go on."""
        try:
            yield
        except (OSError, LeftAlone) as error:
            self._note(error)
            results[job.id] = Compressed(job, problem=error)

    def _note(self, error: Exception) -> None:
        code = error.code if isinstance(error, OpsError) else ""
        if code == "disk_full" or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            self._full.set()


def _refuse_written(fd: int) -> None:
    if open_for_writing(fd):
        raise LeftAlone("a process still has it open for writing: compressed when it has let go")


def _sync(fd: int) -> Optional[OSError]:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


def _complete(fd: int, source: int, before: os.stat_result) -> None:
    """Give a compressed file what its original has, when that did not change meanwhile."""
    now = os.fstat(source)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise LeftAlone("was written to while it was compressed")
    take_after(fd, source, times=True)
