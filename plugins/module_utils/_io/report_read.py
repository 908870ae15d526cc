# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask the journal what a report needs: sums and roll-ups are made by the database, not here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

from .._core.journal import DAY_SECONDS, Series, day_of
from .._core.report import Business, Gauge, History, Plot, SessionEnded, Work
from .._core.report_given import shown
from .._core.report_judge import OWN_RUNBOOK, Facts
from .._core.report_plot import thinned
from .._core.report_policy import PLOTS, Policy
from .._core.report_series import MOST_LINES, band_plot, lines_plot
from .._core.samples import KPIS
from .journal_read import Journal
from .journal_tables import sa, table

BUSINESS = "business."
_HOUR = 3600
_YOUNG_DAYS = 14  # a journal younger than this is drawn from its readings, hour by hour
_MOST_POINTS, _MOST_SPARKS = 400, 120
_MOST_SESSIONS, _MOST_WORK, _MOST_PLOTS = 50, 40, 24
_ENDINGS = ("cancel", "terminate")


def collect(journal: Journal, policy: Policy, now: float) -> Facts:
    """Return what the report needs of the journal.

    Raises:
        JournalUnreachable: it went away.
    """
    since = now - policy.window
    series = [one for one in journal.series() if not policy.hosts or one.host in policy.hosts]
    reader = _Reader(journal, policy, now)
    sessions, counted = reader.sessions(since)
    return Facts(
        where=journal.where,
        findings=journal.latest_findings(),
        runs=journal.runs(since=since, limit=None),
        last_runs=journal.last_runs(wish.part for wish in policy.schedule),
        drills=journal.drills(now - policy.history),
        incidents=journal.incidents(since),
        work=reader.work(since),
        sessions=sessions,
        sessions_counted=counted,
        plots=reader.plots(series),
        business=reader.business([one for one in series if one.metric.startswith(BUSINESS)]),
        gauges=reader.gauges(series),
        histories=reader.histories([one for one in series if one.metric.startswith(f"{KPIS}.")]),
    )


@dataclass(frozen=True)
class _Source:
    """Rows of readings, in buckets of so many seconds, with the columns of their least, mean and most."""

    rows: Any
    bucket: Any
    seconds: float
    columns: tuple[str, str, str]
    where: tuple[Any, ...]

    def moment(self, number: Any) -> float:
        """Return the middle of a bucket."""
        return (float(number) + 0.5) * self.seconds


