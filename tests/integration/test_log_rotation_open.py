"""Logs that a process holds open: it is told, and proven to write to the new file; or nothing is touched."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io import log_rotation_copy
from plugins.module_utils._io.log_rotation_holders import Processes, open_for_writing
from tests.support.logs import everything, generations, numbered, rotate, snapshot, stopped, wait_for, writer
from tests.support.modules import run_failed, run_ok


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "logs"
    path.mkdir()
    return path


@pytest.fixture
def log(folder: Path) -> Path:
    return folder / "app.log"


@pytest.fixture
def process(log: Path) -> Iterator[subprocess.Popen[str]]:
    with writer(log) as running:
        wait_for(lambda: log.stat().st_size, "the first line")
        yield running


@pytest.fixture
def pid_file(tmp_path: Path, process: subprocess.Popen[str]) -> Path:
    path = tmp_path / "app.pid"
    path.write_text(f"{process.pid}\n")
    return path


@pytest.fixture
def network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log directory is a network file system: it is among the mounts, and gives no lease."""
    real = fcntl.fcntl

    def no_lease(fd: int, command: int, *rest: Any) -> Any:
        if command == fcntl.F_SETLEASE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, command, *rest)

    mounts = [(folder.stat().st_dev, f"{folder}/")]
    monkeypatch.setattr("plugins.module_utils._io.log_rotation_holders._remote_mounts", lambda: iter(mounts))
    monkeypatch.setattr(fcntl, "fcntl", no_lease)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tails(folder: Path) -> list[str]:
    """How the generations of app.log end: nothing for a plain one."""
    return [path.name[len("app.log-20261121T074500Z") :] for path in generations(folder, "app.log")]


def held_by(pid: int, path: Path) -> bool:
    info = path.stat()
    return (info.st_dev, info.st_ino) in Processes().written_by(pid)


