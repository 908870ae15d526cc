# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One connection to PostgreSQL: guarded by time-outs, errors with stable codes, notices kept."""

from __future__ import annotations

import contextlib
import os
import socket
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Optional, Sequence

from .._core.errors import DatabaseFailed, LockBusy, PreconditionFailed
from .._core.redact import printable, redact_text
from .._core.sqlstate import UNREACHABLE, meaning_of

try:
    import psycopg2
    import psycopg2.extensions
except ImportError:
    psycopg2 = None  # type: ignore[assignment]

LOCK_CLASS = 0x6F6E6361  # "onca": the first key of every advisory lock of this collection
# A server that falls silent is given up about 40 s later (30 s to the first probe), not after the system's 2 hours.
PATIENCE: Mapping[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
}


@dataclass(frozen=True)
class Target:
    """Where to connect: libpq parameters (may hold a password: never print them) and the time-outs of a session.

    Seconds; ``statement_timeout`` 0 means no limit. ``by_default``: nobody has said which database.
    """

    parameters: Mapping[str, Any]
    application_name: str
    lock_timeout: float = 5.0
    statement_timeout: float = 60.0
    session_role: Optional[str] = None
    allow_pooler: bool = False
    by_default: bool = False

    def label(self) -> str:
        """Return host:port for messages, without user and password."""
        host = self.parameters.get("host") or self.parameters.get("service") or "local socket"
        return f"{host}:{self.parameters.get('port') or 5432}"


def connect(target: Target, dbname: Optional[str] = None) -> Database:
    """Open a session in ``dbname`` (default: the target's) with search_path empty and all time-outs set.

    Raises:
        DatabaseFailed: unreachable, refused, no such database; the code says which.
        PreconditionFailed: a pooler answered (code ``pooler_detected``): session settings and locks would leak.
    """
    if psycopg2 is None:
        raise PreconditionFailed(
            "connect to PostgreSQL: the Python driver psycopg2 is missing on this host",
            code="driver_missing",
            hint="install python3-psycopg2 (system) or psycopg2-binary (virtual environment) for the host's Python",
        )
    parameters = {**PATIENCE, **target.parameters, "application_name": target.application_name[:63]}
    if dbname is not None:
        parameters["dbname"] = dbname
    try:
        connection = psycopg2.connect(**parameters)
    except psycopg2.Error as error:
        raise _connection_failure(error, target) from error
    database = Database(connection)
    try:
        _prepare_session(database, target)
    except BaseException:
        database.close()
        raise
    return database


def _connection_failure(error: Any, target: Target) -> DatabaseFailed:
    text = printable(redact_text(" / ".join(part.strip() for part in str(error).strip().splitlines())))
    meaning = meaning_of(error.pgcode) if error.pgcode else _meaning_of_refusal(text)
    return DatabaseFailed(
        f"connect to PostgreSQL at {target.label()}: {text}",
        code=meaning.code,
        hint=meaning.hint,
        details={"sqlstate": error.pgcode},
    )


def _meaning_of_refusal(text: str) -> Any:
    """Tell refusals apart by libpq's text: psycopg2 2.9 gives no SQLSTATE for a failed connection."""
    for words, state in (
        # first, because its text names the role or the database
        (("too many clients", "remaining connection slots", "too many connections"), "53300"),
        (("password authentication failed", "no password supplied"), "28P01"),
        (("no pg_hba.conf entry", "authentication failed", 'role "', "not permitted to log in"), "28000"),
        (('database "',), "3D000"),
        (("starting up", "shutting down", "recovery mode"), "57P03"),
    ):
        if any(word in text for word in words):
            return meaning_of(state)
    return UNREACHABLE


def _prepare_session(database: Database, target: Target) -> None:
    """Set the guards one by one: a pooler refuses the start-up option ``options``."""
    backend = database.fetch("SELECT pg_catalog.pg_backend_pid() AS pid")[0]["pid"]
    if backend != database.reported_pid and not target.allow_pooler:
        raise PreconditionFailed(
            f"connect to PostgreSQL at {target.label()}: a connection pooler answered, not the server",
            code="pooler_detected",
            hint="use the server's direct address: through a pooler time-outs and locks reach other clients",
        )
    settings = {
        "search_path": "",
        "lock_timeout": f"{int(target.lock_timeout * 1000)}ms",
        "statement_timeout": f"{int(target.statement_timeout * 1000)}ms",
    }
    if target.session_role:
        database.execute("SELECT pg_catalog.set_config('role', %s, false)", [target.session_role])
    for name, value in settings.items():
        database.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])


