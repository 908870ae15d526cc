"""Who holds the lock, and whether that process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugins.action import runbook_lock
from plugins.action.runbook_lock import busy_holder, is_dead, this_run, user_name
from plugins.module_utils._io.process_identity import process_start


def holder(**more: Any) -> dict[str, Any]:
    return {**this_run({"ansible_play_name": "Weekly maintenance (1/4) PREFLIGHT: x"}), **more}


def test_the_run_is_named_by_its_process() -> None:
    me = holder()
    assert me["pid"] == os.getppid() and me["runbook"] == "Weekly maintenance"
    assert me["run"] == f"{me['host']}:{me['boot_id']}:{me['pid']}:{me['pid_start']}"
    assert holder()["run"] == me["run"]


def test_a_living_process_is_not_dead() -> None:
    assert not is_dead(holder(), holder())


def test_a_process_that_ended_is_dead_and_so_is_one_whose_number_somebody_else_has() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = process_start(child.pid)
    assert not is_dead(holder(pid=child.pid, pid_start=start), holder())
    assert is_dead(holder(pid=child.pid, pid_start=(start or 0) - 1), holder())
    child.communicate()
    assert is_dead(holder(pid=child.pid, pid_start=start), holder())


def test_the_number_of_a_process_says_nothing_in_another_pid_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with the host's network: its name and boot are the host's."""
    alive_there = holder(pid=2**22 + 1, pid_start=1)
    assert is_dead(alive_there, holder()), "in the same namespace it is gone"
    monkeypatch.setattr(Path, "readlink", lambda _path: Path("pid:[4026532999]"))
    assert not is_dead(alive_there, holder())


def test_a_lease_from_before_the_namespace_was_kept_is_not_dead() -> None:
    old = {"boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    assert not is_dead(holder(pid=2**22 + 1, pid_start=1, **old), holder())


def test_where_the_namespace_is_not_known_nothing_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> Path:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "readlink", missing)
    assert not is_dead(holder(pid=2**22 + 1, pid_start=1), holder())


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"boot_id": "earlier"}, {"boot_id": ""}, {"pid": None}])
def test_what_cannot_be_seen_from_here_is_not_dead(other: dict[str, Any]) -> None:
    me = holder()
    gone = {"pid": 2**22 + 1, "pid_start": 1, **other}
    assert not is_dead(holder(**gone), {**me, "boot_id": me["boot_id"] if other != {"boot_id": ""} else ""})


def test_only_a_refusal_names_a_holder() -> None:
    assert busy_holder({"msg": "x"}) is None
    assert busy_holder({"failure": {"code": "lock_lost", "details": {}}}) is None
    assert busy_holder({"failure": {"code": "lock_busy", "details": {"holder": {"run": "r"}}}}) == {"run": "r"}


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ana")
    assert user_name() == "ana"
    monkeypatch.delenv("SUDO_USER")

    def nameless() -> str:
        raise KeyError("no name")

    monkeypatch.setattr(runbook_lock.getpass, "getuser", nameless)
    assert user_name() == f"uid {os.getuid()}"
