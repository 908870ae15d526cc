"""Whole runs of ansible-playbook and what they leave in the journal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils._core.journal import Run as JournalRun
from plugins.module_utils._io.journal_open import JournalSchema
from plugins.module_utils._io.journal_read import open_journal
from plugins.module_utils._io.journal_schema import REVISIONS, upgrade
from plugins.module_utils._io.journal_write import open_writer
from tests.support.journal_records import batch_of, mounted, postgres_url, revision, rows, run_of
from tests.support.playbooks import ROOT, Playbooks
from tests.support.servers import Database

# A module that returns what it is told to, as the contract has it.
CONTRACT = """#!/usr/bin/python
import json, sys, time, os
from ansible.module_utils.basic import AnsibleModule
options = {"result": {"type": "dict"}, "wait_for": {"type": "path"}, "fail": {"type": "bool"}}
secrets = {"login_password": {"type": "str", "no_log": True}, "api_token": {"type": "str", "no_log": False}}
module = AnsibleModule({**options, **secrets}, supports_check_mode=True)
while module.params["wait_for"] and not os.path.exists(module.params["wait_for"]):
    time.sleep(0.05)
base = {"changed": False, "msg": "looked", "plan": [], "steps": [], "findings": [], "status": "ok"}
result = {**base, **(module.params["result"] or {})}
if module.params["fail"]:
    module.fail_json(**result)
module.exit_json(**result)
"""
WARNING = {"check": "dead_rows", "status": "warning", "msg": "31 % dead", "value": 31, "unit": "%", "warning": 20}
DONE = {
    "changed": True,
    "plan": [{"id": "vacuum:t", "action": "vacuum", "target": "t", "reason": "dirty", "command": "VACUUM t"}],
    "steps": [{"id": "vacuum:t", "status": "done", "duration_seconds": 1.5, "detail": "as said"}],
    "findings": [WARNING],
    "status": "warning",
    "area": "database",
    "samples": [{"metric": "database.dead_percent", "value": 31, "unit": "percent", "labels": {"table": "t"}}],
    "counters": {"at": "2026-11-21T00:00:00Z", "deadlocks": 4},
}


class Runbooks(Playbooks):
    """A folder with runbooks made for one test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "library").mkdir()
        (folder / "library" / "contract.py").write_text(CONTRACT)
        self.write_inventory({"database": {"db1": {}, "db2": {}}})
        self.spool = folder / "spool"

    def write(self, *tasks: dict[str, Any], name: str = "nightly", runbook: bool = True, **play: Any) -> Path:
        """Write a playbook of these tasks on db1; ``runbook`` puts metadata beside it."""
        path = self.folder / f"{name}.yml"
        named = [{"name": f"Task {number}", **task} for number, task in enumerate(tasks, 1)]
        content = [{"name": "Nightly", "hosts": "db1", "gather_facts": False, "tags": ["act"], "tasks": named, **play}]
        path.write_text(yaml.safe_dump(content))
        if runbook:
            path.with_suffix(".meta.yml").write_bytes((ROOT / "playbooks" / "weekly-maintenance.meta.yml").read_bytes())
        return path

    def runs(self) -> tuple[JournalRun, ...]:
        with open_journal(str(self.journal)) as journal:
            return tuple(reversed(journal.runs()))

    def rows(self, query: str) -> list[Any]:
        return rows(self.journal, query)


@pytest.fixture
def runbooks(tmp_path: Path) -> Runbooks:
    return Runbooks(tmp_path)


def contract(**result: Any) -> dict[str, Any]:
    return {"contract": {"result": result}}


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0] if process else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what a run leaves ------------------------------------------------------------------------------------------


