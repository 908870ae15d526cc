# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the journal."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, TypeVar

from .._core.journal import (
    EVERY_HOST,
    VERDICTS,
    Day,
    Drill,
    FindingRow,
    Incident,
    IncidentEvent,
    LastRun,
    Part,
    Run,
    Series,
    State,
    StepRow,
)
from .._core.result import OK, WARNING
from .journal_open import journal_errors, make_engine, name_of, resolve_url
from .journal_process import judged
from .journal_schema import no_tables, require_current
from .journal_tables import metadata, sa, table

_Record = TypeVar("_Record")
_CHUNK = 500  # series in one query


def open_journal(url: Optional[str] = None, now: Callable[[], float] = time.time) -> Journal:
    """Open the journal for reading; without ``url`` it is that of ONCALL_JOURNAL_URL, else the default
    SQLite file. Nothing is made or upgraded.

    Raises:
        JournalUnreachable: it cannot be read (codes of journal_open).
        JournalSchema: there are no tables yet, or they are older or newer than this code.
        InvalidValue: the address means nothing.
    """
    address = resolve_url(url)
    where = name_of(url)
    if address.get_backend_name() == "sqlite":
        if not Path(where).exists():
            raise no_tables(where)
        address = address.set(database=f"file:{_escaped(str(address.database))}", query={"mode": "rw", "uri": "true"})
    engine = make_engine(address, writing=False)
    try:
        with journal_errors("read", where), engine.begin() as connection:
            require_current(connection, where)
    except BaseException:
        engine.dispose()
        raise
    return Journal(engine, where, now)


