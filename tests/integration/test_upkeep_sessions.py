"""postgresql_maintenance and postgresql_reindex keep each other out, and what becomes of their sessions is noticed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from plugins.module_utils._core.errors import DatabaseFailed, OpsError
from plugins.module_utils._io.maintenance_work import Crew
from plugins.module_utils._io.postgres import LOCK_CLASS
from plugins.module_utils._module import reindex as reindex_module
from tests.support import reindex
from tests.support.maintenance import (
    SLOW,
    counters,
    finding,
    holding,
    maintain_failing,
    maintain_whatever,
    make_needy,
    named,
    run_sql,
    statuses,
    until,
)
from tests.support.modules import run_failed, run_ok
from tests.support.servers import Database, Roles
from tests.support.silence import Line

REINDEX = "postgresql_reindex"
WRITER = "INSERT INTO t VALUES (-1, 'x')"  # a rebuild waits for it
HOLDERS = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND granted"
VACUUMING = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'slow'::regclass"
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted"
HASTY = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 2000}


def in_background(database: Database, **options: Any) -> Future[dict[str, Any]]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(maintain_whatever, database, **options)
    pool.shutdown(wait=False)
    return future


def make_unknown(database: Database, name: str) -> None:
    """Make a table that was never analyzed; its turn comes after those that need a vacuum."""
    run_sql(database, "CREATE TABLE {} AS SELECT 1 AS a", named(name))
    until(lambda: counters(database, name)["modified"] == 1, "the row to be counted")


# --- one run at a time --------------------------------------------------------------------------------------------


def test_no_index_is_rebuilt_while_tables_are_vacuumed(database: Database) -> None:
    make_needy(database, "t")
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        first = in_background(database, lock_attempts=100, budget="20s")
        until(lambda: database.fetch(WAITING), "maintenance to be at work")
        for check in (True, False):
            busy = run_failed(REINDEX, reindex.options(database), check=check)
            assert busy["failure"]["code"] == "lock_busy" and "oncall.runbooks postgresql_maintenance" in busy["msg"]
    assert statuses(first.result(60)) == {"public.t": "done"}
    run_ok(REINDEX, reindex.options(database))


def test_no_table_is_vacuumed_while_indexes_are_rebuilt(database: Database) -> None:
    reindex.make_bloated(database)
    with reindex.held(database, WRITER) as holder, reindex.Subprocess(reindex.options(database)) as run:
        reindex.wait_for_copy(database, "t_v_ccnew")
        busy = maintain_failing(database)
        holder.rollback()
        first = run.result()
    assert busy["failure"]["code"] == "lock_busy" and "oncall.runbooks postgresql_reindex" in busy["msg"]
    assert {one["status"] for one in first["steps"]} == {"done"}


# --- sessions that end -----------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(database: Database, role: Roles, major: int) -> str:
    """A role for which the server ends sessions that idle, and from 17 on transactions that take long.

    Only the module runs as this role: what a test prepares, holds and looks at may take its time.
    """
    name = role()
    database.execute(f"ALTER ROLE {name} SUPERUSER")
    for limit, since in (("idle_session_timeout", 14), ("transaction_timeout", 17)):
        if major >= since:
            database.execute(f"ALTER ROLE {name} SET {limit} = '1s'")
    return name


@pytest.mark.majors(minimum=14)
def test_maintenance_outlives_the_servers_time_outs_and_keeps_its_lock(database: Database, hurried: str) -> None:
    make_needy(database, "slow", rows=400)
    began = time.monotonic()
    run = in_background(database, dsn=database.dsn(hurried), **SLOW)
    until(lambda: database.fetch(VACUUMING), "the slow table to be vacuumed")
    looks = []
    while (look := database.fetch(f"SELECT EXISTS ({VACUUMING}), EXISTS ({HOLDERS})")[0])[0]:
        looks.append(look)
    result = run.result(60)
    assert time.monotonic() - began > 2, "the run was too quick to prove anything"
    assert not result.get("failed"), result
    assert result["changed"] and statuses(result) == {"public.slow": "done"}
    assert set(looks) == {(True, True)}
    assert result["steps"][0]["detail"].startswith("200 of 200 dead rows"), result["steps"]


@pytest.mark.majors(minimum=14)
def test_reindex_outlives_the_servers_time_outs(database: Database, hurried: str) -> None:
    reindex.make_bloated(database)
    database.execute(f"ALTER TABLE t OWNER TO {hurried}")
    of_run = reindex.options(database, hurried, max_wait="60s")
    with reindex.held(database, WRITER) as holder, reindex.Subprocess(of_run) as run:
        reindex.wait_for_copy(database, "t_v_ccnew")
        waited = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'REINDEX%%' AND xact_start < now() - %s::interval"
        until(lambda: database.fetch(waited, "2 s"), "the rebuild to wait for longer than the server allows")
        holder.rollback()
        result = run.result()
    assert result["changed"] and {one["status"] for one in result["steps"]} == {"done"}, result


@pytest.fixture
def lock_missed(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set as soon as a run of this process knows that its lock is lost."""
    missed, give_up = threading.Event(), Crew.give_up

    def give_up_and_tell(crew: Crew, error: OpsError) -> None:
        give_up(crew, error)
        missed.set()

    monkeypatch.setattr(Crew, "give_up", give_up_and_tell)
    return missed


