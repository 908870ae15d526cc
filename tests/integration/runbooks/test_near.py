"""Where the host is the controller itself, looks and locks do the same without a module that travels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.playbooks import Playbooks
from tests.support.servers import Database

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - oncall.runbooks.{module}: "{{{{ options }}}}"
      register: found
      ignore_errors: true  # the answer is what is tested, a refusal too
    - ansible.builtin.copy: {{content: "{{{{ found | to_json }}}}", dest: "{{{{ answer }}}}"}}
"""
OWN = {"counters", "samples", "findings", "msg", "diff", "invocation", "exception", "ansible_facts"}


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """The controller's Python by another name: the module has to travel."""
    other = tmp_path / "other-python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    return str(other)


def answer(
    folder: Path, module: str, options: dict[str, Any], *arguments: str, **host: Any
) -> tuple[dict[str, Any], str]:
    """Return what the task said, and what was printed at the highest verbosity."""
    playbooks = Playbooks(folder)
    playbooks.write_inventory({"work": {"one": host}}, options=options, answer=str(folder / "answer.json"))
    (folder / "play.yml").write_text(PLAYBOOK.format(module=module))
    run = playbooks.run(folder / "play.yml", "-vvv", *arguments)
    assert run.rc == 0, run.output
    return json.loads((folder / "answer.json").read_text()), run.output


def travelled(output: str, module: str) -> bool:
    return f"plugins/modules/{module}.py" in output


@pytest.mark.parametrize("flags", [(), ("--diff",)])
def test_both_ways_say_the_same(tmp_path: Path, database: Database, other_python: str, flags: tuple[str, ...]) -> None:
    server = database.server
    login = {"login_host": server.host, "login_port": server.port, "login_user": server.superuser}
    options = {**login, "login_db": database.name, "limits": {"uptime": False}}
    here, shown = answer(tmp_path, "postgresql_health_info", options, *flags)
    assert not travelled(shown, "postgresql_health_info")
    there, shown = answer(tmp_path, "postgresql_health_info", options, *flags, ansible_python_interpreter=other_python)
    assert travelled(shown, "postgresql_health_info")
    assert here["area"] == "database" and here.keys() - OWN == there.keys() - OWN
    assert {finding["check"] for finding in here["findings"]} == {finding["check"] for finding in there["findings"]}
    assert ("diff" in here) == ("diff" in there)


@pytest.mark.parametrize("first_here", [True, False])
def test_a_lock_is_the_same_lock_from_both_ways(tmp_path: Path, other_python: str, first_here: bool) -> None:
    options = {"name": "maintenance", "directory": str(tmp_path / "locks")}
    there = {"ansible_python_interpreter": other_python}
    results, ways = [], [{}, there] if first_here else [there, {}]
    for host in ways:
        result, shown = answer(tmp_path, "runbook_lock", options, **host)
        assert travelled(shown, "runbook_lock") == bool(host)
        results.append(result)
    taken, taken_over = results
    assert taken["changed"] and taken_over["changed"] and "is taken over from" in taken_over["msg"], taken_over
    assert taken.keys() - OWN == taken_over.keys() - OWN


@pytest.mark.parametrize(
    "options",
    [
        {"areas": {"moon": {}}},
        {"areas": {"database": {"login_port": "harbour"}}},
        {"ares": {}},
        {},
    ],
)
def test_options_that_mean_nothing_fail_in_the_same_words(
    tmp_path: Path, other_python: str, options: dict[str, Any]
) -> None:
    here, _shown = answer(tmp_path, "health_info", options)
    there, _shown = answer(tmp_path, "health_info", options, ansible_python_interpreter=other_python)
    assert here["failed"] and here["failure"]["code"] == there["failure"]["code"]
    assert here["msg"] == there["msg"]


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    areas = {"database": {"login_host": "127.0.0.1", "login_port": 1, "login_password": "hunter2-hunter2"}}
    found, shown = answer(tmp_path, "health_info", {"areas": areas})
    assert found["areas"]["database"]["status"] == "critical" and "hunter2" not in json.dumps(found)
    assert "hunter2" not in shown.replace(json.dumps(areas), "")


@pytest.mark.parametrize(
    "host",
    [
        {"ansible_python_interpreter": "OTHER"},
        {"ansible_become": True, "ansible_become_method": "ansible.builtin.su", "ansible_become_user": "root"},
    ],
    ids=["another Python", "become"],
)
def test_the_module_travels_when_anything_is_different_there(
    tmp_path: Path, other_python: str, host: dict[str, Any]
) -> None:
    host = {name: other_python if value == "OTHER" else value for name, value in host.items()}
    _found, shown = answer(tmp_path, "checklist", {"items": [], "list": "morning"}, **host)
    assert travelled(shown, "checklist")
