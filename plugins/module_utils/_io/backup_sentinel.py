# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.
# ruff: noqa: S608  (put together from constants only)

"""The sentinel: a row written right before a copy, so that a restored database says by itself how old its data is."""

from __future__ import annotations

import uuid
from datetime import timezone

from .._core.backup_manifest import Sentinel
from .._core.errors import DatabaseFailed
from .postgres import Database

SCHEMA, TABLE = "oncall_runbooks", "backup_sentinel"
NAME = f"{SCHEMA}.{TABLE}"
_MAKE = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"CREATE TABLE IF NOT EXISTS {NAME} (id text PRIMARY KEY, written_at timestamptz NOT NULL)",
)


def write_sentinel(database: Database, keep: int) -> Sentinel:
    """Write a row, with its table when that is missing, and keep the newest ``keep`` rows.

    Raises:
        DatabaseFailed: the role may not, or the server cannot; then nothing was written.
    """
    if database.fetch("SELECT pg_catalog.to_regclass(%s) IS NULL AS missing", [NAME])[0]["missing"]:
        for statement in _MAKE:
            database.execute(statement)
    database.execute("BEGIN")
    try:
        row = database.fetch(
            f"INSERT INTO {NAME} VALUES (%s, pg_catalog.clock_timestamp()) RETURNING id, written_at",
            [str(uuid.uuid4())],
        )[0]
        oldest = f"(SELECT id FROM {NAME} ORDER BY written_at DESC, id LIMIT %s)"
        database.execute(f"DELETE FROM {NAME} WHERE id NOT IN {oldest}", [max(keep, 1)])
        database.execute("COMMIT")
    except DatabaseFailed:
        if not database.closed:
            database.execute("ROLLBACK")
        raise
    moment = row["written_at"].astimezone(timezone.utc)
    return Sentinel(row["id"], moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def has_sentinel(database: Database, sentinel: Sentinel) -> bool:
    """Tell whether a restored database has the row that was written right before its copy.

    Raises:
        DatabaseFailed: with a code from _core.sqlstate.
    """
    if database.fetch("SELECT pg_catalog.to_regclass(%s) IS NULL AS missing", [NAME])[0]["missing"]:
        return False
    return bool(database.fetch(f"SELECT 1 AS found FROM {NAME} WHERE id = %s", [sentinel.id]))