def halt(process: subprocess.Popen[str]) -> None:
    """Stop a process, and wait until it does nothing any more."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: "\nState:\tT" in Path(f"/proc/{process.pid}/status").read_text(), "the process to be stopped")


def finding(result: dict[str, Any], check: str) -> dict[str, Any]:
    return next(found for found in result["findings"] if found["check"] == check)


def step(result: dict[str, Any], action: str) -> dict[str, Any]:
    return next(found for found in result["steps"] if found["id"].startswith(f"{action}:"))


def without_size(action: dict[str, str]) -> dict[str, str]:
    """The log grows between two looks."""
    return {**action, "reason": action["reason"].partition(",")[0]}


def signalled(pid_file: Path, **options: Any) -> dict[str, Any]:
    return {"method": "signal", "pid_file": str(pid_file), "timeout": "20s", **options}


def test_without_a_way_to_tell_the_writer_its_log_is_left_alone(
    folder: Path, log: Path, process: subprocess.Popen[str]
) -> None:
    inode = log.stat().st_ino
    result = rotate(folder)
    assert (result["changed"], result["status"], log.stat().st_ino) == (False, "warning", inode)
    assert f"pid {process.pid}" in finding(result, "held_open")["msg"]
    assert names(folder) == ["app.log"]


def test_a_signal_makes_the_writer_go_over_and_that_is_proven(
    folder: Path, log: Path, process: subprocess.Popen[str], pid_file: Path
) -> None:
    old = log.stat().st_ino
    planned = run_ok("log_rotation", {"path": str(folder), "reopen": signalled(pid_file)}, check=True)
    assert log.stat().st_ino == old, "check mode tells nobody anything"
    result = rotate(folder, reopen=signalled(pid_file))
    assert [action["action"] for action in result["plan"]] == ["rotate", "reopen", "compress"]
    assert result["plan"][1]["command"] == f"kill -HUP <pid in {pid_file}>"
    assert [without_size(action) for action in planned["plan"]] == [without_size(action) for action in result["plan"]]
    assert {found["status"] for found in result["steps"]} == {"done"}
    assert "proven" in step(result, "reopen")["detail"]
    assert log.stat().st_ino != old
    assert held_by(process.pid, log)
    assert tails(folder) == [".gz"]
    written = stopped(process)
    assert everything(folder, "app.log") == numbered(written)


def test_a_command_does_as_well(folder: Path, log: Path, process: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-c", f"import os, signal; os.kill({process.pid}, signal.SIGHUP)"]
    result = rotate(folder, reopen={"method": "command", "command": command, "timeout": "20s"})
    assert step(result, "reopen")["status"] == "done"
    assert held_by(process.pid, log)
    written = stopped(process)
    assert everything(folder, "app.log") == numbered(written)


def test_a_writer_that_does_not_listen_is_a_failure_and_its_lines_stay_readable(
    folder: Path, log: Path, tmp_path: Path
) -> None:
    (folder / "idle.log").write_text("nobody holds this\n")
    with writer(log, reopens=False) as deaf:
        wait_for(lambda: log.stat().st_size, "the first line")
        pid_file = tmp_path / "deaf.pid"
        pid_file.write_text(str(deaf.pid))
        request = {"path": str(folder), "max_age": "0s", "reopen": signalled(pid_file, timeout="300ms")}
        result = run_failed("log_rotation", request)
        assert result["failure"]["code"] == "reopen_unproven"
        assert f"pid {deaf.pid}" in result["msg"]
        statuses = {found["id"]: found["status"] for found in result["steps"]}
        assert statuses[f"reopen:pid file {pid_file}"] == "failed"
        assert (statuses["compress:app.log"], statuses["compress:idle.log"]) == ("skipped", "done")
        assert result["changed"] is True
        assert tails(folder) == [""], "the old file is whole and plain"

        again = run_failed("log_rotation", request)
        assert again["failure"]["code"] == "reopen_unproven"
        assert len(generations(folder, "app.log")) == 1
        written = stopped(deaf)
    assert everything(folder, "app.log") == numbered(written)
    result = rotate(folder)
    assert step(result, "compress")["status"] == "done", "the next run goes on once nobody writes any more"
    assert everything(folder, "app.log") == numbered(written)


def test_nobody_is_told_when_nobody_writes(folder: Path, log: Path, tmp_path: Path) -> None:
    log.write_text("line\n")
    marker = tmp_path / "told"
    result = rotate(folder, reopen={"method": "command", "command": ["touch", str(marker)]})
    assert [action["action"] for action in result["plan"]] == ["rotate", "compress"]
    assert not marker.exists()


def test_a_reader_hinders_nothing(folder: Path, log: Path) -> None:
    log.write_text("line\n")
    with log.open(), subprocess.Popen(["tail", "-f", str(log)], stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        assert tail.stdout.readline() == b"line\n"
        result = rotate(folder)
        assert [found["status"] for found in result["steps"]] == ["done", "done"]
        lost = finding(result, "deleted_open")
        tail.kill()
    assert f"pid {tail.pid}" in lost["msg"], "what the reader still holds is reported"


@pytest.mark.parametrize(
    ("content_of", "code"),
    [(None, "reopen_target_missing"), ("", "reopen_target_missing"), ("nonsense", "reopen_target_missing"),
     ("-1", "reopen_target_missing"), ("1", "reopen_target_missing"), ("4194304", "reopen_target_missing"),
     ("stranger", "reopen_target_wrong")],
)  # fmt: skip
@pytest.mark.usefixtures("process")
def test_a_pid_file_that_is_wrong_gets_nobody_killed(
    folder: Path, tmp_path: Path, content_of: str | None, code: str
) -> None:
    before = names(folder)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file = tmp_path / "wrong.pid"
        if content_of is not None:
            pid_file.write_text(str(stranger.pid) if content_of == "stranger" else content_of)
        request = {"path": str(folder), "max_age": "0s", "reopen": signalled(pid_file)}
        for check in (True, False):
            result = run_failed("log_rotation", request, check=check)
            assert result["failure"]["code"] == code
        assert stranger.poll() is None
        stranger.kill()
    assert names(folder) == before, "nothing was changed"


def test_a_pid_file_that_changes_after_the_look_gets_nobody_killed(
    folder: Path, log: Path, process: subprocess.Popen[str], pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename
    with subprocess.Popen(["sleep", "60"]) as stranger:

        def change(*args: Any, **kwargs: Any) -> None:
            pid_file.write_text(str(stranger.pid))
            real(*args, **kwargs)

        monkeypatch.setattr(os, "rename", change)
        result = rotate(folder, reopen=signalled(pid_file))
        assert (stranger.poll(), step(result, "reopen")["status"]) == (None, "done")
        stranger.kill()
    assert held_by(process.pid, log)


def test_where_nobody_can_tell_the_writer_is_asked_all_the_same_and_nothing_is_compressed(
    folder: Path, log: Path, process: subprocess.Popen[str], pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system as an ordinary user: no leases, and processes that hide their files."""
    monkeypatch.setattr(Processes, "_open_files", lambda _self, _pid: None)
    no_leases = "plugins.module_utils._module.log_rotation.leases"
    monkeypatch.setattr(no_leases, lambda _tree, entries: dict.fromkeys(e.identity for e in entries))
    result = rotate(folder, reopen=signalled(pid_file))
    assert [found["id"].split(":")[0] for found in result["steps"]] == ["rotate", "reopen"]
    assert "1 cannot be proven" in step(result, "reopen")["detail"]
    assert (result["status"], tails(folder)) == ("unknown", [""])
    monkeypatch.undo()
    wait_for(lambda: held_by(process.pid, log), "the writer opens its new file")
    written = stopped(process)
    assert everything(folder, "app.log") == numbered(written)


