"""What others notice of postgresql_maintenance: readers and writers on its server, and on a standby."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from tests.support.maintenance import counters, holding, maintain, make_table, named, run_sql, statuses, until
from tests.support.servers import Database, Server
from tests.support.standby import standby_of

IMPATIENT = "-c lock_timeout=3s"
OWN_WAIT = """
SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND datname = %s AND application_name LIKE 'oncall.runbooks postgresql_maintenance%%'
"""


# --- in front of a lock -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"vacuum_only": True}, {"freeze": True}, {"analyze_only": True}], ids=str)
def test_readers_and_writers_do_not_queue_behind_a_run_that_waits(database: Database, options: dict[str, Any]) -> None:
    make_table(database, "t")
    results: list[dict[str, Any]] = []
    options = {**options, "all_tables": True, "lock_timeout": "60s"}
    thread = threading.Thread(target=lambda: results.append(maintain(database, **options)))
    with holding(database, "SELECT count(*) FROM t"):
        with holding(database, "LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE"):
            thread.start()
            until(lambda: waits(database), "the run to wait for the lock")
            run_sql(database, "SELECT FROM {}", named("t"), options=IMPATIENT)
            run_sql(database, "UPDATE {} SET a = 1 WHERE id = 1", named("t"), options=IMPATIENT)
            assert waits(database)
        thread.join(60)
        assert statuses(results[0]) == {"public.t": "done"}, "a reader is in nobody's way"


def waits(database: Database) -> bool:
    return bool(database.fetch(OWN_WAIT, database.name))


# --- the empty end of a file ------------------------------------------------------------------------------------


def make_empty_end(database: Database, table_decides: bool | None = None) -> None:
    make_table(database, "t", rows=5000)
    if table_decides is not None:
        run_sql(database, "ALTER TABLE {} SET (vacuum_truncate = " + str(table_decides) + ")", named("t"))
    run_sql(database, "DELETE FROM {} WHERE id > 1000", named("t"))
    until(lambda: counters(database, "t")["dead"] == 4000, "the deletes to be counted")


def pages(database: Database) -> int:
    return int(database.fetch("SELECT pg_relation_size('t') / 8192")[0][0])


@pytest.mark.parametrize(
    ("options", "table_decides", "shrinks"),
    [
        ({}, None, True),
        ({}, False, False),
        ({"truncate": False}, None, False),
        ({"truncate": False}, True, False),
        ({"truncate": True}, False, True),
        ({"overrides": [{"pattern": "t", "truncate": False}]}, None, False),
        ({"truncate": False, "overrides": [{"pattern": "t", "truncate": True}]}, None, True),
    ],
    ids=str,
)
def test_the_file_gives_its_empty_end_back_only_where_it_may(
    database: Database, options: dict[str, Any], table_decides: bool | None, shrinks: bool
) -> None:
    make_empty_end(database, table_decides)
    before = pages(database)
    result = maintain(database, **options)
    assert statuses(result) == {"public.t": "done"}
    assert "4,000 of 4,000 dead rows removed" in result["steps"][0]["detail"]
    assert pages(database) < before / 2 if shrinks else pages(database) == before


@pytest.mark.parametrize("truncate", [True, False])
def test_only_giving_pages_back_ends_a_reader_on_a_standby(
    throwaway_server: Callable[..., Server], truncate: bool
) -> None:
    """The lock that it takes is replayed there; a transaction that holds no snapshot is in the way of nothing else."""
    primary = Database(throwaway_server(), "postgres")
    make_empty_end(primary)
    standby = Database(standby_of(primary.server, throwaway_server, max_standby_streaming_delay="100ms"), "postgres")
    with holding(standby, "SELECT count(*) FROM t") as reader:
        assert statuses(maintain(primary, truncate=truncate)) == {"public.t": "done"}
        ((end,),) = primary.fetch("SELECT pg_current_wal_insert_lsn()")
        run_sql(primary, "CREATE TABLE {} ()", named("a_last_commit_that_is_flushed"))
        until(lambda: standby.fetch("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", end) == [(True,)], "the replay")
        if truncate:
            with pytest.raises(psycopg2.OperationalError):
                reader.cursor().execute("SELECT 1")
        else:
            reader.cursor().execute("SELECT 1")
    assert ("conflict with recovery" in standby.server.log_file.read_text()) is truncate
