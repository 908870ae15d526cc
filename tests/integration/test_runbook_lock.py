"""The lock as a module: the ladder, faults of the folder, and a race."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok

ROOT = Path(__file__).resolve().parents[2]
RACER = """
import sys
from tests.support.modules import run_module
name, directory, run = sys.argv[1:]
holder = {"run": run, "host": "h"}
print(run_module("runbook_lock", {"name": name, "directory": directory, "holder": holder}).get("changed"))
"""


def lock(directory: Path, run: str = "one", **more: Any) -> dict[str, Any]:
    holder = {"run": run, "host": "ops1", "boot_id": "b", "pid": 1, "pid_start": 2, "user": "ana", "runbook": "weekly"}
    return {"name": "maintenance", "directory": str(directory), "holder": holder, **more}


def listed(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_the_ladder(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    predicted = run_ok("runbook_lock", lock(directory), check=True)
    assert predicted["changed"] and not directory.exists()
    taken = run_ok("runbook_lock", lock(directory))
    assert taken["changed"] and taken["plan"] == predicted["plan"]
    assert stat.S_IMODE((directory / "maintenance.lease").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not run_ok("runbook_lock", lock(directory))["changed"]

    refused = run_failed("runbook_lock", lock(directory, "two"))
    assert refused["failure"]["code"] == "lock_busy" and "weekly of ana at ops1, pid 1" in refused["msg"]
    assert run_failed("runbook_lock", lock(directory, "two"), check=True)["failure"]["code"] == "lock_busy"
    assert run_failed("runbook_lock", lock(directory, "two", state="renewed"))["failure"]["code"] == "lock_lost"
    left_alone = run_ok("runbook_lock", lock(directory, "two", state="released"))
    assert not left_alone["changed"] and "left alone" in left_alone["msg"]

    renewed = run_ok("runbook_lock", lock(directory, state="renewed", ttl="3h"))
    assert renewed["changed"] and renewed["after"]["expires_at"] > taken["after"]["expires_at"]
    assert run_ok("runbook_lock", lock(directory, state="released"), diff=True)["diff"]["after"]["holder"] is None
    assert not run_ok("runbook_lock", lock(directory, state="released"))["changed"]
    assert listed(directory) == []


def test_an_expired_lease_is_taken_over(tmp_path: Path) -> None:
    run_ok("runbook_lock", lock(tmp_path / "l"))
    file = tmp_path / "l" / "maintenance.lease"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "expires_at": "2020-01-01T00:00:00Z"}))
    result = run_ok("runbook_lock", lock(tmp_path / "l", "two"))
    assert result["changed"] and result["status"] == "warning" and "taken over" in result["msg"]
    assert run_failed("runbook_lock", lock(tmp_path / "l", state="renewed"))["failure"]["code"] == "lock_lost"


def test_the_lease_of_a_dead_run_is_taken_over(tmp_path: Path) -> None:
    run_ok("runbook_lock", lock(tmp_path / "l"))
    assert run_ok("runbook_lock", lock(tmp_path / "l", "two", dead_runs=["one"]))["changed"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"name": "../up"}, "invalid_value"),
        ({"ttl": "5s"}, "invalid_value"),
        ({"ttl": "soon"}, "invalid_value"),
        ({"holder": None}, "invalid_value"),
        ({"state": "stolen"}, "invalid_arguments"),
    ],
)
def test_bad_input(tmp_path: Path, more: dict[str, Any], code: str) -> None:
    assert run_failed("runbook_lock", {**lock(tmp_path / "l"), **more})["failure"]["code"] == code
    assert listed(tmp_path) == []


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    (tmp_path / "l").chmod(0o777)
    assert run_failed("runbook_lock", lock(tmp_path / "l"))["failure"]["code"] == "insecure_directory"


def test_a_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "l").symlink_to(tmp_path / "real")
    assert run_failed("runbook_lock", lock(tmp_path / "l"))["failure"]["code"] == "insecure_directory"
    assert listed(tmp_path / "real") == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "maintenance"}', "x" * 100_000])
def test_a_lease_that_cannot_be_read_is_nobodys_to_break(tmp_path: Path, content: str) -> None:
    (tmp_path / "l").mkdir(mode=0o700)
    (tmp_path / "l" / "maintenance.lease").write_text(content)
    assert run_failed("runbook_lock", lock(tmp_path / "l"))["failure"]["code"] == "lease_unreadable"
    assert (tmp_path / "l" / "maintenance.lease").read_text() == content


def test_a_fifo_in_the_leases_place_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "l" / "maintenance.lease")
    assert run_failed("runbook_lock", lock(tmp_path / "l"))["failure"]["code"] == "lease_unreadable"


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run_failed("runbook_lock", lock(tmp_path / "file" / "l"))
    assert refused["failure"]["code"] == "insecure_directory"


def test_many_runs_at_once_have_one_winner(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, "maintenance", str(tmp_path / "l"), f"run-{number}"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for number in range(6)
    ]  # fmt: skip
    answers = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert answers.count("True") == 1, answers
    assert listed(tmp_path / "l") == ["maintenance.lease"]
