# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What the journal knows, as frozen values. Times are UTC epoch seconds, durations seconds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .result import CRITICAL, OK, UNKNOWN, WARNING

RUNNING, FAILED, INTERRUPTED = "running", "failed", "interrupted"
VERDICTS = (OK, UNKNOWN, WARNING, CRITICAL)
# A run of another controller that was never closed cannot be asked whether it lives.
LONGEST_RUN_SECONDS = 86400.0
DAY_SECONDS = 86400
REPORT = "report"  # the area of what a report says, and its own runbook
EVERY_HOST = ("", "all")  # values of --limit that leave no host out


@dataclass(frozen=True)
class Run:
    """One run of a runbook. ``process`` tells its process apart: boot id, pid and start of the process.

    ``status``: running, ok, unknown, warning, critical, failed or interrupted (opened and never closed).
    ``hosts`` and ``changed`` count the hosts that took part and the changes that were made.
    """

    id: str
    runbook: str
    started_at: float
    ended_at: Optional[float] = None
    status: str = RUNNING
    check_mode: bool = False
    operator: str = ""
    controller: str = ""
    process: str = ""
    inventory: str = ""
    limit_: str = ""
    tags: str = ""
    hosts: int = 0
    changed: int = 0
    msg: str = ""
    version: str = ""

    @property
    def completed(self) -> bool:
        """Tell whether the run came to its own end, whatever its verdict was."""
        return self.status in VERDICTS

    @property
    def whole(self) -> bool:
        """Tell whether all hosts and all steps were asked for."""
        return self.limit_ in EVERY_HOST and not self.tags


@dataclass(frozen=True)
class StepRow:
    """One thing that was done, skipped, failed or (in check mode) planned."""

    run_id: str
    at: float
    host: str
    play: str
    phase: str
    step: str
    task: str
    action: str
    target: str
    status: str
    changed: bool
    duration_seconds: float
    detail: str
    code: str


@dataclass(frozen=True)
class FindingRow:
    """One reading against its limits. ``value`` when it is a number, ``value_text`` in any case."""

    run_id: str
    at: float
    host: str
    area: str
    check_name: str
    status: str
    value: Optional[float]
    value_text: str
    unit: str
    warning: Optional[float]
    critical: Optional[float]
    msg: str


@dataclass(frozen=True)
class Series:
    """One metric of one host; ``labels`` is canonical JSON."""

    id: int
    metric: str
    host: str
    labels: str
    unit: str

    def label_values(self) -> Mapping[str, str]:
        """Return the labels as a mapping."""
        return dict(json.loads(self.labels))


@dataclass(frozen=True)
class SampleRow:
    """One reading of a series that may not be known yet."""

    metric: str
    host: str
    labels: str
    unit: str
    at: float
    value: float


@dataclass(frozen=True)
class Day:
    """What is kept of one series and UTC day (``day`` counts from the epoch)."""

    series_id: int
    day: int
    count: int
    minimum: float
    maximum: float
    mean: float
    last: float


@dataclass(frozen=True)
class Drill:
    """One drill with what it measured beside what was promised, in seconds; ``status``: ok, failed or running."""

    id: int
    run_id: str
    name: str
    started_at: float
    ended_at: Optional[float]
    status: str
    rto_seconds: Optional[float]
    rto_target_seconds: Optional[float]
    rpo_seconds: Optional[float]
    rpo_target_seconds: Optional[float]
    detail: str


@dataclass(frozen=True)
class IncidentEvent:
    """One line of a timeline; ``incident_id`` is empty for a note that belongs to no incident."""

    id: int
    incident_id: str
    at: float
    kind: str
    person: str
    text: str


@dataclass(frozen=True)
class Incident:
    """One incident with its times and its timeline."""

    id: str
    title: str
    severity: str
    status: str
    detected_at: Optional[float]
    acknowledged_at: Optional[float] = None
    mitigated_at: Optional[float] = None
    resolved_at: Optional[float] = None
    summary: str = ""
    events: tuple[IncidentEvent, ...] = ()


@dataclass(frozen=True)
class State:
    """The newest small value that a module wants back in its next run; ``value`` is JSON."""

    host: str
    name: str
    at: float
    value: str


@dataclass(frozen=True)
class Part:
    """A part of a runbook that counts as the whole: the texts of ``--limit`` and tags, as the journal has them."""

    runbook: str
    limit_: str = ""
    tags: str = ""


@dataclass(frozen=True)
class LastRun:
    """The newest ended run of a runbook, the newest that came to its own end, and the newest that went well.

    Check mode does not count. ``good`` is ok or warning. ``completed`` and ``good`` are whole runs: one with
    ``--limit`` or ``--tags`` says nothing of the hosts and steps that it left out.
    """

    runbook: str
    newest: Run
    completed: Optional[Run]
    good: Optional[Run]


def canonical_labels(labels: Mapping[str, Any]) -> str:
    """Return labels as one text for each set of them.

    >>> canonical_labels({"b": 1, "a": "x"})
    '{"a":"x","b":"1"}'
    """
    texts = {str(name): str(value) for name, value in labels.items()}
    return json.dumps(texts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def day_of(at: float) -> int:
    """Return the UTC day of a moment, counted from the epoch.

    >>> day_of(0), day_of(86399.9), day_of(86400)
    (0, 0, 1)
    """
    return math.floor(at / DAY_SECONDS)
