# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read what maintenance has to know, one connection per database."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Iterable, Mapping, Optional, Sequence

from .._core.errors import DatabaseFailed
from .._core.maintenance_facts import (
    MATVIEW,
    PARENT,
    TABLE,
    DatabaseAge,
    Holder,
    Running,
    ServerFacts,
    TableFacts,
)
from .._core.maintenance_outcome import Counters
from . import maintenance_queries as queries
from .clock import Clock
from .postgres import Database

_KINDS = {"r": TABLE, "m": MATVIEW, "p": PARENT}
_POLL_SECONDS = 0.2


class ServerReading:
    """What one look at the server says, apart from its tables."""

    def __init__(self, database: Database) -> None:
        row = database.fetch(queries.SERVER)[0]
        self.now = datetime.fromtimestamp(float(row.pop("now")), timezone.utc)
        self.cost_delay_ms = float(row.pop("cost_delay") or 0)
        self.cost_limit = int(row.pop("cost_limit") or 200)
        self.server = ServerFacts(**row)


def read_databases(database: Database) -> list[dict[str, Any]]:
    """Return every database: name, usable, connectable, may_connect, xid_age, multixact_age."""
    return database.fetch(queries.DATABASES)


def ages(rows: Iterable[Mapping[str, Any]]) -> tuple[DatabaseAge, ...]:
    """Return the ages of all databases, of templates too: they can stop the server as well."""
    return tuple(DatabaseAge(row["name"], row["xid_age"], row["multixact_age"]) for row in rows)


def read_holders(database: Database) -> tuple[Holder, ...]:
    """Return who holds back the xmin horizon."""
    rows = [row for row in database.fetch(queries.HOLDERS, []) if row["age"] is not None]
    checkpoint = _checkpoint(database) if any(row["since"] is None for row in rows) else None
    return tuple(Holder(**row, not_before=_not_before(row, checkpoint)) for row in rows)


def _checkpoint(database: Database) -> Optional[dict[str, Any]]:
    """Return when the last checkpoint was and its age in transactions; None where a role may not read that."""
    try:
        return database.fetch(queries.CHECKPOINT)[0]
    except DatabaseFailed as error:
        if error.code == "insufficient_privilege":
            return None
        raise


def _not_before(holder: Mapping[str, Any], checkpoint: Optional[Mapping[str, Any]]) -> Optional[datetime]:
    if holder["since"] is not None or checkpoint is None or holder["age"] > checkpoint["age"]:
        return None
    moment: datetime = checkpoint["at"] if holder["age"] else checkpoint["now"]
    return moment


def read_running(database: Database) -> tuple[Running, ...]:
    """Return each VACUUM and ANALYZE that runs; those of a dead run of ours are marked as orphans."""
    return tuple(_running(row) for row in database.fetch(queries.RUNNING) if row["relation_oid"])


def _running(row: Mapping[str, Any]) -> Running:
    application = row["application_name"] or ""
    orphan = application.startswith(queries.APPLICATION)
    kind = "an earlier run that died" if orphan else row["backend_type"] or "another session"
    return Running(row["pid"], row["database"], row["relation_oid"], f"{kind} (pid {row['pid']})", orphan)


def read_tables(
    database: Database, lowest_ages: tuple[int, int], everything: bool, also: Sequence[int] = ()
) -> tuple[tuple[TableFacts, ...], int]:
    """Return the tables that may need work, and how many tables there are in all.

    ``lowest_ages``: from which age in transactions and multixacts on a table is of interest. ``also``: oids to list
    in any case.
    """
    rows = database.fetch(queries.tables_query(database.major), [everything, *lowest_ages, list(also)])
    count = int(rows[0]["table_count"]) if rows else 0
    return tuple(_table(row, database.dbname) for row in rows), count


def _table(row: dict[str, Any], dbname: str) -> TableFacts:
    del row["table_count"]
    row["kind"] = _KINDS[row["kind"]]
    row["options"] = dict(option.split("=", 1) for option in row["options"])
    return TableFacts(database=dbname, **row)


def read_sizes(database: Database, oids: Sequence[int]) -> dict[int, int]:
    """Return bytes with indexes and TOAST by oid; a table that is locked or gone is missing."""
    if not oids:
        return {}
    try:
        return {row["oid"]: row["bytes"] for row in database.fetch(queries.SIZES, [list(oids)])}
    except DatabaseFailed as error:
        if error.code in ("lock_timeout", "object_missing"):  # somebody was faster: sizes are only for the report
            return {}
        raise


def read_counters(database: Database, oids: Sequence[int]) -> dict[int, Counters]:
    """Return by oid how often a table was vacuumed and analyzed by hand."""
    rows = database.fetch(queries.COUNTERS, [list(oids)]) if oids else []
    return {row["oid"]: Counters(row["vacuum_count"], row["analyze_count"]) for row in rows}


def wait_for_counters(
    database: Database, expected: Mapping[int, Counters], clock: Clock, seconds: float
) -> dict[int, Counters]:
    """Return the counters as soon as all of them reach what is expected, or as they are after ``seconds``.

    Sessions send them late, and up to 14 by way of a collector.
    """
    deadline = clock.monotonic() + seconds
    while True:
        found = read_counters(database, sorted(expected))
        if all(_reached(found.get(oid), wanted) for oid, wanted in expected.items()) or clock.monotonic() >= deadline:
            return found
        clock.sleep(_POLL_SECONDS)


def _reached(found: Optional[Counters], wanted: Counters) -> bool:
    if found is None:
        return True
    return found.vacuum_count >= wanted.vacuum_count and found.analyze_count >= wanted.analyze_count


def wait_for_end(database: Database, pids: Sequence[int], clock: Clock, seconds: float) -> None:
    """Wait until sessions have ended, at most ``seconds``: only then the server knows all that they changed."""
    deadline = clock.monotonic() + seconds
    while database.fetch(queries.ALIVE, [list(pids)])[0]["alive"] and clock.monotonic() < deadline:
        clock.sleep(_POLL_SECONDS / 10)


def read_lock_owners(database: Database, oid: int) -> str:
    """Return who holds a lock that stops maintenance of a table, for people."""
    rows = database.fetch(queries.LOCK_OWNERS, [oid])
    return ", ".join(f"pid {row['pid']} ({row['role']}, {row['application'] or 'no application name'})" for row in rows)
