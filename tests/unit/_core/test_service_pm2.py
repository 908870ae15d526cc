"""pm2's list of processes, in the shape that pm2 7.0 prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugins.module_utils._core.errors import CommandFailed, InvalidValue, PreconditionFailed
from plugins.module_utils._core.service_pm2 import check_name, log_paths, parse_jlist, select, service_state


def process(pm_id: int, name: str, status: str = "online", restarts: int = 0, **more: Any) -> dict[str, Any]:
    env = {
        "status": status,
        "restart_time": restarts,
        "pm_uptime": 1795247712208 + pm_id,
        "namespace": "default",
        "pm_err_log_path": f"/home/shop/.pm2/logs/{name}-error.log",
        "SHOP_PASSWORD": "hunter2",
        **more,
    }
    return {"pid": 7000 + pm_id if status == "online" else 0, "name": name, "pm_id": pm_id, "pm2_env": env}


LIST = [process(0, "web"), process(1, "web", restarts=3), process(2, "worker", "errored", 15)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LIST),
        f">>>> In-memory PM2 is out-of-date, do:\n>>>> $ pm2 update\n{json.dumps(LIST)}",
        f"[PM2] Spawning PM2 daemon with pm2_home=/x\n[PM2] PM2 Successfully daemonized\n{json.dumps(LIST)}",
    ],
)
def test_advice_around_the_list_is_passed_over(text: str) -> None:
    assert parse_jlist(text) == LIST


def test_an_empty_list_is_a_list() -> None:
    assert parse_jlist("[]") == []


@pytest.mark.parametrize("text", ["", "[PM2][ERROR] no", "[{broken", "[1, 2]", '{"a": [{}]'])
def test_no_list_is_an_error_and_not_an_empty_list(text: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        parse_jlist(text)
    assert failed.value.code == "output_unreadable"


def test_a_name_stands_for_all_its_instances_and_a_number_for_one() -> None:
    assert [p["pm_id"] for p in select(LIST, "web")] == [0, 1]
    assert [p["pm_id"] for p in select(LIST, "1")] == [1]


def test_an_unknown_name_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(PreconditionFailed) as refused:
        select(LIST, "shop")
    assert refused.value.code == "unit_missing"
    assert "web, worker" in str(refused.value.hint)


def test_a_name_that_is_also_a_namespace_would_hit_others() -> None:
    with pytest.raises(PreconditionFailed) as refused:
        select([*LIST, process(3, "cron", namespace="web")], "web")
    assert refused.value.code == "ambiguous_name"


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (LIST[:2], {"state": "active", "restarts": 3, "instances": 2, "running": 2, "wanted": True, "looping": False}),
        (LIST[2:], {"state": "failed", "looping": True, "wanted": True, "running": 0, "pids": ()}),
        ([process(0, "a"), process(1, "a", "errored")], {"state": "failed", "looping": True}),
        ([process(0, "a", "stopped")], {"state": "stopped", "wanted": False, "since": None}),
        ([process(0, "a", "waiting restart")], {"state": "starting", "looping": True}),
        ([process(0, "a", "launching")], {"state": "starting", "looping": False}),
        ([process(0, "a", "some new word")], {"state": "starting"}),
    ],
)
def test_an_application_is_as_bad_as_its_worst_process(
    processes: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    state = service_state("a", processes)
    assert {key: getattr(state, key) for key in expected} == expected


def test_the_applications_environment_never_leaves_the_list() -> None:
    state = service_state("web", LIST)
    assert "hunter2" not in repr(state)
    assert state.since == "2026-11-21T07:55:12Z"
    assert log_paths(LIST) == ("/home/shop/.pm2/logs/web-error.log", "/home/shop/.pm2/logs/worker-error.log")


@pytest.mark.parametrize(
    "name", ["", "all", "ALL", "-f", "--silent", "ecosystem.json", "app.js", "a/b", "/etc", "a\nb"]
)
def test_what_names_no_single_application_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_name(name)


@pytest.mark.parametrize("name", ["web", "0", "my app", "zürich", "web-1"])
def test_usual_names_are_taken(name: str) -> None:
    assert check_name(name) == name
