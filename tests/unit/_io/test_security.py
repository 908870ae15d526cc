"""dnf by script, the reboot from a made-up /proc and /run, and what a process file system says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plugins.module_utils._core import security_dnf as dnf
from plugins.module_utils._core.errors import LockBusy, OpsError, TimedOut
from plugins.module_utils._io.command import Completed
from plugins.module_utils._io.security_dnf import Dnf
from plugins.module_utils._io.security_host import reboot_of
from plugins.module_utils._io.service_launch import launch
from plugins.module_utils._io.service_processes import read_processes, start_time
from tests.support.dialogue import Dialogue, FakeClock, Line

RECORDED = Path(__file__).resolve().parents[2] / "data" / "dnf"
CHECK, UPDATES, ALL = dnf.check_command(False), dnf.advisories_command("updates"), dnf.advisories_command("all")


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def no_launch(argv: Sequence[str], timeout: float, env: Mapping[str, str] | None) -> Completed:
    raise AssertionError("nothing is to be installed")


def test_dnf_is_asked_for_updates_advisories_and_versions() -> None:
    script = [Line(CHECK, recorded("check_update"), rc=100), Line(UPDATES, recorded("updateinfo"))]
    commands = Dialogue([*script, Line(dnf.RPM, recorded("rpm_qa"))])
    facts = Dnf(commands, FakeClock(), no_launch).read(None)
    commands.assert_over()
    assert len(facts.updates) == 3 and facts.has_security_source and not facts.lists_problem


@pytest.mark.parametrize(("advisories", "knows"), [("RHSA-1 Low/Sec. x-1-1.noarch\n", True), ("", False)])
def test_nothing_pending_proves_something_only_when_there_are_advisories(advisories: str, knows: bool) -> None:
    commands = Dialogue([Line(CHECK), Line(ALL, advisories), Line(dnf.RPM, recorded("rpm_qa"))])
    assert Dnf(commands, FakeClock(), no_launch).read(None).has_security_source is knows


def test_a_repository_that_cannot_be_reached_makes_the_answer_unknown() -> None:
    commands = Dialogue([Line(CHECK, rc=1, stderr="Error: Failed to download metadata for repo 'gone'\n")])
    assert "Failed to download" in Dnf(commands, FakeClock(), no_launch).read(None).lists_problem


def test_a_busy_dnf_is_waited_for_and_then_named() -> None:
    clock, answers = FakeClock(), [Completed(200, "", "locked"), Completed(0, "", "")]
    manager = Dnf(Dialogue([]), clock, lambda *_args: answers.pop(0))
    manager.install(("dnf", "upgrade", "x"), 60, 10)
    assert answers == [] and clock.elapsed > 0
    with pytest.raises(LockBusy):
        Dnf(Dialogue([]), clock, lambda *_args: Completed(200, "", "locked")).install(("dnf",), 0, 10)


def test_a_transaction_that_fails_says_why() -> None:
    output = "Running scriptlet\nError: Transaction failed\n"
    with pytest.raises(OpsError) as failed:
        Dnf(Dialogue([]), FakeClock(), lambda *_args: Completed(1, "", output)).install(("dnf",), 0, 10)
    assert failed.value.code == "packages_failed" and "Error: Transaction failed" in failed.value.message


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A /run without a wish for a reboot, and a /proc of a host that runs 6.1.0-37."""
    (tmp_path / "run").mkdir()
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0-37-amd64\n")
    (tmp_path / "proc/version").write_text("Linux version 6.1.0-37-amd64 (x) #1 SMP Debian 6.1.140-1 (2025-05-22)\n")
    return tmp_path


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [
        ({}, None),
        ({"6.1.0-37-amd64": "6.1.140-1"}, None),
        ({"6.1.0-37-amd64": "6.1.140-1", "6.1.0-9-amd64": "6.1.27-1"}, None),
        ({"6.1.0-37-amd64": "6.1.140-1", "6.1.0-40-amd64": "6.1.153-1"}, "6.1.0-40-amd64 is installed"),
        ({"6.1.0-37-amd64": "6.1.141-1"}, "runs as built in 6.1.140-1, 6.1.141-1 is installed"),
    ],
)
def test_a_newer_kernel_wants_a_reboot(host: Path, kernels: dict[str, str], reason: str | None) -> None:
    found = reboot_of(kernels, host / "run", host / "proc")
    assert [reason in text for text in found.reasons if reason] == ([True] if reason else [])
    assert bool(found.reasons) == bool(reason)


def test_packages_may_ask_for_a_reboot(host: Path) -> None:
    (host / "run/reboot-required").touch()
    assert reboot_of({}, host / "run", host / "proc").reasons == ("an update asked for it",)
    (host / "run/reboot-required.pkgs").write_text("dbus\nlinux-image-6.1.0-40-amd64\ndbus\n")
    found = reboot_of({}, host / "run", host / "proc")
    assert found.packages == ("dbus", "linux-image-6.1.0-40-amd64") and "dbus" in found.reasons[0]


def test_a_kernel_that_cannot_be_read_is_unknown(host: Path) -> None:
    (host / "proc/version").unlink()
    assert "version" in reboot_of({}, host / "run", host / "proc").unknown


def test_real_processes_are_read_with_their_parents() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        processes = {process.pid: process for process in read_processes()}
        child.kill()
    assert processes[child.pid].parent == os.getpid() and processes[os.getpid()].stale is not None


def test_a_process_is_known_by_when_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        began = start_time(child.pid)
        assert began is not None and began >= (start_time(os.getpid()) or 0)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(child.pid) is None, "a zombie does not run"
    assert start_time(child.pid) is None


def made_up_proc(folder: Path, pid: int, *, stat: str, maps: str = "", cgroup: str = "0::/\n") -> None:
    entry = folder / str(pid)
    (entry / "ns").mkdir(parents=True)
    (entry / "ns/pid").symlink_to("pid:[1]" if pid != 300 else "pid:[2]")
    for name, text in {"stat": stat, "maps": maps, "cgroup": cgroup}.items():
        (entry / name).write_text(text)


def test_odd_names_and_containers_do_not_mislead(tmp_path: Path) -> None:
    deleted = "7f-7f r-xp 0 08:01 1  /usr/lib/x.so (deleted)\n"
    made_up_proc(tmp_path, 100, stat="100 (a) b) S 1 1 1", maps=deleted, cgroup="0::/system.slice/a.service\n")
    made_up_proc(tmp_path, 300, stat="300 (c) S 1 1 1", maps=deleted)
    (tmp_path / "self").symlink_to("100")
    (tmp_path / "uptime").write_text("1")
    (process,) = read_processes(tmp_path)
    assert (process.pid, process.parent, process.name, process.unit) == (100, 1, "a) b", "a.service")
    assert process.stale == ("/usr/lib/x.so",)


def test_what_a_command_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >{tmp_path}/pid; echo started; exit 3"
    done = launch(["sh", "-c", script], 10)
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert (done.rc, done.stderr) == (3, "started\n")


def test_a_command_without_an_end_is_killed_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(TimedOut):
        launch(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; wait"], 0.5)
    child = int((tmp_path / "pid").read_text())
    while start_time(child) is not None:
        pass
