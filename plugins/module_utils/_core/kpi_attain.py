# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Objectives: how much of a window was good, what is left of the error budget, and how fast it is used up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from .kpi import BAD, Burn, Kpi, Objective
from .kpi_breach import Level
from .kpi_steps import Step, within
from .result import CRITICAL, OK, UNKNOWN, WARNING, worst

# A burn rate of a window of which less than this share was observed is not known.
_BURN_OBSERVED = 0.5
# Sums of thousands of durations are not exact: a target that is met to this share of the window is met.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Observed:
    """What was seen of a window, in seconds; good and bad together are what was observed."""

    window: float
    good: float
    bad: float

    @property
    def seconds(self) -> float:
        """Return how long somebody looked."""
        return self.good + self.bad

    @property
    def share(self) -> float:
        """Return the share of the window (0 to 1) that was observed."""
        return min(self.seconds / self.window, 1.0)

    def bad_share(self, unobserved: str) -> Optional[float]:
        """Return the share of bad time (0 to 1): of the observed time, or with unobserved time counted as bad."""
        if unobserved == BAD:
            return max(0.0, 1 - self.good / self.window)
        return self.bad / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class BurnRate:
    """How fast the budget is used up in the long and the short window; None: too little was observed."""

    asked: Burn
    long: Optional[float]
    short: Optional[float]

    @property
    def is_burning(self) -> bool:
        """Return whether both windows burn at the rate; a short one that nobody saw is no sign of an end."""
        if self.long is None or self.long < self.asked.rate:
            return False
        return self.short is None or self.short >= self.asked.rate


@dataclass(frozen=True)
class Attainment:
    """How an objective stands. ``attained`` is in percent, budgets are in seconds and may be overdrawn (negative)."""

    objective: Objective
    observed: Observed
    attained: Optional[float]
    budget: float
    budget_left: float
    fast: BurnRate
    slow: BurnRate
    status: str

    @property
    def is_missed(self) -> bool:
        """Return whether the target is missed, by what is known."""
        bad, allowed = self.observed.bad_share(self.objective.unobserved), self.objective.allowed()
        overdrawn = self.budget_left < -_ROUNDING * self.objective.window
        return overdrawn or (bad is not None and bad > allowed + _ROUNDING and not self.is_too_little)

    @property
    def is_too_little(self) -> bool:
        """Return whether too little was observed to say that the target is attained."""
        return self.objective.unobserved != BAD and self.observed.share < self.objective.minimum_observed


def attainment(kpi: Kpi, objective: Objective, found: Sequence[Step], now: float) -> Attainment:
    """Return how the objective of a KPI stands, weighted by time."""
    observed = observe(kpi, objective, found, objective.window, now)
    bad = observed.bad_share(objective.unobserved)
    budget = objective.allowed() * objective.window
    spent = objective.window - observed.good if objective.unobserved == BAD else observed.bad
    undecided = Attainment(
        objective=objective,
        observed=observed,
        attained=None if bad is None else 100 * (1 - bad),
        budget=budget,
        budget_left=budget - spent,
        fast=_burn_rate(kpi, objective, objective.fast, found, now),
        slow=_burn_rate(kpi, objective, objective.slow, found, now),
        status=UNKNOWN,
    )
    return Attainment(**{**vars(undecided), "status": _status(undecided)})


def _status(one: Attainment) -> str:
    if one.is_missed:
        attained = one.objective.when_missed
    else:
        attained = UNKNOWN if one.is_too_little or one.attained is None else OK
    burning = CRITICAL if one.fast.is_burning else WARNING if one.slow.is_burning else OK
    return worst((attained, burning))


def observe(kpi: Kpi, objective: Objective, found: Sequence[Step], window: float, now: float) -> Observed:
    """Return how much of the last ``window`` seconds was good, bad and not observed."""
    good = bad = 0.0
    for step in within(found, now - window, now):
        share = _goodness(kpi, objective, step)
        if share is not None:
            good += share * (step.end - step.start)
            bad += (1 - share) * (step.end - step.start)
    return Observed(window, good, bad)


def _goodness(kpi: Kpi, objective: Objective, step: Step) -> Optional[float]:
    """Return how good a step is (0 to 1); None when too little was read to tell."""
    if objective.by_value:
        if not step.complete:
            return None
        share = min(max(step.value / (100 if kpi.unit == "%" else 1), 0.0), 1.0)
        return share if kpi.limit.lower_is_worse else 1 - share
    bad = level_of(kpi, objective.good.critical or 0.0).verdict(step)
    return None if bad is None else float(not bad)


def level_of(kpi: Kpi, value: float) -> Level:
    """Return a level of a KPI, with the direction and the aggregate that say how to read it."""
    lower = kpi.limit.lower_is_worse
    return Level(value, lower, kpi.aggregate == ("min" if lower else "max"))


def _burn_rate(kpi: Kpi, objective: Objective, burn: Burn, found: Sequence[Step], now: float) -> BurnRate:
    rates = []
    for window in (burn.window, burn.short_window):
        observed = observe(kpi, objective, found, window, now)
        bad = observed.bad_share(objective.unobserved)
        known = bad is not None and (objective.unobserved == BAD or observed.share >= _BURN_OBSERVED)
        rates.append(bad / objective.allowed() if known and bad is not None else None)
    return BurnRate(burn, rates[0], rates[1])
