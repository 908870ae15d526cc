# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is said about KPIs: sentences for people, and plain values for the result."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Iterator, Mapping, Optional, Sequence

from .kpi import BAD, Kpi, described
from .kpi_attain import Attainment, BurnRate
from .kpi_breach import NOT_KNOWN, PENDING, REACHED, Breach
from .kpi_evaluate import Verdict, breach_of
from .redact import printable
from .result import OK, UNKNOWN, Decision, Finding
from .samples import KPIS, Sample, render_samples
from .source import Series, quantity, sample_unit
from .units import count_of, human_duration, rfc3339
from .verdict import headline

_NAMED = 3
_LISTED = 20


def decide(verdicts: Sequence[Verdict]) -> Decision:
    """Return the module's decision: a finding for each KPI, in the order of the inventory, and their samples."""
    findings = tuple(finding(one) for one in verdicts)
    samples = [sample for one in verdicts for sample in _samples(one)]
    kpis = [{**rendered(one), "msg": said.msg} for one, said in zip(verdicts, findings)]
    extra = {"area": KPIS, "samples": render_samples(samples), "kpis": kpis}
    return Decision(headline(findings), findings=findings, extra=extra)


def decide_blind(kpis: Sequence[Kpi], reason: str) -> Decision:
    """Return the decision when the journal cannot be read: every KPI is unknown."""
    findings = tuple(
        Finding(kpi.name, UNKNOWN, f"{kpi.title}: not known, {reason}", None, kpi.unit, *_limits(kpi)) for kpi in kpis
    )
    listed = [{**described(kpi), "status": UNKNOWN, "value": None, "msg": one.msg} for kpi, one in zip(kpis, findings)]
    msg = f"{count_of(len(kpis), 'KPI')} not known: {reason}" if kpis else headline(findings)
    return Decision(msg, findings=findings, extra={"area": KPIS, "samples": [], "kpis": listed})


def finding(verdict: Verdict) -> Finding:
    """Return the one finding of a KPI."""
    kpi = verdict.kpi
    text = "; ".join(_sentences(verdict))
    return Finding(kpi.name, verdict.status, f"{kpi.title}: {text}", verdict.value, kpi.unit, *_limits(kpi))


def _limits(kpi: Kpi) -> tuple[Optional[float], Optional[float]]:
    return kpi.limit.warning, kpi.limit.critical


def _sentences(verdict: Verdict) -> Iterator[str]:
    silence, kpi = verdict.silence, verdict.kpi
    if verdict.unread:
        yield f"never read: the journal has no {kpi.selector.text()}, is the name right and does a runbook record it?"
    if silence.stale:
        oldest = [one.last_at for one in silence.stale if one.last_at is not None]
        age = human_duration(verdict.now - min(oldest)) if len(oldest) == len(silence.stale) else "longer than is kept"
        yield f"stale, not read for {age} (at most {human_duration(kpi.max_age)}): {_named(silence.stale)}"
    if silence.absent:
        yield f"never read of {_several([printable(host, 80) for host in silence.absent])}"
    if silence.other_unit:
        units = sorted({printable(one.unit, 20) for one in silence.other_unit})
        yield f"{_named(silence.other_unit)} left out: read in {', '.join(units)}, not in {kpi.unit}"
    if verdict.value is not None:
        yield _value_sentence(verdict, verdict.value)
    if verdict.attainment is not None:
        yield from _objective_sentences(verdict.attainment)
    if silence.gone:
        yield f"{_named(silence.gone)} left out, silent for more than a week"


def _named(series: Sequence[Series]) -> str:
    return _several([printable(one.name(), 80) for one in series])