class Database:
    """An open session in autocommit mode. Values go as parameters; identifiers are quoted by the server or driver."""

    def __init__(self, connection: Any) -> None:
        connection.autocommit = True
        self._connection = connection
        self.reported_pid: int = connection.info.backend_pid
        self.server_version: int = connection.server_version

    @property
    def major(self) -> int:
        """Return the server's major version."""
        return self.server_version // 10000

    @property
    def dbname(self) -> str:
        """Return the database's name."""
        return str(self._connection.info.dbname)

    def fetch(self, query: str, parameters: Optional[Sequence[Any]] = None) -> list[dict[str, Any]]:
        """Return the rows as mappings.

        Raises:
            DatabaseFailed: with a code from _core.sqlstate.
        """
        with self._cursor() as cursor:
            cursor.execute(query, parameters)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def execute(self, statement: str, parameters: Optional[Sequence[Any]] = None) -> list[str]:
        """Run a statement and return the notices that the server sent with it ("WARNING:  skipping ...").

        Raises:
            DatabaseFailed: with a code from _core.sqlstate; ``details["notices"]`` keeps what came before.
        """
        self._connection.notices = deque()  # a list would be cut to 50 by the driver
        try:
            with self._cursor() as cursor:
                cursor.execute(statement, parameters)
        except DatabaseFailed as error:
            error.details = {**error.details, "notices": self._notices()}
            raise
        return self._notices()

    def cancel(self) -> None:
        """Ask the server to cancel what this session runs; safe from another thread, also when it has just ended."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.cancel()

    def abandon(self) -> None:
        """Cut the line to a server that does not answer, from another thread: what waits for it fails at once."""
        with (
            contextlib.suppress(OSError, psycopg2.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the session; closing twice is fine."""
        self._connection.close()

    @property
    def closed(self) -> bool:
        """Tell whether the session is lost or closed."""
        return bool(self._connection.closed)

    def quote(self, name: str) -> str:
        """Return a name quoted by the driver for this session."""
        return str(psycopg2.extensions.quote_ident(name, self._connection))

    def _notices(self) -> list[str]:
        return [printable(notice.strip()) for notice in self._connection.notices]

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            with self._connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise _statement_failure(error, closed=self.closed) from error

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _statement_failure(error: Any, closed: bool) -> DatabaseFailed:
    state = None if closed and not error.pgcode else error.pgcode
    meaning = meaning_of(state)
    primary = getattr(error.diag, "message_primary", None) or str(error).strip() or "the connection was lost"
    return DatabaseFailed(
        printable(redact_text(" ".join(primary.split()))),
        code=meaning.code,
        hint=meaning.hint,
        details={"sqlstate": state, "detail": printable(redact_text(getattr(error.diag, "message_detail", "") or ""))},
    )


def end_with_client(database: Database) -> None:
    """Let the server end this session's statement soon after a client that died (14, where its platform can tell)."""
    if database.major >= 14:
        try:
            database.execute("SELECT pg_catalog.set_config('client_connection_check_interval', '1s', false)")
        except DatabaseFailed as error:
            if error.code != "invalid_value":
                raise


def may_idle(database: Database) -> None:
    """Let a session wait, and work, for hours whatever limits the server has for sessions and transactions."""
    settings = ("idle_in_transaction_session_timeout", 13), ("idle_session_timeout", 14), ("transaction_timeout", 17)
    for setting, since in settings:
        if database.major >= since:
            database.execute("SELECT pg_catalog.set_config(%s, '0', false)", [setting])


def lock_key(name: str) -> int:
    """Return the second key of the advisory lock with this name, as a signed 32-bit number."""
    value = zlib.crc32(name.encode())
    return value - (1 << 32) if value >= 1 << 31 else value


_HOLDER = """
SELECT a.pid, a.application_name, a.client_addr::text AS client, a.backend_start::text AS since
  FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.classid = %s::oid AND l.objid = (%s::bigint & 4294967295)::oid AND l.granted
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""


def require_unlocked(database: Database, name: str) -> None:
    """Look whether the lock is free, without taking it: what only looks must not stop a real run.

    Raises:
        LockBusy: somebody holds it; the message says who and since when.
    """
    holders = database.fetch(_HOLDER, [LOCK_CLASS, lock_key(name)])
    if holders:
        raise _lock_busy(database, name, holders)


def require_held(database: Database, name: str) -> None:
    """Look whether this session still holds the lock that it took.

    Raises:
        DatabaseFailed: it does not (``lock_lost``), or the session was lost and the lock with it.
    """
    text = f"the lock {name} in database {printable(database.dbname)} is lost, another run may be at work"
    try:
        held = database.fetch(f"{_HOLDER} AND l.pid = pg_catalog.pg_backend_pid()", [LOCK_CLASS, lock_key(name)])
    except DatabaseFailed as error:
        if not database.closed:
            return  # a look that failed says nothing: as long as the session lives, the lock does
        error.message = f"{text}: {error.message}"
        raise
    if not held:
        raise DatabaseFailed(text, code="lock_lost", hint="see who ended the session or its locks, then run again")


def _lock_busy(database: Database, name: str, holders: list[dict[str, Any]]) -> LockBusy:
    who = ", ".join(f"pid {h['pid']} ({h['application_name']}) since {h['since']}" for h in holders)
    return LockBusy(
        f"{name} in database {printable(database.dbname)}: another run is at work: {who or 'it has just ended'}",
        hint="wait for the other run; the lock is gone as soon as its session ends",
        details={"holders": holders},
    )


@contextlib.contextmanager
def advisory_lock(database: Database, name: str) -> Iterator[None]:
    """Hold the collection's lock ``name`` in this database; the server frees it when the session ends, however it ends.

    Raises:
        LockBusy: somebody else holds it; the message says who and since when.
    """
    keys = [LOCK_CLASS, lock_key(name)]
    if not database.fetch("SELECT pg_catalog.pg_try_advisory_lock(%s, %s) AS got", keys)[0]["got"]:
        raise _lock_busy(database, name, database.fetch(_HOLDER, keys))
    try:
        yield
    finally:
        if not database.closed:
            with contextlib.suppress(DatabaseFailed):
                database.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", keys)
