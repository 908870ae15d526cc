"""The report from a journal that runs have left: module, role and runbook."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from markdown_it import MarkdownIt

from plugins.module_utils._core.journal import Drill, Incident, IncidentEvent, Run, StepRow
from plugins.module_utils._core.journal_batch import Batch
from plugins.module_utils._io.journal_write import open_writer
from plugins.module_utils._module.report import report_spec
from plugins.module_utils._module.secrets import secrets_of
from plugins.plugin_utils.here import run_here
from plugins.plugin_utils.report.operation import Report
from tests.support.journals import rows
from tests.support.playbooks import ROOT, Playbooks
from tests.support.reports import DAY, HOSTILE, finding


def now() -> float:
    """Read the clock, when a test is at work: it may have been collected long ago."""
    return float(int(time.time()))


def run_of(runbook: str, status: str, ago: float, **more: Any) -> Run:
    started = now() - ago
    ended = None if status == "interrupted" else started + 60
    made = Run(f"{runbook}-{ago:g}", runbook, started, ended, status, operator="ana", hosts=2, msg="two checks")
    return replace(made, **more)


def step_of(run: Run, action: str, target: str, status: str = "done") -> StepRow:
    return StepRow(run.id, run.started_at, "db1", "p", "act", "s", "t", action, target, status, True, 2.5, "gone", "")


def write_journal(url: str) -> None:
    """Write what a few days of runs leave."""
    moment = now()
    daily = run_of("daily-operations", "critical", 3600, inventory="inventories/shop")
    weekly = run_of("weekly-maintenance", "ok", 9 * DAY)
    broken = run_of("weekly-maintenance", "interrupted", 2 * DAY)
    found = tuple(
        finding(area, host, check, status, msg, run_id=daily.id, at=moment - 3600)
        for area, host, check, status, msg in (
            ("database", "db1", "slot", "critical", "slot old_dr holds back 48 GB of WAL"),
            ("database", "db2", "connections", "ok", "12 of 100 connections used"),
            ("host", "db1", "memory", "warning", "memory 84 % used"),
            ("report", "localhost", "product", "critical", "what the last report said"),
        )
    )
    samples = (
        *rows("host.memory.used_percent", [(moment - 3600, 84.0)], host="db1"),
        *rows("availability.latency.p95", [(moment - 7200, 0.2), (moment - 3600, 0.4)], unit="seconds"),
        *rows("business.signups", [(moment - 8 * DAY, 300.0), (moment - 3600, 412.0)], unit="count"),
    )
    drill = Drill(0, daily.id, "database", moment - DAY, moment - DAY + 900, "ok", 900.0, None, 60.0, None, "")
    event = IncidentEvent(0, "INC-1", moment - 1000, "detected", "ana", "checkout answers 503")
    with open_writer(url) as writer:
        for number, run in enumerate((weekly, broken)):
            writer.apply(
                [Batch(run.id, number, moment, run=run, steps=(step_of(run, "vacuum", "shop public.events"),))]
            )
        writer.apply(
            [
                Batch(
                    daily.id,
                    0,
                    moment,
                    run=daily,
                    steps=(step_of(daily, "terminate", "pid 4711 app@shop"),),
                    findings=found,
                    samples=samples,
                    drills=(drill,),
                    incidents=(Incident("INC-1", "Checkout is down", "SEV-1", "open", moment - 1000),),
                    events=(event,),
                )
            ]
        )


@pytest.fixture
def url(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'journal.db'}"
    write_journal(address)
    return address


def options(tmp_path: Path, url: str, **more: Any) -> dict[str, Any]:
    schedule = [
        {"runbook": "daily-operations", "every": "1d"},
        {"runbook": "weekly-maintenance", "every": "7d", "grace": "1d"},
        {"runbook": "dr-drill", "every": "31d"},
    ]
    objectives = [{"name": "database", "rto": "30m", "rpo": "1h"}, {"name": "full", "rto": "2h"}]
    given = {"product": "Shop", "dest": str(tmp_path / "out"), "journal_url": url, "schedule": schedule}
    return {**given, "objectives": objectives, **more}


def write_report(arguments: Mapping[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    checked = ArgumentSpecValidator(report_spec().options).validate(dict(arguments))
    assert not checked.error_messages, checked.error_messages
    return run_here(Report, checked.validated_parameters, check, diff, secrets_of(checked.validated_parameters))


def texts(result: Mapping[str, Any]) -> dict[str, str]:
    return {form: Path(path).read_text() for form, path in result["files"].items()}


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"product": "  "}, "product"),
        ({"name": "../report"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"formats": []}, "formats"),
        ({"mode": "rw-r--r--"}, "mode"),
        ({"mode": "0200"}, "mode"),
        ({"window": "soon"}, "window"),
        ({"history": "0s"}, "history"),
        ({"max_ages": {"database": "x"}}, "max_ages.database"),
        ({"schedule": [{"runbook": "a", "every": "0s", "grace": "0s"}]}, r"schedule\[0\].every"),
        ({"schedule": [{"runbook": "a", "every": "1d", "grace": "never"}]}, r"schedule\[0\].grace"),
        ({"schedule": [{"runbook": "a", "every": "1d"}] * 2}, "schedule names a twice"),
        ({"objectives": [{"name": "a", "rto": "fast"}]}, r"objectives\[0\].rto"),
        ({"objectives": [{"name": "a"}] * 2}, "objectives name a twice"),
        ({"kpis": [{"name": "a"}]}, r"kpis\[0\]"),
        ({"forecasts": [{"name": "a"}]}, r"forecasts\[0\]"),
        ({"backups": [{"copies": []}]}, r"backups\[0\]"),
        ({"journal_url": "mysql://root:s3cret@db/x"}, "journal_url"),
    ],
)
def test_what_means_nothing_is_refused_by_its_name(tmp_path: Path, url: str, more: Any, named: str) -> None:
    result = write_report(options(tmp_path, url, **more))
    assert result["failed"] and result["failure"]["code"] == "invalid_value"
    assert re.search(named, result["msg"]) and "s3cret" not in result["msg"]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_is_said_and_what_was_written_before_is_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("")
    refused = write_report(options(tmp_path, url, dest=str(tmp_path / "file" / "folder")))
    assert refused["failed"] and refused["failure"]["code"] == "report_not_written" and not refused["changed"]
    result = write_report(options(tmp_path, url, metrics_dest="/proc/no-such-folder"))
    assert result["failed"] and result["failure"]["code"] == "report_not_written"
    assert [(step["id"], step["status"]) for step in result["steps"]] == [
        ("write:html", "done"),
        ("write:markdown", "done"),
        ("write:prometheus", "failed"),
    ]
    assert result["changed"] and len(result["plan"]) == 3


# --- check mode, a real run, a second run -----------------------------------------------------------------------


def test_check_mode_shows_the_plan_of_the_real_run_and_the_second_run_changes_nothing(tmp_path: Path, url: str) -> None:
    arguments = options(tmp_path, url)
    predicted = write_report(arguments, check=True, diff=True)
    assert predicted["changed"] and not (tmp_path / "out").exists()
    assert set(predicted["diff"]["before"].values()) == {"absent"}
    real = write_report(arguments)
    assert real["plan"] == predicted["plan"] and real["after"] == predicted["after"] and real["changed"]
    assert [step["status"] for step in real["steps"]] == ["done"] * 3
    files = [Path(path) for path in real["files"].values()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md", "report.prom"]
    again = write_report(arguments)
    assert not again["changed"] and again["plan"] == [] == again["steps"]


def test_the_time_of_writing_is_renewed_though_nothing_else_is_different(tmp_path: Path, url: str) -> None:
    file = Path(write_report(options(tmp_path, url))["files"]["prometheus"])
    written = file.read_text()
    old = re.sub(r"(oncall_report_timestamp_seconds\{.*\}) .*", r"\1 1.0", written)
    assert old != written
    file.write_text(old)
    predicted = write_report(options(tmp_path, url), check=True)
    assert not predicted["changed"] and file.read_text() == old
    again = write_report(options(tmp_path, url))
    assert not again["changed"] and file.read_text() != old


def test_only_what_says_something_else_is_a_change(tmp_path: Path, url: str) -> None:
    result = write_report(options(tmp_path, url))
    Path(result["files"]["markdown"]).write_text("by hand")
    Path(result["files"]["html"]).chmod(0o600)
    again = write_report(options(tmp_path, url), diff=True)
    assert [action["id"] for action in again["plan"]] == ["write:html", "write:markdown"]
    assert "its mode is 0600" in again["plan"][0]["reason"]
    assert again["changed"] and again["diff"]["before"] != again["diff"]["after"]
    assert stat.S_IMODE(Path(result["files"]["html"]).stat().st_mode) == 0o644


# --- what it says -----------------------------------------------------------------------------------------------


def test_the_journal_is_told_in_all_three_formats(tmp_path: Path, url: str) -> None:
    result = write_report(options(tmp_path, url, areas=["database", "redis"]))
    assert result["status"] == "critical" and result["area"] == "report"
    assert result["area_verdicts"] == {"database": "critical", "host": "warning", "redis": "unknown"}
    assert result["overdue"] == ["weekly-maintenance", "dr-drill"]
    said = {need["msg"]: need for need in result["needs"]}
    assert said["slot old_dr holds back 48 GB of WAL"]["command"] == (
        "ansible-playbook -i inventories/shop playbooks/performance-check.yml --limit db1"
    )
    assert "open incident: Checkout is down (SEV-1)" in said and "redis: was never read" in said
    assert "full: was never measured" in said and "what the last report said" not in said
    found = texts(result)
    for form in ("html", "markdown"):
        for text in ("slot old", "48 GB of WAL", "Checkout is down", "dr-drill", "never ran", "15 min"):
            assert text in found[form], (form, text)
    for text in ("pid 4711 app@shop", "vacuum", "Signups", "412"):
        assert text in found["html"], text
    metrics = found["prometheus"].splitlines()
    for line in (
        'oncall_run_overdue{product="Shop",runbook="dr-drill"} 1.0',
        'oncall_run_overdue{product="Shop",runbook="daily-operations"} 0.0',
        'oncall_status{area="database",product="Shop"} 3.0',
        'oncall_host_memory_used_ratio{host="db1",product="Shop"} 0.84',
        'oncall_recovery_rto_seconds{product="Shop",recovery="database"} 900.0',
        'oncall_open_incidents{product="Shop"} 1.0',
    ):
        assert line in metrics, line


def test_a_run_that_is_due_turns_red_by_the_passing_of_time_alone(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'journal.db'}"
    with open_writer(address) as writer:
        writer.apply([Batch("b", 0, now(), run=run_of("backup", "ok", 3 * 3600 - 60))])
    for every, grace, overdue in (("3h", "10m", []), ("2h", "70m", []), ("2h", "50m", ["backup"])):
        schedule = [{"runbook": "backup", "every": every, "grace": grace}]
        result = write_report(options(tmp_path, address, schedule=schedule, objectives=[]))
        assert result["overdue"] == overdue
        assert result["status"] == ("critical" if overdue else "ok")


def test_a_run_of_a_part_is_none_of_the_schedule_unless_it_is_agreed_on(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'journal.db'}"
    with open_writer(address) as writer:
        writer.apply([Batch("b", 0, now(), run=replace(run_of("backup", "ok", 600), limit_="app1"))])
    for agreed, overdue in (({}, ["backup"]), ({"limit": "app2"}, ["backup"]), ({"limit": "app1"}, [])):
        schedule = [{"runbook": "backup", "every": "1d", **agreed}]
        assert write_report(options(tmp_path, address, schedule=schedule, objectives=[]))["overdue"] == overdue


def test_a_backup_that_ran_and_failed_counts_for_one_question_and_not_for_the_other(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'journal.db'}"
    with open_writer(address) as writer:
        writer.apply([Batch("b", 0, now(), run=run_of("backup", "critical", 600))])
    for counts, overdue in (("completed", []), ("good", ["backup"])):
        schedule = [{"runbook": "backup", "every": "1d", "counts": counts}]
        assert write_report(options(tmp_path, address, schedule=schedule, objectives=[]))["overdue"] == overdue


def test_before_the_first_run_nothing_is_ok(tmp_path: Path) -> None:
    result = write_report({"product": "Shop", "dest": str(tmp_path), "journal_url": f"{tmp_path}/none.db"})
    assert result["status"] == "unknown" and "Nothing was looked at yet" in result["msg"]


def test_a_journal_that_cannot_be_read_leaves_everything_unknown_and_the_old_report_does_not_stay(
    tmp_path: Path, url: str
) -> None:
    write_report(options(tmp_path, url))
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 100)
    result = write_report(options(tmp_path, url))
    assert result["status"] == "unknown" and result["changed"] and result["overdue"] == []
    assert "the journal could not be read" in texts(result)["html"]
    assert {need["status"] for need in result["needs"]} == {"unknown"}


def test_hosts_that_are_gone_are_left_out_only_when_it_is_said(tmp_path: Path, url: str) -> None:
    ages = {"database": "1m", "host": "1m"}
    everything = write_report(options(tmp_path, url, max_ages=ages))
    assert everything["area_verdicts"] == {"database": "critical", "host": "critical"}
    some = write_report(options(tmp_path, url, hosts=["db2"]))
    assert some["area_verdicts"] == {"database": "ok"}


def test_hostile_texts_of_the_journal_stay_texts(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'journal.db'}"
    with open_writer(address) as writer:
        for number, text in enumerate(HOSTILE):
            run = run_of(text, "failed", 60.0 + number, id=f"r{number}", operator=text, msg=text, inventory=text)
            found = (finding(text, text, text, "critical", text, run_id=run.id, at=now()),)
            step = replace(step_of(run, "terminate", text), host=text, detail=text)
            samples = rows("host.cpu.used_percent", [(now(), 1.0)], host=text, unit=text, labels={text[:50]: text})
            batch = Batch(run.id, 0, now(), run=run, findings=found, steps=(step,), samples=samples)
            writer.apply([batch])
    found = texts(write_report(options(tmp_path, address, links={text: text for text in HOSTILE})))
    assert "<script>document" not in found["html"] and "<img" not in found["html"]
    tokens = MarkdownIt("commonmark", {"html": True}).parse(found["markdown"])
    inside = [child.type for token in tokens for child in token.children or ()]
    assert {token.type for token in tokens}.isdisjoint({"html_block", "fence", "code_block"})
    assert {"text", "code_inline"} <= set(inside) and {"html_inline", "link_open", "image"}.isdisjoint(inside)
    for text in found.values():
        assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text
    assert len(found["html"]) < 400_000


# --- Ansible ----------------------------------------------------------------------------------------------------


@pytest.fixture
def playbooks(tmp_path: Path) -> Playbooks:
    made = Playbooks(tmp_path)
    made.write_inventory({"app": {"web1": {}}}, report_product="Shop", report_dest=str(tmp_path / "out"))
    return made


def test_the_runbook_predicts_the_report_and_then_writes_it(playbooks: Playbooks, tmp_path: Path, url: str) -> None:
    page = tmp_path / "out" / "report.html"
    for arguments in (["--check"], []):
        assert not page.exists()
        run = playbooks.run(ROOT / "playbooks" / "report.yml", *arguments, ONCALL_JOURNAL_URL=url)
        assert run.rc == 0, run.output
        line = run.step("localhost", "write")
        assert "Shop is critical" in line["msg"] and 3 in (line["planned"], line["done"]), run.output
        assert not line["changed"], "a page about a product is no change of it"
    assert page.is_file()


def test_the_role_writes_nothing_where_nobody_asked_for_it(playbooks: Playbooks, tmp_path: Path, url: str) -> None:
    run = playbooks.run(ROOT / "playbooks" / "report.yml", "-e", "report_dest=", ONCALL_JOURNAL_URL=url)
    assert run.rc == 0, run.output
    assert not (tmp_path / "out").exists()


def test_a_task_with_wrong_options_fails_with_a_code(playbooks: Playbooks, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    task = {"oncall.runbooks.report": {"product": "x", "dest": str(tmp_path), "formats": ["pdf"]}, "register": "r"}
    show = {"ansible.builtin.debug": {"msg": "code={{ r.failure.code }}"}}
    tasks = [{**task, "ignore_errors": True}, show]
    play.write_text(json.dumps([{"hosts": "web1", "gather_facts": False, "tasks": tasks}]))
    run = playbooks.run(play)
    assert "code=invalid_arguments" in run.output and "formats" in run.output
