# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Judge KPIs by the readings of the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Sequence

from .kpi import Kpi
from .kpi_attain import Attainment, attainment, level_of
from .kpi_breach import NOT_KNOWN, PENDING, REACHED, Breach, sustained
from .kpi_steps import Step, aggregated, steps
from .result import CRITICAL, OK, UNKNOWN, worst
from .source import Series, converted

# A series that is silent for longer than this, and is not named in the inventory, is of something that is gone.
_GONE_SECONDS = 7 * 86400.0
_GONE_AGES = 10


@dataclass(frozen=True)
class Silence:
    """What is not read: ``stale`` series, hosts that are ``absent``, and series left out because they are ``gone``."""

    stale: tuple[Series, ...] = ()
    absent: tuple[str, ...] = ()
    gone: tuple[Series, ...] = ()
    other_unit: tuple[Series, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """How one KPI stands at ``now`` (epoch seconds).

    ``breaches`` is keyed by level; ``value`` is None when there is nothing to rely on.
    """

    kpi: Kpi
    now: float
    status: str
    value: Optional[float]
    at: Optional[float]
    series: tuple[Series, ...]
    silence: Silence
    breaches: Mapping[str, Breach]
    attainment: Optional[Attainment]

    @property
    def samples_used(self) -> int:
        """Return how many readings it is made of."""
        return sum(1 for one in self.series for sample in one.samples if sample[0] <= self.now)

    @property
    def unread(self) -> bool:
        """Return whether there is no series at all."""
        return not self.series


def evaluate(kpi: Kpi, found: Sequence[Series], now: float) -> Verdict:
    """Return how a KPI stands; readings from after ``now`` are left out.

    Nothing is ok for lack of data: no series, a host that is named and has none, and a level of which the readings do
    not say whether it was broken long enough, are unknown; readings older than ``max_age`` are critical.
    """
    known = [_until(one, now) for one in found]
    counted, silence = _sort_out(kpi, known, now)
    fresh = [one for one in counted if _age(one, now) <= kpi.max_age]
    value = _current(fresh, kpi.aggregate)
    history = steps(counted, kpi.aggregate, kpi.hold, now)
    breaches = _breaches(kpi, history, value, complete=len(fresh) == len(counted), now=now)
    attained = None if kpi.objective is None or not counted else attainment(kpi, kpi.objective, history, now)
    statuses = [_status_of_levels(breaches, counted), CRITICAL if silence.stale else OK]
    statuses.append(UNKNOWN if silence.absent or silence.other_unit else OK)
    if attained is not None:
        statuses.append(attained.status)
    last = [one.last_at for one in counted if one.last_at is not None]
    return Verdict(
        kpi=kpi,
        now=now,
        status=worst(statuses),
        value=value,
        at=max(last, default=None),
        series=tuple(counted),
        silence=silence,
        breaches=breaches,
        attainment=attained,
    )


def _until(one: Series, now: float) -> Series:
    if one.samples and one.samples[-1][0] > now:
        return Series(one.host, one.labels, one.unit, tuple(sample for sample in one.samples if sample[0] <= now))
    return one


def _age(one: Series, now: float) -> float:
    return float("inf") if one.last_at is None else now - one.last_at


def _sort_out(kpi: Kpi, found: Sequence[Series], now: float) -> tuple[list[Series], Silence]:
    """Return the series that count, and what is silent."""
    in_unit = [converted(one, kpi.unit) for one in found]
    other_unit = tuple(one for one, same in zip(found, in_unit) if same is None)
    usable = [one for one in in_unit if one is not None]
    limit = max(_GONE_SECONDS, _GONE_AGES * kpi.max_age)
    alive = any(_age(one, now) <= limit for one in usable)
    gone = tuple(one for one in usable if alive and _age(one, now) > limit and one.host not in kpi.selector.hosts)
    counted = [one for one in usable if one not in gone]
    stale = tuple(one for one in counted if _age(one, now) > kpi.max_age)
    absent = kpi.selector.absent_hosts({one.host for one in found})
    return counted, Silence(stale, absent, gone, other_unit)


def _current(fresh: Sequence[Series], aggregate: str) -> Optional[float]:
    if not fresh:
        return None
    if aggregate == "last":
        return max(one.samples[-1] for one in fresh)[1]
    return aggregated(sorted(one.samples[-1][1] for one in fresh), aggregate)


def _breaches(
    kpi: Kpi, history: Sequence[Step], value: Optional[float], *, complete: bool, now: float
) -> dict[str, Breach]:
    breaches = {}
    for name, number in kpi.levels():
        if number is not None:
            level = level_of(kpi, number)
            enough = complete or kpi.aggregate == "last" or level.part_is_enough
            current = value if enough else None
            breaches[name] = sustained(history, current, level, kpi.sustained, now)
    return breaches


def _status_of_levels(breaches: Mapping[str, Breach], counted: Sequence[Series]) -> str:
    if not counted:
        return UNKNOWN
    reached = [name for name, breach in breaches.items() if breach.state == REACHED]
    unknown = any(breach.state == NOT_KNOWN for breach in breaches.values())
    return worst([*reached, UNKNOWN if unknown else OK])


def breach_of(verdict: Verdict) -> Optional[tuple[str, Breach]]:
    """Return the worst level that is reached, else not known to be, else about to be; None when all is within."""
    for state in (REACHED, NOT_KNOWN, PENDING):
        for name, breach in verdict.breaches.items():
            if breach.state == state and breach.since is not None:
                return name, breach
    return None
