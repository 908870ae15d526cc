"""service_restart with real processes: what comes up, what comes up wrongly, and what does not come up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import product
from tests.support.modules import run_failed, run_module, run_ok
from tests.support.servers import Database
from tools.embedded_postgres import free_port

TOKEN = "c4n4ry-t0ken"


class Product:
    """The product of one test, running and in a good mood at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "port").write_text(str(self.port))
        self.mood()

    def mood(self, **mood: Any) -> None:
        """Say how the next start behaves."""
        (self.folder / "mood").write_text(json.dumps(mood))

    def argv(self, verb: str) -> list[str]:
        return [sys.executable, product.__file__, verb, str(self.folder)]

    def do(self, verb: str) -> int:
        return subprocess.run(
            self.argv(verb), check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode

    @property
    def pid(self) -> int | None:
        return product.pid_of(self.folder / "pid")

    def options(self, **more: Any) -> dict[str, Any]:
        commands = {verb: self.argv(verb) for verb in ("status", "stop", "start")}
        health = {
            "name": "health",
            "type": "http",
            "url": f"http://127.0.0.1:{self.port}/health",
            "json": {"version": "2.0"},
            "secret_headers": {"Authorization": f"Bearer {TOKEN}"},
            "timeout": "1s",
        }
        return {
            "name": "shop",
            "manager": "command",
            "commands": {**commands, "pid_file": str(self.folder / "pid")},
            "probes": [health],
            "interval": "50ms",
            "deadline": "20s",
            **more,
        }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    assert made.do("start") == 0
    yield made
    made.do("stop")


def by_check(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {step["id"]: step["status"] for step in result["steps"]}


def test_check_mode_shows_the_plan_and_the_real_run_carries_it_out(shop: Product) -> None:
    old = shop.pid
    planned = run_ok("service_restart", shop.options(), check=True, diff=True)
    assert planned["changed"] and planned["steps"] == [] and shop.pid == old
    assert [action["action"] for action in planned["plan"]] == ["stop", "start", "verify"]

    done = run_ok("service_restart", shop.options(), diff=True)
    assert done["plan"] == planned["plan"]
    assert done["changed"] and set(statuses(done).values()) == {"done"}
    assert shop.pid not in (None, old)
    assert (done["before"]["pids"], done["after"]["pids"]) == ([old], [shop.pid])
    assert done["diff"] == {"before": done["before"], "after": done["after"]}
    assert done["status"] == "ok" and by_check(done)["service_ready"] == "ok"
    assert f"pid {old}" in done["msg"] and done["ready_after_seconds"] > 0
    assert planned["before"] == done["before"] and planned["after"]["state"] == done["after"]["state"]


def test_only_a_service_that_needs_it_is_restarted_and_the_second_run_has_nothing_to_do(shop: Product) -> None:
    shop.do("stop")
    needed = shop.options(condition="needed")
    first = run_ok("service_restart", needed)
    assert first["changed"] and "should run but is stopped" in first["restart_reasons"][0]
    pid = shop.pid
    second = run_ok("service_restart", needed)
    assert not second["changed"] and second["plan"] == [] and "needs no restart" in second["msg"]
    assert shop.pid == pid and by_check(second)["restart_needed"] == "ok"


def test_one_command_restarts_too(shop: Product) -> None:
    options = shop.options()
    options["commands"] = {"restart": shop.argv("restart"), "pid_file": str(shop.folder / "pid")}
    old = shop.pid
    assert [action["action"] for action in run_ok("service_restart", options)["plan"]] == ["restart", "verify"]
    assert shop.pid not in (None, old)


def test_a_slow_start_is_waited_for(shop: Product) -> None:
    shop.mood(silent_seconds=0.7)
    result = run_ok("service_restart", shop.options())
    assert result["probes"][0]["failed"] > 0 and "refused" in result["probes"][0]["last_error"]
    assert result["probes"][0]["polls"] >= result["probes"][0]["failed"] + 3


@pytest.mark.parametrize(
    ("mood", "code", "reason"),
    [
        ({"busy": True}, "not_ready", "status 503"),
        ({"version": "1.9"}, "not_ready", 'version is "1.9", not "2.0"'),
        ({"endless": True}, "not_ready", "no answer"),
        ({"flap": 3}, "not_ready", "status 503"),
        ({"silent_seconds": 60}, "not_ready", "refused"),
        ({"life_seconds": 0}, "service_failed", "no process of its pid file"),
        ({"life_seconds": 0.2, "supervised": True}, "crash_loop", "its process changed meanwhile"),
    ],
    ids=["never green", "lies", "never ends", "flaps", "too slow", "dies", "crash loop"],
)
def test_what_does_not_come_up_well_fails_in_time(shop: Product, mood: dict[str, Any], code: str, reason: str) -> None:
    shop.mood(**mood)
    old = shop.pid
    began = time.monotonic()
    options = shop.options(deadline="6s", successes=12 if "life_seconds" in mood else 3)  # it starts in 6 s when busy
    options["probes"][0]["timeout"] = "1s"
    result = run_failed("service_restart", options)
    assert time.monotonic() - began < 45, "the deadline did not end it: what answers only after 60 s was waited for"
    if mood.get("supervised") and result["failure"]["code"] == "service_failed":
        reason = "it stopped"  # looked at between its end and its next start: nobody can tell a supervisor from none
    else:
        assert result["failure"]["code"] == code, result
    assert reason in result["msg"] + json.dumps(result["failure"]["details"])
    assert result["changed"], "it was restarted, and the result must say so"
    assert statuses(result) == {"stop:shop": "done", "start:shop": "done", "verify:shop": "failed"}
    assert result["before"]["pids"] == [old] and result["failure"]["details"]["probes"][0]["polls"] > 0


def test_a_start_that_fails_half_way_keeps_what_was_done(shop: Product) -> None:
    shop.mood(refuse=True)
    result = run_failed("service_restart", shop.options())
    assert result["failure"]["code"] == "command_failed"
    assert statuses(result) == {"stop:shop": "done", "start:shop": "failed"}
    assert result["changed"] and result["after"]["state"] == "stopped" and result["before"]["state"] == "active"
    assert "cannot start" in result["msg"] and "hunter2" not in json.dumps(result)


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_configuration_leaves_the_service_alone(shop: Product, check: bool) -> None:
    old = shop.pid
    shop.mood(broken_config=True)
    result = run_failed("service_restart", shop.options(config_check=shop.argv("check")), check=check)
    assert result["failure"]["code"] == "config_invalid" and not result["changed"]
    assert "unknown directive" in result["msg"] and shop.pid == old
    shop.mood()
    assert run_ok("service_restart", shop.options(config_check=shop.argv("check")), check=check)["changed"]


def test_a_service_that_is_not_due_is_not_checked(shop: Product) -> None:
    shop.mood(broken_config=True)
    options = shop.options(condition="needed", config_check=shop.argv("check"))
    assert not run_ok("service_restart", options)["changed"]


def test_a_command_that_hangs_is_ended(shop: Product) -> None:
    options = shop.options(command_timeout="300ms")
    options["commands"] = {"restart": ["/bin/sleep", "60"], "pid_file": str(shop.folder / "pid")}
    result = run_failed("service_restart", options)
    assert result["failure"]["code"] == "timed_out" and not result["changed"]
    assert statuses(result) == {"restart:shop": "failed"}


def test_no_secret_is_shown(shop: Product) -> None:
    shop.mood(busy=True)
    for check in (True, False):
        result = run_module("service_restart", shop.options(deadline="1s"), check=check, diff=True)
        assert TOKEN not in json.dumps(result)


NO_STATUS = {"restart": ["/bin/true"]}
HTTP = {"type": "http", "url": "http://127.0.0.1:1/"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"manager": "cron"}, "invalid_arguments"),
        ({"action": "stop"}, "invalid_arguments"),
        ({"condition": "sometimes"}, "invalid_arguments"),
        ({"nonsense": 1}, "invalid_arguments"),
        ({"commands": None}, "invalid_value"),
        ({"commands": {"stop": ["/bin/true"], "status": ["/bin/true"]}}, "invalid_value"),
        ({"commands": NO_STATUS, "probes": []}, "invalid_value"),
        ({"action": "reload"}, "invalid_value"),
        ({"interval": "soon"}, "invalid_value"),
        ({"interval": "0"}, "invalid_value"),
        ({"deadline": "1s", "interval": "1s"}, "invalid_value"),
        ({"successes": 0}, "invalid_value"),
        ({"probes": [], "successes": 1}, "invalid_value"),
        ({"probes": [HTTP, {**HTTP, "name": "http 1"}]}, "invalid_value"),
        ({"probes": [{**HTTP, "url": "ftp://x/"}]}, "invalid_value"),
        ({"probes": [{**HTTP, "headers": {"Authorization": "x"}}]}, "invalid_value"),
        ({"probes": [{**HTTP, "timeout": "0s"}]}, "invalid_value"),
        ({"probes": [{"type": "http"}]}, "invalid_arguments"),
        ({"probes": [{"type": "tcp", "port": 70000}]}, "invalid_value"),
        ({"probes": [{"type": "sql", "dsn": "no=dsn at all"}]}, "invalid_value"),
        ({"probes": [{"type": "command", "argv": []}]}, "invalid_value"),
        ({"manager": "systemd", "name": "nginx*"}, "invalid_value"),
        ({"manager": "pm2", "name": "all"}, "invalid_value"),
        ({"manager": "pm2", "name": "shop", "pm2_home": "/nonexistent"}, "manager_unavailable"),
        ({"config_check": ["/nonexistent/check"]}, "command_missing"),
        ({"commands": {"restart": ["/nonexistent/restart"], "status": ["/bin/true"]}}, "command_missing"),
        ({"commands": {"restart": ["/bin/true"], "status": ["/nonexistent/status"]}}, "command_missing"),
    ],
)
def test_bad_input_has_a_stable_code_and_changes_nothing(shop: Product, change: dict[str, Any], code: str) -> None:
    old = shop.pid
    result = run_failed("service_restart", shop.options(**change))
    assert result["failure"]["code"] == code, result
    assert not result.get("changed") and shop.pid == old


