"""The page of faults: what it says when something was measured, cannot happen, or was not looked at."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.support.faults import Fault
from tools.faults import VERDICTS, answer, incumbent, verdict_rows
from tools.incumbent import dumps, restores, world


def case(verdict: str = "false success", failed: bool = False, **more: Any) -> dict[str, Any]:
    said = {"failed": failed, "changed": not failed, "rc": 0, "ended": True}
    truth = {"done": False, "harm": True, "afterwards": "0 rows"}
    return {"case": "cut", "faults": ["cut_short"], "verdict": verdict, "said": said, "truth": truth, **more}


def test_a_success_is_shown_with_what_it_said() -> None:
    assert answer(case()) == "**false success**, cut (`rc: 0`, `changed: true`): 0 rows"
    assert answer(case("fails, with damage", failed=True)) == "**fails, with damage**, cut: 0 rows"


def test_text_that_would_break_the_table_does_not() -> None:
    odd = case(truth={"done": False, "harm": False, "afterwards": "a | b\nc"})
    assert answer(odd).endswith("a \\| b c")


@pytest.mark.parametrize(
    ("name", "stage", "said"),
    [
        ("cut_short", "restore: load", "**false success**"),
        ("wrong_confirmation", "restore: before", "no such thing: it asks for no confirmation"),
        ("anything", "redis restore: place", "no such thing: it knows databases only"),
        ("anything", "verify", "no such thing: it verifies no dump"),
        ("anything", "restore: load", "not measured"),
    ],
)
def test_every_fault_has_an_answer(name: str, stage: str, said: str) -> None:
    assert incumbent(Fault(name, stage, "", "x::y"), [case()]).startswith(said)


def test_verdicts_are_counted_and_a_new_one_must_be_explained() -> None:
    rows = list(verdict_rows([case(), case()]))
    assert len(rows) == len(VERDICTS) and rows[0].startswith("| false success | 2 |")
    with pytest.raises(SystemExit):
        list(verdict_rows([case("odd")]))


def test_every_measurement_has_a_title_of_its_own() -> None:
    titles = [one.title for one in world.CASES]
    modules = {one.measure.func.__module__ for one in world.CASES if isinstance(one.measure, partial)}
    assert modules == {dumps.__name__, restores.__name__}
    assert len(set(titles)) == len(titles)
