# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Swap databases by rename: one transaction, so that the whole of it happened or nothing did, also after a crash.

Renaming locks the database against new sessions (ACCESS EXCLUSIVE on the database itself; every start of a session
locks it too) and then waits up to five seconds for the others to leave, while they are ended here. Who connects
meanwhile waits, and is told that the name was just renamed; the next attempt gets the new database. So nothing has to
be switched off before and on again after, and a run that dies leaves nobody locked out. (dbcommands.c,
RenameDatabase; postinit.c, InitPostgres)
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Optional

from .._core.errors import DatabaseFailed, OpsError, PreconditionFailed, TimedOut
from .._core.redact import printable
from .._core.restore import Exchange
from .._core.restore_marker import split_comment, with_marker
from .._core.units import count_of
from .clock import Clock, wait_until
from .database_belongings import give, read_belongings
from .postgres import Database, Target, connect
from .restore_server import quoted, read_sessions

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.02
_END_SECONDS = 10.0
_BUSY = ("object_in_use", "lock_timeout", "deadlock")
_LOOK = "SELECT d.oid::bigint AS oid, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment " \
        "FROM pg_catalog.pg_database d WHERE d.datname = %s"  # fmt: skip
_ALIVE = "SELECT 1 AS alive FROM pg_catalog.pg_stat_activity WHERE pid = %s"
_STRANGERS = """
SELECT a.pid, a.backend_start, a.datid::bigint AS datid FROM pg_catalog.pg_stat_activity a
 WHERE a.datid = ANY (%s::bigint[]::oid[]) AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
   AND a.pid <> pg_catalog.pg_backend_pid()
"""
# The pid alone may be somebody else's by now.
_END = """
SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
 WHERE a.pid = %s AND a.datid = %s::bigint::oid AND a.backend_start IS NOT DISTINCT FROM %s
"""


@dataclass
class Swapped:
    """What a swap did. ``outage_seconds``: from the first moment in which nobody could connect to the last one.

    ``not_carried``: settings and rights that could not be given to the new database; no values, they may be secrets.
    """

    outage_seconds: float = 0.0
    ended: int = 0
    oid: int = 0
    not_carried: tuple[str, ...] = ()


