# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read what has to be known of a server before work starts: each reading by itself, so that one can fail alone."""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar

from .._core.errors import DatabaseFailed, OpsError
from .._core.postgres_preflight_facts import (
    MEMBERSHIPS,
    DatabaseEntry,
    Facts,
    Failure,
    Grants,
    Progressing,
    Server,
)
from .._core.sessions import Activity
from .postgres import LOCK_CLASS, Database, Target, connect
from .sessions import ServerSessions, as_text

Read = TypeVar("Read")

_SERVER = """
SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.pg_postmaster_start_time() AS started, pg_catalog.clock_timestamp() AS now,
       (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory') AS data_directory,
       pg_catalog.pg_last_xact_replay_timestamp() AS last_replayed
"""
# By itself: a provider may have taken the right away.
_IDENTIFIER = "SELECT system_identifier FROM pg_catalog.pg_control_system()"

_MEMBERSHIPS = """
SELECT rolname, pg_catalog.pg_has_role(oid, 'USAGE') AS has FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)
"""
_ROLE = """
SELECT rolname::pg_catalog.text AS role, rolsuper AS superuser FROM pg_catalog.pg_roles WHERE rolname = current_user
"""

# May the role maintain a table without owning it, by minimum server version.
_MAINTAINS = (
    (170000, "pg_catalog.has_table_privilege(c.oid, 'MAINTAIN')"),
    (0, "false"),
)
_TABLES = """
WITH tables AS (
  SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') OR {maintains} AS reindexable,
         pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS visible,
         pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
         (SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE') FROM pg_catalog.pg_database d
           WHERE d.datname = pg_catalog.current_database()) AS in_own_database
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
     AND n.nspname !~ '^pg_(toast|temp_)')
SELECT pg_catalog.count(*) AS tables,
       pg_catalog.count(*) FILTER (WHERE visible AND (reindexable OR in_own_database)) AS maintainable,
       pg_catalog.count(*) FILTER (WHERE visible AND reindexable) AS reindexable,
       pg_catalog.count(*) FILTER (WHERE visible AND readable) AS readable
  FROM tables
"""

_PROGRESS = """
SELECT p.pid, p.activity, p.phase,
       CASE WHEN p.datname = pg_catalog.current_database() THEN
         (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p.relid) END AS relation
  FROM (SELECT pid, datname, relid, 'VACUUM' AS activity, phase FROM pg_catalog.pg_stat_progress_vacuum
        UNION ALL SELECT pid, datname, relid, 'ANALYZE', phase FROM pg_catalog.pg_stat_progress_analyze
        UNION ALL SELECT pid, datname, relid, COALESCE(command, 'CREATE INDEX or REINDEX'), phase
                    FROM pg_catalog.pg_stat_progress_create_index
        UNION ALL SELECT pid, datname, relid, COALESCE(command, 'CLUSTER or VACUUM FULL'), phase
                    FROM pg_catalog.pg_stat_progress_cluster
        UNION ALL SELECT pid, NULL, NULL, 'base backup', phase FROM pg_catalog.pg_stat_progress_basebackup) p
 ORDER BY p.pid
"""
_LOCKED = """
SELECT DISTINCT pid FROM pg_catalog.pg_locks
 WHERE locktype = 'advisory' AND classid = %s::pg_catalog.oid AND objsubid = 2 AND granted
   AND pid <> pg_catalog.pg_backend_pid() ORDER BY pid
"""
_DATABASES = """
SELECT pg_catalog.namesend(d.datname) AS name, pg_catalog.namesend(pg_catalog.pg_get_userbyid(d.datdba)) AS owner,
       d.datallowconn AND pg_catalog.has_database_privilege(d.oid, 'CONNECT') AS connectable,
       CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
              OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
            THEN pg_catalog.pg_database_size(d.oid) END AS size_bytes
  FROM pg_catalog.pg_database d ORDER BY d.datname
"""


def read_facts(target: Target) -> Facts:
    """Read all that can be read in one session; what cannot has a failure instead. Never fails."""
    try:
        database = connect(target)
    except OpsError as error:
        return Facts(target.label(), unreachable=_failure(error))
    with database:
        return _Readings(database, target).facts()


class _Readings:
    """The readings of one session, and why some are missing."""

    def __init__(self, database: Database, target: Target) -> None:
        self._database = database
        self._target = target
        self._failures: dict[str, Failure] = {}

    def facts(self) -> Facts:
        """Take every reading."""
        readings: dict[str, Any] = {
            "server": self._try("server", self._server),
            "grants": self._try("grants", self._grants),
            "activity": self._try("activity", self._activity),
            "progress": self._try("progress", self._progress),
            "locked": self._try("locked", self._locked),
            "databases": self._try("databases", self._databases),
        }
        lost = next((failure for failure in self._failures.values() if failure.code == "server_gone"), None)
        return Facts(self._target.label(), unreachable=lost, failures=self._failures, **readings)

    def _try(self, name: str, read: Callable[[], Read]) -> Optional[Read]:
        try:
            return read()
        except DatabaseFailed as error:
            self._failures[name] = _failure(error)
            return None

    def _server(self) -> Server:
        row = self._database.fetch(_SERVER)[0]
        identifier = self._try("system_identifier", lambda: self._database.fetch(_IDENTIFIER)[0]["system_identifier"])
        return Server(
            version=row["version"].split(" ", 1)[0],
            version_number=self._database.server_version,
            in_recovery=row["in_recovery"],
            started=row["started"],
            now=row["now"],
            database=self._database.dbname,
            system_identifier="" if identifier is None else str(identifier),
            data_directory=row["data_directory"] or "",
            last_replayed=row["last_replayed"],
        )

    def _grants(self) -> Grants:
        role = self._database.fetch(_ROLE)[0]
        known = {row["rolname"]: row["has"] for row in self._database.fetch(_MEMBERSHIPS, [list(MEMBERSHIPS)])}
        maintains = next(text for minimum, text in _MAINTAINS if self._database.server_version >= minimum)
        tables = self._database.fetch(_TABLES.format(maintains=maintains))[0]
        return Grants(**role, memberships={name: known.get(name) for name in MEMBERSHIPS}, **tables)

    def _activity(self) -> Activity:
        return ServerSessions(self._database).read()

    def _progress(self) -> tuple[Progressing, ...]:
        rows = self._database.fetch(_PROGRESS)
        return tuple(
            Progressing(row["pid"], row["activity"], row["relation"] or "", row["phase"] or "") for row in rows
        )

    def _locked(self) -> tuple[int, ...]:
        return tuple(row["pid"] for row in self._database.fetch(_LOCKED, [LOCK_CLASS]))

    def _databases(self) -> tuple[DatabaseEntry, ...]:
        return tuple(
            DatabaseEntry(as_text(row["name"]), as_text(row["owner"]), row["size_bytes"], row["connectable"])
            for row in self._database.fetch(_DATABASES)
        )


def _failure(error: OpsError) -> Failure:
    return Failure(error.code, error.message, error.hint or "")