def _escaped(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


class Journal:
    """The journal, open for reading: each method is one look. Failures are those of open_journal."""

    def __init__(self, engine: sa.Engine, where: str, now: Callable[[], float]) -> None:
        self.engine = engine
        self._now = now
        self.where = where

    def runs(
        self,
        since: Optional[float] = None,
        until: Optional[float] = None,
        runbook: Optional[str] = None,
        limit: Optional[int] = 1000,
    ) -> tuple[Run, ...]:
        """Return the runs that began in a time, the newest first; one that died is ``interrupted``."""
        runs = table("runs")
        query = _between(sa.select(runs), runs.c.started_at, since, until)
        if runbook is not None:
            query = query.where(runs.c.runbook == runbook)
        query = query.order_by(runs.c.started_at.desc(), runs.c.id).limit(limit)
        return self._judged(self._records(query, Run))

    def run(self, run_id: str) -> Optional[Run]:
        """Return one run."""
        found = self._judged(self._records(sa.select(table("runs")).where(table("runs").c.id == run_id), Run))
        return found[0] if found else None

    def last_runs(self, parts: Iterable[Part] = ()) -> tuple[LastRun, ...]:
        """Return what is newest of each runbook, by name; runs that are still at work and check mode do not count.

        To have come to its end, and to have gone well, is said of runs that left nothing out, or are one of ``parts``.
        """
        status, whole = table("runs").c.status, _whole(parts)
        newest, completed, good = (
            self._newest(sa.true()),
            self._newest(sa.and_(whole, status.in_(VERDICTS))),
            self._newest(sa.and_(whole, status.in_((OK, WARNING)))),
        )
        return tuple(
            LastRun(name, run, completed.get(name), good.get(name))
            for name, run in sorted(newest.items())
            if run.status != "running"
        )

    def _newest(self, condition: Any) -> dict[str, Run]:
        """Return the newest run of each runbook that meets a condition; of one that is at work, its predecessor."""
        runs = table("runs")
        place = sa.func.row_number().over(partition_by=runs.c.runbook, order_by=runs.c.started_at.desc()).label("place")
        ranked = sa.select(runs, place).where(runs.c.check_mode.is_(False), condition).subquery()
        query = sa.select(ranked).where(ranked.c.place <= 20).order_by(ranked.c.runbook, ranked.c.place)
        found: dict[str, Run] = {}
        for run in self._judged(self._records(query, Run)):
            if run.runbook not in found or found[run.runbook].status == "running":
                found[run.runbook] = run
        return found

    def _judged(self, runs: Iterable[Run]) -> tuple[Run, ...]:
        now = self._now()
        return tuple(judged(run, now) for run in runs)

    def steps(
        self, run_id: Optional[str] = None, since: Optional[float] = None, until: Optional[float] = None
    ) -> tuple[StepRow, ...]:
        """Return the steps of a run, or of a time, in their order."""
        steps = table("steps")
        query = _between(sa.select(steps), steps.c.at, since, until).order_by(steps.c.at, steps.c.id)
        if run_id is not None:
            query = query.where(steps.c.run_id == run_id)
        return self._records(query, StepRow)

    def findings_of(self, run_id: str) -> tuple[FindingRow, ...]:
        """Return the findings of a run in their order."""
        findings = table("findings")
        query = sa.select(findings).where(findings.c.run_id == run_id).order_by(findings.c.at, findings.c.id)
        return self._records(query, FindingRow)

    def findings(
        self,
        since: Optional[float] = None,
        until: Optional[float] = None,
        statuses: Sequence[str] = (),
        host: Optional[str] = None,
        limit: Optional[int] = 1000,
    ) -> tuple[FindingRow, ...]:
        """Return the findings of a time, the newest first."""
        findings = table("findings")
        query = _between(sa.select(findings), findings.c.at, since, until)
        if statuses:
            query = query.where(findings.c.status.in_(statuses))
        if host is not None:
            query = query.where(findings.c.host == host)
        return self._records(query.order_by(findings.c.at.desc(), findings.c.id).limit(limit), FindingRow)

    def latest_findings(self, since: Optional[float] = None) -> tuple[FindingRow, ...]:
        """Return the newest reading of each host, area and check; all its findings where it names several objects."""
        newest, findings = table("newest_findings"), table("findings")
        # SQLite, which knows no sizes, would walk through all findings and look each up; a function keeps it from that.
        same = [findings.c[name] == newest.c[name] for name in ("run_id", "at")]
        same += [findings.c[name] == sa.func.coalesce(newest.c[name], "") for name in ("host", "area", "check_name")]
        query = sa.select(findings).join(newest, sa.and_(*same))
        order = (findings.c.host, findings.c.area, findings.c.check_name, findings.c.id)
        return self._records(_between(query, newest.c.at, since, None).order_by(*order), FindingRow)

    def series(self, metric: Optional[str] = None, host: Optional[str] = None) -> tuple[Series, ...]:
        """Return the series whose metric is like a pattern with ``*`` for any text, of one host or of all."""
        series = table("series")
        query = sa.select(series).order_by(series.c.metric, series.c.host, series.c.labels)
        if metric is not None and "*" in metric:
            query = query.where(series.c.metric.like(_like(metric), escape="\\"))
        elif metric is not None:
            query = query.where(series.c.metric == metric)
        if host is not None:
            query = query.where(series.c.host == host)
        return self._records(query, Series)

    def samples(
        self, series_ids: Iterable[int], since: Optional[float] = None, until: Optional[float] = None
    ) -> dict[int, list[tuple[float, float]]]:
        """Return for each series its readings (time, value) in the order of time; raw readings are kept for a while."""
        samples = table("samples")
        found: dict[int, list[tuple[float, float]]] = {number: [] for number in series_ids}
        columns = sa.select(samples.c.series_id, samples.c.at, samples.c.value)
        for chunk in _chunks(list(found)):
            query = _between(columns.where(samples.c.series_id.in_(chunk)), samples.c.at, since, until)
            for number, at, value in self._rows(query.order_by(samples.c.series_id, samples.c.at)):
                found[number].append((at, value))
        return found

    def days(self, series_ids: Iterable[int], since_day: Optional[int] = None) -> dict[int, list[Day]]:
        """Return for each series what is kept of each day, today too, in the order of time."""
        days = table("sample_days")
        found: dict[int, list[Day]] = {number: [] for number in series_ids}
        columns = sa.select(*(days.c[field.name] for field in fields(Day)))
        for chunk in _chunks(list(found)):
            query = _between(columns.where(days.c.series_id.in_(chunk)), days.c.day, since_day, None)
            for row in self._rows(query.order_by(days.c.series_id, days.c.day)):
                found[row[0]].append(Day(*row))
        return found

    def drills(self, since: Optional[float] = None) -> tuple[Drill, ...]:
        """Return the drills that began in a time, the newest first."""
        drills = table("drills")
        query = _between(sa.select(drills), drills.c.started_at, since, None)
        return self._records(query.order_by(drills.c.started_at.desc(), drills.c.id), Drill)

    def incidents(self, since: Optional[float] = None) -> tuple[Incident, ...]:
        """Return the incidents detected in a time, and all that are open, with their timelines; the newest first."""
        incidents = table("incidents")
        query = sa.select(incidents).order_by(incidents.c.detected_at.desc(), incidents.c.id)
        if since is not None:
            query = query.where(sa.or_(incidents.c.detected_at >= since, incidents.c.resolved_at.is_(None)))
        found = self._records(query, Incident)
        events = self.incident_events([incident.id for incident in found])
        return tuple(
            Incident(**{**vars(one), "events": tuple(event for event in events if event.incident_id == one.id)})
            for one in found
        )

    def incident_events(
        self, incident_ids: Optional[Sequence[str]] = None, since: Optional[float] = None
    ) -> tuple[IncidentEvent, ...]:
        """Return the lines of some timelines, or of all; those of the incident "" are notes that belong to none."""
        events = table("incident_events")
        query = _between(sa.select(events), events.c.at, since, None).order_by(events.c.at, events.c.id)
        if incident_ids is not None:
            query = query.where(events.c.incident_id.in_(incident_ids))
        return self._records(query, IncidentEvent)

    def states(self, host: Optional[str] = None, names: Sequence[str] = ()) -> tuple[State, ...]:
        """Return what modules left for their next run: of one host, or of all."""
        states = table("states")
        query = sa.select(states).order_by(states.c.host, states.c.name)
        if host is not None:
            query = query.where(states.c.host == host)
        if names:
            query = query.where(states.c.name.in_(names))
        return self._records(query, State)

    def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""
        names = ("runs", "steps", "findings", "series", "samples", "sample_days", "drills", "incidents", "states")
        query = sa.select(*(sa.select(sa.func.count()).select_from(table(n)).scalar_subquery().label(n) for n in names))
        return dict(zip(names, self._rows(query)[0]))

    def size(self) -> int:
        """Return how many bytes the journal takes."""
        if self.engine.dialect.name == "sqlite":
            pages, size = (self._rows(sa.text(f"PRAGMA {name}"))[0][0] for name in ("page_count", "page_size"))
            return int(pages * size)
        query = sa.text("SELECT sum(pg_catalog.pg_total_relation_size(n::regclass)) FROM unnest(:names) AS n")
        return int(self._rows(query.bindparams(names=list(metadata().tables)))[0][0])

    def faults(self) -> tuple[str, ...]:
        """Return what SQLite finds wrong with its file; PostgreSQL looks after itself."""
        if self.engine.dialect.name != "sqlite":
            return ()
        return tuple(text for (text,) in self._rows(sa.text("PRAGMA quick_check(10)")) if text != "ok")

    def _records(self, query: Any, kind: Callable[..., _Record]) -> tuple[_Record, ...]:
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        with journal_errors("read", self.where), self.engine.begin() as connection:
            rows = connection.execute(query).mappings()
            return tuple(kind(**{name: row[name] for name in names if name in row}) for row in rows)

    def _rows(self, query: Any) -> list[Any]:
        with journal_errors("read", self.where), self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self.engine.dispose()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _whole(parts: Iterable[Part]) -> Any:
    """Return the condition of runs that asked for all hosts and all steps, or for a part that was agreed on."""
    runs = table("runs").c
    agreed = [
        sa.and_(runs.runbook == part.runbook, runs.limit_ == part.limit_, runs.tags == part.tags) for part in parts
    ]
    return sa.or_(sa.and_(runs.limit_.in_(EVERY_HOST), runs.tags == ""), *agreed)


def _between(query: Any, column: Any, since: Optional[float], until: Optional[float]) -> Any:
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)


def _chunks(numbers: list[int]) -> Iterable[list[int]]:
    return (numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK))


def _like(pattern: str) -> str:
    """Return a pattern for LIKE.

    >>> _like("host.disk_*")
    'host.disk\\\\_%'
    """
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
