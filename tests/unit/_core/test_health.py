from __future__ import annotations

from typing import Any

from plugins.module_utils._core.health import areas_headline, combine, unread
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
