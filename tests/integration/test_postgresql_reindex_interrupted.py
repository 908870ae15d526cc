"""postgresql_reindex when something goes wrong half way: kills, locks, old transactions, a lost server, two runs."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from plugins.module_utils._core.reindex_record import PREFIX
from tests.support.modules import run_failed, run_ok
from tests.support.reindex import (
    Subprocess,
    findings,
    held,
    index,
    index_names,
    invalidate,
    make_bloated,
    options,
    records,
    step,
    vacuum,
    wait_for_copy,
    working_pids,
)
from tests.support.servers import Database, Server
from tests.support.sessions import eventually

MODULE = "postgresql_reindex"
WRITER = "INSERT INTO t VALUES (-1, 'x')"  # makes a rebuild wait before it builds: the new index is there and empty
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"  # waits before the swap, locks no table
READER = "SELECT * FROM t LIMIT 1"  # makes a rebuild wait after the swap: the old index is there under a new name
OWN_WAIT = """
SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND datname = %s AND application_name LIKE 'oncall.runbooks postgresql_reindex%%'
"""


def orphans_gone(database: Database, major: int) -> None:
    """Wait until the backends of a killed client are gone; 13 does not notice, so it takes an administrator."""
    if major < 14:
        database.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", working_pids(database))
    eventually(lambda: not working_pids(database), "the orphaned rebuild to end")


def interrupt(database: Database, major: int, statement: str, copy: str, args: dict[str, Any]) -> None:
    """Kill a run whose rebuild waits for a transaction, and let the transaction go."""
    with held(database, statement):
        with Subprocess(args) as run:
            wait_for_copy(database, copy)
            run.kill()
            run.wait()
        orphans_gone(database, major)


# --- leftovers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("statement", "copy"), [(WRITER, "t_v_ccnew"), (READER, "t_v_ccold")])
def test_after_kill_9_the_next_run_drops_exactly_our_leftover(
    database: Database, major: int, statement: str, copy: str
) -> None:
    make_bloated(database)
    database.execute("CREATE TABLE theirs (a int); CREATE INDEX t_id_ccnew ON theirs (a)")
    database.execute("CREATE INDEX mine_ccnew1 ON t (id); CREATE INDEX mine_ccold ON t (id)")
    for name in ("t_id_ccnew", "mine_ccnew1", "mine_ccold"):
        invalidate(database, name)
    args = options(database, include=["t_v*", "t_id_ccnew", "mine*"])
    interrupt(database, major, statement, copy, args)
    left = index(database, copy)
    assert left is not None and not left.usable and len(records(database)) == 1

    checked = run_ok(MODULE, args, check=True)
    assert checked["plan"][0]["command"] == f"DROP INDEX CONCURRENTLY public.{copy}"
    assert "left behind by our own interrupted rebuild" in checked["plan"][0]["reason"]
    done = run_ok(MODULE, args)
    assert done["plan"] == checked["plan"] and {one["status"] for one in done["steps"]} == {"done"}
    assert done["indexes"][0] == {
        "database": database.name,
        "index": f"public.{copy}",
        "table": "public.t",
        "state": "leftover",
        "bytes_before": left.bytes,
        "bytes_expected": 0,
        "bytes_after": 0,
        "role": None,
    }
    assert index_names(database, "t") == {"t_pkey", "t_v", "mine_ccnew1", "mine_ccold"}
    assert index_names(database, "theirs") == {"t_id_ccnew"} and records(database) == []
    told = {f["msg"].rpartition(" ")[2]: f["status"] for f in findings(done, "leftover_index")}
    assert told == {f"public.{name}": "warning" for name in ("t_id_ccnew", "mine_ccnew1", "mine_ccold")}
    assert all("DROP INDEX CONCURRENTLY" in f["msg"] for f in findings(done, "leftover_index"))
    assert run_ok(MODULE, args)["plan"] == [] and index(database, "t_v").usable


@pytest.mark.majors(maximum=13)
def test_an_orphan_that_goes_on_is_left_alone_and_named(database: Database) -> None:
    make_bloated(database)
    args = options(database, include=["t_v"])
    with held(database, SNAPSHOT):
        with Subprocess(args) as run:
            wait_for_copy(database, "t_v_ccnew")
            run.kill()
            run.wait()
        seen = run_ok(MODULE, args)
    reasons = {entry["index"]: entry["reason"] for entry in seen["passed_over"]}
    assert seen["plan"] == [] and "oncall.runbooks postgresql_reindex" in reasons["public.t_v"]
    eventually(lambda: not working_pids(database), "the orphaned rebuild to end")
    after = run_ok(MODULE, args)
    assert [action["action"] for action in after["plan"]] == ["forget"] and index_names(database, "t") == {
        "t_pkey",
        "t_v",
    }
    assert records(database) == [] and run_ok(MODULE, args)["plan"] == []


def test_each_kill_leaves_one_more_and_all_of_them_are_dropped(database: Database, major: int) -> None:
    make_bloated(database)
    args = options(database, include=["t_v"], drop_leftovers=False)
    for copy in ("t_v_ccnew", "t_v_ccnew1"):
        interrupt(database, major, WRITER, copy, args)
    assert index_names(database, "t") == {"t_pkey", "t_v", "t_v_ccnew", "t_v_ccnew1"}
    kept = run_ok(MODULE, {**args, "limit": 1, "budget": "1ms"})
    assert {f["status"] for f in findings(kept, "leftover_index")} == {"warning"}
    done = run_ok(MODULE, options(database))
    assert [entry["state"] for entry in done["indexes"]] == ["leftover", "leftover", "bloated", "bloated"]
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_the_leftover_of_a_toast_index_is_dropped_too(database: Database, major: int) -> None:
    database.execute("CREATE TABLE t (id int, v text); ALTER TABLE t ALTER v SET STORAGE external")
    database.execute("INSERT INTO t SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 4000) g")
    database.execute("DELETE FROM t WHERE id % 10 <> 0")
    vacuum(database, "t")
    ((toast,),) = database.fetch("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 't'::regclass")
    name = f"{toast.removeprefix('pg_toast.')}_index"
    args = options(database, include=["public.t"])
    with held(database, "INSERT INTO t SELECT -1, repeat(md5('x'), 200)"):
        with Subprocess(args) as run:
            eventually(lambda: index(database, f"{name}_ccnew", "pg_toast") is not None, "the new TOAST index")
            run.kill()
            run.wait()
        orphans_gone(database, major)
    done = run_ok(MODULE, args)
    assert [entry["index"] for entry in done["indexes"]] == [f"pg_toast.{name}_ccnew", f"pg_toast.{name}"]
    assert {entry["table"] for entry in done["indexes"]} == {"public.t"}
    assert {one["status"] for one in done["steps"]} == {"done"}, done["steps"]
    assert index_names(database, toast) == {name} and run_ok(MODULE, args)["plan"] == []


def test_a_foreign_record_and_a_forged_one_are_not_believed(database: Database, role: Callable[..., str]) -> None:
    database.execute("CREATE TABLE t (a int); CREATE INDEX t_ccnew ON t (a)")
    invalidate(database, "t_ccnew")
    ((table, oid, db),) = database.fetch(
        "SELECT 't'::regclass::oid, 't_ccnew'::regclass::oid, oid FROM pg_database WHERE datname = current_database()"
    )
    text = (
        f'{PREFIX}{{"rebuild": 1, "database": {db}, "table": {table}, "copies": [{oid}], "known": [], "started": "x"}}'
    )
    connection = database.connect(role())
    connection.cursor().execute("SELECT lo_create(4711); COMMENT ON LARGE OBJECT 4711 IS %s", (text,))
    connection.close()
    told = run_ok(MODULE, options(database))
    assert told["plan"] == [] and [f["status"] for f in findings(told, "leftover_index")] == ["warning"]
    database.execute("SELECT lo_create(4712); COMMENT ON LARGE OBJECT 4712 IS %s", text.replace(f"{table}", "1"))
    database.execute("SELECT lo_create(4713); COMMENT ON LARGE OBJECT 4713 IS %s", text.replace(f": {db}", ": 1"))
    database.execute("SELECT lo_create(4714); COMMENT ON LARGE OBJECT 4714 IS %s", f"{PREFIX}{{not json")
    forgot = run_ok(MODULE, options(database))
    assert {action["action"] for action in forgot["plan"]} == {"forget"} and index(database, "t_ccnew") is not None
    left = database.fetch("SELECT oid FROM pg_largeobject_metadata ORDER BY oid")
    assert left == [(4711,), (4714,)], "another role's record, and one that cannot be understood"
    assert run_ok(MODULE, options(database))["plan"] == []


def test_a_run_that_died_before_its_note_is_known_by_what_appeared_since(database: Database, major: int) -> None:
    make_bloated(database)
    database.execute("CREATE INDEX t_v_ccnew ON t (v)")
    invalidate(database, "t_v_ccnew")
    args = options(database, include=["t_v"])
    interrupt(database, major, WRITER, "t_v_ccnew1", args)
    database.execute("CREATE INDEX t_v_ccnew2 ON t (v); CREATE INDEX t_v_ccnew0 ON t (id)")
    for name in ("t_v_ccnew2", "t_v_ccnew0"):
        invalidate(database, name)
    ((record,),) = database.fetch("SELECT oid FROM pg_largeobject_metadata")
    unnoted = re.sub(r'"copies": \[\d*\]', '"copies": []', records(database)[0])
    database.execute(f"COMMENT ON LARGE OBJECT {record} IS %s", unnoted)

    done = run_ok(MODULE, args)
    assert [entry["index"] for entry in done["indexes"]] == ["public.t_v_ccnew1", "public.t_v"]
    assert index_names(database, "t") == {"t_pkey", "t_v", "t_v_ccnew", "t_v_ccnew2", "t_v_ccnew0"}
    assert records(database) == [] and run_ok(MODULE, args)["plan"] == []


def test_a_record_of_which_nothing_is_left_is_forgotten(database: Database, major: int) -> None:
    make_bloated(database)
    args = options(database, include=["t_v"])
    interrupt(database, major, WRITER, "t_v_ccnew", args)
    database.execute("DROP INDEX t_v_ccnew; REINDEX INDEX t_v")
    checked = run_ok(MODULE, args, check=True)
    assert [action["action"] for action in checked["plan"]] == ["forget"] and "1 old record" in checked["msg"]
    assert len(records(database)) == 1
    done = run_ok(MODULE, args)
    assert done["plan"] == checked["plan"] and done["changed"] and records(database) == []
    assert run_ok(MODULE, args)["plan"] == []


def test_a_rebuild_of_somebody_else_is_left_alone(database: Database) -> None:
    make_bloated(database)
    with held(database, WRITER) as holder:
        other = database.connect()
        thread = threading.Thread(target=lambda: other.cursor().execute("REINDEX INDEX CONCURRENTLY t_v"))
        thread.start()
        wait_for_copy(database, "t_v_ccnew")
        seen = run_ok(MODULE, options(database, include=["t_v*"]))
        holder.rollback()
        thread.join()
        other.close()
    assert seen["plan"] == [] and findings(seen, "leftover_index") == []
    assert ("public.t_v", "already_running") in [(entry["index"], entry["code"]) for entry in seen["passed_over"]]
    assert index_names(database, "t") == {"t_pkey", "t_v"}


# --- locks and other transactions ---------------------------------------------------------------------------------


def test_a_lock_that_is_let_go_is_tried_again(database: Database) -> None:
    make_bloated(database)
    with held(database, "LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE") as holder:
        timer = threading.Timer(1.0, holder.rollback)
        timer.start()
        done = run_ok(MODULE, options(database, include=["t_v"], lock_timeout="300ms", lock_attempts=10))
        timer.join()
    assert [one["status"] for one in done["steps"]] == ["done"] and index_names(database, "t") == {"t_pkey", "t_v"}


@pytest.mark.parametrize(
    "statement", ["LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE", WRITER, SNAPSHOT, READER],
    ids=["for its lock", "before it builds", "before the swap", "after the swap"],
)  # fmt: skip
def test_readers_and_writers_do_not_queue_behind_a_run_that_waits(database: Database, statement: str) -> None:
    make_bloated(database)
    impatient = database.connect(options="-c lock_timeout=3s")
    with held(database, statement) as holder, Subprocess(options(database, lock_timeout="60s")) as run:
        eventually(lambda: database.fetch(OWN_WAIT, database.name), "the run to wait")
        impatient.cursor().execute("SELECT count(*) FROM t; SELECT v FROM t WHERE id = 20")
        impatient.cursor().execute("UPDATE t SET v = 'new' WHERE id = 20; INSERT INTO t VALUES (-2, 'new')")
        eventually(lambda: database.fetch(OWN_WAIT, database.name), "the run to wait still")
        holder.rollback()
        done = run.result()
    impatient.close()
    assert [one["status"] for one in done["steps"]] == ["done", "done"]
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_no_attempt_is_begun_that_would_not_end_in_time(database: Database) -> None:
    make_bloated(database)
    with held(database, "LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE"):
        args = options(database, include=["t_v"], lock_timeout="200ms", lock_attempts=100, budget="1500ms")
        done = run_ok(MODULE, args)
    assert step(done, "t_v")["status"] == "skipped" and step(done, "t_v")["duration_seconds"] < 10
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_a_role_that_may_not_keep_records_rebuilds_nothing(database: Database, role: Callable[..., str]) -> None:
    make_bloated(database)
    owner = role()
    database.execute(f'ALTER TABLE t OWNER TO "{owner}"; REVOKE EXECUTE ON FUNCTION lo_create(oid) FROM PUBLIC')
    done = run_ok(MODULE, options(database, owner))
    assert [one["status"] for one in done["steps"]] == ["skipped", "skipped"] and not done["changed"]
    assert "lo_create" in done["steps"][0]["detail"] and "insufficient_privilege" in done["msg"]


def test_what_already_waits_too_long_is_not_begun(database: Database) -> None:
    make_bloated(database)
    make_bloated(database, "u")
    with held(database, WRITER, application="forgotten") as holder:
        pid = holder.info.backend_pid
        eventually(lambda: age_of(database, pid) > 0.2, "the transaction to be old")
        seen = run_ok(MODULE, options(database, max_wait="200ms"))
    passed = {entry["index"]: entry for entry in seen["passed_over"]}
    assert set(passed) == {"public.t_v", "public.t_pkey"} and seen["before"]["bloated_indexes"] == 4
    assert passed["public.t_v"]["code"] == "old_transaction"
    assert f"pid {pid} (forgotten" in passed["public.t_v"]["reason"]
    assert {entry["index"] for entry in seen["indexes"]} == {"public.u_v", "public.u_pkey"}
    assert {one["status"] for one in seen["steps"]} == {"done"}


def test_an_old_snapshot_stops_every_rebuild_of_the_database(database: Database) -> None:
    make_bloated(database)
    with held(database, SNAPSHOT) as holder:
        pid = holder.info.backend_pid
        eventually(lambda: age_of(database, pid) > 0.2, "the transaction to be old")
        seen = run_ok(MODULE, options(database, max_wait="200ms"))
    assert seen["plan"] == [] and {entry["code"] for entry in seen["passed_over"]} == {"old_transaction"}
    (finding,) = findings(seen, "old_transaction")
    assert finding["status"] == "warning" and f"pid {pid}" in finding["msg"]


def test_a_prepared_transaction_that_holds_the_table_is_named(database: Database) -> None:
    make_bloated(database)
    database.execute("BEGIN; INSERT INTO t VALUES (-1, 'x'); PREPARE TRANSACTION 'for''got'")
    seen = run_ok(MODULE, options(database))
    assert seen["plan"] == [] and "prepared transaction for'got" in seen["passed_over"][0]["reason"]


def test_max_wait_gives_up_and_cleans_up(database: Database) -> None:
    make_bloated(database)
    with held(database, SNAPSHOT, application="slow") as holder:
        pid = holder.info.backend_pid
        done = run_ok(MODULE, options(database, include=["t_v"], max_wait="700ms"))
    assert step(done, "t_v")["status"] == "skipped" and "max_wait" in done["msg"] and not done["changed"]
    assert f"pid {pid}" in step(done, "t_v")["detail"]
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


@pytest.mark.parametrize(("statement", "status"), [(WRITER, "skipped"), (READER, "done")])
def test_what_cannot_be_cleaned_up_now_is_left_to_the_next_run(database: Database, statement: str, status: str) -> None:
    make_bloated(database)
    args = options(database, include=["t_v*"], max_wait="700ms", lock_timeout="300ms")
    with held(database, statement):
        done = run_ok(MODULE, args)
    assert step(done, "t_v")["status"] == status and "the next run drops it" in step(done, "t_v")["detail"]
    assert done["after"]["leftover_indexes"] == 1 and len(records(database)) == 1
    again = run_ok(MODULE, args)
    assert again["indexes"][0]["state"] == "leftover" and {one["status"] for one in again["steps"]} == {"done"}
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def age_of(database: Database, pid: int) -> float:
    query = "SELECT extract(epoch FROM clock_timestamp() - xact_start) FROM pg_stat_activity WHERE pid = %s"
    return float(database.fetch(query, pid)[0][0])


# --- somebody ends it ---------------------------------------------------------------------------------------------


def test_a_signal_ends_the_run_in_order(database: Database) -> None:
    make_bloated(database)
    with held(database, SNAPSHOT), Subprocess(options(database)) as run:
        wait_for_copy(database, "t_v_ccnew")
        run.kill(signal.SIGTERM)
        failed = run.result()
    assert failed["failure"]["code"] == "interrupted" and not failed["changed"]
    assert [one["status"] for one in failed["steps"]] == ["skipped", "skipped"]
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_what_runs_at_the_end_of_the_time_is_cancelled_when_told_to(database: Database) -> None:
    make_bloated(database)
    with held(database, SNAPSHOT):
        done = run_ok(MODULE, options(database, include=["t_v"], budget="6s", cancel_at_end=True))
    assert step(done, "t_v")["status"] == "skipped" and "time is used up" in step(done, "t_v")["detail"]
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_a_cancelled_statement_is_a_failure_that_others_survive(database: Database) -> None:
    make_bloated(database)
    make_bloated(database, "u")
    with held(database, SNAPSHOT) as holder, Subprocess(options(database, include=["*_v"])) as run:
        wait_for_copy(database, "t_v_ccnew")
        database.execute("SELECT pg_cancel_backend(%s)", working_pids(database)[0])
        eventually(lambda: index(database, "t_v_ccnew") is None, "what was left behind to be dropped")
        holder.rollback()
        failed = run.result()
    assert failed["failure"]["code"] == "cancelled" and failed["changed"]
    assert step(failed, "t_v")["status"] == "failed" and step(failed, "u_v")["status"] == "done"
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_a_terminated_session_ends_the_run_and_leaves_nothing(database: Database) -> None:
    make_bloated(database)
    with held(database, SNAPSHOT) as holder, Subprocess(options(database)) as run:
        wait_for_copy(database, "t_v_ccnew")
        database.execute("SELECT pg_terminate_backend(%s)", working_pids(database)[0])
        eventually(lambda: not working_pids(database), "the session to end")
        holder.rollback()
        failed = run.result()
    assert failed["failure"]["code"] == "server_gone" and len(failed["steps"]) == 2
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


@pytest.mark.parametrize("how", ["restart", "kill -9 of the backend"])
def test_a_server_that_goes_away_leaves_a_partial_result(throwaway_server: Callable[..., Server], how: str) -> None:
    server = throwaway_server(settings={"restart_after_crash": "on"})
    database = Database(server, "postgres")
    make_bloated(database, "a", rows=8_000)
    make_bloated(database, rows=40_000)
    args = options(database, include=["a_v", "t_v"], bloat_ratio=0.5)
    database.execute("CREATE INDEX a_broken ON a (id)")
    invalidate(database, "a_broken")
    with held(database, WRITER), Subprocess({**args, "include": ["a_broken", "t_v"]}) as run:
        wait_for_copy(database, "t_v_ccnew")
        if how == "restart":
            server.restart("immediate")
        else:
            os.kill(working_pids(database)[0], signal.SIGKILL)
        failed = run.result()
    assert failed["failure"]["code"] in ("server_gone", "server_unavailable"), failed
    assert [one["status"] for one in failed["steps"]] == ["done", "failed"] and failed["changed"]
    eventually(lambda: answers(database), "the server to be back")
    done = run_ok(MODULE, args)
    assert done["indexes"][0]["index"] == "public.t_v_ccnew" and {s["status"] for s in done["steps"]} == {"done"}
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def answers(database: Database) -> bool:
    try:
        return database.fetch("SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


@pytest.mark.parametrize("check", [True, False])
def test_a_second_run_is_refused_while_the_first_is_at_work(database: Database, check: bool) -> None:
    make_bloated(database)
    with held(database, WRITER) as holder, Subprocess(options(database)) as run:
        wait_for_copy(database, "t_v_ccnew")
        failed = run_failed(MODULE, options(database), check=check)
        holder.rollback()
        first = run.result()
    assert failed["failure"]["code"] == "lock_busy" and "postgresql_reindex" in failed["msg"]
    assert [one["status"] for one in first["steps"]] == ["done", "done"]


# --- a full disk --------------------------------------------------------------------------------------------------


def test_what_does_not_fit_on_the_disk_is_passed_over(small_disk: tuple[Database, Path]) -> None:
    database, folder = small_disk
    make_bloated(database)
    database.execute("ALTER INDEX t_v SET TABLESPACE small")
    (folder / "full").write_bytes(bytes(16 * 1024**2 - 1_300_000))
    seen = run_ok(MODULE, options(database))
    assert [(entry["index"], entry["code"]) for entry in seen["passed_over"]] == [("public.t_v", "disk_full")]
    assert "of free space, there are" in seen["passed_over"][0]["reason"]
    assert [entry["index"] for entry in seen["indexes"]] == ["public.t_pkey"]
    (folder / "full").unlink()
    assert [entry["index"] for entry in run_ok(MODULE, options(database))["indexes"]] == ["public.t_v"]


def test_a_disk_that_is_full_half_way_ends_the_run_and_costs_nothing(small_disk: tuple[Database, Path]) -> None:
    database, folder = small_disk
    make_bloated(database)
    database.execute("CREATE TABLE u (id int, v text)")
    database.execute("INSERT INTO u SELECT g % 99999, g::text FROM generate_series(1, 100000) g")
    with pytest.raises(psycopg2.Error, match="could not create unique index"):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY u_id ON u (id) TABLESPACE small")
    database.execute("UPDATE u SET id = -1 WHERE v = '100000'")
    (folder / "full").write_bytes(bytes(15 * 1024**2))
    failed = run_failed(MODULE, options(database))
    assert failed["failure"]["code"] == "disk_full" and "No space left on device" in failed["msg"]
    assert [one["status"] for one in failed["steps"]] == ["failed", "skipped", "skipped"] and not failed["changed"]
    assert "the run ended early" in failed["steps"][1]["detail"]
    assert index_names(database, "u") == {"u_id"} and records(database) == []
    (folder / "full").unlink()
    assert {one["status"] for one in run_ok(MODULE, options(database))["steps"]} == {"done"}
