"""A whole server goes back in time with the real pgBackRest, by the runbook, and forward again by its undo."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support.pgbackrest import RELEASE, STANZA, Stanza
from tests.support.playbooks import Playbooks, Run
from tests.support.servers import Server, npm_install
from tests.support.sessions import eventually
from tools.embedded_postgres import server_account

FORTH = "playbooks/recovery/point-in-time.yml"
BACK = "playbooks/recovery/undo-point-in-time.yml"


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
            "point_in_time_stop_command": self.pg_ctl("stop", "-m", "fast", "-w"),
            "point_in_time_start_command": self.pg_ctl("start", "-W", "-l", str(self.log), "-o", self.settings()),
            "point_in_time_polls": 5,
            **owner,
        }
        self.playbooks.write_inventory({"database": {"db1": variables}}, preflight_lock_directory=str(folder / "locks"))

    def pg_ctl(self, *arguments: str) -> list[str]:
        become = ["runuser", "-u", self.server.data_dir.owner(), "--"] if server_account() else []
        return [*become, str(self.server.bin_dir / "pg_ctl"), "-D", str(self.server.data_dir), *arguments]

    def settings(self) -> str:
        folder = f'"{self.server.socket_dir}"'
        more = {"port": self.server.port, "listen_addresses": self.server.host, "unix_socket_directories": folder}
        return " ".join(f"-c {name}='{value}'" for name, value in {**self.server.settings, **more}.items())

    def rows(self) -> list[str]:
        connection = self.server.connect()
        cursor = connection.cursor()
        cursor.execute("SELECT what FROM log ORDER BY what")
        found = [row[0] for row in cursor.fetchall()]
        connection.close()
        return found

    def run(self, playbook: str, *arguments: str) -> Run:
        packages = str(Path(psycopg2.__file__).parents[1])
        return self.playbooks.run(playbook, *arguments, PYTHONPATH=packages)


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    if server_account() and shutil.which("runuser") is None:
        pytest.skip("as root this needs runuser (util-linux)")
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


def execute(server: Server, statement: str) -> str:
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(statement)
    value = str(cursor.fetchone()[0]) if cursor.description else ""
    connection.close()
    return value


def test_the_server_goes_back_and_forth(product: Product) -> None:
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


def test_the_end_of_the_backup_is_a_target_without_a_name(product: Product) -> None:
    execute(product.server, "INSERT INTO log VALUES ('now')")
    unclear = product.run(FORTH, "-e", "target_type=immediate", "-e", "at=20260918-040000", "-e", "confirm=db1")
    assert unclear.rc != 0 and "goes neither with target" in unclear.output, unclear.output
    went = product.run(FORTH, "-e", "target_type=immediate", "-e", "confirm=db1")
    assert went.rc == 0, went.output + product.log.read_text()
    assert product.rows() == []
    execute(product.server, "INSERT INTO log VALUES ('since')")


def test_a_target_that_is_never_reached_leaves_the_server_as_it_was(product: Product) -> None:
    execute(product.server, "INSERT INTO log VALUES ('now')")
    failed = product.run(FORTH, "-e", "target_type=name", "-e", "target=never", "-e", "confirm=db1")
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
