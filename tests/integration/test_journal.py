"""The journal on SQLite and on PostgreSQL: its schema, writing once, reading, retention."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from plugins.module_utils._core.errors import InvalidValue, OpsError
from plugins.module_utils._core.journal import Drill, Incident, IncidentEvent, LastRun, Part, State
from plugins.module_utils._io.journal_open import (
    JournalSchema,
    JournalUnreachable,
    make_engine,
    name_of,
    prepare_file,
    resolve_url,
)
from plugins.module_utils._io.journal_process import controller, this_process
from plugins.module_utils._io.journal_prune import Retention, prunable, prune
from plugins.module_utils._io.journal_read import Journal, open_journal
from plugins.module_utils._io.journal_schema import REVISIONS, revision_of, upgrade
from plugins.module_utils._io.journal_spool import SpoolFile, folder_of, take_in
from plugins.module_utils._io.journal_tables import REVISION, metadata
from plugins.module_utils._io.journal_write import open_writer
from plugins.module_utils._io.process_identity import boot_id, pid_space, process_start
from tests.support.journal_records import (
    DAY,
    NOW,
    batch_of,
    finding_of,
    mounted,
    postgres_url,
    revision,
    rows,
    run_of,
    sample_of,
    step_of,
)
from tests.support.playbooks import ROOT
from tests.support.servers import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> str:
    """The address of a journal that nobody has written to."""
    return postgres_url(database) if request.param == "postgresql" else f"sqlite:///{tmp_path}/state/journal.db"


def at_once(work: Callable[[int], Any], times: int) -> list[Any]:
    """Do something in several threads that begin together, and return what comes of it."""
    gate = threading.Barrier(times)

    def begin(number: int) -> Any:
        gate.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(begin, range(times)))


def reading(url: str, now: float = NOW + 60) -> Journal:
    return open_journal(url, lambda: now)


# --- schema -----------------------------------------------------------------------------------------------------


def test_the_revisions_leave_the_tables_of_this_code(url: str) -> None:
    with open_writer(url) as writer, writer.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata()) == []
        assert revision_of(connection) == REVISION == REVISIONS[-1].revision


def test_a_journal_that_nobody_has_written_to_is_missing_and_reading_makes_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(JournalSchema) as caught:
        open_journal(url)
    assert caught.value.code == "journal_missing"
    assert not (tmp_path / "state").exists()


def test_an_older_journal_is_upgraded_with_what_is_in_it_and_an_older_code_then_refuses_it(url: str) -> None:
    later = revision("0002", "0001", "ALTER TABLE runs ADD COLUMN ticket TEXT", "UPDATE runs SET ticket = 'T-1'")
    with open_writer(url) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1"))])
        assert upgrade(writer.engine, "x", (*REVISIONS, later)) == ("0001", "0002")
        assert upgrade(writer.engine, "x", (*REVISIONS, later)) == ("0002", "0002")
        with writer.engine.begin() as connection:
            assert connection.exec_driver_sql("SELECT id, ticket FROM runs").fetchall() == [("r1", "T-1")]
    for opening in (open_writer, open_journal):
        with pytest.raises(JournalSchema) as caught:
            opening(url)
        assert caught.value.code == "journal_newer" and "0002" in caught.value.message


def test_a_revision_that_fails_half_way_leaves_the_journal_as_it_was(url: str) -> None:
    bad = revision("0002", "0001", "CREATE TABLE extra (a INTEGER)", "DROP TABLE runs_of_nobody")
    with open_writer(url) as writer:
        with pytest.raises(Exception, match="runs_of_nobody"):
            upgrade(writer.engine, "x", (*REVISIONS, bad))
        with writer.engine.begin() as connection:
            assert revision_of(connection) == "0001"
            assert not connection.dialect.has_table(connection, "extra")
    with open_journal(url) as journal:
        assert journal.runs() == ()


def test_runs_that_begin_together_make_the_tables_once(url: str) -> None:
    def start(_number: int) -> Any:
        prepare_file(resolve_url(url))
        engine = make_engine(resolve_url(url), writing=True)
        try:
            return upgrade(engine, "x")
        finally:
            engine.dispose()

    assert sorted(at_once(start, 6), key=str) == [("0001", "0001")] * 5 + [(None, "0001")]


# --- writing once -----------------------------------------------------------------------------------------------


def full_batch(run_id: str, number: int, at: float = NOW) -> Any:
    return batch_of(
        run_id,
        number,
        steps=(step_of(run_id), step_of(run_id, "u")),
        findings=(finding_of(run_id, at=at),),
        samples=(sample_of(5.0, at + number), sample_of(7.0, at + number, labels={"mount": "/"})),
        states=(State("db1", "host_health_info.counters", at, json.dumps({"n": number})),),
    )


def test_a_batch_is_taken_in_once_however_often_it_is_offered(url: str) -> None:
    header, first, second = (
        batch_of("r1", 0, run=run_of("r1", status="running")),
        full_batch("r1", 1),
        full_batch("r1", 2),
    )
    with open_writer(url) as writer:
        assert writer.apply([header, first]) == 2
        assert writer.apply([header, first, second]) == 1
        assert writer.apply([header, first, second]) == 0
    with open_writer(url) as other:
        assert other.apply([second]) == 0
    with reading(url) as journal:
        counts = journal.counts()
        assert (counts["runs"], counts["steps"], counts["findings"], counts["samples"]) == (1, 4, 2, 4)
        assert counts["series"] == counts["sample_days"] == 2
        assert [json.loads(state.value) for state in journal.states("db1")] == [{"n": 2}]


def test_what_is_refused_leaves_nothing_of_its_transaction(url: str) -> None:
    with open_writer(url) as writer:
        orphan = batch_of("r2", 1, steps=(step_of("nobody"),), samples=(sample_of(metric="host.new"),))
        with pytest.raises(JournalUnreachable) as caught:
            writer.apply([batch_of("r2", 0, run=run_of("r2")), orphan])
        assert caught.value.code == "journal_refused"
        assert writer.apply([batch_of("r2", 0, run=run_of("r2")), full_batch("r2", 1)]) == 2
    with reading(url) as journal:
        assert [one.metric for one in journal.series()] == ["host.load", "host.load"]


def test_many_writers_at_once_lose_and_double_nothing(url: str) -> None:
    """Eight writers share series and days, and each batch is offered by two of them."""
    with open_writer(url):
        pass

    def write(number: int) -> None:
        run_id = f"r{number // 2}"
        with open_writer(url) as writer:
            writer.apply([batch_of(run_id, 0, run=run_of(run_id))])
            for batch in range(1, 11):
                writer.apply([full_batch(run_id, batch, NOW + number // 2 * 1000)])

    at_once(write, 8)
    with reading(url) as journal:
        counts, series = journal.counts(), journal.series("host.load")
        assert (counts["runs"], counts["steps"], counts["findings"], counts["samples"]) == (4, 80, 40, 80)
        days = journal.days([one.id for one in series])
        assert [(day.count, day.mean) for one in series for day in days[one.id]] == [(40, 7.0), (40, 5.0)]


def test_days_are_what_their_samples_say(url: str) -> None:
    readings = [(NOW - DAY, 4.0), (NOW - DAY + 1, -2.0), (NOW, 1.0), (NOW + 5, 9.5), (NOW + 2, 3.0)]
    with open_writer(url) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1"))])
        for number, (at, value) in enumerate(readings, 1):
            again = sample_of(100.0, NOW) if number == 5 else None  # the same moment again: the first one stands
            writer.apply([batch_of("r1", number, samples=(sample_of(value, at), *([again] if again else [])))])
    with reading(url) as journal:
        (series,) = journal.series("host.*", "db1")
        assert journal.samples([series.id])[series.id] == sorted(readings)
        assert journal.samples([series.id], NOW, NOW + 5)[series.id] == [(NOW, 1.0), (NOW + 2, 3.0)]
        days = journal.days([series.id])[series.id]
        assert [(one.day, one.count, one.minimum, one.maximum, one.mean, one.last) for one in days] == [
            (19999, 2, -2.0, 4.0, 1.0, -2.0),
            (20000, 3, 1.0, 9.5, 4.5, 9.5),
        ]
        assert journal.days([series.id], 20000)[series.id] == days[1:]


def test_a_series_takes_its_newest_unit(url: str) -> None:
    with open_writer(url) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1"), samples=(sample_of(unit="bytes"),))])
        writer.apply([batch_of("r1", 1, samples=(sample_of(at=NOW + 1, unit="percent"),))])
    with reading(url) as journal:
        assert [one.unit for one in journal.series()] == ["percent"]


# --- reading ----------------------------------------------------------------------------------------------------


def test_the_newest_reading_of_each_check_with_all_that_it_names(url: str) -> None:
    with open_writer(url) as writer:
        first = (finding_of("r1", "slot", msg="old"), finding_of("r1", "load"))
        writer.apply([batch_of("r1", 0, run=run_of("r1"), findings=first)])
        later = tuple(finding_of("r2", "slot", at=NOW + 9, msg=name, status="critical") for name in ("a", "b"))
        writer.apply([batch_of("r2", 0, run=run_of("r2"), findings=later)])
        late = (finding_of("r3", "slot", at=NOW + 5, msg="spooled, and taken in late"),)
        writer.apply([batch_of("r3", 0, run=run_of("r3"), findings=late)])
    with reading(url) as journal:
        assert [(row.check_name, row.msg) for row in journal.latest_findings()] == [
            ("load", "load is 1"),
            ("slot", "a"),
            ("slot", "b"),
        ]
        assert [row.msg for row in journal.latest_findings(NOW + 1)] == ["a", "b"]
        assert [row.msg for row in journal.findings_of("r1")] == ["old", "load is 1"]
        assert len(journal.findings(statuses=["critical"])) == 2


def test_what_a_wrong_clock_stamped_in_the_future_is_replaced(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.module_utils._io.journal_write.time.time", lambda: NOW)
    with open_writer(url) as writer:
        for number, at in enumerate((NOW + 7200, NOW, NOW - 60)):
            state = State("db1", "x.counters", at, str(number))
            found = finding_of("r1", at=at, msg=str(number))
            writer.apply([batch_of("r1", number, run=run_of("r1"), findings=(found,), states=(state,))])
    with reading(url) as journal:
        assert [row.msg for row in journal.latest_findings()] == ["1"]
        assert [state.value for state in journal.states("db1", ["x.counters"])] == ["1"]
        assert journal.states("db2") == ()


def test_the_last_runs_of_each_runbook(url: str) -> None:
    given = [
        run_of("a", started_at=NOW - 50, ended_at=NOW - 49),
        run_of("b", started_at=NOW - 40, status="critical"),
        run_of("c", started_at=NOW - 30, status="failed"),
        run_of("d", started_at=NOW - 20, status="ok", check_mode=True),
        run_of("e", started_at=NOW - 10, status="running", controller=controller(), process=this_process()),
        run_of("f", runbook="weekly", started_at=NOW - 90000, status="running", controller="elsewhere"),
        run_of("g", runbook="backup", started_at=NOW - 5, status="running", controller="elsewhere"),
    ]
    with open_writer(url) as writer:
        for run in given:
            writer.apply([batch_of(run.id, 0, run=run)])
    with reading(url) as journal:
        last = {one.runbook: one for one in journal.last_runs()}
        assert sorted(last) == ["daily", "weekly"]
        daily, weekly = last["daily"], last["weekly"]
        assert daily.completed and daily.good
        assert (daily.newest.id, daily.completed.id, daily.good.id) == ("c", "b", "a")
        assert (weekly.newest.status, weekly.completed, weekly.good) == ("interrupted", None, None)
        assert [run.id for run in journal.runs(runbook="daily", limit=2)] == ["e", "d"]
        assert [run.id for run in journal.runs(NOW - 45, NOW - 25)] == ["c", "b"]
        assert journal.run("a") == given[0] and journal.run("z") is None


def test_a_run_of_a_part_is_not_the_last_of_the_whole(url: str) -> None:
    given = [
        run_of("whole", started_at=NOW - 90, status="ok"),
        run_of("everybody", started_at=NOW - 80, status="ok", limit_="all"),
        run_of("one", started_at=NOW - 70, status="ok", limit_="app1"),
        run_of("tagged", started_at=NOW - 60, status="ok", tags="preflight"),
        run_of("agreed", started_at=NOW - 50, status="ok", limit_="production", tags="not redis"),
        run_of("half", started_at=NOW - 40, status="ok", limit_="production"),
        run_of("other", runbook="backup", started_at=NOW - 30, status="ok", limit_="production", tags="not redis"),
    ]
    with open_writer(url) as writer:
        for run in given:
            writer.apply([batch_of(run.id, 0, run=run)])

    def ids(one: LastRun) -> list[str | None]:
        return [run.id if run else None for run in (one.newest, one.completed, one.good)]

    with reading(url) as journal:
        backup, daily = journal.last_runs()
        assert (ids(backup), ids(daily)) == (["other", None, None], ["half", "everybody", "everybody"])
        backup, daily = journal.last_runs([Part("daily", "production", "not redis")])
        assert (ids(backup), ids(daily)) == (["other", None, None], ["half", "agreed", "agreed"])


def test_a_run_that_died_is_told_from_one_that_lives(url: str) -> None:
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    space, start = pid_space(), process_start(alive.pid) or 0
    common = {"status": "running", "controller": controller()}
    with open_writer(url) as writer:
        for name, process in {
            "alive": f"{space}:{alive.pid}:{start}",
            "reused": f"{space}:{alive.pid}:{start - 1}",
            "rebooted": f"00000000-0000:pid:[1]:{alive.pid}:{start}",
            "container": f"{boot_id()}:pid:[1]:{alive.pid}:{start - 1}",
            "old form": f"{boot_id()}:{alive.pid}:{start - 1}",
        }.items():
            writer.apply([batch_of(name, 0, run=run_of(name, process=process, **common))])
        with reading(url) as journal:
            assert {run.id: run.status for run in journal.runs()} == {
                "alive": "running",
                "reused": "interrupted",
                "rebooted": "interrupted",
                "container": "running",
                "old form": "running",
            }
        assert writer.mark_interrupted(NOW) == 2 and writer.mark_interrupted(NOW) == 0
        alive.communicate(b"\n", timeout=30)
        assert writer.mark_interrupted(NOW) == 1


def test_incidents_have_their_timelines_and_drills_their_measures(url: str) -> None:
    drill = Drill(0, "r1", "restore", NOW - 9, NOW, "ok", 9.0, 60.0, None, None, "")
    events = tuple(IncidentEvent(0, name, NOW + n, "note", "ana", f"{name}{n}") for name in ("i1", "") for n in (1, 0))
    old = Incident("i0", "old", "low", "resolved", NOW - 9 * DAY, resolved_at=NOW - 8 * DAY)
    new = Incident("i1", "slow", "high", "open", NOW - 5 * DAY)
    with open_writer(url) as writer:
        writer.apply([batch_of("p", 0, drills=(drill,), incidents=(old, new), events=events)])
        writer.apply([batch_of("q", 0, drills=(replace(drill, status="failed"),))])
    with reading(url) as journal:
        assert [(one.name, one.status, one.rto_seconds) for one in journal.drills(NOW - 10)] == [
            ("restore", "failed", 9.0)
        ]
        assert journal.drills(NOW) == ()
        assert [one.id for one in journal.incidents()] == ["i1", "i0"]
        (open_one,) = journal.incidents(NOW - DAY)  # detected before, and still open
        assert [event.text for event in open_one.events] == ["i10", "i11"]
        assert [event.text for event in journal.incident_events([""])] == ["0", "1"]


def test_nothing_can_be_written_through_a_reader(url: str) -> None:
    with open_writer(url):
        pass
    with open_journal(url) as journal, pytest.raises(Exception, match=r"(?i)read-?only"), journal.engine.begin() as c:
        c.exec_driver_sql("DELETE FROM runs")


# --- retention --------------------------------------------------------------------------------------------------


def test_retention_keeps_days_longer_than_readings_and_trouble_longer_than_peace(url: str) -> None:
    with open_writer(url) as writer:
        for age in (0, 50, 500):
            name, at = f"r{age}", NOW - age * DAY
            found = (finding_of(name, "fine", at=at), finding_of(name, "bad", at=at, status="warning"))
            records = {"steps": (step_of(name, at=at),), "findings": found, "samples": (sample_of(1.0, at),)}
            writer.apply([replace(batch_of(name, 0, run=run_of(name, started_at=at), **records), at=at)])
        keep = Retention(samples=35, runs=400, rollups=450)
        foreseen = prunable(writer, keep, NOW)
        assert prune(writer, keep, NOW) == foreseen
        assert foreseen == replace(foreseen, samples=2, days=1, findings=3, steps=1, runs=1)
        assert prunable(writer, keep, NOW).total == prune(writer, keep, NOW).total == 0
    with reading(url) as journal:
        (series,) = journal.series()
        assert journal.samples([series.id])[series.id] == [(NOW, 1.0)]
        assert [day.day for day in journal.days([series.id])[series.id]] == [19950, 20000]
        assert [run.id for run in journal.runs()] == ["r0", "r50"]
        assert [(row.run_id, row.check_name) for row in journal.findings()] == [
            ("r0", "fine"),
            ("r0", "bad"),
            ("r50", "bad"),
        ]


def test_a_batch_of_a_run_that_retention_took_away_brings_its_run_back(url: str, tmp_path: Path) -> None:
    """A spool older than the journal's memory is still taken in."""
    header = batch_of("old", 0, run=run_of("old", started_at=NOW - 900 * DAY))
    with open_writer(url) as writer:
        writer.apply([header, full_batch("old", 1)])
        spool = SpoolFile(folder_of(str(tmp_path / "spool")), writer.where, header)
        spool.append(full_batch("old", 2))
        spool.close(remove=False)
        prune(writer, Retention(), NOW + 500 * DAY)
        assert take_in(tmp_path / "spool", writer).batches == 2
    with reading(url) as journal:
        assert len(journal.steps("old")) == 2


