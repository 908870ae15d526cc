# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Find the errors in blocks of whole lines: only lines that may hold one are looked at closely."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Callable, Iterator, Optional

from .log_access import Access
from .log_groups import Group, Groups
from .log_levels import ERRORS, INFO, WARNING, level_of_line, level_of_value
from .log_lines import (
    ACCESS,
    AUTO,
    ENTRY_CHARACTERS,
    JSON,
    LEVEL_NAMES,
    POSTGRESQL_CSV,
    Entry,
    Reading,
    detect,
    read_csv_row,
    read_entry,
)
from .log_multiline import Joiner
from .log_patterns import plain

# In small letters. A line without any of them has no level worse than info.
_NEEDLES = (b"err", b"exception", b"fatal", b"panic", b"crit", b"emerg", b"alert", b"severe", b"warn", b"traceback",
            b"segfault", b"out of memory", b"oom-killer", b"uncaught", b"unhandled")  # fmt: skip
_NUMBERED = (b'level":4', b'level":5', b'level":6', b'level": 4', b'level": 5', b'level": 6')
_PRIORITIES = (b"\n<", b"\ne", b"\nf", b"\nw")  # syslog's <11>, glog's E1121
_HEAD = 600  # bytes of a line in which its level is looked for
_LONGEST_OBJECT = 1 << 18
_MOST_OPEN = 1 << 20  # bytes that an unfinished entry may keep waiting


