# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Revision 0001: the first tables.

A released revision is never changed, so it holds the statements of its own time; a test compares what all revisions
leave with the tables of this code.
"""

from __future__ import annotations

revision = "0001"
down_revision = None

_TYPES = {
    "sqlite": {"identity": "INTEGER NOT NULL PRIMARY KEY", "double": "DOUBLE", "clustered": "WITHOUT ROWID"},
    "postgresql": {"identity": "BIGSERIAL PRIMARY KEY", "double": "DOUBLE PRECISION", "clustered": ""},
}
_STATEMENTS = """
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY, runbook TEXT NOT NULL, started_at {double} NOT NULL,
    ended_at {double}, status TEXT NOT NULL, check_mode BOOLEAN NOT NULL, operator TEXT NOT NULL,
    controller TEXT NOT NULL, process TEXT NOT NULL, inventory TEXT NOT NULL, limit_ TEXT NOT NULL, tags TEXT NOT NULL,
    hosts INTEGER NOT NULL, changed INTEGER NOT NULL, msg TEXT NOT NULL, version TEXT NOT NULL);
CREATE INDEX runs_by_runbook ON runs (runbook, started_at);
CREATE INDEX runs_by_time ON runs (started_at);
CREATE TABLE writers (
    id TEXT NOT NULL PRIMARY KEY, batch INTEGER NOT NULL, at {double} NOT NULL);
CREATE TABLE steps (
    id {identity}, run_id TEXT NOT NULL REFERENCES runs (id), at {double} NOT NULL, host TEXT NOT NULL,
    play TEXT NOT NULL, phase TEXT NOT NULL, step TEXT NOT NULL, task TEXT NOT NULL, action TEXT NOT NULL,
    target TEXT NOT NULL, status TEXT NOT NULL, changed BOOLEAN NOT NULL, duration_seconds {double} NOT NULL,
    detail TEXT NOT NULL, code TEXT NOT NULL);
CREATE INDEX steps_by_run ON steps (run_id);
CREATE INDEX steps_by_time ON steps (at);
CREATE TABLE findings (
    id {identity}, run_id TEXT NOT NULL REFERENCES runs (id), at {double} NOT NULL, host TEXT NOT NULL,
    area TEXT NOT NULL, check_name TEXT NOT NULL, status TEXT NOT NULL, value {double},
    value_text TEXT NOT NULL, unit TEXT NOT NULL, warning {double}, critical {double},
    msg TEXT NOT NULL);
CREATE INDEX findings_by_run ON findings (run_id, host);
CREATE INDEX findings_by_time ON findings (at);
CREATE TABLE newest_findings (
    host TEXT NOT NULL, area TEXT NOT NULL, check_name TEXT NOT NULL, at {double} NOT NULL,
    run_id TEXT NOT NULL, PRIMARY KEY (host, area, check_name)) {clustered};
CREATE TABLE states (
    host TEXT NOT NULL, name TEXT NOT NULL, at {double} NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (host, name));
CREATE TABLE series (
    id {identity}, metric TEXT NOT NULL, host TEXT NOT NULL, labels TEXT NOT NULL, unit TEXT NOT NULL,
    CONSTRAINT series_identity UNIQUE (metric, host, labels));
CREATE INDEX series_by_host ON series (host);
CREATE TABLE samples (
    series_id INTEGER NOT NULL REFERENCES series (id), at {double} NOT NULL, value {double} NOT NULL,
    run_id TEXT NOT NULL, PRIMARY KEY (series_id, at)) {clustered};
CREATE TABLE sample_days (
    series_id INTEGER NOT NULL REFERENCES series (id), day INTEGER NOT NULL, count INTEGER NOT NULL,
    minimum {double} NOT NULL, maximum {double} NOT NULL, mean {double} NOT NULL,
    last {double} NOT NULL, last_at {double} NOT NULL, PRIMARY KEY (series_id, day)) {clustered};
CREATE TABLE drills (
    id {identity}, run_id TEXT NOT NULL, name TEXT NOT NULL, started_at {double} NOT NULL,
    ended_at {double}, status TEXT NOT NULL, rto_seconds {double}, rto_target_seconds {double},
    rpo_seconds {double}, rpo_target_seconds {double}, detail TEXT NOT NULL,
    CONSTRAINT drill_identity UNIQUE (name, started_at));
CREATE TABLE incidents (
    id TEXT NOT NULL PRIMARY KEY, title TEXT NOT NULL, severity TEXT NOT NULL, status TEXT NOT NULL,
    detected_at {double}, acknowledged_at {double}, mitigated_at {double},
    resolved_at {double}, summary TEXT NOT NULL);
CREATE TABLE incident_events (
    id {identity}, incident_id TEXT NOT NULL, at {double} NOT NULL, kind TEXT NOT NULL, person TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE INDEX incident_events_by_incident ON incident_events (incident_id);
CREATE INDEX incident_events_by_time ON incident_events (at)
"""


def upgrade() -> None:
    """Make all tables."""
    from alembic import op

    for statement in _STATEMENTS.format(**_TYPES[op.get_bind().dialect.name]).split(";"):
        op.execute(statement)
