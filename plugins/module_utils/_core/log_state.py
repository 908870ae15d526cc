# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How far each log was read, and what is usual in it: the state that one run gives to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Mapping, Optional

from .log_usual import Memory, parse_memory, render_memory
from .timestamps import parse_timestamp
from .units import rfc3339

VERSION = 1
MOST_FILES = 1000
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Position:
    """How far a file was read, and by what it is known again: its inode, its first bytes, those before the offset.

    ``head`` and ``tail`` are hashes of ``head_size`` bytes from its start and ``tail_size`` bytes before ``offset``.
    ``mid_line``: the offset lies within a line that is not to be counted. ``modified`` is when it was last written to,
    ``newest`` when it or one of its generations was, in epoch seconds.
    """

    device: int
    inode: int
    offset: int
    head: str
    head_size: int
    tail: str
    tail_size: int
    mid_line: bool = False
    modified: float = 0.0
    newest: float = 0.0


@dataclass(frozen=True)
class State:
    """Everything that is remembered; ``at`` is None before the first run. ``cursors`` are journald's, by source."""

    at: Optional[datetime] = None
    files: Mapping[str, Position] = field(default_factory=dict)
    cursors: Mapping[str, str] = field(default_factory=dict)
    memories: Mapping[str, Memory] = field(default_factory=dict)


class BadState(ValueError):
    """What was given is no state."""


def render_state(state: State) -> dict[str, Any]:
    """Return the state as it stands in a result or a file."""
    return {
        "version": VERSION,
        "at": None if state.at is None else rfc3339(state.at),
        "files": {path: dict(vars(position)) for path, position in sorted(state.files.items())},
        "cursors": dict(state.cursors),
        "usual": {source: render_memory(memory) for source, memory in sorted(state.memories.items())},
    }


def parse_state(raw: Any) -> State:
    """Return the state of an earlier run; nothing at all is the state before the first one.

    Raises:
        BadState: it is none, or of another version.
    """
    if not raw:
        return State()
    if not isinstance(raw, Mapping) or raw.get("version") != VERSION:
        raise BadState("it is no state of this module, or of another version of it")
    try:
        at = parse_timestamp(str(raw["at"]), timezone.utc)
        files = {str(path): _position(one) for path, one in list(raw["files"].items())[:MOST_FILES]}
        cursors = {str(source): str(cursor) for source, cursor in raw["cursors"].items()}
        memories = {str(source): parse_memory(one) for source, one in raw["usual"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadState(f"a part of it is missing or means nothing: {type(error).__name__} {error}") from error
    if at is None:
        raise BadState("it does not say when it was made")
    return State(at, files, cursors, memories)


def _position(raw: Mapping[str, Any]) -> Position:
    numbers = {name: int(raw[name]) for name in ("device", "inode", "offset", "head_size", "tail_size")}
    modified, newest = float(raw["modified"]), float(raw["newest"])
    hashes = {name: str(raw[name]) for name in ("head", "tail")}
    if min(numbers.values()) < 0 or not math.isfinite(modified + newest) or not set("".join(hashes.values())) <= _HEX:
        raise ValueError("no position")
    return Position(
        numbers["device"], numbers["inode"], numbers["offset"], hashes["head"], numbers["head_size"], hashes["tail"],
        numbers["tail_size"], bool(raw["mid_line"]), modified, newest,
    )  # fmt: skip


def shares(wanted: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return how many bytes of each file may be read: small ones whole, the large ones share what is left.

    >>> shares({"a": 10, "b": 100, "c": 100}, 90)
    {'a': 10, 'b': 40, 'c': 40}
    """
    left, given = limit, {}
    for number, (name, size) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        given[name] = min(size, left // (len(wanted) - number))
        left -= given[name]
    return given
