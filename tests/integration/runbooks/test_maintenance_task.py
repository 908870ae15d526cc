"""postgresql_maintenance as a task of a playbook: what a person sees meanwhile, and the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.maintenance import MODULE, SLOW, arguments, make_needy, statuses, until
from tests.support.playbooks import ROOT
from tests.support.servers import Database

VACUUMING = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'slow'::regclass"


def playbook(folder: Path, task: dict[str, Any], *options: str) -> subprocess.Popen[str]:
    keep = {"copy": {"content": "{{ result | to_json }}", "dest": str(folder / "result.json")}, "check_mode": False}
    tasks = [{f"oncall.runbooks.{MODULE}": task, "register": "result", "ignore_errors": True}, keep]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **{name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
        "ANSIBLE_ASYNC_DIR": str(folder / "jobs"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    python = f"ansible_python_interpreter={sys.executable}"
    return subprocess.Popen(
        [program, "-i", "localhost,", "-c", "local", "-e", python, *options, str(folder / "play.yml")],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_person_sees_which_table_how_far_and_how_much_time_is_left(database: Database, tmp_path: Path) -> None:
    make_needy(database, "slow", rows=3000)
    slow = {**SLOW, "vacuum_cost_delay": "50ms", "budget": "1h", "table_timeout": "60s"}
    process = playbook(tmp_path, arguments(database, **slow))
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if line.startswith("[localhost] public.slow vacuum") and "%" in line:
            seen.append(line)
            if len(seen) == 1:  # a line after the cancel was on its way before it
                ((session,),) = until(lambda: database.fetch(VACUUMING), "the slow table to be vacuumed")
                database.fetch("SELECT pg_cancel_backend(%s)", session)
    process.wait()
    assert seen and "0 of 1 tables" in seen[0] and " of 1 h" in seen[0]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["failed"], result["failure"]["code"]) == (True, "cancelled")
    assert not {"started", "finished", "ansible_job_id", "results_file"} & result.keys()


def test_a_playbook_run_gives_the_same_result_as_the_module_alone(database: Database, tmp_path: Path) -> None:
    make_needy(database, "t")
    predicted = playbook(tmp_path, arguments(database), "--check")
    output, _unused = predicted.communicate(timeout=60)
    plan = json.loads((tmp_path / "result.json").read_text())["plan"]
    real = playbook(tmp_path, arguments(database))
    output, _unused = real.communicate(timeout=60)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["plan"], result["changed"], statuses(result)) == (plan, True, {"public.t": "done"}), output
    assert not {"started", "finished", "ansible_job_id", "results_file"} & result.keys()
