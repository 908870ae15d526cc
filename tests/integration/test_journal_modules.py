"""journal_info, journal_record and journal_retention on SQLite and PostgreSQL, the runbook, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.journal_table import COLUMNS
from plugins.module_utils._io.journal_query import ANSWERS
from plugins.module_utils._io.journal_read import open_journal
from plugins.module_utils._io.journal_spool import folder_of, take_in
from plugins.module_utils._io.journal_write import open_writer
from tests.support.journal_records import DAY, batch_of, finding_of, postgres_url, run_of, sample_of, step_of
from tests.support.modules import run_failed, run_ok
from tests.support.playbooks import ROOT
from tests.support.servers import Database

AWAY = "postgresql://ana:s3cret@127.0.0.1:1/journal"
DRILL = {"kind": "drill", "name": "restore", "started_at": "2026-11-21T09:00:00Z", "person": "ana"}
INCIDENT = {"kind": "incident", "id": "i-1", "person": "ana"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> str:
    return postgres_url(database) if request.param == "postgresql" else f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def filled(url: str) -> str:
    """A journal with something of everything, an hour old, and as much that is very old."""
    with open_writer(url) as writer:
        for name, at in (("new", time.time() - 3600), ("old", time.time() - 600 * DAY)):
            run = run_of(name, started_at=at, ended_at=at + 75, operator="ana", msg="all 2 checks ok")
            found = (
                finding_of(name, at=at),
                finding_of(name, "disk", at=at, status="warning", value=2048.0, unit="bytes"),
            )
            records = {"steps": (step_of(name, at=at),), "findings": found, "samples": (sample_of(1.5, at),)}
            writer.apply([batch_of(name, 0, run=run, **records)])
        died = run_of("died", started_at=time.time() - 60, status="interrupted", operator="bo", controller="ops1")
        writer.apply([batch_of("died", 0, run=died)])
    return url


def info(url: str, **options: Any) -> dict[str, Any]:
    return run_ok("journal_info", {"journal_url": url, **options})


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", sorted(ANSWERS))
def test_every_query_has_an_answer_and_a_table(filled: str, query: str) -> None:
    for name in ("drill", "incident"):
        given = DRILL if name == "drill" else {**INCIDENT, "title": "slow", "detected_at": "2026-11-21T09:00:00Z"}
        run_ok("journal_record", {"journal_url": filled, **given})
    result = info(filled, query=query, metric="host.*", since="4000d")
    assert result["lines"] and (query == "states" or len(result["lines"]) == len(result["rows"]) + 1 > 1)
    assert json.dumps(result["rows"]) and query in COLUMNS and not result["changed"]


def test_a_run_that_died_is_a_finding(filled: str) -> None:
    result = info(filled)
    assert [row["id"] for row in result["rows"]] == ["died", "new"]
    assert result["status"] == "warning" and "daily of bo at ops1 was begun and never closed" in result["msg"]
    assert "1 min 15 s" in result["lines"][2] and result["lines"][2].endswith("all 2 checks ok")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"query": "findings"}, 2),
        ({"query": "findings", "run_id": "old"}, 2),
        ({"query": "findings", "run_id": "old", "host": "db2"}, 0),
        ({"query": "findings", "since": "4000d", "limit": 3}, 3),
        ({"query": "steps", "host": "x"}, 1),
        ({"query": "steps", "run_id": "old"}, 1),
        ({"query": "runs", "runbook": "weekly"}, 0),
        ({"query": "samples", "metric": "host.load"}, 1),
        ({"query": "samples", "metric": "host.lo_d"}, 0),
        ({"query": "latest_findings", "host": "db1"}, 2),
    ],
)
def test_queries_can_be_narrowed(filled: str, options: dict[str, Any], count: int) -> None:
    assert len(info(filled, **options)["rows"]) == count


def test_samples_are_those_of_the_time_that_is_asked_for(filled: str) -> None:
    (row,) = info(filled, query="samples", metric="host.load")["rows"]
    assert (row["host"], row["labels"], row["unit"], [one["value"] for one in row["samples"]]) == (
        "db1",
        {},
        "count",
        [1.5],
    )
    (row,) = info(filled, query="days", metric="host.load", since="4000d")["rows"]
    assert [(day["count"], day["mean"]) for day in row["days"]] == [(1, 1.5), (1, 1.5)]


@pytest.mark.parametrize("address", [AWAY, "/dev/null/journal.db", None])
def test_what_cannot_be_read_is_unknown_and_no_failure(tmp_path: Path, address: str | None) -> None:
    result = run_ok("journal_info", {"journal_url": address or str(tmp_path / "none.db")})
    assert (result["status"], result["rows"], result["lines"]) == ("unknown", [], [])
    assert "s3cret" not in json.dumps(result) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"since": "long"}, "invalid_value"),
        ({"limit": 0}, "invalid_value"),
        ({"query": "samples"}, "invalid_arguments"),
        ({"query": "rubbish"}, "invalid_arguments"),
        ({"journal_url": "mysql://ana:s3cret@h/d"}, "invalid_value"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    result = run_failed("journal_info", {"journal_url": str(tmp_path / "j.db"), **options})
    assert result["failure"]["code"] == code and "s3cret" not in json.dumps(result)


# --- recording --------------------------------------------------------------------------------------------------


def record(url: str, **options: Any) -> dict[str, Any]:
    return run_ok("journal_record", {"journal_url": url, **options})


def test_a_drill_is_planned_then_recorded_then_there(url: str) -> None:
    given = {
        **DRILL,
        "ended_at": "2026-11-21T09:12:30Z",
        "status": "ok",
        "rto_seconds": 750,
        "rto_target_seconds": 3600,
    }
    planned = run_ok("journal_record", {"journal_url": url, **given}, check=True)
    with open_writer(url), open_journal(url) as journal:
        assert planned["changed"] and journal.drills() == ()
    done = record(url, **given)
    assert done["plan"] == planned["plan"] and done["changed"] and not done["spooled"]
    again = record(url, **given)
    assert not again["changed"] and again["plan"] == [] and "has it already" in again["msg"]
    changed = record(url, **{**given, "status": "failed"})
    assert changed["plan"][0]["action"] == "update" and changed["plan"][0]["reason"] == "status changes"
    with open_journal(url) as journal:
        (drill,) = journal.drills()
        assert (drill.name, drill.status, drill.rto_seconds, drill.ended_at) == (
            "restore",
            "failed",
            750.0,
            1795252350.0,
        )


def test_an_incident_grows_with_what_is_known(url: str) -> None:
    record(url, **INCIDENT, title="Checkout is slow", severity="high", detected_at="2026-11-21T03:04:00Z")
    record(url, **INCIDENT, acknowledged_at="2026-11-21T03:10:00Z")
    assert record(url, **INCIDENT, acknowledged_at="2026-11-21T03:10:00Z")["changed"] is False
    record(url, kind="note", incident="i-1", text="pool was full", person="bo", at="2026-11-21T03:20:00Z")
    done = record(url, **INCIDENT, resolved_at="20261121-040000", summary="the pool was too small")
    assert done["before"]["status"] == "acknowledged" and done["after"]["status"] == "resolved"
    with open_journal(url) as journal:
        (incident,) = journal.incidents()
        assert (incident.title, incident.severity, incident.status) == ("Checkout is slow", "high", "resolved")
        assert [(event.kind, event.person, event.text) for event in incident.events] == [
            ("detected", "ana", "detected: Checkout is slow"),
            ("acknowledged", "ana", "acknowledged"),
            ("note", "bo", "pool was full"),
            ("resolved", "ana", "resolved"),
        ]


def test_a_note_with_its_time_is_one_note(url: str) -> None:
    given = {"kind": "note", "text": "deployed 1.2", "at": "2026-11-21T03:20:00Z"}
    assert record(url, **given)["changed"] and not record(url, **given)["changed"]
    assert record(url, kind="note", text="deployed 1.2")["changed"]


def test_secrets_in_texts_are_not_recorded(url: str) -> None:
    record(url, kind="note", text="ran psql postgresql://ana:c4n4ry@db/shop\x1b[31m")
    with open_journal(url) as journal:
        (event,) = journal.incident_events([""])
    assert "c4n4ry" not in event.text and "********" in event.text and event.text.isprintable()


def test_a_record_waits_in_the_spool_when_the_journal_is_away(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    done = record(AWAY, spool=str(spool), **DRILL)
    assert done["changed"] and done["spooled"] and done["status"] == "warning", done
    assert "s3cret" not in json.dumps(done)
    (file,) = spool.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600 and "s3cret" not in file.read_text()
    with open_writer(str(tmp_path / "journal.db")) as writer:
        file.rename(spool / file.name.replace(file.name[:8], mark_of(writer.where)))
        assert take_in(folder_of(str(spool)), writer).batches == 1
    with open_journal(str(tmp_path / "journal.db")) as journal:
        assert [drill.name for drill in journal.drills()] == ["restore"]


def mark_of(where: str) -> str:
    from plugins.module_utils._io.journal_spool import _mark

    return _mark(where)


def test_a_record_that_nobody_takes_is_a_failure() -> None:
    result = run_failed("journal_record", {"journal_url": AWAY, "spool": "/dev/null/spool", **DRILL})
    assert result["failure"]["code"] == "journal_lost" and not result["changed"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"kind": "drill", "name": "x"}, "invalid_arguments"),
        ({**DRILL, "started_at": "yesterday"}, "invalid_value"),
        ({**DRILL, "ended_at": "2026-11-21T08:00:00Z"}, "invalid_value"),
        ({**DRILL, "rto_seconds": -1}, "invalid_value"),
        ({**DRILL, "status": "great"}, "invalid_arguments"),
        (INCIDENT, "invalid_value"),
        (
            {**INCIDENT, "title": "x", "detected_at": "2026-11-21T08:00:00Z", "resolved_at": "2026-11-21T07:00:00Z"},
            "invalid_value",
        ),
    ],
)
def test_records_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    result = run_failed("journal_record", {"journal_url": str(tmp_path / "j.db"), **options})
    assert result["failure"]["code"] == code and not (tmp_path / "j.db").exists()


# --- retention --------------------------------------------------------------------------------------------------


def test_retention_is_planned_done_and_then_there_is_nothing_to_do(filled: str) -> None:
    planned = run_ok("journal_retention", {"journal_url": filled}, check=True)
    assert [action["id"] for action in planned["plan"]] == [
        "remove:samples",
        "remove:findings",
        "remove:steps",
        "remove:runs",
    ]
    assert len(info(filled, since="4000d")["rows"]) == 3
    done = run_ok("journal_retention", {"journal_url": filled})
    assert done["plan"] == planned["plan"] and done["after"] == planned["after"]
    assert done["msg"] == "1 sample, 2 findings, 1 step, 1 run removed"
    assert len(info(filled, since="4000d")["rows"]) == 2
    again = run_ok("journal_retention", {"journal_url": filled})
    assert not again["changed"] and again["plan"] == []


def test_a_journal_that_nobody_has_written_to_holds_nothing_old(tmp_path: Path) -> None:
    assert run_ok("journal_retention", {"journal_url": str(tmp_path / "j.db")})["plan"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code"), [({"keep_runs": 1}, "invalid_value"), ({"journal_url": AWAY}, "journal_unreachable")]
)
def test_retention_that_means_nothing_or_reaches_nothing_fails(tmp_path: Path, options: Any, code: str) -> None:
    result = run_failed("journal_retention", {"journal_url": str(tmp_path / "j.db"), **options})
    assert result["failure"]["code"] == code and "s3cret" not in json.dumps(result)


# --- the command ------------------------------------------------------------------------------------------------


def tool(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.journal", "--url", url, "--spool", url_folder(url), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def url_folder(url: str) -> str:
    return str(Path(url.removeprefix("sqlite:///")).parent / "spool")


def test_the_command_shows_keeps_and_checks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    missing = tool(url, "runs")
    assert (
        missing.returncode == 2 and "there is no journal" in missing.stderr and not (tmp_path / "journal.db").exists()
    )
    made = tool(url, "upgrade")
    assert made.returncode == 0 and "schema 0001, was not there" in made.stdout
    with open_writer(url) as writer:
        writer.apply(
            [batch_of("a", 0, run=run_of("a", started_at=time.time() - 60), samples=(sample_of(2.0, time.time()),))]
        )
    shown = {name: tool(url, name) for name in ("runs", "samples", "findings")}
    assert [done.returncode for done in shown.values()] == [0, 0, 0]
    assert shown["runs"].stdout.splitlines()[1].split()[2:4] == ["daily", "ok"]
    assert shown["samples"].stdout.splitlines()[1].startswith("host.load  db1")
    assert shown["findings"].stdout == "no findings\n"
    assert json.loads(tool(url, "runs", "--json").stdout)[0]["id"] == "a"
    assert tool(url, "check").returncode == 0 and "1 runs" in tool(url, "check").stdout
    with open_writer(url) as writer:
        writer.apply([batch_of("b", 0, run=run_of("b", started_at=time.time(), status="interrupted"))])
    died = tool(url, "check")
    assert died.returncode == 1 and "interrupted: daily" in died.stdout
    dry, real = tool(url, "prune", "--dry-run", "--keep-samples", "2"), tool(url, "prune")
    assert dry.stdout.startswith("would be removed: 0 samples") and real.stdout.startswith("removed: 0 samples")
