"""A summary printed again from its file, and drawn."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from plugins.module_utils._core.summary import Line, Notice, Summary, as_json
from tools.summary import read_summary, svg

NOTICE = Notice("xmin_horizon", "warning", "<b>&\u202e", "wait")
LINES = (
    Line("db1", "maintenance", "warning", "msg", True, 0, 2, 1, 0, 3.5, (NOTICE,), ("skipped x: y",), ("a",)),
    Line("app1", "logs", "failed", "broken", notices=(Notice("lock_busy", "failed", "broken"),)),
)
SUMMARY = Summary("weekly-maintenance", LINES, True, 12.5, again="run {host}")


def test_a_summary_comes_back_from_its_file() -> None:
    again = read_summary(json.loads(json.dumps(as_json(SUMMARY))))
    assert sorted(again.lines, key=str) == sorted(LINES, key=str)
    assert (again.runbook, again.check_mode, again.duration_seconds, again.again) == (
        "weekly-maintenance", True, 12.5, "run {host}",
    )  # fmt: skip
    assert any("xmin_horizon" in point.checks for point in again.decision_points)


def test_the_picture_shows_the_text_and_is_sound() -> None:
    root = ElementTree.fromstring(svg(SUMMARY, 100))
    text = "\n".join("".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "[FAILED]  weekly-maintenance" in text and "maintenance msg (1 skipped)" in text and "<b>&" in text
