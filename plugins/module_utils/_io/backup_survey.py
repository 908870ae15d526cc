# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Looks at the databases that are to be copied: how large they are, and whether they can be read at all."""

from __future__ import annotations

from datetime import datetime
from typing import Mapping, Optional, Sequence

from .._core.backup_plan import Candidate, estimate_dump
from .._core.databases import chosen_databases
from .._core.errors import OpsError
from .backup_facts import require_readable
from .maintenance import read_databases
from .postgres import Database, Target, connect, may_idle

# Large objects lie in the catalog; they are binary in a dump.
_SIZES = """
SELECT pg_catalog.pg_database_size(pg_catalog.current_database()) AS size_bytes,
       coalesce(sum(pg_catalog.pg_table_size(c.oid)), 0)::bigint
       + pg_catalog.pg_table_size('pg_catalog.pg_largeobject') AS table_bytes,
       coalesce(sum(pg_catalog.pg_table_size(nullif(c.reltoastrelid, 0))), 0)::bigint AS toast_bytes
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


class Survey:
    """One session per database, kept for the work itself; each may wait until its turn comes."""

    def __init__(self, target: Target, wanted: Sequence[str]) -> None:
        self._target = target
        self.first = connect(target)
        self._sessions: dict[str, Database] = {self.first.dbname: self.first}
        try:
            may_idle(self.first)
            rows = read_databases(self.first)
            self.names = chosen_databases(rows, wanted, self.first.dbname, "back up")
            self.there = [row["name"] for row in rows if row["usable"]]
        except BaseException:
            self.close()
            raise

    @property
    def in_recovery(self) -> bool:
        """Tell whether the server is a standby."""
        return bool(self.first.fetch("SELECT pg_catalog.pg_is_in_recovery() AS it_is")[0]["it_is"])

    def session(self, name: str) -> Database:
        """Return the session in a database, a new one when the old one is lost."""
        session = self._sessions.get(name)
        if session is None or session.closed:
            session = self._sessions[name] = connect(self._target, name)
            may_idle(session)
        return session

    def candidates(self, newest: Mapping[str, Optional[datetime]]) -> list[Candidate]:
        """Return every database that was asked for; one that cannot be looked at or read is blocked."""
        return [self._candidate(name, newest.get(name)) for name in self.names]

    def _candidate(self, name: str, newest: Optional[datetime]) -> Candidate:
        try:
            session = self.session(name)
            row = session.fetch(_SIZES)[0]
            session.execute("SELECT pg_catalog.set_config('row_security', 'off', false)")
            blocked: Optional[OpsError] = None
            try:
                require_readable(session)
            except OpsError as error:
                blocked = error
        except OpsError as error:
            return Candidate(name, newest=newest, blocked=error)
        estimate = estimate_dump(row["table_bytes"], row["toast_bytes"])
        return Candidate(name, row["size_bytes"], estimate, newest, blocked)

    def close(self) -> None:
        """Close every session."""
        for session in self._sessions.values():
            session.close()
