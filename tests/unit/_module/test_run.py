from __future__ import annotations

import contextlib
import io
import json

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils._core.errors import LockBusy, OpsError
from plugins.module_utils._core.result import Action, Decision, Outcome, Step, partial_result
from plugins.module_utils._module.info import InfoOperation
from plugins.module_utils._module.run import Operation, carry_out, run
from plugins.module_utils._module.spec import ArgumentSpec

SPEC = ArgumentSpec(
    {
        "login_password": {"type": "str", "no_log": True},
        "mode": {"type": "str", "choices": ["a", "b"]},
    }
)
PLAN = (Action("one", "vacuum", "t", "dirty", "VACUUM t"), Action("two", "vacuum", "u", "dirty", "VACUUM u"))


class Fake(Operation):
    """An operation that records what was asked of it."""

    def __init__(self, plan=PLAN, error=None, crash=None):
        self.plan, self.error, self.crash, self.calls = plan, error, crash, []

    def __call__(self, task):
        self.task = task
        return self

    def decide(self):
        self.calls.append("decide")
        return Decision("would do 2", self.plan, before={"dead": 9}, after={"dead": 0}, warnings=("mind s3cretpw",))

    def apply(self, decision):
        self.calls.append("apply")
        if self.error:
            raise self.error(decision)
        if self.crash:
            raise self.crash
        return Outcome("did 2", (Step("one", "done"), Step("two", "skipped", 0.0, "locked")), after={"dead": 3})

    def freshen(self):
        self.calls.append("freshen")

    def close(self):
        self.calls.append("close")


@pytest.fixture(autouse=True)
def no_warnings_of_other_tests(monkeypatch):
    monkeypatch.setattr("ansible.module_utils.common.warnings._global_warnings", {})


def result_of(fake, *, check=False, diff=False, **args):
    output = io.StringIO()
    given = patch_module_args({**args, "_ansible_check_mode": check, "_ansible_diff": diff})
    with given, contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        run(SPEC, fake)
    return json.loads(output.getvalue())


def test_check_mode_decides_and_never_applies():
    fake = Fake()
    result = result_of(fake, check=True, diff=True)
    assert fake.calls == ["decide", "close"]
    assert result["changed"] and result["msg"] == "would do 2"
    assert result["diff"] == {"before": {"dead": 9}, "after": {"dead": 0}}


def test_the_real_run_applies_the_same_plan_and_reads_after_again():
    fake = Fake()
    result = result_of(fake, diff=True)
    assert fake.calls == ["decide", "apply", "close"]
    assert result["plan"] == result_of(Fake(), check=True)["plan"]
    assert result["diff"]["after"] == result["after"] == {"dead": 3}


def test_an_empty_plan_is_never_applied():
    fake = Fake(plan=())
    assert result_of(fake)["changed"] is False
    assert "apply" not in fake.calls


@pytest.mark.parametrize(
    ("plan", "check", "calls"),
    [
        ((), False, ["decide", "freshen", "close"]),
        ((), True, ["decide", "close"]),
        (PLAN, True, ["decide", "close"]),
        (PLAN, False, ["decide", "apply", "close"]),
    ],
)
def test_only_a_real_run_without_a_difference_renews_the_age(plan, check, calls):
    fake = Fake(plan=plan)
    assert result_of(fake, check=check)["changed"] is bool(plan)
    assert fake.calls == calls


def test_an_info_operation_only_has_to_say_how_it_decides():
    class Look(InfoOperation):
        def decide(self):
            return Decision("all well")

    for check in (True, False):
        assert carry_out(lambda _task: Look(), None, check)["msg"] == "all well"
    assert Look().apply(Decision("all well")) == Outcome("all well")


@pytest.mark.parametrize("kind", [Operation, InfoOperation])
def test_an_operation_that_cannot_decide_is_not_made(kind):
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_a_failure_says_what_where_and_what_next_and_keeps_what_was_done():
    def busy(decision):
        partial = partial_result(decision, [Step("one", "done")])
        return LockBusy("t is locked", hint="try again", details={"pid": 7}, partial=partial)

    fake = Fake(error=busy)
    result = result_of(fake)
    assert result["failed"] and result["changed"] and result["steps"][0]["status"] == "done"
    assert result["failure"] == {"code": "lock_busy", "hint": "try again", "details": {"pid": 7}}
    assert result["msg"] == "t is locked (try again)"
    assert fake.calls[-1] == "close"


def test_a_failure_before_anything_was_done_is_no_change():
    result = result_of(Fake(error=lambda _decision: OpsError("no", code="x")))
    assert result["failed"] and result["changed"] is False


def test_a_crash_is_a_failure_with_a_traceback_and_without_the_secret():
    result = result_of(Fake(crash=ZeroDivisionError("near s3cretpw")), login_password="s3cretpw")
    assert result["failed"] and result["failure"]["code"] == "bug" and result["failure"]["details"]["traceback"]
    assert "s3cretpw" not in json.dumps(result)


def test_a_secret_is_masked_in_everything_that_comes_back():
    plan = (Action("one", "x", "s3cretpw", "because s3cretpw", "run s3cretpw"),)
    for check in (True, False):
        assert "s3cretpw" not in json.dumps(result_of(Fake(plan=plan), check=check, login_password="s3cretpw"))


@pytest.mark.parametrize("args", [{"mode": "c"}, {"nonsense": 1}])
def test_wrong_options_have_a_code_too(args):
    result = result_of(Fake(), **args)
    assert result["failed"] and result["failure"]["code"] == "invalid_arguments"
