"""The metrics file, the alert rules and the dashboard, by Prometheus' own tools."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.plugin_utils.report.metrics import render_metrics
from tests.support.reports import NOW, example_report, hostile_report

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "extensions/prometheus/alerts.yml"
DASHBOARD = json.loads((ROOT / "extensions/grafana/oncall-overview.json").read_text())
NAME = re.compile(r"\boncall_[a-z0-9_]+\b(?!\.)")
# Metrics that are only there when the journal has the readings, by the names that the health modules give them.
READINGS = {
    "oncall_availability_up_ratio",
    "oncall_availability_latency_p95_seconds",
    "oncall_external_apis_error_ratio",
    "oncall_external_apis_rate_limited",
    "oncall_redis_hit_ratio",
    "oncall_host_cpu_used_ratio",
    "oncall_host_memory_used_ratio",
    "oncall_host_disk_used_ratio",
    "oncall_database_connections_used_ratio",
}


def promtool(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("report", [example_report, hostile_report])
def test_prometheus_finds_nothing_to_complain_about(report: Any) -> None:
    assert promtool("check", "metrics", text=render_metrics(report(), NOW)) == ""


def test_the_rules_are_ones_and_fire_when_they_have_to() -> None:
    assert "20 rules found" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(ROOT / "tests/data/prometheus/alerts_test.yml"))


def test_every_alert_has_a_test() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    tests = (ROOT / "tests/data/prometheus/alerts_test.yml").read_text()
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert [name for name in alerts if f'"{name}"' not in tests and f" {name}" not in tests] == []


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_and_the_rules_use_metrics_that_are_written() -> None:
    written = set(re.findall(r"^(oncall_[a-z0-9_]+)", render_metrics(example_report(), NOW), re.MULTILINE)) | READINGS
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    used = {name for expr in (*expressions(), *rules) for name in NAME.findall(re.sub(r'__name__=~"[^"]*"', "", expr))}
    assert used and used - written == set()


def test_every_expression_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$product", ".*")}
        for number, expr in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_dashboard_has_no_two_panels_in_one_place() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _y in taken) == 23
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