@pytest.mark.usefixtures("network")
def test_on_a_network_file_system_a_log_that_is_held_is_left_alone(
    folder: Path, log: Path, process: subprocess.Popen[str]
) -> None:
    inode = log.stat().st_ino
    result = rotate(folder)
    assert (result["changed"], names(folder), log.stat().st_ino) == (False, ["app.log"], inode)
    assert f"pid {process.pid}" in finding(result, "held_open")["msg"]


@pytest.mark.usefixtures("network")
def test_on_a_network_file_system_the_writer_is_proven_to_go_over(
    folder: Path, log: Path, process: subprocess.Popen[str], pid_file: Path
) -> None:
    planned = run_ok("log_rotation", {"path": str(folder), "reopen": signalled(pid_file)}, check=True)
    result = rotate(folder, reopen=signalled(pid_file))
    assert [action["action"] for action in result["plan"]] == ["rotate", "reopen", "compress"]
    assert [without_size(action) for action in planned["plan"]] == [without_size(action) for action in result["plan"]]
    assert "1 new file proven to be written to" in step(result, "reopen")["detail"]
    assert tails(folder) == [".gz"]
    written = stopped(process)
    assert everything(folder, "app.log") == numbered(written)


@pytest.mark.usefixtures("network")
def test_on_a_network_file_system_another_host_may_have_the_log(folder: Path, log: Path) -> None:
    log.write_text("line\n")
    result = rotate(folder)
    assert [found["id"] for found in result["steps"]] == ["rotate:app.log"], "not compressed"
    assert (result["status"], tails(folder)) == ("unknown", [""])
    planned = run_ok("log_rotation", {"path": str(folder), "max_age": "0s"}, check=True)
    assert planned["plan"] == []
    log.write_text("line\n")
    planned = run_ok("log_rotation", {"path": str(folder), "max_age": "0s"}, check=True)
    assert "another host" in finding(planned, "held_open")["msg"]


