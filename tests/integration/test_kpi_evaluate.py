"""kpi_evaluate with real journals: what it says, what it refuses, and what it says when it cannot look."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.journal_records import postgres_url
from tests.support.journals import rows, write
from tests.support.modules import run_failed, run_ok
from tests.support.playbooks import Playbooks
from tests.support.servers import Database

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
ERRORS: dict[str, Any] = {
    "name": "errors",
    "title": "Error rate",
    "source": {"metric": "logs.error_percent", "aggregate": "max"},
    "unit": "%",
    "warning": 0.5,
    "critical": 1,
    "for": "5m",
    "interval": "1m",
    "max_age": "10m",
}
UPTIME: dict[str, Any] = {
    "name": "availability",
    "source": {"metric": "availability.up", "aggregate": "min"},
    "unit": "%",
    "direction": "lower_is_worse",
    "critical": 99.5,
    "interval": "1h",
    "objective": {"target": 99, "window": "2d", "attained_by": "value"},
    "owner": "platform",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> str:
    return postgres_url(database) if request.param == "postgresql" else f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


def each_minute(value: float, since: int, until: int = 0) -> list[tuple[float, float]]:
    now = time.time() - 1
    return [(now - ago * MINUTE, value) for ago in range(since, until - 1, -1)]


def evaluate(url: str, *kpis: dict[str, Any], **options: Any) -> dict[str, Any]:
    return run_ok("kpi_evaluate", {"kpis": list(kpis), "journal_url": url, **options})


def test_it_says_what_the_journal_says(url: str) -> None:
    now = time.time() - 1
    hourly = [(now - ago * HOUR, 0.5 if ago in (1, 2) else 1.0) for ago in range(60, -1, -1)]
    write(
        url,
        rows("logs.error_percent", each_minute(0.1, 30), host="web1"),
        rows("logs.error_percent", [*each_minute(0.1, 30, 9), *each_minute(2, 8)], host="web2"),
        rows("availability.up", hourly, unit="ratio", host="localhost", labels={"endpoint": "home"}),
    )
    result = evaluate(url, ERRORS, UPTIME)
    assert result["status"] == "critical" and not result["changed"]
    assert re.search(r"Error rate: 2 % for 8 min( \d+ s)? \(critical at 1 % for 5 min\)", result["msg"])
    errors, uptime = result["kpis"]
    assert (errors["status"], errors["value"], errors["series_count"]) == ("critical", 2, 2)
    assert errors["breach"]["state"] == "reached"
    # Two of 48 hours were half bad: 28.8 min are allowed, an hour is gone.
    assert uptime["value"] == 100 and uptime["owner"] == "platform"
    assert uptime["objective"]["attained"] == pytest.approx(100 * 47 / 48, abs=0.01)
    assert uptime["objective"]["budget_left_seconds"] == pytest.approx(0.01 * 2 * DAY - HOUR, abs=10)
    assert [one["check"] for one in result["findings"]] == ["errors", "availability"]
    assert {one["metric"] for one in result["samples"]} == {
        "kpis.errors.value",
        "kpis.availability.value",
        "kpis.availability.attainment",
        "kpis.availability.budget_left",
    }


def test_it_is_ok_only_with_readings_that_show_it(file: str) -> None:
    write(file, rows("logs.error_percent", each_minute(0.1, 30)))
    assert evaluate(file, ERRORS)["msg"] == "the one check is ok"
    assert evaluate(file, {**ERRORS, "source": {"metric": "logs.error_percent", "hosts": ["web1", "web7"]}})[
        "status"
    ] == ("unknown")
    assert evaluate(file, {**ERRORS, "source": {"metric": "logs.eror_percent"}})["status"] == "unknown"
    assert evaluate(file, {**ERRORS, "source": {"metric": "logs.error_percent", "labels": {"file": "x"}}})[
        "status"
    ] == ("unknown")


def test_readings_that_end_are_critical(file: str) -> None:
    write(file, rows("logs.error_percent", each_minute(0.1, 60, 20)))
    result = evaluate(file, ERRORS)
    assert result["status"] == "critical"
    assert "stale, not read for 20 min" in result["msg"]
    assert result["kpis"][0]["value"] is None


def test_a_metric_may_hold_what_a_pattern_would_match(file: str) -> None:
    """An underscore is any letter to LIKE: the metric is compared as it is."""
    write(file, rows("logs.errorXpercent", each_minute(5, 30)))
    assert evaluate(file, ERRORS)["status"] == "unknown"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("sqlite:////proc/none/journal.db", "journal"),
        ("postgresql://nobody:s3cret@127.0.0.1:9/none", "journal_unreachable"),
    ],
)
def test_without_a_journal_every_kpi_is_unknown(given: str, code: str) -> None:
    result = evaluate(given, ERRORS, UPTIME)
    assert result["status"] == "unknown"
    assert [one["status"] for one in result["findings"]] == ["unknown", "unknown"]
    assert result["msg"].startswith("2 KPIs not known: ")
    assert "s3cret" not in json.dumps(result), code


def test_a_journal_that_is_broken_is_unknown_too(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is no database" * 500)
    assert evaluate(f"sqlite:///{tmp_path}/journal.db", ERRORS)["status"] == "unknown"


class TestBadInventory:
    def test_a_value_is_refused_by_its_place(self) -> None:
        kpis = [ERRORS, UPTIME, {**ERRORS, "name": "third"}, {**ERRORS, "name": "fourth", "critical": "lots"}]
        options = {"kpis": kpis, "variable": "product_kpis", "validate_only": True}
        result = run_failed("kpi_evaluate", options)
        assert result["failure"]["code"] == "invalid_value"
        assert result["failure"]["details"] == {"variable": "product_kpis[3].critical"}
        assert result["msg"].startswith("product_kpis[3].critical must be a number, not 'lots'")

    def test_a_key_that_nobody_knows_is_refused(self) -> None:
        result = run_failed("kpi_evaluate", {"kpis": [{**ERRORS, "critcal": 1}]})
        assert result["failure"]["code"] == "invalid_arguments"
        assert "kpis.critcal" in result["msg"]

    def test_the_kpis_are_needed(self) -> None:
        assert run_failed("kpi_evaluate", {})["failure"]["code"] == "invalid_arguments"

    def test_an_address_that_means_nothing_is_refused(self) -> None:
        result = run_failed("kpi_evaluate", {"kpis": [ERRORS], "journal_url": "mysql://x"})
        assert result["failure"]["code"] == "invalid_value"

    def test_validation_reads_no_journal(self) -> None:
        result = run_ok("kpi_evaluate", {"kpis": [ERRORS], "journal_url": "mysql://x", "validate_only": True})
        assert (result["msg"], result["status"], result["kpis"]) == ("1 KPI can be read", "ok", [])


def test_check_mode_is_the_same(file: str) -> None:
    write(file, rows("logs.error_percent", each_minute(2, 30)))
    real, check = (
        run_ok("kpi_evaluate", {"kpis": [ERRORS], "journal_url": file}, check=mode) for mode in (False, True)
    )
    assert [one["status"] for one in real["kpis"]] == [one["status"] for one in check["kpis"]] == ["critical"]
    assert not check["changed"] and check["plan"] == []


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - oncall.runbooks.host_health_info:
- hosts: localhost
  gather_facts: false
  tasks:
    - oncall.runbooks.kpi_evaluate:
        kpis:
          - {name: "{{ item }}", source: {metric: host.memory.used_percent}, unit: "%", critical: 100.1}
      loop: [memory, again]
      register: kpis
- hosts: localhost
  gather_facts: false
  tasks:
    - oncall.runbooks.kpi_evaluate:
        kpis: [{name: of_again, source: {metric: kpis.again.value}, unit: "%", critical: 100.1}]
      register: of_kpi
    - oncall.runbooks.capacity_forecast:
        resources: [{name: memory, source: {metric: host.memory.used_percent}, limit: 101, unit: "%"}]
      register: resources
    - ansible.builtin.copy:
        content: "{{ {'kpis': kpis.results[0].kpis + of_kpi.kpis, 'forecasts': resources.forecasts} | to_json }}"
        dest: "{{ playbook_dir }}/found.json"
        mode: "0600"
"""


def test_a_run_judges_what_it_has_just_read(tmp_path: Path) -> None:
    """As people run it: modules in processes of their own, and the journal that the callback writes meanwhile."""
    playbooks = Playbooks(tmp_path)
    playbooks.write_inventory({"controller": {"localhost": {}}})
    (tmp_path / "look.yml").write_text(PLAYBOOK, encoding="utf-8")
    run = playbooks.run(tmp_path / "look.yml")
    assert run.rc == 0, run.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert [kpi["status"] for kpi in found["kpis"]] == ["ok", "ok"], found["kpis"]
    assert 0 < found["kpis"][0]["value"] <= 100
    assert found["forecasts"][0]["reason"] == "too_short"