def test_a_run_is_in_the_journal_before_its_first_change_and_closed_with_a_verdict(runbooks: Runbooks) -> None:
    query = f"sqlite3.connect({str(runbooks.journal)!r}).execute('select status from runs').fetchall()"
    look = f"import sqlite3; print({query})"
    first = {"ansible.builtin.command": {"argv": [sys.executable, "-c", look]}, "register": "seen"}
    then = {"ansible.builtin.assert": {"that": "\"('running',)\" in seen.stdout"}}
    playbook = runbooks.write(first, then, contract(**DONE))
    run = runbooks.run(playbook, "--limit", "db1", "--tags", "act", "-e", "awx_user_name=ana")
    assert run.rc == 0, run.output
    (recorded,) = runbooks.runs()
    assert recorded.ended_at is not None and recorded.ended_at > recorded.started_at
    shown = (recorded.runbook, recorded.status, recorded.operator, recorded.limit_, recorded.tags, recorded.check_mode)
    assert shown == ("nightly", "warning", "ana", "db1", "act", False)
    assert (recorded.hosts, recorded.changed, recorded.msg) == (1, 2, "1 warning: db1: 31 % dead")
    assert recorded.version and recorded.inventory.endswith("hosts.yml")
    assert runbooks.rows("SELECT host, play, phase, task, action, target, status FROM steps ORDER BY id") == [
        ("db1", "Nightly", "act", "Task 1", "command", "", "done"),
        ("db1", "Nightly", "act", "Task 3", "vacuum", "t", "done"),
    ]
    assert runbooks.rows("SELECT area, check_name, status, value, warning, msg FROM findings") == [
        ("database", "dead_rows", "warning", 31.0, 20.0, "31 % dead")
    ]
    assert runbooks.rows("SELECT metric, host, labels, unit, value FROM series JOIN samples ON id = series_id") == [
        ("database.dead_percent", "db1", '{"table":"t"}', "percent", 31.0)
    ]
    assert "journal:" not in run.output and list(runbooks.spool.iterdir()) == []


def test_check_mode_is_recorded_as_such(runbooks: Runbooks) -> None:
    planned = {**DONE, "steps": []}
    run = runbooks.run(runbooks.write(contract(**planned)), "--check")
    assert run.rc == 0, run.output
    assert [(one.check_mode, one.status) for one in runbooks.runs()] == [(True, "warning")]
    assert runbooks.rows("SELECT status, changed FROM steps") == [("planned", 0)]
    with open_journal(str(runbooks.journal)) as journal:
        assert journal.last_runs() == ()


def test_what_is_old_is_removed_once_a_day_and_never_in_check_mode(runbooks: Runbooks) -> None:
    with open_writer(str(runbooks.journal)) as writer:
        writer.apply([batch_of("old", 0, run=run_of("old", started_at=1.0))])
    playbook = runbooks.write(contract())
    assert runbooks.run(playbook, "--check").rc == 0
    assert "old" in runbooks.rows("SELECT id FROM runs")
    assert runbooks.run(playbook).rc == 0
    assert "old" not in runbooks.rows("SELECT id FROM runs")
    with open_writer(str(runbooks.journal)) as writer:
        writer.apply([batch_of("old2", 0, run=run_of("old2", started_at=1.0))])
    assert runbooks.run(playbook).rc == 0
    assert "old2" in runbooks.rows("SELECT id FROM runs")


def test_the_items_of_a_loop_are_recorded_each(runbooks: Runbooks) -> None:
    task = {"contract": {"result": {"findings": [{**WARNING, "msg": "{{ item }}"}]}}, "loop": ["a", "b"]}
    assert runbooks.run(runbooks.write(task)).rc == 0
    assert runbooks.rows("SELECT msg FROM findings ORDER BY id") == ["a", "b"]


