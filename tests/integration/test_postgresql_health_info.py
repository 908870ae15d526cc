"""postgresql_health_info on real servers: what it says of a healthy one, of one that is lost, and of bad options."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from plugins.module_utils._core.postgres_health import LOOKS
from tests.support.modules import run_failed, run_ok
from tests.support.postgres_health import ALWAYS, NAME, found, look, only, sample, status, words
from tests.support.servers import SUPERUSER, Database, Roles, Server
from tests.support.sessions import eventually

HEALTHY = {  # what a server of the tests is not
    "autovacuum": False, "uptime": False, "cache_hit": False, "rollbacks": False, "deadlocks": False,
    "temp_bytes": False, "checkpoints": False,
}  # fmt: skip


@pytest.fixture
def measured(database: Database) -> Database:
    database.execute('CREATE SCHEMA "odd %s schema"; CREATE EXTENSION pg_stat_statements SCHEMA "odd %s schema"')
    return database


@pytest.fixture
def own(throwaway_server: Callable[..., Server]) -> Database:
    server = throwaway_server(settings={"shared_preload_libraries": "pg_stat_statements", "archive_mode": "on",
                                        "archive_command": "true", "autovacuum": "on"})  # fmt: skip
    database = Database.create(server)
    database.execute("CREATE EXTENSION pg_stat_statements")
    return database


def test_a_healthy_server_is_told_in_one_line_with_samples_and_counters(own: Database, major: int) -> None:
    own.execute("CREATE TABLE public.t (i int); SELECT pg_switch_wal()")
    own.execute("SELECT pg_stat_statements_reset()")  # CREATE DATABASE is slow, and half of the statements so far
    archived = "SELECT 1 FROM pg_stat_archiver WHERE last_archived_time IS NOT NULL"
    eventually(lambda: own.fetch(archived), "the archive to have something")
    result = look(own, limits={**HEALTHY, "checksum_failures": False})
    said = {one["check"] for one in result["findings"]}
    assert said == (ALWAYS | {"archive_backlog"}) - set(HEALTHY) - {"checksum_failures"}
    assert {one["check"]: one["msg"] for one in result["findings"] if one["status"] != "ok"} == {}
    assert result["status"] == "ok" and result["msg"] == f"all {len(result['findings'])} checks ok"
    assert result["area"] == "database" and result["reachable"] and sample(result, "database.up") == 1
    assert result["server"]["major"] == major and result["server"]["role"] == "primary"
    assert {one["metric"].split(".")[0] for one in result["samples"]} == {"database"} and len(result["samples"]) < 100
    assert result["counters"]["at"] == result["server"]["now"]
    assert own.name in {one["name"] for one in result["databases"]}


def test_every_check_says_something_and_check_mode_says_the_same(measured: Database) -> None:
    result = look(measured)
    assert {one["check"] for one in result["findings"]} == ALWAYS
    again = run_ok(NAME, {"dsn": measured.dsn()}, check=True, diff=True)
    assert {one["check"] for one in again["findings"]} == ALWAYS and again["diff"] == {"before": {}, "after": {}}


def test_a_check_that_is_switched_off_says_nothing_and_limits_are_the_inventory_s(database: Database) -> None:
    result = look(database, limits=only(connections={"warning": 0, "critical": 101}))
    assert [one["check"] for one in result["findings"]] == ["reachable", "connections"]
    (one,) = found(result, "connections")
    assert one["status"] == "warning" and (one["warning"], one["critical"], one["unit"]) == (0, 101, "%")
    assert result["msg"] == f"1 warning: {one['msg']}"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"limits": {"no_such_check": {"warning": 1}}}, "no_such_check"),
        ({"limits": {"connections": {"warning": 90, "critical": 80}}}, "limits.connections"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
        ({"pool_size": 0}, "pool_size"),
        ({"expected_standbys": -1}, "expected_standbys"),
        ({"previous": {"at": "yesterday"}}, "previous.at"),
        ({"previous": {"at": "2026-11-21T12:00:00Z", "deadlocks/shop": "many"}}, "previous.deadlocks/shop"),
        ({"queries": [{"name": "Bad Name", "query": "SELECT 1"}]}, "queries[0].name"),
        ({"queries": [{"name": "a", "query": " ; "}]}, "queries[0].query"),
        ({"queries": [{"name": "a", "query": "SELECT 1", "warning": 2, "critical": 1}]}, "queries[0]"),
        ({"queries": [{"name": "a", "query": "SELECT 1", "timeout": "x"}]}, "queries[0].timeout"),
        ({"queries": [{"name": "a", "query": "SELECT 1"}] * 2}, "same name: a"),
    ],
)  # fmt: skip
def test_an_option_that_means_nothing_is_named(changes: dict[str, Any], named: str) -> None:
    result = run_failed(NAME, {"login_host": "127.0.0.1", "login_port": 1, **changes})
    assert result["failure"]["code"] == "invalid_value" and named in result["msg"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"login_port": 1}, "check host"),
        ({"login_db": "no_such_database"}, "pg_database"),
        ({"login_user": "nobody"}, ""),
    ],
)
def test_a_server_that_does_not_answer_is_critical_and_no_failure(
    database: Database, changes: dict[str, Any], code: str
) -> None:
    server = database.server
    result = run_ok(NAME, {"login_host": server.host, "login_port": server.port, "login_user": SUPERUSER, **changes})
    assert not result["reachable"] and result["status"] == "critical" and code in result["msg"]
    assert [one["check"] for one in result["findings"]] == ["reachable"] and result["counters"] == {}
    assert [(one["metric"], one["value"]) for one in result["samples"]] == [("database.up", 0.0)]


# --- a look that cannot be done -----------------------------------------------------------------------------------

# Each reading is made impossible by taking the right to one thing away that everybody has.
TAKEN = {
    "activity": "SELECT ON pg_catalog.pg_locks",
    "prepared": "SELECT ON pg_catalog.pg_prepared_xacts",
    "replication": "SELECT ON pg_catalog.pg_stat_replication",
    "synchronous": "SELECT ON pg_catalog.pg_stat_replication",
    "slots": "SELECT ON pg_catalog.pg_replication_slots",
    "archiver": "SELECT ON pg_catalog.pg_stat_archiver",
    "ages": "EXECUTE ON FUNCTION pg_catalog.mxid_age(xid)",
    "databases": "SELECT ON pg_catalog.pg_stat_database",
    "statements": "SELECT ON pg_catalog.pg_extension",
    "checkpoints": "SELECT ON pg_catalog.pg_stat_bgwriter",
    "autovacuum": "SELECT ON pg_catalog.pg_stat_activity",
    "overdue": "EXECUTE ON FUNCTION pg_catalog.pg_options_to_table(text[])",
    "sequences": "SELECT ON pg_catalog.pg_sequence",
    "invalid_indexes": "SELECT ON pg_catalog.pg_index",
    "pending_restart": "SELECT ON pg_catalog.pg_settings",
    "slow_log": "SELECT ON pg_catalog.pg_shdescription",
    "archive_backlog": "EXECUTE ON FUNCTION pg_catalog.pg_ls_archive_statusdir()",  # which nobody has anyway
}
PREVIOUS = {"at": "2026-01-01T00:00:00Z"}
# Since when they are counted stands there too.
COUNTED = {"deadlocks", "temp_bytes", "cache_hit", "rollbacks", "transactions", "transaction_spike", "query_mean"}
YOUNG = {"archiver", "checkpoints", "rollbacks", "cache_hit"}  # too little happened on a server of a minute
ALSO = {  # what else is read there
    "activity": {"invalid_indexes"},
    "slots": {check for one in LOOKS if one.reading in ("activity", "replication") for check in one.checks},
    "replication": {"synchronous_standbys"},
    "synchronous": {"standbys", "replication_lag", "replication_lag_bytes"},
    "archiver": COUNTED,
    "checkpoints": COUNTED,
    "autovacuum": {check for one in LOOKS if one.reading == "activity" for check in one.checks} | COUNTED,
}


def test_a_reading_that_fails_is_unknown_and_spoils_no_other(own: Database) -> None:
    own.execute("CREATE ROLE plain LOGIN")
    own.execute("GRANT pg_read_all_stats TO plain")
    before = look(own, "plain", previous=PREVIOUS, pool_size=9)
    unseen = {one["check"] for one in before["findings"] if one["status"] == "unknown"}
    assert "activity" in TAKEN and unseen <= {"archive_backlog", "checksum_failures"} | YOUNG
    for reading, right in TAKEN.items():
        target = right.replace("bgwriter", "checkpointer") if own.server.major >= 17 else right
        own.execute(f"REVOKE {target} FROM PUBLIC")
        result = look(own, "plain", previous=PREVIOUS, pool_size=9, expected_standbys=0)
        own.execute(f"GRANT {target} TO PUBLIC")
        mine = {check for one in LOOKS if one.reading == reading for check in one.checks} - {"recovery_conflicts"}
        for check in mine:
            assert status(result, check) == "unknown", (reading, check)
            assert 'GRANT pg_monitor TO "plain"' in words(result, check), (reading, check)
        blind = {one["check"] for one in result["findings"] if one["status"] == "unknown"} - mine
        assert blind <= unseen | YOUNG | ALSO.get(reading, set()), reading
        assert result["reachable"]


def test_a_role_without_rights_is_told_what_it_cannot_see(own: Database, role: Roles) -> None:
    own.execute("CREATE ROLE nobody LOGIN; CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher")
    own.execute("CREATE SEQUENCE public.s")
    other = own.connect()
    blind, seeing = look(own, "nobody"), look(own, "watcher")
    other.close()
    for check in ("long_transactions", "idle_in_transaction", "archive_backlog", "autovacuum_workers"):
        assert status(blind, check) == "unknown" and 'GRANT pg_monitor TO "nobody"' in words(blind, check)
        assert status(seeing, check) == "ok", words(seeing, check)
    for result in (blind, seeing):
        assert status(result, "sequences") == "unknown" and "SELECT on them" in words(result, "sequences")
    assert {one["query"] for one in blind["statements"]} <= {"hidden: needs pg_read_all_stats"}
    assert not blind["server"]["sees_all"] and seeing["server"]["sees_all"]
    own.execute(f"REVOKE CONNECT ON DATABASE {own.name} FROM PUBLIC; REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
    own.execute(f"GRANT CONNECT ON DATABASE {own.name} TO nobody, watcher")
    assert "cannot be seen: GRANT pg_monitor" in words(look(own, "nobody"), "database_size")
    assert status(look(own, "watcher"), "database_size") == "ok"


def test_a_server_that_hangs_is_given_up_in_time(own: Database) -> None:
    pid = int((own.server.data_dir / "postmaster.pid").read_text().splitlines()[0])
    begun = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        result = look(own, timeout="2s")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - begun < 10 and not result["reachable"] and result["status"] == "critical"


def test_what_is_not_read_in_time_is_unknown_and_the_rest_is_there(own: Database) -> None:
    questions = [{"name": f"slow_{n}", "query": "SELECT pg_sleep(60)::text", "timeout": "1m"} for n in (1, 2)]
    begun = time.monotonic()
    result = look(own, timeout="2s", statement_timeout="60s", queries=questions)
    assert time.monotonic() - begun < 10 and result["reachable"]
    assert status(result, "connections") == "ok"
    for n in (1, 2):
        assert status(result, f"custom_slow_{n}") == "unknown"
    assert "time-out of 2.0 s for everything is used up" in words(result, "custom_slow_2")
