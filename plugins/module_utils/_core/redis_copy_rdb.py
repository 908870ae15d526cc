# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What an RDB file says about itself: its header, and what redis-check-rdb found in it.

Source of the format: redis, src/rdb.h and src/rdb.c (opcode 0xFA, length encodings).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Optional

from .errors import VerificationFailed

HEADER_BYTES = 1024  # holds the header with the auxiliary fields of every known release
_MAGIC = b"REDIS"
_AUX = 0xFA
_WIDTHS = {0: 1, 1: 2, 2: 4}  # integers encoded as such, little endian
_COUNTS = re.compile(r"\[info\] (\d+) (keys read|expires|already expired)")
_UNSUPPORTED = ("can't handle rdb format version", "module data i can't load", "module that is not loaded")


@dataclass(frozen=True)
class RdbHeader:
    """Format version and auxiliary fields; ``ctime`` is when the server began to write it, in Unix seconds."""

    version: int
    fields: Mapping[str, str]

    @property
    def ctime(self) -> Optional[int]:
        """Return the Unix second that the state is of, None where the server wrote none."""
        text = self.fields.get("ctime", "")
        return int(text) if text.isdigit() else None


def read_rdb_header(start: bytes) -> RdbHeader:
    """Return the header from the first bytes of an RDB file.

    Raises:
        VerificationFailed: it is no RDB file (code ``rdb_damaged``).

    >>> read_rdb_header(b"REDIS0010\\xfa\\x05ctime\\xc1\\x05\\x00\\xff").ctime
    5
    """
    if start[:5] != _MAGIC or not start[5:9].isdigit():
        raise VerificationFailed("this is no RDB file: it does not begin as one", code="rdb_damaged")
    fields, position = {}, 9
    try:
        while start[position] == _AUX:
            name, position = _string(start, position + 1)
            value, position = _string(start, position)
            fields[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    except IndexError:  # cut, or more fields than we look at: what was read is right
        pass
    return RdbHeader(int(start[5:9]), fields)


def _string(data: bytes, position: int) -> tuple[bytes, int]:
    first = data[position]
    kind, low = first >> 6, first & 0x3F
    if kind == 3:
        width = _WIDTHS.get(low, 0)
        if not width:
            raise IndexError("a compressed string: none of the fields that we look at")
        number = int.from_bytes(_slice(data, position + 1, width), "little", signed=True)
        return str(number).encode(), position + 1 + width
    if kind == 0:
        length, position = low, position + 1
    elif kind == 1:
        length, position = (low << 8) | data[position + 1], position + 2
    else:
        raise IndexError("no field is that long")
    return _slice(data, position, length), position + length


def _slice(data: bytes, position: int, length: int) -> bytes:
    part = data[position : position + length]
    if len(part) < length:
        raise IndexError("cut")
    return part


@dataclass(frozen=True)
class RdbCheck:
    """What redis-check-rdb found; ``supported`` is false where it is only too old for the file."""

    good: bool
    keys: Optional[int]
    message: str
    supported: bool = True


def read_rdb_check(rc: int, output: str) -> RdbCheck:
    """Return the verdict of redis-check-rdb: its exit code and its own words must both say that all is well."""
    counts = {match[2]: int(match[1]) for match in _COUNTS.finditer(output)}
    good = rc == 0 and "RDB looks OK" in output
    said = [line for line in output.splitlines() if line.strip() and not line.startswith("[info]")]
    wrong = [line for line in said if "AUX FIELD" not in line and "Checking RDB" not in line]
    message = "RDB looks OK" if good else (wrong or said or ["it said nothing"])[0].lstrip("- ")
    return RdbCheck(good, counts.get("keys read"), message, is_supported(output))


def is_supported(output: str) -> bool:
    """Tell a file that a program is too old for, or lacks a module for, from one that is damaged."""
    text = output.lower()
    return not any(words in text for words in _UNSUPPORTED)
