# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is not in the journal yet: one file of lines for each run, for its owner alone.

A run appends to its file before it writes to the journal, so that neither a journal that is away nor a killed process
loses anything. The file is locked for as long as the run lives; what another run left is taken in by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Optional

from .._core.errors import OpsError, PreconditionFailed
from .._core.journal_batch import Batch, from_line, to_line
from .journal_open import JournalUnreachable
from .journal_write import JournalWriter

DEFAULT_FOLDER = "~/.local/state/oncall-runbooks/spool"
LARGEST_BYTES = 256 * 1024 * 1024
_TOGETHER = 200
_ENDING = ".jsonl"


@dataclass(frozen=True)
class TakenIn:
    """What came of the files that other runs left."""

    files: int = 0
    batches: int = 0
    unreadable_lines: int = 0
    rejected: tuple[str, ...] = ()


def folder_of(path: Optional[str]) -> Path:
    """Return the folder of the spool, made for its owner alone.

    Raises:
        PreconditionFailed: it belongs to somebody else, or others may write to it (code ``insecure_directory``).
        OSError: it cannot be made.
    """
    folder = Path(path or DEFAULT_FOLDER).expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PreconditionFailed(
            f"spool of the journal in {folder}: the folder belongs to somebody else or others may write to it",
            code="insecure_directory",
            hint="chown it to the user who runs the runbooks and chmod it to 0700",
        )
    return folder


class SpoolFile:
    """The file of one writer, held for as long as it is open. ``where`` names the journal that it is for."""

    def __init__(self, folder: Path, where: str, header: Batch) -> None:
        self.path = folder / f"{_mark(where)}-{header.writer}{_ENDING}"
        partial = self.path.with_suffix(".partial")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_APPEND
        self._handle = os.open(partial, flags, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = 0
            self.append(header)
            self._header_size = self._size
            partial.rename(self.path)  # locked before anybody can find it
        except BaseException:
            os.close(self._handle)
            partial.unlink()
            raise

    def append(self, batch: Batch) -> None:
        """Add a batch; after a failure the file ends with a whole line.

        Raises:
            OSError: the disk is full, or the file has become too large.
        """
        line = to_line(batch).encode()
        if self._size + len(line) > LARGEST_BYTES:
            raise OSError(f"{self.path} would become larger than {LARGEST_BYTES} bytes")
        try:
            written = os.write(self._handle, line)
            if written < len(line):
                os.write(self._handle, line[written:])  # says why
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(line)

    def forget(self) -> None:
        """Forget all but the header: the journal has it."""
        os.ftruncate(self._handle, self._header_size)
        self._size = self._header_size

    def sync(self) -> None:
        """Bring the file to the disk."""
        os.fsync(self._handle)

    def close(self, remove: bool) -> None:
        """Let go of the file, and remove it when the journal has all of it."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)


def take_in(folder: Path, writer: JournalWriter) -> TakenIn:
    """Write into the journal what runs that are over have left, each batch once, and remove their files.

    The files of runs that are alive, and of other journals, are left alone. A file whose content the journal refuses
    is put aside as ``.rejected``.

    Raises:
        JournalUnreachable: the journal went away; nothing is lost.
        OSError: the folder cannot be read.
    """
    files = batches = unreadable = 0
    rejected = []
    for path in sorted(folder.glob(f"{_mark(writer.where)}-*{_ENDING}"), key=lambda path: path.name):
        with _held(path) as stream:
            if stream is None:
                continue
            try:
                new, torn = _take(stream, writer)
            except JournalUnreachable as error:
                if error.code != "journal_refused":
                    raise
                path.rename(path.with_suffix(".rejected"))
                rejected.append(str(path.with_suffix(".rejected")))
                continue
            path.unlink()
            files, batches, unreadable = files + 1, batches + new, unreadable + torn
    return TakenIn(files, batches, unreadable, tuple(rejected))


def waiting(folder: Path, where: str) -> tuple[Path, ...]:
    """Return the files for a journal that nobody holds."""
    found = []
    for path in sorted(folder.glob(f"{_mark(where)}-*{_ENDING}")):
        with _held(path) as stream:
            if stream is not None:
                found.append(path)
    return tuple(found)


def store_once(folder: Path, where: str, batches: tuple[Batch, ...]) -> Path:
    """Spool batches of one writer that is no run, for the next run to take in, and return the file.

    Raises:
        OpsError: they cannot be spooled either (code ``journal_lost``).
    """
    try:
        file = SpoolFile(folder, where, batches[0])
        try:
            for batch in batches[1:]:
                file.append(batch)
            file.sync()
        finally:
            file.close(remove=False)
    except OSError as error:
        raise OpsError(
            f"spool for the journal in {folder}: {error.strerror or error}; the record is lost",
            code="journal_lost",
            hint="make room and rights for the journal and its spool, then record it again",
        ) from error
    return file.path


def _take(stream: BinaryIO, writer: JournalWriter) -> tuple[int, int]:
    """Return how many batches were new and how many lines cannot be read; a torn end is what a killed run leaves."""
    new = unreadable = 0
    together: list[Batch] = []
    for raw in stream:
        batch = from_line(raw.decode("utf-8", errors="replace"))
        if batch is None:
            unreadable += 1
            continue
        together.append(batch)
        if len(together) >= _TOGETHER:
            new += writer.apply(together)
            together = []
    return new + (writer.apply(together) if together else 0), unreadable


@contextlib.contextmanager
def _held(path: Path) -> Iterator[Optional[BinaryIO]]:
    """Hold a file that nobody else holds; None when somebody does, or it is gone."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(handle, "rb") as stream:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        same = (
            stat.S_ISREG(os.fstat(handle).st_mode) and path.exists() and path.stat().st_ino == os.fstat(handle).st_ino
        )
        yield stream if same else None


def _mark(where: str) -> str:
    """Return what tells the files of one journal from those of another."""
    return f"{zlib.crc32(where.encode()):08x}"
