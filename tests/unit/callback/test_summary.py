"""The callback's own parts: which results there are, which step they belong to, what is written."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.callback.summary import (
    COLORS,
    command_again,
    load_runbook,
    near,
    parts_of,
    roles_decisions,
    step_of,
    write_json,
)
from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.summary import RANK
from plugins.module_utils._core.summary_page import BOLD, CHANGED, QUIET

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


@pytest.mark.parametrize(
    ("tags", "steps", "expected"),
    [
        (["preflight", "always", "window"], ("window", "host"), "window"),
        (["sessions", "maintenance", "database", "preflight"], ("window", "database", "maintenance"), "database"),
        (["act", "purge"], ("window",), "purge"),
        (["verify"], ("window",), "verify"),
        (["always"], (), "runbook_lock"),
        ([], (), "runbook_lock"),
    ],
)
def test_the_step_of_a_task(tags: list[str], steps: tuple[str, ...], expected: str) -> None:
    assert step_of(SimpleNamespace(tags=tags, action="oncall.runbooks.runbook_lock"), steps) == expected


@pytest.mark.parametrize(
    ("result", "failed", "expected"),
    [
        ({"msg": "x"}, False, [("x", False)]),
        ({"msg": "x"}, True, [("x", True)]),
        ({"msg": "x", "failure": {"code": "c"}}, False, [("x", True)]),
        ({"results": [{"msg": "a"}, {"msg": "b", "failed": True}]}, True, [("a", False), ("b", True)]),
        ({"results": [{"msg": "a", "skipped": True}, {"msg": "b"}]}, False, [("b", False)]),
        ({"results": [], "msg": "none"}, False, [("none", False)]),
        ({"results": ["text"], "msg": "packages"}, False, [("packages", False)]),
    ],
)
def test_the_parts_of_a_result(result: dict[str, Any], failed: bool, expected: list[tuple[str, bool]]) -> None:
    assert [(part["msg"], part_failed) for part, part_failed in parts_of(result, failed)] == expected


def test_metadata_is_found_under_both_names_and_its_absence_is_fine(tmp_path: Path) -> None:
    text = (PLAYBOOKS / "weekly-maintenance.meta.yml").read_text()
    (tmp_path / "weekly-maintenance.meta.yml").write_text(text)
    for name in ("weekly-maintenance.yml", "weekly_maintenance.yml"):
        runbook = load_runbook(tmp_path / name)
        assert runbook is not None and runbook.name == "weekly-maintenance"
    assert load_runbook(tmp_path / "site.yml") is None


def test_metadata_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "site.meta.yml").write_text("argument_specs: {}")
    with pytest.raises(InvalidValue):
        load_runbook(tmp_path / "site.yml")


def test_the_roles_decisions_are_read() -> None:
    assert {check for point in roles_decisions() for check in point.checks} >= {"lock_busy", "xmin_horizon"}


def test_the_command_that_runs_it_again_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"inventory": (str(tmp_path / "my hosts.yml"), "localhost,"), "args": ("playbooks/x.yml",)}
    assert command_again("/abs/playbooks/x.yml", arguments) == (
        "ansible-playbook -i 'my hosts.yml' -i localhost, playbooks/x.yml --limit {host}"
    )
    assert near("/elsewhere/hosts") == "/elsewhere/hosts"


def test_the_file_is_for_its_owner_only_and_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    file.write_text("old")
    write_json(file, {"status": "ok"})
    assert json.loads(file.read_text()) == {"status": "ok"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and list(tmp_path.iterdir()) == [file]
    with pytest.raises(TypeError):
        write_json(file, {"status": object()})
    assert json.loads(file.read_text()) == {"status": "ok"} and list(tmp_path.iterdir()) == [file]


def test_every_style_has_a_colour() -> None:
    assert set(COLORS) == {*RANK, BOLD, QUIET, CHANGED}
