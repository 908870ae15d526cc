"""capacity_forecast with real journals: what it foresees, what it refuses, and what it says when it cannot tell."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io.journal_prune import Retention, prune
from plugins.module_utils._io.journal_write import open_writer
from tests.support.journal_records import postgres_url
from tests.support.journals import rows, write
from tests.support.modules import run_failed, run_ok
from tests.support.servers import Database

DAY = 86400.0
GIB = 1024.0**3
DISK: dict[str, Any] = {
    "name": "disk",
    "title": "Disk",
    "source": {"metric": "host.disk.used_percent"},
    "limit": 100,
    "unit": "%",
    "warning": "30d",
    "critical": "7d",
}
SIZE: dict[str, Any] = {
    "name": "database_size",
    "title": "Database",
    "source": {"metric": "database.size_bytes", "hosts": "db*"},
    "limit": {"metric": "host.disk.total", "labels": {"mount": "/data"}},
    "unit": "bytes",
    "daily": "last",
    "warning": "60d",
    "confidence": 0.9,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> str:
    return postgres_url(database) if request.param == "postgresql" else f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


def daily(to: float, by: float, days: int = 60, noise: float = 0.0, each: int = 4) -> list[tuple[float, float]]:
    """Return readings each few hours up to a minute ago that grow by so much a day."""
    random_, now = random.Random(11), time.time() - 60
    count = days * 24 // each
    return [
        (now - n * each * 3600, to - by * n * each / 24 + random_.gauss(0, noise) * (n > 0))
        for n in range(count - 1, -1, -1)
    ]


def forecast(url: str, *resources: dict[str, Any], **options: Any) -> dict[str, Any]:
    return run_ok("capacity_forecast", {"resources": list(resources), "journal_url": url, **options})


def test_it_foresees_what_is_coming(url: str) -> None:
    write(
        url,
        rows("host.disk.used_percent", daily(80, 1, noise=0.5), host="db1", labels={"mount": "/data"}),
        rows("host.disk.used_percent", daily(40, 0.01, noise=0.5), host="db1", labels={"mount": "/"}),
        rows("database.size_bytes", daily(60 * GIB, GIB), host="db1", unit="bytes", labels={"database": "shop"}),
        rows("host.disk.total", daily(100 * GIB, 0, 3), host="db1", unit="bytes", labels={"mount": "/data"}),
        rows("host.disk.total", daily(20 * GIB, 0, 3), host="db1", unit="bytes", labels={"mount": "/"}),
    )
    result = forecast(url, DISK, SIZE)
    assert result["status"] == "warning" and not result["changed"]
    data, root, size = sorted(result["forecasts"], key=lambda one: (one["name"] != "disk", -one["level"]))
    assert data["labels"] == {"mount": "/data"} and data["status"] == "warning"
    assert data["days_to_limit"]["expected"] == pytest.approx(20, abs=1)
    assert data["days_to_limit"]["earliest"] <= 20 <= data["days_to_limit"]["latest"]
    assert data["trend"]["per_day"] == pytest.approx(1, abs=0.02)
    assert root["days_to_limit"]["expected"] is None and root["status"] == "ok"
    assert size["limit"] == 100 * GIB
    assert size["days_to_limit"]["expected"] == pytest.approx(40, abs=1)
    assert [one["check"] for one in result["findings"]] == ["disk", "database_size"]
    assert {one["metric"] for one in result["samples"]} >= {"capacity.disk.expected_to_limit"}
    assert len(data["plot"]["dates"]) + len(data["plot"]["mean"]) <= 200


def test_days_are_enough_when_raw_readings_are_gone(file: str) -> None:
    write(file, rows("host.disk.used_percent", daily(80, 1), host="db1"))
    before = forecast(file, DISK)["forecasts"][0]
    with open_writer(file) as writer:
        pruned = prune(writer, Retention(samples=3), time.time())
    assert pruned.total > 0
    after = forecast(file, DISK)["forecasts"][0]
    assert after["points_used"] == before["points_used"] >= 59
    assert after["days_to_limit"]["expected"] == pytest.approx(before["days_to_limit"]["expected"], abs=0.01)


def test_a_young_journal_is_honest(file: str) -> None:
    write(file, rows("host.disk.used_percent", daily(80, 1, 3), host="db1"))
    result = forecast(file, DISK)
    assert result["status"] == "unknown"
    assert "too little history to tell" in result["msg"]
    (one,) = result["forecasts"]
    assert one["reason"] == "too_short" and one["days_to_limit"] is None
    assert one["missing_days"] >= 3 and one["missing_points"] >= 3


def test_what_is_full_is_critical_at_once(file: str) -> None:
    write(file, rows("host.disk.used_percent", daily(100, 1, 2), host="db1"))
    (one,) = forecast(file, DISK)["forecasts"]
    assert (one["status"], one["reason"], one["days_to_limit"]["expected"]) == ("critical", "at_limit", 0)


def test_readings_that_end_are_critical(file: str) -> None:
    old = [(at - 5 * DAY, value) for at, value in daily(50, 0.1)]
    write(file, rows("host.disk.used_percent", old, host="db1"))
    (one,) = forecast(file, DISK)["forecasts"]
    assert (one["status"], one["reason"]) == ("critical", "stale")


def test_a_limit_that_is_not_there_is_unknown(file: str) -> None:
    write(file, rows("database.size_bytes", daily(60 * GIB, GIB), host="db1", unit="bytes"))
    result = forecast(file, SIZE)
    assert result["status"] == "unknown" and "no single limit host.disk.total" in result["msg"]


def test_what_was_never_read_is_unknown(file: str) -> None:
    write(file, rows("host.disk.used_percent", daily(50, 0.1), host="db1"))
    result = forecast(file, {**DISK, "source": {"metric": "host.disk.used_percent", "hosts": ["db1", "db2"]}})
    assert result["status"] == "unknown" and "never read of db2" in result["msg"]


def test_without_a_journal_every_resource_is_unknown(tmp_path: Path) -> None:
    result = forecast(f"sqlite:///{tmp_path}/none/journal.db", DISK, SIZE)
    assert result["msg"].startswith("2 resources not known: ")
    assert [one["status"] for one in result["findings"]] == ["unknown", "unknown"]
    assert not (tmp_path / "none").exists()


class TestBadInventory:
    def test_a_value_is_refused_by_its_place(self) -> None:
        options = {
            "resources": [SIZE, {**DISK, "limit": "all"}],
            "variable": "capacity_resources",
            "validate_only": True,
        }
        result = run_failed("capacity_forecast", options)
        assert result["failure"]["code"] == "invalid_value"
        assert result["failure"]["details"] == {"variable": "capacity_resources[1].limit"}

    def test_a_key_that_nobody_knows_is_refused(self) -> None:
        result = run_failed("capacity_forecast", {"resources": [{**DISK, "limits": 1}]})
        assert result["failure"]["code"] == "invalid_arguments" and "resources.limits" in result["msg"]

    def test_validation_reads_no_journal(self) -> None:
        options = {"resources": [DISK, SIZE], "journal_url": "mysql://x", "validate_only": True}
        assert run_ok("capacity_forecast", options)["msg"] == "2 resources can be read"


def test_check_mode_is_the_same(file: str) -> None:
    write(file, rows("host.disk.used_percent", daily(80, 1), host="db1"))
    options = {"resources": [DISK], "journal_url": file}
    real, check = (run_ok("capacity_forecast", options, check=mode) for mode in (False, True))
    assert real["status"] == check["status"] == "warning" and not check["changed"]
