# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The verdicts of a report: facts of the journal and what was asked for become what is shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Iterable, Mapping, Optional, Sequence

from .journal import FAILED, INTERRUPTED, REPORT, RUNNING, Drill, FindingRow, LastRun
from .journal import Incident as IncidentRow
from .journal import Run as RunRow
from .redact import printable
from .report import (
    SEVERITY,
    Area,
    Business,
    Duty,
    Gauge,
    History,
    Incident,
    IncidentEvent,
    Kpi,
    Objective,
    Plot,
    Reading,
    ReportData,
    Run,
    Seen,
    SessionEnded,
    Work,
    counts_of,
    verdict,
)
from .report_format import duration
from .report_given import kpi_of_finding, shown, worst_first
from .report_needs import needs_of
from .report_policy import GOOD, Policy, Promise, Wish
from .result import CRITICAL, OK, UNKNOWN, Finding, worst
from .samples import AREAS, BACKUPS, CAPACITY, KPIS
from .verdict import headline

# What the report itself says is no reading of the next one: a verdict must not keep itself alive. Nor are its runs
# shown: each report would differ from the one before by its own run.
AREA = OWN_RUNBOOK = REPORT
_MOST_READINGS, _MOST_RUNS, _MOST_NEEDS = 40, 60, 60
_TEXT = 300


