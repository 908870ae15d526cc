"""Real ansible-playbook runs of a slow module under the shared action class."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
UTILS = "ansible_collections.oncall.runbooks.plugins"

ACTION = f"""
from {UTILS}.plugin_utils.progress import ProgressAction


class ActionModule(ProgressAction):
    pass
"""

MODULE = f"""#!/usr/bin/python
import pathlib
import time
from ansible.module_utils.basic import AnsibleModule
from {UTILS}.module_utils._core.errors import OpsError
from {UTILS}.module_utils._core.progress import Progress
from {UTILS}.module_utils._io.progress import ProgressFile

def main():
    options = {{"progress_file": {{"type": "path"}}, "pid_file": {{"type": "path"}}, "go_on": {{"type": "path"}},
                "fail": {{"type": "bool"}}, "slow_start": {{"type": "path"}}}}
    module = AnsibleModule(options, supports_check_mode=True)
    if module.params["slow_start"]:
        begun = pathlib.Path(module.params["slow_start"])
        begun.touch()
        while begun.exists():
            time.sleep(0.02)
    progress = ProgressFile(module.params["progress_file"], time.monotonic, every=0)
    try:
        progress.begin()
    except OpsError as error:
        module.fail_json(msg=error.message)
    progress.show(Progress("public.events", "vacuum", 3, 57, "tables", 720, 3600, 41.2))
    if module.params["pid_file"]:
        import os
        pathlib.Path(module.params["pid_file"]).write_text(str(os.getpid()))
    while module.params["go_on"] and not pathlib.Path(module.params["go_on"]).exists():
        time.sleep(0.02)
    if module.params["fail"]:
        module.fail_json(msg="broken", failure={{"code": "disk_full"}}, steps=[1])
    module.warn("mind the gap")
    module.exit_json(changed=True, steps=[1, 2], wanted=progress.wanted)

main()
"""
CONNECTION = """
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = "name: far\\nshort_description: a host that is not this one\\ndescription: [as over ssh]"


class Connection(Local):
    transport = "far"
    _remote_is_local = False
