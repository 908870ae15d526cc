# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Errors counted by their pattern, in bounded memory however many different ones a log holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Iterable, Optional

from .log_lines import Entry
from .log_patterns import example_of, group_id, pattern_of

MOST_GROUPS = 2000
MOST_REMEMBERED = 4096
_TO_ZERO = str.maketrans("123456789", "000000000")


@dataclass
class Group:
    """Errors of one source that have one pattern; ``first`` and ``last`` are None when the log says no times."""

    id: str
    source: str
    level: str
    pattern: str
    example: str
    count: int = 0
    first: Optional[datetime] = None
    last: Optional[datetime] = None


class Groups:
    """The groups of one source. Beyond MOST_GROUPS the rarest half is only counted, in ``other``.

    ``known`` are the groups with a usual level: they stay.
    """

    def __init__(self, source: str, known: Iterable[str] = ()) -> None:
        self._source = source
        self._known = frozenset(known)
        self._found: dict[str, Group] = {}
        self._patterns: dict[str, str] = {}
        self.other = 0

    def add(self, entry: Entry) -> None:
        """Count one error."""
        pattern = self._pattern(entry.message)
        group = self._found.get(pattern)
        if group is None:
            if len(self._found) >= MOST_GROUPS:
                self._forget_the_rarest()
            id_ = group_id(self._source, pattern)
            group = Group(id_, self._source, entry.level or "", pattern, example_of(entry.message))
            self._found[pattern] = group
        group.count += 1
        if entry.at is not None:
            group.first = entry.at if group.first is None else min(group.first, entry.at)
            group.last = entry.at if group.last is None else max(group.last, entry.at)

    def all(self) -> list[Group]:
        """Return the groups, the most frequent first."""
        return sorted(self._found.values(), key=lambda group: (-group.count, group.pattern))

    def _pattern(self, message: str) -> str:
        """Return the pattern; messages that differ in digits alone are masked once.

        Not where the very digit matters: 0x and the address ::1.
        """
        key = message[:1000].translate(_TO_ZERO)
        if "0x" in key or "::" in key or len(message) > 1000:
            return pattern_of(message)
        pattern = self._patterns.get(key)
        if pattern is None:
            if len(self._patterns) >= MOST_REMEMBERED:
                self._patterns.clear()
            pattern = self._patterns[key] = pattern_of(message)
        return pattern

    def _forget_the_rarest(self) -> None:
        def rank(group: Group) -> tuple[bool, int]:
            return (group.id in self._known, group.count)

        ranked = sorted(self._found.values(), key=rank, reverse=True)
        kept, forgotten = ranked[: MOST_GROUPS // 2], ranked[MOST_GROUPS // 2 :]
        self.other += sum(group.count for group in forgotten)
        self._found = {group.pattern: group for group in kept}
