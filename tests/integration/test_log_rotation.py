"""The log_rotation module on real directories: bad input, check mode, real run, second run, what it must not touch."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.module_utils._core.log_rotation_names import LOCK_NAME, generation_name, generation_of
from plugins.module_utils._io.log_rotation_tree import LogTree
from tests.support.logs import content, everything, generations, numbered, quick, rotate, snapshot, wait_for
from tests.support.modules import run_failed, run_ok

ROOT = Path(__file__).resolve().parent.parent.parent
DAY = 86400.0
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "logs"
    path.mkdir()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(name: str = "app") -> bytes:
    return b"".join(b"%s %d some text that compresses well\n" % (name.encode(), number) for number in range(2000))


def request(folder: Path, **options: Any) -> dict[str, Any]:
    return {"path": str(folder), **options}


def aged(path: Path, days: float) -> Path:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))
    return path


def refused(result: dict[str, Any]) -> dict[str, str]:
    found = [finding["msg"] for finding in result["findings"] if finding["check"] == "refused"]
    return dict(text.split(": ", 1) for text in found if ": " in text)


# --- bad input ------------------------------------------------------------------------------------------------------

BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"path": "var/log/shop"}, "invalid_value"),
    ({"path": "/var/log/../../etc"}, "invalid_value"),
    ({"path": "/"}, "path_refused"),
    ({"path": "/etc"}, "path_refused"),
    ({"path": "/etc/nginx/"}, "path_refused"),
    ({"path": "/nowhere/at/all"}, "path_missing"),
    ({"patterns": []}, "invalid_value"),
    ({"patterns": ["/etc/*.conf"]}, "invalid_value"),
    ({"patterns": ["../*.log"]}, "invalid_value"),
    ({"exclude": ["a/b"]}, "invalid_value"),
    ({"compress": "rar"}, "invalid_arguments"),
    ({"compress_level": 10}, "invalid_value"),
    ({"compress_level": 0}, "invalid_value"),
    ({"compress": "zstd", "compress_level": 20}, "invalid_value"),
    ({"compress": "none", "compress_level": 1}, "invalid_value"),
    ({"keep": -1}, "invalid_value"),
    ({"jobs": -1}, "invalid_value"),
    ({"jobs": 65}, "invalid_value"),
    ({"min_size": "0"}, "invalid_value"),
    ({"min_size": "many"}, "invalid_value"),
    ({"min_size": "2MB", "max_size": "1MB"}, "invalid_value"),
    ({"max_total_size": "0"}, "invalid_value"),
    ({"max_age": "soon"}, "invalid_value"),
    ({"prune_age": "0s"}, "invalid_value"),
    ({"prune_age": "1h", "max_age": "2h"}, "invalid_value"),
    ({"prune_logs_age": "-1d"}, "invalid_value"),
    ({"reopen": {"method": "shout"}}, "invalid_arguments"),
    ({"reopen": {"method": "signal"}}, "invalid_arguments"),
    ({"reopen": {"method": "signal", "unit": "a", "pid_file": "/run/a.pid"}}, "invalid_arguments"),
    ({"reopen": {"method": "signal", "unit": "-a"}}, "invalid_value"),
    ({"reopen": {"method": "signal", "unit": "a", "signal": "KILL"}}, "invalid_arguments"),
    ({"reopen": {"method": "command"}}, "invalid_arguments"),
    ({"reopen": {"method": "command", "command": ["", "x"]}}, "invalid_value"),
    ({"reopen": {"method": "command", "command": ["x"], "timeout": "never"}}, "invalid_value"),
    ({"unknown": 1}, "invalid_arguments"),
]


@pytest.mark.parametrize(("options", "code"), BAD_OPTIONS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_bad_input_is_a_clear_sentence_and_nothing_is_changed(
    folder: Path, options: dict[str, Any], code: str, check: bool
) -> None:
    (folder / "app.log").write_bytes(lines())
    before = snapshot(folder)
    result = run_failed("log_rotation", {**request(folder), **options}, check=check)
    assert result["failure"]["code"] == code, result
    assert len(result["msg"]) > 20
    assert snapshot(folder) == before


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert run_failed("log_rotation", request(tmp_path / "file"))["failure"]["code"] == "not_a_directory"
    assert run_failed("log_rotation", request(tmp_path / "file" / "below"))["failure"]["code"] == "not_a_directory"


@pytest.mark.parametrize("where", ["last", "parent"])
def test_a_symbolic_link_on_the_way_is_refused_and_the_real_path_is_named(
    tmp_path: Path, folder: Path, where: str
) -> None:
    (folder / "app.log").write_bytes(lines())
    link = tmp_path / "link"
    link.symlink_to(folder if where == "last" else tmp_path)
    result = run_failed("log_rotation", request(link if where == "last" else link / "logs"))
    assert result["failure"]["code"] == "path_refused"
    assert str(folder) in result["msg"]
    assert names(folder) == ["app.log"]


def test_without_a_compressor_that_is_said_before_anything_is_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "app.log").write_bytes(lines())
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    result = run_failed("log_rotation", request(folder, compress="zstd"))
    assert result["failure"]["code"] == "compressor_missing"
    assert names(folder) == ["app.log"]


def as_user(uid: int, call: Callable[[], Any]) -> Any:
    """Return what a call returns as an ordinary user, in a child; root only."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    assert data, "the child died"
    return json.loads(data)


