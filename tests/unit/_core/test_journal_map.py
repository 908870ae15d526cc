from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.journal import Run
from plugins.module_utils._core.journal_batch import Batch, from_line, to_line
from plugins.module_utils._core.journal_map import (
    MOST_FINDINGS,
    MOST_SAMPLES,
    MOST_STEPS,
    TaskFacts,
    records_of,
    secrets_among,
)
from plugins.module_utils._core.journal_verdict import Tally, closed

TASK = TaskFacts("r1", 100.0, "db1", "Tables are vacuumed", "oncall.runbooks.postgresql_maintenance", phase="act")
FOREIGN = replace(TASK, action="ansible.builtin.command", task="Something is done")
FINDING = {"check": "dead_rows", "status": "warning", "msg": "31 % dead", "value": 31, "unit": "%", "warning": 20.0}


def result(**parts: Any) -> dict[str, Any]:
    return {"msg": "m", "plan": [], "steps": [], "findings": [], "status": "ok", "changed": False, **parts}


def action(number: int) -> dict[str, Any]:
    return {"id": f"vacuum:{number}", "action": "vacuum", "target": f"t{number}", "reason": "dirty", "command": "V"}


def step(number: int, status: str = "done") -> dict[str, Any]:
    return {"id": f"vacuum:{number}", "status": status, "duration_seconds": 1.5, "detail": "as said"}


def test_steps_have_the_target_of_their_action() -> None:
    rows = records_of(
        TASK, result(plan=[action(1), action(2)], steps=[step(1), step(2, "skipped")], changed=True)
    ).steps
    assert [(row.action, row.target, row.status, row.changed, row.duration_seconds) for row in rows] == [
        ("vacuum", "t1", "done", True, 1.5),
        ("vacuum", "t2", "skipped", False, 1.5),
    ]
    assert {(row.run_id, row.at, row.host, row.phase, row.task) for row in rows} == {
        ("r1", 100.0, "db1", "act", "Tables are vacuumed")
    }


def test_what_would_be_done_is_planned_and_changes_nothing() -> None:
    rows = records_of(replace(TASK, check_mode=True), result(plan=[action(1)], changed=True)).steps
    assert [(row.status, row.detail, row.changed) for row in rows] == [("planned", "dirty", False)]


def test_a_failure_keeps_what_was_done_before_it() -> None:
    failed = {"msg": "lost the server", "failure": {"code": "connection_lost"}, "plan": [action(1)], "steps": [step(1)]}
    rows = records_of(replace(TASK, failed=True), failed).steps
    assert [(row.status, row.code, row.detail) for row in rows] == [
        ("done", "", "as said"),
        ("failed", "connection_lost", "lost the server"),
    ]


@pytest.mark.parametrize(
    ("facts", "given_result", "expected"),
    [
        (FOREIGN, {"changed": False}, []),
        (FOREIGN, {"changed": True, "msg": "not kept"}, [("done", "", "", True)]),
        (replace(FOREIGN, check_mode=True), {"changed": True}, [("planned", "", "", False)]),
        (replace(FOREIGN, failed=True), {"msg": "no room"}, [("failed", "no room", "task_failed", False)]),
        (replace(FOREIGN, unreachable=True), {"msg": "timed out"}, [("failed", "timed out", "unreachable", False)]),
        (FOREIGN, {"changed": True, "censored": "hidden"}, [("done", "hidden (no_log)", "", True)]),
        (
            replace(TASK, failed=True),
            {**result(findings=[FINDING]), "censored": "x"},
            [("failed", "hidden (no_log)", "task_failed", False)],
        ),
    ],
)
def test_the_steps_of_other_tasks(facts: TaskFacts, given_result: dict[str, Any], expected: list[Any]) -> None:
    records = records_of(facts, given_result)
    assert [(row.status, row.detail, row.code, row.changed) for row in records.steps] == expected
    assert records.findings == records.samples == records.states == ()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, (31.0, "31", "warning", 20.0, None)),
        ({"value": "17.2", "warning": "old"}, (None, "17.2", "warning", None, None)),
        ({"value": True}, (None, "True", "warning", 20.0, None)),
        ({"value": float("nan"), "critical": float("inf")}, (None, "nan", "warning", 20.0, None)),
        ({"value": 10**400}, (None, "1" + "0" * 198 + "…", "warning", 20.0, None)),
        ({"value": None, "status": "fine"}, (None, "", "unknown", 20.0, None)),
    ],
)
def test_findings_hold_numbers_only_where_there_are_some(raw: dict[str, Any], expected: Any) -> None:
    (row,) = records_of(TASK, result(findings=[{**FINDING, **raw}])).findings
    assert (row.value, row.value_text, row.status, row.warning, row.critical) == expected
    assert (row.area, row.check_name) == ("database", "dead_rows")


