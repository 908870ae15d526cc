"""postgresql_health_info on servers that are ill as a whole: archive, checkpoints, crashes, settings, autovacuum."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from tests.support.postgres_health import found, look, only, sample, status, words
from tests.support.servers import SUPERUSER, Database, Server
from tests.support.sessions import eventually

OWN = {
    "archive_mode": "on",
    "archive_command": "test -e mended",  # in the data directory
    "autovacuum": "on",
    "autovacuum_naptime": "1s",
    "autovacuum_max_workers": "1",
    "autovacuum_vacuum_cost_delay": "100ms",
    "autovacuum_vacuum_cost_limit": "1",
    "max_slot_wal_keep_size": "1MB",
    "max_wal_size": "32MB",
    "wal_level": "logical",
}


@pytest.fixture
def own(throwaway_server: Callable[..., Server]) -> Database:
    return Database.create(throwaway_server(settings=OWN))


def looked_for(where: Database, check: str, wanted: str, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}

    def seen() -> bool:
        result.update(look(where, **more))
        return wanted in {one["status"] for one in found(result, check)}

    eventually(seen, f"{check} to be {wanted}")
    return result


def test_an_archive_that_fails_is_told_with_what_waits_for_it(own: Database) -> None:
    own.execute("CREATE TABLE public.t (i int)")
    own.execute("SELECT pg_switch_wal()")
    limits = only(archiver={"critical": None}, archive_backlog={"warning": 1, "critical": 99})
    result = looked_for(own, "archiver", "warning", limits=limits)
    assert "archiving fails (0000000" in words(result, "archiver") and found(result, "archiver")[0]["unit"] == "s"
    assert status(result, "archive_backlog") == "warning" and sample(result, "database.archiver.backlog") >= 1
    (own.server.data_dir / "mended").touch()
    own.execute("INSERT INTO public.t VALUES (1)")
    own.execute("SELECT pg_switch_wal()")  # wakes the archiver, which rests after some failures
    mended = looked_for(own, "archiver", "ok", limits=limits)
    assert words(mended, "archiver").startswith("archiving works, the last file ")


def test_an_archive_with_nothing_in_it_is_not_known_to_work(own: Database) -> None:
    (own.server.data_dir / "mended").touch()
    own.execute("SELECT pg_stat_reset_shared('archiver')")
    fresh = look(own, limits=only("archiver"))
    assert status(fresh, "archiver") == "unknown" and "nothing was archived yet" in words(fresh, "archiver")
    assert [one for one in fresh["samples"] if one["metric"] == "database.archiver.failing"] == []


def test_an_archive_without_a_command_is_critical(throwaway_server: Callable[..., Server]) -> None:
    without = Database.create(throwaway_server(settings={"archive_mode": "on"}))
    without.execute("CREATE ROLE plain LOGIN; SELECT pg_switch_wal()")
    for role in (SUPERUSER, "plain"):
        result = look(without, role, limits=only("archiver"))
        assert status(result, "archiver") == "critical" and "archive_command is empty" in words(result, "archiver")
        assert sample(result, "database.archiver.failing") >= 1


def test_without_archiving_nothing_waits_for_it(database: Database) -> None:
    result = look(database, limits=only("archiver", "archive_backlog"))
    assert "archiving is off" in words(result, "archiver") and found(result, "archive_backlog") == []


def test_checkpoints_that_come_too_often_are_told(own: Database) -> None:
    before = look(own, limits=only("checkpoints"))["counters"]
    own.execute("CREATE TABLE public.t (i int)")
    for number in range(6):
        own.execute(f"INSERT INTO public.t VALUES ({number})")
        own.execute("CHECKPOINT")
    result = looked_for(own, "checkpoints", "warning", limits=only("checkpoints"), previous=before)
    assert "were requested, not timed" in words(result, "checkpoints")
    assert sample(result, "database.checkpoints.requested_percent") > 50


def test_a_server_that_was_just_started_is_told_and_later_it_is_not(own: Database) -> None:
    result = look(own, limits=only("uptime"))
    assert status(result, "uptime") == "warning" and "was started" in words(result, "uptime")
    assert status(look(own, limits=only(uptime={"warning": 0})), "uptime") == "ok"


def test_a_crash_of_one_process_is_told_although_the_first_one_lives(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = "SELECT extract(epoch FROM {} - pg_postmaster_start_time())::float8"
    checkpointer = f"{later.format('backend_start')} FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    eventually(lambda: own.fetch(checkpointer), "the checkpointer to be there")
    ((began,),) = own.fetch(checkpointer)
    monkeypatch.setattr("plugins.module_utils._core.postgres_health_server._CRASH_SECONDS", began + 1)
    # the module asks for both ages one after the other: what passes in between is not part of the difference
    eventually(lambda: own.fetch(later.format("clock_timestamp()"))[0][0] > began + 2.5, "the server to be old")
    calm = look(own, limits=only("uptime"))
    assert "started anew" not in words(calm, "uptime")
    victim, witness = own.connect(), own.connect()
    os.kill(victim.info.backend_pid, signal.SIGKILL)

    def answers(connection: Any = None) -> bool:
        with contextlib.suppress(psycopg2.Error):
            cursor = (connection or own.connect()).cursor()
            cursor.execute("SELECT 1")
            return True
        return False

    eventually(lambda: not answers(witness), "the server to end all others, too")
    eventually(answers, "the server to recover")
    result = look(own, limits=only("uptime"))
    assert status(result, "uptime") == "warning" and "one of them crashed" in words(result, "uptime")
    victim.close()


def test_a_setting_that_waits_for_a_restart_is_named(own: Database) -> None:
    assert status(look(own, limits=only("pending_restart")), "pending_restart") == "ok"
    own.execute("ALTER SYSTEM SET max_connections = 123")
    own.execute("SELECT pg_reload_conf()")
    result = looked_for(own, "pending_restart", "warning", limits=only("pending_restart"))
    assert "max_connections" in words(result, "pending_restart")


def test_autovacuum_that_is_off_or_has_no_worker_left_is_told(own: Database, database: Database) -> None:
    assert status(look(database, limits=only("autovacuum")), "autovacuum") == "warning"
    own.execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 50000) i")
    own.execute("DELETE FROM public.t WHERE i % 2 = 0")
    result = looked_for(own, "autovacuum_workers", "warning", limits=only("autovacuum", "autovacuum_workers"))
    assert status(result, "autovacuum") == "ok" and "1 of 1 autovacuum worker busy" in words(
        result, "autovacuum_workers"
    )


def test_a_slot_that_nobody_uses_holds_back_wal_until_it_is_lost(own: Database) -> None:
    own.execute("SELECT pg_create_physical_replication_slot('old_dr', true)")
    limits = only("slots_inactive", "slots_lost", "slots_safe", slots_retained={"warning": 1024, "critical": None})
    own.execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 1000) i")
    result = look(own, limits=limits)
    assert status(result, "slots_inactive") == "warning" and "old_dr" in words(result, "slots_inactive")
    assert status(result, "slots_retained") == "warning"
    assert "replication slot old_dr holds back" in words(result, "slots_retained")
    assert sample(result, "database.slot.retained_bytes", slot="old_dr") > 1024
    assert status(result, "slots_safe") == "critical" and "before it is lost" in words(result, "slots_safe")
    for _number in range(6):
        own.execute("SELECT pg_switch_wal()")
        own.execute("INSERT INTO public.t SELECT i FROM generate_series(1, 1000) i")
    own.execute("CHECKPOINT")
    lost = looked_for(own, "slots_lost", "critical", limits=limits)
    assert "old_dr is lost" in words(lost, "slots_lost") or "about to be lost" in words(lost, "slots_lost")
    (slot,) = lost["slots"]
    assert slot["name"] == "old_dr" and slot["wal_status"] in ("lost", "unreserved") and not slot["active"]


def test_commits_that_wait_for_a_standby_which_is_not_there_are_critical(own: Database) -> None:
    assert found(look(own, limits=only("synchronous_standbys")), "synchronous_standbys") == []
    own.execute("ALTER SYSTEM SET synchronous_standby_names = 'db2'")
    own.execute("SELECT pg_reload_conf()")
    result = looked_for(own, "synchronous_standbys", "critical", limits=only("synchronous_standbys"))
    assert "no synchronous standby of db2" in words(result, "synchronous_standbys")


def test_standbys_that_are_missing_are_critical_and_only_when_some_are_expected(own: Database) -> None:
    limits = only("standbys", "replication_lag", "replication_lag_bytes")
    assert [one["check"] for one in look(own, limits=limits)["findings"]] == ["reachable"]
    result = look(own, limits=limits, expected_standbys=2)
    assert status(result, "standbys") == "critical" and words(result, "standbys") == "0 standbys stream, 2 expected"


def test_the_archive_is_looked_at_on_disk_only_by_who_may(own: Database) -> None:
    own.execute("CREATE ROLE plain LOGIN")
    result = look(own, "plain", limits=only("archiver", "archive_backlog"))
    assert status(result, "archive_backlog") == "unknown"
    assert 'GRANT pg_monitor TO "plain"' in words(result, "archive_backlog")
