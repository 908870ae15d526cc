"""The role log_management, run by ansible-playbook: directories under a live writer, and logrotate where it fits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.logs import everything, generations, numbered, stopped, wait_for, writer
from tests.support.playbooks import Playbooks, Run

LOGROTATE = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
IS_ROOT = os.geteuid() == 0
needs_logrotate = pytest.mark.skipif(
    LOGROTATE is None or not IS_ROOT,
    reason="logrotate is not installed, or we are not root: the drill does this on a real host",
)
PLAY = """
- name: Role
  hosts: app
  gather_facts: false
  environment:
    PATH: "{{{{ programs }}}}:{{{{ lookup('env', 'PATH') }}}}"
  tasks:
    - name: Role
      ansible.builtin.import_role:
        name: oncall.runbooks.log_management
        {step}
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
  "show logrotate.timer") printf 'LoadState=loaded\\nActiveState={active}\\nUnitFileState={enabled}\\n';;
  show*logrotate.timer*logrotate.service)
    printf 'Id=logrotate.timer\\nActiveState={active}\\nUnitFileState={enabled}\\nResult=success\\n\\n'
    printf 'Id=logrotate.service\\nActiveState=inactive\\nUnitFileState=static\\nResult={result}\\n';;
  is-enabled*) echo {enabled}; test {enabled} = enabled;;
  *) exit 0;;
