from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._core.health import (
    areas_headline,
    bad_areas,
    combine,
    group_areas,
    unread,
    unseen_areas,
    verdicts,
)
from plugins.module_utils._core.result import Finding, render_decision


def area(status: str, msg: str, *findings: Finding) -> dict[str, Any]:
    return {"status": status, "msg": msg, "findings": [dict(vars(one)) for one in findings]}


def test_the_worst_areas_speak_and_the_others_are_counted() -> None:
    results = {
        "host": area("ok", "all 12 checks ok"),
        "redis": area("unknown", "no answer"),
        "database": area("critical", "slot old_dr holds back 48 GB"),
        "logs": area("critical", "disk full"),
    }
    said = areas_headline(results)
    assert said == "database: slot old_dr holds back 48 GB; logs: disk full; 1 area unknown; 1 area ok"


def test_all_well_and_nothing_at_all() -> None:
    assert areas_headline({"host": area("ok", "x"), "logs": area("ok", "y")}) == "2 areas ok"
    assert areas_headline({}) == "nothing was looked at"


def test_findings_of_all_areas_count_for_the_verdict() -> None:
    bad = Finding("disk", "critical", "full", 99.0, "%", 85, 95)
    result = render_decision(combine({"host": area("critical", "full", bad), "logs": area("ok", "fine")}))
    assert result["status"] == "critical" and result["findings"][0] == dict(vars(bad))
    assert list(result["areas"]) == ["host", "logs"] and not result["changed"]


def test_an_area_that_could_not_be_looked_at_is_unknown() -> None:
    result = render_decision(unread("redis", "connection_failed", "connect to cache1", "start it"))
    assert (result["status"], result["findings"][0]["check"]) == ("unknown", "redis_readable")
    assert result["msg"] == "connect to cache1 (start it)"


def test_an_area_that_can_be_looked_at_again_says_so() -> None:
    gone = render_decision(unread("redis", "connection_failed", "connect to cache1", "start it"))
    result = render_decision(combine({"host": area("ok", "fine"), "redis": gone}))
    said = [(one["check"], one["status"]) for one in result["findings"]]
    assert said == [("host_readable", "ok"), ("redis_readable", "unknown")]
    assert [one["check"] for one in result["areas"]["host"]["findings"]] == ["host_readable"]
    assert result["areas"]["redis"]["findings"] == gone["findings"]


WELL = {"areas": {"host": {"status": "ok"}, "database": {"status": "ok"}}}


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        ({"__health_look": WELL}, []),
        ({"__health_look": {"unreachable": True, "msg": "no route"}}, ["host", "security", "database"]),
        ({"__health_look": {"failed": True, "msg": "no python"}}, ["host", "security", "database"]),
        ({}, ["host", "security", "database"]),  # left out with --limit
        ({"health_left_out": ["host", "logs", "security"]}, ["database"]),
        ({"health_left_out": ["host", "logs", "security", "database"], "__health_look": {"skipped": True}}, []),
        ({"health_logs": {"sources": [1]}, "health_ingestion": {"sources": [1]}},
         ["host", "logs", "security", "database", "ingestion"]),
    ],
)  # fmt: skip
def test_the_areas_of_a_host_that_was_not_looked_at_are_unseen(look: dict[str, Any], expected: list[str]) -> None:
    assert unseen_areas({"db1": {"group_names": ["database"], **look}}, ["db1"]) == expected


def test_an_area_that_is_unseen_somewhere_is_unknown_at_best() -> None:
    bad = {"areas": {"host": {"status": "critical"}}}
    assert verdicts([WELL, {"unreachable": True}], ["host", "redis"]) == {
        "host": "unknown",
        "redis": "unknown",
        "database": "ok",
    }
    assert verdicts([WELL, bad], ["host"])["host"] == "critical"


def test_the_areas_of_a_host_are_those_of_its_groups() -> None:
    assert group_areas(["app", "proxy"]) == ["host", "logs", "security"]
    assert group_areas(["database", "cache"])[3:] == ["database", "ingestion", "redis"]


def test_open_items_of_a_list_are_no_area_and_fail_no_run() -> None:
    checklist = {"status": "unknown", "findings": [], "msg": "1 open for a person"}
    assert bad_areas([WELL, checklist], "unknown") == []