@pytest.mark.usefixtures("process")
def test_a_unit_that_does_not_run_is_said_before_anything_is_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemctl is played by a script; the drill uses the real one."""
    tool = tmp_path / "systemctl"
    tool.write_text('#!/bin/sh\ntest "$*" = "show --property=MainPID --value -- shop.service" && echo 0\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    request = {"path": str(folder), "max_age": "0s", "reopen": {"method": "signal", "unit": "shop.service"}}
    result = run_failed("log_rotation", request)
    assert result["failure"]["code"] == "reopen_target_missing"
    assert "shop.service has no main process" in result["msg"]
    assert names(folder) == ["app.log"]


def test_the_main_process_of_a_unit_may_be_the_parent_of_the_writer(
    folder: Path, log: Path, tmp_path: Path, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with nginx, whose master is told; here this very test is the parent and passes the signal on."""
    tool = tmp_path / "systemctl"
    tool.write_text(f"#!/bin/sh\necho {os.getpid()}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = signal.signal(signal.SIGUSR1, lambda *_unused: process.send_signal(signal.SIGHUP))
    try:
        reopen = {"method": "signal", "unit": "shop.service", "signal": "USR1", "timeout": "20s"}
        result = rotate(folder, reopen=reopen)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert step(result, "reopen")["status"] == "done"
    assert held_by(process.pid, log)


@pytest.mark.parametrize("command", [["/nowhere/reload"], ["no-such-program-anywhere"]])
@pytest.mark.usefixtures("process")
def test_a_command_that_is_not_there_is_said_before_anything_is_changed(folder: Path, command: list[str]) -> None:
    request = {"path": str(folder), "max_age": "0s", "reopen": {"method": "command", "command": command}}
    assert run_failed("log_rotation", request)["failure"]["code"] == "reopen_target_missing"
    assert names(folder) == ["app.log"]


def test_a_command_that_fails_is_a_failure_and_nothing_is_lost(
    folder: Path, log: Path, process: subprocess.Popen[str]
) -> None:
    request = {"path": str(folder), "max_age": "0s", "reopen": {"method": "command", "command": ["false"]}}
    result = run_failed("log_rotation", request)
    assert result["failure"]["code"] == "reopen_failed"
    assert step(result, "compress")["status"] == "skipped"
    written = stopped(process)
    assert everything(folder, "app.log") == numbered(written)
    assert log.exists()


def count_in_window(process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count, at each truncation, the lines that the writer wrote after the last look; it waits meanwhile."""
    lost: list[int] = []
    steps: list[str] = []
    real = os.ftruncate

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any) -> Any:
            steps.append(name)
            return call(*arguments)

        return noting

    monkeypatch.setattr(log_rotation_copy, "_append", noted("look", log_rotation_copy._append))
    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync))

    def truncate(fd: int, size: int) -> None:
        assert steps[-1] == "look", "the window has room for something slow"
        halt(process)
        unread = os.pread(fd, os.fstat(fd).st_size, os.lseek(fd, 0, os.SEEK_CUR))
        lost.append(unread.count(b"\n"))
        real(fd, size)
        process.send_signal(signal.SIGCONT)

    monkeypatch.setattr(os, "ftruncate", truncate)
    return lost


def test_copytruncate_keeps_the_file_and_the_writer_goes_on(
    folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(log, pause=0.01, reopens=False) as process:
        wait_for(lambda: log.stat().st_size > 40, "some lines")
        inode = log.stat().st_ino
        lost = count_in_window(process, monkeypatch)
        result = rotate(folder, reopen={"method": "copytruncate"})
        assert f"pid {process.pid}) goes on writing to it" in step(result, "rotate")["detail"]
        assert (log.stat().st_ino, held_by(process.pid, log)) == (inode, True)
        wait_for(lambda: log.stat().st_size, "the next line in the same file")
        written = stopped(process)
    whole = everything(folder, "app.log").splitlines()
    assert b"\0" not in b"".join(whole), "no hole"
    assert whole == sorted(set(whole), key=int), "no line twice, and all in order"
    assert len(lost) == 1 and written - len(whole) == lost[0], "lost is what was written after the last look, no more"


def test_copytruncate_ends_although_lines_come_in_during_each_sync(
    folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a slow disk; the lines come in at the syncs, whatever the speed of this machine."""
    log.write_bytes(numbered(300))
    count, syncs, real = 300, 0, os.fsync

    def slow(fd: int) -> None:
        nonlocal count, syncs
        syncs += 1
        assert syncs < 100, "the copy never ends"
        with log.open("ab") as file:
            file.write(numbered(count + 8)[len(numbered(count)) :])
        count += 8
        real(fd)

    monkeypatch.setattr(os, "fsync", slow)
    result = rotate(folder, reopen={"method": "copytruncate"}, compress="none")
    assert step(result, "rotate")["status"] == "done"
    assert syncs > 2
    assert len(log.read_bytes()) < 1000, "the log was truncated"
    assert everything(folder, "app.log") == numbered(count), "each line once and in order"


def test_copytruncate_leaves_a_writer_alone_that_does_not_append(folder: Path, log: Path) -> None:
    with writer(log, mode="overwrite", reopens=False) as process:
        wait_for(lambda: log.stat().st_size, "the first line")
        result = rotate(folder, reopen={"method": "copytruncate"})
        assert (result["changed"], names(folder)) == (False, ["app.log"])
        assert "without O_APPEND" in finding(result, "held_open")["msg"]
        assert log.read_bytes().startswith(b"1\n2\n") or log.read_bytes() == b"1\n"
        assert stopped(process)


def test_a_deleted_log_that_is_still_held_is_reported_with_its_process_and_its_size(folder: Path) -> None:
    lost = folder / "lost.log"
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1], 'wb'); f.write(b'x' * 300000); f.flush(); "
         "print('ready', flush=True); sys.stdin.read()", str(lost)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        lost.unlink()
        result = rotate(folder)
        process.kill()
    found = finding(result, "deleted_open")
    assert (result["changed"], found["status"], found["unit"]) == (False, "warning", "bytes")
    assert found["value"] >= 300_000
    assert f"pid {process.pid}" in found["msg"] and str(lost) in found["msg"]


