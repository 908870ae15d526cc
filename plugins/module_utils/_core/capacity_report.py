# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is said about resources: sentences for people, and plain values for the result."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any, Iterator, Mapping, Optional, Sequence

from .capacity import LimitSource, Resource
from .capacity_change import STEP, Change
from .capacity_forecast import (
    FORESEEN,
    FULL,
    NO_LIMIT,
    OTHER_UNIT,
    STALE,
    TOO_SHORT,
    Outlook,
    Reach,
    covered_days,
)
from .journal import DAY_SECONDS
from .kpi import HIGHER_IS_WORSE, LOWER_IS_WORSE
from .redact import printable
from .result import OK, UNKNOWN, Decision, Finding
from .samples import CAPACITY, Sample, render_samples
from .source import quantity
from .units import count_of, human_duration, rfc3339
from .verdict import headline

Outlooks = Mapping[str, Sequence[Outlook]]

_NAMED = 20
_PLOT_PAST, _PLOT_AHEAD = 120, 80


def decide(resources: Sequence[Resource], outlooks: Outlooks) -> Decision:
    """Return the module's decision; ``outlooks`` holds by the resource's name one for each of its series."""
    findings = tuple(one for resource in resources for one in _findings(resource, outlooks[resource.name]))
    flat = [one for resource in resources for one in outlooks[resource.name]]
    samples = [sample for one in flat for sample in _samples(one)]
    extra = {"area": CAPACITY, "samples": render_samples(samples), "forecasts": [rendered(one) for one in flat]}
    return Decision(headline(findings), findings=findings, extra=extra)


def decide_blind(resources: Sequence[Resource], reason: str) -> Decision:
    """Return the decision when the journal cannot be read: every resource is unknown."""
    findings = tuple(_finding(one, UNKNOWN, f"{one.title}: not known, {reason}", None) for one in resources)
    msg = f"{count_of(len(resources), 'resource')} not known: {reason}" if resources else headline(findings)
    return Decision(msg, findings=findings, extra={"area": CAPACITY, "samples": [], "forecasts": []})


def _finding(resource: Resource, status: str, msg: str, days: Optional[float]) -> Finding:
    value = None if days is None else round(days, 1)
    return Finding(resource.name, status, msg, value, "days", resource.warning, resource.critical)


def _findings(resource: Resource, outlooks: Sequence[Outlook]) -> Iterator[Finding]:
    """Yield one finding for each series that is not ok, at most 20, or one for all of them."""
    absent = resource.selector.absent_hosts({one.series.host for one in outlooks})
    if absent or not outlooks:
        where = f" of {', '.join(printable(host, 80) for host in absent[:3])}" if absent else ""
        text = f"never read{where}: the journal has no {resource.selector.text()}, does a runbook record it?"
        yield _finding(resource, UNKNOWN, f"{resource.title}: {text}", None)
    rank = {status: number for number, status in enumerate(("critical", "warning", "unknown"))}
    bad = sorted((one for one in outlooks if one.status != OK), key=lambda one: (rank[one.status], _days(one)))
    for one in bad[:_NAMED]:
        yield _finding(resource, one.status, sentence(one), one.judged)
    if len(bad) > _NAMED:
        yield _finding(resource, bad[_NAMED].status, f"{resource.title}: {len(bad) - _NAMED} more", None)
    if outlooks and not bad and not absent:
        first = min(outlooks, key=_days)
        others = f"; {count_of(len(outlooks) - 1, 'other')} later or not at all" if len(outlooks) > 1 else ""
        yield _finding(resource, OK, sentence(first) + others, first.judged)


def _days(outlook: Outlook) -> float:
    return math.inf if outlook.judged is None else outlook.judged


def sentence(outlook: Outlook) -> str:
    """Return how one series stands in words."""
    resource = outlook.resource
    head = f"{resource.title} {printable(outlook.series.name(), 120)}"
    level = "" if outlook.level is None else quantity(outlook.level, resource.unit)
    if outlook.reason == OTHER_UNIT:
        return f"{head}: read in {printable(outlook.series.unit, 20)}, not in {resource.unit}"
    if outlook.reason == STALE:
        return f"{head}: stale, not read for more than {human_duration(resource.max_age * DAY_SECONDS)}"
    if outlook.reason == NO_LIMIT:
        metric = resource.limit.metric if isinstance(resource.limit, LimitSource) else ""
        return f"{head}: {level}, but there is no single limit {metric} of it in the journal"
    if outlook.reason == FULL:
        return f"{head}: {level}, the limit {quantity(outlook.limit or 0.0, resource.unit)} is reached"
    if outlook.reason == TOO_SHORT:
        return f"{head}: {level}, too little history to tell, {_too_short(outlook)}"
    return f"{head}: {level} of {quantity(outlook.limit or 0.0, resource.unit)}, {_growth(outlook)}, {_when(outlook)}"


def _too_short(outlook: Outlook) -> str:
    more = max(math.ceil(outlook.missing_days), outlook.missing_points)
    return f"readings of {count_of(more, 'more day')} needed{_changed(outlook)}"


def _changed(outlook: Outlook) -> str:
    change = outlook.history.change if outlook.history is not None else None
    if change is None:
        return ""
    if change.kind == STEP:
        moved = "up" if change.size > 0 else "down"
        return f" since it went {moved} by {quantity(abs(change.size), outlook.resource.unit)} on {_date(change.day)}"
    return f" since its growth changed on {_date(change.day)}"


