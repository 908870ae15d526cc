# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ingestion: what was read of each source against its limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Iterator, Optional, Sequence

from .ingestion import DUPLICATES, EVENTS, LAST_EVENT, SUCCESS, Reading, Source, SourceFacts
from .ingestion_active import LOOK_BACK_DAYS, active_seconds
from .limits import Limit
from .redact import printable
from .result import OK, UNKNOWN, Decision, Finding, worst
from .samples import INGESTION, Sample, render_samples
from .units import human_duration, rfc3339
from .verdict import headline

_DATABASE = "database"
_UNITS = {"events": "per_hour", "success": "%", "freshness": "s", "duplicates": "%", "drop": "%"}
_SAMPLE_UNITS = {"per_hour": "per_hour", "%": "percent", "s": "seconds"}


@dataclass(frozen=True)
class Measured:
    """One check of a source: its value in the check's unit and the reading in words, or why there is none."""

    check: str
    value: Optional[float]
    words: str


def decide(facts: Sequence[SourceFacts], max_skew: float) -> Decision:
    """Return the verdict on every source; ``max_skew`` is how many seconds ahead an event's time may be."""
    # Said again when it is well: else an earlier "could not be asked" stays the newest word about it.
    findings = [Finding(_DATABASE, OK, "the database takes connections")]
    samples: list[Sample] = []
    rows = []
    for one in facts:
        measured = tuple(_measure(one, max_skew))
        found = tuple(_finding(one.source, each) for each in measured)
        findings += found
        samples += _samples(one.source, measured)
        rows.append(_row(one, measured, found))
    extra = {"area": INGESTION, "samples": render_samples(samples), "sources": rows}
    return Decision(headline(findings), findings=tuple(findings), extra=extra)


def unreachable(sources: Sequence[Source], reason: str) -> Decision:
    """Return what is said when the database could not be asked: every source is unknown, for this one reason."""
    finding = Finding(_DATABASE, UNKNOWN, reason)
    rows = [{"name": source.name, "status": UNKNOWN, "problems": {"database": reason}} for source in sources]
    extra = {"area": INGESTION, "samples": [], "sources": [_EMPTY_ROW | row for row in rows]}
    return Decision(headline([finding]), findings=(finding,), extra=extra)


def _measure(facts: SourceFacts, max_skew: float) -> Iterator[Measured]:
    source = facts.source
    makers = {
        "events": _events,
        "success": lambda one: _percent(one, "success", SUCCESS, "succeeded"),
        "freshness": lambda one: _freshness(one, max_skew),
        "duplicates": lambda one: _percent(one, "duplicates", DUPLICATES, "are duplicates"),
        "drop": _drop,
    }
    for check, make in makers.items():
        if source.limits.get(check) is not None and (check != "drop" or source.usual is not None):
            yield make(facts)


def _read(facts: SourceFacts, measure: str) -> Reading:
    return facts.readings.get(measure, Reading(problem="it was not read"))


def _rate(facts: SourceFacts) -> Measured:
    reading = _read(facts, EVENTS)
    if reading.number is None:
        return Measured("events", None, reading.problem)
    if facts.active_seconds <= 0:
        return Measured("events", None, f"it has no active hours in the last {LOOK_BACK_DAYS} days")
    rate = reading.number * 3600 / facts.active_seconds
    return Measured("events", rate, f"{rate:,.0f} events/h")


def _events(facts: SourceFacts) -> Measured:
    rate = _rate(facts)
    if rate.value is None:
        return rate
    span = (facts.until - facts.since).total_seconds()
    quiet = f", {human_duration(span)} ago until now" if span > facts.active_seconds + 1 else ""
    return Measured("events", rate.value, f"{rate.words} in {human_duration(facts.active_seconds)}{quiet}")


