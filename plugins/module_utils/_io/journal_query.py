# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The questions that people put to the journal, as rows of plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable, Mapping, Optional

from .._core.journal import DAY_SECONDS
from .journal_read import Journal

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Query:
    """What is asked for; ``since`` in epoch seconds, ``metric`` with ``*`` for any text."""

    name: str
    since: float
    runbook: Optional[str] = None
    run_id: Optional[str] = None
    host: Optional[str] = None
    metric: Optional[str] = None
    limit: int = 100


def answer(journal: Journal, query: Query) -> Rows:
    """Return the rows that a query finds, at most ``limit``."""
    return ANSWERS[query.name](journal, query)[: query.limit]


def _rows(records: Any, host: Optional[str] = None) -> Rows:
    return [row for row in map(asdict, records) if host in (None, row.get("host"))]


def _steps(journal: Journal, query: Query) -> Rows:
    return _rows(journal.steps(query.run_id, None if query.run_id else query.since), query.host)


def _findings(journal: Journal, query: Query) -> Rows:
    if query.run_id:
        return _rows(journal.findings_of(query.run_id), query.host)
    return _rows(journal.findings(query.since, host=query.host, limit=query.limit))


def _samples(journal: Journal, query: Query) -> Rows:
    series = journal.series(query.metric, query.host)[: query.limit]
    points = journal.samples([one.id for one in series], query.since)
    return [{**_series(one), "samples": [{"at": at, "value": v} for at, v in points[one.id]]} for one in series]


def _days(journal: Journal, query: Query) -> Rows:
    series = journal.series(query.metric, query.host)[: query.limit]
    days = journal.days([one.id for one in series], int(query.since // DAY_SECONDS))
    return [{**_series(one), "days": [asdict(day) for day in days[one.id]]} for one in series]


def _series(one: Any) -> dict[str, Any]:
    return {"metric": one.metric, "host": one.host, "unit": one.unit, "labels": dict(one.label_values())}


def _incidents(journal: Journal, query: Query) -> Rows:
    return [{**row, "events": list(row["events"])} for row in _rows(journal.incidents(query.since))]


ANSWERS: Mapping[str, Callable[[Journal, Query], Rows]] = {
    "runs": lambda journal, query: _rows(journal.runs(query.since, runbook=query.runbook, limit=query.limit)),
    "last_runs": lambda journal, _query: _rows(journal.last_runs()),
    "steps": _steps,
    "findings": _findings,
    "latest_findings": lambda journal, query: _rows(journal.latest_findings(query.since), query.host),
    "samples": _samples,
    "days": _days,
    "drills": lambda journal, query: _rows(journal.drills(query.since)),
    "incidents": _incidents,
    "states": lambda journal, query: [row for row in _rows(journal.states(query.host)) if row["host"]],
}
