# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Readings as a step function: which value held when, and when nobody looked."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Iterable, NamedTuple, Optional, Sequence

from .source import Series


class Step(NamedTuple):
    """A value that held from ``start`` to ``end`` (epoch seconds, start <= end).

    ``complete`` is false when one of the series that it is made of had no reading that covers the time.
    """

    start: float
    end: float
    value: float
    complete: bool


def aggregated(values: Sequence[float], aggregate: str) -> float:
    """Return one value for several in ascending order; p95 interpolates between ranks, as ``percentile_cont`` does.

    >>> aggregated([1, 2, 3], "mean"), aggregated([1, 2, 3], "max"), round(aggregated([1, 2, 3], "p95"), 3)
    (2.0, 3, 2.9)
    """
    if aggregate == "max":
        return values[-1]
    if aggregate == "min":
        return values[0]
    if aggregate == "p95":
        rank = 0.95 * (len(values) - 1)
        below = int(rank)
        above = min(below + 1, len(values) - 1)
        return values[below] + (values[above] - values[below]) * (rank - below)
    total = sum(values)
    return total if aggregate == "sum" else total / len(values)


class _Present:
    """The values that hold at one moment, kept in order."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[float, float]] = {}
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._held)

    def put(self, number: int, at: float, value: Optional[float]) -> None:
        """Replace the value of a series; None: it covers no more."""
        old = self._held.pop(number, None)
        if old is not None:
            del self._ordered[bisect_left(self._ordered, old[1])]
        if value is not None:
            self._held[number] = (at, value)
            insort(self._ordered, value)

    def value(self, aggregate: str) -> float:
        """Return the value of all of them."""
        if aggregate == "last":
            return max(self._held.values())[1]
        return aggregated(self._ordered, aggregate)


def steps(series: Sequence[Series], aggregate: str, hold: float, now: float) -> list[Step]:
    """Return the step function of some series put together, in order of time, up to ``now``.

    A reading covers the time until the next reading of its series, at most ``hold`` seconds. A series is expected from
    its first reading on. The last step may have no length: a reading of this very moment.
    """
    present, expected, found = _Present(), 0, []
    seen: set[int] = set()
    events = _events(series, hold, now)
    for position, (at, number, value) in enumerate(events):
        present.put(number, at, value)
        if number not in seen:
            seen.add(number)
            expected += 1
        end = events[position + 1][0] if position + 1 < len(events) else now
        is_last = position + 1 == len(events)
        if len(present) and (end > at or is_last):
            complete = aggregate == "last" or len(present) == expected
            found.append(Step(at, end, present.value(aggregate), complete))
    return found


def _events(series: Sequence[Series], hold: float, now: float) -> list[tuple[float, int, Optional[float]]]:
    events: list[tuple[float, int, Optional[float]]] = []
    for number, one in enumerate(series):
        samples = [sample for sample in one.samples if sample[0] <= now]
        for position, (at, value) in enumerate(samples):
            events.append((at, number, value))
            following = samples[position + 1][0] if position + 1 < len(samples) else now
            if following - at > hold:
                events.append((at + hold, number, None))
    events.sort(key=lambda event: event[0])  # stable: of one series and moment the later entry stays the later one
    return events


def within(found: Sequence[Step], start: float, end: float) -> Iterable[Step]:
    """Yield the steps between two moments, cut to them, the latest first; those without length are left out."""
    for step in reversed(found):
        if step.end <= start:
            return
        low, high = max(step.start, start), min(step.end, end)
        if high > low:
            yield step._replace(start=low, end=high)
