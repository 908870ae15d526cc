"""A product with everything that a report can tell: for the tests of the pages, and to look at them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from plugins.module_utils._core.journal import Drill, FindingRow, Incident, IncidentEvent, LastRun, Run
from plugins.module_utils._core.report import (
    Business,
    Forecast,
    Gauge,
    History,
    Plot,
    ReportData,
    SessionEnded,
    Work,
)
from plugins.module_utils._core.report_given import read_backups, read_kpis
from plugins.module_utils._core.report_judge import Facts, assemble
from plugins.module_utils._core.report_policy import Policy, Promise, Wish
from plugins.module_utils._core.report_series import band_plot, lines_plot

DAY = 86400.0
NOW = 1795219200.0  # 2026-11-21T00:00:00Z
# Everything that must never become markup, move the cursor, or break a line of the page.
HOSTILE = (
    "<script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\x1b[2J\x1b[31mred\x07",
    "abc\u202egpj.exe\u2066",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
    "javascript:alert(1)",
    "| a | `b` | [c](javascript:alert(1)) \n# heading\n- list",
    'a"b\\c\nd',
    "x" * 10_000,
)


def finding(area: str, host: str, check: str, status: str, msg: str, **more: Any) -> FindingRow:
    row = FindingRow("r1", NOW - 3600, host, area, check, status, None, "", "", None, None, msg)
    return replace(row, **more)


def run(runbook: str, status: str = "ok", ago: float = 3600, **more: Any) -> Run:
    made = Run(f"{runbook}-{ago}", runbook, NOW - ago, NOW - ago + 95, status, operator="ana", hosts=3, changed=2)
    return replace(made, **{"inventory": "inventories/shop", "msg": "all 27 checks ok", **more})


def wave(days: int, low: float, high: float, period: float = 29) -> tuple[tuple[float, float], ...]:
    return tuple(
        (NOW - (days - day) * DAY, low + (high - low) * (0.5 + 0.5 * math.sin(day / period * math.tau)))
        for day in range(days)
    )


def example_findings() -> tuple[FindingRow, ...]:
    good = [finding("host", f"app{n}", "memory_used", "ok", "memory 61 % used") for n in range(1, 9)]
    return (
        finding("availability", "localhost", "endpoint", "ok", "home answers in 180 ms"),
        finding("database", "db1", "replication_slot", "critical", "slot old_dr holds back 48 GB of WAL"),
        finding("database", "db1", "connections", "warning", "91 of 100 connections used"),
        finding("database", "db1", "statements", "unknown", "pg_stat_statements is not installed: CREATE EXTENSION"),
        finding("redis", "cache1", "memory", "ok", "Redis uses 41 % of maxmemory"),
        finding("security", "app1", "updates", "warning", "3 security updates wait", at=NOW - 9 * DAY),
        finding("external_apis", "localhost", "quota", "warning", "spotify: 6 % of the quota left"),
        finding("ingestion", "localhost", "freshness", "ok", "setlist.fm: newest event 4 min ago"),
        *good,
    )


def example_kpis() -> list[dict[str, Any]]:
    def objective(attained: float, left: float) -> dict[str, Any]:
        return {"attained": attained, "target": 99.9, "window_seconds": 30 * DAY, "budget_left_percent": left}

    base: dict[str, Any] = {"owner": "platform", "runbook": "", "direction": "higher_is_worse"}
    return [
        {**base, "name": "uptime", "title": "Availability", "status": "warning", "value": 99.97, "unit": "%",
         "direction": "lower_is_worse", "warning": 99.9, "critical": 99.5, "objective": objective(99.84, -60.0),
         "msg": "Availability: objective 99.9 % over 30 d missed with 99.84 %, error budget overdrawn by 26 min"},
        {**base, "name": "latency", "title": "Response time, p95", "status": "ok", "value": 0.18, "unit": "s",
         "warning": 3, "critical": 5, "objective": objective(99.98, 80.0), "msg": "180 ms"},
        {**base, "name": "errors", "title": "Error rate", "status": "unknown", "value": None, "unit": "%",
         "warning": 0.5, "critical": 1, "objective": None, "msg": "never read"},
    ]  # fmt: skip


def example_backups() -> list[dict[str, Any]]:
    label = "shop postgresql shop of db1"
    return [
        {
            "status": "critical",
            "findings": [
                {"check": "backup_age", "status": "ok", "critical": 93600.0, "msg": f"{label}: is young"},
                {"check": "proof_age", "status": "critical", "critical": 691200.0, "msg": f"{label}: proof is stale"},
            ],
            "sources": [
                {"product": "shop", "host": "db1", "kind": "postgresql", "name": "shop", "status": "critical",
                 "copies": 31, "newest_taken": "2026-11-20T04:00:00Z", "proven_at": "2026-11-05T04:20:00Z"},
                {"product": "shop", "host": "cache1", "kind": "redis", "name": "cache1", "status": "ok",
                 "copies": 30, "newest_taken": "2026-11-20T22:00:00Z", "proven_at": "2026-11-19T04:20:00Z"},
            ],
        }
    ]  # fmt: skip


def example_forecasts() -> tuple[Forecast, ...]:
    past = tuple((NOW - (90 - day) * DAY, (40 + day * 0.35) * 2**30) for day in range(90))
    future = tuple(
        (NOW + day * DAY, *(((71.5 + day * 0.35) + side * (1 + day * 0.06)) * 2**30 for side in (-1, 0, 1)))
        for day in range(0, 91, 3)
    )
    disk = Forecast("Disk /", "db1", "warning", "full in about 58 days", "bytes", 71.5 * 2**30, 92 * 2**30, 58, 49, 71)
    return (
        replace(disk, history=History(past), expected=future),
        Forecast("Connections", "db1", "unknown", "4 days of history, 14 are needed", "count", 91, 100),
    )


def example_incidents() -> tuple[Incident, ...]:
    events = (
        IncidentEvent(1, "INC-7", NOW - 3 * DAY, "detected", "alertmanager", "checkout answers 503"),
        IncidentEvent(2, "INC-7", NOW - 3 * DAY + 90, "acknowledged", "ana", "on it"),
        IncidentEvent(3, "INC-7", NOW - 3 * DAY + 600, "action", "ana", "ended 41 idle sessions"),
    )
    return (
        Incident("INC-7", "Checkout was down", "SEV-1", "resolved", NOW - 3 * DAY, NOW - 3 * DAY + 90,
                 NOW - 3 * DAY + 620, NOW - 3 * DAY + 3000, "Connections were exhausted", events),
    )  # fmt: skip


def example_plots() -> tuple[Plot, ...]:
    days = [(at, 20 + i % 7, value, min(100.0, value + 30)) for i, (at, value) in enumerate(wave(365, 35, 70))]
    return (
        lines_plot(
            "p0", "Response time, p95", "seconds", {"home": wave(365, 0.1, 0.3), "api": wave(365, 0.2, 0.9, 60)}
        ),
        band_plot("p1", "CPU", "percent", days, 50),
        lines_plot("p2", "Database size", "bytes", {"shop": wave(365, 3e9, 9e9, 700)}),
    )


def example_policy() -> Policy:
    return Policy(
        product="Shop",
        title="Operations report",
        areas=("availability", "database", "redis", "host", "backups", "logs"),
        schedule=(
            Wish("daily-operations", DAY, 7200),
            Wish("weekly-maintenance", 7 * DAY, DAY),
            Wish("dr-drill", 1, 1),
        ),
        objectives=(Promise("database", 1800, 3600, 35 * DAY), Promise("full", 7200)),
        links={"daily-operations": "https://wiki.shop.example/daily"},
        kpis=read_kpis(example_kpis()),
        forecasts=example_forecasts(),
        backups=read_backups(example_backups()),
    )


def example_facts() -> Facts:
    daily, weekly = run("daily-operations"), run("weekly-maintenance", ago=9 * DAY)
    broken = run("weekly-maintenance", "interrupted", 2 * DAY, ended_at=None, msg="")
    failed = run("backup", "failed", 7200, msg="db1: no space left on the device of the repository")
    return Facts(
        where="journal.db",
        findings=example_findings(),
        runs=(daily, failed, broken, weekly, run("daily-operations", ago=DAY, check_mode=True)),
        last_runs=(
            LastRun("backup", failed, None, None),
            LastRun("daily-operations", daily, daily, daily),
            LastRun("weekly-maintenance", broken, weekly, weekly),
        ),
        drills=(Drill(1, "r", "database", NOW - 20 * DAY, NOW - 20 * DAY + 1260, "ok", 1260, None, 3900, None, ""),),
        incidents=example_incidents(),
        work=(Work("weekly-maintenance", "vacuum", 41, 2, 312.0, NOW - 9 * DAY),),
        sessions=(SessionEnded(NOW - 3 * DAY, "db1", "terminate", "pid 4711 app@shop", "gone after 0.2 s"),),
        sessions_counted=41,
        plots=example_plots(),
        business=(
            Business("business.signups", "Sign-ups", "count", 412, NOW - 3600, 380, History(wave(60, 200, 420))),
            Business("business.revenue", "Revenue", "EUR", 18250.5, NOW - 3600, None, History()),
        ),
        gauges=(
            Gauge("host.memory.used_percent", "percent", "app1", (), 61.0),
            Gauge("host.disk.used_percent", "percent", "db1", (("mount", "/"),), 71.5),
            Gauge("availability.latency.p95", "seconds", "localhost", (("endpoint", "home"),), 0.18),
        ),
        histories={
            "kpis.uptime.value": History(wave(90, 99.6, 100)),
            "kpis.latency.value": History(wave(90, 0.1, 0.4)),
        },
    )


def example_report() -> ReportData:
    return assemble(example_facts(), example_policy(), NOW)


def hostile_report() -> ReportData:
    """Return a report in which every text from outside is one that wants to be something else."""
    texts = HOSTILE
    facts, policy = example_facts(), example_policy()
    rows = tuple(finding(text, text, text, "critical", text, unit=text) for text in texts)
    kpis = [{**one, **dict.fromkeys(("name", "title", "unit", "owner", "runbook", "msg"), texts[index % len(texts)])}
            for index, one in enumerate(example_kpis() * 4)]  # fmt: skip
    runs = tuple(run(text, "failed", 60 + n, operator=text, msg=text, inventory=text) for n, text in enumerate(texts))
    incidents = tuple(
        Incident(text, text, text, text, NOW, None, None, None, text, (IncidentEvent(1, text, NOW, text, text, text),))
        for text in texts
    )
    return assemble(
        replace(
            facts,
            where=HOSTILE[0],
            findings=rows,
            runs=runs,
            last_runs=tuple(LastRun(one.runbook, one, None, None) for one in runs[: len(HOSTILE)]),
            incidents=incidents,
            drills=tuple(Drill(1, "r", text, NOW, NOW, text, 1, 1, 1, 1, text) for text in texts),
            work=tuple(Work(text, text, 1, 1, 1, NOW) for text in texts),
            sessions=tuple(SessionEnded(NOW, text, text, text, text) for text in texts),
            plots=tuple(lines_plot(f"p{n}", text, text, {text: wave(9, 1, 2)}) for n, text in enumerate(texts)),
            business=tuple(Business(text, text, text, 1.0, NOW, 0.5, History(wave(9, 1, 2))) for text in texts),
        ),
        replace(
            policy,
            product=HOSTILE[0],
            title=HOSTILE[1],
            links={text: text for text in HOSTILE},
            runbooks={text: text for text in HOSTILE},
            schedule=tuple(Wish(text, 1, 1) for text in HOSTILE),
            objectives=tuple(Promise(text, 1, 1) for text in HOSTILE),
            kpis=read_kpis(kpis),
        ),
        NOW,
    )
