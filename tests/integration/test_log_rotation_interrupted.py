"""Log rotation that is killed, or finds the disk full, at every single call that changes something.

The invariant: the generations in their order and then the log are together what was ever written.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.logs import (
    disk_full_at,
    everything,
    generations,
    is_kept,
    killed,
    leftovers,
    noise,
    numbered,
    quick,
    rotate,
    snapshot,
    stopped,
    wait_for,
    writer,
)
from tests.support.modules import run_failed, run_module

ROOT = Path(__file__).resolve().parent.parent.parent
LIVE_SECONDS, MOST_SECONDS = 8.0, 120.0
OLD, ONE = b"old\n", numbered(300)
OTHER = noise(4000).replace(b"\n", b"") + b"\n"
NAMES = ("app.log-20260101T000000Z", "app.log-20260102T000000Z")
SCENARIOS: dict[str, dict[str, Any]] = {
    "compressed": {"keep": 2},
    "delayed": {"keep": 2, "delay_compress": True},
    "copytruncate": {"keep": 2, "reopen": {"method": "copytruncate"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "logs"
    path.mkdir()
    return path


@pytest.fixture(name="quick")
def quick_runs() -> Iterator[None]:
    with quick():
        yield


def fill(folder: Path) -> None:
    """Two logs; one of them was rotated twice before, and its oldest generation is one too many."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / f"{NAMES[0]}.gz").write_bytes(gzip.compress(OLD))
    (folder / NAMES[1]).write_bytes(ONE[:500])
    (folder / "app.log").write_bytes(ONE[500:])
    (folder / "web.log").write_bytes(OTHER)


def assert_whole(folder: Path, moment: str) -> None:
    """Assert that every line is there once and in order, and nothing else."""
    assert leftovers(folder) == [], moment
    assert everything(folder, "app.log") in (ONE, OLD + ONE), moment
    assert everything(folder, "web.log") == OTHER, moment


