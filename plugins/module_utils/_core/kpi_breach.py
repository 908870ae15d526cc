# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Thresholds that must be broken for some time: decided from the step function, and never from missing readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from .kpi_steps import Step

WITHIN, PENDING, REACHED, NOT_KNOWN = "within", "pending", "reached", "not_known"


@dataclass(frozen=True)
class Level:
    """One limit: a value at it or beyond is in breach.

    ``part_is_enough``: a value made of only a part of the series is a breach too when it is one, because the missing
    ones could only make it worse (the maximum where higher is worse).
    """

    value: float
    lower_is_worse: bool = False
    part_is_enough: bool = False

    def is_breached(self, value: float) -> bool:
        """Return whether a value is at the level or beyond."""
        return value <= self.value if self.lower_is_worse else value >= self.value

    def verdict(self, step: Step) -> Optional[bool]:
        """Return whether a step is in breach; None when too little was read to tell."""
        breached = self.is_breached(step.value)
        if step.complete or (breached and self.part_is_enough):
            return breached
        return None


@dataclass(frozen=True)
class Breach:
    """How a level stands. Moments are epoch seconds, durations seconds.

    ``since``: the first reading of the unbroken row of bad ones; ``covered``: the longest time of it that readings
    cover without a gap; ``since_is_earliest`` is false when it may have begun before the first reading that is known.
    """

    state: str
    since: Optional[float] = None
    covered: float = 0.0
    since_is_earliest: bool = True


def sustained(found: Sequence[Step], current: Optional[float], level: Level, seconds: float, now: float) -> Breach:
    """Return whether a level has been broken for some time without a break.

    A breach counts when readings cover the whole time and none of them is good. It is over with the first good reading,
    not with silence. Where the last good reading covers a part of the time, it is pending; where neither can be said,
    because readings are missing, it is not known.

    ``current`` is the value now, made of the newest readings that are not stale.
    """
    if current is None:
        return Breach(NOT_KNOWN)
    if not level.is_breached(current):
        return Breach(WITHIN)
    since, longest, last_good_end = _row(found, level)
    since = now if since is None else since
    breach = Breach(REACHED, since, longest, last_good_end is not None)
    if longest >= seconds:
        return breach
    if last_good_end is not None and now - last_good_end < seconds:
        return Breach(PENDING, since, longest, True)
    return Breach(NOT_KNOWN, since, longest, breach.since_is_earliest)


def _row(found: Sequence[Step], level: Level) -> tuple[Optional[float], float, Optional[float]]:
    """Return since when, how long at most without a gap, and where the last good step before ends."""
    since: Optional[float] = None
    longest = 0.0
    stretch_start = stretch_end = 0.0
    for step in reversed(found):
        verdict = level.verdict(step)
        if verdict is False:
            return since, longest, step.end
        if verdict is None:
            continue
        if since is None or step.end < stretch_start:
            stretch_end = step.end
        stretch_start = since = step.start
        longest = max(longest, stretch_end - stretch_start)
    return since, longest, None
