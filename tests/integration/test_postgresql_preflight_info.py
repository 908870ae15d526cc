"""postgresql_preflight_info on real servers: fit or not, with and without rights, and never a failure."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2.errors
import pytest

from plugins.module_utils._io.postgres import Target, advisory_lock, connect
from tests.support.modules import run_failed, run_ok
from tests.support.servers import SUPERUSER, Database, Roles, Server
from tests.support.sessions import Clients, eventually, finding, only_these_are_left
from tests.support.standby import standby_of

NAME = "postgresql_preflight_info"


@pytest.fixture
def clients(database: Database, role: Roles) -> Iterator[Clients]:
    opened = Clients(database, role())
    yield opened
    opened.close()


def look(database: Database, user: str = SUPERUSER, **more: Any) -> dict[str, Any]:
    result = run_ok(NAME, {"dsn": database.dsn(user), **more})
    assert not result["changed"] and result["plan"] == [] and result["steps"] == []
    return result


def status(result: dict[str, Any], check: str) -> str:
    return str(finding(result, check)["status"])


def test_a_fit_server_is_told_in_one_line_and_in_facts(database: Database) -> None:
    database.execute("CREATE TABLE public.t (i int)")
    result = look(database)
    server = database.server
    assert result["reachable"] and result["unreachable"] == {} and result["cannot"] == []
    assert result["server"]["major"] == server.major and result["server"]["role"] == "primary"
    assert result["server"]["data_directory"] == str(server.data_dir) and result["server"]["system_identifier"]
    assert result["server"]["last_replayed"] is None
    assert result["rights"]["superuser"] and result["rights"]["tables"] == result["rights"]["maintainable"] == 1
    assert result["connections"]["max"] == 100 and result["connections"]["used"] >= 1
    assert result["connections"]["free"] == 100 - result["connections"]["used"]
    (entry,) = [entry for entry in result["databases"] if entry["name"] == database.name]
    assert entry["size_bytes"] > 1_000_000 and entry["connectable"] and entry["owner"] == SUPERUSER
    assert "critical" not in {found["status"] for found in result["findings"]}
    assert {found["check"] for found in result["findings"]} >= {"reachable", "version", "end_of_life", "server_role"}
    assert run_ok(NAME, {"dsn": database.dsn()}, check=True)["findings"][0] == result["findings"][0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"login_port": 1}, "connection_failed"),
        ({"login_db": "no_such_database"}, "database_missing"),
        ({"login_user": "no_such_role"}, "authentication_failed"),
        ({"service": "no_such_service"}, "connection_failed"),
    ],
)
def test_a_server_that_does_not_answer_is_critical_and_no_failure(
    database: Database, changes: dict[str, Any], code: str
) -> None:
    server = database.server
    given = {"login_host": server.host, "login_port": server.port, "login_user": SUPERUSER, **changes}
    result = run_ok(NAME, given)
    assert not result["reachable"] and result["unreachable"]["code"] == code and result["status"] == "critical"
    assert [found["check"] for found in result["findings"]] == ["reachable"] and result["server"] == {}
    assert result["msg"].startswith("connect to PostgreSQL at")


def test_a_wrong_password_is_critical_and_never_shown(scram_server: Server) -> None:
    database = Database(scram_server, "postgres")
    database.execute("CREATE ROLE ops LOGIN PASSWORD 'right'")
    given = {"login_host": scram_server.host, "login_port": scram_server.port, "login_user": "ops"}
    result = run_ok(NAME, {**given, "login_password": "s3cret-wrong"})
    assert result["unreachable"]["code"] == "authentication_failed" and "s3cret" not in str(result)
    assert run_ok(NAME, {**given, "login_password": "right"})["reachable"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"expect": "leader"}, "invalid_arguments"),
        ({"transaction_warning": "soon"}, "invalid_value"),
        ({"transaction_warning": "2h", "transaction_critical": "1h"}, "invalid_value"),
        ({"free_connections_warning": 1}, "invalid_value"),
        ({"free_connections_critical": -1}, "invalid_value"),
    ],
)
def test_only_options_that_mean_nothing_fail(wrong: dict[str, Any], code: str) -> None:
    assert run_failed(NAME, {"dsn": "host=127.0.0.1 port=1", **wrong})["failure"]["code"] == code


# --- rights ------------------------------------------------------------------------------------------------------


def test_what_a_role_cannot_do_is_said_in_words(database: Database, role: Roles, clients: Clients) -> None:
    stranger, owner = role(), role()
    database.execute("CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO PUBLIC")
    database.execute("CREATE TABLE shop.mine (i int); CREATE TABLE shop.other (i int)")
    database.execute(f"ALTER TABLE shop.mine OWNER TO {owner}")
    nothing = look(database, stranger)
    assert {lack["step"] for lack in nothing["cannot"]} == {"maintenance", "reindex", "sessions", "readings"}
    assert nothing["rights"]["maintainable"] == 0 and nothing["server"]["data_directory"] == ""
    assert status(nothing, "rights:sessions") == "warning" and status(nothing, "rights:reindex") == "warning"
    clients()
    assert status(look(database, stranger), "oldest_transaction") == "unknown"

    half = look(database, owner)
    assert (half["rights"]["tables"], half["rights"]["maintainable"], half["rights"]["reindexable"]) == (2, 1, 1)
    assert "1 of 2 tables will not be vacuumed" in finding(half, "rights:maintenance")["msg"]
    needs = "pg_maintain" if database.server.major >= 17 else "owner"
    assert needs in finding(half, "rights:maintenance")["msg"]


def test_the_rights_that_are_documented_are_enough(database: Database, role: Roles) -> None:
    database.execute("CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO PUBLIC; CREATE TABLE shop.t (i int)")
    groups = ["pg_monitor", "pg_signal_backend"]
    groups += ["pg_read_all_data"] if database.server.major >= 14 else []
    groups += ["pg_maintain"] if database.server.major >= 17 else []
    result = look(database, role(*groups))
    steps = {lack["step"] for lack in result["cannot"]}
    expected = set() if database.server.major >= 17 else {"maintenance", "reindex"}
    assert steps == expected and result["rights"]["memberships"]["pg_monitor"] is True
    known = result["rights"]["memberships"]["pg_maintain"]
    assert known is (True if database.server.major >= 17 else None)
    assert status(result, "database_size") == "ok" and result["server"]["data_directory"]


def test_the_owner_of_the_database_may_vacuum_but_not_rebuild(database: Database, role: Roles) -> None:
    owner = role()
    database.execute("CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO PUBLIC; CREATE TABLE shop.t (i int)")
    database.execute(f'ALTER DATABASE "{database.name}" OWNER TO {owner}')
    rights = look(database, owner)["rights"]
    assert (rights["tables"], rights["maintainable"], rights["reindexable"]) == (1, 1, 0)
    session = database.connect(owner)
    session.cursor().execute("VACUUM shop.t")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        session.cursor().execute("REINDEX TABLE shop.t")
    session.close()
    vacuumed = "SELECT 1 FROM pg_stat_user_tables WHERE relname = 't' AND last_vacuum IS NOT NULL"
    eventually(lambda: database.fetch(vacuumed), "the table to be vacuumed")


def test_a_database_that_may_not_be_entered_has_no_size(database: Database, role: Roles) -> None:
    database.execute(f'REVOKE CONNECT ON DATABASE "{database.name}" FROM PUBLIC')
    result = look(Database(database.server, "postgres"), role())
    (entry,) = [entry for entry in result["databases"] if entry["name"] == database.name]
    assert entry["size_bytes"] is None and not entry["connectable"] and status(result, "database_size") == "unknown"


# --- who is at work ----------------------------------------------------------------------------------------------


def test_another_run_in_any_database_is_critical(database: Database) -> None:
    elsewhere = Target({"dsn": database.server.dsn()}, "oncall.runbooks postgresql_maintenance")
    with connect(elsewhere) as session, advisory_lock(session, "postgresql_maintenance"):
        result = look(database)
        assert status(result, "own_runs") == result["status"] == "critical"
        assert "oncall.runbooks postgresql_maintenance" in finding(result, "own_runs")["msg"]
        assert [work["own_run"] for work in result["at_work"]] == [True]
        assert status(look(database, own_runs="warning"), "own_runs") == "warning"
    assert status(look(database), "own_runs") == "ok"


def test_an_advisory_lock_of_somebody_else_is_none_of_ours(database: Database, clients: Clients) -> None:
    clients("app").run("SELECT pg_advisory_lock(1, 2), pg_advisory_lock(42)")
    assert status(look(database), "own_runs") == "ok"


def test_tools_and_commands_in_progress_are_told(database: Database, clients: Clients) -> None:
    clients("pg_dump").begin()
    database.execute("CREATE TABLE public.big AS SELECT i FROM generate_series(1, 1000) i")
    blocker = clients.superuser("writer").begin("INSERT INTO public.big VALUES (1)")
    builder = clients.superuser("psql").start("CREATE INDEX CONCURRENTLY big_i ON public.big (i)", wait_for="Lock")
    result = look(database)
    found = {work["pid"]: work for work in result["at_work"]}
    assert found[builder.pid]["activity"] == "CREATE INDEX CONCURRENTLY"
    assert found[builder.pid]["detail"].startswith("public.big, waiting for")
    assert (
        "pg_dump" in {work["application"] for work in found.values()} and status(result, "others_at_work") == "warning"
    )
    blocker.connection.rollback()
    assert builder.join() == []


def test_a_base_backup_is_at_work(database: Database, tmp_path: Any) -> None:
    server = database.server
    slow = ["--max-rate=32k", "--checkpoint=fast", "-X", "none", "-D", tmp_path / "copy"]
    tool = [server.client_bin_dir / "pg_basebackup", "-h", server.host, "-p", str(server.port), "-U", SUPERUSER]
    backup = subprocess.Popen([*tool, *slow], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: database.fetch("SELECT 1 FROM pg_stat_progress_basebackup"), "the backup to start")
        assert "base backup" in {work["activity"] for work in look(database)["at_work"]}
    finally:
        backup.kill()
        backup.wait()
    eventually(lambda: not database.fetch("SELECT 1 FROM pg_stat_progress_basebackup"), "the backup to end")


def test_the_oldest_transaction_is_named(database: Database, clients: Clients) -> None:
    client = clients("reports").begin("SELECT 'a secret'").aged()
    result = look(database, transaction_warning="100ms", transaction_critical="200ms")
    assert status(result, "oldest_transaction") == "critical" and result["oldest_transaction"]["pid"] == client.pid
    assert result["oldest_transaction"]["query"] == "SELECT ?" and "reports" in result["msg"]


# --- the server --------------------------------------------------------------------------------------------------


def test_a_standby_is_not_what_maintenance_expects(throwaway_server: Callable[..., Server]) -> None:
    primary = throwaway_server()
    standby = Database(standby_of(primary, throwaway_server), "postgres")
    result = look(standby)
    assert status(result, "server_role") == result["status"] == "critical" and result["server"]["role"] == "standby"
    for expected in ("standby", "any"):
        assert status(look(standby, expect=expected), "server_role") == "ok"
    assert status(look(Database(primary, "postgres"), expect="standby"), "server_role") == "critical"
    identifiers = {
        look(one, expect="any")["server"]["system_identifier"] for one in (standby, Database(primary, "postgres"))
    }
    assert len(identifiers) == 1


def is_let_in(clients: Clients) -> bool:
    with contextlib.suppress(psycopg2.OperationalError):
        return bool(clients("web"))
    return False


def test_few_free_connections_are_told_for_who_asks(throwaway_server: Callable[..., Server]) -> None:
    server = throwaway_server(settings={"max_connections": "15", "superuser_reserved_connections": "3"})
    database = Database(server, "postgres")
    database.execute("CREATE ROLE app LOGIN IN ROLE pg_monitor")
    clients = Clients(database, "app")
    for _unused in range(9):
        clients("web")
    only_these_are_left(server, 9)
    asked_by_app = look(database, "app")
    only_these_are_left(server, 9)
    asked_by_root = look(database)
    assert asked_by_app["connections"] == {"max": 15, "reserved": 3, "used": 10, "free": 2}
    assert asked_by_root["connections"]["free"] == 5
    assert (status(asked_by_app, "free_connections"), status(asked_by_root, "free_connections")) == (
        "critical",
        "warning",
    )
    assert status(look(database, free_connections_warning=1, free_connections_critical=0), "free_connections") == "ok"
    only_these_are_left(server, 9)
    for _unused in range(2):
        clients("web")
    refused = look(database, "app")
    assert not refused["reachable"] or refused["connections"]["free"] == 0
    eventually(lambda: is_let_in(clients), "who asked to be gone, so that the last slot is free")
    assert look(database, "app")["unreachable"]["code"] == "too_many_connections"
    clients.close()


def test_one_reading_that_fails_leaves_the_others(database: Database, clients: Clients, role: Roles) -> None:
    database.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_database_size(oid) FROM PUBLIC")
    database.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
    locker = clients.superuser("locker").begin("LOCK TABLE pg_catalog.pg_locks IN ACCESS EXCLUSIVE MODE")
    result = look(database, role(), lock_timeout="100ms")
    locker.connection.rollback()
    assert result["reachable"] and result["server"]["major"] == database.server.major and result["rights"]["role"]
    assert result["server"]["system_identifier"] == "" and result["databases"] == [] and result["connections"] == {}
    unread = {found["check"]: found["msg"] for found in result["findings"] if "could not be read" in found["msg"]}
    assert set(unread) == {"activity", "locked", "databases"}
    assert {status(result, check) for check in unread} == {"unknown"}
    assert "permission denied" in unread["databases"] and "lock timeout" in unread["activity"]


def test_a_server_that_is_lost_on_the_way_is_critical(database: Database, clients: Clients) -> None:
    locker = clients.superuser("locker").begin("LOCK TABLE pg_catalog.pg_locks IN ACCESS EXCLUSIVE MODE")
    waiting = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE application_name = 'oncall.runbooks postgresql_preflight_info' AND wait_event_type = 'Lock'"""

    def end_the_session() -> None:
        eventually(lambda: database.fetch(waiting), "the module to wait")
        locker.connection.rollback()

    thread = threading.Thread(target=end_the_session)
    thread.start()
    result = look(database, lock_timeout="30s")
    thread.join()
    assert not result["reachable"] and result["unreachable"]["code"] == "server_gone"
    assert status(result, "reachable") == result["status"] == "critical"
    assert result["server"]["version"] and status(result, "databases") == "unknown"
