"""postgresql_maintenance where it may not, cannot, or need not: rights, locks, the xmin horizon, other runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from tests.support.maintenance import (
    SLOW,
    by_table,
    counters,
    finding,
    holding,
    maintain,
    maintain_failing,
    make_dead_rows,
    make_needy,
    make_table,
    named,
    run_sql,
    statuses,
    until,
)
from tests.support.servers import Database, Roles, Server

ORPHAN_NAME = "oncall.runbooks postgresql_maintenance 00000000"


def own(database: Database, role: str, *names: str) -> None:
    for name in names:
        run_sql(database, "ALTER TABLE {} OWNER TO {}", named(name), sql.Identifier(role))


# --- rights -----------------------------------------------------------------------------------------------------


def test_the_owner_of_half_the_tables_does_that_half_and_is_told_about_the_other(
    database: Database, role: Roles
) -> None:
    make_needy(database, "mine_1", "mine_2", "theirs_1", "theirs_2")
    owner = role()
    own(database, owner, "mine_1", "mine_2")
    predicted = maintain(database, user=owner, check=True, system_catalogs=True)
    result = maintain(database, user=owner, system_catalogs=True)
    assert result["plan"] == predicted["plan"]
    assert statuses(result) == {
        "public.mine_1": "done", "public.mine_2": "done", "public.theirs_1": "skipped", "public.theirs_2": "skipped",
    }  # fmt: skip
    entry = by_table(result)["public.theirs_1"]
    assert (entry["code"], entry["reason"].startswith("not owner")) == ("insufficient_privilege", True)
    assert finding(result, "rights")["value"] == 2
    assert counters(database, "theirs_1")["vacuums"] == 1
    second = maintain(database, user=owner, system_catalogs=True)
    assert (second["changed"], second["plan"], second["status"]) == (False, [], "warning")


def test_a_role_that_may_do_nothing_changes_nothing_and_says_so(database: Database, role: Roles) -> None:
    make_needy(database, "t")
    result = maintain(database, user=role())
    assert (result["changed"], result["plan"]) == (False, [])
    assert finding(result, "rights")["status"] == "warning"


def test_the_owner_of_the_database_may_maintain_it(server: Server, role: Roles) -> None:
    owner = role(createdb=True)
    connection = server.connect("postgres", owner)
    name = f"{owner}_db"
    connection.cursor().execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    connection.close()
    database = Database(server, name)
    make_needy(database, "t")
    result = maintain(database, user=owner)
    assert statuses(result) == {"public.t": "done"}


@pytest.mark.majors(minimum=17)
def test_maintain_is_enough_from_17_on(database: Database, role: Roles) -> None:
    make_needy(database, "t")
    assert statuses(maintain(database, user=role("pg_maintain"))) == {"public.t": "done"}
    make_dead_rows(database, "t")
    granted = role()
    run_sql(database, "GRANT MAINTAIN ON {} TO {}", named("t"), sql.Identifier(granted))
    assert statuses(maintain(database, user=granted)) == {"public.t": "done"}


def test_a_schema_without_usage_is_a_missing_right_too(database: Database, role: Roles) -> None:
    owner = role()
    run_sql(database, "CREATE SCHEMA {}", sql.Identifier("closed"))
    make_needy(database, "t", schema="closed")
    make_needy(database, "open")
    run_sql(database, "ALTER TABLE {} OWNER TO {}", named("t", "closed"), sql.Identifier(owner))
    own(database, owner, "open")
    assert statuses(maintain(database, user=owner)) == {"closed.t": "skipped", "public.open": "done"}


def test_without_pg_read_all_stats_a_query_is_hidden_and_not_absent(database: Database, role: Roles) -> None:
    make_table(database, "t")
    plain, monitor = role(), role("pg_read_all_stats")
    with holding(database, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM t WHERE a = 42"):
        blind, seeing = (maintain(database, user=user, check=True) for user in (plain, monitor))
    (hidden,), (shown,) = blind["xmin_holders"], seeing["xmin_holders"]
    unknown = finding(blind, "xmin_horizon")
    assert unknown["status"] == "unknown" and hidden["name"] in unknown["msg"]
    assert "GRANT pg_read_all_stats" in unknown["msg"]
    seen = finding(seeing, "xmin_horizon")
    assert seen["status"] == "ok" and "nobody" not in seen["msg"]
    assert hidden["detail"] == "query hidden: needs pg_read_all_stats"
    assert (hidden["held_seconds"], hidden["kind"]) == (None, "session")
    assert shown["detail"] == "SELECT count(*) FROM t WHERE a = ?"
    assert shown["held_seconds"] >= 0


def test_fewer_connections_than_jobs_are_enough(database: Database, role: Roles) -> None:
    make_needy(database, "a", "b", "c")
    owner = role()
    own(database, owner, "a", "b", "c")
    run_sql(database, "ALTER ROLE {} CONNECTION LIMIT 2", sql.Identifier(owner))
    separately = [{"pattern": "a", "truncate": True}, {"pattern": "b", "truncate": False}]
    result = maintain(database, user=owner, jobs=4, overrides=separately)
    assert set(statuses(result).values()) == {"done"}
    run_sql(database, "ALTER ROLE {} CONNECTION LIMIT 1", sql.Identifier(owner))
    assert maintain_failing(database, user=owner, all_tables=True)["failure"]["code"] == "too_many_connections"


# --- locks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"])
def test_a_table_that_is_locked_throughout_is_skipped_and_the_others_are_done(database: Database, mode: str) -> None:
    make_needy(database, "a", "b", "c")
    with holding(database, f"LOCK TABLE b IN {mode} MODE") as connection:
        pid = connection.info.backend_pid
        start = time.monotonic()
        result = maintain(database, lock_attempts=2)
        assert time.monotonic() - start < 15
    assert statuses(result) == {"public.a": "done", "public.b": "skipped", "public.c": "done"}
    entry = by_table(result)["public.b"]
    assert entry["code"] == "lock_timeout"
    (step,) = [step for step in result["steps"] if step["status"] == "skipped"]
    assert f"pid {pid}" in step["detail"] and "2 attempts" in step["detail"]
    assert (result["changed"], finding(result, "not_done")["value"]) == (True, 1)
    assert counters(database, "b")["vacuums"] == 1
    assert statuses(maintain(database)) == {"public.b": "done"}


def test_everything_skipped_is_not_a_change(database: Database) -> None:
    make_needy(database, "t")
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        result = maintain(database, lock_attempts=1)
    assert (result["changed"], statuses(result), result["status"]) == (False, {"public.t": "skipped"}, "warning")


def test_a_lock_that_is_freed_meanwhile_costs_only_a_retry(database: Database) -> None:
    make_needy(database, "t")
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE") as connection:
        results: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: results.append(maintain(database, lock_attempts=10)))
        thread.start()
        until(lambda: waiting(database), "the run to wait for the lock")
        connection.rollback()
        thread.join(60)
    assert statuses(results[0]) == {"public.t": "done"}


def waiting(database: Database) -> bool:
    return bool(database.fetch("SELECT 1 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"))


def test_skip_locked_does_not_wait_at_all(database: Database) -> None:
    make_needy(database, "t")
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        result = maintain(database, skip_locked=True, lock_timeout="1h", lock_attempts=1)
    assert statuses(result) == {"public.t": "skipped"}
    assert by_table(result)["public.t"]["code"] == "lock_timeout"


# --- who holds back vacuum --------------------------------------------------------------------------------------


@pytest.fixture
def prepared(database: Database) -> Iterator[Callable[[], None]]:
    """A prepared transaction that has read and written."""

    def prepare() -> None:
        connection = database.connect(autocommit=False)
        connection.cursor().execute("CREATE TABLE IF NOT EXISTS other (a int)")
        connection.cursor().execute("PREPARE TRANSACTION 'left over'")
        connection.close()

    yield prepare
    connection = database.connect()
    connection.cursor().execute("ROLLBACK PREPARED 'left over'")
    connection.close()


def test_an_idle_transaction_is_named_and_vacuum_in_vain_is_not_repeated(database: Database) -> None:
    make_table(database, "t", rows=2000)
    statements = ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM t")
    with holding(database, *statements, application_name="reports") as connection:
        make_dead_rows(database, "t", rows=1000)
        predicted = maintain(database, check=True, xmin_warning="0s")
        assert predicted["after"]["dead_rows"] == predicted["before"]["dead_rows"]
        first = maintain(database, xmin_warning="0s")
        (step,) = first["steps"]
        assert step["detail"].startswith("0 of 1,000 dead rows removed")
        (holder,) = first["xmin_holders"]
        assert (holder["kind"], holder["database"]) == ("session", database.name)
        assert str(connection.info.backend_pid) in holder["name"] and "reports" in holder["name"]
        assert holder["held_seconds"] > 0 and holder["age_transactions"] > 0
        second = maintain(database)
        assert (second["changed"], second["plan"]) == (False, [])
        assert by_table(second)["public.t"]["code"] == "xmin_horizon"
        assert "reports" in finding(second, "xmin_horizon")["msg"]
        assert second["status"] == "warning"
        pid = connection.info.backend_pid
    gone = "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = %s)"
    until(lambda: database.fetch(gone, pid)[0][0], "the holder to be gone")
    third = maintain(database)
    assert third["steps"][0]["detail"].startswith("1,000 of 1,000 dead rows removed")


def test_a_prepared_transaction_is_named(database: Database, prepared: Callable[[], None]) -> None:
    make_table(database, "t", rows=2000)
    prepared()
    make_dead_rows(database, "t", rows=1000)
    first = maintain(database)
    (holder,) = first["xmin_holders"]
    assert holder["kind"] == "prepared" and "left over" in holder["name"] and holder["held_seconds"] >= 0
    assert by_table(maintain(database))["public.t"]["code"] == "xmin_horizon"


def test_a_slot_is_named_and_holds_back_the_catalogs_only(database: Database) -> None:
    make_needy(database, "t")
    database.fetch("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", f"slot_{database.name}")
    result = maintain(database)
    (holder,) = [holder for holder in result["xmin_holders"] if holder["kind"] == "slot"]
    assert (holder["name"], holder["catalog_only"]) == (f"slot_{database.name}", True)
    assert "nobody uses it" in holder["detail"]
    assert statuses(result) == {"public.t": "done"}


def test_a_transaction_in_another_database_is_in_nobodys_way(database: Database, server: Server) -> None:
    other = Database.create(server)
    make_table(database, "t", rows=2000)
    try:
        with holding(other, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1"):
            make_dead_rows(database, "t", rows=1000)
            maintain(database)
            assert counters(database, "t")["dead"] == 0
    finally:
        other.drop()


# --- others at work ---------------------------------------------------------------------------------------------


def test_a_second_run_does_not_start_and_names_the_first(database: Database) -> None:
    make_needy(database, "t")
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        results: list[dict[str, Any]] = []
        options = {"lock_attempts": 100, "budget": "20s"}
        thread = threading.Thread(target=lambda: results.append(maintain(database, **options)))
        thread.start()
        until(lambda: waiting(database), "the first run to be at work")
        busy = maintain_failing(database)
        assert busy["failure"]["code"] == "lock_busy"
        assert "oncall.runbooks postgresql_maintenance" in busy["msg"]
    thread.join(60)
    assert statuses(results[0]) == {"public.t": "done"}


def test_what_a_dead_run_left_behind_is_reported_and_left_alone(database: Database) -> None:
    make_needy(database, "t", rows=5000)
    make_needy(database, "other")
    orphan = database.connect(application_name=ORPHAN_NAME)
    pid = orphan.info.backend_pid
    orphan.cursor().execute("SET vacuum_cost_delay = '100ms'; SET vacuum_cost_limit = 1")
    thread = threading.Thread(target=run_quietly, args=(orphan, "VACUUM t"))
    thread.start()
    try:
        until(lambda: database.fetch("SELECT 1 FROM pg_stat_progress_vacuum"), "the orphan to vacuum")
        result = maintain(database)
    finally:
        orphan.cancel()
        thread.join()
        orphan.close()
    assert statuses(result) == {"public.other": "done", "public.t": "skipped"}
    assert by_table(result)["public.t"]["code"] == "already_running"
    assert f"pid {pid} " in finding(result, "orphan_backend")["msg"]


def run_quietly(connection: Any, statement: str) -> None:
    with contextlib.suppress(psycopg2.Error):
        connection.cursor().execute(statement)


# --- time -------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_not_started_and_the_next_run_goes_on(database: Database) -> None:
    make_needy(database, "small")
    make_needy(database, "large", rows=60_000)
    slow = {"vacuum_cost_delay": "10ms", "vacuum_cost_limit": 20, "budget": "5s"}
    result = maintain(database, **slow)
    assert statuses(result) == {"public.large": "skipped", "public.small": "done"}
    entry = by_table(result)["public.large"]
    assert (entry["code"], entry["estimate_seconds"] > 5) == ("no_time_left", True)
    (step,) = [step for step in result["steps"] if step["status"] == "skipped"]
    assert "estimated" in step["detail"] and "left" in step["detail"]
    assert counters(database, "large")["vacuums"] == 1
    assert statuses(maintain(database)) == {"public.large": "done"}


def test_nothing_is_cancelled_at_the_end_unless_asked_for(database: Database) -> None:
    make_needy(database, "t", rows=3000)
    options = {"vacuum_cost_delay": "10ms", "vacuum_cost_limit": 300, "budget": "5s"}
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE") as connection:
        results: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: results.append(maintain(database, **options, lock_timeout="30s")))
        thread.start()
        until(lambda: waiting(database), "the run to wait for the lock")
        used_up = time.monotonic() + 5
        until(lambda: time.monotonic() > used_up and waiting(database), "the budget to be used up")
        connection.rollback()
        thread.join(60)
    assert statuses(results[0]) == {"public.t": "done"}


def test_what_runs_at_the_end_is_cancelled_when_asked_for(database: Database) -> None:
    make_needy(database, "t")
    with holding(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        result = maintain(database, budget="5s", cancel_at_end=True, lock_timeout="60s")
    assert statuses(result) == {"public.t": "skipped"}
    assert by_table(result)["public.t"]["code"] == "no_time_left"
    assert result["steps"][0]["detail"] == "cancelled: the time is used up"
    assert result["changed"] is False


def test_cost_settings_reach_the_sessions_that_work(database: Database) -> None:
    make_needy(database, "t", rows=2000)
    results: list[dict[str, Any]] = []
    options = {**SLOW, "cancel_at_end": True, "table_timeout": "4s"}
    thread = threading.Thread(target=lambda: results.append(maintain_failing(database, **options)))
    thread.start()
    until(lambda: database.fetch("SELECT 1 FROM pg_stat_progress_vacuum"), "the vacuum to be slow")
    thread.join(60)
    assert results[0]["failure"]["code"] == "cancelled"
    assert statuses(results[0]) == {"public.t": "failed"}