esac
"""


class Host:
    """A host with logs, an etc of its own, and a PATH on which logrotate and systemctl are found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.etc = folder / "etc"
        self.programs = folder / "bin"
        self.state = folder / "status"
        for path in (self.logs, self.etc / "logrotate.d", self.programs):
            path.mkdir(parents=True)
        self.config = self.etc / "logrotate.conf"
        self.config.write_text(f"weekly\ninclude {self.etc / 'logrotate.d'}\n")
        self.playbooks = Playbooks(folder)

    def variables(self, **changes: Any) -> dict[str, Any]:
        return {
            "log_management_logrotate_packages": [],
            "log_management_logrotate_directory": str(self.etc / "logrotate.d"),
            "log_management_logrotate_config": str(self.config),
            "log_management_logrotate_state": str(self.state),
            "log_management_logrotate_scheduler": "none",
            **changes,
        }

    def program(self, name: str, text: str, case: str = "") -> None:
        """Put a script on the PATH, of one case only if there are several."""
        folder = self.programs / case
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def play(
        self,
        *arguments: str,
        step: str = "",
        hosts: dict[str, dict[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> Run:
        inventory = hosts or {"app1": {"programs": str(self.programs)}}
        self.playbooks.write_inventory({"app": inventory}, **self.variables(**changes))
        path = self.folder / "play.yml"
        path.write_text(PLAY.format(step=f"tasks_from: {step}" if step else ""))
        tool = Path(LOGROTATE).parent if LOGROTATE else "/nowhere"
        return self.playbooks.run(path, "-v", *arguments, PATH=f"{os.environ['PATH']}:{tool}", **(environment or {}))

    def rendered(self, name: str = "shop") -> str:
        return (self.etc / "logrotate.d" / name).read_text()


@pytest.fixture
def host() -> Iterator[Host]:
    """Where other users reach it too: logrotate changes to them; pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="log-management-") as folder:
        Path(folder).chmod(0o755)
        yield Host(Path(folder))


def changes(run: Run) -> int:
    counts = re.findall(r"^app1 +: ok=\d+ +changed=(\d+)", run.output, re.MULTILINE)
    assert counts, run.output
    return int(counts[0])


def test_by_default_nothing_is_done(host: Host) -> None:
    (host.logs / "app.log").write_text("line\n")
    run = host.play()
    assert (run.rc, changes(run)) == (0, 0), run.output


def test_check_predicts_the_run_changes_and_a_second_run_finds_nothing(host: Host) -> None:
    (host.logs / "idle.log").write_text("line\n")
    with writer(host.logs / "app.log", pause=0.01) as process:
        wait_for(lambda: (host.logs / "app.log").stat().st_size, "the first line")
        pid_file = host.folder / "app.pid"
        pid_file.write_text(str(process.pid))
        reopen = {"method": "signal", "pid_file": str(pid_file), "timeout": "20s"}
        directories = [
            {"path": str(host.logs), "patterns": ["app.log"], "compress": "zstd", "reopen": reopen},
            {"path": str(host.logs), "patterns": ["idle.log"], "keep": 3},
        ]
        before = sorted(path.name for path in host.logs.iterdir())
        planned = host.play("--check", "--diff", log_management_directories=directories)
        assert (planned.rc, changes(planned)) == (0, 1), planned.output
        assert sorted(path.name for path in host.logs.iterdir()) == before
        done = host.play("--diff", log_management_directories=directories)
        assert (done.rc, changes(done)) == (0, 1), done.output
        again = host.play(log_management_directories=directories)
        assert (again.rc, changes(again)) == (0, 0), again.output
        assert "nothing to do" in again.output
        written = stopped(process)
    assert everything(host.logs, "app.log") == numbered(written)
    assert [path.suffix for path in generations(host.logs, "app.log")] == [".zst"]
    assert everything(host.logs, "idle.log") == b"line\n"


def test_one_directory_that_fails_does_not_keep_the_others_from_their_turn(host: Host) -> None:
    (host.logs / "app.log").write_text("line\n")
    directories = [{"path": "/nowhere/at/all"}, {"path": str(host.logs)}]
    run = host.play(log_management_directories=directories)
    assert run.rc == 2 and "path_missing" in run.output, run.output
    assert len(generations(host.logs, "app.log")) == 1


def test_progress_is_shown_while_a_directory_is_done(host: Host) -> None:
    for number in range(30):
        (host.logs / f"app{number}.log").write_bytes(os.urandom(3_000_000))
    directories = [{"path": str(host.logs), "compress": "zstd", "compress_level": 12, "jobs": 1}]
    run = host.play(log_management_directories=directories)
    assert run.rc == 0, run.output
    assert re.search(r"\[app1\] app\d+\.log (rotate|compress), \d+ of 60 operations", run.output), run.output


def entry(host: Host, **options: Any) -> dict[str, Any]:
    return {"name": "shop", "paths": [str(host.logs / "*.log")], **options}


@needs_logrotate
def test_configuration_is_rendered_proven_and_does_rotate(host: Host) -> None:
    (host.logs / "app.log").write_text("line\n")
    entries = [entry(host, rotate=7, size=1, postrotate=f"touch {host.folder}/told", create="0640 root root")]
    planned = host.play("--check", "--diff", log_management_logrotate=entries)
    assert (planned.rc, changes(planned)) == (0, 1), planned.output
    assert not (host.etc / "logrotate.d" / "shop").exists()
    done = host.play(log_management_logrotate=entries)
    assert (done.rc, changes(done)) == (0, 1), done.output
    again = host.play(log_management_logrotate=entries)
    assert (again.rc, changes(again)) == (0, 0), again.output
    assert " su " not in host.rendered()
    subprocess.run([str(LOGROTATE), "--state", host.state, host.config], check=True)
    assert (host.logs / "app.log.1.gz").exists() and (host.folder / "told").exists()
    gone = host.play(log_management_logrotate=[{"name": "shop", "state": "absent"}])
    assert (gone.rc, changes(gone)) == (0, 1), gone.output
    assert list((host.etc / "logrotate.d").iterdir()) == []


@needs_logrotate
@pytest.mark.parametrize(("mode", "group"), [(0o777, 0), (0o775, 65534)])
def test_a_directory_that_others_write_to_gets_the_su_line_without_which_it_is_skipped(
    host: Host, mode: int, group: int
) -> None:
    """logrotate 3.21 skips such a log with an error, and the run that does so is otherwise green."""
    os.chown(host.logs, 65534, group)
    host.logs.chmod(mode)
    (host.logs / "app.log").write_text("line\n")
    os.chown(host.logs / "app.log", 65534, group)
    entries = [entry(host, size=1)]
    run = host.play(log_management_logrotate=entries)
    assert run.rc == 0, run.output
    assert f"su nobody {'root' if group == 0 else 'nogroup'}\n" in host.rendered()
    subprocess.run([str(LOGROTATE), "--state", host.state, host.config], check=True)
    assert (host.logs / "app.log.1.gz").exists()


@needs_logrotate
def test_what_logrotate_complains_about_is_not_installed(host: Host) -> None:
    (host.logs / "app.log").write_text("line\n")
    wrong = [{"frequency": "dayly"}, {"options": ["rotat 3"]}, {"su": "nobody-of-this-name root"}, {"rotate": "many"}]
    entries = [entry(host, name=f"wrong{number}", **options) for number, options in enumerate(wrong)]
    run = host.play(log_management_logrotate=entries)
    assert run.rc == 2 and run.output.count("msg: failed to validate") == len(wrong), run.output
    assert "unknown option 'dayly'" in run.output, "what is wrong is said"
    assert list((host.etc / "logrotate.d").iterdir()) == []


@needs_logrotate
def test_a_log_that_two_files_name_is_found(host: Host) -> None:
    """Each file is right by itself; together logrotate leaves one of them out."""
    (host.logs / "app.log").write_text("line\n")
    entries = [entry(host), entry(host, name="twice")]
    run = host.play(log_management_logrotate=entries)
    assert run.rc == 2 and "duplicate log entry" in run.output, run.output


GOOD = {"active": "active", "enabled": "enabled", "result": "success"}
OK_LOGROTATE = "#!/bin/sh\necho 'reading config file' >&2\n"
DUPLICATE = "#!/bin/sh\necho 'error: nginx:1 duplicate log entry for x' >&2\n"


READ, ALIVE = "Logrotate reads its whole configuration without a complaint", "Logrotate is alive"


@dataclass(frozen=True)
class Case:
    """What a host says of its logrotate; ages in hours, None is not there. ``task`` must fail with ``words``."""

    task: str = ""
    words: str = ""
    timer: Mapping[str, str] | None = None
    logrotate: str = OK_LOGROTATE
    debian: float | None = None
    redhat: float | None = None
    configured: float | None = None


CASES = {
    "alive": Case(timer=GOOD, debian=1),
    "stopped": Case(ALIVE, "logrotate.timer is inactive", {**GOOD, "active": "inactive"}, debian=1),
    "disabled": Case(ALIVE, "logrotate.timer is disabled", {**GOOD, "enabled": "disabled"}, debian=1),
    "last-failed": Case(ALIVE, "logrotate.service ended with exit-code", {**GOOD, "result": "exit-code"}, debian=1),
    "complains": Case(READ, "duplicate log entry", logrotate=DUPLICATE, debian=1),
    "fails": Case(READ, "non-zero return code", logrotate="#!/bin/sh\nexit 1\n", debian=1),
    "silent": Case(ALIVE, "status for 2 d 3 h", debian=51),
    "not-yet-silent": Case(debian=49),
    "redhat": Case(redhat=49),
    "redhat-silent": Case(ALIVE, "logrotate.status for 2 d 3 h", redhat=51),
    "moved": Case(debian=9000, redhat=49),
    "new": Case(configured=0),
    "never-ran": Case(ALIVE, "since it was configured 2 d 3 h ago", configured=51),
    "of-others": Case(ALIVE, "has never written"),
}


def made(host: Host, name: str, case: Case) -> dict[str, Any]:
    """Make a host of a case and return its variables."""
    host.program("logrotate", case.logrotate, name)
    host.program("systemctl", SYSTEMCTL.format(**case.timer or GOOD), name)
    folder = host.folder / name
    folder.mkdir()
    paths = {folder / "status": case.debian, folder / "logrotate.status": case.redhat, folder / "shop": case.configured}
    for path, age_hours in paths.items():
        if age_hours is not None:
            path.write_text("logrotate state -- version 2\n")
            os.utime(path, (time.time() - age_hours * 3600,) * 2)
    return {
        "programs": str(host.programs / name),
        "log_management_logrotate": [
            {"name": "gone", "state": "absent"},
            *([entry(host)] if case.configured is not None else []),
        ],
        "log_management_logrotate_directory": str(folder),
        "log_management_logrotate_state": [str(folder / "status"), str(folder / "logrotate.status")],
        "log_management_logrotate_scheduler": "systemd" if case.timer else "none",
    }


def test_what_is_wrong_with_logrotate_is_found(host: Host) -> None:
    """Each host is a case; systemctl and logrotate are played by scripts, the drill uses the real ones.

    The controller is far from UTC, which must not change the hours.
    """
    hosts = {name: made(host, name, case) for name, case in CASES.items()}
    run = host.play(step="verify", hosts=hosts, environment={"TZ": "Pacific/Kiritimati"})
    failed = {
        name: (task, " ".join(text.split()))
        for task, part in re.findall(
            r"TASK \[oncall.runbooks.log_management : (.*?)\] \*+(.*?)(?=\nTASK|\nPLAY)", run.output, re.S
        )
        for name, text in re.findall(r"^fatal: \[([\w-]+)\]: (.*?)(?=\n\w+: \[|\Z)", part, re.M | re.S)
    }
    wanted = {name: case for name, case in CASES.items() if case.task}
    assert {name: task for name, (task, _text) in failed.items()} == {n: case.task for n, case in wanted.items()}, run
    assert [name for name, case in wanted.items() if case.words not in failed[name][1]] == [], run.output


def test_a_variable_that_means_nothing_is_refused(host: Host) -> None:
    run = host.play(log_management_logrotate_scheduler="sometimes")
    assert run.rc == 2 and "sometimes" in run.output
