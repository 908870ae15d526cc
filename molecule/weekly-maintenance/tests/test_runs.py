# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs beside each other: check mode told what the real run did, and the next one had nothing left to do."""

from __future__ import annotations

LOCK = "oncall.runbooks.runbook_lock"  # taken and given back by every run


RESTART = "oncall.runbooks.service_restart"  # which program an update will replace is known when it has


def plans(run, without=(LOCK,)):
    """What each task was going to do, in the order it was to be done; a reason may hold an age, and so differ."""
    return [
        (result["host"], result["task"], [(step["action"], step["target"], step["command"]) for step in result["plan"]])
        for result in run["results"]
        if result.get("plan") and result["module"] not in without
    ]


def test_check_mode_planned_what_the_real_run_did(checked, real):
    assert plans(real[0])
    assert plans(checked, without=(LOCK, RESTART)) == plans(real[0], without=(LOCK, RESTART))


def test_every_planned_step_was_done(real):
    steps = [step for result in real[0]["results"] for step in result.get("steps", [])]
    assert steps
    assert [step for step in steps if step["status"] != "done"] == []


def test_second_run_had_nothing_to_do(real):
    assert plans(real[1]) == []
    assert real[1]["changed"] == []
