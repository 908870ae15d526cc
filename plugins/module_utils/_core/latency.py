# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How long answers took."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

from .samples import Sample
from .units import human_duration

METHOD = "linear interpolation between the two nearest answers, the extremes included"


@dataclass(frozen=True)
class Latency:
    """Percentiles in seconds over ``count`` answers; None without any."""

    count: int
    p50: Optional[float] = None
    p95: Optional[float] = None
    max: Optional[float] = None

    def parts(self) -> Iterator[tuple[str, float]]:
        """Yield names and values of what is known."""
        for name, value in (("p50", self.p50), ("p95", self.p95), ("max", self.max)):
            if value is not None:
                yield name, value

    def facts(self) -> dict[str, Any]:
        """Return the latency for a result."""
        return {**vars(self), "method": METHOD}


def latency_of(seconds: Sequence[float]) -> Latency:
    """Return the percentiles, as ``statistics.quantiles(method="inclusive")`` and ``percentile_cont`` define them.

    >>> latency_of([0.1, 0.2, 0.3])
    Latency(count=3, p50=0.2, p95=0.29, max=0.3)
    """
    if not seconds:
        return Latency(0)
    if len(seconds) == 1:
        return Latency(1, seconds[0], seconds[0], seconds[0])
    percentiles = statistics.quantiles(seconds, n=100, method="inclusive")
    return Latency(len(seconds), round(percentiles[49], 6), round(percentiles[94], 6), max(seconds))


def latency_samples(prefix: str, latency: Latency, labels: Mapping[str, str]) -> Iterable[Sample]:
    """Return a sample for each part that is known."""
    return (Sample(f"{prefix}.latency.{part}", value, "seconds", labels) for part, value in latency.parts())


def in_words(latency: Latency, part: str, seconds: float) -> str:
    """Return one part for people.

    >>> in_words(latency_of([0.1, 0.2, 0.3]), "p95", 0.29)
    'p95 of 3 answers is 290 ms'
    """
    value = f"{seconds * 1000:.0f} ms" if seconds < 1 else human_duration(seconds)
    return f"{part} of {latency.count} {'answer' if latency.count == 1 else 'answers'} is {value}"
