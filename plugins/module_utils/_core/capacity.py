# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Resources that can run out: what the inventory says about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Union

from .inventory_entry import Entry, entries
from .kpi import DIRECTIONS, HIGHER_IS_WORSE, LOWER_IS_WORSE
from .source import Selector, read_selector, read_source, short_unit

DAILY = ("mean", "max", "min", "last")
EXPECTED, EARLIEST = JUDGED_BY = ("expected", "earliest")

ENTRY_KEYS = (
    *("name", "title", "source", "limit", "unit", "direction", "warning", "critical", "horizon", "confidence"),
    *("daily", "history", "min_history", "min_points", "judge_by", "max_age", "owner", "runbook"),
)
_DAY = 86400.0
_FEWEST_POINTS = 4


@dataclass(frozen=True)
class LimitSource:
    """A limit that is itself read: the newest value of a metric of the same host with these labels.

    Labels that are not given here have to be equal to those of the resource where both have them.
    """

    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def selector(self) -> Selector:
        """Return where to look for it, on all hosts."""
        return Selector(self.metric, (), self.labels)


@dataclass(frozen=True)
class Resource:
    """One kind of resource; each series that the selector means gets a forecast. Durations are in days.

    ``daily`` says which value stands for a day, ``judge_by`` whether the expected time to the limit or the earliest
    within the prediction interval is compared with ``warning`` and ``critical``.
    """

    name: str
    title: str
    selector: Selector
    limit: Union[float, LimitSource]
    unit: str
    lower_is_worse: bool
    warning: Optional[float]
    critical: Optional[float]
    horizon: float
    confidence: float
    daily: str
    history: float
    min_history: float
    min_points: int
    judge_by: str
    max_age: float
    owner: str = ""
    runbook: str = ""


def read_resources(raw: Any, variable: str = "resources") -> tuple[Resource, ...]:
    """Return the resources of the inventory.

    Raises:
        InvalidValue: an entry cannot be meant; the message names it as in ``resources[3].limit``.
    """
    return tuple(_read(entry) for entry in entries(raw, variable, ENTRY_KEYS))


def _read(entry: Entry) -> Resource:
    selector, _aggregate = read_source(entry, "source")
    warning, critical = _optional_days(entry, "warning"), _optional_days(entry, "critical")
    horizon, history = _days(entry, "horizon", "180d"), _days(entry, "history", "90d")
    min_history = _days(entry, "min_history", "7d")
    if warning is not None and critical is not None and critical > warning:
        entry.refuse("critical", "must be shorter than warning: less time left is worse")
    longest = max(one for one in (warning, critical, 0.0) if one is not None)
    if horizon < longest:
        entry.refuse("horizon", "is shorter than warning or critical, which then could never be reached")
    if horizon > 3650:
        entry.refuse("horizon", "is longer than ten years")
    if min_history > history:
        entry.refuse("min_history", "is longer than history, so there could never be enough")
    return Resource(
        name=entry.name("name"),
        title=entry.text("title", entry.name("name").replace("_", " ")),
        selector=selector,
        limit=_limit(entry),
        unit=short_unit(entry.required_text("unit", 20)),
        lower_is_worse=entry.choice("direction", DIRECTIONS, HIGHER_IS_WORSE) == LOWER_IS_WORSE,
        warning=warning,
        critical=critical,
        horizon=horizon,
        confidence=entry.within("confidence", 0.5, 0.999, 0.95),
        daily=entry.choice("daily", DAILY, "mean"),
        history=history,
        min_history=min_history,
        min_points=int(entry.within("min_points", _FEWEST_POINTS, 1000, 7)),
        judge_by=entry.choice("judge_by", JUDGED_BY, EXPECTED),
        max_age=_days(entry, "max_age", "2d"),
        owner=entry.text("owner"),
        runbook=entry.text("runbook"),
    )


def _days(entry: Entry, key: str, default: str) -> float:
    return entry.seconds(key, default) / _DAY


def _optional_days(entry: Entry, key: str) -> Optional[float]:
    return _days(entry, key, "") if entry.given(key) else None


def _limit(entry: Entry) -> Union[float, LimitSource]:
    if isinstance(entry.value("limit"), Mapping):
        selector = read_selector(entry.entry("limit", ("metric", "labels")))
        return LimitSource(selector.metric, selector.labels)
    number = entry.number("limit")
    if number is None:
        entry.refuse("limit", "is missing", "give a number, or the metric that holds the limit")
    return number
