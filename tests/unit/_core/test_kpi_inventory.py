"""The example of the inventory can be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils._core.capacity import read_resources
from plugins.module_utils._core.kpi import read_kpis

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "inventories" / "example" / "group_vars" / "all" / "kpis.yml"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def test_the_example_holds_the_handbooks_numbers(example: dict[str, Any]) -> None:
    kpis = {kpi.name: kpi for kpi in read_kpis(example["health_kpis"], "health_kpis")}
    uptime = kpis["availability"]
    assert uptime.objective is not None
    assert (uptime.limit.critical, uptime.sustained, uptime.objective.target) == (99.5, 300, 99.9)
    assert (kpis["response_time"].limit.critical, kpis["response_time"].sustained) == (5, 120)
    assert (kpis["error_rate"].limit.warning, kpis["error_rate"].limit.critical) == (0.5, 1)
    assert [kpis[name].limit.warning for name in ("cpu", "memory", "disk")] == [70, 80, 85]
    assert kpis["ingestion_rate"].limit.lower_is_worse and kpis["ingestion_rate"].limit.warning == 1000


def test_what_is_stale_within_the_hour_is_read_every_5_minutes(example: dict[str, Any]) -> None:
    kpis = read_kpis(example["health_kpis"], "health_kpis")
    quick = {kpi.selector.metric.partition(".")[0] for kpi in kpis if kpi.max_age < 3600}
    plays = yaml.safe_load((ROOT / "playbooks" / "system-health.yml").read_text(encoding="utf-8"))
    areas = " ".join(str(play["vars"].get("health_areas")) for play in plays if "vars" in play)
    assert quick == {"availability", "logs"} and all(area in areas for area in quick)
    report = yaml.safe_load((FILE.parent / "report.yml").read_text(encoding="utf-8"))
    (schedule,) = (one for one in report["report_schedule"] if one["runbook"] == "system-health")
    assert schedule["every"] == "5m" and report["report_max_ages"] == {"availability": "15m"}


def test_the_example_has_resources(example: dict[str, Any]) -> None:
    names = [resource.name for resource in read_resources(example["health_resources"], "health_resources")]
    assert names == ["disk", "inodes", "database_size", "connections", "memory", "transaction_ids"]
