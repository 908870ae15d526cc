"""What happens to the repository while old copies are removed, or before: nothing goes that was not to go."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io.process import started
from plugins.module_utils._io.restic import Restic
from tests.support.backup_faults import ModuleProcess, Stop, gone, meanwhile, script, small_disk
from tests.support.backups import backup_options
from tests.support.copies import Known, add_copy, snapshots
from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import make_repository
from tests.support.restic_lock import add_dead_lock, locks, until_locked
from tests.support.servers import Database
from tests.support.sessions import eventually

MODULE, REAL = "backup_retention", shutil.which("restic")
UNTOUCHED = "it fails with its code, and no snapshot is removed"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known.prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def known(prepared: Known, tmp_path: Path) -> Known:
    return prepared.copy_to(tmp_path)


def fails(known: Known, code: str, **changes: Any) -> dict[str, Any]:
    """Run the module, which must fail with this code and remove nothing."""
    before = snapshots(known.repository)
    failed = run_failed(MODULE, known.module(**changes))
    assert failed["failure"]["code"] == code and failed["changed"] is False, failed
    assert snapshots(known.repository) == before
    return failed


def restic_that(folder: Path, *lines: str) -> str:
    """Return a restic that is the real one but for these lines before it."""
    return str(script(folder / "bin" / "restic", *lines, f'exec {REAL} "$@"'))


@fault("clock_jumped_retention", "retention: decision", UNTOUCHED + " (clock_skew)")
def test_a_copy_from_the_future(known: Known) -> None:
    add_copy(known.repository, datetime.now(timezone.utc) + timedelta(days=400))
    fails(known, "clock_skew")


@fault("stale_lock", "retention: repository", "the lock of a dead run is removed and told; the run succeeds")
def test_the_lock_of_a_dead_run(known: Known) -> None:
    before, restic = snapshots(known.repository), known.repository.restic
    with locked(known) as living:
        living.kill()
        living.wait()
    assert len(restic.locks()) == 1
    done = run_ok(MODULE, known.module())
    assert done["steps"][0]["detail"] == "1 lock of dead runs removed, 0 of living runs left"
    assert before - snapshots(known.repository) == known.leaving() and restic.locks() == []


@fault("living_lock", "retention: repository", UNTOUCHED + " (repository_locked); the other run goes on")
def test_the_lock_of_a_living_run(known: Known) -> None:
    with locked(known) as living:
        failed = fails(known, "repository_locked")
        assert living.poll() is None
    assert {step["id"]: step["status"] for step in failed["steps"]}["unlock"] == "skipped"


def locked(known: Known) -> contextlib.AbstractContextManager[Any]:
    """Let a backup hold its lock while the block runs."""

    @contextlib.contextmanager
    def hold() -> Any:
        with started(known.repository.restic.stdin_program("x", host="h", tags=()), stdin=subprocess.PIPE) as living:
            living.stdin.write(b"x" * 100_000)
            living.stdin.flush()
            eventually(lambda: list((known.repository.location / "locks").iterdir()), "the lock of a backup")
            yield living

    return hold()


@fault("append_only", "retention: proof", "a repository that keeps what it says it forgot: verification_failed")
def test_a_repository_that_only_pretends_to_forget(known: Known, tmp_path: Path) -> None:
    failed = fails(known, "verification_failed", restic_path=restic_that(tmp_path, '[ "$1" != forget ] || exit 0'))
    assert {step["status"] for step in failed["steps"]} == {"failed"}


@fault(
    "others_remove", "retention: proof", "a copy that somebody else removed meanwhile is named (verification_failed)"
)
def test_a_copy_vanishes_meanwhile(known: Known, tmp_path: Path) -> None:
    victim = known.repository.location / "snapshots" / known.copies[1]
    restic = restic_that(tmp_path, f'[ "$1" != forget ] || rm -f {victim}')
    failed = run_failed(MODULE, known.module(restic_path=restic))
    assert failed["failure"]["code"] == "verification_failed" and failed["changed"] is True
    assert failed["failure"]["details"]["snapshots"] == [known.copies[1]]


@fault("kill_retention", "retention: forget", "only what was to go is gone; the next run removes the rest")
def test_the_module_is_killed_half_way(known: Known, tmp_path: Path) -> None:
    before, stop = snapshots(known.repository), Stop(tmp_path)
    restic = restic_that(tmp_path, f'[ "$1" != forget ] || {{ {REAL} forget "$3"; {stop.here}; exit; }}')
    run = ModuleProcess.start(known.module(restic_path=restic), tmp_path / "tmp", MODULE)
    program = stop.pid
    run.kill()
    assert run.result() == {}
    stop.let_go()
    eventually(lambda: gone(program), "restic to end")
    half = before - snapshots(known.repository)
    assert half and half < known.leaving()
    run_ok(MODULE, known.module())
    assert before - snapshots(known.repository) == known.leaving()
    known.repository.restic.check("100%")


@fault(
    "kill_prune",
    "retention: prune",
    "what is left restores; it fails with what was done before, and its lock stands in the way of no later run",
)
def test_restic_is_killed_while_it_prunes(known: Known, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    kill = f'{REAL} "$@" & echo $! > {killed}; {until_locked(known.repository.location)}; kill -9 $!; kill -9 $$'
    before = snapshots(known.repository)
    restic = restic_that(tmp_path, f'[ "$1" != prune ] || {{ {kill}; }}')
    failed = run_failed(MODULE, known.module(restic_path=restic))
    assert failed["changed"] is True and failed["steps"][-1]["status"] == "failed"
    assert before - snapshots(known.repository) == known.leaving()
    (lock,) = known.repository.restic.locks()
    assert run_ok(MODULE, known.module())["plan"] == []
    assert run_ok("backup_repository", known.repository.options)["status"] == "ok"
    assert known.repository.restic.locks() == [lock]
    pid = killed.read_text().strip()
    eventually(lambda: not Path("/proc", pid).exists(), "the dead process to be buried: until then it counts as alive")
    source = {"product": "shop", "source_host": "app1", "paths": [str(killed)]}
    assert run_ok("config_backup", {**known.repository.options, **source})["changed"]
    assert known.repository.restic.locks() == []
    known.repository.restic.check("100%")


@fault("dead_exclusive_lock", "backup: repository", "the lock of a dead prune is removed; the copy is made")
@pytest.mark.parametrize("mode", ["directory", "stream"])
def test_a_database_is_copied_past_the_lock_of_a_dead_run(database: Database, tmp_path: Path, mode: str) -> None:
    repository = make_repository(tmp_path)
    add_dead_lock(repository.location)
    options = backup_options(database, repository, tmp_path / "staging", mode=mode, sentinel=False)
    (copy,) = run_ok("postgresql_backup", options)["copies"]
    assert snapshots(repository) == {copy["snapshot"]} and locks(repository.location) == set()


@fault("retention_during_restore", "restore: fetch", "the retention fails with repository_locked; the copy is restored")
def test_old_copies_are_removed_while_one_is_restored(known: Known, tmp_path: Path) -> None:
    stop, victim = Stop(tmp_path), known.copies[6]
    pause = f"{until_locked(known.repository.location)}; kill -STOP $!; {stop.here}; kill -CONT $!; wait $!; exit $?"
    path = restic_that(tmp_path, f'[ "$1" != restore ] || {{ {REAL} "$@" & {pause}; }}')
    reader = Restic(replace(known.repository.restic.repository, restic=path))
    with meanwhile(lambda: reader.restore(victim, str(tmp_path / "restored"))):
        try:
            assert stop.pid
            fails(known, "repository_locked")
        finally:
            stop.let_go()
    assert (tmp_path / "restored" / "manifest.json").is_file() and known.repository.restic.locks() == []
    run_ok(MODULE, known.module())
    assert victim not in snapshots(known.repository)


@fault("disk_full_retention", "retention: repository", UNTOUCHED + " (disk_full)")
def test_the_disk_of_the_repository_is_full(prepared: Known, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        known = prepared.copy_to(disk)
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        fails(known, "disk_full", restic_cache_dir=str(tmp_path / "cache"))


def truncate(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@fault("damaged_snapshot_retention", "retention: decision", UNTOUCHED + " (repository_damaged)")
@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_snapshot_is_damaged(known: Known, damage: Callable[[Path], None]) -> None:
    damage(known.repository.location / "snapshots" / known.copies[1])
    fails(known, "repository_damaged")
    seen = run_ok("backup_catalog_info", known.repository.options)
    assert "snapshots_unreadable" in {one["check"] for one in seen["findings"] if one["status"] == "critical"}


@fault("damaged_index_retention", "retention: decision", UNTOUCHED + " (repository_damaged)")
@pytest.mark.parametrize("damage", [truncate, flip])
def test_the_index_is_damaged(known: Known, damage: Callable[[Path], None]) -> None:
    for index in (known.repository.location / "index").iterdir():
        damage(index)
    fails(known, "repository_damaged")


@fault("disk_not_mounted", "repository: opening", "no new repository is made unasked (repository_missing)")
def test_the_disk_of_the_repository_is_not_mounted(tmp_path: Path, known: Known) -> None:
    empty = tmp_path / "mount"
    empty.mkdir()
    failed = run_failed("backup_repository", {**known.repository.options, "repository": str(empty)})
    assert failed["failure"]["code"] == "repository_missing" and list(empty.iterdir()) == []


@fault("escrow_key_removed", "repository: opening", "critical in the next run, and not mended unasked")
def test_the_escrow_key_is_gone(known: Known) -> None:
    options = {**known.repository.options, "escrow_password": "put aside"}
    run_ok("backup_repository", {**options, "create": True})
    restic = known.repository.restic
    keys = restic.keys()
    (escrow,) = (key["id"] for key in keys if key["userName"] == "oncall-escrow")
    (path,) = (key for key in (known.repository.location / "keys").iterdir() if key.name.startswith(escrow))
    path.unlink()
    result = run_ok("backup_repository", options)
    assert result["status"] == "critical" and not result["changed"] and len(restic.keys()) == 1