def test_maintenance_that_loses_its_lock_begins_nothing_more_and_tells_what_it_did(
    database: Database, lock_missed: threading.Event
) -> None:
    make_needy(database, "slow")
    make_unknown(database, "later")
    with holding(database, "LOCK TABLE slow IN ACCESS EXCLUSIVE MODE"):
        run = in_background(database, jobs=1, lock_timeout="60s")
        until(lambda: database.fetch(WAITING), "the run to be at the first table")
        ((holder,),) = database.fetch(HOLDERS)
        database.fetch("SELECT pg_terminate_backend(%s)", holder)
        assert lock_missed.wait(30)
    result = run.result(60)
    assert result["failed"] and result["failure"]["code"] == "server_gone"
    assert "the lock postgresql_upkeep" in result["msg"] and "1 of 2 tables done" in result["msg"]
    assert statuses(result) == {"public.slow": "done", "public.later": "skipped"}
    assert result["changed"] is True and result["after"], "the server is there and was read again"
    assert counters(database, "later")["analyzes"] == 0


def test_a_look_afterwards_that_fails_takes_nothing_away_from_what_reindex_did(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex.make_bloated(database)
    read, looks = reindex_module.read_database, []

    def read_once(*given: Any) -> Any:
        looks.append(given)
        if len(looks) > 1:
            raise DatabaseFailed("canceling statement due to statement timeout", code="cancelled")
        return read(*given)

    monkeypatch.setattr(reindex_module, "read_database", read_once)
    result = run_ok(REINDEX, reindex.options(database))
    assert result["changed"] and {one["status"] for one in result["steps"]} == {"done"} and len(looks) == 2
    assert (finding(result, "indexes")["status"], result["status"]) == ("unknown", "unknown")


# --- silence -----------------------------------------------------------------------------------------------------


def test_a_server_that_falls_silent_ends_the_run_within_seconds(database: Database) -> None:
    make_needy(database, "quick")
    make_unknown(database, "later")
    server = database.server
    with Line(server.host, server.port) as line, holding(database, "LOCK TABLE later IN ACCESS EXCLUSIVE MODE"):
        through = {"host": line.host, "port": line.port, "connect_timeout": 2, **HASTY}
        run = in_background(database, jobs=1, lock_timeout="60s", connect_params=through)
        until(lambda: counters(database, "quick")["vacuums"] == 2, "the first table to be done")
        until(lambda: database.fetch(WAITING), "the run to come to the second table")
        line.fall_silent()
        silent_since = time.monotonic()
        result = run.result(60)
    assert time.monotonic() - silent_since < 30
    assert result["failed"] and result["failure"]["code"] == "server_gone", result
    assert statuses(result) == {"public.quick": "done", "public.later": "failed"}
    assert result["changed"] is True and finding(result, "tables")["status"] == "unknown"
