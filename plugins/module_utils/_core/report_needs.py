# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What of a report needs a person, worst first, each with the command of the runbook to run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterable, Optional, Sequence

from .journal import FAILED, INTERRUPTED, LastRun
from .report import SEVERITY, Need, ReportData
from .report_given import shown
from .report_policy import AREA_RUNBOOKS, Policy, command_for
from .result import CRITICAL, OK, UNKNOWN, WARNING
from .samples import BACKUPS, CAPACITY, KPIS

RUNS, RECOVERY, INCIDENTS = "runs", "recovery", "incidents"
_MOST_HOSTS = 5


@dataclass(frozen=True)
class _Writer:
    """Writes needs with the commands and links of a policy."""

    policy: Policy
    inventory: str

    def need(
        self, status: str, area: str, where: str, msg: str, at: Optional[float], runbook: str = "", host: str = ""
    ) -> Need:
        """Return one need; ``runbook`` is an area's or a runbook's name, empty where there is none to run."""
        command = command_for(self.policy, runbook, host, self.inventory) if runbook else ""
        link = self.policy.links.get(runbook) or self.policy.links.get(area) or ""
        return Need(status, area, where, msg, at, command, link)


def needs_of(
    report: ReportData, last_runs: Sequence[LastRun], policy: Policy, inventory: str, now: float
) -> tuple[Need, ...]:
    """Return what needs a person; the same of several hosts is one need."""
    writer = _Writer(policy, inventory)
    found = [
        *_of_journal(report, writer),
        *_of_incidents(report, writer),
        *_of_runs(report, last_runs, writer, now),
        *_of_areas(report, writer),
        *_of_recovery(report, writer),
        *_of_given(report, writer),
    ]
    return _together(sorted(found, key=lambda need: -SEVERITY[need.status]))


def _of_journal(report: ReportData, writer: _Writer) -> list[Need]:
    if not report.trouble:
        return []
    return [writer.need(UNKNOWN, "journal", report.journal, f"the journal could not be read: {report.trouble}", None)]


def _of_incidents(report: ReportData, writer: _Writer) -> list[Need]:
    return [
        writer.need(CRITICAL, INCIDENTS, one.id, f"open incident: {one.title} ({one.severity})", one.detected)
        for one in report.incidents
        if one.is_open
    ]


def _of_runs(report: ReportData, last_runs: Sequence[LastRun], writer: _Writer, now: float) -> list[Need]:
    late = {one.runbook for one in report.duties if one.status != OK}
    found = [
        writer.need(one.status, RUNS, "", f"{one.runbook}: {one.msg}", one.last_success, one.runbook)
        for one in report.duties
        if one.status != OK
    ]
    for last in last_runs:
        run = last.newest
        ended = run.status in (FAILED, INTERRUPTED) and now - run.started_at <= report.window
        if ended and shown(run.runbook, 120) not in late:
            status = CRITICAL if run.status == FAILED else WARNING
            msg = shown(
                f"the newest run of {run.runbook} {'failed' if status == CRITICAL else 'was interrupted'}: {run.msg}"
            )
            found.append(writer.need(status, RUNS, "", msg.removesuffix(": "), run.started_at, run.runbook))
    return found


def _of_areas(report: ReportData, writer: _Writer) -> list[Need]:
    never = [
        writer.need(UNKNOWN, one.name, "", f"{one.title}: {one.msg}", None, _runbook_of(one.name, writer))
        for one in report.areas
        if one.at is None
    ]
    return never + [
        writer.need(one.status, area.name, one.host, one.msg, one.at, _runbook_of(area.name, writer), one.host)
        for area in report.areas
        for one in area.readings
    ]


def _runbook_of(area: str, writer: _Writer) -> str:
    return area if area in AREA_RUNBOOKS or area in writer.policy.runbooks else ""


def _of_recovery(report: ReportData, writer: _Writer) -> list[Need]:
    return [
        writer.need(one.status, RECOVERY, "", f"{one.name}: {one.msg}", one.at)
        for one in report.objectives
        if one.status != OK
    ]


def _of_given(report: ReportData, writer: _Writer) -> list[Need]:
    """Return the needs of what other modules said; those of the journal are the needs of their areas."""
    listed = {area.name for area in report.areas}
    found = []
    if KPIS not in listed:
        for kpi in report.kpis:
            msg = f"{kpi.title}: {kpi.msg}"
            found.append(writer.need(kpi.status, KPIS, kpi.owner, msg, None, kpi.runbook or KPIS))
    if CAPACITY not in listed:
        for one in report.forecasts:
            runbook = one.runbook or CAPACITY
            found.append(writer.need(one.status, CAPACITY, one.host, one.msg, None, runbook, one.host))
    if BACKUPS not in listed:
        found += [
            writer.need(copy.status, BACKUPS, copy.host, f"{copy.source}: {copy.msg}", copy.taken, BACKUPS, copy.host)
            for copy in report.backups
        ]
    return [one for one in found if one.status != OK]


def _together(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Return the needs with the same sentence as one; its command is that of the first."""
    grouped: dict[tuple[str, str, str], list[Need]] = {}
    for need in needs:
        grouped.setdefault((need.status, need.area, need.msg), []).append(need)
    return tuple(_one_of(group) for group in grouped.values())


def _one_of(group: Sequence[Need]) -> Need:
    if len(group) == 1:
        return group[0]
    names = [need.where for need in group]
    rest = f" and {len(names) - _MOST_HOSTS} more" if len(names) > _MOST_HOSTS else ""
    times = [need.at for need in group if need.at is not None]
    return replace(group[0], where=", ".join(names[:_MOST_HOSTS]) + rest, at=min(times, default=None))
