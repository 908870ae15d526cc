"""Sessions that a test opens on a real server: idle, in a transaction, at work, in a queue for a lock."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from plugins.module_utils._io.clock import SystemClock, wait_until
from tests.support.servers import SUPERUSER, Database, Server

PATIENCE_SECONDS = 60
_STATE = "SELECT state, wait_event_type FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
_AGE = """
SELECT least(extract(epoch FROM clock_timestamp() - state_change), extract(epoch FROM clock_timestamp() - query_start),
             {waits})
  FROM pg_stat_activity a WHERE pid = %s AND backend_start = %s
"""
# Null for who does not wait. What waits has its waitstart a moment later; 13 does not keep it.
_WAITS = """(SELECT coalesce(extract(epoch FROM clock_timestamp() - l.waitstart), 0)
                FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted)"""


def eventually(condition: Any, what: str) -> None:
    wait_until(condition, what, PATIENCE_SECONDS, SystemClock(), every=0.02)


@contextlib.contextmanager
def asking(server: Server) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Ask in a session of the superuser that is gone afterwards: one that was closed keeps its slot for a moment."""
    connection = server.connect()
    process = Path("/proc", str(connection.info.backend_pid))

    def ask(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = connection.cursor()
        cursor.execute(query, parameters or None)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    try:
        yield ask
    finally:
        connection.close()
        wait_until(lambda: not process.exists(), "who asked to be gone", PATIENCE_SECONDS, SystemClock(), every=0.002)


def only_these_are_left(server: Server, count: int) -> None:
    """Wait until so many client sessions are open and no other: who ended, was refused, or asks here, lingers."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with asking(server) as ask:
        eventually(lambda: ask(query) == [(count,)], f"{count} sessions to be left")


@dataclass
class Client:
    """One session of a client, with the identity that it has on the server."""

    server: Server
    connection: Any
    threads: list[threading.Thread] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pid = self.connection.info.backend_pid
        ((self.started,),) = self.ask("SELECT backend_start FROM pg_stat_activity WHERE pid = %s", self.pid)

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the server in a session of the superuser, never in this one."""
        with asking(self.server) as ask:
            return ask(query, *parameters)

    @property
    def alive(self) -> bool:
        """Tell whether the very same server process is still there."""
        return bool(self.ask(_STATE, self.pid, self.started))

    @property
    def state(self) -> str | None:
        rows = self.ask(_STATE, self.pid, self.started)
        return rows[0][0] if rows else None

    def run(self, statement: str, *parameters: Any) -> None:
        self.connection.cursor().execute(statement, parameters or None)

    def begin(self, statement: str = "SELECT 1") -> Client:
        """Run a statement in a transaction that stays open."""
        self.connection.autocommit = False
        self.run(statement)
        return self

    def start(self, statement: str, wait_for: str = "active") -> Client:
        """Run a statement in the background and wait until the server is at it; "Lock": until it waits for a lock."""
        thread = threading.Thread(target=self._run_and_keep_the_error, args=(statement,), daemon=True)
        thread.start()
        self.threads.append(thread)
        eventually(lambda: wait_for in self.ask(_STATE, self.pid, self.started)[0], f"{statement} to be {wait_for}")
        return self

    def _run_and_keep_the_error(self, statement: str) -> None:
        try:
            self.run(statement)
        except psycopg2.Error as error:
            self.errors.append(error.pgcode or str(error))

    def aged(self, seconds: float = 0.25) -> Client:
        """Wait until the server says that it has done what it does for longer than this."""
        query = _AGE.format(waits=_WAITS if self.server.major >= 14 else "NULL")
        eventually(
            lambda: self.ask(query, self.pid, self.started)[0][0] > seconds, f"pid {self.pid} to be {seconds} s old"
        )
        return self

    def join(self) -> list[str]:
        """Wait for the background statement and return its errors as SQLSTATE codes."""
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        return self.errors

    def close(self) -> None:
        with contextlib.suppress(psycopg2.Error):
            self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s",
                     self.pid, self.started)  # fmt: skip
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
        self.connection.close()


@dataclass
class Clients:
    """Opens sessions in one database: ``clients("web", user=role)``."""

    database: Database
    user: str
    opened: list[Client] = field(default_factory=list)

    def __call__(self, application: str = "web", user: str | None = None, **options: Any) -> Client:
        connection = self.database.connect(user or self.user, application_name=application, **options)
        self.opened.append(Client(self.database.server, connection))
        return self.opened[-1]

    def superuser(self, application: str = "web") -> Client:
        return self(application, user=SUPERUSER)

    def close(self) -> None:
        for client in self.opened:
            client.close()


# --- the module's arguments and results ---------------------------------------------------------------------------


def rule(database: Database, match: str, action: str = "terminate", **more: Any) -> dict[str, Any]:
    """Return a rule about sessions in one database that have lasted for a moment."""
    common = {"name": match, "match": match, "older_than": "200ms", "action": action, "databases": [database.name]}
    return {**common, **more}


def options(database: Database, *rules: dict[str, Any], user: str = SUPERUSER, **more: Any) -> dict[str, Any]:
    return {"dsn": database.dsn(user), "rules": list(rules), **more}


def outcomes(result: dict[str, Any]) -> dict[int, str]:
    return {row["pid"]: row["outcome"] for row in result["sessions"]}


def finding(result: dict[str, Any], check: str) -> dict[str, Any]:
    (found,) = [f for f in result["findings"] if f["check"] == check]
    return dict(found)
