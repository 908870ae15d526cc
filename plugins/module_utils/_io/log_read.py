# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read logs block by block, whole lines at a time, within a number of bytes and a deadline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import IO, Callable, Iterator, Optional, Sequence

from .._core.errors import PreconditionFailed
from .._core.log_scan import Scan
from .._core.log_state import Position
from .._core.redact import printable
from .log_open import OpenLog, open_log
from .log_resume import UNPACKING_ERRORS, Resume, Segment, position_at, position_in_packed, unpacked

_BLOCK = 1 << 20
_LONGEST = 1 << 20  # bytes of a line that are waited for; of a longer one the beginning counts
_KEPT = 1 << 16
_SETTLED_SECONDS = 5.0  # a stack trace at the end of a log may go on for so long after the last write


@dataclass
class Outcome:
    """What became of reading one log: where the next run goes on, and what was not read, in bytes."""

    position: Optional[Position] = None
    read: int = 0
    skipped: int = 0
    left: int = 0
    problems: list[str] = field(default_factory=list)


class Lines:
    """Whole lines from an open log; afterwards ``position`` and ``mid_line`` say where it stopped."""

    def __init__(self, handle: IO[bytes], segment: Segment) -> None:
        self._handle = handle
        self._segment = segment
        self.position = segment.start
        self.mid_line = segment.mid_line
        self.read = 0

    def blocks(self, stop: Callable[[], bool]) -> Iterator[bytes]:
        """Yield blocks until the segment's end, or until ``stop``.

        The beginning of a line that is not ended stays for the next run in a live log and is a line in a rotated one.
        """
        rest = b""
        while not stop():
            wanted = _BLOCK if self._segment.packed else min(_BLOCK, self._segment.end - self.position - len(rest))
            data = self._handle.read(wanted) if wanted > 0 else b""
            if not data:
                if rest and not self._segment.live:
                    self.position += len(rest)
                    yield rest + b"\n"
                return
            self.read += len(data)
            block, rest = self._whole_lines(rest + data)
            if block:
                yield block

    def _whole_lines(self, data: bytes) -> tuple[bytes, bytes]:
        if self.mid_line:
            end = data.find(b"\n") + 1
            if not end:
                self.position += len(data)
                return b"", b""
            self.position += end
            data, self.mid_line = data[end:], False
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _LONGEST:
            self.position += len(data)
            self.mid_line = True
            return data[:_KEPT] + b"\n", b""
        self.position += end
        return data[:end], data[end:]


def read_log(plan: Resume, scan: Scan, limit: int, stop: Callable[[], bool], now: float) -> Outcome:
    """Read what is to be read of one log, at most ``limit`` bytes of it: the newest; ``now`` in epoch seconds."""
    outcome = Outcome(problems=[plan.problem] if plan.problem else [])
    _read_all(plan, scan, limit, stop, now, outcome)
    if outcome.position is not None:
        outcome.position = replace(outcome.position, newest=plan.newest)
    return outcome


def _read_all(plan: Resume, scan: Scan, limit: int, stop: Callable[[], bool], now: float, outcome: Outcome) -> None:
    too_many = max(0, plan.unread - limit)
    for number, segment in enumerate(plan.segments):
        size = max(0, segment.end - segment.start)
        cut = min(size, too_many)
        too_many -= cut
        outcome.skipped += cut
        if cut == size and size and number + 1 < len(plan.segments):
            continue
        if cut:
            segment = Segment(segment.path, segment.start + cut, segment.end, segment.live, True, segment.inode)
        if not _read_segment(segment, scan, stop, now, outcome):
            outcome.left += sum(max(0, one.end - one.start) for one in plan.segments[number + 1 :])
            break


def _read_segment(segment: Segment, scan: Scan, stop: Callable[[], bool], now: float, outcome: Outcome) -> bool:
    """Read one part; return whether all of it was read."""
    try:
        with open_log(segment.path) as log:
            if log.status.st_ino != segment.inode:
                raise PreconditionFailed(f"{printable(segment.path)} was rotated while it was read", code="moved")
            if segment.packed:
                with unpacked(log) as stream:
                    _discard(stream, segment.start, stop)
                    return _feed(log, stream, segment, scan, stop, now, outcome)
            log.handle.seek(segment.start)
            return _feed(log, log.handle, segment, scan, stop, now, outcome)
    except PreconditionFailed as error:
        outcome.problems.append(error.message)
    except UNPACKING_ERRORS as error:
        scan.flush()
        outcome.problems.append(f"{printable(segment.path)} cannot be read to its end ({type(error).__name__})")
    return segment.packed  # a packed one that is broken stays broken: the newer ones count


def _feed(
    log: OpenLog,
    handle: IO[bytes],
    segment: Segment,
    scan: Scan,
    stop: Callable[[], bool],
    now: float,
    outcome: Outcome,
) -> bool:
    lines = Lines(handle, segment)
    started = False
    for block in lines.blocks(stop):
        if not started:
            scan.start_file(block[:_KEPT])
            started = True
        scan.feed(block)
    outcome.read += lines.read
    stopped = stop() and lines.position < segment.end
    unsettled = segment.live and scan.in_a_trace and now - log.status.st_mtime < _SETTLED_SECONDS
    offset = lines.position
    if stopped or unsettled:
        offset -= scan.waiting
        scan.drop_waiting()
    else:
        scan.flush()
    outcome.left += max(0, segment.end - lines.position) if stopped else 0
    locate = position_in_packed if segment.packed else position_at
    outcome.position = locate(log, offset, lines.mid_line)
    return not stopped


def _discard(stream: IO[bytes], size: int, stop: Callable[[], bool]) -> None:
    while size > 0 and not stop():
        skipped = len(stream.read(min(size, _BLOCK)))
        if not skipped:
            return
        size -= skipped


def unread_sizes(plans: Sequence[tuple[str, Resume]]) -> dict[str, int]:
    """Return how much is to be read of each log."""
    return {path: plan.unread for path, plan in plans}
