"""Faults while Redis is restored: refused before the server is touched, or its data is put back."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugins.module_utils._core.errors import PreconditionFailed
from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.redis_copies import (
    back_up,
    live_options,
    start_module,
)
from tests.support.redis_servers import KEYS, TestRedis, fill, wait_for
from tests.support.repositories import TestRepository

BACKUP, RESTORE = "redis_backup", "redis_restore"
REFUSED = "refused before the server is touched"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def keys_of(server: TestRedis) -> int:
    return sum(one["keys"] for one in server.client().info("keyspace").values())


def run_id(server: TestRedis) -> str:
    return str(server.client().info("server")["run_id"])


# --- restore ----------------------------------------------------------------------------------------------------


@fault(
    "append-only file beside a restored RDB", "redis restore: place", "the restored data is served, also after a start"
)
@pytest.mark.parametrize("running", [True, False])
def test_an_append_only_file_does_not_win(
    repository: TestRepository, make_redis: Callable[..., TestRedis], running: bool
) -> None:
    server = make_redis(appendonly="yes")
    fill(server)
    back_up(repository, server)
    server.client().flushall()
    if not running:
        server.stop()
    run_ok(RESTORE, live_options(repository, server, data_dir=str(server.folder)))
    for _unused in range(2):
        assert keys_of(server) == KEYS
        server.stop()
        server.start()
    assert server.client().config_get("appendonly")["appendonly"] == "yes"


@fault("replicas follow the Redis that is to be restored", "redis restore: preflight",
       "refused; with fence_replicas they keep what they have")  # fmt: skip
def test_replicas_are_fenced(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    redis.client().set("since", 1)
    replica = make_redis("replica", replicaof=f"127.0.0.1 {redis.port}")
    wait_for(lambda: keys_of(replica) == KEYS + 1, "the replica")
    before = run_id(redis)
    refused = run_failed(RESTORE, live_options(repository, redis))
    assert refused["failure"]["code"] == "replicas_attached" and run_id(redis) == before
    result = run_ok(RESTORE, live_options(repository, redis, fence_replicas=True))
    assert result["restore"]["fenced"] == [f"127.0.0.1:{replica.port}"] and result["status"] == "warning"
    assert (keys_of(redis), keys_of(replica)) == (KEYS, KEYS + 1)
    assert replica.client().info("replication")["role"] == "master"


def followed_by(redis: TestRedis, make: Callable[..., TestRedis]) -> TestRedis:
    replica = make("replica", replicaof=f"127.0.0.1 {redis.port}")
    wait_for(lambda: keys_of(replica) == keys_of(redis), "the replica")
    return replica


def master_of(replica: TestRedis) -> int | None:
    """Return the port of the server that a replica follows, None when it is a master."""
    port = replica.client().info("replication").get("master_port")
    return None if port is None else int(port)


@fault("save before a restore of Redis that fails while replicas follow", "redis restore: keep",
       "the replicas go on following")  # fmt: skip
def test_the_save_fails(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = followed_by(redis, make_redis)

    def fails(*_unused: object) -> None:
        raise PreconditionFailed("BGSAVE failed", code="bgsave_failed")

    monkeypatch.setattr("plugins.module_utils._io.redis_control.save", fails)
    result = run_failed(RESTORE, live_options(repository, redis, fence_replicas=True))
    assert result["failure"]["code"] == "bgsave_failed" and master_of(replica) == redis.port
    assert replica.client().info("replication")["role"] == "slave"


@fault("restore of Redis that fails after replicas were made masters", "redis restore: stop, start",
       "the replicas follow again, and the message says so")  # fmt: skip
@pytest.mark.parametrize("step", ["stop", "start"])
def test_the_replicas_of_a_restore_that_failed_follow_again(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis], step: str
) -> None:
    replica = followed_by(redis, make_redis)
    marker, start = redis.folder / "second", " ".join(redis.command("start"))
    once = ["sh", "-c", f"test -e {marker} && exec {start}; touch {marker}; exit 3"]
    broken = {"stop_command": ["false"]} if step == "stop" else {"start_command": once}
    redis.client().set("since", 1)
    result = run_failed(RESTORE, live_options(repository, redis, fence_replicas=True, **broken))
    label = f"127.0.0.1:{replica.port}"
    assert result["failure"]["code"] == "command_failed" and f"follow again: {label}" in result["msg"], result
    assert master_of(replica) == redis.port
    redis.client().set("and on", 1)
    wait_for(lambda: keys_of(replica) == keys_of(redis) == KEYS + 2, "the replica to follow again")
    again = run_ok(RESTORE, live_options(repository, redis, fence_replicas=True))
    assert again["changed"] and keys_of(redis) == KEYS, "nothing of the failed restore stands in the way"


@fault("restore of Redis that fails, with a replica that cannot be made to follow again", "redis restore: stop",
       "the message names it and what to do")  # fmt: skip
def test_a_replica_that_does_not_follow_again_is_named(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    replica = followed_by(redis, make_redis)
    stop = ["sh", "-c", f"redis-cli -p {replica.port} shutdown nosave; exit 1"]
    result = run_failed(RESTORE, live_options(repository, redis, fence_replicas=True, stop_command=stop))
    label = f"127.0.0.1:{replica.port}"
    assert f"{label} (REPLICAOF 127.0.0.1 {redis.port})" in result["msg"], result
    assert result["failure"]["details"]["detached"] == [label]


@fault("undo of a restore of Redis that had made replicas masters", "redis restore: undo",
       "critical: those that follow nobody are named, with what to do")  # fmt: skip
def test_an_undo_names_replicas_that_follow_nobody(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    replica = followed_by(redis, make_redis)
    options = live_options(repository, redis, fence_replicas=True)
    run_ok(RESTORE, {**options})
    undone = run_ok(RESTORE, {**options, "state": "undone"})
    words = f"127.0.0.1:{replica.port} (REPLICAOF 127.0.0.1 {redis.port})"
    assert undone["status"] == "critical" and words in undone["msg"], undone
    replica.client().replicaof("127.0.0.1", redis.port)
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up", "the replica")
    redis.client().set("since", 1)
    run_ok(RESTORE, options)
    replica.client().replicaof("127.0.0.1", redis.port)
    assert run_ok(RESTORE, {**options, "state": "undone"})["status"] != "critical"


@fault("replica as the target of a restore", "redis restore: preflight", REFUSED)
def test_a_replica_is_not_restored(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    replica = make_redis("replica", replicaof=f"127.0.0.1 {redis.port}")
    wait_for(lambda: keys_of(replica) == KEYS, "the replica")
    before = run_id(replica)
    refused = run_failed(RESTORE, live_options(repository, replica, other_place=True))
    assert refused["failure"]["code"] == "is_standby" and run_id(replica) == before


@fault("Redis that does not stop, or is started again at once", "redis restore: stop", "refused, its data untouched")
def test_the_server_is_kept_alive(
    repository: TestRepository, redis: TestRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.module_utils._io.redis_control._STOP_SECONDS", 1.0)
    redis.client().set("since", 1)
    result = run_failed(RESTORE, live_options(repository, redis, stop_command=["true"]))
    assert result["failure"]["code"] == "target_in_use"
    assert [one["status"] for one in result["steps"]][-1] == "failed"
    assert keys_of(redis) == KEYS + 1 and redis.client().set("writers go on", 1)


@fault(
    "Redis that does not start with the restored data", "redis restore: start", "the old data is put back and served"
)
def test_the_start_fails(repository: TestRepository, redis: TestRedis) -> None:
    redis.client().set("since", 1)
    marker = redis.folder / "second"
    start = " ".join(redis.command("start"))
    once = ["sh", "-c", f"test -e {marker} && exec {start}; touch {marker}; exit 3"]
    result = run_failed(RESTORE, live_options(repository, redis, start_command=once))
    assert result["failure"]["code"] == "command_failed" and "old data is back" in result["msg"]
    assert result["changed"] and keys_of(redis) == KEYS + 1
    assert run_ok(RESTORE, live_options(repository, redis, state="undone"))["changed"] is False


@fault("start command that starts another Redis", "redis restore: verify", "the old data is put back")
def test_the_wrong_server_is_started(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    redis.client().set("since", 1)
    redis.client().save()
    elsewhere = redis.folder.parent / "elsewhere"
    elsewhere.mkdir()
    marker = redis.folder / "second"
    right, wrong = " ".join(redis.command("start")), f"{' '.join(redis.command('start'))} --dir {elsewhere}"
    start = ["sh", "-c", f"if test -e {marker}; then exec {right}; fi; touch {marker}; exec {wrong}"]
    result = run_failed(RESTORE, live_options(repository, redis, start_command=start))
    assert result["failure"]["code"] == "fingerprint_mismatch" and "old data is back" in result["msg"], result
    assert keys_of(redis) == KEYS + 1


@fault("restore of Redis that is killed (SIGKILL) while the server is stopped", "redis restore: start",
       "the next restore refuses, the undo brings the old data back")  # fmt: skip
def test_a_restore_that_is_killed(repository: TestRepository, redis: TestRedis) -> None:
    redis.client().set("since", 1)
    process = start_module(RESTORE, live_options(repository, redis, start_command=["sleep", "60"]))
    wait_for(lambda: any(redis.folder.glob("oncall-restore-*/old/dump.rdb")), "the swap")
    process.kill()
    process.communicate()
    options = live_options(repository, redis, data_dir=str(redis.folder))
    assert run_failed(RESTORE, options)["failure"]["code"] == "restore_interrupted"
    assert run_ok(RESTORE, {**options, "state": "undone"})["changed"]
    assert keys_of(redis) == KEYS + 1
    assert run_ok(RESTORE, options)["changed"] and keys_of(redis) == KEYS


@fault("restore of Redis that is killed (SIGKILL) after replicas were made masters", "redis restore: stop",
       "the next restore refuses, the undo names them and leaves the server running")  # fmt: skip
def test_a_restore_that_is_killed_after_fencing(
    repository: TestRepository, redis: TestRedis, make_redis: Callable[..., TestRedis]
) -> None:
    replica, stopping = followed_by(redis, make_redis), redis.folder / "stopping"
    stop = ["sh", "-c", f"touch {stopping}; exec sleep 60"]
    process = start_module(RESTORE, live_options(repository, redis, fence_replicas=True, stop_command=stop))
    wait_for(stopping.exists, "the stop")
    process.kill()
    process.communicate()
    before, label = run_id(redis), f"127.0.0.1:{replica.port}"
    assert master_of(replica) is None
    options = live_options(repository, redis, fence_replicas=True)
    assert run_failed(RESTORE, options)["failure"]["code"] == "restore_interrupted"
    undone = run_ok(RESTORE, {**options, "state": "undone"})
    assert undone["status"] == "critical" and f"{label} (REPLICAOF 127.0.0.1 {redis.port})" in undone["msg"], undone
    assert run_id(redis) == before and redis.client().set("writers go on", 1)
    assert run_ok(RESTORE, options)["changed"] and keys_of(redis) == KEYS


@fault("record of a restore that the server's own user has put there", "redis restore: undo",
       "refused with insecure_directory: nothing that it names is moved")  # fmt: skip
def test_a_forged_record(repository: TestRepository, redis: TestRedis) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has others to be careful of")
    forged = redis.folder / "oncall-restore-99990101-000000-000000"
    forged.mkdir(mode=0o700)
    record = {"format": 1, "id": "99990101-000000-000000", "copy": "c", "taken_at": "t", "at": "t", "fenced": []}
    names = {"state": "restored", "moved": ["dump.rdb"], "placed": ["dump.rdb"], "keys_before": 1}
    (forged / "record.json").write_text(json.dumps({**record, **names}))
    os.chown(forged, 65534, 65534)
    before = run_id(redis)
    result = run_failed(RESTORE, live_options(repository, redis, state="undone"))
    assert result["failure"]["code"] == "insecure_directory" and run_id(redis) == before


@fault("two restores into one Redis at once", "redis restore: preflight", "the second is refused with lock_busy")
def test_two_restores_at_once(repository: TestRepository, redis: TestRedis) -> None:
    gate = redis.folder / "gate"
    stop = ["sh", "-c", f"while ! test -e {gate}; do sleep 0.05; done; kill $(cat {redis.folder}/redis.pid)"]
    first = start_module(RESTORE, live_options(repository, redis, stop_command=stop))
    wait_for(lambda: any(redis.folder.glob("oncall-restore-*/new")), "the first restore")
    redis_before = run_id(redis)
    second = run_failed(RESTORE, live_options(repository, redis))
    assert second["failure"]["code"] == "lock_busy" and run_id(redis) == redis_before
    gate.touch()
    answer = json.loads(first.communicate(timeout=120)[0])
    assert not answer.get("failed"), answer
    assert keys_of(redis) == KEYS


@fault("no room beside the data of Redis", "redis restore: place", "refused, the server runs on with its data")
def test_no_room_beside_the_data(
    repository: TestRepository, make_redis: Callable[..., TestRedis], small_disk: Path
) -> None:
    server = make_redis("../small/data")
    server.client().set("big", os.urandom(700_000))
    back_up(repository, server, staging_dir=tempfile.gettempdir())
    server.client().set("since", 1)
    before = run_id(server)
    result = run_failed(RESTORE, live_options(repository, server))
    assert result["failure"]["code"] in ("not_enough_space", "disk_full") and run_id(server) == before
    assert keys_of(server) == 2 and server.client().set("writers go on", 1)
    assert list(server.folder.glob("oncall-restore-*")) == []