def assert_kept(folder: Path, moment: str) -> None:
    """Assert that every line is somewhere."""
    assert is_kept(folder, "app.log", ONE.splitlines()), moment
    assert is_kept(folder, "web.log", OTHER.splitlines()), moment


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("half", [False, True], ids=["before the call", "half of a write"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_line_is_lost_by_a_kill_at_any_call(folder: Path, scenario: str, half: bool) -> None:
    options = SCENARIOS[scenario]
    died, number = True, 0
    while died:
        number += 1
        fill(folder)
        died = killed({"path": str(folder), "max_age": "0s", **options}, number, half=half)
        assert_kept(folder, f"killed at call {number}")
        rotate(folder, **options)
        assert_whole(folder, f"killed at call {number}")
        before = snapshot(folder)
        assert rotate(folder, **options)["changed"] is False, f"killed at call {number}"
        assert snapshot(folder) == before
    assert number > (1 if half else 15), "nothing was interrupted"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_line_is_lost_when_the_disk_is_full_at_any_call(folder: Path, scenario: str, lasting: bool) -> None:
    options = SCENARIOS[scenario]
    failed, number = True, 0
    while failed:
        number += 1
        fill(folder)
        with disk_full_at(number, lasting=lasting):
            result = run_module("log_rotation", {"path": str(folder), "max_age": "0s", **options})
        assert_kept(folder, f"full at call {number}")
        failed = bool(result.get("failed"))
        if failed:
            assert result["failure"]["code"] == "disk_full", result
        rotate(folder, **options)
        assert_whole(folder, f"full at call {number}")
    assert number > 10, "nothing was full"


def test_a_full_disk_says_what_was_done_and_what_was_not(folder: Path) -> None:
    fill(folder)
    with disk_full_at(12, lasting=True):
        result = run_failed("log_rotation", {"path": str(folder), "max_age": "0s"})
    assert result["failure"]["code"] == "disk_full"
    assert "No space left on device" in result["msg"]
    statuses = {step["id"]: step["status"] for step in result["steps"]}
    assert set(statuses) == {action["id"] for action in result["plan"]}
    assert "failed" in statuses.values()
    assert result["changed"] is ("done" in statuses.values())


SMALL_DISK = """
import json, subprocess, sys
from pathlib import Path
from tests.support.logs import everything, leftovers, noise, rotate
from tests.support.modules import run_failed
folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
lines = noise(700_000)
(folder / "app.log").write_bytes(lines)
before = sorted(path.name for path in folder.iterdir())
result = run_failed("log_rotation", {"path": str(folder), **json.loads(sys.argv[2])})
assert result["failure"]["code"] == "disk_full", result
assert leftovers(folder) == [], leftovers(folder)
assert everything(folder, "app.log") == lines
subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
assert rotate(folder, **json.loads(sys.argv[2]))["changed"] is True
assert everything(folder, "app.log") == lines and leftovers(folder) == []
print("no line lost")
"""


def namespace(*options: str) -> list[str]:
    """Return how to run a command as root of a namespace of its own; skip where the system does not let us."""
    command = ["unshare", "--map-root-user", "--mount", *options]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs unshare --map-root-user --mount: user namespaces are switched off here")
    return command


@pytest.mark.parametrize(
    "options", [{"compress": "gzip"}, {"compress": "zstd"}, {"reopen": {"method": "copytruncate"}}], ids=str
)
def test_a_real_disk_that_is_full_costs_no_line(folder: Path, options: dict[str, Any]) -> None:
    command = [*namespace(), sys.executable, "-c", SMALL_DISK, str(folder), json.dumps(options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no line lost\n"), done.stderr[-3000:]


def test_the_remains_of_logrotate_are_not_taken_for_ours(folder: Path) -> None:
    """logrotate 3.21 loses the lines of app.log.1 when it finds a partial app.log.1.gz: here both stay as they are."""
    (folder / "app.log.1").write_bytes(ONE)
    (folder / "app.log.1.gz").write_bytes(b"\x1f\x8b partial")
    (folder / "app.log").write_bytes(b"new\n")
    rotate(folder)
    assert (folder / "app.log.1").read_bytes() == ONE
    assert (folder / "app.log.1.gz").read_bytes() == b"\x1f\x8b partial"
    assert everything(folder, "app.log") == b"new\n"


def test_a_generation_whose_compressed_twin_differs_is_kept(folder: Path) -> None:
    plain = folder / "app.log-20261120T074500Z"
    plain.write_bytes(ONE)
    twin = folder / (plain.name + ".gz")
    twin.write_bytes(b"\x1f\x8b partial")
    (folder / "app.log").touch()
    result = rotate(folder)
    assert [(step["id"], step["status"]) for step in result["steps"]] == [(f"settle:{plain.name}", "skipped")]
    assert result["changed"] is False
    assert result["status"] == "warning"
    assert (plain.read_bytes(), twin.read_bytes()) == (ONE, b"\x1f\x8b partial")


def interrupted_runs(folder: Path, arguments: dict[str, Any], seed: int) -> Iterator[str]:
    """Rotate again and again: killed, with a full disk, or undisturbed."""
    chance = random.Random(seed)
    while True:
        kind = chance.choice(["killed", "killed", "full", "whole"])
        number = chance.randrange(1, 40)
        if kind == "full":
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException), disk_full_at(number, lasting=chance.random() < 0.5):
                    run_module("log_rotation", arguments)
                os._exit(0)
            os.waitpid(child, 0)
        else:
            killed(arguments, number if kind == "killed" else 1_000_000)
        yield kind


def test_a_writer_that_numbers_its_lines_finds_them_all_again(folder: Path) -> None:
    """Two processes write and reopen while we rotate, are killed, find the disk full and start again, at random."""
    logs = ["app.log", "web.log"]
    seed = random.randrange(1 << 30)
    with contextlib.ExitStack() as stack:
        writers = {log: stack.enter_context(writer(folder / log)) for log in logs}
        pid_files = {log: folder.parent / f"{log}.pid" for log in logs}
        for log, path in pid_files.items():
            path.write_text(f"{writers[log].pid}\n")
        requests = {log: request(folder, log, pid_files[log]) for log in logs}
        rounds = {log: interrupted_runs(folder, requests[log], seed + number) for number, log in enumerate(logs)}
        kinds: Counter[str] = Counter()
        began = time.monotonic()
        while (spent := time.monotonic() - began) < LIVE_SECONDS or not seen_enough(folder, logs, kinds):
            assert spent < MOST_SECONDS, f"seed {seed}: only {kinds}, {snapshot(folder).keys()}"
            kinds.update(next(rounds[log]) for log in logs)
        for log in logs:
            wait_for(lambda log=log: not run_module("log_rotation", requests[log]).get("failed"), "a whole run")
        written = {log: stopped(process) for log, process in writers.items()}
        for log in logs:
            rotate(folder, patterns=[log], keep=0)
    assert leftovers(folder) == []
    for log in logs:
        assert everything(folder, log) == numbered(written[log]), f"seed {seed}"
        assert len(generations(folder, log)) > 2


def seen_enough(folder: Path, logs: list[str], kinds: Counter[str]) -> bool:
    """Tell whether each kind of interruption came up, and each log was rotated some times."""
    return {"killed", "full", "whole"} <= kinds.keys() and all(len(generations(folder, log)) > 2 for log in logs)


def request(folder: Path, log: str, pid_file: Path) -> dict[str, Any]:
    reopen = {"method": "signal", "pid_file": str(pid_file), "timeout": "5s"}
    return {"path": str(folder), "patterns": [log], "max_age": "0s", "keep": 0, "reopen": reopen}