@pytest.mark.parametrize(
    ("tasks", "status", "steps"),
    [
        ([{"ansible.builtin.command": "false"}], "failed", [("command", "task_failed")]),
        (
            [{"contract": {"fail": True, "result": {"failure": {"code": "lock_busy"}}}}],
            "failed",
            [("contract", "lock_busy")],
        ),
        (
            [contract(findings=[{**WARNING, "status": "critical"}]), {"ansible.builtin.assert": {"that": False}}],
            "critical",
            [("assert", "task_failed")],
        ),
    ],
    ids=["foreign", "ours", "verdict"],
)
def test_a_run_that_fails_is_closed_as_what_it_is(runbooks: Runbooks, tasks: Any, status: str, steps: Any) -> None:
    assert runbooks.run(runbooks.write(*tasks)).rc == 2
    assert [one.status for one in runbooks.runs()] == [status]
    assert runbooks.rows("SELECT action, code FROM steps") == steps


def test_a_host_that_does_not_answer_is_recorded(runbooks: Runbooks) -> None:
    ssh = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    runbooks.write_inventory({"database": {"db1": ssh}})
    assert runbooks.run(runbooks.write({"ansible.builtin.ping": {}})).rc == 4
    assert runbooks.rows("SELECT status, code FROM steps") == [("failed", "unreachable")]
    assert [one.status for one in runbooks.runs()] == ["failed"]


def test_an_ordinary_playbook_is_none_of_its_business(runbooks: Runbooks) -> None:
    run = runbooks.run(runbooks.write({"ansible.builtin.command": "true"}, runbook=False))
    assert run.rc == 0 and not runbooks.journal.exists() and not runbooks.spool.exists()


def test_a_playbook_that_uses_the_collection_is_recorded_from_there_on(runbooks: Runbooks) -> None:
    tasks = [{"ansible.builtin.command": "true"}, {"oncall.runbooks.host_preflight_info": {"paths": ["/"]}}]
    run = runbooks.run(runbooks.write(*tasks, name="own", runbook=False))
    assert run.rc == 0, run.output
    assert [one.runbook for one in runbooks.runs()] == ["own"]
    assert runbooks.rows("SELECT DISTINCT area FROM findings") == ["host"]


# --- what modules want back -------------------------------------------------------------------------------------


def test_what_a_module_left_is_given_back_in_the_next_run(runbooks: Runbooks) -> None:
    ask = "{{ lookup('oncall.runbooks.journal_state', inventory_hostname) }}"
    playbook = runbooks.write({"ansible.builtin.debug": {"msg": ask}}, contract(**DONE))
    first = runbooks.run(playbook)
    assert first.rc == 0 and "deadlocks" not in first.output, first.output
    second = runbooks.run(playbook)
    assert "contract.counters" in second.output and "deadlocks: 4" in second.output


def test_no_state_is_no_failure_where_the_journal_cannot_be_read(runbooks: Runbooks) -> None:
    runbooks.journal.write_text("no journal" * 1000)
    ask = "{{ lookup('oncall.runbooks.journal_state', 'db1') | length }} states"
    run = runbooks.run(runbooks.write({"ansible.builtin.debug": {"msg": ask}}))
    assert run.rc == 0 and "0 states" in run.output and "nothing is known of the last run" in run.output


# --- secrets ----------------------------------------------------------------------------------------------------


