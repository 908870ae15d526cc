# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""KPIs and objectives: what the inventory says about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .errors import InvalidValue
from .inventory_entry import Entry, entries
from .limits import Limit, check_limit
from .result import CRITICAL, WARNING
from .source import Selector, read_source, short_unit

HIGHER_IS_WORSE, LOWER_IS_WORSE = DIRECTIONS = ("higher_is_worse", "lower_is_worse")
AGGREGATES = ("mean", "max", "min", "sum", "p95", "last")
BY_TIME, BY_VALUE = ATTAINED_BY = ("time", "value")
EXCLUDED, BAD = UNOBSERVED = ("excluded", "bad")

ENTRY_KEYS = (
    *("name", "title", "source", "unit", "direction", "warning", "critical", "for", "owner", "runbook"),
    *("max_age", "interval", "objective"),
)
OBJECTIVE_KEYS = (
    *("target", "window", "good", "attained_by", "unobserved", "minimum_observed", "when_missed"),
    *("fast_burn", "slow_burn"),
)
BURN_KEYS = ("rate", "window", "short_window")

# One reading covers the time until the next one, but no more than this many intervals: a run that is late by half an
# interval makes no gap, one that is missing does.
_HOLD = 1.5


@dataclass(frozen=True)
class Burn:
    """How fast the error budget may be used up: ``rate`` 1 uses it up exactly at the end of the objective's window.

    Both windows (seconds) have to burn at that rate: the long one says that it matters, the short one that it is still
    so. Method and default numbers: Google, The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate
    Alerts".
    """

    rate: float
    window: float
    short_window: float


FAST_BURN, SLOW_BURN = Burn(14.4, 3600.0, 300.0), Burn(6.0, 21600.0, 1800.0)


@dataclass(frozen=True)
class Objective:
    """``target`` percent of ``window`` seconds shall be good.

    A moment is good when the value is within ``good``. With ``by_value`` the value itself is the share of good (a
    percentage of successful requests, or of failed ones where higher is worse). ``minimum_observed`` is a share (0 to
    1) of the window; below it an attained target is not known to be attained.
    """

    target: float
    window: float
    good: Limit
    by_value: bool = False
    unobserved: str = EXCLUDED
    minimum_observed: float = 0.5
    when_missed: str = WARNING
    fast: Burn = FAST_BURN
    slow: Burn = SLOW_BURN

    def allowed(self) -> float:
        """Return the share (0 to 1) of time that may be bad."""
        return 1 - self.target / 100


@dataclass(frozen=True)
class Kpi:
    """One KPI. Durations are in seconds; ``sustained`` is the inventory's ``for``."""

    name: str
    title: str
    selector: Selector
    aggregate: str
    unit: str
    limit: Limit
    sustained: float
    interval: float
    max_age: float
    objective: Optional[Objective] = None
    owner: str = ""
    runbook: str = ""

    @property
    def hold(self) -> float:
        """Return for how many seconds a reading covers time when no other follows it."""
        return self.interval * _HOLD

    def levels(self) -> tuple[tuple[str, Optional[float]], ...]:
        """Return the levels that can be reached, the worst first."""
        return ((CRITICAL, self.limit.critical), (WARNING, self.limit.warning))

    def lookback(self) -> float:
        """Return how much of the journal is needed: the objective's windows, and where a breach may have begun."""
        needs = [self.sustained + self.hold, self.max_age, 7 * 86400.0]
        if self.objective is not None:
            needs += [self.objective.window, self.objective.fast.window, self.objective.slow.window]
        return max(needs) + self.hold


def read_kpis(raw: Any, variable: str = "kpis") -> tuple[Kpi, ...]:
    """Return the KPIs of the inventory.

    Raises:
        InvalidValue: an entry cannot be meant; the message names it as in ``kpis[3].critical``.
    """
    return tuple(_read_kpi(entry) for entry in entries(raw, variable, ENTRY_KEYS))