def sample(metric: str = "host.load", value: Any = 1.0, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "value": value, "unit": "count", "labels": {}, **more}


def test_samples_are_one_reading_for_each_series() -> None:
    rows = records_of(TASK, result(samples=[sample(), sample(value=2), sample(labels={"b": 1, "a": "x"})])).samples
    assert [(row.labels, row.value) for row in rows] == [("{}", 2.0), ('{"a":"x","b":"1"}', 1.0)]


@pytest.mark.parametrize("bad", [sample("drop table"), sample(value="1"), sample(value=float("inf")), sample(labels=3)])
def test_what_is_no_sample_is_left_out_and_said(bad: dict[str, Any]) -> None:
    records = records_of(TASK, result(samples=[sample(), bad]))
    assert len(records.samples) == 1
    assert [(row.check_name, row.status) for row in records.findings] == [("journal_limit", "unknown")]


def test_sizes_are_bounded_and_what_is_left_out_is_counted() -> None:
    many = result(
        plan=[action(number) for number in range(MOST_STEPS + 5)],
        steps=[step(number) for number in range(MOST_STEPS + 5)],
        findings=[{**FINDING, "msg": "x" * 10**6} for _number in range(MOST_FINDINGS + 5)],
        samples=[sample(labels={"n": number}) for number in range(MOST_SAMPLES + 5)],
        counters={"a": "x" * 70000},
    )
    records = records_of(TASK, many)
    assert (len(records.steps), len(records.findings), len(records.samples)) == (
        MOST_STEPS,
        MOST_FINDINGS,
        MOST_SAMPLES,
    )
    assert records.steps[-1].detail == "6 more steps are not kept"
    assert records.findings[-1].msg.startswith("not kept of postgresql_maintenance: 6 more findings and 5 samples")
    assert records.states == () and max(len(row.msg) for row in records.findings) == 600


def test_areas_stand_for_the_whole() -> None:
    parts = {
        "host": result(area="host", findings=[FINDING], samples=[sample()], counters={"oom": 1}),
        "logs": result(findings=[FINDING], state={"a.log": 10}),
        "broken": "no result",
    }
    records = records_of(TASK, result(findings=[FINDING, FINDING], areas=parts))
    assert [row.area for row in records.findings] == ["host", "logs"]
    assert len(records.samples) == 1
    assert [(row.name, json.loads(row.value)) for row in records.states] == [
        ("host.counters", {"oom": 1}),
        ("logs.state", {"a.log": 10}),
    ]


def test_a_lock_as_always_is_no_step() -> None:
    lock = replace(TASK, action="oncall.runbooks.runbook_lock")
    finding = {"check": "lock", "status": "ok", "msg": "held"}
    records = records_of(lock, result(plan=[action(1)], steps=[step(1)], findings=[finding]))
    assert records.steps == () and records.findings[0].area == "host"
    assert len(records_of(lock, result(plan=[action(1)], steps=[step(1)], status="warning")).steps) == 1


CANARY = "c4n4ry'p4ss"


