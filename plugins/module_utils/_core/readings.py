# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Readings against the limits of their checks: a finding each, none where the check is switched off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, Mapping, Optional, TypeVar

from .limits import Limit
from .result import OK, UNKNOWN, Finding, worst

NAMED = 20
_RANK = ("critical", "warning", "unknown", "ok")

T = TypeVar("T")


@dataclass(frozen=True)
class Unread:
    """What stands in the place of a fact that could not be read; ``reason`` says why and how to get it."""

    reason: str


@dataclass(frozen=True)
class Judge:
    """The limits of all checks; a check whose limit is None is switched off."""

    limits: Mapping[str, Optional[Limit]]

    def asks(self, check: str) -> bool:
        """Tell whether a check is switched on."""
        return self.limits.get(check) is not None

    def reading(self, check: str, value: Optional[float], unit: str, msg: str) -> Iterator[Finding]:
        """Yield the verdict on a value."""
        limit = self.limits.get(check)
        if limit is not None:
            rounded = None if value is None else round(value, 4)
            yield Finding(check, limit.judge(value), msg, rounded, unit, limit.warning, limit.critical)

    def fixed(
        self, check: str, status: str, msg: str, value: Optional[float] = None, unit: str = ""
    ) -> Iterator[Finding]:
        """Yield a verdict that does not come from a level."""
        limit = self.limits.get(check)
        if limit is not None:
            yield Finding(check, status, msg, value, unit, limit.warning, limit.critical)

    def unread(self, check: str, fact: Unread) -> Iterator[Finding]:
        """Yield the verdict on what could not be looked at."""
        yield from self.fixed(check, UNKNOWN, fact.reason)

    def each(self, check: str, findings: Iterable[Finding], all_well: str) -> Iterator[Finding]:
        """Yield those of one check's findings that are not ok, the worst first and 20 at most; one ok if there is none.

        ``all_well`` is the message of that one.
        """
        bad = sorted((one for one in findings if one.status != OK), key=lambda one: _RANK.index(one.status))
        yield from bad[:NAMED]
        rest = bad[NAMED:]
        if rest:
            text = f"{check}: {len(rest)} more like these"
            yield from self.fixed(check, worst(one.status for one in rest), text, len(rest), "count")
        if not bad:
            yield from self.fixed(check, OK, all_well)


def known(fact: object) -> bool:
    """Tell whether a fact was read."""
    return not isinstance(fact, Unread)