@dataclass(frozen=True)
class Facts:
    """What the journal said. ``trouble``: why it could not be read. ``histories``: by metric, for sparklines."""

    where: str = ""
    trouble: str = ""
    findings: tuple[FindingRow, ...] = ()
    runs: tuple[RunRow, ...] = ()
    last_runs: tuple[LastRun, ...] = ()
    drills: tuple[Drill, ...] = ()
    incidents: tuple[IncidentRow, ...] = ()
    work: tuple[Work, ...] = ()
    sessions: tuple[SessionEnded, ...] = ()
    sessions_counted: int = 0
    plots: tuple[Plot, ...] = ()
    business: tuple[Business, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    histories: Mapping[str, History] = field(default_factory=dict)


def assemble(facts: Facts, policy: Policy, now: float) -> ReportData:
    """Return everything that the report says."""
    facts = _without_own(facts, policy)
    report = _told(facts, policy, now)
    inventory = facts.runs[0].inventory if facts.runs else ""
    needs = needs_of(report, facts.last_runs, policy, inventory, now)
    statuses = [
        *(one.status for one in report.areas),
        *(one.status for one in report.kpis),
        *(one.status for one in report.forecasts),
        *(one.status for one in report.backups),
        *(one.status for one in report.duties),
        *(one.status for one in report.objectives),
        *(one.status for one in needs),
    ]
    status, line = verdict(statuses, [need.status for need in needs])
    return replace(report, needs=needs[:_MOST_NEEDS], status=status, headline=line)


def _without_own(facts: Facts, policy: Policy) -> Facts:
    """Return the facts without what earlier reports left, and without hosts that are gone."""
    wanted = {wish.runbook for wish in policy.schedule}
    return replace(
        facts,
        findings=tuple(
            one for one in facts.findings if one.area != AREA and (not policy.hosts or one.host in policy.hosts)
        ),
        runs=tuple(one for one in facts.runs if one.runbook != OWN_RUNBOOK),
        last_runs=tuple(one for one in facts.last_runs if one.runbook != OWN_RUNBOOK or one.runbook in wanted),
    )


def _told(facts: Facts, policy: Policy, now: float) -> ReportData:
    """Return the report without its verdict."""
    given = {KPIS: policy.kpis, CAPACITY: policy.forecasts, BACKUPS: policy.backups}
    from_journal = [one for one in facts.findings if given.get(one.area) is None]
    expected = [name for name in policy.areas if given.get(name) is None]
    return ReportData(
        product=shown(policy.product, 120),
        title=shown(policy.title, 120),
        window=policy.window,
        history=policy.history,
        areas=judge_areas(from_journal, expected, policy, now),
        kpis=_kpis(facts, policy),
        business=facts.business,
        backups=policy.backups or (),
        objectives=judge_objectives(policy.objectives, facts.drills, now),
        forecasts=policy.forecasts or (),
        plots=facts.plots,
        duties=_duties(facts, policy, now),
        seen=tuple(Seen(shown(one.runbook, 120), _end(one.completed), _end(one.good)) for one in facts.last_runs),
        runs=tuple(_run(one, policy) for one in facts.runs[:_MOST_RUNS]),
        runs_counted=tuple(_counted(one.status for one in facts.runs)),
        work=facts.work,
        sessions=facts.sessions,
        sessions_counted=facts.sessions_counted,
        incidents=tuple(_incident(one) for one in facts.incidents),
        gauges=facts.gauges,
        journal=shown(facts.where, 200),
        trouble=shown(facts.trouble),
    )


def _duties(facts: Facts, policy: Policy, now: float) -> tuple[Duty, ...]:
    duties = tuple(judge_duty(wish, facts.last_runs, policy, now) for wish in policy.schedule)
    if not facts.trouble:
        return duties
    return tuple(replace(one, status=UNKNOWN, msg="nobody can tell, the journal was not read") for one in duties)


def _counted(statuses: Iterable[str]) -> list[tuple[str, int]]:
    seen = list(statuses)
    return [(status, seen.count(status)) for status in sorted(set(seen), key=lambda one: (-seen.count(one), one))]


def _kpis(facts: Facts, policy: Policy) -> tuple[Kpi, ...]:
    found = policy.kpis
    if found is None:
        found = worst_first(kpi_of_finding(one) for one in facts.findings if one.area == KPIS)
        newest = {one.metric: one.value for one in facts.gauges}
        found = tuple(_attained(one, newest) for one in found)
    return tuple(replace(one, history=facts.histories.get(f"{KPIS}.{one.name}.value", one.history)) for one in found)


def _attained(kpi: Kpi, newest: Mapping[str, float]) -> Kpi:
    """Return a KPI of the journal with how its objective stood at the same time."""
    name = f"{KPIS}.{kpi.name}"
    return replace(kpi, attainment=newest.get(f"{name}.attainment"), budget_left=newest.get(f"{name}.budget_left"))


# --- areas ------------------------------------------------------------------------------------------------------


def judge_areas(
    findings: Sequence[FindingRow], expected: Iterable[str], policy: Policy, now: float
) -> tuple[Area, ...]:
    """Return the areas, the worst first: those that were read, and those that should have been."""
    names = sorted({one.area for one in findings} | set(expected), key=_order)
    found = [_area(name, [one for one in findings if one.area == name], policy, now) for name in names]
    return tuple(sorted(found, key=lambda area: -SEVERITY[area.status]))


def _order(name: str) -> tuple[int, str]:
    return (AREAS.index(name) if name in AREAS else len(AREAS), name)


def _area(name: str, found: Sequence[FindingRow], policy: Policy, now: float) -> Area:
    title = name or "other runbooks"
    if not found:
        return Area(shown(name, 80), shown(title, 80), UNKNOWN, "was never read", None, False, (), ())
    limit = policy.age_of(name)
    newest: dict[str, float] = {}
    for one in found:
        newest[one.host] = max(one.at, newest.get(one.host, one.at))
    silent = {host: at for host, at in newest.items() if now - at > limit}
    known = [
        one for one in found if one.host not in silent and (now - one.at <= policy.window or one.at == newest[one.host])
    ]
    stale = [
        Reading(shown(host, 120), "stale", CRITICAL, f"nothing was read for more than {duration(limit)}", at)
        for host, at in sorted(silent.items())
    ]
    readings = [*stale, *(_reading(one) for one in known)]
    bad = sorted((one for one in readings if one.status != OK), key=lambda one: (-SEVERITY[one.status], one.host))
    line = headline(Finding(one.check, one.status, f"{one.host}: {one.msg}") for one in (*bad, *_fine(readings)))
    return Area(
        name=shown(name, 80),
        title=shown(title, 80),
        status=worst(one.status for one in readings),
        msg=printable(line, 500),
        at=max(newest.values()),
        stale=bool(silent),
        counts=counts_of(one.status for one in readings),
        readings=tuple(bad[:_MOST_READINGS]),
        left_out=max(0, len(bad) - _MOST_READINGS),
    )


def _fine(readings: Iterable[Reading]) -> list[Reading]:
    return [one for one in readings if one.status == OK]


def _reading(one: FindingRow) -> Reading:
    return Reading(shown(one.host, 120), shown(one.check_name, 120), one.status, shown(one.msg), one.at)


# --- runs that have to happen -----------------------------------------------------------------------------------


def judge_duty(wish: Wish, last_runs: Sequence[LastRun], policy: Policy, now: float) -> Duty:
    """Return whether a run happened in time; one that never happened is overdue too."""
    known = next((one for one in last_runs if one.runbook == wish.runbook), None)
    run: Optional[RunRow] = None
    if known is not None:
        run = known.good if wish.counts == GOOD else known.completed
    name, link = shown(wish.runbook, 120), policy.links.get(wish.runbook, "")
    done = "succeeded" if wish.counts == GOOD else "came to its end"
    if run is None:
        why = "never ran" if known is None else f"never {done}{_of_a_part(known.newest)}"
        return Duty(name, CRITICAL, why, wish.every, wish.grace, None, None, link)
    at = _end(run) or run.started_at
    due = at + wish.every + wish.grace
    if now <= due:
        return Duty(name, OK, f"{done} in time", wish.every, wish.grace, at, due, link)
    newest = known.newest if known else run
    ended = {FAILED: "; the newest run failed", INTERRUPTED: "; the newest run was interrupted"}.get(newest.status)
    ended = ended or _of_a_part(newest)
    msg = f"overdue: should run every {duration(wish.every)}{ended}"
    return Duty(name, CRITICAL, msg, wish.every, wish.grace, at, due, link)


def _of_a_part(newest: RunRow) -> str:
    """Return why the newest run did not count, when it left something out."""
    asked = [f"--limit {newest.limit_}" if newest.limit_ else "", f"tags {newest.tags}" if newest.tags else ""]
    left = ", ".join(text for text in asked if text)
    return "" if newest.whole else f"; the newest run does not count, it was of a part ({shown(left, 120)})"


def _end(run: Optional[RunRow]) -> Optional[float]:
    if run is None:
        return None
    return run.started_at if run.ended_at is None else run.ended_at


# --- recovery ---------------------------------------------------------------------------------------------------


def judge_objectives(promises: Sequence[Promise], drills: Sequence[Drill], now: float) -> tuple[Objective, ...]:
    """Return for each promise, and each drill without one, its newest measurement against the target."""
    newest: dict[str, Drill] = {}
    for drill in sorted(drills, key=lambda one: one.started_at):
        if drill.status != RUNNING:
            newest[drill.name] = drill
    others = [Promise(name, one.rto_target_seconds, one.rpo_target_seconds) for name, one in sorted(newest.items())]
    wanted = [*promises, *(one for one in others if one.name not in {promise.name for promise in promises})]
    return tuple(_objective(promise, newest.get(promise.name), now) for promise in wanted)


def _objective(promise: Promise, drill: Optional[Drill], now: float) -> Objective:
    name = shown(promise.name, 120)
    if drill is None:
        return Objective(name, UNKNOWN, "was never measured", rto_target=promise.rto, rpo_target=promise.rpo)
    at = drill.ended_at if drill.ended_at is not None else drill.started_at
    judged = [
        _against("RTO", drill.rto_seconds, promise.rto),
        _against("RPO", drill.rpo_seconds, promise.rpo),
    ]
    if drill.status != OK:
        judged.append((CRITICAL, f"the newest drill {shown(drill.status, 40)}: {shown(drill.detail)}"))
    if promise.max_age is not None and now - at > promise.max_age:
        judged.append((CRITICAL, f"stale: measured longer than {duration(promise.max_age)} ago"))
    bad = "; ".join(text for status, text in judged if status != OK and text)
    status = worst(status for status, _text in judged)
    measured = (drill.rto_seconds, promise.rto, drill.rpo_seconds, promise.rpo)
    return Objective(name, status, bad or "within its targets", at, *measured)


def _against(name: str, value: Optional[float], target: Optional[float]) -> tuple[str, str]:
    if target is None:
        return OK, ""
    if value is None:
        return UNKNOWN, f"{name} was not measured"
    return (CRITICAL, f"{name} missed: {duration(value)} of {duration(target)}") if value > target else (OK, "")


# --- runs and incidents -----------------------------------------------------------------------------------------


def _run(one: RunRow, policy: Policy) -> Run:
    return Run(
        runbook=shown(one.runbook, 120),
        status=one.status,
        started=one.started_at,
        seconds=None if one.ended_at is None else one.ended_at - one.started_at,
        operator=shown(one.operator, 80),
        hosts=one.hosts,
        changed=one.changed,
        msg=shown(one.msg, _TEXT),
        check_mode=one.check_mode,
        link=policy.links.get(one.runbook, ""),
    )


def _incident(one: IncidentRow) -> Incident:
    return Incident(
        id=shown(one.id, 80),
        title=shown(one.title, 200),
        severity=shown(one.severity, 40),
        status=shown(one.status, 40),
        detected=one.detected_at,
        acknowledged=one.acknowledged_at,
        mitigated=one.mitigated_at,
        resolved=one.resolved_at,
        summary=shown(one.summary, 600),
        events=tuple(
            IncidentEvent(event.at, shown(event.kind, 40), shown(event.person, 80), shown(event.text, 600))
            for event in one.events[-100:]
        ),
    )