def unprivileged(folder: Path, run: Callable[..., dict[str, Any]], **options: Any) -> dict[str, Any]:
    """Run the module without root's rights: as ourselves, or in a child that gave them up."""

    def call() -> dict[str, Any]:
        return run("log_rotation", request(folder, **options))

    result: dict[str, Any] = as_user(NOBODY, call) if IS_ROOT else call()
    return result


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that other users reach too; pytest's own are closed to them."""
    path = Path(
        subprocess.run(["mktemp", "-d", "/tmp/logs-XXXXXX"], capture_output=True, text=True, check=True).stdout.strip()
    )
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def test_without_the_right_to_write_nothing_is_begun(open_folder: Path) -> None:
    (open_folder / "app.log").write_bytes(lines())
    open_folder.chmod(0o555)
    result = unprivileged(open_folder, run_failed)
    assert result["failure"]["code"] == "insufficient_privilege"
    assert "become" in result["failure"]["hint"]
    open_folder.chmod(0o000)
    assert unprivileged(open_folder, run_failed)["failure"]["code"] == "insufficient_privilege"


@pytest.mark.skipif(not IS_ROOT, reason="needs files of two users; tests/unit/_core has the same rule as a table")
def test_an_ordinary_user_leaves_the_logs_of_others_alone(open_folder: Path) -> None:
    os.chown(open_folder, NOBODY, NOBODY)
    (open_folder / "root.log").write_bytes(lines())
    (open_folder / "own.log").write_bytes(lines())
    os.chown(open_folder / "own.log", NOBODY, NOBODY)
    result = unprivileged(open_folder, run_ok)
    assert [found["path"] for found in result["files"]] == ["own.log", "own.log"]
    assert "belongs to user 0" in refused(result)["root.log"]
    assert (open_folder / "root.log").read_bytes() == lines()
    assert everything(open_folder, "own.log") == lines()


# --- the ladder -----------------------------------------------------------------------------------------------------

OPTION_SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "zstd": {"compress": "zstd"},
    "plain": {"compress": "none"},
    "best gzip": {"compress_level": 9},
    "delayed": {"delay_compress": True},
    "no new file": {"create": False},
    "copytruncate": {"reopen": {"method": "copytruncate"}},
    "below": {"recurse": True},
    "pruned": {"keep": 1, "prune_existing": True, "prune_logs_age": "30d"},
}


def furnish(folder: Path) -> None:
    (folder / "sub" / "deep").mkdir(parents=True)
    for path in ("app.log", "web.log", "sub/app.log", "sub/deep/x.log"):
        (folder / path).write_bytes(lines(path))
    (folder / "empty.log").touch()
    (folder / "keep.txt").write_text("no log\n")
    for number in (1, 2):
        aged(folder / f"app.log.{number}", number * 2) if (folder / f"app.log.{number}").write_bytes(b"old\n") else None
    aged((folder / "app.log.3.gz"), 9) if (folder / "app.log.3.gz").write_bytes(gzip.compress(b"older\n")) else None
    (folder / "import-1.log").write_bytes(b"forgotten\n")
    aged(folder / "import-1.log", 40)


