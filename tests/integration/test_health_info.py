"""health_info: several areas in one trip, each answered, refused or unknown by itself."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.servers import Database

CANARY = "c4n4ry-p4ssw0rd"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def nobody() -> str:
    return pwd.getpwnam("nobody").pw_name


def readable(result: dict[str, Any]) -> str:
    (finding,) = [one for one in result["findings"] if one["check"].startswith("readable")]
    return str(finding["status"])


def database_area(database: Database, **more: Any) -> dict[str, Any]:
    return {"dsn": database.dsn(), **more}


def test_each_area_says_what_its_own_module_says(database: Database) -> None:
    result = run_ok("health_info", {"areas": {"database": database_area(database), "host": {"window": "100ms"}}})
    assert list(result["areas"]) == ["database", "host"]
    alone = run_ok("postgresql_health_info", database_area(database))
    together = result["areas"]["database"]
    said = {one["check"] for one in alone["findings"]} | {"database_readable"}
    assert {one["check"] for one in together["findings"]} == said
    assert (together["area"], together["samples"] != []) == ("database", True)
    assert not result["changed"] and result["plan"] == []


def test_an_area_that_cannot_be_looked_at_leaves_the_others(database: Database) -> None:
    backups = {"repository": "/nonexistent", "repository_password": "x1y2"}
    areas = {"database": database_area(database), "backups": backups}
    result = run_ok("health_info", {"areas": areas})
    assert result["areas"]["backups"]["status"] == "unknown"
    assert result["areas"]["backups"]["unread"]["code"] == "repository_missing"
    assert len(result["areas"]["database"]["findings"]) > 10
    assert "backups" in result["msg"] or result["areas"]["database"]["status"] in ("warning", "critical")


@pytest.mark.parametrize(
    ("params", "code", "word"),
    [
        ({"areas": {"weather": {}}}, "invalid_value", "weather"),
        ({"areas": {"host": "yes"}}, "invalid_value", "areas.host"),
        ({"areas": {"host": {"nonsense": 1}}}, "invalid_arguments", "areas.host"),
        ({"areas": {"host": {"limits": {"cpu": {"warning": "hot"}}}}}, "invalid_value", "areas.host"),
        ({"areas": {"host": {}}, "users": {"weather": "x"}}, "invalid_value", "weather"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(params: dict[str, Any], code: str, word: str) -> None:
    result = run_failed("health_info", params)
    assert result["failure"]["code"] == code and word in result["msg"], result


def test_an_area_without_options_is_left_out() -> None:
    result = run_ok("health_info", {"areas": {"host": None}})
    assert result["areas"] == {} and result["msg"] == "nothing was looked at"


@AS_ROOT
def test_an_area_is_looked_at_as_the_user_that_it_needs(database: Database) -> None:
    areas = {"database": database_area(database), "host": {"window": "100ms"}}
    params = {"areas": areas, "users": {"database": nobody()}}
    result = run_ok("health_info", params)
    assert len(result["areas"]["database"]["findings"]) > 10 and result["areas"]["database"].get("unread") is None


@AS_ROOT
def test_the_user_is_really_another_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    log = tmp_path / "app.log"
    log.write_text("ERROR it broke\n")
    logs = {"sources": [{"name": "app", "paths": [str(log)]}]}
    mine = run_ok("health_info", {"areas": {"logs": logs}})
    theirs = run_ok("health_info", {"areas": {"logs": logs}, "users": {"logs": nobody()}})
    assert [readable(result) for result in (mine, theirs)] == ["ok", "unknown"]


def test_a_user_that_is_not_there_leaves_the_area_unknown() -> None:
    result = run_ok("health_info", {"areas": {"host": {"window": "100ms"}}, "users": {"host": "no-such-user-here"}})
    assert result["areas"]["host"]["unread"]["code"] == "user_missing"


def test_no_password_of_any_area_is_shown(database: Database) -> None:
    areas = {
        "database": {"login_host": "127.0.0.1", "login_port": 1, "login_password": CANARY, "login_user": "x"},
        "backups": {"repository": "/nonexistent", "repository_password": CANARY},
    }
    assert CANARY not in json.dumps(run_ok("health_info", {"areas": areas}))
    areas["database"]["nonsense"] = CANARY
    assert CANARY not in json.dumps(run_failed("health_info", {"areas": areas}))