def _growth(outlook: Outlook) -> str:
    if outlook.trend is None:
        return ""
    low, high = outlook.trend.slope_interval(outlook.resource.confidence)
    slope, unit = outlook.trend.slope, outlook.resource.unit
    if low <= 0 <= high:
        return f"no clear trend{_changed(outlook)}"
    return f"{'grows' if slope > 0 else 'falls'} by {quantity(abs(slope), unit)} a day{_changed(outlook)}"


def _when(outlook: Outlook) -> str:
    reach = outlook.reach or Reach(None, None, None)
    within = f"{outlook.resource.horizon:g} d"
    sure = f"{100 * outlook.resource.confidence:g} %"
    if reach.expected is None:
        if reach.earliest is None:
            return f"the limit is not within {within}"
        return f"the limit is not expected within {within}, at the earliest in {reach.earliest:.0f} d ({sure})"
    latest = f"{reach.latest:.0f} d" if reach.latest is not None else "later than can be said"
    earliest = reach.expected if reach.earliest is None else reach.earliest
    date = _date(outlook.now / DAY_SECONDS + reach.expected)
    return f"at the limit in {reach.expected:.0f} d, on {date} ({earliest:.0f} d to {latest}, {sure})"


def _date(day: float) -> str:
    return rfc3339(_moment(day))[:10]


def _moment(day: float) -> datetime:
    return datetime.fromtimestamp(day * DAY_SECONDS, timezone.utc)


def rendered(outlook: Outlook) -> dict[str, Any]:
    """Return the forecast of one series as plain values."""
    resource, series = outlook.resource, outlook.series
    points = outlook.history.points if outlook.history is not None else ()
    return {
        "name": resource.name,
        "title": resource.title,
        "metric": resource.selector.metric,
        "host": series.host,
        "labels": dict(series.labels),
        "unit": resource.unit,
        "direction": LOWER_IS_WORSE if resource.lower_is_worse else HIGHER_IS_WORSE,
        "status": outlook.status,
        "reason": outlook.reason,
        "msg": sentence(outlook),
        "owner": resource.owner,
        "runbook": resource.runbook,
        "level": outlook.level,
        "limit": outlook.limit,
        "used_percent": _used_percent(outlook),
        "days_to_limit": None if outlook.reach is None else _rounded_reach(outlook.reach),
        "date": None if outlook.reach is None or outlook.reach.expected is None else _reached_on(outlook),
        "trend": None if outlook.trend is None else _rendered_trend(outlook),
        "history_days": covered_days(points),
        "points_used": len(points),
        "outliers": [_date(day) for day, _value in outlook.history.outliers] if outlook.history is not None else [],
        "change": _rendered_change(outlook.history.change if outlook.history is not None else None),
        "missing_days": round(outlook.missing_days, 1),
        "missing_points": outlook.missing_points,
        "plot": plot(outlook),
    }


def _used_percent(outlook: Outlook) -> Optional[float]:
    if outlook.level is None or not outlook.limit or outlook.resource.lower_is_worse:
        return None
    return round(100 * outlook.level / outlook.limit, 2)


def _rounded_reach(reach: Reach) -> dict[str, Optional[float]]:
    return {name: None if days is None else round(days, 2) for name, days in vars(reach).items()}


def _reached_on(outlook: Outlook) -> str:
    expected = outlook.reach.expected if outlook.reach is not None else None
    return _date(outlook.now / DAY_SECONDS + (expected or 0.0))


def _rendered_trend(outlook: Outlook) -> Optional[dict[str, Any]]:
    trend = outlook.trend
    if trend is None:
        return None
    low, high = trend.slope_interval(outlook.resource.confidence)
    return {
        "model": trend.model,
        "confidence": outlook.resource.confidence,
        "per_day": _short(trend.slope),
        "per_day_lower": _short(low),
        "per_day_upper": _short(high),
        "deviation": _short(trend.deviation),
        "r_squared": None if outlook.fit_quality is None else round(outlook.fit_quality, 4),
    }


def _rendered_change(change: Optional[Change]) -> Optional[dict[str, Any]]:
    return None if change is None else {"date": _date(change.day), "kind": change.kind, "size": _short(change.size)}


def plot(outlook: Outlook) -> dict[str, Any]:
    """Return at most 200 points: the daily values, thinned to 120, and the forecast, thinned to 80."""
    past = _thinned(outlook.points, _PLOT_PAST)
    start = outlook.now / DAY_SECONDS
    ahead = _thinned(tuple(enumerate(outlook.ahead)), _PLOT_AHEAD)
    return {
        "dates": [_date(day - 0.001) for day, _value in past],  # the last reading of a day stands at its very end
        "values": [_short(value) for _day, value in past],
        "forecast_dates": [_date(start + day) for day, _one in ahead],
        "mean": [_short(one.mean) for _day, one in ahead],
        "lower": [_short(one.lower) for _day, one in ahead],
        "upper": [_short(one.upper) for _day, one in ahead],
    }


def _thinned(row: Sequence[Any], most: int) -> Sequence[Any]:
    """Return every n-th element, the last one always."""
    stride = math.ceil(len(row) / most)
    return tuple(reversed(row[::-1][::stride])) if stride > 1 else row


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _samples(outlook: Outlook) -> Iterator[Sample]:
    if outlook.reason not in (FORESEEN, FULL) or outlook.reach is None:
        return
    labels = {**outlook.series.labels, "host": outlook.series.host}
    for name, days in (("expected", outlook.reach.expected), ("earliest", outlook.reach.earliest)):
        if days is not None:
            metric = f"{CAPACITY}.{outlook.resource.name}.{name}_to_limit"
            yield Sample(metric, round(days * DAY_SECONDS, 1), "seconds", labels)