class _Reader:
    """Asks one journal for one report."""

    def __init__(self, journal: Journal, policy: Policy, now: float) -> None:
        self._rows = journal._rows
        self._policy = policy
        self._now = now
        self._since = now - policy.history

    # --- what was done ------------------------------------------------------------------------------------------

    def work(self, since: float) -> tuple[Work, ...]:
        """Return what runbooks did, the most often done first."""
        steps, runs = table("steps"), table("runs")
        done, failed = (sa.func.sum(sa.case((steps.c.status == status, 1), else_=0)) for status in ("done", "failed"))
        query = (
            sa.select(
                runs.c.runbook,
                steps.c.action,
                done.label("done"),
                failed.label("failed"),
                sa.func.sum(steps.c.duration_seconds),
                sa.func.max(steps.c.at),
            )
            .join(runs, runs.c.id == steps.c.run_id)
            .where(steps.c.at >= since, steps.c.status.in_(("done", "failed")))
            .where(runs.c.check_mode.is_(False), runs.c.runbook != OWN_RUNBOOK)
            .group_by(runs.c.runbook, steps.c.action)
            .order_by(sa.desc("done"), runs.c.runbook, steps.c.action)
            .limit(_MOST_WORK)
        )
        return tuple(
            Work(shown(runbook, 120), shown(action, 120), int(done), int(failed), float(seconds), float(last))
            for runbook, action, done, failed, seconds, last in self._rows(query)
        )

    def sessions(self, since: float) -> tuple[tuple[SessionEnded, ...], int]:
        """Return the newest sessions that were ended, and how many there are in all."""
        steps = table("steps")
        ended = (steps.c.at >= since, steps.c.action.in_(_ENDINGS), steps.c.status == "done")
        columns = (steps.c.at, steps.c.host, steps.c.action, steps.c.target, steps.c.detail)
        query = sa.select(*columns).where(*ended).order_by(steps.c.at.desc(), steps.c.id.desc()).limit(_MOST_SESSIONS)
        counted = self._rows(sa.select(sa.func.count()).select_from(steps).where(*ended))[0][0]
        newest = tuple(SessionEnded(at, *(shown(text, 200) for text in texts)) for at, *texts in self._rows(query))
        return newest, int(counted)

    # --- readings over time -------------------------------------------------------------------------------------

    def plots(self, series: Sequence[Series]) -> tuple[Plot, ...]:
        """Return a plot for each metric that is wanted and known."""
        titles = {**PLOTS, **{metric: shown(metric, 120) for metric in self._policy.plots if metric not in PLOTS}}
        found: list[Plot] = []
        for metric, title in titles.items():
            own = [one for one in series if one.metric == metric]
            if own and len(found) < _MOST_PLOTS:
                found.append(self._plot(f"p{len(found)}", title, own))
        return tuple(plot for plot in found if plot.times)

    def _plot(self, plot_id: str, title: str, own: Sequence[Series]) -> Plot:
        unit = shown(own[0].unit, 40)
        if len(own) > MOST_LINES:
            return band_plot(plot_id, title, unit, self._bands(own), len(own))
        means = self._means(own)
        return lines_plot(plot_id, title, unit, {series_name(one): means[one.id] for one in own})

    def _bands(self, own: Sequence[Series]) -> list[tuple[float, float, float, float]]:
        """Return for each stretch of time its moment, and least, mean and most over all the series."""
        found = self._source(own)
        low, mean, high = (found.rows.c[name] for name in found.columns)
        bucket = found.bucket.label("bucket")
        query = sa.select(bucket, sa.func.min(low), sa.func.avg(mean), sa.func.max(high))
        rows = self._rows(query.where(*found.where).group_by(bucket).order_by(bucket))
        return [(found.moment(number), float(a), float(b), float(c)) for number, a, b, c in rows]

    def _means(self, own: Sequence[Series]) -> dict[int, tuple[tuple[float, float], ...]]:
        """Return for each series the mean of each stretch of time."""
        found = self._source(own)
        bucket, value = found.bucket.label("bucket"), found.rows.c[found.columns[1]]
        query = sa.select(found.rows.c.series_id, bucket, sa.func.avg(value)).where(*found.where)
        means: dict[int, list[tuple[float, float]]] = {one.id: [] for one in own}
        for number, at, mean in self._rows(query.group_by(found.rows.c.series_id, bucket).order_by(bucket)):
            means[number].append((found.moment(at), float(mean)))
        return {number: tuple(points) for number, points in means.items()}

    def _source(self, own: Sequence[Series]) -> _Source:
        """Return where the history of some series is read."""
        days, samples = table("sample_days"), table("samples")
        ids, since_day = [one.id for one in own], day_of(self._since)
        wanted = (days.c.series_id.in_(ids), days.c.day >= since_day)
        oldest = self._rows(sa.select(sa.func.min(days.c.day)).where(*wanted))[0][0]
        if oldest is not None and oldest < day_of(self._now) - _YOUNG_DAYS:
            stride = max(1, math.ceil((day_of(self._now) - oldest) / _MOST_POINTS))
            return _Source(days, days.c.day // stride, stride * DAY_SECONDS, ("minimum", "mean", "maximum"), wanted)
        since = max(self._since, self._now - (_YOUNG_DAYS + 1) * DAY_SECONDS)
        hour = sa.cast(samples.c.at / _HOUR, sa.Integer)
        return _Source(samples, hour, _HOUR, ("value",) * 3, (samples.c.series_id.in_(ids), samples.c.at >= since))

    def histories(self, series: Sequence[Series]) -> Mapping[str, History]:
        """Return the history of each metric that has one series."""
        means = self._means(series) if series else {}
        return {one.metric: History(thinned(means[one.id], _MOST_SPARKS)) for one in series}

    def business(self, series: Sequence[Series]) -> tuple[Business, ...]:
        """Return the product's own figures with what they were a week before."""
        if not series:
            return ()
        last = self._last_of_days([one.id for one in series], day_of(self._since))
        means = self._means(series)
        found = []
        for one in series:
            if one.id in last:
                days = last[one.id]
                at, value = days[-1]
                before = [older for moment, older in days if moment <= at - 7 * DAY_SECONDS]
                found.append(
                    Business(
                        shown(one.metric, 120),
                        series_title(one),
                        shown(one.unit, 40),
                        value,
                        at,
                        before[-1] if before else None,
                        History(thinned(means[one.id], _MOST_SPARKS)),
                    )
                )
        return tuple(found)

    def gauges(self, series: Sequence[Series]) -> tuple[Gauge, ...]:
        """Return the newest reading of each series, unless it is too old to rely on."""
        ages = {one.metric: self._policy.age_of(one.metric.partition(".")[0]) for one in series}
        longest = min(max(ages.values(), default=0.0), self._policy.window)
        last = self._last_of_days([one.id for one in series], day_of(self._now - longest))
        found = []
        for one in series:
            at, value = last.get(one.id, [(float("-inf"), 0.0)])[-1]
            if self._now - at <= ages[one.metric]:
                labels = tuple(sorted((str(name), shown(text, 120)) for name, text in labels_of(one).items()))
                found.append(Gauge(one.metric, one.unit, shown(one.host, 120), labels, value))
        return tuple(found)

    def _last_of_days(self, ids: Sequence[int], since_day: int) -> dict[int, list[tuple[float, float]]]:
        days = table("sample_days")
        columns = sa.select(days.c.series_id, days.c.last_at, days.c.last).where(days.c.day >= since_day)
        found: dict[int, list[tuple[float, float]]] = {}
        for start in range(0, len(ids), 500):
            query = columns.where(days.c.series_id.in_(ids[start : start + 500]))
            for number, at, value in self._rows(query.order_by(days.c.series_id, days.c.day)):
                found.setdefault(number, []).append((float(at), float(value)))
        return found


def series_name(one: Series) -> str:
    """Return what tells a series apart from the others of its metric."""
    labels = [shown(text, 60) for text in labels_of(one).values()]
    host = [] if one.host == "localhost" and labels else [shown(one.host, 60)]
    return " ".join([*labels, *host]) or "all"


def series_title(one: Series) -> str:
    """Return the title of a business figure."""
    title = one.metric[len(BUSINESS) :].replace("_", " ").replace(".", ", ")
    labels = ", ".join(labels_of(one).values())
    return shown(f"{title[:1].upper()}{title[1:]}{f' ({labels})' if labels else ''}", 120)


def labels_of(one: Series) -> Mapping[str, str]:
    """Return the labels of a series; nothing of what cannot be read."""
    try:
        labels: Optional[Any] = json.loads(one.labels)
    except ValueError:
        labels = None
    return {str(name): str(text) for name, text in labels.items()} if isinstance(labels, dict) else {}