class Swapper:
    """Swaps databases; ``database`` is a session in the maintenance database, which stays as it is."""

    def __init__(self, database: Database, target: Target, clock: Clock) -> None:
        self._database = database
        self._dbname = database.dbname
        self._target = target
        self._clock = clock

    def swap(self, exchange: Exchange) -> Swapped:
        """Carry out a swap; when it cannot be done, everything is as it was.

        Raises:
            PreconditionFailed: sessions do not leave (``target_in_use``), or the databases are not those that were
                looked at (``changed_meanwhile``).
            DatabaseFailed: the server refused, or was lost.
        """
        ids = self._look(exchange)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._attempt(exchange, ids)
            except DatabaseFailed as error:
                if error.code not in _BUSY or attempt == _ATTEMPTS or error.details.get("unending"):
                    raise self._explained(error, exchange) from error
        raise AssertionError("the last attempt returns or raises")

    def _look(self, exchange: Exchange) -> list[int]:
        """Return the oids of both databases, once they are known to be those that were decided about."""
        coming = self._database.fetch(_LOOK, [exchange.coming])
        live = self._database.fetch(_LOOK, [exchange.target])
        expected = [] if exchange.live is None else [exchange.live.oid]
        marker = split_comment(coming[0]["comment"])[1] if coming else None
        if [row["oid"] for row in live] != expected or marker is None or marker.target != exchange.target:
            raise PreconditionFailed(
                f"swap {printable(exchange.target)}: the databases are not those that were looked at",
                code="changed_meanwhile",
                hint="look who else renames or drops databases here, then run again",
            )
        return [coming[0]["oid"], *expected]

    def _attempt(self, exchange: Exchange, ids: list[int]) -> Swapped:
        database, clock = self._database, self._clock
        swapped = Swapped(oid=ids[0])
        began = clock.monotonic()
        with _Bouncer(self._target, self._dbname, ids, clock) as bouncer:
            try:
                database.execute("BEGIN")
                if exchange.live is not None:
                    self._rename(exchange.target, exchange.live_name)
                self._rename(exchange.coming, exchange.target)
                swapped.not_carried = self._dress(exchange, ids)
                self._commit(exchange, ids)
            except DatabaseFailed as error:
                error.details = {**error.details, "unending": bouncer.refused}
                if not database.closed:
                    database.execute("ROLLBACK")
                raise
        swapped.outage_seconds = round(clock.monotonic() - began, 3)
        swapped.ended = len(bouncer.ended)
        return swapped

    def _commit(self, exchange: Exchange, ids: list[int]) -> None:
        """End the transaction; when the answer is lost, look whether it was carried out and say so."""
        try:
            self._database.execute("COMMIT")
        except DatabaseFailed as error:
            if self._database.closed:
                error.message = f"{error.message}, and {self._what_became(exchange, ids)}"
            raise

    def _what_became(self, exchange: Exchange, ids: list[int]) -> str:
        try:
            with connect(self._target, self._dbname) as fresh:
                lost = [self._database.reported_pid]
                wait_until(lambda: not fresh.fetch(_ALIVE, lost), "the lost session to end", _END_SECONDS, self._clock)
                rows = fresh.fetch(_LOOK, [exchange.target])
        except (DatabaseFailed, TimedOut):
            return "whether they were swapped is not known: both are whole, look at their comments"
        if rows and rows[0]["oid"] == ids[0]:
            return "they had been swapped already: everything was done"
        return "they were not swapped: everything is as it was"

    def _rename(self, name: str, new_name: str) -> None:
        self._database.execute(quoted(self._database, "ALTER DATABASE %I RENAME TO %I", name, new_name))

    def _dress(self, exchange: Exchange, ids: list[int]) -> tuple[str, ...]:
        """Give the new database what belonged to the live or the copied one, and say in both comments what happened."""
        database, given = self._database, exchange.belongings
        not_carried: tuple[str, ...] = ()
        comment = self._own_comment(ids[0])
        if exchange.live is not None:
            former = self._own_comment(ids[1])
            self._comment(exchange.live_name, with_marker(former, exchange.live_marker))
            database.execute(quoted(database, "ALTER DATABASE %I ALLOW_CONNECTIONS false", exchange.live_name))
            given = read_belongings(database, ids[1]) if exchange.carry_over else None
        if given is not None:
            comment, not_carried = given.comment, give(database, exchange.target, given)
        self._comment(exchange.target, with_marker(comment, exchange.coming_marker))
        database.execute(quoted(database, "ALTER DATABASE %I ALLOW_CONNECTIONS true", exchange.target))
        return not_carried

    def _own_comment(self, oid: int) -> Optional[str]:
        query = "SELECT pg_catalog.shobj_description(%s::bigint::oid, 'pg_database') AS comment"
        return split_comment(self._database.fetch(query, [oid])[0]["comment"])[0]

    def _comment(self, name: str, text: Optional[str]) -> None:
        form = "COMMENT ON DATABASE %I IS NULL" if text is None else "COMMENT ON DATABASE %I IS %L"
        self._database.execute(quoted(self._database, form, name, *([] if text is None else [text])))

    def _explained(self, error: DatabaseFailed, exchange: Exchange) -> OpsError:
        if error.code != "object_in_use" or self._database.closed:
            error.message = f"swap {printable(exchange.target)}: {error.message}"
            return error
        names = [exchange.target] if exchange.live is not None else []
        found = [one for name in (*names, exchange.coming) for one in read_sessions(self._database, name)]
        shown = ", ".join(session.label() for session in found[:10])
        return PreconditionFailed(
            f"swap {printable(exchange.target)}: {count_of(len(found), 'session')} could not be ended: "
            f"{printable(shown, 500) or 'they have just left'}; everything is as it was",
            code="target_in_use",
            hint="end them as a superuser (or with pg_signal_backend), then run again",
        )


@dataclass
class _Bouncer:
    """Ends the sessions in some databases for as long as it is open, in a thread with a connection of its own."""

    target: Target
    dbname: str
    ids: list[int]
    clock: Clock
    ended: set[tuple[int, Any]] = field(default_factory=set)
    refused: int = 0

    def __enter__(self) -> _Bouncer:
        self._over = threading.Event()
        self._database = connect(self.target, self.dbname)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._database.close()

    def _work(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            try:
                rows = self._database.fetch(_STRANGERS, [self.ids])
            except DatabaseFailed:
                return  # the server is gone: the swap itself says so
            for row in rows:
                self._end(row)

    def _end(self, row: dict[str, Any]) -> None:
        try:
            done = self._database.fetch(_END, [row["pid"], row["datid"], row["backend_start"]])
        except DatabaseFailed:
            self.refused += 1  # not ours to end; when it stays, the swap fails and names it
            return
        if done:
            self.ended.add((row["pid"], row["backend_start"]))