def test_a_query_of_the_application_is_a_probe_and_cannot_write(shop: Product, database: Database) -> None:
    database.execute("CREATE TABLE heartbeat (at timestamptz DEFAULT now())")
    database.execute("INSERT INTO heartbeat DEFAULT VALUES")
    sql = {"type": "sql", "name": "worker", "dsn": database.dsn(), "query": "SELECT count(*) FROM public.heartbeat"}
    assert run_ok("service_restart", shop.options(probes=[{**sql, "expect": "1"}]))["changed"]
    wrong = run_failed("service_restart", shop.options(probes=[{**sql, "expect": "2"}], deadline="2s"))
    assert "the value is 1, not 2" in wrong["msg"]
    slow = {**sql, "query": "SELECT count(*) FROM public.heartbeat, pg_catalog.pg_sleep(0.2)", "expect": "2"}
    cut_short = run_failed("service_restart", shop.options(probes=[slow], deadline="2s"))
    assert "the value is 1, not 2" in cut_short["msg"], "what the deadline cut off is not why it is not ready"
    writes = {**sql, "query": "WITH w AS (INSERT INTO public.heartbeat DEFAULT VALUES RETURNING 1) SELECT 1 FROM w"}
    refused = run_failed("service_restart", shop.options(probes=[writes], deadline="2s"))
    assert "read-only" in refused["msg"]
    assert database.fetch("SELECT count(*) FROM heartbeat") == [(1,)]