@pytest.mark.parametrize("options", OPTION_SETS.values(), ids=OPTION_SETS.keys())
def test_check_mode_predicts_the_run_and_the_second_run_has_nothing_to_do(
    folder: Path, options: dict[str, Any]
) -> None:
    furnish(folder)
    before = snapshot(folder)
    planned = run_ok("log_rotation", request(folder, **options), check=True, diff=True)
    assert snapshot(folder) == before, "check mode changes nothing"
    assert (planned["changed"], planned["steps"], planned["bytes"]["estimated"]) == (True, [], True)

    done = run_ok("log_rotation", request(folder, **options), diff=True)
    assert done["plan"] == planned["plan"]
    assert done["after"] == planned["after"], "what was predicted is what was read again"
    assert {step["id"] for step in done["steps"]} == {action["id"] for action in planned["plan"]}
    assert {step["status"] for step in done["steps"]} == {"done"}
    assert (done["changed"], done["diff"]) == (True, {"before": done["before"], "after": done["after"]})
    assert done["bytes"]["freed"] == done["bytes"]["before"] - done["bytes"]["after"]
    assert everything(folder, "app.log") == lines("app.log")

    settled = snapshot(folder)
    again = run_ok("log_rotation", request(folder, **options), diff=True)
    assert (again["changed"], again["plan"], again["steps"], again["files"]) == (False, [], [], [])
    assert again["before"] == again["after"] == done["after"]
    assert "nothing to do" in again["msg"]
    assert snapshot(folder) == settled
    assert LOCK_NAME not in names(folder)


def test_the_estimate_is_near_what_comes(folder: Path) -> None:
    (folder / "app.log").write_bytes(lines() * 20)
    planned = run_ok("log_rotation", request(folder), check=True)["bytes"]
    done = run_ok("log_rotation", request(folder))["bytes"]
    assert abs(planned["freed"] - done["freed"]) < 0.1 * done["before"]
    assert done["estimated"] is False


@pytest.mark.parametrize("options", [{}, {"reopen": {"method": "copytruncate"}}], ids=["renamed", "copied"])
def test_owner_and_permissions_stay(folder: Path, options: dict[str, Any]) -> None:
    log = folder / "app.log"
    log.write_bytes(lines())
    log.chmod(0o4640)
    if IS_ROOT:
        os.chown(log, NOBODY, 4)
        log.chmod(0o4640)
    before = log.stat()
    rotate(folder, **options)
    (generation,) = generations(folder, "app.log")
    for path in (log, generation):
        now = path.stat()
        assert (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid)
        assert stat.S_IMODE(now.st_mode) & 0o777 == 0o640
    assert generation.stat().st_mode & stat.S_ISUID == 0
    assert generation.stat().st_mtime == pytest.approx(before.st_mtime)


