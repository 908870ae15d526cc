"""service_restart with the real pm2."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.pm2 import Pm2, install, own_pm2

GOOD = "require('http').createServer((q, r) => r.end('ok')).listen(0, '127.0.0.1')\n"
DIES = "console.error('token=hunter2 is wrong'); setTimeout(() => process.exit(3), 100)\n"


@pytest.fixture(scope="module")
def pm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pm2]:
    install()
    folder = tmp_path_factory.mktemp("pm2")
    with own_pm2(folder / "home") as pm2:
        (folder / "good.js").write_text(GOOD)
        (folder / "dies.js").write_text(DIES)
        pm2.call("start", str(folder / "good.js"), "--name", "web", "-i", "2")
        pm2.call("start", str(folder / "good.js"), "--name", "worker")
        yield pm2


def options(pm2: Pm2, name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "manager": "pm2",
        "pm2_executable": str(pm2.program),
        "pm2_home": str(pm2.home),
        "interval": "100ms",
        "deadline": "60s",
        **more,
    }


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_every_instance_is_new_afterwards_and_nothing_else(pm2: Pm2, action: str) -> None:
    old, others = pm2.pids("web"), pm2.pids("worker")
    planned = run_ok("service_restart", options(pm2, "web", action=action), check=True)
    assert pm2.pids("web") == old
    done = run_ok("service_restart", options(pm2, "web", action=action))
    assert done["plan"] == planned["plan"] and done["changed"]
    assert planned["plan"][0]["command"] == shlex.join([str(pm2.program), action, "web"])
    assert not set(old) & set(pm2.pids("web")) and pm2.pids("worker") == others
    assert sorted(done["before"]["pids"]) == sorted(old) and sorted(done["after"]["pids"]) == sorted(pm2.pids("web"))
    assert done["after"]["restarts"] == done["before"]["restarts"] + 2
    assert "hunter2" not in json.dumps(done)


def test_one_instance_can_be_named_by_its_number(pm2: Pm2) -> None:
    number = next(str(process["pm_id"]) for process in pm2.processes() if process["name"] == "worker")
    old = pm2.pids("worker")
    assert run_ok("service_restart", options(pm2, number))["changed"]
    assert pm2.pids("worker") != old


def test_an_application_that_dies_again_and_again_is_a_crash_loop(pm2: Pm2) -> None:
    pm2.call("start", str(pm2.home.parent / "dies.js"), "--name", "dies", "--restart-delay", "50")
    try:
        result = run_failed("service_restart", options(pm2, "dies", successes=10))
    finally:
        pm2.call("delete", "dies")
    # pm2 itself refuses when its own restart comes in at the same moment ("Process with pid ... already exists").
    assert result["failure"]["code"] in ("crash_loop", "command_failed"), result
    assert result["changed"] and result["failure"]["details"]["journal"]
    assert "hunter2" not in json.dumps(result)


def test_what_somebody_stopped_stays_stopped_unless_told(pm2: Pm2) -> None:
    pm2.call("stop", "worker")
    refused = run_failed("service_restart", options(pm2, "worker"))
    assert refused["failure"]["code"] == "not_running" and pm2.pids("worker") == [0]
    assert not run_ok("service_restart", options(pm2, "worker", condition="needed"))["changed"]
    assert run_ok("service_restart", options(pm2, "worker", start_stopped=True))["after"]["state"] == "active"
    assert not run_ok("service_restart", options(pm2, "worker", condition="needed"))["changed"]


def test_bad_input_has_a_stable_code(pm2: Pm2, tmp_path: Path) -> None:
    assert run_failed("service_restart", options(pm2, "nobody"))["failure"]["code"] == "unit_missing"
    program = options(pm2, "web", pm2_executable="/nonexistent/pm2")
    assert run_failed("service_restart", program)["failure"]["code"] == "command_missing"
    home = options(pm2, "web", pm2_home=str(tmp_path / "nobody"))
    assert run_failed("service_restart", home)["failure"]["code"] == "manager_unavailable"
    assert not any(tmp_path.iterdir()), "looking must not start a daemon"