# --- the spool --------------------------------------------------------------------------------------------------


def spool_with(folder: Path, where: str, run_id: str, batches: int) -> SpoolFile:
    spool = SpoolFile(folder_of(str(folder)), where, batch_of(run_id, 0, run=run_of(run_id)))
    for number in range(1, batches + 1):
        spool.append(full_batch(run_id, number))
    return spool


def test_a_spool_is_for_its_owner_and_left_alone_while_its_run_lives(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = spool_with(folder, name_of(url), "r1", 3)
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    with open_writer(url) as writer:
        assert take_in(folder, writer).files == 0 and spool.path.exists()
        spool.close(remove=False)
        taken = take_in(folder, writer)
        assert (taken.files, taken.batches, taken.unreadable_lines) == (1, 4, 0)
        assert list(folder.iterdir()) == [] and take_in(folder, writer).files == 0


def test_the_spool_of_another_journal_is_left_alone(url: str, tmp_path: Path) -> None:
    spool_with(tmp_path / "spool", "sqlite:////elsewhere.db", "r1", 1).close(remove=False)
    with open_writer(url) as writer:
        assert take_in(tmp_path / "spool", writer).files == 0
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_two_runs_that_take_in_the_same_spools_at_once_take_each_entry_once(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    for number in range(6):
        spool_with(folder, name_of(url), f"r{number}", 5).close(remove=False)
    with open_writer(url):
        pass

    def take(_number: int) -> Any:
        with open_writer(url) as writer:
            return take_in(folder, writer)

    taken = at_once(take, 4)
    assert sum(one.batches for one in taken) == 36 and sum(one.files for one in taken) == 6
    with reading(url) as journal:
        counts = journal.counts()
        assert (counts["runs"], counts["steps"], counts["findings"]) == (6, 60, 30)


def test_torn_and_spoilt_lines_are_left_out_and_counted(url: str, tmp_path: Path) -> None:
    spool = spool_with(tmp_path / "spool", name_of(url), "r1", 4)
    spool.close(remove=False)
    lines = spool.path.read_bytes().splitlines(keepends=True)
    spool.path.write_bytes(b"".join([*lines[:2], b"\xff\xfe spoilt\n", lines[3], lines[4][:-30]]))
    with open_writer(url) as writer:
        taken = take_in(tmp_path / "spool", writer)
    assert (taken.batches, taken.unreadable_lines) == (3, 2)
    with reading(url) as journal:
        assert journal.counts()["steps"] == 4


def test_a_spool_that_the_journal_refuses_is_put_aside_and_blocks_nobody(url: str, tmp_path: Path) -> None:
    folder = folder_of(str(tmp_path / "spool"))
    bad = SpoolFile(folder, name_of(url), batch_of("a", 0, steps=(step_of("nobody"),)))
    bad.close(remove=False)
    spool_with(folder, name_of(url), "b", 1).close(remove=False)
    with open_writer(url) as writer:
        taken = take_in(folder, writer)
    assert taken.files == 1 and taken.rejected == (str(bad.path.with_suffix(".rejected")),)
    assert [path.suffix for path in folder.iterdir()] == [".rejected"]


def test_a_spool_on_a_full_disk_ends_with_a_whole_line(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", size="64k") as folder:
        spool = spool_with(folder / "spool", "x", "r1", 1)
        with pytest.raises(OSError, match="No space"):
            for number in range(2, 1000):
                spool.append(full_batch("r1", number))
        assert spool.path.read_bytes().endswith(b"\n")
        spool.close(remove=True)


def test_a_spool_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o777)
    with pytest.raises(OpsError) as caught:
        folder_of(str(tmp_path / "spool"))
    assert caught.value.code == "insecure_directory"


# --- where it cannot be -----------------------------------------------------------------------------------------


def code_of(url: str) -> str:
    with pytest.raises(OpsError) as caught, open_writer(url) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1")), full_batch("r1", 1)])
    assert caught.value.message and caught.value.hint
    return caught.value.code


@pytest.mark.parametrize("bad", ["mysql://ana:s3cret@h/d", "postgresql://ana:s3cret@h:port/d", "http://h/x"])
def test_an_address_that_means_nothing_is_refused_without_its_password(bad: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        open_writer(bad)
    assert "s3cret" not in str(caught.value) + name_of(bad)


def test_the_file_and_its_folder_are_for_their_owner(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "journal.db"
    with open_writer(str(file)) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1"))])
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {
            "journal.db": 0o600,
            "journal.db-wal": 0o600,
            "journal.db-shm": 0o600,
        }
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    with open_writer(str(file)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is somebody's text\n" * 100)
    assert code_of(str(tmp_path / "text.db")) == "journal_corrupt"
    assert (tmp_path / "text.db").read_text() == "this is somebody's text\n" * 100


def test_a_journal_with_a_spoilt_page_is_told(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    with open_writer(str(file)) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1"))])
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    assert code_of(str(file)) == "journal_corrupt"


@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "journal.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "other.db")
    with pytest.raises(OpsError):
        open_writer(str(path))
    assert not (tmp_path / "other.db").exists()


def test_a_read_only_file_system_and_a_full_disk_are_told_apart(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", size="600k") as folder:
        with open_writer(str(folder / "journal.db")) as writer:
            writer.apply([batch_of("r1", 0, run=run_of("r1"))])
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert code_of(str(folder / "journal.db")) == "journal_read_only"
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        (folder / "ballast").write_bytes(b"x" * (600 * 1024 - sum(p.stat().st_size for p in folder.iterdir()) - 8192))
        with pytest.raises(JournalUnreachable) as caught, open_writer(str(folder / "journal.db")) as writer:
            for number in range(1, 200):
                writer.apply([full_batch("r1", number)])
        assert caught.value.code == "journal_disk_full"
        (folder / "ballast").unlink()
        written = rows(folder / "journal.db", "SELECT max(batch) FROM writers")[0]
        assert rows(folder / "journal.db", "SELECT count(*) FROM steps") == [2 * written]
        with open_writer(str(folder / "journal.db")) as writer:
            assert writer.apply([full_batch("r1", written + 1)]) == 1
        assert rows(folder / "journal.db", "PRAGMA integrity_check") == ["ok"]


def test_a_journal_that_somebody_else_holds_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.module_utils._io.journal_open._BUSY_SECONDS", 0.2)
    file = tmp_path / "journal.db"
    with open_writer(str(file)):
        pass
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        assert code_of(str(file)) == "journal_busy"
        assert open_journal(str(file)).runs() == ()  # who reads is not kept waiting
    finally:
        holder.close()


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(JournalUnreachable) as caught:
        open_writer("postgresql://ana:s3cret@127.0.0.1:1/journal")
    assert caught.value.code == "journal_unreachable" and "s3cret" not in caught.value.message
    assert "postgresql://ana:********@127.0.0.1:1/journal" in caught.value.message


def test_a_role_without_rights_is_told(database: Database, role: Any) -> None:
    with open_writer(postgres_url(database)):
        pass
    nobody = role()
    url = postgres_url(database).replace("//postgres@", f"//{nobody}@")
    assert code_of(url) == "journal_denied"


def test_a_lost_connection_is_opened_again(database: Database) -> None:
    with open_writer(postgres_url(database)) as writer:
        writer.apply([batch_of("r1", 0, run=run_of("r1"))])
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
        assert writer.apply([full_batch("r1", 1)]) == 1


def test_the_library_may_be_missing_where_no_journal_is_kept(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["sqlalchemy"] = None
from plugins.module_utils._core.errors import OpsError
from plugins.module_utils._io import journal_open, journal_read, journal_recorder, journal_spool, journal_write
try:
    journal_read.open_journal(sys.argv[1])
except OpsError as error:
    print(error.code, error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "j.db")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("library_missing install sqlalchemy"), done.stderr
