from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.result import (
    Action,
    Decision,
    Finding,
    Outcome,
    Step,
    partial_result,
    render_decision,
    render_outcome,
    threshold_status,
    worst,
)

ACTION = Action("vacuum:t", "vacuum", "t", "31 % dead", "VACUUM t")
STATUSES = st.sampled_from(["done", "skipped", "failed"])
VERDICTS = st.sampled_from(["ok", "warning", "critical", "unknown"])


@given(st.lists(VERDICTS))
def test_unknown_is_never_hidden_behind_ok(verdicts):
    result = worst(verdicts)
    assert result != "ok" or set(verdicts) <= {"ok"}
    assert ("critical" in verdicts) == (result == "critical")


@given(st.lists(STATUSES))
def test_changed_is_true_only_for_what_was_done(statuses):
    steps = tuple(Step(f"s{n}", status) for n, status in enumerate(statuses))
    result = render_outcome(Decision("x", plan=(ACTION,)), Outcome("x", steps))
    assert result["changed"] is ("done" in statuses)


def test_check_mode_and_the_real_run_return_the_same_plan():
    decision = Decision("1 table to vacuum", (ACTION,), before={"dead": 5}, after={"dead": 0}, extra={"tables": 1})
    predicted = render_decision(decision)
    real = render_outcome(decision, Outcome("1 table vacuumed", (Step("vacuum:t", "done", 1.0),), after={"dead": 0}))
    assert predicted["plan"] == real["plan"] and predicted.keys() == real.keys()
    assert predicted["changed"] and predicted["steps"] == []


def test_nothing_to_do_is_not_a_change():
    assert render_decision(Decision("nothing to do"))["changed"] is False


def test_a_partial_result_keeps_what_was_done():
    partial = partial_result(Decision("x", (ACTION,), before={"dead": 5}), [Step("vacuum:t", "done")])
    assert partial["changed"] and partial["steps"][0]["status"] == "done" and partial["after"] == {"dead": 5}


def test_the_status_is_the_worst_finding():
    findings = (Finding("a", "ok", ""), Finding("b", "unknown", "hidden"))
    assert render_decision(Decision("x", findings=findings))["status"] == "unknown"


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "unknown"), (0, "ok"), (80, "warning"), (89.9, "warning"), (90, "critical")]
)
def test_a_value_is_held_against_its_limits(value, expected):
    assert threshold_status(value, 80, 90) == expected
