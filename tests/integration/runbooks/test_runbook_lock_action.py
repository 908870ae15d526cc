"""The lock in playbooks: who holds it is known by its process, and a run that died is found out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.playbooks import Playbooks

PLAYBOOK = """
- name: "Nightly (1/4) PREFLIGHT: nobody else is at work"
  hosts: work
  gather_facts: false
  tasks:
    - name: Lock is taken
      oncall.runbooks.runbook_lock: {name: maintenance, directory: "{{ directory }}"}
    - name: Work takes as long as the test wants
      ansible.builtin.wait_for: {path: "{{ go_on }}", sleep: 1, timeout: 120}
    - name: Lock is given back
      oncall.runbooks.runbook_lock: {name: maintenance, directory: "{{ directory }}", state: released}
"""


@pytest.fixture
def playbooks(tmp_path: Path) -> Playbooks:
    here = Playbooks(tmp_path)
    here.write_inventory({"work": {"one": {}}}, directory=str(tmp_path / "locks"), go_on=str(tmp_path / "go_on"))
    (tmp_path / "nightly.yml").write_text(PLAYBOOK)
    return here


def lease(folder: Path) -> Path:
    return folder / "locks" / "maintenance.lease"


def wait_for_lease(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not lease(folder).exists():
        assert time.monotonic() < deadline, "nobody took the lock"
        time.sleep(0.05)


def test_a_second_run_is_refused_and_the_dead_run_s_lock_is_taken_over(playbooks: Playbooks, tmp_path: Path) -> None:
    first = playbooks.start(tmp_path / "nightly.yml")
    try:
        wait_for_lease(tmp_path)
        holder = json.loads(lease(tmp_path).read_text())["holder"]
        assert (holder["pid"], holder["runbook"]) == (first.pid, "Nightly")

        second = playbooks.run(tmp_path / "nightly.yml")
        assert second.rc == 2 and "lock_busy" in second.output and f"pid {first.pid}" in second.output
        assert json.loads(lease(tmp_path).read_text())["holder"]["pid"] == first.pid
    finally:
        first.kill()
        first.communicate()

    (tmp_path / "go_on").touch()
    third = playbooks.run(tmp_path / "nightly.yml")
    assert third.rc == 0, third.output
    assert "is taken over from Nightly of" in json.dumps(third.summary)
    assert not lease(tmp_path).exists()


def test_another_controllers_lock_is_left_alone(playbooks: Playbooks, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir(mode=0o700)
    far = {"run": "x", "host": "far", "boot_id": "b", "pid": 1, "pid_start": 1, "user": "ben", "runbook": "nightly"}
    record = {"name": "maintenance", "holder": far, "acquired_at": "2026-01-01T00:00:00Z"}
    lease(tmp_path).write_text(json.dumps({**record, "expires_at": "2999-01-01T00:00:00Z"}))
    refused = playbooks.run(tmp_path / "nightly.yml")
    assert refused.rc == 2 and "nightly of ben at far, pid 1" in refused.output
    assert json.loads(lease(tmp_path).read_text())["holder"] == far
