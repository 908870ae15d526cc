"""A whole server goes back in time with the real pgBackRest, by the runbook, and forward again by its undo."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from plugins.module_utils._core.point_in_time import server_timeline
from tests.support.pgbackrest import RELEASE, STANZA, Stanza
from tests.support.playbooks import Playbooks, Run
from tests.support.servers import Server, npm_install
from tests.support.sessions import eventually
from tools.embedded_postgres import server_account

FORTH = "playbooks/recovery/point-in-time.yml"
BACK = "playbooks/recovery/undo-point-in-time.yml"


def pg_ctl(server: Server, *arguments: str) -> list[str]:
    become = ["runuser", "-u", server.data_dir.owner(), "--"] if server_account() else []
    return [*become, str(server.bin_dir / "pg_ctl"), "-D", str(server.data_dir), *arguments]


def pg_ctl_start(server: Server, log: Path, wait: str) -> list[str]:
    folder = f'"{server.socket_dir}"'
    more = {"port": server.port, "listen_addresses": server.host, "unix_socket_directories": folder}
    options = " ".join(f"-c {name}='{value}'" for name, value in {**server.settings, **more}.items())
    return pg_ctl(server, "start", wait, "-l", str(log), "-o", options)


class Product:
    """A server that archives its WAL, and a runbook that may stop and start it."""

    def __init__(self, folder: Path, stanza: Stanza) -> None:
        self.server = stanza.server
        self.log = stanza.folder / "log" / "server.log"  # where the server's user may write
        self.playbooks = Playbooks(folder)
        owner: dict[str, Any] = {}
        if server_account():
            # The server's user has to start modules too, and may not enter the folder of this interpreter.
            python = {"ansible_python_interpreter": "/usr/bin/python3"}
            owner = {"point_in_time_become_user": self.server.data_dir.owner(), "ansible_become_method": "su", **python}
        login = {"login_host": self.server.host, "login_port": self.server.port, "login_user": "postgres"}
        variables = {
            "database_login": login,
            "point_in_time_stanza": STANZA,
            "point_in_time_config": str(stanza.config),
            "point_in_time_data_dir": str(self.server.data_dir),
            "point_in_time_stop_command": pg_ctl(self.server, "stop", "-m", "fast", "-w"),
            "point_in_time_start_command": pg_ctl_start(self.server, self.log, "-W"),
            "point_in_time_polls": 60,
            **owner,
        }
        self.playbooks.write_inventory({"database": {"db1": variables}}, preflight_lock_directory=str(folder / "locks"))

    def rows(self) -> list[str]:
        return [row[0] for row in fetch(self.server, "SELECT what FROM log ORDER BY what")]

    def run(self, playbook: str, *arguments: str) -> Run:
        packages = str(Path(psycopg2.__file__).parents[1])
        return self.playbooks.run(playbook, *arguments, PYTHONPATH=packages)


def needs_driver() -> None:
    """The system's Python takes the psycopg2 of this environment, which it can only when both are of one version."""
    if server_account():
        said = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True).stdout
        if not said.startswith("Python {}.{}.".format(*sys.version_info)):
            pytest.skip(f"{said.strip()} of the system cannot load the psycopg2 of this environment")


def needs_runuser() -> None:
    if server_account() and shutil.which("runuser") is None:
        pytest.skip("as root this needs runuser (util-linux)")


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    needs_runuser()
    servers: list[Server] = []

    def start(_release: int, *, settings: dict[str, str], start: bool) -> Server:
        servers.append(Server(npm_install(RELEASE), settings=settings))
        return servers[-1]

    stanza = Stanza(start)
    stanza.run("stanza-create")
    stanza.server.connect().cursor().execute("CREATE TABLE log (what text)")
    stanza.run("--repo=1", "backup", "--type=full")
    yield Product(tmp_path, stanza)
    for server in servers:
        server.remove()


def fetch(server: Server, statement: str) -> list[tuple[Any, ...]]:
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(statement)
    found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
    connection.close()
    return found


def execute(server: Server, statement: str) -> str:
    found = fetch(server, statement)
    return str(found[0][0]) if found else ""


def test_the_server_goes_back_and_forth(product: Product) -> None:
    needs_driver()
    server = product.server
    execute(server, "INSERT INTO log VALUES ('before')")
    execute(server, "SELECT pg_create_restore_point('release')")
    execute(server, "INSERT INTO log VALUES ('damage')")
    needed = execute(server, "SELECT pg_walfile_name(pg_switch_wal())")
    eventually(lambda: execute(server, "SELECT last_archived_wal FROM pg_stat_archiver") >= needed, "WAL to arrive")
    target = ("-e", "target_type=name", "-e", "target=release")

    refused = product.run(FORTH, *target)
    assert refused.rc != 0 and "-e confirm=db1" in refused.output, refused.output
    predicted = product.run(FORTH, *target, "-e", "confirm=db1", "--check")
    assert predicted.rc == 0, predicted.output
    assert product.rows() == ["before", "damage"]
    assert not list(server.data_dir.parent.glob("data.*"))

    went = product.run(FORTH, *target, "-e", "confirm=db1")
    assert went.rc == 0, went.output + product.log.read_text()
    assert product.rows() == ["before"]
    between = execute(server, "SELECT to_json(clock_timestamp()) #>> '{}'")
    execute(server, "INSERT INTO log VALUES ('since')")
    assert len(list(server.data_dir.parent.glob("data.before-*"))) == 1

    back = product.run(BACK, "-e", "confirm=db1")
    assert back.rc == 0, back.output
    assert product.rows() == ["before", "damage"]
    assert len(list(server.data_dir.parent.glob("data.undone-*"))) == 1

    older = server.data_dir.with_name("data.before-20260101000000")
    older.mkdir()
    again = product.run(BACK, "-e", "confirm=db1")
    assert again.rc != 0 and "was undone already" in again.page and older.is_dir(), again.output
    assert again.step("db1", "preflight")["status"] == "failed", again.output
    assert product.rows() == ["before", "damage"]

    execute(server, "INSERT INTO log VALUES ('later')")
    forth = product.run(FORTH, "-e", f"at={between}", "-e", "confirm=db1")
    assert forth.rc == 0, forth.output + product.log.read_text()
    assert product.rows() == ["before", "damage"], "not the state of the recovery that was undone"
    assert "the last transaction that was replayed was committed at" in forth.output, forth.output


