"""Faults of Redis servers, copies and hosts: an error with a code, no copy that looks good, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as driver

from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.redis_copies import (
    add_bad_copy,
    back_up,
    backup_options,
    live_options,
    proof_options,
    start_module,
)
from tests.support.redis_servers import KEYS, TestRedis, fill, redis_servers, wait_for
from tests.support.repositories import TestRepository, make_repository

BACKUP, RESTORE = "redis_backup", "redis_restore"
UNTOUCHED = "error with a code, no snapshot, the copy before stays good"
REFUSED = "refused before the server is touched"


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[Callable[..., TestRedis]]:
    with redis_servers(tmp_path / "servers") as make:
        yield make


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def redis(repository: TestRepository, make_redis: Callable[..., TestRedis]) -> TestRedis:
    """A server with one good copy."""
    server = make_redis(save="3600 1")
    fill(server)
    back_up(repository, server)
    return server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def expect_untouched(repository: TestRepository, result: dict[str, object], *codes: str) -> None:
    assert result["failure"]["code"] in codes, result  # type: ignore[index]
    (copy,) = repository.catalog().copies
    assert run_ok(RESTORE, proof_options(repository, snapshot=copy.id))["verdict"] == "ok"


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("oncall-redis-*")]


def keys_of(server: TestRedis) -> int:
    return sum(one["keys"] for one in server.client().info("keyspace").values())


def run_id(server: TestRedis) -> str:
    return str(server.client().info("server")["run_id"])


# --- backup -----------------------------------------------------------------------------------------------------


@fault("BGSAVE that fails", "redis backup: save", UNTOUCHED + "; says whether the server refuses writes now")
def test_bgsave_fails(repository: TestRepository, redis: TestRedis) -> None:
    redis.folder.joinpath("dump.rdb").unlink()
    redis.folder.joinpath("dump.rdb").mkdir()
    result = run_failed(BACKUP, backup_options(repository, redis))
    assert result["failure"]["details"]["writes_refused"] is True
    with pytest.raises(driver.ResponseError, match="MISCONF"):
        redis.client().set("a", 1)
    expect_untouched(repository, result, "bgsave_failed")


@fault("Redis that is killed while it sends its data", "redis backup: transfer", UNTOUCHED)
def test_the_server_goes_in_the_middle_of_a_transfer(
    repository: TestRepository, redis: TestRedis, tmp_path: Path
) -> None:
    redis.client().config_set("repl-diskless-sync-delay", 0)
    redis.client().config_set("rdb-key-save-delay", 20_000)
    options = backup_options(repository, redis, method="transfer", staging_dir=str(tmp_path))
    process = start_module(BACKUP, options)
    wait_for(lambda: any(tmp_path.glob("oncall-redis-*/copy/dump.rdb")), "the transfer to begin")
    assert redis.process is not None
    redis.process.kill()
    answer = json.loads(process.communicate(timeout=120)[0])
    assert answer["failed"] and leftovers(tmp_path) == []
    expect_untouched(repository, answer, "transfer_failed", "rdb_damaged", "connection_failed")


@fault("Redis that is killed while it saves", "redis backup: save", UNTOUCHED)
def test_the_server_goes_in_the_middle_of_a_save(repository: TestRepository, redis: TestRedis, tmp_path: Path) -> None:
    redis.client().config_set("rdb-key-save-delay", 20_000)
    process = start_module(BACKUP, backup_options(repository, redis))
    wait_for(lambda: redis.client().info("persistence")["rdb_bgsave_in_progress"] == 1, "the save to begin")
    assert redis.process is not None
    redis.process.kill()
    answer = json.loads(process.communicate(timeout=120)[0])
    expect_untouched(repository, answer, "connection_failed")


@fault("wrong password of Redis", "redis backup: connection", UNTOUCHED + "; the password is shown nowhere")
def test_a_wrong_password(repository: TestRepository, redis: TestRedis) -> None:
    redis.client().config_set("requirepass", "right-secret-1")
    redis.password = "right-secret-1"
    result = run_failed(BACKUP, backup_options(repository, redis, redis_password="wrong-secret-2"))
    assert "secret" not in json.dumps(result)
    expect_untouched(repository, result, "authentication_failed")


@fault("no room in the staging folder for an RDB", "redis backup: staging", UNTOUCHED)
@pytest.mark.parametrize("method", ["file", "transfer"])
def test_no_room_in_staging(repository: TestRepository, redis: TestRedis, small_disk: Path, method: str) -> None:
    redis.client().set("big", os.urandom(3_000_000))
    options = backup_options(repository, redis, staging_dir=str(small_disk), method=method)
    expect_untouched(repository, run_failed(BACKUP, options), "not_enough_space", "disk_full")
    assert leftovers(small_disk) == []


@fault("disk that gets full while the RDB comes", "redis backup: staging", UNTOUCHED)
@pytest.mark.parametrize("method", ["file", "transfer"])
def test_the_disk_gets_full_on_the_way(
    repository: TestRepository, redis: TestRedis, small_disk: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    for module in ("_module.redis_backup", "_io.redis_save"):  # an estimate that was wrong
        monkeypatch.setattr(f"plugins.module_utils.{module}.need_room", lambda *_: None)
    redis.client().set("big", os.urandom(2_600_000))
    options = backup_options(repository, redis, staging_dir=str(small_disk), method=method)
    expect_untouched(repository, run_failed(BACKUP, options), "disk_full")
    assert leftovers(small_disk) == []


@fault("two backups of one Redis at once", "redis backup: all stages", "both copies are whole, one after the other")
def test_two_backups_at_once(repository: TestRepository, redis: TestRedis) -> None:
    redis.client().config_set("rdb-key-save-delay", 1000)
    pair = [start_module(BACKUP, backup_options(repository, redis)) for _unused in range(2)]
    answers = [json.loads(process.communicate(timeout=180)[0]) for process in pair]
    assert [answer.get("failed", False) for answer in answers] == [False, False], answers
    assert {answer["keys"] for answer in answers} == {KEYS}
    copies = repository.catalog().copies
    assert len(copies) == 3
    assert {run_ok(RESTORE, proof_options(repository, snapshot=one.id))["verdict"] for one in copies} == {"ok"}


@fault("backup of Redis that gets SIGTERM", "redis backup: save", UNTOUCHED + "; nothing stays behind")
def test_a_backup_that_is_ended(repository: TestRepository, redis: TestRedis, tmp_path: Path) -> None:
    redis.client().config_set("rdb-key-save-delay", 20_000)
    process = start_module(BACKUP, backup_options(repository, redis, staging_dir=str(tmp_path)))
    wait_for(lambda: redis.client().info("persistence")["rdb_bgsave_in_progress"] == 1, "the save to begin")
    process.send_signal(signal.SIGTERM)
    answer = json.loads(process.communicate(timeout=60)[0])
    assert leftovers(tmp_path) == []
    redis.client().config_set("rdb-key-save-delay", 0)
    expect_untouched(repository, answer, "stopped")


@fault("backup of Redis that is killed (SIGKILL)", "redis backup: throwaway server",
       "no snapshot; the next run clears the folder and ends the server that was left")  # fmt: skip
def test_a_backup_that_is_killed(repository: TestRepository, redis: TestRedis, tmp_path: Path) -> None:
    redis.client().set("much", "x" * 50_000_000)  # so that loading takes a moment
    process = start_module(BACKUP, backup_options(repository, redis, staging_dir=str(tmp_path)))
    wait_for(lambda: any(tmp_path.glob("oncall-redis-*/copy/throwaway.sock")), "the throwaway server")
    process.kill()
    process.communicate()
    assert len(leftovers(tmp_path)) == 1
    folder = next(tmp_path.glob("oncall-redis-*"))
    back_up(repository, redis, staging_dir=str(tmp_path))
    assert not folder.exists() and leftovers(tmp_path) == []
    assert [path for path in Path("/proc").glob("[0-9]*") if works_in(path, folder)] == []
    assert len(repository.catalog().copies) == 2


def works_in(process: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return str((process / "cwd").readlink()).startswith(str(folder))
    return False


# --- proof ------------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def flip_unsealed(path: Path) -> None:
    """Change a value and take the checksum out, as a server with rdbchecksum no writes it."""
    content = bytearray(path.read_bytes())
    place = content.index(b"value 77 ")
    content[place : place + 8] = b"value 99"
    content[-8:] = bytes(8)
    path.write_bytes(content)


def make_empty(path: Path) -> None:
    path.write_bytes(b"REDIS0010\xff" + bytes(8))


@fault("RDB that was cut, changed or emptied before it was stored", "redis proof",
       "verdict critical; a restore refuses it before the server is touched")  # fmt: skip
@pytest.mark.parametrize("resealed", [False, True], ids=["facts say so", "facts fit"])
@pytest.mark.parametrize("damage", [cut, flip, flip_unsealed, make_empty, Path.unlink])
def test_a_damaged_rdb(
    repository: TestRepository, redis: TestRedis, tmp_path: Path, damage: Callable[[Path], None], resealed: bool
) -> None:
    if resealed and damage is Path.unlink:
        pytest.skip("there is nothing to seal")
    add_bad_copy(repository, tmp_path / "bad", damage, resealed)
    before = run_id(redis)
    refused = run_failed(RESTORE, live_options(repository, redis))
    assert refused["failure"]["code"] == "verification_failed" and run_id(redis) == before
    assert keys_of(redis) == KEYS and list(redis.folder.glob("oncall-restore-2*")) == []

    result = run_ok(RESTORE, proof_options(repository))
    assert (result["verdict"], result["status"]) == ("critical", "critical"), result["findings"]
    catalog = repository.catalog()
    assert [catalog.verdict_of(copy) for copy in catalog.copies] == ["unproven", "bad"]


@fault("bit flip in the repository below a Redis copy", "redis proof", "verdict critical, never ok")
def test_a_bit_flip_in_the_repository(repository: TestRepository, redis: TestRedis) -> None:
    pack = max((repository.location / "data").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    pack.chmod(0o600)
    flip(pack)
    result = run_ok(RESTORE, proof_options(repository))
    assert result["verdict"] == "critical", result
    assert run_failed(RESTORE, live_options(repository, redis))["failure"]["code"] == "no_good_copy"
    forced = run_failed(RESTORE, live_options(repository, redis, snapshot=repository.catalog().copies[0].id))
    assert forced["failure"]["code"] in ("repository_damaged", "verification_failed")
    assert keys_of(redis) == KEYS


@fault("RDB of a newer Redis than there is on the host", "redis proof", "verdict unknown, neither ok nor critical")
def test_an_rdb_of_the_future(repository: TestRepository, redis: TestRedis, tmp_path: Path) -> None:
    def age(path: Path) -> None:
        path.write_bytes(b"REDIS0099" + path.read_bytes()[9:])

    add_bad_copy(repository, tmp_path / "bad", age, resealed=True)
    result = run_ok(RESTORE, proof_options(repository))
    assert result["verdict"] == "unknown", result["findings"]
    assert run_failed(RESTORE, live_options(repository, redis))["failure"]["code"] == "verification_failed"


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
