"""pgbackrest_info against the real pgBackRest and a server that archives into two repositories."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.pgbackrest import RELEASE, STANZA, Stanza
from tests.support.servers import Database, Server, npm_install
from tests.support.sessions import eventually

MODULE = "pgbackrest_info"


@pytest.fixture(scope="module")
def stanza() -> Iterator[Stanza]:
    """One full and one incremental backup in the first repository, none in the second."""
    servers: list[Server] = []

    def start(_release: int, *, settings: dict[str, str], start: bool) -> Server:
        assert not start
        servers.append(Server(npm_install(RELEASE), settings=settings))
        return servers[-1]

    made = Stanza(start)
    made.run("stanza-create")
    made.run("--repo=1", "backup", "--type=full")
    made.run("--repo=1", "backup", "--type=incr")
    yield made
    for server in servers:
        server.remove()


def by_check(result: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [finding for finding in result["findings"] if finding["check"] == check]


def statuses(result: dict[str, Any], check: str) -> list[str]:
    return [finding["status"] for finding in by_check(result, check)]


def test_both_repositories_are_judged_each_by_itself(stanza: Stanza) -> None:
    result = run_ok(MODULE, stanza.options)
    assert result["changed"] is False and result["plan"] == []
    (shown,) = result["stanzas"]
    assert [(backup["type"], backup["repository"]) for backup in shown["backups"]] == [("full", 1), ("incr", 1)]
    assert shown["backups"][0]["size_bytes"] > shown["backups"][0]["repository_bytes"] > 0
    assert statuses(result, "repository") == ["ok", "critical"]
    assert statuses(result, "backup_age") == ["ok", "critical"]
    assert statuses(result, "full_backup_age") == ["ok", "critical"]
    assert statuses(result, "backup_errors") == ["ok"]
    assert statuses(result, "archive") == ["ok"]
    assert result["status"] == "critical" and "repository 2" in result["msg"]


def test_backups_that_are_too_old_are_critical(stanza: Stanza) -> None:
    result = run_ok(MODULE, {**stanza.options, "max_age": "0s", "max_full_age": "10d"})
    assert statuses(result, "backup_age") == ["critical", "critical"]
    assert statuses(result, "full_backup_age")[0] == "ok"
    old = run_ok(MODULE, {**stanza.options, "max_age": "10d", "max_full_age": "0s"})
    assert statuses(old, "backup_age")[0] == "ok"
    assert statuses(old, "full_backup_age")[0] == "critical"


def test_check_and_archiver_say_that_wal_arrives(stanza: Stanza) -> None:
    asked = {**stanza.options, "check": True, "archiver": True, "dsn": stanza.server.dsn()}
    result = run_ok(MODULE, asked)
    assert statuses(result, "check") == ["ok"], result
    assert statuses(result, "archiver") == ["ok"], result
    assert statuses(result, "archive_lag") == ["ok"], result
    assert statuses(result, "stanza_database") == ["ok"], result
    assert result["archiver_state"]["system_identifier"] == result["stanzas"][0]["systems"][-1]


def test_verify_says_ok_only_of_what_was_verified(stanza: Stanza) -> None:
    result = run_ok(MODULE, {**stanza.options, "verify": True})
    (finding,) = by_check(result, "verify")
    assert finding["status"] == "ok" and "2 backups are whole" in finding["msg"], finding


def test_nothing_of_pgbackrest_is_left_to_another_user(stanza: Stanza) -> None:
    run_ok(MODULE, {**stanza.options, "verify": True, "check": True})
    owners = {path.stat().st_uid for path in stanza.folder.rglob("*")}
    assert owners == {stanza.config.stat().st_uid}


def test_one_flipped_bit_in_the_repository_is_critical(stanza: Stanza) -> None:
    files = stanza.repository(1).joinpath("backup").rglob("*.lz4")
    victim = max(files, key=lambda path: (path.stat().st_size, str(path)))
    whole = victim.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    victim.write_bytes(bytes(damaged))
    try:
        result = run_ok(MODULE, {**stanza.options, "verify": True})
    finally:
        victim.write_bytes(whole)
    (finding,) = by_check(result, "verify")
    assert finding["status"] == "critical" and finding["value"] == 2, finding
    assert "invalid" in finding["msg"] and result["status"] == "critical"


def test_a_failing_archiver_is_critical_and_the_check_fails(stanza: Stanza) -> None:
    server = stanza.server
    good = server.settings["archive_command"]
    server.settings["archive_command"] = "false"
    server.restart()
    try:
        database = Database(server, "postgres")
        database.execute("SELECT pg_switch_wal()")
        failing = (
            "SELECT 1 FROM pg_stat_archiver WHERE last_failed_time > last_archived_time OR last_archived_time IS NULL"
        )
        eventually(functools.partial(database.fetch, failing), "archiving to fail")
        result = run_ok(MODULE, {**stanza.options, "archiver": True, "check": True, "dsn": server.dsn()})
    finally:
        server.settings["archive_command"] = good
        server.restart()
    assert statuses(result, "archiver") == ["critical"], result
    assert statuses(result, "check") == ["critical"], result


def test_a_server_that_does_not_answer_is_unknown(stanza: Stanza) -> None:
    asked = {**stanza.options, "archiver": True, "login_host": "127.0.0.1", "login_port": 1, "login_user": "nobody"}
    result = run_ok(MODULE, asked)
    (finding,) = by_check(result, "archiver")
    assert finding["status"] == "unknown" and "connection_failed" in finding["msg"]


def test_a_stanza_of_another_server_is_critical(stanza: Stanza, server_of: Callable[..., Server]) -> None:
    other = server_of(RELEASE, own_identity=True)
    result = run_ok(MODULE, {**stanza.options, "archiver": True, "dsn": other.dsn()})
    assert statuses(result, "stanza_database") == ["critical"]
    assert statuses(result, "archiver") == ["critical"]  # archive_mode is off there


def test_a_stanza_that_is_not_there_is_critical(stanza: Stanza) -> None:
    result = run_ok(MODULE, {**stanza.options, "stanza": "nowhere", "verify": True})
    assert statuses(result, "repository") == ["critical", "critical"]
    assert result["status"] == "critical" and result["stanzas"][0]["backups"] == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"config": "/nonexistent/pgbackrest.conf"}, 55),
        ({"pgbackrest_path": "/nonexistent/pgbackrest"}, "command_missing"),
    ],
)
def test_what_cannot_be_asked_is_unknown(stanza: Stanza, wrong: dict[str, str], code: object) -> None:
    result = run_ok(MODULE, {**stanza.options, **wrong})
    (finding,) = by_check(result, "info")
    assert (finding["status"], finding["value"]) == ("unknown", code), finding
    assert result["status"] == "unknown"


def test_a_verification_without_end_is_unknown(stanza: Stanza) -> None:
    result = run_ok(MODULE, {**stanza.options, "verify": True, "command_timeout": "1ms"})
    (finding,) = by_check(result, "verify")
    assert (finding["status"], finding["value"]) == ("unknown", "timed_out")


def test_options_that_mean_nothing_fail() -> None:
    assert run_failed(MODULE, {"max_age": "soon"})["failure"]["code"] == "invalid_value"
    lags = {"archive_lag_warning": "2GB", "archive_lag_critical": "1GB"}
    assert run_failed(MODULE, lags)["failure"]["code"] == "invalid_value"


def test_the_name_of_the_stanza_is_what_the_tests_think(stanza: Stanza) -> None:
    assert run_ok(MODULE, {"config": str(stanza.config)})["stanzas"][0]["name"] == STANZA
