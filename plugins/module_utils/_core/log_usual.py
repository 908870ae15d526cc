# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is usual: for each group of errors an exponentially weighted mean and deviation of its rate, in bounded size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional

MOST_REMEMBERED = 500
MEMORY_HOURS = 72.0  # what is older than that weighs less than 37 %
_FORGET_BELOW = 1e-4  # per hour: once in a year


@dataclass(frozen=True)
class Usual:
    """The usual rate of one group or of all errors of a source, per hour, made of so many ``runs`` and ``hours``."""

    mean: float
    deviation: float
    runs: int
    hours: float

    def after(self, rate: float, hours: float) -> Usual:
        """Return it after a run: the longer the run, the more it weighs (Welford's update with a decaying weight)."""
        weight = max(1 - math.exp(-hours / MEMORY_HOURS), hours / (self.hours + hours))  # at first a plain mean
        difference = rate - self.mean
        mean = self.mean + weight * difference
        # rates of minutes scatter by themselves: they say little about the deviation of an hour
        variance = (1 - weight) * (self.deviation**2 + weight * min(1.0, hours) * difference**2)
        return Usual(mean, math.sqrt(variance), self.runs + 1, self.hours + hours)

    def noise(self, hours: float) -> float:
        """Return how far a rate may be off by chance: what was seen, or what counting alone brings (Poisson)."""
        return max(self.deviation, math.sqrt(max(self.mean * hours, 1.0)) / hours)


_NOTHING = Usual(0.0, 0.0, 0, 0.0)


@dataclass(frozen=True)
class Memory:
    """The usual levels of one source: of all its errors, and of its groups by id."""

    total: Usual = _NOTHING
    groups: Mapping[str, Usual] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """How many runs it is made of."""
        return self.total.runs

    def after(self, counts: Mapping[str, int], errors: int, hours: float) -> Memory:
        """Return the memory after a run; a group that was not seen fades, and goes when it is forgotten."""
        unseen = Usual(0.0, 0.0, self.runs, self.total.hours)
        groups = {}
        for id_ in {*self.groups, *counts}:
            known = self.groups.get(id_, unseen)
            groups[id_] = known.after(counts.get(id_, 0) / hours, hours)
        kept = sorted(groups.items(), key=lambda item: (item[0] in counts, item[1].mean), reverse=True)
        return Memory(
            self.total.after(errors / hours, hours),
            {id_: usual for id_, usual in kept[:MOST_REMEMBERED] if usual.mean >= _FORGET_BELOW},
        )


@dataclass(frozen=True)
class Comparison:
    """A rate beside its usual level: ``times`` as much, or new; ``unusual`` when chance does not explain it."""

    usual: Optional[float]
    times: Optional[float]
    new: bool
    unusual: bool


def compare(rate: float, hours: float, usual: Optional[Usual], count: int, least: int) -> Comparison:
    """Compare a rate; fewer than ``least`` errors are never unusual, nor what lies within three deviations."""
    if usual is None:
        return Comparison(None, None, True, count >= least)
    times = rate / usual.mean if usual.mean > 0 else None
    beyond = rate > usual.mean + 3 * usual.noise(hours)
    return Comparison(usual.mean, times, False, count >= least and beyond)


def render_memory(memory: Memory) -> dict[str, Any]:
    """Return the memory as it stands in a state: lists of mean, deviation, runs, hours."""
    groups = {id_: _row(usual) for id_, usual in sorted(memory.groups.items())}
    return {"total": _row(memory.total), "groups": groups}


def _row(usual: Usual) -> list[float]:
    return [round(usual.mean, 6), round(usual.deviation, 6), usual.runs, round(usual.hours, 4)]


def parse_memory(raw: Mapping[str, Any]) -> Memory:
    """Return the memory of a state.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    total, groups = raw["total"], raw["groups"]
    items: Iterable[tuple[str, Any]] = list(groups.items())[:MOST_REMEMBERED]
    return Memory(_usual(total), {str(id_): _usual(row) for id_, row in items})


def _usual(row: Any) -> Usual:
    mean, deviation, runs, hours = (float(part) for part in row)
    if not all(0 <= part < math.inf for part in (mean, deviation, runs, hours)):
        raise ValueError("no usual level")
    return Usual(mean, deviation, int(runs), hours)
