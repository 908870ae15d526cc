"""host_preflight_info and maintenance_window_info as modules, on this very host."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok

SUNDAY = {"name": "database", "days": ["sun"], "start": "04:00", "end": "05:00", "scope": ["database"]}


def test_this_host(tmp_path: Path) -> None:
    args = {"paths": [str(tmp_path)], "commands": ["sh"], "writable": [str(tmp_path)]}
    limits = {"disk_critical_percent": 100, "disk_warning_percent": 100}
    result = run_ok("host_preflight_info", {**args, **limits, "inodes_critical_percent": 100})
    (disk,) = result["host"]["disks"]
    assert result["changed"] is False and result["plan"] == []
    assert disk["total_bytes"] == shutil.disk_usage(tmp_path).total and disk["error"] == ""
    assert {finding["check"]: finding["status"] for finding in result["findings"]}["command:sh"] == "ok"
    assert run_ok("host_preflight_info", {**args, **limits}, check=True)["host"]["release"] == result["host"]["release"]


def test_bad_readings_are_findings(tmp_path: Path) -> None:
    result = run_ok(
        "host_preflight_info",
        {"paths": [str(tmp_path / "gone")], "commands": ["no-such-program-x"], "writable": [str(tmp_path / "gone")]},
    )
    assert [finding["status"] for finding in result["findings"]] == ["unknown", "critical", "critical"]
    assert result["status"] == "critical"


def test_a_disk_with_too_little_room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    result = run_ok("host_preflight_info", {"paths": [str(tmp_path)], "free_minimum": str(free * 2)})
    assert result["status"] == "critical" and "at least" in result["msg"]


@pytest.mark.parametrize(
    ("module", "args", "code"),
    [
        ("host_preflight_info", {"free_minimum": "much"}, "invalid_value"),
        ("host_preflight_info", {"disk_warning_percent": 99, "disk_critical_percent": 90}, "invalid_value"),
        ("host_preflight_info", {"disk_warning_percent": "many"}, "invalid_arguments"),
        ("maintenance_window_info", {"windows": [{**SUNDAY, "days": ["someday"]}]}, "invalid_value"),
        ("maintenance_window_info", {"windows": [{**SUNDAY, "start": "840"}]}, "invalid_value"),
        ("maintenance_window_info", {"windows": [{**SUNDAY, "timezone": "Mars/Olympus"}]}, "invalid_value"),
        ("maintenance_window_info", {"windows": [{**SUNDAY, "end": "04:00"}]}, "impossible_window"),
        ("maintenance_window_info", {"windows": [{**SUNDAY, "duration": "1h"}]}, "impossible_window"),
        ("maintenance_window_info", {"windows": [SUNDAY], "minimum_left": "2h"}, "impossible_window"),
        ("maintenance_window_info", {"windows": [SUNDAY], "scope": ["cache"]}, "impossible_window"),
        ("maintenance_window_info", {"at": "tomorrow"}, "invalid_value"),
        ("maintenance_window_info", {"at": "2026-11-22T04:30:00"}, "invalid_value"),
        ("maintenance_window_info", {"windows": [{"start": "04:00"}]}, "invalid_arguments"),
    ],
)
def test_bad_input(module: str, args: dict[str, Any], code: str) -> None:
    assert run_failed(module, args)["failure"]["code"] == code


@pytest.mark.parametrize(
    ("at", "is_open", "end", "following"),
    [
        ("2026-11-22T05:30:00+01:00", True, "2026-11-22T05:00:00Z", "2026-11-29T04:00:00Z"),
        ("2026-11-22T05:00:00Z", False, None, "2026-11-29T04:00:00Z"),
    ],
)
def test_a_window(at: str, is_open: bool, end: str | None, following: str) -> None:
    result = run_ok("maintenance_window_info", {"windows": [SUNDAY], "at": at})
    assert (result["open"], result["window_end"], result["next_start"]) == (is_open, end, following)
    assert result["status"] == ("ok" if is_open else "warning") and result["changed"] is False


def test_a_closed_window_that_is_enforced() -> None:
    args = {"windows": [SUNDAY], "at": "2026-11-22T05:00:00Z", "enforce": True}
    failed = run_failed("maintenance_window_info", args)
    assert failed["failure"]["code"] == "window_closed"
    assert failed["failure"]["details"]["next_start"] == "2026-11-29T04:00:00Z"


def test_the_present_moment_is_in_a_window_of_all_day() -> None:
    args = {"windows": [{"days": ["daily"], "start": "00:00", "end": "24:00"}], "enforce": True}
    assert run_ok("maintenance_window_info", args)["open"] is True