def test_secrets_are_in_no_record() -> None:
    facts = replace(TASK, secrets=secrets_among({"login_password": CANARY, "areas": [{"api_token": "t0ken-value"}]}))
    text = f"failed with {CANARY} and t0ken-value and postgresql://u:0ther@h/d"
    parts = result(
        plan=[{**action(1), "target": text, "action": text}],
        steps=[{**step(1), "detail": text}],
        findings=[{**FINDING, "msg": text, "value": text, "check": text}],
        samples=[sample(labels={"x": text})],
        counters={"a": [text]},
        msg=text,
        failure={"code": "c"},
    )
    batch = Batch("r1", 1, 1.0, **vars(records_of(replace(facts, failed=True), parts)))
    assert len(batch.steps) == 2 and batch.samples and batch.states
    stored = json.dumps(
        [vars(row) for rows in (batch.steps, batch.findings, batch.samples, batch.states) for row in rows]
    )
    assert not [secret for secret in (CANARY, "c4n4ry", "t0ken-value", "0ther") if secret in stored]


@pytest.mark.parametrize(
    "name", ["login_password", "PASSWORD", "db_pass", "api_key", "secret_key", "x_token", "apikey"]
)
def test_options_are_secret_by_their_name(name: str) -> None:
    assert secrets_among({"a": [{name: "s3cret"}], "compass": "north", name: "ab"}) == ("s3cret",)


RUN = Run("r1", "weekly", 5.0)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["plan", "steps", "findings", "samples", "areas", "failure", "msg", "counters", "changed", "area"]
)


@given(st.dictionaries(KEYS, VALUES), st.booleans())
def test_no_result_is_too_strange_and_every_batch_survives_the_spool(parts: dict[str, Any], failed: bool) -> None:
    records = records_of(replace(TASK, failed=failed), {**result(), **parts})
    batch = Batch("r1", 7, 3.5, run=RUN, **vars(records))
    assert from_line(to_line(batch)) == batch


@given(st.integers(min_value=0, max_value=200))
def test_a_torn_line_is_no_batch(length: int) -> None:
    line = to_line(Batch("r1", 7, 3.5, run=RUN))
    assert from_line(line[: min(length, len(line) - 1)]) is None
    assert from_line(line.replace("weekly", "weakly")) is None
    assert from_line(line) is not None


def verdict(findings: list[dict[str, Any]], failures: list[str], failed: bool) -> str:
    tally = Tally().with_records(records_of(TASK, result(findings=findings)))
    for name in failures:
        tally = tally.with_records(records_of(replace(FOREIGN, action=name, failed=True), {"msg": "no"}))
    return closed(RUN, tally, failed).status


CRITICAL = {**FINDING, "status": "critical"}


@pytest.mark.parametrize(
    ("findings", "failures", "failed", "expected"),
    [
        ([], [], False, "ok"),
        ([FINDING], [], False, "warning"),
        ([CRITICAL], [], False, "critical"),
        ([FINDING], ["ansible.builtin.command"], False, "warning"),  # rescued
        ([FINDING], ["ansible.builtin.command"], True, "failed"),
        ([CRITICAL], ["ansible.builtin.assert"], True, "critical"),
        ([FINDING], ["ansible.builtin.fail"], True, "failed"),
        ([CRITICAL], ["ansible.builtin.assert", "oncall.runbooks.postgresql_backup"], True, "failed"),
    ],
)
def test_the_verdict_of_a_run(findings: Any, failures: list[str], failed: bool, expected: str) -> None:
    assert verdict(findings, failures, failed) == expected


def test_what_the_report_says_is_no_verdict_of_the_run_that_wrote_it() -> None:
    told = result(area="report", findings=[{**CRITICAL, "check": "product"}])
    tally = Tally().with_records(records_of(TASK, result(findings=[FINDING]))).with_records(records_of(TASK, told))
    assert (closed(RUN, tally, False).status, len(tally.findings())) == ("warning", 1)


def test_a_later_reading_stands_for_an_earlier_one() -> None:
    tally = Tally().with_records(records_of(TASK, result(findings=[CRITICAL, CRITICAL])))
    tally = tally.with_records(records_of(TASK, result(findings=[{**FINDING, "status": "ok"}])))
    assert closed(RUN, tally, False).status == "ok"
