# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The report as metrics: names, labels and values as Prometheus wants them, in base units.

Naming: https://prometheus.io/docs/practices/naming/. Ages are not exported but moments: time() - moment is the age also
when no report is written any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import isnan
from typing import Iterable, Iterator, Mapping, Optional

from .report import SEVERITY, Gauge, ReportData

PREFIX = "oncall"
_NO_NAME = re.compile(r"[^a-z0-9_]+")
# Suffixes that Prometheus keeps for counters, histograms and summaries.
_RESERVED = ("_total", "_count", "_sum", "_bucket", "_info")
_OWN_LABELS = ("product", "host")
# unit: (suffix of the name, what the value is divided by)
_UNITS: Mapping[str, tuple[str, float]] = {
    "percent": ("ratio", 100.0),
    "%": ("ratio", 100.0),
    "ratio": ("ratio", 1.0),
    "seconds": ("seconds", 1.0),
    "s": ("seconds", 1.0),
    "days": ("seconds", 1 / 86400.0),
    "bytes": ("bytes", 1.0),
    "count": ("", 1.0),
    "": ("", 1.0),
    "per_second": ("per_second", 1.0),
    "per_minute": ("per_second", 60.0),
    "per_hour": ("per_second", 3600.0),
}


@dataclass
class Family:
    """A metric with its samples, each a set of labels with a value; the first of equal sets of labels holds."""

    name: str
    about: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    def add(self, value: Optional[float], **labels: str) -> None:
        """Add a sample; nothing where there is no value."""
        if value is not None and not isnan(value):
            self.samples.setdefault(tuple(labels.items()), float(value))


def families(report: ReportData) -> tuple[Family, ...]:
    """Return the metrics that have samples, by name, each with the product's label."""
    found = [*_verdicts(report), *_runs(report), *_backups(report), *_kpis(report), *_capacity(report)]
    found += gauge_families(report.gauges)
    product = (("product", report.product),)
    for family in found:
        family.samples = {product + labels: value for labels, value in family.samples.items()}
    return tuple(sorted((family for family in found if family.samples), key=lambda one: one.name))


def _family(name: str, about: str) -> Family:
    return Family(f"{PREFIX}_{name}", about)


def _verdicts(report: ReportData) -> Iterator[Family]:
    scale = "0 ok, 1 unknown, 2 warning, 3 critical"
    product, areas = (
        _family("product_status", f"Verdict of the product: {scale}."),
        _family("status", f"Area: {scale}."),
    )
    findings = _family("findings", "Newest readings by area and verdict.")
    read = _family("reading_timestamp_seconds", "When the newest reading of an area was taken.")
    needs = _family("needs_person", "Things that need a person, by verdict.")
    incidents = _family("open_incidents", "Incidents that are not resolved.")
    product.add(SEVERITY[report.status])
    incidents.add(sum(1 for one in report.incidents if one.is_open))
    for status in SEVERITY:
        needs.add(sum(1 for one in report.needs if one.status == status), status=status)
    for area in report.areas:
        areas.add(SEVERITY[area.status], area=area.title)
        read.add(area.at, area=area.title)
        for status, number in area.counts:
            findings.add(number, area=area.title, status=status)
    yield from (product, areas, findings, read, needs, incidents)


def _runs(report: ReportData) -> Iterator[Family]:
    good = _family("last_success_timestamp_seconds", "When the newest whole run of a runbook that went well ended.")
    ended = _family("last_completed_timestamp_seconds", "When the newest whole run of a runbook came to its own end.")
    overdue = _family("run_overdue", "Whether a run that has to happen did not: 1 is overdue.")
    due = _family("run_due_timestamp_seconds", "Until when the next run must have come to its end.")
    for seen in report.seen:
        good.add(seen.good, runbook=seen.runbook)
        ended.add(seen.completed, runbook=seen.runbook)
    for duty in report.duties:
        overdue.add(float(duty.overdue), runbook=duty.runbook)
        due.add(duty.due, runbook=duty.runbook)
    yield from (good, ended, overdue, due)


def _backups(report: ReportData) -> Iterator[Family]:
    status = _family("backup_status", "Backups of a source: 0 ok, 1 unknown, 2 warning, 3 critical.")
    taken = _family("backup_copy_timestamp_seconds", "The moment whose state the newest good copy holds.")
    proven = _family("backup_proof_timestamp_seconds", "When a copy was last proven to restore.")
    copy_age = _family("backup_copy_age_limit_seconds", "How old the newest copy may be.")
    proof_age = _family("backup_proof_age_limit_seconds", "How old the newest proof may be.")
    copies = _family("backup_copies", "Copies in the repository.")
    for one in report.backups:
        labels = {"source": one.source, "host": one.host, "kind": one.kind}
        status.add(SEVERITY[one.status], **labels)
        copies.add(one.copies, **labels)
        for family, value in (
            (taken, one.taken),
            (proven, one.proven),
            (copy_age, one.copy_limit),
            (proof_age, one.proof_limit),
        ):
            family.add(value, **labels)
    measured = {
        key: _family(f"recovery_{key}_seconds", about)
        for key, about in (
            ("rto", "Time to recover, as measured by the newest drill."),
            ("rto_target", "Time to recover, as promised."),
            ("rpo", "Data lost, as measured by the newest drill."),
            ("rpo_target", "Data lost, as promised."),
        )
    }
    recovery = _family("recovery_status", "A recovery against its targets: 0 ok, 1 unknown, 2 warning, 3 critical.")
    for promise in report.objectives:
        recovery.add(SEVERITY[promise.status], recovery=promise.name)
        for key, family in measured.items():
            family.add(getattr(promise, key), recovery=promise.name)
    yield from (status, taken, proven, copy_age, proof_age, copies, recovery, *measured.values())


