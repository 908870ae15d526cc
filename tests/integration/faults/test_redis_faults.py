"""Faults of Redis servers, copies and hosts: an error with a code, no copy that looks good, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as driver

from plugins.module_utils._io.workspace import processes_in
from tests.support.backup_faults import script
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
from tests.support.redis_servers import KEYS, TestRedis, wait_for
from tests.support.repositories import TestRepository

BACKUP, RESTORE = "redis_backup", "redis_restore"
UNTOUCHED = "error with a code, no snapshot, the copy before stays good"


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
    redis.client().config_set("rdb-key-save-delay", 20_000)
    options = backup_options(repository, redis, method="transfer", staging_dir=str(tmp_path))
    process = start_module(BACKUP, options)
    wait_for(lambda: any(tmp_path.glob("oncall-redis-*/copy/dump.rdb")), "the transfer to begin")
    assert redis.process is not None
    redis.process.kill()
    answer = json.loads(process.communicate(timeout=120)[0])
    assert answer["failed"] and leftovers(tmp_path) == []
    expect_untouched(repository, answer, "transfer_failed", "rdb_damaged", "connection_failed")


@pytest.mark.parametrize("survives", [False, True])
@fault("Redis that is killed while it saves, with the process that saves or without it", "redis backup: save",
       UNTOUCHED)  # fmt: skip
def test_the_server_goes_in_the_middle_of_a_save(repository: TestRepository, redis: TestRedis, survives: bool) -> None:
    redis.client().config_set("rdb-key-save-delay", 100_000)
    process = start_module(BACKUP, backup_options(repository, redis, redis_timeout="2s"))
    wait_for(lambda: redis.client().info("persistence")["rdb_bgsave_in_progress"] == 1, "the save to begin")
    (saving,) = redis.kill()
    if not survives:
        os.kill(saving, signal.SIGKILL)
    answer = json.loads(process.communicate(timeout=120)[0])
    # What saves may keep the connections of the server open: then nobody answers on them.
    expect_untouched(repository, answer, "connection_failed", *(["timed_out"] if survives else []))
    with contextlib.suppress(ProcessLookupError):
        os.kill(saving, signal.SIGKILL)


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
    with redis_server_that('exec "$REAL" "$@" --key-load-delay 1000000') as servers:  # it loads for minutes
        options = backup_options(repository, redis, staging_dir=str(tmp_path), server_bin_dirs=[servers])
        process = start_module(BACKUP, options)
        wait_for(lambda: any(tmp_path.glob("oncall-redis-*/copy/throwaway.sock")), "the throwaway server")
        process.kill()
        process.communicate()
    (folder,) = tmp_path.glob("oncall-redis-*")
    assert len(processes_in(folder)) == 1
    back_up(repository, redis, staging_dir=str(tmp_path))
    assert not folder.exists() and leftovers(tmp_path) == []
    assert [path for path in Path("/proc").glob("[0-9]*") if works_in(path, folder)] == []
    assert len(repository.catalog().copies) == 2


def works_in(process: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return str((process / "cwd").readlink()).startswith(str(folder))
    return False


@contextlib.contextmanager
def redis_server_that(*lines: str) -> Iterator[str]:
    """Give the folder of a redis-server that runs these lines; ``$REAL`` is the real one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # another user has to run it
        version = 'case "$1" in *version|-v) exec "$REAL" --version;; esac'
        script(Path(folder, "redis-server"), f"REAL={shutil.which('redis-server')}", version, *lines)
        yield folder


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


@fault("throwaway Redis that is killed (out of memory) while it loads a good copy", "redis proof",
       "verdict unknown: the copy stays as good as it was")  # fmt: skip
def test_the_throwaway_is_killed(repository: TestRepository, redis: TestRedis) -> None:
    with redis_server_that("kill -9 $$") as servers:
        result = run_ok(RESTORE, proof_options(repository, server_bin_dirs=[servers]))
    assert (result["verdict"], result["status"]) == ("unknown", "unknown"), result["findings"]
    catalog = repository.catalog()
    assert [catalog.verdict_of(copy) for copy in catalog.copies] == ["unproven"]
    assert run_ok(RESTORE, proof_options(repository))["verdict"] == "ok"


@fault("RDB of a newer Redis than there is on the host", "redis proof", "verdict unknown, neither ok nor critical")
def test_an_rdb_of_the_future(repository: TestRepository, redis: TestRedis, tmp_path: Path) -> None:
    def age(path: Path) -> None:
        path.write_bytes(b"REDIS0099" + path.read_bytes()[9:])

    add_bad_copy(repository, tmp_path / "bad", age, resealed=True)
    result = run_ok(RESTORE, proof_options(repository))
    assert result["verdict"] == "unknown", result["findings"]
    assert run_failed(RESTORE, live_options(repository, redis))["failure"]["code"] == "verification_failed"