def test_a_data_directory_that_is_not_one_folder_is_left_alone(product: Product) -> None:
    server = product.server
    server.stop()
    wal, disk = server.data_dir / "pg_wal", server.directory / "disk"
    wal.rename(disk)
    wal.symlink_to(disk)
    server.start()
    linked = product.run(FORTH, "-e", "target_type=immediate", "-e", "confirm=db1", "--check")
    assert linked.rc != 0 and f"plain folders: {wal}" in linked.page, linked.output
    assert linked.steps("db1") == ["preflight"], linked.output

    place = ("-e", "point_in_time_data_dir=/dev/shm")
    mounted = product.run(FORTH, "-e", "target_type=immediate", "-e", "confirm=db1", "--check", *place)
    assert mounted.rc != 0 and "/dev/shm is a mount point" in mounted.page, mounted.output


def test_the_end_of_the_backup_is_a_target_without_a_name(product: Product) -> None:
    needs_driver()
    execute(product.server, "INSERT INTO log VALUES ('now')")
    unclear = product.run(FORTH, "-e", "target_type=immediate", "-e", "at=20260918-040000", "-e", "confirm=db1")
    assert unclear.rc != 0 and "goes neither with target" in unclear.output, unclear.output
    went = product.run(FORTH, "-e", "target_type=immediate", "-e", "confirm=db1")
    assert went.rc == 0, went.output + product.log.read_text()
    assert product.rows() == []
    execute(product.server, "INSERT INTO log VALUES ('since')")


def test_a_target_that_is_never_reached_leaves_the_server_as_it_was(product: Product) -> None:
    execute(product.server, "INSERT INTO log VALUES ('now')")
    failed = product.run(FORTH, "-e", "target_type=name", "-e", "target=never", "-e", "confirm=db1",
                         "-e", "point_in_time_polls=5")  # fmt: skip
    assert failed.rc != 0 and "as it was before" in failed.output, failed.output
    assert product.rows() == ["now"]
    assert not list(product.server.data_dir.parent.glob("data.before-*"))

    older = product.server.data_dir.with_name("data.before-20260101000000")
    older.mkdir()
    undo = product.run(BACK, "-e", "confirm=db1")
    assert undo.rc != 0 and "did not come to its end" in undo.page and older.is_dir(), undo.output
    assert product.rows() == ["now"]
    forced = product.run(BACK, "-e", "confirm=db1", "-e", "point_in_time_force=true", "--check")
    assert forced.rc == 0 and older.name in forced.output, forced.output


def test_the_backups_of_another_server_never_take_its_place(product: Product) -> None:
    other = Server(npm_install(RELEASE), own_identity=True)
    place = ("-e", f"point_in_time_data_dir={other.data_dir}")
    run = product.run(FORTH, "-e", "target_type=immediate", "-e", "confirm=db1", "--check", *place)
    other.remove()
    assert run.rc != 0 and "the backups are of another server" in run.page, run.output
    assert run.steps("db1") == ["preflight"], run.output


def test_a_server_that_was_not_stopped_keeps_its_directory(product: Product) -> None:
    execute(product.server, "INSERT INTO log VALUES ('now')")
    kept = product.server.data_dir.with_name("data.before-20260101000000")
    kept.mkdir()
    run = product.run(BACK, "-e", "confirm=db1", "-e", '{"point_in_time_stop_command": ["false"]}')
    assert run.rc != 0 and "may still run" in run.page and "the command that stops it failed" in run.page, run.output
    assert product.rows() == ["now"] and kept.is_dir()


TIMELINE = "SELECT pg_walfile_name(pg_current_wal_lsn())"
CONTROL = "SELECT c.timeline_id, r.min_recovery_end_timeline FROM pg_control_checkpoint() c, pg_control_recovery() r"


def test_the_control_file_tells_the_timeline_even_before_the_first_checkpoint_on_it(
    throwaway_server: Callable[..., Server],
) -> None:
    needs_runuser()
    server = throwaway_server()
    control = server.data_dir / "global" / "pg_control"

    def told() -> int:
        return server_timeline(base64.b64encode(control.read_bytes()).decode())

    assert told() == int(execute(server, TIMELINE)[:8], 16) == 1
    server.stop()
    (server.data_dir / "standby.signal").touch()
    subprocess.run(pg_ctl_start(server, server.socket_dir / "log", "-w"), cwd="/", check=True)
    checkpointer = int(execute(server, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
    os.kill(checkpointer, signal.SIGSTOP)
    try:
        assert execute(server, "SELECT pg_promote()") == "True"
        assert (rows := fetch(server, CONTROL)) == [(1, 2)], rows
        assert told() == int(execute(server, TIMELINE)[:8], 16) == 2
    finally:
        os.kill(checkpointer, signal.SIGCONT)
    execute(server, "CHECKPOINT")
    assert (rows := fetch(server, CONTROL)) == [(2, 0)], rows
    assert told() == 2