def _drop(facts: SourceFacts) -> Measured:
    rate = _rate(facts)
    usual = facts.source.usual or 0.0
    if rate.value is None:
        return Measured("drop", None, rate.words)
    drop = 100 * (1 - rate.value / usual)
    if drop <= 0:
        return Measured("drop", 0.0, f"{rate.words}, not below the usual {usual:,.0f}")
    return Measured("drop", drop, f"{rate.words}, {drop:.0f} % below the usual {usual:,.0f}")


def _percent(facts: SourceFacts, check: str, measure: str, what: str) -> Measured:
    reading = _read(facts, measure)
    if reading.number is None:
        return Measured(check, None, reading.problem)
    return Measured(check, reading.number, f"{reading.number:.4g} % of the events {what}")


def _freshness(facts: SourceFacts, max_skew: float) -> Measured:
    reading = _read(facts, LAST_EVENT)
    if reading.moment is None:
        return Measured("freshness", None, reading.problem)
    age = (facts.until - reading.moment).total_seconds()
    if age < -max_skew:
        reason = f"a clock is wrong, or the time zone is not {facts.source.zone_name}"
        return Measured("freshness", None, f"its newest event is {human_duration(-age)} in the future: {reason}")
    since = max(reading.moment, facts.until - timedelta(days=LOOK_BACK_DAYS))
    lag = max(0.0, age) if not facts.source.active else active_seconds(facts.source.active, since, facts.until)
    if facts.active_seconds <= 0:
        return Measured("freshness", None, f"it has no active hours in the last {LOOK_BACK_DAYS} days")
    words = f"last event {human_duration(max(0.0, age))} ago"
    quiet = f", {human_duration(lag)} of it active" if age - lag > 1 else ""
    return Measured("freshness", lag, words + quiet)


def _finding(source: Source, measured: Measured) -> Finding:
    limit = source.limits[measured.check] or Limit()  # only checks that are switched on are measured
    status = limit.judge(measured.value)
    name = printable(source.name, 60)
    words = measured.words if measured.value is not None else f"{measured.check} not known: {measured.words}"
    return Finding(
        f"{measured.check}:{name}",
        status,
        printable(f"{name}: {words}"),
        None if measured.value is None else round(measured.value, 3),
        _UNITS[measured.check],
        limit.warning,
        limit.critical,
    )


def _samples(source: Source, measured: Sequence[Measured]) -> Iterator[Sample]:
    for one in measured:
        if one.value is not None:
            unit = _SAMPLE_UNITS[_UNITS[one.check]]
            yield Sample(f"{INGESTION}.{one.check}", round(one.value, 6), unit, {"source": source.name})


_EMPTY_ROW: dict[str, Any] = {
    "window_start": None,
    "window_end": None,
    "active_seconds": None,
    "events": None,
    "events_per_hour": None,
    "usual_per_hour": None,
    "success_percent": None,
    "duplicates_percent": None,
    "last_event": None,
    "minutes_since_last_event": None,
}


def _row(facts: SourceFacts, measured: Sequence[Measured], findings: Sequence[Finding]) -> dict[str, Any]:
    last, events = _read(facts, LAST_EVENT).moment, _read(facts, EVENTS).number
    values = {one.check: one.value for one in measured}
    rate = _rate(facts).value
    return {
        **_EMPTY_ROW,
        "name": facts.source.name,
        "status": worst(finding.status for finding in findings) if findings else OK,
        "window_start": rfc3339(facts.since),
        "window_end": rfc3339(facts.until),
        "active_seconds": round(facts.active_seconds, 1),
        "events": None if events is None else int(events),
        "events_per_hour": None if rate is None else round(rate, 2),
        "usual_per_hour": facts.source.usual,
        "success_percent": values.get("success"),
        "duplicates_percent": values.get("duplicates"),
        "last_event": None if last is None else rfc3339(last),
        "minutes_since_last_event": None if last is None else round((facts.until - last).total_seconds() / 60, 1),
        "problems": {one.check: printable(one.words) for one in measured if one.value is None},
    }
