"""The summary of a health check: areas instead of hosts, on one screen."""

from __future__ import annotations

from typing import Any

from plugins.module_utils._core.summary import DecisionPoint, Line, Summary, line_of, parts_of, todos
from plugins.module_utils._core.summary_page import page, render


def area(name: str, status: str, msg: str, check: str = "c") -> dict[str, Any]:
    finding = {"check": check, "status": status, "msg": msg}
    return {
        "area": name,
        "status": status,
        "msg": msg,
        "plan": [],
        "steps": [],
        "findings": [finding],
        "changed": False,
    }


def looked(host: str, *areas: dict[str, Any]) -> list[Line]:
    result = {**area("", "ok", ""), "areas": {one["area"]: one for one in areas}}
    found = [line_of(host, "health", "look", part, 1.0, failed) for part, failed in parts_of(result, False)]
    return [line for line in found if line is not None]


def text_of(lines: list[Line], **more: Any) -> list[str]:
    return render(Summary("daily-operations", tuple(lines), **more), page(100, True, lambda text, _style: text))


def test_one_entry_for_each_area_the_worst_first() -> None:
    lines = [line for number in range(50) for line in looked(f"app{number}", area("host", "ok", "all 9 checks ok"))]
    lines += looked("db1", area("database", "critical", "1 critical: slot old_dr holds back 48 GB", "slot"))
    lines += looked("db2", area("database", "ok", "all 27 checks ok"))
    lines += looked("cache1", area("redis", "unknown", "no answer"), area("logs", "warning", "new errors"))
    text = text_of(lines)
    assert [line.split()[1] for line in text[3:7]] == ["database", "logs", "redis", "host"]
    assert "db1: 1 critical: slot old_dr holds back 48 GB; 1 host ok" in text[3]
    assert "50 hosts ok" in text[6]
    assert len(text) < 24, "more than one screen"


def test_hosts_are_named_when_they_did_something_or_went_wrong() -> None:
    quiet = Line("app1", "lock", "ok", "taken")
    failed = Line("app2", "host", "failed", "no such interpreter")
    text = "\n".join(text_of([quiet, failed, *looked("app1", area("host", "ok", "fine"))]))
    assert "app2" in text and "no such interpreter" in text
    assert "taken" not in text


def test_what_needs_a_person_names_the_area_and_the_runbook() -> None:
    lines = looked("db1", area("database", "critical", "97 of 100 connections used", "connections"))
    points = (DecisionPoint("connections", "run playbooks/emergency.yml", ("connections",)),)
    (todo,) = todos(Summary("daily", tuple(lines), decision_points=points))
    assert (todo.step, todo.next, todo.hosts) == ("database", "run playbooks/emergency.yml", ("db1",))


def test_the_nearest_decision_point_counts() -> None:
    points = (
        DecisionPoint("a", "any memory", ("memory",)),
        DecisionPoint("b", "all of redis", ("redis.*",)),
        DecisionPoint("c", "the memory of redis", ("redis.memory",)),
    )
    lines = looked("c1", area("redis", "critical", "x", "memory"), area("host", "critical", "y", "memory"))
    lines += looked("c2", area("redis", "warning", "z", "latency"))
    lines += looked("c3", area("redis", "unknown", "u", "latency"))
    said = {todo.msg: todo.next for todo in todos(Summary("daily", tuple(lines), decision_points=points))}
    assert said == {"x": "the memory of redis", "y": "any memory", "z": "all of redis", "u": ""}


def test_items_of_a_loop_may_have_areas() -> None:
    item = {"areas": {"host": area("host", "ok", "fine"), "logs": area("logs", "ok", "fine")}}
    assert [part["area"] for part, _failed in parts_of({"results": [item, {"skipped": True}]}, False)] == [
        "host",
        "logs",
    ]


def test_the_same_check_of_many_hosts_is_one_entry() -> None:
    lines = [line for n in range(40) for line in looked(f"app{n}", area("host", "critical", f"cpu {60 + n} %", "cpu"))]
    (todo,) = todos(Summary("daily", tuple(lines)))
    assert len(todo.hosts) == 40 and todo.msg == "cpu 60 % (figures of the first)"


def test_two_objects_of_one_check_are_two_entries() -> None:
    both = area("host", "critical", "/ is full", "disk")
    both["findings"].append({"check": "disk", "status": "critical", "msg": "/var is full"})
    found = todos(Summary("daily", tuple(looked("app1", both) + looked("app2", both))))
    assert [(todo.msg, todo.hosts) for todo in found] == [
        ("/ is full", ("app1", "app2")),
        ("/var is full", ("app1", "app2")),
    ]


def test_the_report_does_not_say_again_what_others_have_said() -> None:
    written = {**area("report", "critical", "shop is critical; 3 files written"), "changed": True}
    line = line_of("localhost", "report", "write", written, 1.0, False)
    assert line is not None
    summary = Summary("daily", (line, *looked("db1", area("database", "warning", "slow"))))
    assert [name for name, _lines in summary.areas()] == ["database"] and summary.status == "warning"
    assert [todo.step for todo in todos(summary)] == ["database"]
    failed = line_of("localhost", "report", "write", written, 1.0, True)
    assert failed is not None and failed.status == "failed"
