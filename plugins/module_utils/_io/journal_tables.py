# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The tables of the journal. All times are UTC epoch seconds in columns that end in ``at``."""

from __future__ import annotations

import functools
from typing import Any

try:
    import sqlalchemy as sa
except ImportError:  # hosts need none: the journal is kept on the controller
    sa = None  # type: ignore[assignment]

__all__ = ["REVISION", "metadata", "sa", "table"]
REVISION = "0001"


@functools.lru_cache(maxsize=1)
def metadata() -> sa.MetaData:
    """Return the tables as the newest revision leaves them."""
    tables = sa.MetaData()
    _runs(tables)
    _readings(tables)
    _samples(tables)
    _people(tables)
    return tables


def table(name: str) -> sa.Table:
    """Return one table."""
    return metadata().tables[name]


def _runs(tables: sa.MetaData) -> None:
    sa.Table(
        "runs",
        tables,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("runbook", sa.Text, nullable=False),
        _at("started_at"),
        sa.Column("ended_at", sa.Double),
        _text("status"),
        sa.Column("check_mode", sa.Boolean, nullable=False),
        *(_text(name) for name in ("operator", "controller", "process", "inventory", "limit_", "tags")),
        sa.Column("hosts", sa.Integer, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
        _text("msg"),
        _text("version"),
        sa.Index("runs_by_runbook", "runbook", "started_at"),
        sa.Index("runs_by_time", "started_at"),
    )
    # How far each writer has come: what is offered a second time is recognised by its number.
    sa.Table(
        "writers",
        tables,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("batch", sa.Integer, nullable=False),
        _at("at"),
    )
    sa.Table(
        "steps",
        tables,
        _id(),
        _run_id(),
        _at("at"),
        *(_text(name) for name in ("host", "play", "phase", "step", "task", "action", "target", "status")),
        sa.Column("changed", sa.Boolean, nullable=False),
        sa.Column("duration_seconds", sa.Double, nullable=False),
        _text("detail"),
        _text("code"),
        sa.Index("steps_by_run", "run_id"),
        sa.Index("steps_by_time", "at"),
    )


def _readings(tables: sa.MetaData) -> None:
    sa.Table(
        "findings",
        tables,
        _id(),
        _run_id(),
        _at("at"),
        *(_text(name) for name in ("host", "area", "check_name", "status")),
        sa.Column("value", sa.Double),
        _text("value_text"),
        _text("unit"),
        sa.Column("warning", sa.Double),
        sa.Column("critical", sa.Double),
        _text("msg"),
        sa.Index("findings_by_run", "run_id", "host"),
        sa.Index("findings_by_time", "at"),
    )
    # Where the newest readings are: nobody has to look through all findings for them.
    sa.Table(
        "newest_findings",
        tables,
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("host", "area", "check_name")),
        _at("at"),
        _text("run_id"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "states",
        tables,
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        _at("at"),
        _text("value"),
    )


def _samples(tables: sa.MetaData) -> None:
    sa.Table(
        "series",
        tables,
        _id(),
        *(_text(name) for name in ("metric", "host", "labels", "unit")),
        sa.UniqueConstraint("metric", "host", "labels", name="series_identity"),
        sa.Index("series_by_host", "host"),
    )
    sa.Table(
        "samples",
        tables,
        sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, primary_key=True),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "sample_days",
        tables,
        sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("minimum", "maximum", "mean", "last", "last_at")),
        sqlite_with_rowid=False,
    )


def _people(tables: sa.MetaData) -> None:
    sa.Table(
        "drills",
        tables,
        _id(),
        _text("run_id"),
        _text("name"),
        _at("started_at"),
        sa.Column("ended_at", sa.Double),
        _text("status"),
        *(
            sa.Column(name, sa.Double)
            for name in ("rto_seconds", "rto_target_seconds", "rpo_seconds", "rpo_target_seconds")
        ),
        _text("detail"),
        sa.UniqueConstraint("name", "started_at", name="drill_identity"),
    )
    sa.Table(
        "incidents",
        tables,
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("title", "severity", "status")),
        *(sa.Column(f"{name}_at", sa.Double) for name in ("detected", "acknowledged", "mitigated", "resolved")),
        _text("summary"),
    )
    sa.Table(
        "incident_events",
        tables,
        _id(),
        sa.Column("incident_id", sa.Text, nullable=False),
        _at("at"),
        *(_text(name) for name in ("kind", "person", "text")),
        sa.Index("incident_events_by_incident", "incident_id"),
        sa.Index("incident_events_by_time", "at"),
    )


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def _run_id() -> sa.Column[Any]:
    return sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id"), nullable=False)


def _at(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=False)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)
