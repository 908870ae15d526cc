"""What a report says: verdicts, staleness, duties, recoveries, and what needs a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plugins.module_utils._core.journal import Drill, LastRun
from plugins.module_utils._core.report import Gauge, ReportData
from plugins.module_utils._core.report_given import read_backups, read_forecasts, read_kpis
from plugins.module_utils._core.report_judge import Facts, assemble, judge_duty, judge_objectives
from plugins.module_utils._core.report_policy import GOOD, Policy, Promise, Wish
from tests.support.reports import DAY, NOW, example_backups, example_kpis, example_report, finding, run

SHOP = Policy("Shop")


def report_of(*findings: Any, policy: Policy = SHOP, **facts: Any) -> ReportData:
    return assemble(Facts(findings=tuple(findings), **facts), policy, NOW)


# --- the product ------------------------------------------------------------------------------------------------


def test_of_nothing_nobody_says_that_it_is_well() -> None:
    assert report_of().status == "unknown"


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["ok", "ok"], "ok"),
        (["ok", "unknown"], "unknown"),
        (["unknown", "warning"], "warning"),
        (["warning", "critical", "ok"], "critical"),
    ],
)
def test_the_product_is_as_its_worst_reading(statuses: list[str], verdict: str) -> None:
    report = report_of(*(finding("host", f"h{n}", "memory", status, "x") for n, status in enumerate(statuses)))
    assert report.status == verdict
    assert len(report.needs) == len({status for status in statuses if status != "ok"})
    assert ("nobody is needed" in report.headline) == (verdict == "ok")


def test_everything_of_the_example_that_is_not_well_is_a_need_worst_first() -> None:
    report = example_report()
    ranks = [("critical", "warning", "unknown").index(need.status) for need in report.needs]
    assert ranks == sorted(ranks)
    said = " | ".join(need.msg for need in report.needs)
    for text in ("weekly-maintenance: overdue", "dr-drill: never ran", "newest run of backup failed", "RPO missed",
                 "proof is stale", "error budget overdrawn", "full in about 58 days", "slot old_dr"):  # fmt: skip
        assert text in said, text


# --- areas ------------------------------------------------------------------------------------------------------


def test_an_area_that_should_be_there_and_is_not_is_unknown() -> None:
    report = report_of(finding("host", "h", "cpu", "ok", "x"), policy=replace(SHOP, areas=("host", "database")))
    assert {area.name: area.status for area in report.areas} == {"host": "ok", "database": "unknown"}
    assert report.status == "unknown"


@pytest.mark.parametrize(
    ("area", "age", "status"),
    [
        ("host", 26 * 3600, "ok"),
        ("host", 26 * 3600 + 1, "critical"),
        ("security", 7 * DAY, "ok"),
        ("security", 9 * DAY, "critical"),
        ("", 25 * DAY, "ok"),
        ("database", 7 * DAY, "ok"),  # by the policy
    ],
)
def test_what_is_too_old_to_rely_on_is_critical(area: str, age: float, status: str) -> None:
    old = finding(area, "db1", "memory", "ok", "fine", at=NOW - age)
    report = report_of(old, policy=replace(SHOP, ages={"database": 8 * DAY}))
    assert [one.status for one in report.areas] == [status]
    assert report.areas[0].stale == (status == "critical")


def test_one_silent_host_makes_the_area_stale_though_the_others_are_read() -> None:
    report = report_of(
        finding("host", "h1", "cpu", "ok", "x"), finding("host", "h2", "cpu", "ok", "x", at=NOW - 3 * DAY)
    )
    assert report.areas[0].status == "critical" and [need.where for need in report.needs] == ["h2"]


def test_hosts_that_are_said_to_be_gone_are_left_out() -> None:
    gone = finding("host", "h2", "cpu", "critical", "x", at=NOW - 3 * DAY)
    report = report_of(finding("host", "h1", "cpu", "ok", "x"), gone, policy=replace(SHOP, hosts=frozenset({"h1"})))
    assert report.status == "ok"


def test_a_check_that_another_runbook_reads_each_week_is_kept_until_it_is_read_again() -> None:
    weekly = finding("database", "db1", "corrupt_index", "critical", "index i is corrupt", at=NOW - 5 * DAY)
    report = report_of(finding("database", "db1", "connections", "ok", "x"), weekly)
    assert report.status == "critical"
    forgotten = replace(weekly, at=NOW - 31 * DAY)
    assert report_of(finding("database", "db1", "connections", "ok", "x"), forgotten).status == "ok"


def test_what_the_last_report_said_is_no_reading_of_the_next() -> None:
    report = report_of(finding("report", "localhost", "product", "critical", "x"), finding("host", "h", "c", "ok", "x"))
    assert report.status == "ok" and [area.name for area in report.areas] == ["host"]


def test_the_same_sentence_of_many_hosts_is_one_need() -> None:
    found = [finding("host", f"h{n}", "reboot", "warning", "a reboot is pending", at=NOW - n) for n in range(1, 9)]
    (need,) = report_of(*found).needs
    assert need.where == "h1, h2, h3, h4, h5 and 3 more" and need.at == NOW - 8


# --- runs that have to happen -----------------------------------------------------------------------------------

DAILY = Wish("daily", DAY, 3600)


@pytest.mark.parametrize(
    ("known", "wish", "status", "words"),
    [
        ((), DAILY, "critical", "never ran"),
        ((LastRun("daily", run("daily", "failed"), None, None),), DAILY, "critical", "never came to its end"),
        ((LastRun("daily", run("daily"), run("daily"), None),), DAILY, "ok", "in time"),
        ((LastRun("daily", run("daily"), run("daily"), None),), replace(DAILY, counts=GOOD), "critical", "never succ"),
        ((LastRun("daily", run("daily"), run("daily", ago=25 * 3600 + 94), None),), DAILY, "ok", "in time"),
        ((LastRun("daily", run("daily"), run("daily", ago=25 * 3600 + 96), None),), DAILY, "critical", "overdue"),
        (
            (LastRun("daily", replace(run("daily"), limit_="app1", tags="act"), run("daily", ago=3 * DAY), None),),
            DAILY,
            "critical",
            "overdue: should run every 1 d; the newest run does not count, it was of a part (--limit app1, tags act)",
        ),
        (
            (LastRun("daily", replace(run("daily"), limit_="app1"), None, None),),
            DAILY,
            "critical",
            "never came to its end; the newest run does not count, it was of a part (--limit app1)",
        ),
        (
            (LastRun("daily", run("daily", "interrupted"), run("daily", ago=3 * DAY), None),),
            DAILY,
            "critical",
            "was interrupted",
        ),
    ],
)
def test_a_run_that_should_have_happened_and_did_not_is_critical(
    known: tuple[LastRun, ...], wish: Wish, status: str, words: str
) -> None:
    duty = judge_duty(wish, known, SHOP, NOW)
    assert (duty.status, duty.overdue) == (status, status == "critical")
    assert words in duty.msg


def test_a_failed_run_needs_a_person_once_and_only_while_it_is_the_newest() -> None:
    failed, fine = run("backup", "failed"), run("backup")
    assert [n.msg for n in report_of(last_runs=(LastRun("backup", failed, None, None),)).needs] == [
        "the newest run of backup failed: all 27 checks ok"
    ]
    assert report_of(last_runs=(LastRun("backup", fine, fine, fine),)).needs == ()
    late = replace(SHOP, schedule=(Wish("backup", 60, 0),))
    assert len(report_of(last_runs=(LastRun("backup", failed, None, None),), policy=late).needs) == 1


def test_the_runs_of_reports_are_not_told() -> None:
    report = report_of(runs=(run("report"), run("backup")), last_runs=(LastRun("report", run("report"), None, None),))
    assert [one.runbook for one in report.runs] == ["backup"] and report.seen == ()


def test_a_journal_that_cannot_be_read_says_nothing_about_runs_and_recoveries() -> None:
    policy = replace(SHOP, schedule=(DAILY,), areas=("host",), objectives=(Promise("database", 60),))
    report = report_of(policy=policy, trouble="the disk is full", where="journal.db")
    assert report.status == "unknown" and {need.status for need in report.needs} == {"unknown"}
    assert not any(duty.overdue for duty in report.duties)
    assert "the journal could not be read: the disk is full" in [need.msg for need in report.needs]


# --- recoveries -------------------------------------------------------------------------------------------------


def drill(**more: Any) -> Drill:
    made = Drill(1, "r", "db", NOW - DAY, NOW - DAY + 600, "ok", 600.0, 1800.0, 60.0, 3600.0, "")
    return replace(made, **more)


@pytest.mark.parametrize(
    ("promise", "drills", "status", "words"),
    [
        (Promise("db", 1800, 3600), (drill(),), "ok", "within its targets"),
        (Promise("db", 600, None), (drill(),), "ok", "within"),
        (Promise("db", 599, None), (drill(),), "critical", "RTO missed: 10 min of 9 min 59 s"),
        (Promise("db", None, 59), (drill(),), "critical", "RPO missed"),
        (Promise("db", None, 3600), (drill(rpo_seconds=None),), "unknown", "RPO was not measured"),
        (Promise("db", 1800), (drill(status="failed", detail="no copy"),), "critical", "failed: no copy"),
        (Promise("db", 1800), (drill(status="failed", started_at=NOW - 9 * DAY), drill()), "ok", "within"),
        (Promise("db", 1800), (drill(status="running", started_at=NOW), drill()), "ok", "within"),
        (Promise("db", 1800, max_age=DAY), (drill(ended_at=NOW - DAY - 1),), "critical", "stale"),
        (Promise("db", 1800), (), "unknown", "never measured"),
    ],
)
def test_a_recovery_is_judged_by_its_newest_drill(
    promise: Promise, drills: tuple[Drill, ...], status: str, words: str
) -> None:
    (objective,) = judge_objectives((promise,), drills, NOW)
    assert objective.status == status and words in objective.msg


def test_a_drill_that_nobody_promised_anything_about_keeps_its_own_targets() -> None:
    objectives = judge_objectives((Promise("full"),), (drill(rto_target_seconds=500.0),), NOW)
    assert [(one.name, one.status) for one in objectives] == [("full", "unknown"), ("db", "critical")]


# --- what other modules returned --------------------------------------------------------------------------------


def test_kpis_that_are_given_are_told_once_and_not_from_the_journal_too() -> None:
    stored = finding("kpis", "localhost", "uptime", "critical", "from the journal", value=1.0)
    asked = report_of(stored)
    assert [(kpi.name, kpi.msg) for kpi in asked.kpis] == [("uptime", "from the journal")]
    given = report_of(stored, policy=replace(SHOP, kpis=read_kpis(example_kpis())))
    assert [kpi.name for kpi in given.kpis] == ["uptime", "errors", "latency"] and given.areas == ()
    assert "from the journal" not in " ".join(need.msg for need in given.needs)
    assert given.kpis[0].budget_left == -60.0 and given.kpis[0].window == "30 d"


def test_a_kpi_of_the_journal_has_its_error_budget_from_the_samples() -> None:
    gauges = tuple(
        Gauge(f"kpis.uptime.{part}", "percent", "localhost", (), value)
        for part, value in (("attainment", 99.8), ("budget_left", 12.0))
    )
    (kpi,) = report_of(finding("kpis", "localhost", "uptime", "ok", "fine"), gauges=gauges).kpis
    assert (kpi.attainment, kpi.budget_left) == (99.8, 12.0)


def test_backups_come_with_their_limits_and_what_is_wrong_with_them() -> None:
    worst, best = read_backups(example_backups())
    assert (worst.status, worst.copy_limit, worst.proof_limit, worst.msg) == (
        "critical", 93600.0, 691200.0, "proof is stale",
    )  # fmt: skip
    assert best.status == "ok" and best.proven is not None


def test_a_repository_that_could_not_be_read_is_not_well() -> None:
    (one,) = read_backups([{"sources": [], "findings": [], "status": "ok", "msg": "no route to host"}])
    assert one.status == "unknown" and one.msg == "no route to host"


def test_a_forecast_has_its_plot_and_a_broken_one_is_no_crash() -> None:
    plot = {
        "dates": ["2026-11-19", "2026-11-20"],
        "values": [70, 71],
        "forecast_dates": ["2026-11-21", "soon"],
        "mean": [72, 73],
        "lower": [71, 72],
        "upper": [73, None],
    }
    reach = {"expected": 30, "earliest": 20, "latest": None}
    row = {"name": "disk", "title": "Disk", "host": "db1", "labels": {"mount": "/"}, "status": "warning", "unit": "%"}
    row = {**row, "msg": "x", "level": 71, "limit": 100, "days_to_limit": reach}
    soon, later = read_forecasts([{**row, "days_to_limit": None, "status": "unknown"}, {**row, "plot": plot}])
    assert (soon.name, soon.days, soon.days_high) == ("Disk /", 30.0, None)
    assert len(soon.history.points) == 2 and len(soon.expected) == 1
    assert later.days is None and later.expected == ()