@pytest.mark.parametrize("options", [{}, {"reopen": {"method": "copytruncate"}}], ids=["renamed", "copied"])
def test_access_lists_stay(folder: Path, options: dict[str, Any]) -> None:
    """A log shipper that may read the log by an ACL may read its successors too."""
    log, name = folder / "app.log", "system.posix_acl_access"
    log.write_bytes(lines())
    entries = [(1, 6, 2**32 - 1), (2, 4, NOBODY), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(log, name, acl)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    rotate(folder, **options)
    assert [os.getxattr(path, name) for path in (log, *generations(folder, "app.log"))] == [acl, acl]


@pytest.mark.parametrize(
    ("options", "suffix", "tool"),
    [({}, ".gz", ["gzip", "-t"]), ({"compress_level": 3}, ".gz", ["gzip", "-t"]),
     ({"compress_level": 9}, ".gz", ["gzip", "-t"]), ({"compress": "zstd"}, ".zst", None),
     ({"compress": "zstd", "compress_level": 19}, ".zst", None)],
)  # fmt: skip
def test_other_programs_read_what_was_compressed(
    folder: Path, options: dict[str, Any], suffix: str, tool: list[str] | None
) -> None:
    (folder / "app.log").write_bytes(lines() * 10)
    rotate(folder, **options)
    (generation,) = generations(folder, "app.log")
    assert generation.suffix == suffix
    if tool:
        subprocess.run([*tool, generation], check=True)
    else:
        assert zstandard.get_frame_parameters(generation.read_bytes()).has_checksum
    assert content(generation) == lines() * 10


@pytest.mark.parametrize("missing", ["isal", "zstandard"])
def test_hosts_without_the_fast_libraries_do_as_well(
    folder: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library's zlib, and the program zstd with many files a call and any name."""
    if missing == "zstandard" and shutil.which("zstd") is None:
        pytest.skip("the program zstd is not there")
    monkeypatch.setitem(sys.modules, missing, None)
    logs = [f"app{number}.log" for number in range(40)] + ["-rf.log", "$(touch x).log", "a\nb.log", "zürich.log"]
    for name in logs:
        (folder / name).write_bytes(lines(name[:3]))
    result = rotate(folder, compress="gzip" if missing == "isal" else "zstd")
    assert {step["status"] for step in result["steps"]} == {"done"}
    monkeypatch.undo()
    for name in logs:
        assert everything(folder, name) == lines(name[:3])


def test_a_broken_compressor_costs_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "zstd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (folder / "app.log").write_bytes(lines())
    result = run_failed("log_rotation", request(folder, compress="zstd"))
    assert (result["failure"]["code"], "broken" in result["msg"]) == ("command_failed", True)
    assert {step["id"]: step["status"] for step in result["steps"]} == {
        "rotate:app.log": "done", "compress:app.log": "failed",
    }  # fmt: skip
    assert result["changed"] is True
    assert everything(folder, "app.log") == lines()


# --- pruning --------------------------------------------------------------------------------------------------------


def generation(folder: Path, age_days: float, size: int = 100, log: str = "app.log") -> Path:
    path = folder / (generation_name(log, time.time() - age_days * DAY) + ".gz")
    path.write_bytes(b"x" * size)
    return aged(path, age_days)


def test_generations_go_by_age_number_and_size(folder: Path) -> None:
    (folder / "app.log").touch()
    old, middle, young = (generation(folder, days) for days in (40, 20, 1))
    assert rotate(folder, prune_age="30d")["bytes"]["freed"] == 100
    assert not old.exists()
    rotate(folder, keep=1)
    assert (middle.exists(), young.exists()) == (False, True)
    more = [generation(folder, days, log="web.log") for days in (3, 2)]
    result = rotate(folder, max_total_size="250")
    assert [step["id"] for step in result["steps"]] == [f"prune:{more[0].name}"]
    assert names(folder) == sorted(["app.log", young.name, more[1].name])


def test_a_total_that_cannot_be_kept_is_a_warning(folder: Path) -> None:
    generation(folder, 1, size=5000)
    result = run_ok("log_rotation", request(folder, max_total_size="1kB"))
    finding = next(found for found in result["findings"] if found["check"] == "total_size")
    assert (finding["status"], finding["value"], result["changed"]) == ("warning", 5000, False)


def test_what_logrotate_left_is_pruned_on_request_and_never_renamed(folder: Path) -> None:
    furnish(folder)
    rotate(folder, patterns=["app.log"])
    assert {"app.log.1", "app.log.2", "app.log.3.gz"} <= set(names(folder))
    rotate(folder, patterns=["app.log"], prune_existing=True, prune_age="3d")
    assert {"app.log.1", "app.log.2", "app.log.3.gz"} & set(names(folder)) == {"app.log.1"}


def test_forgotten_logs_are_removed_on_request(folder: Path) -> None:
    """As the handbook asks on a full disk: logs that were not written for 7 days, generations of more than 3 days."""
    furnish(folder)
    old = generation(folder, 4)
    result = rotate(folder, prune_logs_age="7d", prune_age="3d", prune_existing=True)
    assert result["bytes"]["freed"] > 0
    left = names(folder)
    assert "import-1.log" not in left and old.name not in left and "app.log.3.gz" not in left
    assert {"app.log", "web.log", "keep.txt"} <= set(left)


# --- names, links and everything that is not a log ------------------------------------------------------------------

HOSTILE = ["-rf.log", "$(reboot).log", "`id`.log", "a b.log", "a'b\".log", "a;b|c&.log", "nl\nnl.log", "\x1b[31m.log",
           "\udcff\udcfe.log", "..log", "{{ 7 * 7 }}.log", "*.log", "x" * 227 + ".log"]  # fmt: skip


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_name_may_hold_anything(folder: Path, compress: str) -> None:
    for name in HOSTILE:
        (folder / name).write_bytes(lines("x"))
    result = rotate(folder, patterns=["*.log", "..log"], compress=compress)
    assert result["files_total"] == 2 * len(HOSTILE)
    assert {step["status"] for step in result["steps"]} == {"done"}
    assert len(names(folder)) == 2 * len(HOSTILE)
    for name in HOSTILE:
        assert everything(folder, name) == lines("x")
    assert all(character.isprintable() for row in result["files"] for character in row["path"])


def test_a_name_of_255_bytes_is_refused_with_the_reason(folder: Path) -> None:
    (folder / ("x" * 251 + ".log")).write_bytes(lines())
    result = rotate(folder)
    assert result["changed"] is False
    assert "too long" in next(iter(refused(result).values()))


def test_what_is_no_plain_log_is_refused_and_never_waited_for(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.log"
    outside.write_bytes(lines("outside"))
    (folder / "link.log").symlink_to(outside)
    (folder / "dangling.log").symlink_to(tmp_path / "nothing")
    (folder / "directory.log").mkdir()
    os.mkfifo(folder / "pipe.log")
    (folder / "hard.log").write_bytes(lines("hard"))
    os.link(folder / "hard.log", tmp_path / "second-name")
    if IS_ROOT:
        os.mknod(folder / "device.log", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        cwd = Path.cwd()
        os.chdir(folder)  # the name of a socket is limited to 108 bytes
        bound.bind("socket.log")
        os.chdir(cwd)
        (folder / "app.log").write_bytes(lines())
        before = {path.name: path.lstat().st_ino for path in folder.iterdir()}
        result = rotate(folder)
    reasons = refused(result)
    assert {name: reasons[name].split(",")[0].split(" (")[0] for name in ("link.log", "dangling.log")} == {
        "link.log": "symbolic link", "dangling.log": "symbolic link",
    }  # fmt: skip
    assert "directory" in reasons["directory.log"]
    assert "named pipe" in reasons["pipe.log"]
    assert "socket" in reasons["socket.log"]
    assert "2 hard links" in reasons["hard.log"]
    assert ("character device" in reasons["device.log"]) if IS_ROOT else ("device.log" not in reasons)
    assert result["status"] == "warning"
    for name in reasons:
        assert (folder / name).lstat().st_ino == before[name]
    assert outside.read_bytes() == lines("outside")
    assert (tmp_path / "second-name").read_bytes() == lines("hard")
    assert everything(folder, "app.log") == lines()


def test_recursion_never_leaves_by_a_link(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "app.log").write_bytes(lines())
    (folder / "way-out").symlink_to(outside)
    (folder / "sub").mkdir()
    (folder / "sub" / "app.log").write_bytes(lines("sub"))
    assert rotate(folder)["changed"] is False, "not below without recurse"
    rotate(folder, recurse=True)
    assert names(outside) == ["app.log"]
    assert everything(folder / "sub", "app.log") == lines("sub")


def test_a_deep_tree_is_walked(folder: Path) -> None:
    path = folder
    for _level in range(150):
        path = path / "d"
    path.mkdir(parents=True)
    (path / "x.log").write_bytes(lines())
    rotate(folder, recurse=True)
    assert everything(path, "x.log") == lines()


@pytest.mark.skipif(not IS_ROOT, reason="the rule is root's: an ordinary user risks only its own files")
@pytest.mark.parametrize(("mode", "refuses"), [(0o777, True), (0o1777, False), (0o775, True), (0o755, False)], ids=oct)
def test_root_does_not_work_where_others_could_exchange_files(folder: Path, mode: int, refuses: bool) -> None:
    sub = folder / "sub"
    sub.mkdir()
    os.chown(sub, 0, NOBODY)
    sub.chmod(mode)
    (sub / "app.log").write_bytes(lines())
    result = rotate(folder, recurse=True)
    assert (result["changed"], "sub" in refused(result)) == (not refuses, refuses)
    if refuses:
        assert "can be written by others" in refused(result)["sub"] and "become_user" in refused(result)["sub"]
        assert names(sub) == ["app.log"]


@pytest.mark.skipif(not IS_ROOT, reason="the rule is root's: an ordinary user risks only its own files")
def test_root_refuses_a_directory_in_which_others_could_exchange_files(folder: Path) -> None:
    (folder / "app.log").write_bytes(lines())
    folder.chmod(0o777)
    for check in (True, False):
        assert run_failed("log_rotation", request(folder), check=check)["failure"]["code"] == "path_unsafe"
    assert names(folder) == ["app.log"]


@pytest.mark.parametrize(("problem", "code"), [("files", "io_error"), ("closed", "path_unsafe")])
def test_what_was_done_is_told_although_the_look_after_it_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, problem: str, code: str
) -> None:
    """Too many files are open, or the directory can no longer be opened: from the second look on."""
    (folder / "app.log").write_bytes(lines())
    looks, real = [], LogTree.scan

    def refused(_tree: LogTree, _relative: str) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def scan(tree: LogTree, recurse: bool, uid: int) -> Any:
        looks.append(1)
        if len(looks) == 2 and problem == "files":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if len(looks) == 2:
            monkeypatch.setattr(LogTree, "directory", refused)
        return real(tree, recurse, uid)

    monkeypatch.setattr(LogTree, "scan", scan)
    result = run_failed("log_rotation", request(folder))
    assert (result["failure"]["code"], result["changed"], result["status"]) == (code, True, "unknown")
    assert [(done["id"], done["status"]) for done in result["steps"]] == [
        ("rotate:app.log", "done"),
        ("compress:app.log", "done"),
    ]
    assert [found["msg"] for found in result["findings"]] == [
        "the directory could not be looked at again after the run"
    ]
    assert "not looked at again" in result["msg"] and "nothing in it was touched" not in result["msg"]
    assert result["bytes"]["estimated"] is True
    assert everything(folder, "app.log") == lines()


def swap_for_ever(folder: Path, secret: Path) -> None:
    """Exchange every name in a directory for a link to somebody else's file, and back again."""
    if IS_ROOT:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    os.chdir(folder)
    Path("trap").symlink_to(secret)
    away, link = Path("trap-away"), Path("trap-new")
    while True:
        with contextlib.suppress(OSError):
            fd = os.open("a.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0o644)
            os.write(fd, b"line\n")
            os.close(fd)
        for path in (Path("a.log"), *Path().glob("a.log-*Z")):
            with contextlib.suppress(OSError):
                path.rename(away)
                link.symlink_to(secret)
                link.rename(path)
                away.rename(path)


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """Run something in a child until the block ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the child died"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("method", ["none", "copytruncate"])
def test_a_user_who_swaps_names_all_the_time_gets_nothing_of_root(open_folder: Path, method: str) -> None:
    """CVE-2011-1098 and its kind. Without root the same race runs between two processes of one user."""
    folder, secret = open_folder / "logs", open_folder / "secret"
    folder.mkdir()
    secret.write_bytes(b"secret\n")
    secret.chmod(0o600)
    if IS_ROOT:
        os.chown(folder, NOBODY, NOBODY)
    before = snapshot(secret)
    rounds = swapped = 0
    with quick(), child(lambda: swap_for_ever(folder, secret)):
        wait_for((folder / "trap").is_symlink, "the swapper")
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline or (swapped < 3 and time.monotonic() < deadline + 20):
            result = rotate(folder, reopen={"method": method}, keep=3)
            swapped += sum("another file" in row["detail"] for row in result["files"])
            rounds += 1
    assert swapped, f"there was no race in {rounds} rounds"
    assert snapshot(secret) == before, "the file outside was neither changed, nor renamed, nor given to anybody"
    for path in folder.iterdir():
        if not path.is_symlink() and path.is_file():
            assert b"secret" not in content(path)


# --- two runs at once, and the clock --------------------------------------------------------------------------------


def test_a_second_run_stops_at_once_while_the_first_is_at_work(folder: Path) -> None:
    (folder / "app.log").write_bytes(lines())
    lock = folder / LOCK_NAME
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for check in (True, False):
            assert run_failed("log_rotation", request(folder), check=check)["failure"]["code"] == "lock_busy"
        (folder / "sub").mkdir()
        assert run_failed("log_rotation", request(folder / "sub"))["failure"]["code"] == "lock_busy", "a parent's run"
        assert names(folder) == [LOCK_NAME, "app.log", "sub"]
    rotate(folder)
    assert everything(folder, "app.log") == lines(), "a lock file that was left is no lock"


def test_a_run_below_is_noticed_by_a_run_that_recurses(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "app.log").write_bytes(lines())
    with (folder / "sub" / LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run_failed("log_rotation", request(folder, recurse=True))["failure"]["code"] == "lock_busy"
        assert rotate(folder)["changed"] is True, "without recursion it is nobody's business"


def test_a_run_that_begins_below_while_we_work_does_not_spoil_our_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub").mkdir()
    (folder / "app.log").write_bytes(lines())
    real = os.rename

    def begin_below(*args: Any, **kwargs: Any) -> None:
        lock = (folder / "sub" / LOCK_NAME).open("w")
        held.append(lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(os, "rename", real)
        real(*args, **kwargs)

    held: list[Any] = []
    monkeypatch.setattr(os, "rename", begin_below)
    result = rotate(folder, recurse=True)
    held[0].close()
    assert {step["status"] for step in result["steps"]} == {"done"}


def test_the_lock_can_be_held_by_nobody_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2022-1348: who can open the lock file can stop the rotation."""
    seen: list[int] = []
    (folder / "app.log").write_bytes(lines())
    real = os.rename

    def spy(*args: Any, **kwargs: Any) -> None:
        seen.append(stat.S_IMODE((folder / LOCK_NAME).stat().st_mode))
        real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", spy)
    rotate(folder)
    assert set(seen) == {0o600}


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_something_else_under_the_locks_name_is_refused_without_waiting(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    (folder / "app.log").write_bytes(lines())
    lock = folder / LOCK_NAME
    {"symlink": lambda: lock.symlink_to(tmp_path / "x"), "fifo": lambda: os.mkfifo(lock), "directory": lock.mkdir}[
        kind
    ]()
    result = run_failed("log_rotation", request(folder))
    assert result["failure"]["code"] == "lock_unusable"
    assert not (tmp_path / "x").exists()
    assert everything(folder, "app.log") == lines()


def test_many_runs_at_once_lose_nothing_and_one_of_them_works(folder: Path) -> None:
    for number in range(30):
        (folder / f"app{number}.log").write_bytes(lines(str(number)))
    code = (
        "import json, sys; from tests.support.modules import run_module; "
        "print(json.dumps(run_module('log_rotation', {'path': sys.argv[1], 'keep': 0})))"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
        for _unused in range(4)
    ]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in runs]
    assert all(result.get("failure", {}).get("code", "lock_busy") == "lock_busy" for result in results)
    assert any(result["changed"] for result in results)
    for number in range(30):
        assert everything(folder, f"app{number}.log") == lines(str(number))


def test_a_clock_that_was_set_back_overwrites_nothing_and_keeps_the_order(folder: Path) -> None:
    ahead = folder / (generation_name("app.log", time.time() + 10 * DAY) + ".gz")
    ahead.write_bytes(gzip.compress(b"first\n"))
    (folder / "app.log").write_bytes(b"second\n")
    result = run_ok("log_rotation", request(folder, max_age="0s"))
    assert everything(folder, "app.log") == b"first\nsecond\n"
    clock = next(found for found in result["findings"] if found["check"] == "clock")
    assert (clock["status"], clock["unit"]) == ("warning", "s")
    assert run_ok("log_rotation", request(folder))["changed"] is False


def test_a_name_that_is_taken_by_something_else_is_passed_over(folder: Path) -> None:
    (folder / "app.log").write_bytes(b"line\n")
    for second in range(-5, 30):
        (folder / generation_name("app.log", time.time() + second)).mkdir()
    rotate(folder)
    found = [path for path in generations(folder, "app.log") if path.is_file()]
    assert [content(path) for path in found] == [b"line\n"]


def test_several_rotations_within_one_second_keep_their_order(folder: Path) -> None:
    for number in range(5):
        (folder / "app.log").write_bytes(b"%d\n" % number)
        rotate(folder)
    assert everything(folder, "app.log") == b"0\n1\n2\n3\n4\n"
    stamps = [generation_of(path.name) for path in generations(folder, "app.log")]
    assert len({found.stamp for found in stamps if found}) == 5


def test_the_local_time_zone_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        (folder / "app.log").write_bytes(b"x\n")
        rotate(folder)
        found = generation_of(generations(folder, "app.log")[0].name)
        assert found and found.stamp and abs(found.stamp - time.time()) < 60
        assert run_ok("log_rotation", request(folder))["changed"] is False
    finally:
        monkeypatch.undo()
        time.tzset()


# --- many files -----------------------------------------------------------------------------------------------------


def test_hundreds_of_files_are_summed_up_and_all_are_done(folder: Path) -> None:
    for number in range(600):
        (folder / f"app{number}.log").write_bytes(b"line %d\n" % number)
    planned = run_ok("log_rotation", request(folder), check=True)
    result = run_ok("log_rotation", request(folder))
    assert planned["plan"] == result["plan"]
    assert [action["id"] for action in result["plan"]] == ["rotate:*", "compress:*"]
    assert [(step["id"], step["status"]) for step in result["steps"]] == [("rotate:*", "done"), ("compress:*", "done")]
    assert (len(result["files"]), result["files_total"], result["after"]["generations"]) == (200, 1200, 600)
    assert "600 logs rotated, 600 files compressed" in result["msg"]
    assert len(json.dumps(result)) < 200_000
    assert all(everything(folder, f"app{number}.log") == b"line %d\n" % number for number in (0, 300, 599))
    assert run_ok("log_rotation", request(folder))["changed"] is False


def test_one_bad_file_among_hundreds_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (folder / f"app{number}.log").write_bytes(b"line\n")
    real = os.rename

    def fail_once(source: Any, target: Any, **kwargs: Any) -> None:
        if str(source) == "app7.log":
            raise OSError(5, "Input/output error")
        real(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", fail_once)
    result = run_failed("log_rotation", request(folder))
    assert result["failure"]["code"] == "io_error"
    assert "app7.log: Input/output error" in result["msg"]
    assert result["changed"] is True
    assert [(row["path"], row["status"]) for row in result["files"][:2]] == [
        ("app7.log", "failed"),
        ("app7.log", "skipped"),
    ]
    statuses = [(step["id"], step["status"], step["detail"].split(",")[0]) for step in result["steps"]]
    assert ("rotate:*", "done", "299 of 300") in statuses and ("rotate:*", "failed", "1 of 300") in statuses
    assert (folder / "app7.log").read_bytes() == b"line\n"


def test_the_descriptors_of_a_small_limit_are_enough(folder: Path) -> None:
    for number in range(300):
        (folder / f"app{number}.log").write_bytes(b"line\n")
    code = (
        "import resource, sys, pathlib; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)); "
        "from tests.support.logs import rotate; print(rotate(pathlib.Path(sys.argv[1]), jobs=64)['changed'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_a_large_file_takes_little_memory(folder: Path) -> None:
    with (folder / "app.log").open("wb") as log:
        for _block in range(150):
            log.write(lines() * 15)
    code = (
        "import pathlib, sys; from tests.support.logs import rotate; "
        "rotate(pathlib.Path(sys.argv[1]), compress=sys.argv[2]); "
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    )
    for kind in ("gzip", "zstd"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), kind], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert int(done.stdout) < 64 * 1024, f"{kind}: {done.stdout} kB {done.stderr}"


# --- property: what is written and rotated in any order is all there ------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(list(OPTION_SETS)[:7])), min_size=1, max_size=6))
def test_everything_that_was_written_is_there_in_its_order(tmp_path: Path, story: list[tuple[int, str]]) -> None:
    folder = tmp_path / "story"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    written = 0
    everything_written = numbered(sum(count for count, _name in story))
    every_line = everything_written.splitlines(keepends=True)
    for count, name in story:
        with (folder / "app.log").open("ab") as log:
            log.write(b"".join(every_line[written : written + count]))
        written += count
        with quick():
            rotate(folder, keep=0, **OPTION_SETS[name])
        assert everything(folder, "app.log") == b"".join(every_line[:written])


def test_threads_of_one_process_may_write_while_it_is_copied(folder: Path) -> None:
    """copytruncate under a writer that appends as fast as it can: nothing twice, nothing out of order, no hole."""
    log = folder / "app.log"
    stop = threading.Event()
    fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            os.write(fd, b"%d\n" % number)
            time.sleep(0.0005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _round in range(5):
            rotate(folder, keep=0, reopen={"method": "copytruncate"})
    finally:
        stop.set()
        thread.join()
        os.close(fd)
    found = [int(line) for line in everything(folder, "app.log").splitlines()]
    assert found == sorted(set(found))
