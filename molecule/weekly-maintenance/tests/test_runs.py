# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs beside each other: check mode told what the real run did, and the next one had nothing left to do."""

from __future__ import annotations


def plans(run):
    """What each task was going to do, in the order it was to be done; a reason may hold an age, and so differ."""
    return [
        (result["host"], result["task"], [(step["action"], step["target"], step["command"]) for step in result["plan"]])
        for result in run["results"]
        if result.get("plan")
    ]


def test_check_mode_planned_what_the_real_run_did(checked, mended):
    assert plans(mended)
    assert plans(checked) == plans(mended)


def test_every_planned_step_was_done(mended):
    done = {step["id"]: step for result in mended["results"] for step in result.get("steps", [])}
    assert done
    assert [step for step in done.values() if step["status"] != "done"] == []


def test_second_run_had_nothing_to_do(again):
    assert again["results"]
    assert plans(again) == []
    assert again["changed"] == []
