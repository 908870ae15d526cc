"""redis_restore against real servers: the proof, the restore in place, a second run, and the way back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.redis_copies import back_up, live_options, proof_options
from tests.support.redis_servers import KEYS, TestRedis, fill, redis_servers
from tests.support.repositories import TestRepository, make_repository

MODULE = "redis_restore"


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[Callable[..., TestRedis]]:
    with redis_servers(tmp_path / "servers") as make:
        yield make


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def copied(repository: TestRepository, make_redis: Callable[..., TestRedis]) -> TestRedis:
    """A server of which there is a copy, and whose data was then replaced by one other key."""
    return copied_server(repository, make_redis)


def copied_server(repository: TestRepository, make: Callable[..., TestRedis], **settings: str) -> TestRedis:
    server = make("copied", password="redis-secret-77", **settings)
    fill(server)
    back_up(repository, server)
    server.client().flushall()
    server.client().set("since", "then")
    return server


def keys_of(server: TestRedis) -> int:
    return sum(one["keys"] for one in server.client().info("keyspace").values())


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"confirm": None}, "confirmation_missing"),
        ({"confirm": "cache2"}, "confirmation_missing"),
        ({"target_host": "cache2"}, "confirmation_missing"),
        ({"stop_command": []}, "invalid_value"),
        ({"at": "yesterday"}, "invalid_value"),
        ({"at": "20200101-000000"}, "no_copy_old_enough"),
        ({"name": "other"}, "no_copy"),
        ({"snapshot": "0000"}, "no_copy"),
        ({"product": "other"}, "no_copy"),
        ({"redis_port": 1}, "connection_failed"),
        ({"repository_password": "not-the-key"}, "wrong_key"),
        ({"server_bin_dirs": ["/nowhere"]}, "command_missing"),
    ],
)
def test_bad_input_is_said_and_nothing_is_touched(
    repository: TestRepository, copied: TestRedis, wrong: dict[str, Any], code: str
) -> None:
    before = copied.client().info("server")["run_id"]
    result = run_failed(MODULE, {**live_options(repository, copied), **wrong})
    assert result["failure"]["code"] == code, result
    assert copied.client().info("server")["run_id"] == before and keys_of(copied) == 1


def test_a_proof_is_kept_with_the_copy(repository: TestRepository, copied: TestRedis) -> None:
    copied.stop()  # the proof needs nothing of the server
    predicted = run_ok(MODULE, proof_options(repository), check=True)
    assert repository.catalog().proofs == ()
    result = run_ok(MODULE, proof_options(repository))
    assert result["plan"] == predicted["plan"] and result["changed"]
    assert (result["verdict"], result["keys"], result["facts"]) == ("ok", KEYS, "exact")
    assert {one["check"]: one["status"] for one in result["findings"]} == dict.fromkeys(
        ["payload", "format", "load", "keys", "lasting_keys", "sample", "digest"], "ok"
    )
    catalog = repository.catalog()
    assert catalog.verdict_of(catalog.copies[0]) == "proven"
    assert '"digest"' in repository.restic.read_file(catalog.proofs[0].id, "/proof.json")


def test_a_newer_copy_that_cannot_be_read_is_told(repository: TestRepository, copied: TestRedis) -> None:
    older = repository.catalog().copies[0].id
    back_up(repository, copied)
    (newer,) = {one.id for one in repository.catalog().copies} - {older}
    elsewhere = repository.damage_snapshot(newer)
    for asked in (proof_options(repository), live_options(repository, copied)):
        result = run_ok(MODULE, {**asked, **elsewhere})
        told = {one["check"]: (one["status"], one["value"]) for one in result["findings"]}
        assert told["snapshots_unreadable"] == ("warning", 1) and older[:8] in result["plan"][0]["command"]
    assert keys_of(copied) == KEYS


@pytest.mark.parametrize("appendonly", ["no", "yes"])
def test_check_real_second_run_and_the_way_back(
    repository: TestRepository, make_redis: Callable[..., TestRedis], appendonly: str
) -> None:
    server = copied_server(repository, make_redis, appendonly=appendonly)
    options = live_options(repository, server)
    predicted = run_ok(MODULE, options, check=True)
    assert predicted["changed"] and keys_of(server) == 1 and list(server.folder.glob("oncall-*")) == []

    result = run_ok(MODULE, options)
    assert result["plan"] == predicted["plan"]
    assert [one["id"] for one in result["steps"]] == [one["id"] for one in result["plan"]]
    assert keys_of(server) == KEYS and server.client().get("since") is None
    assert server.client(3).get("other") == b"database"
    assert 86000 < server.client().ttl("session:3") < 86500
    assert server.client().config_get("appendonly") == {"appendonly": appendonly}

    server.client().shutdown(nosave=True)  # as after a crash: the data is on the disk, not only in memory
    server.start()
    assert keys_of(server) == KEYS

    assert run_ok(MODULE, options)["changed"] is False

    undo = run_ok(MODULE, {**options, "state": "undone"})
    assert undo["changed"] and server.client().keys() == [b"since"]
    assert run_ok(MODULE, {**options, "state": "undone"})["changed"] is False
    assert server.client().keys() == [b"since"]


def test_an_undo_stops_at_a_restore_that_was_undone(repository: TestRepository, copied: TestRedis) -> None:
    options = live_options(repository, copied)
    undo = {**options, "state": "undone"}
    run_ok(MODULE, options)
    copied.client().set("a week", "of writes")
    back_up(repository, copied)
    run_ok(MODULE, options)
    run_ok(MODULE, undo)
    for check in (True, False):
        again = run_ok(MODULE, undo, check=check)
        assert (again["changed"], again["plan"], again["findings"][0]["check"]) == (False, [], "already_undone"), again
    assert copied.client().get("a week") == b"of writes"

    forced = run_ok(MODULE, {**undo, "force": True})
    assert forced["changed"] and copied.client().keys() == [b"since"]
    assert run_failed(MODULE, {**undo, "force": True})["failure"]["code"] == "no_kept_restore"


def test_the_host_that_is_overwritten_is_confirmed(repository: TestRepository, copied: TestRedis) -> None:
    elsewhere = {**live_options(repository, copied), "target_host": "cache-prod"}
    for wrong in ("cache1", None):
        refused = run_failed(MODULE, {**elsewhere, "confirm": wrong})
        assert (refused["failure"]["code"], keys_of(copied)) == ("confirmation_missing", 1)
        assert "cache-prod" in refused["msg"] and "cache-prod" in refused["failure"]["hint"]
    meant = run_ok(MODULE, {**elsewhere, "confirm": "cache-prod"}, check=True)
    assert "cache-prod" in meant["msg"] and "cache1" in meant["msg"]
    run_ok(MODULE, {**elsewhere, "confirm": "cache-prod"})
    assert keys_of(copied) == KEYS


def test_what_changed_since_a_restore_makes_the_next_one_work_again(
    repository: TestRepository, copied: TestRedis
) -> None:
    run_ok(MODULE, live_options(repository, copied))
    copied.client().flushall()
    assert run_ok(MODULE, live_options(repository, copied))["changed"]
    assert keys_of(copied) == KEYS


def test_a_server_that_does_not_run_is_restored(repository: TestRepository, copied: TestRedis) -> None:
    copied.stop()
    options = live_options(repository, copied)
    unknown = run_failed(MODULE, options)
    assert unknown["failure"]["code"] == "connection_failed" and "data_dir" in unknown["msg"]
    result = run_ok(MODULE, {**options, "data_dir": str(copied.folder)})
    assert keys_of(copied) == KEYS and "stop" not in [one["id"] for one in result["steps"]]


def test_the_files_belong_to_the_owner_of_the_folder(repository: TestRepository, copied: TestRedis) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(copied.folder, 65534, 65534)
    run_ok(MODULE, live_options(repository, copied))
    assert copied.folder.joinpath("dump.rdb").stat().st_uid == 65534
    (folder,) = copied.folder.glob("oncall-restore-*")
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (os.geteuid(), 0o700)


def test_the_time_chooses_the_copy(repository: TestRepository, copied: TestRedis) -> None:
    first = repository.catalog().copies[0]
    copied.client().time()
    back_up(repository, copied)
    result = run_ok(MODULE, live_options(repository, copied, snapshot=first.id[:12]))
    assert result["restore"]["copy"] == first.id and keys_of(copied) == KEYS


def test_another_place_must_be_meant(
    repository: TestRepository, copied: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    other = make_redis("elsewhere")
    refused = run_failed(MODULE, live_options(repository, other))
    assert refused["failure"]["code"] == "fingerprint_mismatch" and keys_of(other) == 0
    run_ok(MODULE, live_options(repository, other, other_place=True))
    assert keys_of(other) == KEYS


def test_a_bad_copy_is_passed_over_and_the_last_good_one_taken(repository: TestRepository, copied: TestRedis) -> None:
    from tests.support.redis_copies import add_bad_copy

    add_bad_copy(repository, copied.folder.parent / "bad", lambda path: path.write_bytes(path.read_bytes()[:-9]))
    assert run_ok(MODULE, proof_options(repository))["verdict"] == "critical"
    assert run_ok(MODULE, live_options(repository, copied))["changed"]
    assert keys_of(copied) == KEYS
