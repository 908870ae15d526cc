# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Write to the journal: whole batches, each taken in once however often it is offered."""

from __future__ import annotations

import time
from typing import Any, Iterable, Mapping, Optional, Sequence

from .._core.journal import INTERRUPTED, RUNNING, Run, SampleRow, day_of
from .._core.journal_batch import Batch
from .journal_open import journal_errors, make_engine, name_of, prepare_file, resolve_url
from .journal_process import controller, judged
from .journal_schema import upgrade
from .journal_tables import sa, table

_FUTURE_SECONDS = 300.0  # what is stamped later than now by more was written under a wrong clock
_ATTEMPTS = 3
_CHUNK = 500


def open_writer(url: Optional[str] = None) -> JournalWriter:
    """Open the journal for writing; it is made, or brought to the newest schema, when it has to be.

    Raises:
        JournalUnreachable: it cannot be written now (codes of journal_open).
        JournalSchema: it is newer than this code.
        InvalidValue: the address means nothing.
    """
    address = resolve_url(url)
    where = name_of(url)
    prepare_file(address)
    engine = make_engine(address, writing=True)
    try:
        with journal_errors("open", where):
            upgrade(engine, where)
    except BaseException:
        engine.dispose()
        raise
    return JournalWriter(engine, where)


class JournalWriter:
    """The journal, open for writing."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self._engine = engine
        self._series: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._insert = _inserter(engine)
        self.where = where

    def apply(self, batches: Sequence[Batch]) -> int:
        """Take in batches, all or none, but for those that are in already; return how many were new.

        Raises:
            JournalUnreachable: nothing was taken in.
        """
        with journal_errors("write to", self.where):
            for attempt in range(_ATTEMPTS):
                try:
                    with self._engine.begin() as connection:
                        return self._apply(connection, batches)
                except sa.exc.DBAPIError as error:
                    self._series.clear()  # what was new in it is not there
                    if attempt == _ATTEMPTS - 1 or not _worth_a_retry(error):
                        raise
        return 0

    def _apply(self, connection: sa.Connection, batches: Sequence[Batch]) -> int:
        known = self._lock_writers(connection, batches)
        fresh = []
        for batch in batches:
            if batch.number > known[batch.writer]:
                known[batch.writer] = batch.number
                fresh.append(batch)
        for run in [batch.run for batch in fresh if batch.run is not None]:
            self._upsert(connection, "runs", [vars(run)], ("id",))
        self._add(connection, "steps", [vars(row) for batch in fresh for row in batch.steps])
        self._write_findings(connection, fresh)
        self._write_samples(connection, fresh)
        self._write_states(connection, fresh)
        self._write_people(connection, fresh)
        rows = [{"id": writer, "batch": known[writer], "at": batch.at} for writer, batch in _newest(fresh).items()]
        self._upsert(connection, "writers", rows, ("id",))
        return len(fresh)

    def _lock_writers(self, connection: sa.Connection, batches: Sequence[Batch]) -> dict[str, int]:
        """Return how far each writer has come; nobody else writes its batches until this transaction ends."""
        writers, names = table("writers"), sorted({batch.writer for batch in batches})
        missing = [{"id": name, "batch": -1, "at": batches[0].at} for name in names]
        if missing:
            connection.execute(self._insert(writers).on_conflict_do_nothing(), missing)
        query = sa.select(writers.c.id, writers.c.batch).where(writers.c.id.in_(names)).order_by(writers.c.id)
        return {str(name): int(batch) for name, batch in connection.execute(query.with_for_update())}

    def _write_findings(self, connection: sa.Connection, batches: Iterable[Batch]) -> None:
        newest: dict[tuple[str, str, str], dict[str, Any]] = {}
        for batch in batches:
            self._add(connection, "findings", [vars(row) for row in batch.findings])
            for row in batch.findings:
                key = (row.host, row.area, row.check_name)
                newest[key] = {**dict(zip(("host", "area", "check_name"), key)), "at": row.at, "run_id": row.run_id}
        self._replace_older(connection, "newest_findings", newest, ("host", "area", "check_name"))

    def _write_states(self, connection: sa.Connection, batches: Iterable[Batch]) -> None:
        newest = {(row.host, row.name): dict(vars(row)) for batch in batches for row in batch.states}
        self._replace_older(connection, "states", newest, ("host", "name"))

    def _replace_older(
        self, connection: sa.Connection, name: str, rows: Mapping[Any, dict[str, Any]], key: Sequence[str]
    ) -> None:
        """Store rows where there is none, or an older one, or one of a clock that was ahead."""
        if not rows:
            return
        insert, at = self._insert(table(name)), table(name).c.at
        newer = sa.or_(insert.excluded.at >= at, at > time.time() + _FUTURE_SECONDS)
        values = {column.name: insert.excluded[column.name] for column in table(name).c if column.name not in key}
        statement = insert.on_conflict_do_update(index_elements=list(key), set_=values, where=newer)
        connection.execute(statement, [rows[one] for one in sorted(rows)])

    def _write_samples(self, connection: sa.Connection, batches: Iterable[Batch]) -> None:
        rows = [(row, batch.writer) for batch in batches for row in batch.samples]
        if not rows:
            return
        self._know_series(connection, [row for row, _writer in rows])
        values = {
            (self._series[row.metric, row.host, row.labels][0], row.at): (row.value, writer) for row, writer in rows
        }
        samples = table("samples")
        statement = self._insert(samples).on_conflict_do_nothing().returning(samples.c.series_id, samples.c.at)
        given = [
            {"series_id": number, "at": at, "value": value, "run_id": writer}
            for (number, at), (value, writer) in sorted(values.items())
        ]
        new = [(int(number), float(at)) for number, at in connection.execute(statement, given)]
        self._roll_up(connection, [(number, at, values[number, at][0]) for number, at in sorted(new)])

    def _know_series(self, connection: sa.Connection, rows: Sequence[SampleRow]) -> None:
        """Learn the numbers of all series, those that are new too, and their present units."""
        wanted = {(row.metric, row.host, row.labels): row.unit for row in rows}
        wanted = {key: unit for key, unit in wanted.items() if self._series.get(key, (0, ""))[1] != unit}
        if not wanted:
            return
        self._read_series(connection, sorted({host for _metric, host, _labels in wanted}))
        missing = [
            {"metric": key[0], "host": key[1], "labels": key[2], "unit": wanted[key]}
            for key in sorted(wanted)
            if self._series.get(key, (0, ""))[1] != wanted[key] or key not in self._series
        ]
        if missing:
            self._upsert(connection, "series", missing, ("metric", "host", "labels"))
            self._read_series(connection, sorted({row["host"] for row in missing}))

    def _read_series(self, connection: sa.Connection, hosts: Sequence[str]) -> None:
        series = table("series")
        for start in range(0, len(hosts), _CHUNK):
            query = sa.select(series).where(series.c.host.in_(hosts[start : start + _CHUNK]))
            for row in connection.execute(query):
                self._series[row.metric, row.host, row.labels] = (row.id, row.unit)

    def _roll_up(self, connection: sa.Connection, readings: Sequence[tuple[int, float, float]]) -> None:
        """Add readings, each for the first time, to what is kept of their days."""
        days: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for number, at, value in readings:
            days.setdefault((number, day_of(at)), []).append((at, value))
        if not days:
            return
        rows = []
        for (number, day), points in sorted(days.items()):
            values = [value for _at, value in points]
            last_at, last = max(points)
            mean = sum(values) / len(values)
            row = {"series_id": number, "day": day, "count": len(values), "minimum": min(values), "mean": mean}
            rows.append({**row, "maximum": max(values), "last": last, "last_at": last_at})
        connection.execute(self._days_upsert(), rows)

    def _days_upsert(self) -> Any:
        old, insert = table("sample_days").c, self._insert(table("sample_days"))
        new = insert.excluded
        total, later = old["count"] + new["count"], new.last_at >= old.last_at
        values = {
            "count": total,
            "minimum": sa.case((new.minimum < old.minimum, new.minimum), else_=old.minimum),
            "maximum": sa.case((new.maximum > old.maximum, new.maximum), else_=old.maximum),
            "mean": (old.mean * old["count"] + new.mean * new["count"]) / total,
            "last": sa.case((later, new.last), else_=old.last),
            "last_at": sa.case((later, new.last_at), else_=old.last_at),
        }
        return insert.on_conflict_do_update(index_elements=["series_id", "day"], set_=values)

    def _write_people(self, connection: sa.Connection, batches: Iterable[Batch]) -> None:
        for batch in batches:
            drills = [_without(row, "id") for row in batch.drills]
            self._upsert(connection, "drills", drills, ("name", "started_at"))
            self._upsert(connection, "incidents", [_without(row, "events") for row in batch.incidents], ("id",))
            self._add(connection, "incident_events", [_without(row, "id") for row in batch.events])

    def _add(self, connection: sa.Connection, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            connection.execute(sa.insert(table(name)), [dict(row) for row in rows])

    def _upsert(
        self, connection: sa.Connection, name: str, rows: Sequence[Mapping[str, Any]], key: Sequence[str]
    ) -> None:
        """Store rows; one of the same key is replaced."""
        if not rows:
            return
        insert = self._insert(table(name))
        values = {column: insert.excluded[column] for column in rows[0] if column not in key}
        statement = insert.on_conflict_do_update(index_elements=list(key), set_=values)
        connection.execute(statement, [dict(row) for row in rows])

    def mark_interrupted(self, now: float) -> int:
        """Say of each run of this machine that was never closed, and whose process is gone, that it was interrupted."""
        runs = table("runs")
        query = sa.select(runs).where(runs.c.status == RUNNING, runs.c.controller == controller())
        with journal_errors("write to", self.where), self._engine.begin() as connection:
            found = [Run(**row) for row in connection.execute(query).mappings()]
            dead = [run.id for run in found if judged(run, now).status == INTERRUPTED]
            if dead:
                change = sa.update(runs).where(runs.c.id.in_(dead), runs.c.status == RUNNING)
                connection.execute(change.values(status=INTERRUPTED))
        return len(dead)

    @property
    def engine(self) -> sa.Engine:
        """Return the engine, for retention."""
        return self._engine

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self._engine.dispose()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _inserter(engine: sa.Engine) -> Any:
    if engine.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert


def _worth_a_retry(error: Any) -> bool:
    """Tell whether the same may succeed at once: a deadlock was broken, or an idle connection had been lost."""
    return bool(error.connection_invalidated) or getattr(error.orig, "pgcode", None) in ("40P01", "40001")


def _newest(batches: Sequence[Batch]) -> dict[str, Batch]:
    """Return the last batch of each writer, by writer's name."""
    return {batch.writer: batch for batch in sorted(batches, key=lambda batch: (batch.writer, batch.number))}


def _without(row: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in vars(row).items() if key != name}