def test_a_secret_is_nowhere_in_the_journal_or_the_spool(runbooks: Runbooks) -> None:
    canary, token = "c4n4ry-p4ssw0rd", "t0ken-c4n4ry"
    text = f"refused {canary} and {token}"
    leaky = {"findings": [{**WARNING, "msg": text}], "counters": {"x": text}, "msg": text, "failure": {"code": "c"}}
    steps = {"steps": [{"id": text, "status": "done", "duration_seconds": 0, "detail": text}]}
    secret = {"login_password": "{{ canary }}", "api_token": token}
    tasks = [
        {"contract": {"result": {**leaky, **steps}, "fail": True, **secret}, "ignore_errors": True},
        {"contract": {"result": {**leaky, **steps}, **secret}, "loop": [1, 2]},
        {"ansible.builtin.command": {"argv": ["echo", "{{ canary }}"]}, "no_log": True},
        {"ansible.builtin.fail": {"msg": "{{ canary }}"}, "no_log": True, "ignore_errors": True},
        {"contract": {"result": {**leaky, **steps}}, "no_log": True},
        {"ansible.builtin.uri": {"url": f"http://ana:{canary}@127.0.0.1:1/"}, "ignore_errors": True},
    ]
    playbook = runbooks.write(*tasks, vars={"canary": canary}, module_defaults={"contract": {"api_token": token}})
    away = {"ONCALL_JOURNAL_URL": f"postgresql://ana:{canary}@127.0.0.1:1/journal"}
    for environment in ({}, away):
        run = runbooks.run(playbook, **environment)
        assert run.rc == 0, run.output
    stored = [*runbooks.folder.glob("journal.db*"), *runbooks.spool.iterdir()]
    assert len(stored) >= 2 and runbooks.rows("SELECT count(*) FROM steps")[0] >= 6
    assert [
        path.name for path in stored if canary.encode() in path.read_bytes() or token.encode() in path.read_bytes()
    ] == []
    assert "journal: open the journal postgresql://ana:********@127.0.0.1:1" in run.output
    hidden = runbooks.rows("SELECT detail FROM steps WHERE detail LIKE 'hidden%'")
    assert hidden == ["hidden (no_log)"] * 2


# --- the journal is away ----------------------------------------------------------------------------------------


def test_the_run_goes_on_without_a_journal_and_the_next_one_takes_its_spool_in_once(
    runbooks: Runbooks, database: Database
) -> None:
    """The very address works again later: only the name of the database appears in between."""
    url = postgres_url(database).replace(database.name, f"{database.name}_later")
    playbook = runbooks.write(contract(**DONE), contract(**DONE))
    run = runbooks.run(playbook, ONCALL_JOURNAL_URL=url)
    assert run.rc == 0 and run.output.count("journal: ") == 1, run.output
    (file,) = runbooks.spool.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600 and str(file) in run.output
    database.execute(f'CREATE DATABASE "{database.name}_later"')
    try:
        started = [runbooks.start(playbook, ONCALL_JOURNAL_URL=url) for _number in range(2)]
        outputs = [process.communicate(timeout=300)[0] for process in started]
        assert [process.returncode for process in started] == [0, 0], outputs
        assert sum("entries of earlier runs were taken in" in output for output in outputs) == 1, outputs
        assert list(runbooks.spool.iterdir()) == []
        with open_journal(url) as journal:
            assert [one.status for one in journal.runs()] == ["warning"] * 3
            counts = journal.counts()
            assert (counts["steps"], counts["findings"], counts["samples"]) == (6, 6, 6)
            (series,) = journal.series()
            assert sum(day.count for day in journal.days([series.id])[series.id]) == 6
    finally:
        database.execute(f'DROP DATABASE "{database.name}_later" WITH (FORCE)')


def test_a_journal_that_goes_away_in_the_middle_loses_nothing(runbooks: Runbooks, throwaway_server: Any) -> None:
    server = throwaway_server()
    url = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    marker = runbooks.folder / "go"
    waiting = {"contract": {"result": DONE, "wait_for": str(marker)}}
    process = runbooks.start(runbooks.write(contract(**DONE), waiting, contract(**DONE)), ONCALL_JOURNAL_URL=url)
    wait_for(lambda: list(runbooks.spool.glob("*.jsonl")), process)
    (spool,) = runbooks.spool.glob("*.jsonl")
    wait_for(lambda: b'"samples"' in spool.read_bytes() or flushed(url), process)
    server.stop()
    marker.touch()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and output.count("journal: ") == 1, output
    server.start()
    assert runbooks.run(runbooks.write(contract()), ONCALL_JOURNAL_URL=url).rc == 0
    with open_journal(url) as journal:
        second, first = journal.runs()
        assert (first.status, second.status) == ("warning", "ok")
        assert len(journal.steps(first.id)) == len(journal.findings_of(first.id)) == 3
        assert journal.counts()["samples"] == 3
    assert list(runbooks.spool.iterdir()) == []


