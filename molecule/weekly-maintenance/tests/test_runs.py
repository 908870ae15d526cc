# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs beside each other: check mode told what the real run did, and the next one had nothing left to do."""

from __future__ import annotations


def plans(results):
    """What each task was going to do; a reason may hold an age and so differ between two runs."""
    return {
        (result["host"], result["task"]): sorted((step["action"], step["target"]) for step in result["plan"])
        for result in results
        if result.get("plan")
    }


def test_check_mode_planned_what_the_real_run_did(checked, mended):
    assert plans(mended)
    assert plans(checked) == plans(mended)


def test_every_planned_step_was_done(mended):
    steps = [step for result in mended for step in result.get("steps", [])]
    assert steps
    assert [step for step in steps if step["status"] != "done"] == []


def test_second_run_had_nothing_to_do(again):
    assert again
    assert plans(again) == {}