def _kpis(report: ReportData) -> Iterator[Family]:
    status = _family("kpi_status", "A KPI: 0 ok, 1 unknown, 2 warning, 3 critical.")
    value = _family("kpi_value", "Value of a KPI in its own unit.")
    limit = _family("kpi_limit", "Limit of a KPI in its own unit, by level.")
    attained = _family("kpi_attainment_ratio", "Share of the window in which a KPI was good.")
    objective = _family("kpi_objective_ratio", "Share of the window in which a KPI shall be good.")
    budget = _family("kpi_error_budget_left_ratio", "What is left of a KPI's error budget; negative when overdrawn.")
    for kpi in report.kpis:
        status.add(SEVERITY[kpi.status], kpi=kpi.name)
        value.add(kpi.value, kpi=kpi.name, unit=kpi.unit)
        limit.add(kpi.warning, kpi=kpi.name, level="warning")
        limit.add(kpi.critical, kpi=kpi.name, level="critical")
        for family, percent in ((attained, kpi.attainment), (objective, kpi.objective), (budget, kpi.budget_left)):
            family.add(None if percent is None else round(percent / 100, 9), kpi=kpi.name)
    yield from (status, value, limit, attained, objective, budget)


def _capacity(report: ReportData) -> Iterator[Family]:
    status = _family("forecast_status", "A resource's future: 0 ok, 1 unknown, 2 warning, 3 critical.")
    left = _family("forecast_limit_seconds", "Time until a resource reaches its limit, as expected.")
    soonest = _family("forecast_earliest_limit_seconds", "Time until a resource reaches its limit, at the earliest.")
    for one in report.forecasts:
        labels = {"resource": one.name, "host": one.host}
        status.add(SEVERITY[one.status], **labels)
        left.add(None if one.days is None else one.days * 86400, **labels)
        soonest.add(None if one.days_low is None else one.days_low * 86400, **labels)
    yield from (status, left, soonest)


def gauge_families(gauges: Iterable[Gauge]) -> list[Family]:
    """Return the newest samples of all series as metrics of their own names."""
    found: dict[str, Family] = {}
    for gauge in gauges:
        name, divisor = metric_name(gauge.metric, gauge.unit)
        family = found.setdefault(name, Family(name, f"Newest reading of {gauge.metric}."))
        labels = {label_name(label): text for label, text in gauge.labels}
        family.add(round(gauge.value / divisor, 12), host=gauge.host, **labels)
    return list(found.values())


def metric_name(metric: str, unit: str) -> tuple[str, float]:
    """Return a metric's name and what its values are divided by to be in the base unit.

    >>> metric_name("host.memory.used_percent", "percent"), metric_name("availability.latency.p95", "seconds")
    (('oncall_host_memory_used_ratio', 100.0), ('oncall_availability_latency_p95_seconds', 1.0))
    >>> metric_name("ingestion.events", "per_hour"), metric_name("logs.count", "count")
    (('oncall_ingestion_events_per_second', 3600.0), ('oncall_logs_count_now', 1.0))
    >>> metric_name("business.revenue", "EUR")
    ('oncall_business_revenue_eur', 1.0)
    """
    suffix, divisor = _UNITS.get(unit) or (_NO_NAME.sub("_", unit.lower()).strip("_"), 1.0)
    name = f"{PREFIX}_{_NO_NAME.sub('_', metric.lower()).strip('_')}"
    for ending in ("_percent", "_per_hour", "_per_minute"):
        name = name[: -len(ending)] if suffix in ("ratio", "per_second") and name.endswith(ending) else name
    if suffix and not name.endswith(f"_{suffix}"):
        name = f"{name}_{suffix}"
    return (f"{name}_now" if name.endswith(_RESERVED) else name), divisor


def label_name(label: str) -> str:
    """Return a label's name; those that every sample has are kept apart.

    >>> label_name("mount"), label_name("host"), label_name("9 lives")
    ('mount', 'label_host', 'label_9_lives')
    """
    name = _NO_NAME.sub("_", label.lower()).strip("_")
    return f"label_{name}" if name in _OWN_LABELS or not name[:1].isalpha() else name
