# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Find the place where the last run stopped, also when the log was rotated, emptied or compressed since."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Iterator, Optional, cast

from .._core.errors import PreconditionFailed
from .._core.log_names import generations, is_packed
from .._core.log_state import Position
from .._core.redact import printable
from .log_open import OpenLog, open_log

_SAMPLE = 256
_SKIP = 1 << 20
_SAME_MOMENT = 1.0  # seconds by which a copy's time may be coarser than the original's
UNPACKING_ERRORS = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class Segment:
    """A part of a file that is yet to be read: from ``start`` to ``end``, in bytes (unpacked ones of a packed file)."""

    path: str
    start: int
    end: int
    live: bool = False
    mid_line: bool = False
    inode: int = 0

    @property
    def packed(self) -> bool:
        """Tell whether it must be unpacked."""
        return not self.live and is_packed(self.path)


@dataclass(frozen=True)
class Resume:
    """What is to be read of one log, the oldest first, and what is known to be missing."""

    segments: tuple[Segment, ...]
    problem: str = ""
    newest: float = 0.0  # when the log or one of its generations was last written to, in epoch seconds

    @property
    def unread(self) -> int:
        """How many bytes that is."""
        return sum(max(0, segment.end - segment.start) for segment in self.segments)


def resume(path: str, position: Optional[Position]) -> Resume:
    """Return what is to be read of a log since a position; without one, all of it, without rotated generations.

    Raises:
        PreconditionFailed: the log cannot be read.
    """
    family = _by_age(path)
    live: Optional[Segment] = None
    newest = max((modified for modified, _name in family), default=0.0)
    with contextlib.ExitStack() as stack:
        try:
            log = stack.enter_context(open_log(path))
        except PreconditionFailed as error:
            if error.code != "file_missing" or position is None:
                raise
        else:
            newest = max(newest, log.status.st_mtime)
            live = Segment(path, 0, log.status.st_size, live=True, inode=log.status.st_ino)
            if position is None:
                return Resume((live,), newest=newest)
            # an empty log is itself still when it was copied and emptied once more since
            if position.offset > 0 and _is_continued(log, position):
                live = replace(live, start=position.offset, mid_line=position.mid_line)
                return Resume((live,), newest=newest)
    return _rotated(path, position, live, family, newest)


def _rotated(
    path: str, position: Position, live: Optional[Segment], family: list[tuple[float, str]], newest: float
) -> Resume:
    found: Optional[Segment] = None
    newer: list[Segment] = []
    unreadable = ""
    for modified, name in family:
        if modified < position.modified - _SAME_MOMENT:
            continue
        try:
            # of a log that was empty every generation since is new: there is nothing to know it again by
            segment = _continuing(name, position) if found is None and position.offset > 0 else None
            if segment is not None:
                found, newer = segment, []
            elif found is not None or modified > position.newest:
                newer.append(_whole(name))
        except PreconditionFailed as error:
            unreadable = error.message
        except UNPACKING_ERRORS as error:
            unreadable = f"{printable(name)} cannot be unpacked ({type(error).__name__})"
    segments = tuple(one for one in (found, *newer, live) if one is not None)
    problem = unreadable
    if found is None and not problem and position.offset > 0:
        problem = f"{printable(path)} was replaced or emptied, and no rotated file holds what was written to it before"
    return Resume(segments, problem, newest)


def _by_age(path: str) -> list[tuple[float, str]]:
    """Return when each generation was last written to, and its path, the oldest first; none that is being packed."""
    live = Path(path)
    try:
        names = [other.name for other in live.parent.iterdir()]
    except OSError:
        return []
    found = generations(live.name, names)
    aged = []
    for other in found:
        if is_packed(other) and other.rpartition(".")[0] in found:
            continue
        with contextlib.suppress(OSError):
            full = live.parent / other
            aged.append((full.lstat().st_mtime, str(full)))
    return sorted(aged)


def _whole(path: str) -> Segment:
    with open_log(path) as log:
        return Segment(path, 0, _size(log), inode=log.status.st_ino)


def _size(log: OpenLog) -> int:
    """Return the size; of a gzip file the one that it says it has unpacked (RFC 1952, 2.3.1: modulo 4 GiB)."""
    if not is_packed(log.path):
        return log.status.st_size
    if not log.path.endswith(".gz"):
        raise PreconditionFailed(f"{printable(log.path)} cannot be unpacked here, only .gz can", code="unsafe")
    end = os.pread(log.handle.fileno(), 4, max(0, log.status.st_size - 4))
    return int.from_bytes(end, "little")


def _continuing(path: str, position: Position) -> Optional[Segment]:
    """Return the rest of a generation if it is the file of the position, renamed, copied or packed."""
    with open_log(path) as log:
        size = _size(log)
        if size < position.offset:
            return None
        if is_packed(path):
            with unpacked(log) as stream:
                same = _stream_is_continued(stream, position)
        else:
            same = _matches(log, position)
        mid = position.mid_line
        return Segment(path, position.offset, size, mid_line=mid, inode=log.status.st_ino) if same else None


@contextlib.contextmanager
def unpacked(log: OpenLog) -> Iterator[IO[bytes]]:
    """Give the contents of a gzip file."""
    log.handle.seek(0)
    with gzip.GzipFile(fileobj=log.handle, mode="rb") as stream:
        yield cast(IO[bytes], stream)


def _is_continued(log: OpenLog, position: Position) -> bool:
    same = (log.status.st_dev, log.status.st_ino) == (position.device, position.inode)
    return same and log.status.st_size >= position.offset and _matches(log, position)


def _matches(log: OpenLog, position: Position) -> bool:
    fd = log.handle.fileno()
    head = _hash(os.pread(fd, position.head_size, 0))
    tail = _hash(os.pread(fd, position.tail_size, position.offset - position.tail_size))
    return (head, tail) == (position.head, position.tail)


def _stream_is_continued(stream: IO[bytes], position: Position) -> bool:
    head = stream.read(position.head_size)
    if _hash(head) != position.head:
        return False
    start = position.offset - position.tail_size
    skip = start - position.head_size
    if skip < 0:  # both samples overlap: the file is short
        rest = stream.read(position.offset - position.head_size)
        return _hash((head + rest)[start : position.offset]) == position.tail
    while skip > 0:
        skipped = len(stream.read(min(skip, _SKIP)))
        if not skipped:
            return False
        skip -= skipped
    return _hash(stream.read(position.tail_size)) == position.tail


def position_at(log: OpenLog, offset: int, mid_line: bool) -> Position:
    """Return the position in an open file that is not packed."""
    fd, size = log.handle.fileno(), min(_SAMPLE, offset)
    return _position(log, offset, os.pread(fd, size, 0), os.pread(fd, size, offset - size), mid_line)


def position_in_packed(log: OpenLog, offset: int, mid_line: bool) -> Position:
    """Return the position in a packed file: it is unpacked once more up to there."""
    size = min(_SAMPLE, offset)
    with unpacked(log) as stream:
        head = stream.read(size)
        seen = head
        left = offset - len(head)
        while left > 0:
            more = stream.read(min(left, _SKIP))
            if not more:
                break
            left -= len(more)
            seen = (seen + more)[-size:]
    return _position(log, offset, head, seen[-size:] if size else b"", mid_line)


def _position(log: OpenLog, offset: int, head: bytes, tail: bytes, mid_line: bool) -> Position:
    return Position(
        log.status.st_dev, log.status.st_ino, offset, _hash(head), len(head), _hash(tail), len(tail), mid_line,
        log.status.st_mtime,
    )  # fmt: skip


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
