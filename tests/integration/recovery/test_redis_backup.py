"""redis_backup against real servers: what is stored, what is only looked at, and what is waited for."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.redis_copy import read_redis_manifest
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.redis_save import Save, SaveFailed, copy_file, save
from plugins.module_utils._io.redis_server import RedisServer, RedisTarget
from tests.support.modules import run_failed, run_ok
from tests.support.redis_copies import SOURCE, back_up, backup_options, proof_options
from tests.support.redis_servers import KEYS, TestRedis, fill, redis_servers, wait_for
from tests.support.repositories import TestRepository, make_repository
from tools.embedded_postgres import free_port

MODULE = "redis_backup"
PASSWORD = "redis-secret-91cd"


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[Callable[..., TestRedis]]:
    with redis_servers(tmp_path / "servers") as make:
        yield make


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def redis(make_redis: Callable[..., TestRedis]) -> TestRedis:
    server = make_redis(password=PASSWORD)
    fill(server)
    return server


def manifest_of(repository: TestRepository) -> Any:
    newest = repository.catalog().copies[-1]
    return read_redis_manifest(repository.restic.read_file(newest.id, "/manifest.json"))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"redis_port": 1}, "connection_failed"),
        ({"redis_unix_socket": "/nowhere/redis.sock"}, "connection_failed"),
        ({"sample": -1}, "invalid_value"),
        ({"save_timeout": "soon"}, "invalid_value"),
        ({"repository_password": "not-the-key"}, "wrong_key"),
        ({"repository": "/nowhere/repository"}, "repository_missing"),
        ({"server_bin_dirs": ["/nowhere"]}, "command_missing"),
        ({"method": "magic"}, "invalid_arguments"),
    ],
)
def test_bad_input_is_said_and_nothing_is_saved(
    repository: TestRepository, redis: TestRedis, wrong: dict[str, Any], code: str
) -> None:
    result = run_failed(MODULE, {**backup_options(repository, redis), **wrong})
    assert result["failure"]["code"] == code, result
    assert PASSWORD not in json.dumps(result)
    assert redis.client().info("persistence")["rdb_saves"] == 0


@pytest.mark.parametrize("method", ["file", "transfer"])
def test_check_mode_looks_and_a_real_run_copies(repository: TestRepository, redis: TestRedis, method: str) -> None:
    options = backup_options(repository, redis, method=method)
    predicted = run_ok(MODULE, options, check=True)
    assert predicted["changed"] and repository.restic.snapshots() == ()
    assert redis.client().info("persistence")["rdb_saves"] == 0

    result = run_ok(MODULE, options)
    assert result["plan"] == predicted["plan"]
    assert [step["status"] for step in result["steps"]] == ["done"] * 3
    assert (result["keys"], result["method"], result["proven"], result["status"]) == (KEYS, method, True, "ok")
    (copy,) = repository.catalog().copies
    assert copy.id.startswith(result["snapshot"]) and copy.size_bytes == result["size_bytes"]
    manifest = manifest_of(repository)
    assert manifest.server.port == redis.port and manifest.server.directory == str(redis.folder)
    assert [(one.index, one.keys, one.expires) for one in manifest.loaded.databases] == [(0, KEYS - 1, 50), (3, 1, 0)]
    assert {one.type for one in manifest.loaded.sample} >= {"string"}
    assert PASSWORD not in manifest.to_json() + json.dumps(result)


def test_the_next_copy_is_one_of_its_own(repository: TestRepository, redis: TestRedis) -> None:
    back_up(repository, redis)
    redis.client().set("one more", 1)
    assert back_up(repository, redis)["keys"] == KEYS + 1
    assert len(repository.catalog().copies) == 2


def test_every_type_is_read_back_from_the_copy(repository: TestRepository, redis: TestRedis) -> None:
    back_up(repository, redis, sample=1000)
    sample = manifest_of(repository).loaded.sample
    assert len(sample) == KEYS
    assert {one.type for one in sample} == {"string", "list", "set", "hash", "zset", "stream"}
    assert sum(one.expires_at_ms is not None for one in sample) == 50
    assert run_ok("redis_restore", proof_options(repository))["verdict"] == "ok"


def test_an_empty_server_is_a_copy_too(repository: TestRepository, make_redis: Callable[..., TestRedis]) -> None:
    result = back_up(repository, make_redis())
    assert (result["keys"], result["status"]) == (0, "ok")
    assert run_ok("redis_restore", proof_options(repository))["verdict"] == "ok"


def test_a_repository_is_made_only_when_asked(tmp_path: Path, redis: TestRedis) -> None:
    repository = make_repository(tmp_path, create=False)
    options = backup_options(repository, redis, repository_create=True)
    run_ok(MODULE, options, check=True)
    assert not repository.location.exists()
    run_ok(MODULE, options)
    assert len(repository.catalog().copies) == 1


def test_without_a_proof_no_server_is_needed(repository: TestRepository, redis: TestRedis) -> None:
    result = back_up(repository, redis, prove=False, server_bin_dirs=["/nowhere"])
    assert (result["proven"], result["keys"]) == (False, KEYS)
    assert manifest_of(repository).loaded is None
    proof = run_ok("redis_restore", proof_options(repository))
    assert (proof["verdict"], proof["facts"]) == ("ok", "observed")


def test_a_user_who_may_not_ask_for_the_folder_gets_a_transfer(repository: TestRepository, redis: TestRedis) -> None:
    redis.client().execute_command("ACL", "SETUSER", "backup", "on", ">" + PASSWORD, "~*", "&*", "+@all", "-config")
    result = back_up(repository, redis, redis_username="backup")
    assert (result["method"], result["keys"]) == ("transfer", KEYS)
    asked = run_failed(MODULE, backup_options(repository, redis, redis_username="backup", method="file"))
    assert asked["failure"]["code"] == "insufficient_privilege"


def test_a_save_at_work_is_waited_for_and_another_one_is_made(repository: TestRepository, redis: TestRedis) -> None:
    client = redis.client()
    client.config_set("rdb-key-save-delay", 10_000)  # microseconds for each key: it lasts until the module has come
    client.bgsave()
    assert client.info("persistence")["rdb_bgsave_in_progress"] == 1
    client.set("late", 1)  # not in the save that is at work
    client.config_set("rdb-key-save-delay", 0)
    result = back_up(repository, redis)
    assert client.info("persistence")["rdb_saves"] == 2
    assert result["keys"] == KEYS + 1


def test_saves_within_one_second_are_told_apart(redis: TestRedis) -> None:
    with RedisServer(RedisTarget(port=redis.port, password=PASSWORD)) as server:
        for number in range(5):
            redis.client().set("number", number)
            saved = save(server, SystemClock(), 30)
            assert (saved.changes, saved.info["rdb_saves"]) == (0, number + 1)


def test_a_busy_server_is_copied_and_the_copy_proven(repository: TestRepository, redis: TestRedis) -> None:
    over, written = threading.Event(), threading.Event()
    redis.client().config_set("rdb-key-save-delay", 500)

    def write() -> None:
        client, number = redis.client(), 0
        while not over.is_set():
            client.set(f"busy:{number}", number, px=50 if number % 3 == 0 else None)
            client.incr("counter")
            client.delete(f"busy:{number - 40}")
            number += 1
            written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(written.is_set, "the writer")
        result = back_up(repository, redis)
    finally:
        over.set()
        writer.join()
    live = next(one for one in result["findings"] if one["check"] == "live_keys")
    assert live["status"] == "ok" and live["warning"] > 0
    proof = run_ok("redis_restore", proof_options(repository))
    assert (proof["verdict"], proof["facts"]) == ("ok", "exact"), proof["findings"]


def test_the_file_of_another_server_is_not_taken(redis: TestRedis, tmp_path: Path) -> None:
    redis.client().save()
    now = redis.client().time()[0]
    target = tmp_path / "copy.rdb"
    for began, ended in ((now + 60, now + 61), (now - 61, now - 60)):
        with pytest.raises(SaveFailed) as failure:
            copy_file(redis.folder / "dump.rdb", target, Save(began, ended, {}, 0))
        assert failure.value.code == "not_this_server"
    assert not target.exists()


def test_two_servers_of_one_host_have_two_names(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    back_up(repository, redis, name="sessions")
    back_up(repository, make_redis("other"), name="queue")
    assert {one.name for one in repository.catalog().sources()} == {"sessions", "queue"}
    missing = run_failed("redis_restore", {**repository.options, **SOURCE, "target": "throwaway"})
    assert missing["failure"]["code"] == "no_copy"


def test_without_the_driver_it_is_said_what_to_install(
    repository: TestRepository, redis: TestRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    result = run_failed(MODULE, backup_options(repository, redis))
    assert result["failure"]["code"] == "driver_missing" and "python3-redis" in result["msg"]


def test_a_unix_socket(repository: TestRepository, make_redis: Callable[..., TestRedis]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = make_redis(unixsocket=f"{folder}/s")
        fill(server)
        for method in ("file", "transfer"):
            result = back_up(repository, server, redis_port=1, redis_unix_socket=f"{folder}/s", method=method)
            assert result["keys"] == KEYS


@pytest.mark.parametrize("method", ["file", "transfer"])
def test_tls_is_spoken_and_the_certificate_checked(
    repository: TestRepository, make_redis: Callable[..., TestRedis], tmp_path: Path, method: str
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    files = {"tls_cert_file": str(certificate), "tls_key_file": str(key), "tls_ca_cert_file": str(certificate)}
    server = make_redis(tls_port=str(port), tls_auth_clients="no", **files)
    fill(server)
    tls = {"redis_port": port, "redis_tls": True, "method": method}
    result = back_up(repository, server, **tls, redis_ca_cert=str(certificate))
    assert result["keys"] == KEYS
    untrusted = run_failed(MODULE, backup_options(repository, server, **tls))
    assert untrusted["failure"]["code"] == "connection_failed" and "certificate" in untrusted["msg"].lower()