def _read_kpi(entry: Entry) -> Kpi:
    selector, aggregate = read_source(entry, "source", AGGREGATES)
    lower_is_worse = entry.choice("direction", DIRECTIONS, HIGHER_IS_WORSE) == LOWER_IS_WORSE
    limit = _limit(entry, Limit(entry.number("warning"), entry.number("critical"), lower_is_worse))
    interval = entry.seconds("interval", "1h")
    max_age = entry.seconds("max_age", f"{2 * interval}s")
    if max_age < interval:
        entry.refuse("max_age", "is shorter than interval: every reading would be stale", "give twice the interval")
    unit = short_unit(entry.required_text("unit", 20))
    kpi = Kpi(
        name=entry.name("name"),
        title=entry.text("title", entry.name("name").replace("_", " ")),
        selector=selector,
        aggregate=aggregate,
        unit=unit,
        limit=limit,
        sustained=entry.seconds("for", "0", zero=True),
        interval=interval,
        max_age=max_age,
        objective=_objective(entry, limit, unit) if entry.given("objective") else None,
        owner=entry.text("owner"),
        runbook=entry.text("runbook"),
    )
    if limit.warning is None and limit.critical is None and kpi.objective is None:
        entry.refuse("warning", "is missing, and so are critical and objective: nothing could ever be wrong")
    return kpi


def _limit(entry: Entry, limit: Limit) -> Limit:
    try:
        return check_limit(limit, entry.place)
    except InvalidValue as error:
        hint = "with direction higher_is_worse critical is the higher one, with lower_is_worse the lower one"
        raise InvalidValue(
            error.message.replace(f"{entry.place}: critical", f"{entry.place}.critical"),
            hint=hint,
            details={"variable": f"{entry.place}.critical"},
        ) from error


def _objective(parent: Entry, limit: Limit, unit: str) -> Objective:
    entry = parent.entry("objective", OBJECTIVE_KEYS)
    target = entry.number("target")
    if target is None or not 0 < target < 100:
        entry.refuse("target", f"must be a percentage between 0 and 100, not {target!r}", "100 leaves no error budget")
    by_value = entry.choice("attained_by", ATTAINED_BY, BY_TIME) == BY_VALUE
    if by_value and unit not in ("%", "ratio"):
        entry.refuse("attained_by", f"value needs a KPI in % or ratio, not in {unit}")
    window = entry.seconds("window", "30d")
    return Objective(
        target=target,
        window=window,
        good=_good(entry, limit, by_value),
        by_value=by_value,
        unobserved=entry.choice("unobserved", UNOBSERVED, EXCLUDED),
        minimum_observed=entry.within("minimum_observed", 0, 100, 50) / 100,
        when_missed=entry.choice("when_missed", (WARNING, CRITICAL), WARNING),
        fast=_burn(entry, "fast_burn", FAST_BURN, window),
        slow=_burn(entry, "slow_burn", SLOW_BURN, window),
    )


def _good(entry: Entry, limit: Limit, by_value: bool) -> Limit:
    level = entry.number("good")
    if level is None:
        level = limit.warning if limit.warning is not None else limit.critical
    if level is None and not by_value:
        entry.refuse("good", "is missing: without warning and critical nothing says which readings are good")
    return Limit(None, level, limit.lower_is_worse)


def _burn(parent: Entry, key: str, default: Burn, objective_window: float) -> Burn:
    entry = Entry(parent.value(key) or {}, f"{parent.place}.{key}", BURN_KEYS)
    window = entry.seconds("window", f"{min(default.window, objective_window)}s")
    if window > objective_window:
        entry.refuse("window", "is longer than the objective's own")
    burn = Burn(
        rate=entry.within("rate", 1, 100000, default.rate),
        window=window,
        short_window=entry.seconds("short_window", f"{window / 12}s"),
    )
    if burn.short_window > burn.window:
        entry.refuse("short_window", "is longer than window")
    return burn


def described(kpi: Kpi) -> Mapping[str, Any]:
    """Return the KPI as the result shows it: what was asked, in plain values."""
    return {
        "name": kpi.name,
        "title": kpi.title,
        "source": kpi.selector.text(),
        "aggregate": kpi.aggregate,
        "unit": kpi.unit,
        "direction": LOWER_IS_WORSE if kpi.limit.lower_is_worse else HIGHER_IS_WORSE,
        "warning": kpi.limit.warning,
        "critical": kpi.limit.critical,
        "for_seconds": kpi.sustained,
        "interval_seconds": kpi.interval,
        "max_age_seconds": kpi.max_age,
        "owner": kpi.owner,
        "runbook": kpi.runbook,
    }