def test_the_kernel_is_asked_about_writers_that_nobody_can_see(
    folder: Path, log: Path, process: subprocess.Popen[str], pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an ordinary user, or in a container: the processes of others hide their files."""
    monkeypatch.setattr(Processes, "_open_files", lambda _self, _pid: None)
    left = rotate(folder)
    assert left["changed"] is False
    assert "a process that cannot be seen" in finding(left, "held_open")["msg"]
    assert finding(left, "deleted_open")["status"] == "unknown"
    result = rotate(folder, reopen=signalled(pid_file))
    assert step(result, "reopen")["status"] == "done"
    monkeypatch.undo()
    assert held_by(process.pid, log)
    written = stopped(process)
    assert everything(folder, "app.log") == numbered(written)


def test_an_unseen_writer_that_does_not_listen_keeps_its_file_plain(
    folder: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(log, reopens=False) as deaf:
        wait_for(lambda: log.stat().st_size, "the first line")
        pid_file = tmp_path / "deaf.pid"
        pid_file.write_text(str(deaf.pid))
        monkeypatch.setattr(Processes, "_open_files", lambda _self, _pid: None)
        reopen = signalled(pid_file, timeout="300ms")
        result = run_failed("log_rotation", {"path": str(folder), "max_age": "0s", "reopen": reopen})
        assert result["failure"]["code"] == "reopen_unproven"
        assert tails(folder) == [""]
        written = stopped(deaf)
    assert everything(folder, "app.log") == numbered(written)


def test_a_generation_that_somebody_writes_to_by_now_stays_plain(
    folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was seen when the plan was made; the kernel is asked again right before."""
    log.touch()
    plain = folder / "app.log-20261101T000000Z"
    plain.write_text("line\n")
    os.utime(plain, (0, 0))
    monkeypatch.setattr("plugins.module_utils._module.log_rotation.leases", lambda _tree, _entries: {})
    with plain.open("a"):
        result = run_ok("log_rotation", {"path": str(folder), "keep": 0})
    assert [(found["id"], found["status"]) for found in result["steps"]] == [(f"compress:{plain.name}", "skipped")]
    assert (result["changed"], result["status"], names(folder)) == (False, "warning", [log.name, plain.name])


def test_a_lease_tells_writers_from_readers(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    fd = os.open(path, os.O_RDONLY)
    try:
        assert open_for_writing(fd) is False
        with path.open():
            assert open_for_writing(fd) is False
        with path.open("a"):
            assert open_for_writing(fd) is True
        assert open_for_writing(fd) is False
    finally:
        os.close(fd)


def test_the_second_run_tells_nobody_anything(
    folder: Path, log: Path, process: subprocess.Popen[str], pid_file: Path
) -> None:
    rotate(folder, reopen=signalled(pid_file))
    halt(process)
    before = snapshot(folder)
    result = run_ok("log_rotation", {"path": str(folder), "reopen": signalled(pid_file)})
    assert (result["changed"], result["plan"], snapshot(folder)) == (False, [], before)
    process.send_signal(signal.SIGCONT)
