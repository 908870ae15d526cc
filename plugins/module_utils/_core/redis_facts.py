# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is known about a Redis server at one moment; Unread stands where it could not be looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Union

from .number import parse_number
from .readings import Unread
from .redact import printable

_PREFIX = re.compile(r"[A-Za-z_-]{1,30}(?=[:.])")
_NOT_YET = Unread("not looked at")


@dataclass(frozen=True)
class SlowCommand:
    """One entry of the slow log; ``shape`` is the command without what it was about."""

    id: int
    at: float  # Unix seconds, by the server's clock
    seconds: float
    shape: str


@dataclass(frozen=True)
class RedisFacts:
    """Everything. ``unreachable`` says why there is nothing else, with the code of the failure."""

    server: str
    unreachable: str = ""
    code: str = ""
    info: Union[Mapping[str, Any], Unread] = _NOT_YET
    pings: Union[tuple[float, ...], Unread] = _NOT_YET
    settings: Union[Mapping[str, str], Unread] = _NOT_YET
    slow: Union[tuple[SlowCommand, ...], Unread] = _NOT_YET
    cluster: Union[Mapping[str, str], Unread, None] = None  # None: it is not part of a cluster

    def number(self, name: str) -> Optional[float]:
        """Return a number of INFO; None when it is not there or no number."""
        return parse_number(self.info.get(name)) if isinstance(self.info, Mapping) else None

    def text(self, name: str) -> str:
        """Return a text of INFO, "" when it is not there."""
        return printable(str(self.info.get(name, "")), 100) if isinstance(self.info, Mapping) else ""

    def missing(self, *names: str) -> Unread:
        """Return why numbers of INFO are not known."""
        if isinstance(self.info, Unread):
            return self.info
        return Unread(f"this server's INFO does not tell {' and '.join(names)}")


def parse_slow_log(answer: Any) -> Optional[tuple[SlowCommand, ...]]:
    """Return the entries of SLOWLOG GET, as the protocol has them; None when they make no sense."""
    if not isinstance(answer, list):
        return None
    entries = [_slow_command(entry) for entry in answer]
    known = tuple(entry for entry in entries if entry is not None)
    return known if len(known) == len(entries) else None


def _slow_command(entry: Any) -> Optional[SlowCommand]:
    if not isinstance(entry, (list, tuple)) or len(entry) < 4 or not isinstance(entry[3], (list, tuple)):
        return None
    number, at, micros = entry[:3]
    if not all(isinstance(one, int) for one in (number, at, micros)):
        return None
    return SlowCommand(number, float(at), micros / 1e6, command_shape([_text(one) for one in entry[3]]))


def command_shape(arguments: Sequence[str]) -> str:
    """Return a command without its arguments: they are customers' data and sometimes passwords.

    Of the first one only a prefix of plain letters is shown, as products name their kinds of keys.

    >>> command_shape(["hgetall", "user:4711"]), command_shape(["SET", "a@b.example", "secret"]), command_shape([])
    ('HGETALL user:?', 'SET ? and 1 more', '?')
    """
    if not arguments:
        return "?"
    head = printable(arguments[0].upper(), 30)
    if len(arguments) == 1:
        return head
    prefix = _PREFIX.match(arguments[1])
    more = f" and {len(arguments) - 2} more" if len(arguments) > 2 else ""
    return f"{head} {prefix[0] + ':' if prefix else ''}?{more}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def parse_cluster(text: str) -> dict[str, str]:
    """Return the lines of CLUSTER INFO."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {printable(name, 60): printable(value.strip(), 60) for name, colon, value in pairs if colon}


def databases_in(info: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """Return number, keys and keys with an end of each database that holds a key."""
    found = []
    for name, value in info.items():
        if name.startswith("db") and name[2:].isdigit() and isinstance(value, Mapping):
            keys, expires = parse_number(value.get("keys")), parse_number(value.get("expires"))
            found.append((int(name[2:]), int(keys or 0), int(expires or 0)))
    return sorted(found)