class Scan:
    """What is read of one source. Feed it whole lines; ``flush`` when no line can follow any more."""

    def __init__(self, groups: Groups, reading: Reading, form: str = AUTO, ignore: tuple[str, ...] = ()) -> None:
        self._groups = groups
        self._reading = reading
        self._form = form
        self._ignore = ignore
        names = (reading.level_field.rpartition(".")[2],) if reading.level_field else LEVEL_NAMES
        keys = b"|".join(re.escape(name.encode("utf-8")) for name in names)
        self._levels = re.compile(rb'(?<!\\)"(?:' + keys + rb')"\s{0,8}:\s{0,8}"?(\w{1,20})')
        self._open = b""
        self._file_form = form
        self._seek: Callable[[bytes, bool], int] = self._take_lines
        self.exact = True
        self.since: Optional[datetime] = None
        self.access: Optional[Access] = None
        self.first: Optional[datetime] = None
        self.lines = 0
        self.errors = 0
        self.warnings = 0
        self.ignored = 0

    @property
    def groups(self) -> list[Group]:
        """The errors by their pattern, the most frequent first."""
        return self._groups.all()

    @property
    def other(self) -> int:
        """Errors of kinds that were too many to be kept apart."""
        return self._groups.other

    @property
    def waiting(self) -> int:
        """Bytes at the end that may belong to an entry which goes on; 0 when they cannot be counted."""
        return len(self._open) if self.exact else 0

    @property
    def in_a_trace(self) -> bool:
        """Tell whether what is waiting is a stack trace, which may be half written."""
        return self.waiting > 0 and (self._open.count(b"\n") > 1 or self._open.startswith(b"Traceback"))

    def start_file(self, first_bytes: bytes) -> None:
        """Tell the form of the next file by its first bytes, unless it was given."""
        sample = first_bytes.replace(b"\0", b"").decode("utf-8", "replace")
        self._file_form = detect(sample) if self._form == AUTO else self._form
        at = read_entry(sample.split("\n", 1)[:1], self._reading).at
        if at is not None and (self.first is None or at < self.first):
            self.first = at
        if self._file_form == ACCESS and self.access is None:
            self.access = Access(self._reading.zone, self._reading.now, self.since)
        self._seek = {
            ACCESS: self._take_access,
            POSTGRESQL_CSV: self._take_rows,
        }.get(self._file_form, self._take_lines)

    def feed(self, block: bytes, last: bool = False) -> None:
        """Read some whole lines; the last entry waits for what may follow, unless ``last``."""
        if b"\0" in block:  # a log that was emptied under its writer begins with a hole
            block, self.exact = block.replace(b"\0", b""), False
        block = self._open + block
        taken = self._seek(block, last or len(block) > _MOST_OPEN + len(self._open))
        self._open = block[taken:] if not last else b""
        self.lines += block.count(b"\n", 0, taken if not last else len(block))

    def flush(self) -> None:
        """Read what was waiting."""
        if self._open:
            waiting, self._open = self._open, b""
            self.feed(waiting, last=True)

    def drop_waiting(self) -> None:
        """Leave what is waiting for another time."""
        self._open = b""

    def take(self, entry: Entry, text: str) -> None:
        """Count one entry; ``text`` is what the words to ignore are looked for in."""
        if self.since is not None and entry.at is not None and entry.at < self.since:
            return
        if entry.level not in (*ERRORS, WARNING):
            return
        if any(words in text for words in self._ignore):
            self.ignored += 1
        elif entry.level == WARNING:
            self.warnings += 1
        else:
            self.errors += 1
            self._groups.add(entry)

    def _take_access(self, block: bytes, _last: bool) -> int:
        access = self.access
        if access is not None:
            access.feed(block)
            for entry in access.failures(block):
                self.take(entry, entry.message)
        return len(block)

    def _take_lines(self, block: bytes, last: bool) -> int:
        """Read the entries that may be errors; return up to where the block is done with."""
        done = 0
        for start in _candidates(block, self._file_form == JSON):
            if start < done or block[start : start + 1] in (b" ", b"\t"):
                continue
            if block[start : start + 1] == b"{":
                done = block.find(b"\n", start) + 1 or len(block)
                self._take_object(block[start : min(done, start + _LONGEST_OBJECT)])
                continue
            if not _is_bad(block[start : start + _HEAD].partition(b"\n")[0]):
                continue
            end = _end_of_entry(block, start)
            if end == len(block) and not last:
                return start
            self._take_text(block[start : min(end, start + ENTRY_CHARACTERS)])
            done = end
        return len(block)

    def _take_object(self, raw: bytes) -> None:
        """Read a JSON line; not one whose only level is info or less, which most of them are.

        Within JSON's strings quotes have a backslash before them: what looks like a key is one.
        """
        levels = self._levels.findall(raw)
        if len(levels) != 1 or level_of_value(levels[0].decode("ascii", "replace")) != INFO:
            self._take_text(raw)

    def _take_text(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace")
        self.take(read_entry(text.split("\n"), self._reading), text)

    def _take_rows(self, block: bytes, last: bool) -> int:
        """Read rows of CSV: a row ends at the first line end outside quotes, whatever the quotes hold."""
        start = position = quotes = 0
        while position < len(block):
            end = block.find(b"\n", position) + 1 or len(block)
            quotes += block.count(b'"', position, end)
            position = end
            if quotes % 2 == 0 or end - start >= _MOST_OPEN:
                self._take_row(block, start, end)
                start, quotes = end, 0
        if last and start < len(block):
            self._take_row(block, start, len(block))
            return len(block)
        return start

    def _take_row(self, block: bytes, start: int, end: int) -> None:
        row = block[start : min(end, start + 4 * ENTRY_CHARACTERS)]
        if any(mark in row for mark in (b",ERROR,", b",FATAL,", b",PANIC,", b",WARNING,")):
            text = row.decode("utf-8", "replace")
            entry = read_csv_row(text, self._reading)
            if entry is not None:
                self.take(entry, text)


def _candidates(block: bytes, numbered: bool) -> Iterator[int]:
    """Yield where the lines begin that may be worse than info, in order."""
    small = b"\n" + block.lower()
    starts: set[int] = set()
    for needle in _NEEDLES + (_NUMBERED if numbered else _PRIORITIES):
        position = small.find(needle)
        while position >= 0:
            line = small.rfind(b"\n", 0, position + 1)
            starts.add(line)
            end = small.find(b"\n", position + 1)
            position = small.find(needle, end) if end >= 0 else -1
    yield from sorted(starts)


def _is_bad(head: bytes) -> bool:
    return level_of_line(plain(head.decode("utf-8", "replace"))) in (*ERRORS, WARNING)


def _end_of_entry(block: bytes, start: int) -> int:
    end = block.find(b"\n", start) + 1 or len(block)
    joiner = Joiner(block[start:end])
    while end < len(block):
        following = block.find(b"\n", end) + 1 or len(block)
        if not joiner.takes(block[end : min(following, end + 4096)].rstrip(b"\r\n")):
            break
        end = following
    return end