def flushed(url: str) -> bool:
    with contextlib.suppress(JournalSchema), open_journal(url) as journal:
        return journal.counts()["steps"] > 0
    return False


def newer(runbooks: Runbooks) -> None:
    with open_writer(str(runbooks.journal)) as writer:
        upgrade(
            writer.engine, "x", (*REVISIONS, revision("9999", REVISIONS[-1].revision, "CREATE TABLE a (b INTEGER)"))
        )


def corrupt(runbooks: Runbooks) -> None:
    runbooks.journal.write_bytes(os.urandom(20000))


def folder_instead(runbooks: Runbooks) -> None:
    runbooks.journal.mkdir()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (newer, "a newer version has been at work (update the collection"),
        (corrupt, "file is not a database (move the file away and keep it"),
        (folder_instead, "Is a directory"),
    ],
)
def test_a_journal_that_cannot_be_used_is_said_once_and_spooled(
    runbooks: Runbooks, trouble: Callable[[Runbooks], None], words: str
) -> None:
    trouble(runbooks)
    run = runbooks.run(runbooks.write(contract(**DONE), contract(**DONE)))
    assert run.rc == 0 and words in run.output and run.output.count("journal: ") == 1, run.output
    (file,) = runbooks.spool.glob("*.jsonl")
    assert len(file.read_text().splitlines()) == 4  # header, two results, end


def test_a_full_disk_under_journal_and_spool_is_said_and_the_run_goes_on(runbooks: Runbooks) -> None:
    with mounted(runbooks.folder / "disk", size="1m") as disk:
        environment = {"ONCALL_JOURNAL_URL": str(disk / "journal.db"), "ONCALL_JOURNAL_SPOOL": str(disk / "spool")}
        playbook = runbooks.write(contract(**DONE))
        assert runbooks.run(playbook, **environment).rc == 0
        with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
            while True:
                ballast.write(b"x" * 4096)
        run = runbooks.run(playbook, **environment)
        assert run.rc == 0 and "entries of this run are lost" in run.output, run.output
        (disk / "ballast").unlink()
        assert runbooks.run(playbook, **environment).rc == 0
        assert rows(disk / "journal.db", "SELECT status FROM runs") == ["warning"] * 2


def test_without_the_libraries_the_run_goes_on(runbooks: Runbooks) -> None:
    (runbooks.folder / "blocked" / "sqlalchemy").mkdir(parents=True)
    (runbooks.folder / "blocked" / "sqlalchemy" / "__init__.py").write_text("raise ImportError('not installed')")
    playbook = runbooks.write(contract(**DONE))
    run = runbooks.run(playbook, PYTHONPATH=str(runbooks.folder / "blocked"))
    assert run.rc == 0 and "install sqlalchemy and alembic" in run.output and "Callback" not in run.output, run.output
    assert runbooks.run(playbook).rc == 0
    assert [one.status for one in runbooks.runs()] == ["warning", "warning"]  # the first one came in from the spool


# --- runs that die, and runs at once ----------------------------------------------------------------------------


def test_a_run_that_is_killed_loses_nothing_and_is_known_as_interrupted(runbooks: Runbooks) -> None:
    marker = runbooks.folder / "never"
    playbook = runbooks.write(contract(**DONE), {"contract": {"wait_for": str(marker)}})
    process = runbooks.start(playbook)
    wait_for(lambda: kept(runbooks, "steps"), process)
    (spool,) = runbooks.spool.glob("*.jsonl")
    assert [one.status for one in runbooks.runs()] == ["running"]
    os.kill(process.pid, signal.SIGKILL)
    marker.touch()  # the worker ends by itself
    process.communicate(timeout=60)
    assert [one.status for one in runbooks.runs()] == ["interrupted"]  # readers see it at once
    wait_for(lambda: not locked(spool))
    assert runbooks.run(runbooks.write(contract())).rc == 0
    assert runbooks.rows("SELECT status, ended_at IS NULL FROM runs ORDER BY started_at") == [
        ("interrupted", 1),
        ("ok", 0),
    ]
    assert runbooks.rows("SELECT target FROM steps") == ["t"] and list(runbooks.spool.iterdir()) == []


