"""Steps tell who watches how far they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plugins.module_utils._core.errors import OpsError
from plugins.module_utils._core.result import Action, Decision
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.progress import ProgressFile
from plugins.module_utils._module.copy_steps import Steps

DECISION = Decision("", (Action("save", "save", "redis", ""), Action("store", "store", "redis", "")))


def line(path: Path) -> str:
    return str(json.loads(path.read_text())["line"])


def test_each_step_and_what_restic_says(tmp_path: Path) -> None:
    clock, file = SystemClock(), tmp_path / "progress"
    steps = Steps(DECISION, clock, ProgressFile(str(file), clock.monotonic, every=0), "shop redis redis of cache1")
    with steps.doing("save"):
        assert line(file).startswith("shop redis redis of cache1 save, 0 of 2 steps, ")
    with steps.doing("store"):
        assert line(file).startswith("shop redis redis of cache1 store, 1 of 2 steps, ")
        steps.stored({"message_type": "status", "percent_done": 0.412})
        assert "store 41 %, 1 of 2 steps" in line(file)
    assert [step.status for step in steps.done] == ["done", "done"]


def test_without_a_file_nothing_is_told_and_failures_keep_what_was_done(tmp_path: Path) -> None:
    clock = SystemClock()
    steps = Steps(DECISION, clock, ProgressFile(None, clock.monotonic), "redis")
    with pytest.raises(OpsError) as failed, steps.doing("save"):
        raise OpsError("no")
    assert failed.value.partial["steps"][0]["status"] == "failed" and list(tmp_path.iterdir()) == []


def test_a_look_that_fails_afterwards_leaves_done_what_is_done() -> None:
    steps = Steps(DECISION, SystemClock())
    with steps.doing("save"):
        pass
    with pytest.raises(OpsError) as failed, steps.looking("redis was saved", kept="old"):
        raise OpsError("no")
    assert failed.value.message == "redis was saved; no"
    partial = failed.value.partial
    assert partial["changed"] and partial["kept"] == "old"
    assert [step["status"] for step in partial["steps"]] == ["done"]
