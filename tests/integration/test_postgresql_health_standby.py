"""postgresql_health_info on a primary and its standby: streaming, behind, paused, cut off, in conflict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from tests.support.postgres_health import found, look, only, sample, status, words
from tests.support.servers import Database, Server
from tests.support.sessions import eventually
from tests.support.standby import standby_of

LIMITS = only(
    "standbys", "wal_receiver", "replay_paused", "synchronous_standbys", "archiver", "sequences",
    replication_lag={"warning": 0.2, "critical": 999}, replication_lag_bytes={"warning": 1000, "critical": None},
    replay_lag={"warning": 0.2, "critical": 999}, recovery_conflicts={"warning": 0.0001, "critical": None},
)  # fmt: skip


@pytest.fixture
def pair(throwaway_server: Callable[..., Server]) -> tuple[Server, Server]:
    primary = throwaway_server()
    standby = standby_of(primary, throwaway_server)
    Database(primary, "postgres").execute("CREATE TABLE public.first (i int)")
    follows(standby, "first")
    return primary, standby


def follows(standby: Server, table: str) -> None:
    query = "SELECT 1 FROM pg_class WHERE relname = %s"
    eventually(lambda: Database(standby, "postgres").fetch(query, table), f"table {table} to be on the standby")


def until(where: Server, check: str, wanted: str, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}

    def seen() -> bool:
        result.clear()
        result.update(look(Database(where, "postgres"), limits=LIMITS, **more))
        return wanted in {one["status"] for one in found(result, check)}

    eventually(seen, f"{check} to be {wanted}")
    return result


def test_a_standby_that_follows_is_well_and_each_side_says_what_is_its_own(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    above = until(primary, "replication_lag_bytes", "ok", expected_standbys=1)
    assert status(above, "standbys") == "ok" and sample(above, "database.standbys") == 1
    assert {one["check"] for one in above["findings"]} >= {"replication_lag", "archiver", "sequences"}
    assert found(above, "replay_lag") == [] and above["standbys"][0]["state"] == "streaming"
    below = until(standby, "replay_lag", "ok")
    assert below["server"]["role"] == "standby" and status(below, "wal_receiver") == "ok"
    assert status(below, "replay_paused") == "ok" and found(below, "archiver") == found(below, "sequences") == []
    whole = look(Database(standby, "postgres"))
    assert {one["check"] for one in whole["findings"] if one["status"] == "unknown"} <= {
        "query_mean", "slow_statements", "checksum_failures", "checkpoints", "rollbacks", "cache_hit"
    }  # fmt: skip


def test_a_standby_that_is_paused_falls_behind_on_both_sides(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    Database(standby, "postgres").execute("SELECT pg_wal_replay_pause()")
    Database(primary, "postgres").execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 10000) i")
    above = until(primary, "replication_lag_bytes", "warning")
    assert "is" in words(above, "replication_lag_bytes") and "behind" in words(above, "replication_lag_bytes")
    assert any(one["metric"] == "database.replication.lag_bytes" and one["value"] > 1000 for one in above["samples"])
    assert found(until(primary, "replication_lag", "warning"), "replication_lag")[0]["unit"] == "s"
    below = until(standby, "replay_lag", "warning")
    assert status(below, "replay_paused") == "warning" and "pg_wal_replay_resume" in words(below, "replay_paused")
    assert "to replay" in words(below, "replay_lag")


def test_a_standby_that_lost_its_primary_is_critical(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    primary.stop()
    below = until(standby, "wal_receiver", "critical")
    assert "receives no WAL" in words(below, "wal_receiver")
    assert "the last transaction that was replayed is" in words(until(standby, "replay_lag", "warning"), "replay_lag")


def test_a_primary_that_lost_its_standby_is_critical(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    standby.stop()
    above = until(primary, "standbys", "critical", expected_standbys=1)
    assert "0 standbys stream, 1 expected" in words(above, "standbys")


def test_what_a_role_without_rights_cannot_see_of_replication_is_unknown(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    Database(primary, "postgres").execute("CREATE ROLE plain LOGIN")
    ready = "SELECT 1 FROM pg_roles WHERE rolname = 'plain'"
    eventually(lambda: Database(standby, "postgres").fetch(ready), "the role to be there")
    above = look(Database(primary, "postgres"), "plain", limits=LIMITS, expected_standbys=1)
    for check in ("standbys", "replication_lag", "replication_lag_bytes"):
        assert status(above, check) == "unknown" and 'GRANT pg_monitor TO "plain"' in words(above, check), check
    below = look(Database(standby, "postgres"), "plain", limits=LIMITS)
    assert status(below, "wal_receiver") == "unknown" and 'GRANT pg_monitor TO "plain"' in words(below, "wal_receiver")


def test_queries_that_the_replay_cancels_are_counted(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    Database(primary, "postgres").execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 100) i")
    follows(standby, "t")
    Database(standby, "postgres").execute("ALTER SYSTEM SET max_standby_streaming_delay = '100ms'")
    Database(standby, "postgres").execute("SELECT pg_reload_conf()")
    reader = standby.connect(autocommit=False)
    reader.cursor().execute("SELECT count(*) FROM public.t")
    Database(primary, "postgres").execute("DROP TABLE public.t")

    def cancelled() -> bool:
        try:
            reader.cursor().execute("SELECT 1")
        except psycopg2.Error:
            return True
        return False

    eventually(cancelled, "the reader to be cancelled")
    result = until(standby, "recovery_conflicts", "warning")
    assert "cancelled for the replay" in words(result, "recovery_conflicts")
    reader.close()
