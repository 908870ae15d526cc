# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which readings of the journal a KPI or a resource is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Mapping, Optional

from .inventory_entry import Entry
from .units import human_duration, human_size

SOURCE_KEYS = ("metric", "hosts", "labels", "aggregate")

_METRIC = re.compile(r"[a-z][a-z0-9_]*(\.[a-zA-Z0-9_-]+)+")
_PATTERN = re.compile(r"[*?\[]")
_SCALES = ({"ratio": 100.0, "%": 1.0}, {"per_second": 3600.0, "per_minute": 60.0, "per_hour": 1.0})
_UNITS = {"seconds": "s", "second": "s", "percent": "%", "day": "days"}


@dataclass(frozen=True)
class Series:
    """One row of readings in the journal: ``samples`` are (epoch seconds, value), in order of time."""

    host: str
    labels: Mapping[str, str]
    unit: str
    samples: tuple[tuple[float, float], ...] = ()

    @property
    def last_at(self) -> Optional[float]:
        """Return when it was read last, or None."""
        return self.samples[-1][0] if self.samples else None

    def name(self) -> str:
        """Return how people tell it apart.

        >>> Series("db1", {"mount": "/"}, "bytes").name()
        'db1 mount=/'
        """
        return " ".join([self.host, *(f"{label}={value}" for label, value in sorted(self.labels.items()))])


@dataclass(frozen=True)
class Selector:
    """A metric, with shell patterns for hosts and for the values of labels; none of them means all."""

    metric: str
    hosts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def matches(self, host: str, labels: Mapping[str, str]) -> bool:
        """Return whether a series belongs to it.

        >>> Selector("host.load", ("db*",)).matches("db1", {})
        True
        """
        if self.hosts and not any(fnmatchcase(host, pattern) for pattern in self.hosts):
            return False
        return all(fnmatchcase(labels.get(label, ""), pattern) for label, pattern in self.labels.items())

    def absent_hosts(self, present: set[str]) -> tuple[str, ...]:
        """Return the hosts that are named, not by a pattern, and have no series."""
        return tuple(host for host in self.hosts if not _PATTERN.search(host) and host not in present)

    def text(self) -> str:
        """Return it as people write it."""
        labels = ",".join(f"{label}={value}" for label, value in sorted(self.labels.items()))
        hosts = f" on {', '.join(self.hosts)}" if self.hosts else ""
        return self.metric + (f"{{{labels}}}" if labels else "") + hosts


def read_selector(entry: Entry) -> Selector:
    """Return the selector that an entry of the inventory holds.

    Raises:
        InvalidValue: the metric has no dotted name that starts with its area.
    """
    metric = entry.required_text("metric")
    if not _METRIC.fullmatch(metric):
        entry.refuse("metric", f"must be a dotted name such as host.memory.used_percent, not {metric!r}")
    return Selector(metric, entry.texts("hosts"), entry.mapping("labels"))


def read_source(parent: Entry, key: str, aggregates: tuple[str, ...] = ()) -> tuple[Selector, str]:
    """Return the selector under a key, and how its series are put together where that may be chosen."""
    entry = parent.entry(key, SOURCE_KEYS if aggregates else SOURCE_KEYS[:3])
    aggregate = entry.choice("aggregate", aggregates, aggregates[0]) if aggregates else ""
    return read_selector(entry), aggregate


def short_unit(unit: str) -> str:
    """Return the unit as findings write it.

    >>> short_unit("seconds"), short_unit("percent"), short_unit("count")
    ('s', '%', 'count')
    """
    return _UNITS.get(unit, unit)


def converted(series: Series, unit: str) -> Optional[Series]:
    """Return a series in another unit; None where the one cannot be turned into the other.

    >>> converted(Series("web1", {}, "ratio", ((0.0, 0.5),)), "%")
    Series(host='web1', labels={}, unit='%', samples=((0.0, 50.0),))
    """
    own = short_unit(series.unit)
    if own == unit:
        return series
    for scale in _SCALES:
        if own in scale and unit in scale:
            factor = scale[own] / scale[unit]
            samples = tuple((at, value * factor) for at, value in series.samples)
            return Series(series.host, series.labels, unit, samples)
    return None


def sample_unit(unit: str) -> str:
    """Return the unit as samples write it.

    >>> sample_unit("s"), sample_unit("%"), sample_unit("bytes")
    ('seconds', 'percent', 'bytes')
    """
    return {"s": "seconds", "%": "percent"}.get(unit, unit)


def quantity(value: float, unit: str) -> str:
    """Return a reading for people; ``unit`` as findings write it.

    >>> quantity(1536, "bytes"), quantity(75, "s"), quantity(99.9512, "%"), quantity(12, "count"), quantity(3, "EUR")
    ('1.5 kB', '1 min 15 s', '99.95 %', '12', '3 EUR')
    """
    if unit == "bytes":
        return human_size(value)
    if unit == "s":
        return f"{value:.3g} s" if abs(value) < 60 else ("-" if value < 0 else "") + human_duration(abs(value))
    number = f"{round(value, 2):.15g}" if abs(value) < 1e6 else f"{value:.6g}"
    number = f"{value:.2g}" if number in ("0", "-0") and value else number
    return number if unit in ("count", "ratio", "") else f"{number} {unit.replace('_', ' ')}"
