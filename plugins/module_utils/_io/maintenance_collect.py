# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One session per database, kept while work is planned there, and all facts that it can tell."""

from __future__ import annotations

import contextlib
from typing import Mapping, Optional, Sequence

from .._core.databases import chosen_databases
from .._core.errors import DatabaseFailed
from .._core.maintenance_facts import Facts, TableFacts
from .._core.maintenance_policy import Policy
from . import maintenance as reading
from .postgres import Database, Target, connect, may_idle, require_unlocked


class Collector:
    """Reads the databases that were asked for: names or patterns, by default the one that is logged in to."""

    def __init__(self, target: Target, wanted: Sequence[str]) -> None:
        self._target = target
        self._wanted = wanted
        self._sessions: dict[str, Database] = {}
        first = connect(target)
        self._home = first.dbname
        self._sessions[self._home] = first
        may_idle(first)
        self.about = reading.ServerReading(first)

    def collect(self, policy: Policy, lock: str, also: Optional[Mapping[str, Sequence[int]]] = None) -> Facts:
        """Return the facts; ``also`` names oids by database that are listed whatever their state.

        Raises:
            DatabaseFailed: the first connection failed, or a database does not exist (``database_missing``).
            LockBusy: another run holds ``lock`` in one of the databases.
        """
        first = self.session(self._home)
        server, rows = self.about.server, reading.read_databases(first)
        everything = policy.all_tables or policy.has_patterns
        tables: list[TableFacts] = []
        unreachable: list[tuple[str, str]] = []
        table_count = 0
        for name in chosen_databases(rows, self._wanted, self._home, "maintain"):
            try:
                session = self.session(name)
            except DatabaseFailed as error:
                if len(self._wanted) <= 1 and name in self._wanted:
                    raise
                unreachable.append((name, error.message))
                continue
            if also is None:
                require_unlocked(session, lock)
            oids = (also or {}).get(name, ())
            found, count = reading.read_tables(session, policy.lowest_ages(server), everything, oids)
            tables += found if not table_count else [table for table in found if not table.shared]
            table_count += count
        chosen = {table.database for table in tables}
        return Facts(
            server=server,
            now=reading.ServerReading(first).now,
            tables=tuple(tables),
            holders=reading.read_holders(first),
            running=tuple(running for running in reading.read_running(first) if running.database in chosen),
            ages=reading.ages(rows),
            table_count=table_count,
            unreachable=tuple(unreachable),
        )

    def session(self, name: str) -> Database:
        """Return the session in a database, a new one when the old one is lost."""
        session = self._sessions.get(name)
        if session is None or session.closed:
            session = self._sessions[name] = connect(self._target, name)
            may_idle(session)
        return session

    def keep_only(self, names: set[str]) -> None:
        """Give back the sessions of databases where nothing is to be done."""
        for name in [name for name in self._sessions if name not in names and name != self._home]:
            self._sessions.pop(name).close()

    def close(self) -> None:
        """Close everything."""
        for session in self._sessions.values():
            with contextlib.suppress(DatabaseFailed):
                session.close()
