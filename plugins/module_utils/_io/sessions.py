# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the sessions of a server, and signal one of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Mapping, Optional, Protocol

from .._core.sessions import Activity, Ages, Rights, Session
from .._core.sessions_policy import Rule
from .._core.sessions_statements import Statement, find_statement, holds_statement, signal_statement
from .postgres import Database

# Since when a session waits for its lock. 13 does not keep it: the start of the statement that waits can be earlier.
_WAITS_SINCE = (
    (140000, "l.waitstart"),
    (0, "(SELECT s.query_start FROM pg_catalog.pg_stat_activity s WHERE s.pid = l.pid)"),
)

# One statement, so that every age is on the server's own clock and all rows are of one moment. Text is fetched as
# bytes (textsend): statements and names of a database with another encoding are not valid in ours.
_SESSIONS = """
WITH clock AS MATERIALIZED (SELECT pg_catalog.clock_timestamp() AS now),
     me AS MATERIALIZED (
       SELECT rolsuper AS superuser, pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS signal
         FROM pg_catalog.pg_roles WHERE rolname = current_user),
     waits AS MATERIALIZED (
       SELECT l.pid, pg_catalog.pg_blocking_pids(l.pid) AS blockers, {waits_since} AS since
         FROM pg_catalog.pg_locks l WHERE NOT l.granted)
SELECT a.pid, a.backend_type AS kind, a.backend_start AS started, a.leader_pid AS leader,
       a.usesysid::pg_catalog.int8 AS role_oid, pg_catalog.namesend(a.usename) AS role,
       COALESCE(r.rolsuper, true) AS superuser, pg_catalog.namesend(a.datname) AS database,
       pg_catalog.textsend(a.application_name) AS application, pg_catalog.host(a.client_addr) AS client,
       a.state, a.state_change, a.query_start, a.xact_start,
       pg_catalog.textsend(CASE WHEN a.backend_type IS NOT NULL THEN a.query END) AS query,
       CASE WHEN me.superuser THEN true
            WHEN r.oid IS NULL OR r.rolsuper THEN false
            ELSE me.signal OR pg_catalog.pg_has_role(r.oid, 'USAGE') END AS may_signal,
       a.pid = pg_catalog.pg_backend_pid() AS own,
       (SELECT pg_catalog.namesend(s.slot_name) FROM pg_catalog.pg_replication_slots s
         WHERE s.active_pid = a.pid LIMIT 1) AS slot,
       a.query ~* '\\mpg_(start_backup|backup_start)\\M' AS holds_backup,
       w.blockers,
       EXTRACT(epoch FROM c.now - w.since)::pg_catalog.float8 AS waiting,
       EXTRACT(epoch FROM c.now - a.backend_start)::pg_catalog.float8 AS connected_age,
       EXTRACT(epoch FROM c.now - a.state_change)::pg_catalog.float8 AS state_age,
       EXTRACT(epoch FROM c.now - a.query_start)::pg_catalog.float8 AS query_age,
       EXTRACT(epoch FROM c.now - a.xact_start)::pg_catalog.float8 AS transaction_age
  FROM pg_catalog.pg_stat_activity a
       CROSS JOIN clock c CROSS JOIN me
       LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
       LEFT JOIN waits w ON w.pid = a.pid
 ORDER BY a.pid
"""

_SERVER = """
SELECT current_user::pg_catalog.text AS role, r.rolsuper AS superuser,
       pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS signal_backend,
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS read_all_stats,
       pg_catalog.current_setting('max_connections')::pg_catalog.int4 AS max_connections,
       pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
         + COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int4 AS reserved
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


class SessionPort(Protocol):
    """What is asked of a server about its sessions; tests give their own."""

    def read(self) -> Activity:
        """Return everything at one moment."""

    def signal(self, how: str, session: Session, rule: Rule) -> bool:
        """Cancel or terminate a session that is still what it was; False when it is not, and nothing was signalled."""

    def holds(self, session: Session, rule: Rule) -> bool:
        """Tell whether the rule's condition still holds for the very same idle time, statement or transaction."""

    def state(self, session: Session) -> Optional[str]:
        """Return the session's state now, None when it is gone; a reused pid is another session."""


class ServerSessions:
    """The sessions of a server.

    Each method raises DatabaseFailed with a code from _core.sqlstate.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Activity:
        """Return everything at one moment (see SessionPort)."""
        version = self._database.server_version
        since = next(text for minimum, text in _WAITS_SINCE if version >= minimum)
        server = self._database.fetch(_SERVER)[0]
        rights = Rights(server["role"], server["superuser"], server["signal_backend"], server["read_all_stats"])
        rows = self._database.fetch(_SESSIONS.format(waits_since=since))
        return Activity(tuple(_session(row) for row in rows), rights, server["max_connections"], server["reserved"])

    def signal(self, how: str, session: Session, rule: Rule) -> bool:
        """Cancel or terminate a session that is still what it was (see SessionPort)."""
        return any(row["signalled"] for row in self._fetch(signal_statement(how, session, rule)))

    def holds(self, session: Session, rule: Rule) -> bool:
        """Tell whether the rule's condition still holds (see SessionPort)."""
        return bool(self._fetch(holds_statement(session, rule)))

    def state(self, session: Session) -> Optional[str]:
        """Return the session's state now, None when it is gone (see SessionPort)."""
        rows = self._fetch(find_statement(session))
        return str(rows[0]["state"]) if rows else None

    def _fetch(self, statement: Statement) -> list[dict[str, Any]]:
        return self._database.fetch(statement.sql, statement.parameters)


def _session(row: Mapping[str, Any]) -> Session:
    return Session(
        pid=row["pid"],
        kind=row["kind"],
        started=_utc(row["started"]),
        role_oid=row["role_oid"] or 0,
        role=as_text(row["role"]),
        superuser=row["superuser"],
        database=as_text(row["database"]),
        application=as_text(row["application"]),
        client=row["client"],
        state=row["state"] or "",
        state_change=_utc(row["state_change"]),
        query_start=_utc(row["query_start"]),
        xact_start=_utc(row["xact_start"]),
        ages=Ages(
            _age(row["connected_age"]),
            _age(row["state_age"]),
            _age(row["query_age"]),
            _age(row["transaction_age"]),
        ),
        query=as_text(row["query"]),
        may_signal=row["may_signal"],
        own=row["own"],
        slot=as_text(row["slot"]),
        holds_backup=bool(row["holds_backup"]),
        leader=row["leader"],
        blockers=tuple(row["blockers"] or ()),
        waiting=_age(row["waiting"]) if row["blockers"] else None,
    )


def as_text(sent: Optional[memoryview]) -> str:
    """Return what textsend() or namesend() gave, whatever encoding it was in; what is not UTF-8 is shown as escapes."""
    return "" if sent is None else bytes(sent).decode("utf-8", "backslashreplace")


def _utc(moment: Optional[datetime]) -> Optional[datetime]:
    return None if moment is None else moment.astimezone(timezone.utc)


def _age(seconds: Optional[float]) -> Optional[float]:
    """Return an age that is never negative: the server's clock may have been set back."""
    return None if seconds is None else max(0.0, float(seconds))