@pytest.mark.skipif(not os.access("/opt", os.W_OK), reason="only root may put a program where packages put theirs")
def test_a_replaced_program_is_a_reason_to_restart(tmp_path: Path) -> None:
    folder = Path("/opt") / f"oncall-test-{os.getpid()}"
    folder.mkdir()
    program, script = folder / "sleeper", tmp_path / "restart"
    script.write_text(
        f"#!/bin/sh\nkill $(cat {tmp_path}/pid)\n{program} 600 >/dev/null 2>&1 &\necho $! >{tmp_path}/pid\n"
    )
    script.chmod(0o755)
    shutil.copy(str(shutil.which("sleep")), program)
    process = subprocess.Popen([str(program), "600"])
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    options = {
        "name": "sleeper",
        "manager": "command",
        "condition": "needed",
        "commands": {"restart": [str(script)], "pid_file": f"{tmp_path}/pid"},
        "interval": "50ms",
    }
    try:
        assert not run_ok("service_restart", options)["changed"]
        shutil.copy(program, folder / "new")
        (folder / "new").replace(program)
        first = run_ok("service_restart", options)
        assert first["changed"] and first["restart_reasons"] == [f"it still runs 1 replaced file: {program}"]
        assert not run_ok("service_restart", options)["changed"]
    finally:
        process.kill()
        process.wait()
        os.kill(int((tmp_path / "pid").read_text()), 9)
        shutil.rmtree(folder)
