"""The summary: what is read from results, and the page that a person sees."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.summary import (
    LEFT,
    PREDICTED,
    DecisionPoint,
    Line,
    Notice,
    Summary,
    as_json,
    line_of,
    parts_of,
    todos,
    unreachable_line,
)
from plugins.module_utils._core.summary_page import page, render, render_header

ESCAPE = "\x1b[31mred\x1b]0;title\x07\nnew line\u202e"


def result(**more: Any) -> dict[str, Any]:
    return {"changed": False, "msg": "nothing to do", "plan": [], "steps": [], "findings": [], "status": "ok", **more}


def read(content: dict[str, Any], failed: bool = False, check: bool = False, host: str = "db1") -> Line | None:
    return line_of(host, "maintenance", "Tables are vacuumed", content, 12.0, failed, PREDICTED if check else "")


def step(number: int, status: str, detail: str = "") -> dict[str, Any]:
    return {"id": f"vacuum:shop:public.t{number}", "status": status, "duration_seconds": 0.1, "detail": detail}


def action(number: int) -> dict[str, Any]:
    return {
        "id": f"v{number}",
        "action": "vacuum",
        "target": f"public.t{number}",
        "reason": "dead",
        "command": "VACUUM",
    }


def finding(check: str, status: str, msg: str) -> dict[str, Any]:
    return {"check": check, "status": status, "msg": msg, "value": None, "unit": "", "warning": None, "critical": None}


WORK = result(
    changed=True,
    msg="2 tables vacuumed, 1 skipped (locked)",
    steps=[step(1, "done"), step(2, "done"), step(3, "skipped", "lock not available")],
)
PENDING = result(changed=True, msg="2 tables to vacuum", plan=[action(1), action(2)])
HELD = result(status="warning", findings=[finding("xmin_horizon", "warning", "pid 7 holds back VACUUM")])
BUSY = {"msg": "lock: another run is at work (wait)", "failure": {"code": "lock_busy", "hint": "wait", "details": {}}}


def text_of(summary: Summary, width: int = 79, unicode: bool = True) -> list[str]:
    return render(summary, page(width, unicode, lambda text, _style: text))


def lines(*found: Line | None) -> tuple[Line, ...]:
    assert None not in found
    return tuple(line for line in found if line is not None)


@pytest.mark.parametrize(
    ("content", "failed", "status", "changed", "checks"),
    [
        (result(), False, "ok", False, []),
        (WORK, False, "ok", True, []),
        (HELD, False, "warning", False, ["xmin_horizon"]),
        (result(status="critical"), True, "failed", False, ["failed"]),
        (BUSY, True, "failed", False, ["lock_busy"]),
        ({**BUSY, "steps": [step(1, "done")], "changed": True}, True, "failed", True, ["lock_busy"]),
        ({"msg": "rc was 1", "rc": 1}, True, "failed", False, ["task_failed"]),
        ({"changed": True}, False, "ok", True, []),
        (result(steps=[step(1, "failed", "deadlock")], changed=True), False, "warning", True, []),
        (result(status="nonsense", findings=["nonsense", {}], steps=None), False, "unknown", False, ["None"]),
    ],
)
def test_a_result_becomes_a_line(
    content: dict[str, Any], failed: bool, status: str, changed: bool, checks: list[str]
) -> None:
    line = read(content, failed)
    assert line is not None
    assert (line.status, line.changed, [notice.check for notice in line.notices]) == (status, changed, checks)


def test_a_reading_that_stopped_the_run_tells_its_findings_not_twice() -> None:
    line = read(result(status="critical", findings=[finding("disk:/", "critical", "/ is full")]), failed=True)
    assert line is not None and line.notices == (Notice("disk:/", "critical", "/ is full"),)


def test_a_foreign_task_that_changed_nothing_is_no_line() -> None:
    assert read({"changed": False, "stdout": "x"}) is None


def test_in_check_mode_the_plan_is_told_and_what_it_mends_needs_nobody() -> None:
    line = read({**PENDING, "status": "warning", "findings": [finding("x", "warning", "dead rows")]}, check=True)
    assert line is not None and line.planned == 2 and line.details[0] == "vacuum public.t1: dead"
    assert todos(Summary("w", (line,), check_mode=True)) == ()


def test_a_loop_of_a_foreign_task_is_one_line_unless_something_failed() -> None:
    good, bad = {"changed": True, "item": "a"}, {"changed": False, "failed": True, "msg": "no room", "item": "b"}
    loop = {"changed": True, "results": [good, {**good, "item": "b"}], "msg": "All items completed"}
    assert parts_of(loop, False) == [(loop, False)]
    assert read(loop) == Line("db1", "maintenance", "ok", "Tables are vacuumed", True, duration_seconds=12.0)
    assert parts_of({**loop, "results": [good, bad]}, True) == [(good, False), (bad, True)]
    assert parts_of({**loop, "results": [WORK, PENDING]}, False) == [(WORK, False), (PENDING, False)]


def test_work_that_is_left_is_a_warning() -> None:
    line = line_of("db1", "verify", "Looked at again", {**PENDING, "changed": False}, 1.0, False, LEFT)
    assert line is not None and (line.status, line.planned) == ("warning", 0)
    assert [entry.msg for entry in todos(Summary("w", (line,)))] == ["work is left: 2 tables to vacuum"]


def test_what_another_step_read_again_counts() -> None:
    good = result(findings=[finding("xmin_horizon", "ok", "nobody holds it back")])
    verified = line_of("db1", "verify", "Looked at again", good, 1.0, False)
    elsewhere = line_of("db2", "verify", "Looked at again", good, 1.0, False)
    assert todos(Summary("w", lines(read(HELD), verified))) == ()
    assert len(todos(Summary("w", lines(verified, read(HELD))))) == 1
    assert len(todos(Summary("w", lines(read(HELD), elsewhere)))) == 1
    assert len(todos(Summary("w", lines(read(HELD), read(good))))) == 1  # another item of the same step


def test_what_could_not_be_judged_is_apart() -> None:
    line = read(result(changed=True, status="unknown", findings=[finding("x", "unknown", "statistics are hidden")]))
    assert text_of(Summary("w", lines(line)), unicode=False)[3:-1] == [
        "db1",
        "  changed  maintenance nothing to do (12 s)",
        "",
        "Could not be judged",
        "  1. db1, maintenance: statistics are hidden",
        "-" * 79,
        "1 thing was done; nobody is needed; 1 could not be judged.",
    ]


def test_what_needs_a_person_is_sorted_and_told_once_for_all_hosts() -> None:
    found = lines(read(HELD), read(HELD, host="db2"), read(BUSY, True, host="db3"))
    points = (DecisionPoint("held", "end it", ("xmin_horizon",)), DecisionPoint("never", "no", ("xmin",)))
    entries = todos(Summary("weekly", found, decision_points=points, again="run --limit {host}"))
    assert [(entry.status, entry.hosts, entry.next, entry.command) for entry in entries] == [
        ("failed", ("db3",), "wait", "run --limit db3"),
        ("warning", ("db1", "db2"), "end it", ""),
    ]


def test_the_page_of_a_run_with_trouble() -> None:
    summary = Summary(
        "weekly-maintenance",
        lines(read(WORK), read(HELD, host="db2"), read(BUSY, True, host="db3")),
        duration_seconds=754,
        decision_points=(DecisionPoint("x", "end the session, then run again", ("xmin_horizon",)),),
        again="ansible-playbook -i prod playbooks/weekly-maintenance.yml --limit {host}",
    )
    assert text_of(summary, unicode=False) == [
        "-" * 79,
        "[FAILED]  weekly-maintenance  12 min 34 s",
        "-" * 79,
        "db3",
        "  FAILED   maintenance lock: another run is at work (12 s)",
        "db2",
        "  warning  maintenance nothing to do (12 s)",
        "db1",
        "  changed  maintenance 2 tables vacuumed, 1 skipped (locked) (12 s)",
        "                       - skipped vacuum:shop:public.t3: lock not available",
        "",
        "Needs a person",
        "  1. db3, maintenance: lock: another run is at work",
        "     next: wait",
        "     then: ansible-playbook -i prod playbooks/weekly-maintenance.yml --limit db3",
        "  2. db2, maintenance: pid 7 holds back VACUUM",
        "     next: end the session, then run again",
        "-" * 79,
        "2 things were done; 2 things need a person.",
        "-" * 79,
    ]


def test_the_page_of_a_prediction() -> None:
    summary = Summary("weekly-maintenance", lines(read(PENDING, check=True)), check_mode=True, duration_seconds=3)
    assert text_of(summary)[1:-1] == [
        "[PREDICTION]  weekly-maintenance  3.0 s",
        "─" * 79,
        "db1",
        "  would    maintenance 2 tables to vacuum (12 s)",
        "                       - vacuum public.t1: dead",
        "                       - vacuum public.t2: dead",
        "─" * 79,
        "Nothing was changed; a real run would do 2 things; nobody is needed.",
    ]


@pytest.mark.parametrize(
    ("content", "check", "sentence"),
    [
        (result(), False, "Nothing to do; nobody is needed."),
        (result(), True, "Nothing to do; nobody is needed."),
        (HELD, False, "Nothing to do; 1 thing needs a person."),
        (WORK, False, "2 things were done; nobody is needed."),
        (BUSY, False, "Nothing was changed; 1 thing needs a person."),
    ],
)
def test_the_last_sentence(content: dict[str, Any], check: bool, sentence: str) -> None:
    line = read(content, failed="failure" in content, check=check)
    assert text_of(Summary("weekly", lines(line), check_mode=check))[-2] == sentence


def test_long_lists_are_cut_and_say_so() -> None:
    plan = result(changed=True, plan=[action(number) for number in range(57)])
    page_lines = text_of(Summary("w", lines(read(plan, check=True)), check_mode=True))
    assert "                       - and 47 more" in page_lines
    many = result(status="warning", findings=[finding(f"c{n}", "warning", f"finding {n}") for n in range(30)])
    assert "     and 18 more" in text_of(Summary("w", lines(read(many))))


def test_an_unreachable_host_is_the_worst() -> None:
    lost = unreachable_line("app1", "host", {"msg": "Connection refused", "unreachable": True}, 1.0)
    summary = Summary("w", lines(read(HELD), lost))
    assert summary.hosts() == ("app1", "db1") and text_of(summary)[1].startswith("[OFFLINE]")


def test_of_a_loop_that_lost_its_host_the_reason_is_told() -> None:
    items = [{"msg": "fine"}, {"msg": "Connection refused", "unreachable": True}]
    lost = unreachable_line("app1", "host", {"msg": "All items completed", "results": items, "unreachable": True}, 1.0)
    assert lost.msg == lost.notices[0].msg == "Connection refused"


def test_the_data_for_machines() -> None:
    data = as_json(Summary("weekly", lines(read(WORK), read(HELD, host="db2")), duration_seconds=1.23456))
    assert (data["status"], data["changed"], data["duration_seconds"]) == ("warning", True, 1.235)
    assert data["hosts"]["db1"]["steps"][0]["skipped"] == 1
    assert data["needs_a_person"][0]["hosts"] == ("db2",)


def test_the_header_is_readable() -> None:
    facts = {"title": "weekly-maintenance: Weekly", "purpose": "word " * 30, "takes": "5 minutes", "undo": ""}
    header = render_header(facts, page(60, False, lambda text, _style: text))
    assert header[1] == "weekly-maintenance: Weekly" and "  takes    5 minutes" in header
    assert max(map(len, header)) <= 60 and not any("undo" in line for line in header)


hostile = st.text(max_size=80) | st.just(ESCAPE)


@given(msg=hostile, detail=hostile, check=hostile, host=hostile, name=hostile, width=st.integers(0, 300))
def test_nothing_from_outside_reaches_the_terminal(
    msg: str, detail: str, check: str, host: str, name: str, width: int
) -> None:
    content = result(
        msg=msg,
        status="warning",
        steps=[{"id": detail, "status": "failed", "detail": detail}],
        findings=[finding(check, "critical", msg)],
    )
    line = line_of(host, "step", msg, content, 1.0, False)
    points = (DecisionPoint(msg, detail, (check,)),)
    for text in text_of(Summary(name, lines(line), decision_points=points), width):
        assert all(character.isprintable() for character in text), repr(text)


def test_secrets_in_messages_are_masked() -> None:
    line = read({"msg": "connect to postgresql://app:hunter2@db/shop failed"}, failed=True)
    assert line is not None and "hunter2" not in str(line)