def _several(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _value_sentence(verdict: Verdict, value: float) -> str:
    kpi, text, worst = verdict.kpi, quantity(value, verdict.kpi.unit), breach_of(verdict)
    if worst is None:
        return text
    name, breach = worst
    number = dict(kpi.levels())[name]
    limit = f"{name} at {quantity(0.0 if number is None else number, kpi.unit)}"
    asked = f" for {human_duration(kpi.sustained)}" if kpi.sustained else ""
    since = _since(breach, verdict.now)
    if breach.state == REACHED:
        return f"{text}{since} ({limit}{asked})"
    if breach.state == PENDING:
        return f"{text}{since}, {limit} only{asked}"
    return (
        f"{text}{since}, {limit}{asked}, but readings cover only {human_duration(breach.covered)} of it: "
        f"one every {human_duration(kpi.interval)} is needed"
    )


def _since(breach: Breach, now: float) -> str:
    if breach.since is None or now - breach.since < 1:
        return ""
    return f" for {'' if breach.since_is_earliest else 'at least '}{human_duration(now - breach.since)}"


def _objective_sentences(one: Attainment) -> Iterator[str]:
    target = f"{one.objective.target:g} % over {human_duration(one.objective.window)}"
    seen = _seen(one)
    if one.attained is None:
        yield f"objective {target} not known, nothing was observed"
    elif one.is_missed:
        yield f"objective {target} missed with {_percent(one.attained)}, {_budget(one)}{seen}"
    elif one.is_too_little:
        yield f"objective {target} not known, {_percent(one.attained)}{seen}, too little to tell"
    else:
        yield f"{_percent(one.attained)} of {target}, {_budget(one)}{seen}"
    for rate in (one.fast, one.slow):
        if rate.is_burning and rate.long is not None:
            yield (
                f"error budget used up {rate.long:.3g} times too fast in the last {human_duration(rate.asked.window)} "
                f"(limit {rate.asked.rate:g})"
            )
            return


def _percent(value: float) -> str:
    """Return a percentage that is never rounded up to a target: cut, not rounded, after three digits."""
    return f"{int(value * 1000 + 1e-6) / 1000:g} %"


def _budget(one: Attainment) -> str:
    if one.budget_left < 0:
        return f"error budget overdrawn by {human_duration(-one.budget_left)}"
    return f"{human_duration(one.budget_left)} of {human_duration(one.budget)} error budget left"


def _seen(one: Attainment) -> str:
    if one.observed.share > 0.995:
        return ""
    counted = " (the rest counts as bad)" if one.objective.unobserved == BAD else ""
    return f", {100 * one.observed.share:.3g} % of the time observed{counted}"


def rendered(verdict: Verdict) -> dict[str, Any]:
    """Return a KPI with how it stands as plain values."""
    worst = breach_of(verdict)
    name, breach = worst if worst is not None else (None, Breach(OK))
    return {
        **described(verdict.kpi),
        "status": verdict.status,
        "value": verdict.value,
        "at": _moment(verdict.at),
        "age_seconds": None if verdict.at is None else round(verdict.now - verdict.at, 3),
        "breach": None if worst is None else _rendered_breach(str(name), breach),
        "objective": None if verdict.attainment is None else _rendered_objective(verdict.attainment),
        "samples_used": verdict.samples_used,
        "series": [_rendered_series(one) for one in verdict.series[:_LISTED]],
        "series_count": len(verdict.series),
        "stale": [one.name() for one in verdict.silence.stale],
        "absent_hosts": list(verdict.silence.absent),
        "left_out": [one.name() for one in verdict.silence.gone + verdict.silence.other_unit],
    }


def _rendered_breach(level: str, breach: Breach) -> dict[str, Any]:
    return {
        "level": level,
        "state": "unknown" if breach.state == NOT_KNOWN else breach.state,
        "since": _moment(breach.since),
        "since_is_earliest": breach.since_is_earliest,
        "covered_seconds": round(breach.covered, 3),
    }


def _rendered_series(one: Series) -> dict[str, Any]:
    at, value = one.samples[-1] if one.samples else (None, None)
    return {"host": one.host, "labels": dict(one.labels), "at": _moment(at), "value": value}


def _rendered_objective(one: Attainment) -> dict[str, Any]:
    objective, observed = one.objective, one.observed
    return {
        "status": one.status,
        "target": objective.target,
        "window_seconds": objective.window,
        "attained": None if one.attained is None else round(one.attained, 6),
        "attained_by": "value" if objective.by_value else "time",
        "good": objective.good.critical,
        "missed": one.is_missed,
        "observed_percent": round(100 * observed.share, 4),
        "unobserved": objective.unobserved,
        "good_seconds": round(observed.good, 3),
        "bad_seconds": round(observed.bad, 3),
        "budget_seconds": round(one.budget, 3),
        "budget_left_seconds": round(one.budget_left, 3),
        "budget_left_percent": round(100 * one.budget_left / one.budget, 3),
        "fast_burn": _rendered_burn(one.fast),
        "slow_burn": _rendered_burn(one.slow),
    }


def _rendered_burn(rate: BurnRate) -> Mapping[str, Any]:
    return {
        "rate": rate.long,
        "short_rate": rate.short,
        "limit": rate.asked.rate,
        "window_seconds": rate.asked.window,
        "short_window_seconds": rate.asked.short_window,
        "burning": rate.is_burning,
    }


def _samples(verdict: Verdict) -> Iterator[Sample]:
    name = f"{KPIS}.{verdict.kpi.name}"
    if verdict.value is not None:
        yield Sample(f"{name}.value", verdict.value, sample_unit(verdict.kpi.unit))
    attained = verdict.attainment
    if attained is not None and attained.attained is not None:
        yield Sample(f"{name}.attainment", round(attained.attained, 6), "percent")
        yield Sample(f"{name}.budget_left", round(100 * attained.budget_left / attained.budget, 3), "percent")


def _moment(at: Optional[float]) -> Optional[str]:
    return None if at is None else rfc3339(datetime.fromtimestamp(at, timezone.utc))
