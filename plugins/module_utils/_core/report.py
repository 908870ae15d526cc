# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a report says, as frozen values: the page, the ticket and the metrics file are written from these.

Moments are UTC epoch seconds, durations seconds. Nothing here depends on when the report is written but the verdicts:
a second report of the same journal says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Optional, Sequence

from .result import CRITICAL, OK, UNKNOWN, WARNING, worst
from .units import count_of

RANK = {CRITICAL: 0, WARNING: 1, UNKNOWN: 2, OK: 3}
SEVERITY = {OK: 0, UNKNOWN: 1, WARNING: 2, CRITICAL: 3}


@dataclass(frozen=True)
class Need:
    """One thing that needs a person: what it is, where, since when, and the command of the runbook to run."""

    status: str
    area: str
    where: str
    msg: str
    at: Optional[float] = None
    command: str = ""
    link: str = ""


@dataclass(frozen=True)
class Reading:
    """The newest finding of one check of one host."""

    host: str
    check: str
    status: str
    msg: str
    at: float


@dataclass(frozen=True)
class Area:
    """One area: its verdict, when it was read last, how many readings there are of each verdict, and the bad ones.

    ``stale``: the newest reading is too old to rely on. ``at`` None: it was never read.
    """

    name: str
    title: str
    status: str
    msg: str
    at: Optional[float]
    stale: bool
    counts: tuple[tuple[str, int], ...]
    readings: tuple[Reading, ...]
    left_out: int = 0


@dataclass(frozen=True)
class History:
    """A reading over time: oldest first."""

    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Kpi:
    """One indicator against its target, with what is left of its error budget.

    ``attainment`` and ``objective`` are percent of the window; ``budget_left`` is percent of the error budget, negative
    when it is overspent.
    """

    name: str
    title: str
    status: str
    msg: str
    unit: str
    value: Optional[float] = None
    target: Optional[float] = None
    warning: Optional[float] = None
    critical: Optional[float] = None
    lower_is_worse: bool = False
    owner: str = ""
    runbook: str = ""
    window: str = ""
    attainment: Optional[float] = None
    objective: Optional[float] = None
    budget_left: Optional[float] = None
    history: History = History()


@dataclass(frozen=True)
class Backup:
    """What of one source is copied and proven."""

    source: str
    host: str
    kind: str
    status: str
    copies: int
    taken: Optional[float] = None
    proven: Optional[float] = None
    copy_limit: Optional[float] = None
    proof_limit: Optional[float] = None
    msg: str = ""


@dataclass(frozen=True)
class Objective:
    """A recovery as it was measured last, beside what was promised."""

    name: str
    status: str
    msg: str
    at: Optional[float] = None
    rto: Optional[float] = None
    rto_target: Optional[float] = None
    rpo: Optional[float] = None
    rpo_target: Optional[float] = None


@dataclass(frozen=True)
class Forecast:
    """When a resource reaches its limit. ``days`` None: it does not, or nobody can tell yet (``status`` unknown).

    ``expected`` holds (moment, low, middle, high) of the prediction interval.
    """

    name: str
    host: str
    status: str
    msg: str
    unit: str
    value: Optional[float] = None
    limit: Optional[float] = None
    days: Optional[float] = None
    days_low: Optional[float] = None
    days_high: Optional[float] = None
    runbook: str = ""
    history: History = History()
    expected: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class Run:
    """One run of a runbook."""

    runbook: str
    status: str
    started: float
    seconds: Optional[float]
    operator: str
    hosts: int
    changed: int
    msg: str
    check_mode: bool = False
    link: str = ""


@dataclass(frozen=True)
class Duty:
    """A run that has to happen: when it succeeded last, and until when the next one must have."""

    runbook: str
    status: str
    msg: str
    every: float
    grace: float
    last_success: Optional[float]
    due: Optional[float]
    link: str = ""

    @property
    def overdue(self) -> bool:
        """Tell whether it should have happened and did not."""
        return self.status == CRITICAL


@dataclass(frozen=True)
class Seen:
    """When a runbook came to its own end last, and when it went well last."""

    runbook: str
    completed: Optional[float]
    good: Optional[float]


@dataclass(frozen=True)
class Work:
    """What one runbook did in the window: how often an action was carried out, and how long it took in all."""

    runbook: str
    action: str
    done: int
    failed: int
    seconds: float
    last: float