def kept(runbooks: Runbooks, kind: str) -> bool:
    """Tell whether a record of this kind is in the journal or in a spool."""
    with contextlib.suppress(sqlite3.OperationalError):
        if runbooks.rows(f"SELECT 1 FROM {kind}"):
            return True
    return any(f'"{kind}"' in path.read_text() for path in runbooks.spool.glob("*.jsonl"))


def locked(path: Path) -> bool:
    program = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=False).returncode != 0


def test_runs_at_once_share_the_journal(runbooks: Runbooks) -> None:
    """The first of them makes the tables while the others wait."""
    playbook = runbooks.write(contract(**DONE), contract(**DONE), hosts="database")
    started = [runbooks.start(playbook) for _number in range(4)]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4, outputs
    assert not any("journal: " in output for output in outputs), outputs
    assert [(one.status, one.hosts) for one in runbooks.runs()] == [("warning", 2)] * 4
    assert runbooks.rows("SELECT count(*) FROM steps") == [16]
    assert runbooks.rows("SELECT count, host FROM sample_days JOIN series ON id = series_id ORDER BY host") == [
        (8, "db1"),
        (8, "db2"),
    ]
    assert list(runbooks.spool.iterdir()) == []


def test_a_busy_journal_is_waited_for(runbooks: Runbooks) -> None:
    assert runbooks.run(runbooks.write(contract())).rc == 0
    holder = sqlite3.connect(runbooks.journal, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    process = runbooks.start(runbooks.write(contract(**DONE)))
    wait_for(lambda: list(runbooks.spool.glob("*.jsonl")), process)
    holder.execute("ROLLBACK")
    holder.close()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "journal: " not in output, output
    assert [one.status for one in runbooks.runs()] == ["ok", "warning"]


def test_the_whole_journal_is_data(runbooks: Runbooks) -> None:
    """Hostile texts are kept as printable text and reach no terminal as escapes."""
    hostile = "\x1b[31m<script>alert(1)</script>\n{{ 7*7 }} \u202e '; DROP TABLE runs; -- "
    (runbooks.folder / "vars.json").write_text(json.dumps({"hostile": {"__ansible_unsafe": hostile}}))
    task = {"contract": {"result": {"findings": [{**WARNING, "msg": "{{ hostile }}", "check": "{{ hostile }}"}]}}}
    run = runbooks.run(runbooks.write(task), "-e", f"@{runbooks.folder / 'vars.json'}")
    assert run.rc == 0, run.output
    ((check, msg),) = runbooks.rows("SELECT check_name, msg FROM findings")
    assert msg.isprintable() and check == msg and "<script>" in msg and "\\x1b[31m" in msg


def test_the_runbook_prunes_and_shows_the_runs(tmp_path: Path) -> None:
    playbooks = Playbooks(tmp_path)
    playbooks.write_inventory({"database": {}}, preflight_lock_directory=str(tmp_path / "locks"))
    with open_writer(str(playbooks.journal)) as writer:
        writer.apply([batch_of("old", 0, run=run_of("old", started_at=1.0))])
    playbook = ROOT / "playbooks" / "journal.yml"
    checked = playbooks.run(playbook, "--check")
    assert checked.rc == 0 and "1 run to be removed" in checked.output, checked.output
    run = playbooks.run(playbook)
    assert run.rc == 0 and "1 run removed" in run.output, run.output
    assert "journal  running" in run.output and "BEGAN" in run.output