"""
LINE = "[localhost] public.events vacuum 41 %, 3 of 57 tables, 12 min of 1 h"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "connection_plugins").mkdir()
    (tmp_path / "action_plugins" / "slow_work.py").write_text(ACTION)
    (tmp_path / "library" / "slow_work.py").write_text(MODULE)
    (tmp_path / "connection_plugins" / "far.py").write_text(CONNECTION)
    return tmp_path


def expect_the_end(folder: Path) -> None:
    """Let the action hope for the result of a dead module for a moment only: here there will never be one."""
    (folder / "action_plugins" / "slow_work.py").write_text(ACTION.replace("pass", "dead_seconds = 1.0"))


def start(folder: Path, arguments: dict[str, Any], *options: str, **keywords: Any) -> subprocess.Popen[str]:
    task = {"slow_work": arguments, "register": "result", **keywords}
    keep = {"copy": {"content": "{{ result | to_json }}", "dest": str(folder / "result.json")}, "check_mode": False}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task, keep]}]
    (folder / "play.yml").write_text(json.dumps(play))
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",  # ansible-playbook itself does not flush what it writes to a pipe
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
        "ANSIBLE_ASYNC_DIR": str(folder / "async dir"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
    }
    environment.pop("ANSIBLE_CONFIG", None)
    program = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    return subprocess.Popen(
        [*program, "-e", f"ansible_python_interpreter={sys.executable}", *options, str(folder / "play.yml")],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    output = ""
    assert process.stdout is not None
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(output)


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def leftovers(folder: Path) -> list[str]:
    return [str(path) for part in ("async dir", "remote") for path in (folder / part).glob("*")]


def test_the_line_is_seen_while_the_module_works_and_the_result_is_clean(folder: Path) -> None:
    process = start(folder, {"go_on": str(folder / "go")})
    read_until(process, LINE)
    assert process.poll() is None
    (folder / "go").touch()
    output, _unused = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "mind the gap" in output
    result = result_of(folder)
    assert (result["steps"], result["changed"], result["wanted"]) == ([1, 2], True, True)
    assert not {"started", "finished", "ansible_job_id", "results_file"} & result.keys()
    wait_for(lambda: not leftovers(folder), f"files stay behind: {leftovers(folder)}")


def test_a_host_that_is_not_the_controller_shows_lines_too(folder: Path) -> None:
    process = start(folder, {"go_on": str(folder / "go")}, "-e", "ansible_connection=far")
    read_until(process, LINE)
    (folder / "go").touch()
    output, _unused = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert result_of(folder)["steps"] == [1, 2]


def test_without_a_folder_for_jobs_the_module_runs_plainly(folder: Path) -> None:
    (folder / "async dir").write_text("a file where the folder should be")
    process = start(folder, {})
    output, _unused = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert result_of(folder)["wanted"] is False


def test_a_module_that_fails_fails_with_its_own_result(folder: Path) -> None:
    process = start(folder, {"fail": True}, ignore_errors=True)
    output, _unused = process.communicate(timeout=60)
    result = result_of(folder)
    assert (result["failed"], result["msg"], result["failure"]["code"]) == (True, "broken", "disk_full"), output
    assert result["steps"] == [1]
    assert not {"started", "finished", "ansible_job_id"} & result.keys()


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        (["--check"], {}),
        ([], {"no_log": True}),
        (["-e", "oncall_progress=false"], {}),
        ([], {"async": 60, "poll": 1}),
    ],
    ids=["check mode", "no_log", "switched off", "the user's own async"],
)
def test_the_module_runs_plainly(folder: Path, options: list[str], keywords: dict[str, Any]) -> None:
    process = start(folder, {}, *options, **keywords)
    output, _unused = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert LINE not in output
    assert result_of(folder)["wanted"] is False
    assert ("ansible_job_id" in result_of(folder)) is ("async" in keywords)


def test_a_task_timeout_ends_the_module_too(folder: Path) -> None:
    process = start(folder, {"pid_file": str(folder / "pid"), "go_on": str(folder / "never")}, timeout=3)
    output, _unused = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "timed out" in output.lower() or "timeout" in output.lower(), output
    wait_for(lambda: not at_work(folder), "the module goes on")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_the_playbook_ends_the_module_too(folder: Path, signum: signal.Signals) -> None:
    process = start(folder, {"pid_file": str(folder / "pid"), "go_on": str(folder / "never")})
    read_until(process, LINE)
    wait_for((folder / "pid").exists, "the module did not start")
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait_for(lambda: not at_work(folder), "the module goes on")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_module_that_has_not_said_who_it_is_ends_too(folder: Path, signum: signal.Signals) -> None:
    process = start(folder, {"slow_start": str(folder / "begun"), "go_on": str(folder / "never")})
    wait_for((folder / "begun").exists, "the module did not start")
    process.send_signal(signum)
    process.communicate(timeout=60)
    (folder / "begun").unlink()
    wait_for(lambda: not at_work(folder), "the module goes on")
    assert not list((folder / "async dir").glob("*.stop"))


def test_a_second_signal_does_not_interrupt_the_stopping(folder: Path) -> None:
    process = start(folder, {"pid_file": str(folder / "pid"), "go_on": str(folder / "never")})
    read_until(process, LINE)
    wait_for((folder / "pid").exists, "the module did not start")
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGSTOP)  # so that both are delivered at once, as on a host that is busy
    process.send_signal(signal.SIGINT)
    os.kill(worker, signal.SIGTERM)
    os.kill(worker, signal.SIGCONT)
    process.communicate(timeout=60)
    wait_for(lambda: not at_work(folder), "the module goes on")


def test_a_killed_module_is_a_failure(folder: Path) -> None:
    expect_the_end(folder)
    process = start(folder, {"pid_file": str(folder / "pid"), "go_on": str(folder / "never")}, ignore_errors=True)
    read_until(process, LINE)
    wait_for((folder / "pid").exists, "the module did not start")
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    output, _unused = process.communicate(timeout=60)
    assert result_of(folder)["failed"] is True and result_of(folder)["failure"]["code"] == "module_lost", output


def test_a_module_that_is_gone_with_its_wrapper_is_a_failure(folder: Path) -> None:
    expect_the_end(folder)
    process = start(folder, {"pid_file": str(folder / "pid"), "go_on": str(folder / "never")}, ignore_errors=True)
    read_until(process, LINE)
    wait_for((folder / "pid").exists, "the module did not start")
    os.killpg(os.getpgid(int((folder / "pid").read_text())), signal.SIGKILL)
    output, _unused = process.communicate(timeout=60)
    assert result_of(folder)["failure"]["code"] == "module_lost", output


def at_work(folder: Path) -> list[int]:
    """Return the processes that run the module or its wrapper: both are started from the folder for files."""
    found, files = [], str(folder / "remote").encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if files in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
