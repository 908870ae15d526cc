# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The session of a run that does not rebuild: it holds the lock, keeps the records and watches the ones that do."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import Any, Iterator, Optional, Sequence

from .._core.reindex_facts import IndexFacts, Transaction
from .._core.reindex_record import Record, record_text
from .._core.reindex_watch import Sighting
from . import reindex_queries as queries
from .postgres import Database, Target, advisory_lock, connect, may_idle
from .reindex import read_transactions
from .upkeep_lock import LOCK


@dataclass(frozen=True)
class State:
    """What stands in the catalog for an index right now."""

    oid: int
    name: str
    sql_name: str
    table_oid: int
    usable: bool
    live: bool
    bytes: int


class Control:
    """One database's session, shared by all jobs that work in the database."""

    def __init__(self, database: Database, database_oid: int) -> None:
        self.database_oid = database_oid
        self._database = database
        self._mutex = threading.RLock()

    # --- looking --------------------------------------------------------------------------------------------------

    def sight(self, pid: int) -> Sighting:
        """Return one look at a session that works."""
        with self._mutex:
            row = self._database.fetch(queries.SIGHTING, [pid, pid, pid])[0]
            blockers = self._database.fetch(queries.BLOCKERS, [pid])[0]["pids"] if row["waits_for"] else ()
        return Sighting(**{**row, "locked": frozenset(row["locked"]), "blockers": tuple(blockers)})

    def states(self, oids: Sequence[int], index: IndexFacts) -> tuple[State, ...]:
        """Return what stands for the given oids and under the index's name."""
        with self._mutex:
            rows = self._database.fetch(queries.STATE, [list(oids), index.name, index.schema])
        return tuple(State(**row) for row in rows)

    def indexes_of(self, table_oid: int) -> frozenset[int]:
        """Return the oids of all indexes of a table."""
        with self._mutex:
            return frozenset(row["oid"] for row in self._database.fetch(queries.INDEXES_OF, [table_oid]))

    def transactions(self) -> tuple[Transaction, ...]:
        """Return the open and prepared transactions of the database."""
        with self._mutex:
            return read_transactions(self._database)

    # --- records --------------------------------------------------------------------------------------------------

    def write(self, record: Record) -> Any:
        """Write a record down and return it with the large object that carries it."""
        with self._transaction():
            oid = self._database.fetch("SELECT pg_catalog.lo_create(0) AS oid")[0]["oid"]
            self._comment(oid, record)
        return replace(record, record_oid=oid)

    def rewrite(self, record: Record) -> None:
        """Write a record anew."""
        with self._mutex:
            self._comment(record.record_oid, record)

    def erase(self, record_oid: int) -> None:
        """Remove a record."""
        with self._mutex:
            self._database.execute("SELECT pg_catalog.lo_unlink(%s::oid)", [record_oid])

    def _comment(self, oid: int, record: Record) -> None:
        self._database.execute("COMMENT ON LARGE OBJECT %s IS %s", [oid, record_text(record)])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mutex:
            self._database.execute("BEGIN")
            try:
                yield
            except BaseException:
                if not self._database.closed:
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


@contextlib.contextmanager
def control(target: Target, dbname: str, database_oid: int) -> Iterator[Control]:
    """Open the session and hold the collection's lock on rebuilding in the database.

    Raises:
        LockBusy: another run is at work there.
    """
    with connect(target, dbname) as database:
        may_idle(database)
        with advisory_lock(database, LOCK):
            yield Control(database, database_oid)


def state_of(states: Sequence[State], oid: int) -> Optional[State]:
    """Return the state of one oid, or None when it is gone."""
    return next((state for state in states if state.oid == oid), None)