@dataclass(frozen=True)
class SessionEnded:
    """A session that was cancelled or terminated."""

    at: float
    host: str
    action: str
    target: str
    detail: str


@dataclass(frozen=True)
class IncidentEvent:
    """One entry of an incident's time line."""

    at: float
    kind: str
    person: str
    text: str


@dataclass(frozen=True)
class Incident:
    """An incident with its moments; one that is open is not resolved yet."""

    id: str
    title: str
    severity: str
    status: str
    detected: Optional[float]
    acknowledged: Optional[float]
    mitigated: Optional[float]
    resolved: Optional[float]
    summary: str = ""
    events: tuple[IncidentEvent, ...] = ()

    @property
    def is_open(self) -> bool:
        """Tell whether somebody still works on it."""
        return self.resolved is None

    def took(self, moment: Optional[float]) -> Optional[float]:
        """Return the seconds from detection to a moment."""
        return None if moment is None or self.detected is None else max(0.0, moment - self.detected)


@dataclass(frozen=True)
class Business:
    """A figure of the product's own: now, before, and its history."""

    metric: str
    title: str
    unit: str
    value: float
    at: float
    before: Optional[float]
    history: History = History()

    @property
    def change(self) -> Optional[float]:
        """Return the change against before, in percent; None when before was nothing."""
        return None if not self.before else 100.0 * (self.value - self.before) / abs(self.before)


@dataclass(frozen=True)
class Line:
    """One line of a plot: a value for each of the plot's times, None where there is none."""

    label: str
    values: tuple[Optional[float], ...]


@dataclass(frozen=True)
class Plot:
    """A chart: lines over common times, perhaps a band between two of them, and limits as level lines."""

    id: str
    title: str
    unit: str
    times: tuple[float, ...]
    lines: tuple[Line, ...]
    band: Optional[tuple[Line, Line]] = None
    levels: tuple[tuple[str, float], ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Gauge:
    """The newest sample of one series, for the metrics file."""

    metric: str
    unit: str
    host: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True)
class ReportData:
    """Everything that a report says. ``window`` and ``history`` are the seconds that it looks back.

    ``trouble``: why the journal could not be read; what only it knows is unknown then.
    """

    product: str
    title: str
    window: float
    history: float
    status: str = UNKNOWN
    headline: str = ""
    needs: tuple[Need, ...] = ()
    areas: tuple[Area, ...] = ()
    kpis: tuple[Kpi, ...] = ()
    business: tuple[Business, ...] = ()
    backups: tuple[Backup, ...] = ()
    objectives: tuple[Objective, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    plots: tuple[Plot, ...] = ()
    duties: tuple[Duty, ...] = ()
    seen: tuple[Seen, ...] = ()
    runs: tuple[Run, ...] = ()
    runs_counted: tuple[tuple[str, int], ...] = ()
    work: tuple[Work, ...] = ()
    sessions: tuple[SessionEnded, ...] = ()
    sessions_counted: int = 0
    incidents: tuple[Incident, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    journal: str = ""
    trouble: str = ""


def counts_of(statuses: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return how many there are of each verdict, worst first.

    >>> counts_of(["ok", "critical", "ok"])
    (('critical', 1), ('ok', 2))
    """
    seen = list(statuses)
    return tuple((status, seen.count(status)) for status in RANK if status in seen)


def verdict(statuses: Iterable[str], needs: Sequence[str]) -> tuple[str, str]:
    """Return the product's verdict and its sentence; of nothing that was looked at nobody can say that it is well.

    >>> verdict(["ok", "ok"], [])
    ('ok', 'All is well: nobody is needed')
    >>> verdict(["warning", "unknown"], ["warning", "unknown"])
    ('warning', '2 things need a person: 1 warning, 1 unknown')
    >>> verdict([], [])
    ('unknown', 'Nothing was looked at yet')
    """
    seen = tuple(statuses)
    if not seen:
        return UNKNOWN, "Nothing was looked at yet"
    status = worst(seen)
    if status == OK:
        return OK, "All is well: nobody is needed"
    counted = ", ".join(f"{number} {name}" for name, number in counts_of(needs))
    return status, f"{count_of(len(needs), 'thing')} {'needs' if len(needs) == 1 else 'need'} a person: {counted}"
