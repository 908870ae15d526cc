"""postgresql_sessions and replication: no rule reaches a walsender, whatever it is called and whatever it does."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import REPLICATION_PHYSICAL, LogicalReplicationConnection, PhysicalReplicationConnection

from plugins.module_utils._core.sessions_policy import ACTIVE, IDLE, IDLE_IN_TRANSACTION, TERMINATE, TRANSACTION, Rule
from plugins.module_utils._io.postgres import Target, connect
from plugins.module_utils._io.sessions import ServerSessions
from tests.support.modules import run_ok
from tests.support.servers import SUPERUSER, Database, Roles
from tests.support.sessions import Clients, eventually, options, outcomes, rule

KINDS = (IDLE, IDLE_IN_TRANSACTION, ACTIVE, TRANSACTION)
SENDER = "SELECT backend_start, state FROM pg_stat_activity WHERE backend_type = 'walsender' AND pid = %s"
RECEIVING = "SELECT pid, backend_start FROM pg_stat_activity WHERE backend_type = 'walsender' AND state = 'active'"


@pytest.fixture
def clients(database: Database, role: Roles) -> Iterator[Clients]:
    opened = Clients(database, role())
    yield opened
    opened.close()


@pytest.fixture
def replicator(database: Database, role: Roles) -> str:
    """An ordinary role that may replicate."""
    name = role()
    database.execute(f'ALTER ROLE "{name}" REPLICATION')
    return name


def everything(database: Database) -> dict[str, Any]:
    """Return options that end each session of the server that has done anything for a moment."""
    every = [rule(database, match, older_than="1ms", databases=["*"]) for match in KINDS]
    return options(database, *every, include_superusers=True, max_sessions=50)


def test_replication_goes_on(database: Database, clients: Clients, tmp_path: Path) -> None:
    server = database.server
    tool = [server.client_bin_dir / "pg_receivewal", "-D", tmp_path, "-h", server.host, "-p", str(server.port)]
    receiver = subprocess.Popen([*tool, "-U", SUPERUSER, "--no-loop"], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: database.fetch(RECEIVING), "the walsender to stream")
        before = database.fetch(RECEIVING)
        victim = clients().aged()
        done = run_ok("postgresql_sessions", everything(database))
        assert outcomes(done)[victim.pid] == "terminated"
        assert database.fetch(RECEIVING) == before and receiver.poll() is None
    finally:
        receiver.terminate()
        receiver.wait()


@contextlib.contextmanager
def walsender(database: Database, user: str, kind: Any) -> Iterator[Any]:
    """Open a replication connection that is called like any other client of the application."""
    connection = psycopg2.connect(database.dsn(user), application_name="web", connection_factory=kind)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def sending(database: Database, user: str) -> Iterator[Any]:
    """Stream WAL without a slot: nothing but its backend_type tells it from a client with a long statement."""
    with walsender(database, user, PhysicalReplicationConnection) as connection:
        ((position,),) = database.fetch("SELECT pg_current_wal_flush_lsn()::text")
        connection.cursor().start_replication(slot_type=REPLICATION_PHYSICAL, start_lsn=position)
        yield connection


@contextlib.contextmanager
def waiting(database: Database, user: str, statement: str) -> Iterator[Any]:
    """Be a walsender in a database that has run a statement and waits for its client."""
    with walsender(database, user, LogicalReplicationConnection) as connection:
        connection.cursor().execute(statement)
        yield connection


STATES = {
    "active": sending,
    "idle": lambda database, user: waiting(database, user, "SELECT 1"),
    "idle in transaction": lambda database, user: waiting(database, user, "BEGIN"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_walsender_that_looks_like_a_client_is_not_one(
    database: Database, clients: Clients, replicator: str, state: str
) -> None:
    victim = clients().aged()
    with STATES[state](database, replicator) as connection:
        pid = connection.info.backend_pid
        eventually(lambda: [row[1] for row in database.fetch(SENDER, pid)] == [state], f"the walsender to be {state}")
        before = database.fetch(SENDER, pid)
        given = everything(database)
        planned = run_ok("postgresql_sessions", given, check=True)
        assert f"pid {victim.pid} " in str(planned["plan"]) and f"pid {pid} " not in str(planned["plan"])
        done = run_ok("postgresql_sessions", given)
        assert outcomes(done)[victim.pid] == "terminated" and pid not in outcomes(done)
        assert database.fetch(SENDER, pid) == before


@pytest.mark.parametrize(
    ("state", "kind"), [("active", ACTIVE), ("idle", IDLE), ("idle in transaction", IDLE_IN_TRANSACTION)]
)
def test_even_a_decision_that_is_wrong_ends_no_walsender(
    database: Database, replicator: str, state: str, kind: str
) -> None:
    """The statement that signals looks for itself what kind of process it is about."""
    wrong = Rule("wrong", kind, 0.001, TERMINATE)
    with STATES[state](database, replicator) as connection, connect(target(database)) as own:
        pid = connection.info.backend_pid
        eventually(lambda: [row[1] for row in database.fetch(SENDER, pid)] == [state], f"the walsender to be {state}")
        port = ServerSessions(own)
        session = port.read().by_pid()[pid]
        assert not port.holds(session, wrong) and not port.signal(TERMINATE, session, wrong)
        assert database.fetch(SENDER, pid) == [(session.started, state)]


def target(database: Database) -> Target:
    return Target({"dsn": database.dsn()}, "oncall.runbooks test")
