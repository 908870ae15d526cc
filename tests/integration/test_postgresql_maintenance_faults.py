"""postgresql_maintenance when the server, the run or the driver of the run goes away; standbys."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.maintenance import (
    MODULE,
    SLOW,
    arguments,
    by_table,
    counters,
    finding,
    maintain,
    maintain_whatever,
    make_needy,
    make_table,
    named,
    run_sql,
    statuses,
    until,
)
from tests.support.servers import Database, Server

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, sys
from tests.support.modules import run_module
print(json.dumps(run_module(sys.argv[1], json.loads(sys.argv[2]))))
"""
VACUUMING = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'slow'::regclass"


def in_background(database: Database, **options: Any) -> tuple[threading.Thread, list[dict[str, Any]]]:
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(maintain_whatever(database, **options)))
    thread.start()
    return thread, results


def wait_for_slow(database: Database) -> int:
    return int(until(lambda: database.fetch(VACUUMING), "the slow table to be vacuumed")[0][0])


@pytest.fixture
def own_database(throwaway_server: Callable[..., Server]) -> Database:
    return Database.create(throwaway_server())


def test_a_server_that_is_killed_half_way_leaves_what_was_done_in_the_result(own_database: Database) -> None:
    database = own_database
    make_table(database, "urgent")
    run_sql(database, "ALTER TABLE {} SET (autovacuum_freeze_max_age = 100000)", named("urgent"))
    make_needy(database, "slow", rows=3000)
    connection = database.connect()
    connection.cursor().execute("DO $$ BEGIN FOR i IN 1..80000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$")
    connection.cursor().execute("BEGIN; LOCK TABLE slow IN ACCESS EXCLUSIVE MODE")
    thread, results = in_background(database, jobs=1, lock_timeout="60s")
    until(lambda: counters(database, "urgent")["vacuums"] == 2, "the urgent table to be done")
    until(lambda: database.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"), "the run to come to the slow one")
    database.server.stop("immediate")
    connection.close()
    thread.join(60)
    (result,) = results
    assert result["failed"] and result["failure"]["code"] == "server_gone", result
    assert "1 of 2 tables done" in result["msg"]
    assert statuses(result) == {"public.urgent": "done", "public.slow": "failed"}
    assert result["changed"] is True and len(result["plan"]) == len(result["steps"]) == 2

    database.server.start()
    again = maintain(database)
    assert by_table(again)["public.slow"]["status"] == "done"


def test_a_terminated_session_stops_the_run_with_what_was_done(database: Database) -> None:
    make_needy(database, "slow", rows=3000)
    run_sql(database, "CREATE TABLE {} AS SELECT 1 AS a", named("later"))
    thread, results = in_background(database, jobs=1, **SLOW)
    pid = wait_for_slow(database)
    database.fetch("SELECT pg_terminate_backend(%s)", pid)
    thread.join(60)
    (result,) = results
    assert result["failure"]["code"] == "server_gone"
    assert statuses(result) == {"public.slow": "failed", "public.later": "skipped"}
    assert by_table(result)["public.later"]["code"] == "server_gone"


def start_process(database: Database, **options: Any) -> subprocess.Popen[str]:
    given = json.dumps(arguments(database, **options))
    return subprocess.Popen(
        [sys.executable, "-c", RUN, MODULE, given], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_signal_stops_the_run_cancels_its_statement_and_keeps_the_result(database: Database) -> None:
    make_needy(database, "slow", rows=3000)
    process = start_process(database, **SLOW)
    wait_for_slow(database)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    result = json.loads(output)
    assert result["failure"]["code"] == "interrupted", errors
    assert statuses(result) == {"public.slow": "skipped"}
    assert by_table(result)["public.slow"]["code"] == "stopped"
    assert result["changed"] is False
    until(lambda: not database.fetch(VACUUMING), "the vacuum to be cancelled")


@pytest.mark.majors(minimum=14)
def test_a_run_that_is_killed_leaves_no_orphan_behind(database: Database) -> None:
    make_needy(database, "slow", rows=3000)
    process = start_process(database, **SLOW)
    wait_for_slow(database)
    process.kill()
    process.communicate()
    until(lambda: not database.fetch(VACUUMING), "the server to notice")
    assert statuses(maintain(database)) == {"public.slow": "done"}


def test_a_standby_has_nothing_to_maintain(own_database: Database) -> None:
    database = own_database
    make_needy(database, "t")
    server = database.server
    server.stop()
    (server.data_dir / "standby.signal").touch()
    server.start()
    for check in (True, False):
        result = maintain(database, check=check)
        assert (result["changed"], result["plan"], result["read_only"]) == (False, [], True)
    assert finding(result, "read_only")["status"] == "ok"


def test_a_damaged_table_stops_the_run_and_is_a_failure(own_database: Database) -> None:
    database = own_database
    make_needy(database, "a", "broken", "c")
    ((path,),) = database.fetch("SELECT pg_relation_filepath('broken')")
    database.server.stop()
    with (database.server.data_dir / path).open("r+b") as file:
        file.write(b"\xff" * 24)
    database.server.start()
    for name in ("a", "broken", "c"):  # counters may be gone; say again that there is work
        run_sql(database, "ALTER TABLE {} SET (autovacuum_freeze_max_age = 100000)", named(name))
    result = maintain_whatever(database, freeze_age=0)
    assert result["failed"] and result["failure"]["code"] == "data_corrupted", result
    assert statuses(result)["public.broken"] == "failed"
    assert counters(database, "broken")["vacuums"] == 1  # the one that made it
