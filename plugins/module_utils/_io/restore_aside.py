# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.
# ruff: noqa: S608  (names are constants, or quoted by the server)

"""Makes the database aside, looks at it and drops it again; and counts what the live one holds."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime
from typing import Optional

from .._core.backup_manifest import Manifest
from .._core.backup_proof import Restored, judge
from .._core.errors import DatabaseFailed, PreconditionFailed, VerificationFailed
from .._core.redact import printable
from .._core.restore_facts import DatabaseFacts
from .._core.restore_loss import LiveState, LiveTable
from .._core.restore_marker import LOADING, Marker, split_comment, with_marker
from .._core.result import CRITICAL, Finding
from . import backup_facts_queries as queries
from .backup_check import invalid_indexes, unvalidated_constraints
from .backup_facts import OnTable, read_state
from .backup_load import existing_roles
from .backup_sentinel import SCHEMA, TABLE, has_sentinel
from .clock import Clock
from .postgres import Database, Target, connect, may_idle
from .restore_server import quoted

_COMMENT = "SELECT pg_catalog.shobj_description(d.oid, 'pg_database') AS comment FROM pg_catalog.pg_database d " \
           "WHERE d.oid = %s::bigint::oid AND d.datname = %s"  # fmt: skip
_NEWEST = f"SELECT pg_catalog.max(written_at) AS newest FROM {SCHEMA}.{TABLE}"
_HAS_SENTINELS = "SELECT pg_catalog.to_regclass(%s) IS NOT NULL AS there"
_SHARED = "SELECT relname::text AS name FROM pg_catalog.pg_class WHERE relisshared"
_OID = "SELECT oid::bigint AS oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"


def create(database: Database, statement: str, name: str, marker: Marker) -> None:
    """Make the empty database and say at once whose it is."""
    database.execute("SELECT pg_catalog.set_config('statement_timeout', '0', false)")
    database.execute(statement)
    mark(database, name, marker)


def mark(database: Database, name: str, marker: Marker) -> None:
    """Write the marker into the comment of a database that is ours."""
    database.execute(quoted(database, "COMMENT ON DATABASE %I IS %L", name, with_marker(None, marker) or ""))


def drop(database: Database, facts: DatabaseFacts) -> None:
    """Drop a database, once it is known to be the one that was decided about; one still loading with its sessions.

    Raises:
        PreconditionFailed: it is another one by now (``changed_meanwhile``).
        DatabaseFailed: somebody is in it (``object_in_use``), or the server refused.
    """
    rows = database.fetch(_COMMENT, [facts.oid, facts.name])
    marker = split_comment(rows[0]["comment"])[1] if rows else None
    if marker is None or marker != facts.marker:
        raise PreconditionFailed(
            f"drop {printable(facts.name)}: it is not what it was when it was looked at; it stays",
            code="changed_meanwhile",
            hint="look who else works here, then run again",
        )
    drop_by_name(database, facts.name, force=marker.role == LOADING)


def drop_by_name(database: Database, name: str, force: bool) -> None:
    """Drop a database of this very run."""
    database.execute(quoted(database, "DROP DATABASE %I WITH (FORCE)" if force else "DROP DATABASE %I", name))


def analyze(target: Target, name: str, seconds: float) -> tuple[str, ...]:
    """Give every table planner statistics and return what the server says of those that it passed over.

    The catalogs that all databases share are only for superusers; the server names them without a schema.
    """
    with connect(replace(target, statement_timeout=seconds), name) as database:
        notices = database.execute("ANALYZE")
        shared = [f'"{row["name"]}"' for row in database.fetch(_SHARED)]
    return tuple(one for one in notices if "skipping" in one and not any(name in one for name in shared))


def verify(
    target: Target, name: str, manifest: Manifest, jobs: int, seconds: float, now: datetime, on_table: OnTable
) -> tuple[Finding, ...]:
    """Return one finding for each thing that must be as it was copied.

    Raises:
        VerificationFailed: something is not.
        DatabaseFailed: something could not be read.
    """
    with contextlib.ExitStack() as opened:
        patient = replace(target, statement_timeout=seconds)
        sessions = [opened.enter_context(connect(patient, name)) for _number in range(max(jobs, 1))]
        for session in sessions:
            may_idle(session)
        first = sessions[0]
        state = read_state(first, like=manifest, helpers=sessions[1:], on_table=on_table)
        restored = Restored(
            state=state,
            roles=existing_roles(first),
            load_errors=(),
            globals_errors=(),
            uncreatable={},
            locale_note="",
            unvalidated=unvalidated_constraints(first),
            invalid_indexes=invalid_indexes(first),
            sentinel_found=None if manifest.sentinel is None else has_sentinel(first, manifest.sentinel),
            amcheck=None,
        )
    found = tuple(finding for finding in judge(manifest, restored, now) if finding.check != "data_age")
    bad = [finding for finding in found if finding.status == CRITICAL]
    if bad:
        raise VerificationFailed(
            f"verify {printable(name)}: {'; '.join(finding.msg for finding in bad)}",
            hint="the copy does not restore to what was copied: choose another one",
            details={"findings": [finding.msg for finding in bad]},
        )
    return found


def count_live(target: Target, name: str, seconds: float, clock: Clock) -> LiveState:
    """Count the rows of every table, the smallest first, for as long as it is given; never fails."""
    deadline = clock.monotonic() + seconds
    try:
        with connect(target, name) as database:
            rows = sorted(database.fetch(queries.TABLES), key=lambda row: row["size_bytes"])
            tables = [LiveTable(row["schema"], row["name"], _count(database, row, deadline, clock)) for row in rows]
            there = database.fetch(_HAS_SENTINELS, [f"{SCHEMA}.{TABLE}"])[0]["there"]
            newest = _newest(database) if there else None
    except DatabaseFailed as error:
        return LiveState(unreachable=error.message)
    return LiveState(tuple(tables), newest)


def _newest(database: Database) -> Optional[datetime]:
    with contextlib.suppress(DatabaseFailed):
        moment: Optional[datetime] = database.fetch(_NEWEST)[0]["newest"]
        return moment
    return None


def _count(database: Database, row: dict[str, object], deadline: float, clock: Clock) -> Optional[int]:
    left = deadline - clock.monotonic()
    if left <= 0:
        return None
    database.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", [f"{int(left * 1000) + 1}ms"])
    source = f"ONLY {row['sql_name']} AS t {row['condition']}"
    try:
        found = database.fetch(f"SELECT pg_catalog.count(*) AS rows FROM {source}")
    except DatabaseFailed:
        if database.closed:
            raise
        return None
    return int(found[0]["rows"])


def look_at_live(target: Target, name: str, oid: int, manifest: Optional[Manifest]) -> None:
    """Make sure that the target's name leads to the database that was swapped in, and that it answers.

    Raises:
        VerificationFailed: it leads elsewhere, or the sentinel row is not there.
        DatabaseFailed: it lets nobody in.
    """
    with connect(target, name) as database:
        sentinel = None if manifest is None else manifest.sentinel
        right = database.fetch(_OID)[0]["oid"] == oid
        if not right or (sentinel is not None and not has_sentinel(database, sentinel)):
            raise VerificationFailed(
                f"it is not the restored database that answers to {printable(name)}",
                hint="look at pg_database; state: undone swaps back",
            )
