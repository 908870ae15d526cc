"""The summary of a health check: areas instead of hosts, on one screen."""

from __future__ import annotations

from typing import Any

from plugins.callback.summary import roles_decisions
from plugins.module_utils._core.summary import DecisionPoint, Line, Summary, line_of, parts_of, todos
from plugins.module_utils._core.summary_page import page, render
from plugins.module_utils._core.summary_report import without_repeats


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


def need(area_: str, msg: str, where: str = "", status: str = "critical", command: str = "") -> dict[str, str]:
    return {"status": status, "area": area_, "where": where, "msg": msg, "command": command}


def report_line(*needs: dict[str, str], status: str = "critical", **more: Any) -> Line:
    written = {**area("report", status, f"shop is {status}; 3 files written", "product"), "needs": list(needs), **more}
    line = line_of("localhost", "write", "write", written, 1.0, False, "predicted")
    assert line is not None
    return line


def test_a_report_that_only_it_knows_is_bad_needs_a_person() -> None:
    late = need("runs", "backup: overdue", command="ansible-playbook playbooks/backup.yml")
    lines = [report_line(late, need("recovery", "database: RTO missed"))]
    points = roles_decisions()
    summary = Summary("report", without_repeats(lines), decision_points=points)
    text = "\n".join(render(summary, page(100, True, lambda text, _style: text)))
    assert summary.status == "critical" and "[CRITICAL]" in text and "2 things need a person" in text
    assert "then: ansible-playbook playbooks/backup.yml" in text and "next: open the page" in text
    beside = Summary("daily", without_repeats([*lines, *looked("db1", area("database", "ok", "fine"))]))
    assert [todo.msg for todo in todos(beside)] == ["backup: overdue", "database: RTO missed"]
    foreseen = report_line(late, plan=[{"id": "write:html", "action": "write", "target": "x", "reason": "y"}])
    assert foreseen.planned == 1
    assert len(todos(Summary("report", without_repeats([foreseen]), check_mode=True))) == 1


def test_a_host_that_only_the_report_knows_is_told() -> None:
    both = need("host", "a reboot is pending", where="app1, app2", status="warning")
    seen = looked("app1", area("host", "warning", "a reboot is pending"))
    assert without_repeats([report_line(both), *seen])[0].status == "warning"
    seen += looked("app2", area("host", "warning", "a reboot is pending"))
    assert without_repeats([report_line(both), *seen])[0].status == "ok"


def test_a_run_that_is_just_ending_is_not_overdue() -> None:
    own = report_line(need("runs", "backup: never ran"), need("runs", "the newest run of backup failed: x"))
    assert without_repeats([own], "backup")[0].status == "ok"
    assert without_repeats([own])[0].status == without_repeats([own], "daily")[0].status == "critical"


def test_many_needs_of_a_report_are_few_entries() -> None:
    line = report_line(*(need("host", f"disk {n}", status="warning") for n in range(9)), need("runs", "late"))
    found = todos(Summary("report", without_repeats([line]), decision_points=roles_decisions()))
    assert len(found) == 6 and (found[0].msg, found[0].status) == ("late", "critical")
    assert found[-1].msg == "5 more things on the page, from other runs" and "open the page" in found[-1].next


def test_a_report_of_nothing_is_unknown_and_a_good_one_is_ok() -> None:
    assert without_repeats([report_line(status="unknown")])[0].status == "unknown"
    assert without_repeats([report_line(status="ok")])[0].status == "ok"


def test_the_report_does_not_say_again_what_others_have_said() -> None:
    slow = need("database", "slow", where="db1", status="warning")
    line = report_line(slow, need("kpis", "Uptime: 99.1 %"))
    said = [*looked("db1", area("database", "warning", "slow")), *looked("localhost", area("kpis", "ok", "x"))]
    summary = Summary("daily", without_repeats([line, *said]))
    assert summary.lines[0].status == "ok"
    summary = Summary("daily", without_repeats([line, *said[:1]]))
    assert [todo.msg for todo in todos(summary)] == ["Uptime: 99.1 %", "slow"]
    summary = Summary("daily", without_repeats([report_line(slow), *said[:1]]))
    assert [name for name, _lines in summary.areas()] == ["database"] and summary.status == "warning"
    assert [todo.step for todo in todos(summary)] == ["database"]
    written = {**area("report", "critical", "shop is critical; 3 files written"), "changed": True}
    failed = line_of("localhost", "report", "write", written, 1.0, True)
    assert failed is not None and failed.status == "failed"
