"""Locks of the repository: those of dead runs stand in nobody's way, those of living ones do, and readers have one."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from plugins.module_utils._io.process import Program, deadline, started
from plugins.module_utils._io.restic import RepositoryFailed, Restic
from tests.support.backup_faults import script, small_disk
from tests.support.repositories import TestRepository, make_repository
from tests.support.restic_lock import add_dead_lock, add_lock, living_lock, locks

Work = Callable[[TestRepository, Path, str], object]
PAYLOAD = os.urandom(6_000_000)  # more than fits into a pipe and what waits before it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "payload").write_bytes(PAYLOAD)
    (folder / "facts").write_text("x")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def snapshot(repository: TestRepository, folder: Path) -> str:
    repository.restic.backup(str(folder), host="db1", tags=())
    return repository.restic.snapshots()[0].id


@pytest.fixture
def living(repository: TestRepository, tmp_path: Path) -> Iterator[str]:
    with living_lock(repository, tmp_path / "other") as lock:
        yield lock


def add_key(repository: TestRepository, folder: Path, _snapshot: str) -> None:
    file = folder.parent / "second"
    file.write_text("another password")
    repository.restic.add_key(str(file))


NEEDS_A_LOCK: dict[str, Work] = {
    "backup": lambda known, folder, _snapshot: known.restic.backup(str(folder), host="db1", tags=()),
    "forget": lambda known, _folder, snapshot: known.restic.forget([snapshot]),
    "prune": lambda known, _folder, _snapshot: known.restic.prune(),
    "check": lambda known, _folder, _snapshot: known.restic.check(),
    "add_key": add_key,
}
READS: dict[str, Work] = {
    "restore": lambda known, folder, snapshot: known.restic.restore(snapshot, str(folder.parent / "target")),
    "dump": lambda known, _folder, snapshot: list(known.restic.read_chunks(snapshot, "/payload")),
}
WITHOUT: dict[str, Work] = {
    "exists": lambda known, _folder, _snapshot: known.restic.exists(),
    "read_file": lambda known, _folder, snapshot: known.restic.read_file(snapshot, "/facts"),
}


@pytest.mark.parametrize("work", [pytest.param(work, id=name) for name, work in {**NEEDS_A_LOCK, **READS}.items()])
def test_the_lock_of_a_dead_run_stands_in_nobodys_way(
    repository: TestRepository, folder: Path, snapshot: str, work: Work
) -> None:
    add_dead_lock(repository.location)
    work(repository, folder, snapshot)
    assert locks(repository.location) == set()


@pytest.mark.parametrize("work", [pytest.param(work, id=name) for name, work in NEEDS_A_LOCK.items()])
def test_the_lock_of_a_living_run_does(
    repository: TestRepository, folder: Path, snapshot: str, living: str, work: Work
) -> None:
    with pytest.raises(RepositoryFailed) as failure:
        work(repository, folder, snapshot)
    assert failure.value.code == "repository_locked" and "the next run on its host" in failure.value.hint
    assert locks(repository.location) == {living}


@pytest.mark.parametrize("work", [pytest.param(work, id=name) for name, work in {**WITHOUT, **READS}.items()])
def test_whoever_only_reads_does_not_wait_for_a_lock(
    repository: TestRepository, folder: Path, snapshot: str, living: str, work: Work
) -> None:
    work(repository, folder, snapshot)
    assert locks(repository.location) == {living}


@pytest.mark.parametrize(("minutes", "left"), [(10, True), (31, False)])
def test_a_program_that_has_got_the_number_of_a_dead_run_is_not_hit(
    repository: TestRepository, minutes: int, left: bool
) -> None:
    """restic would send it SIGHUP, and take it for its own."""
    with started(Program(["sleep", "600"])) as stranger:
        host, age = socket.gethostname(), timedelta(minutes=minutes)
        lock = add_lock(repository.location, host=host, pid=stranger.pid, age=age)
        if left:
            with pytest.raises(RepositoryFailed, match="lock was created"):
                repository.restic.prune()
        else:
            repository.restic.prune()
        assert stranger.poll() is None and locks(repository.location) == ({lock} if left else set())


def test_a_run_of_another_user_is_not_taken_for_dead(
    repository: TestRepository, living: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """restic takes it for dead when it must not signal it."""

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    restic = script(repository.folder / "bin" / "restic", '[ "$1" = unlock ] && exit 9; exec restic "$@"')
    monkeypatch.setattr("plugins.module_utils._io.restic_locks.os.kill", refuse)
    Restic(replace(repository.restic.repository, restic=str(restic))).unlock_stale()
    assert locks(repository.location) == {living}


@pytest.mark.parametrize(("minutes", "left"), [(10, True), (31, False)])
def test_a_run_elsewhere_lives_as_long_as_it_gives_a_sign(repository: TestRepository, minutes: int, left: bool) -> None:
    """Whether its process is there can only its own host tell."""
    elsewhere = add_lock(repository.location, host=f"not-{socket.gethostname()}", pid=1, age=timedelta(minutes=minutes))
    if left:
        with pytest.raises(RepositoryFailed, match="lock was created"):
            repository.restic.prune()
    else:
        repository.restic.prune()
    assert locks(repository.location) == ({elsewhere} if left else set())


def test_a_repository_that_may_not_be_changed_says_that_of_its_lock(repository: TestRepository, tmp_path: Path) -> None:
    refused = "unable to create lock in backend: OpenFile: permission denied"
    restic = script(
        tmp_path / "bin" / "restic", f'[ "$1" != prune ] || {{ echo "{refused}" >&2; exit 1; }}', 'exec restic "$@"'
    )
    with pytest.raises(RepositoryFailed) as failure:
        Restic(replace(repository.restic.repository, restic=str(restic))).prune()
    assert failure.value.code == "insufficient_privilege"


def test_nobody_prunes_what_is_being_read(repository: TestRepository, snapshot: str) -> None:
    chunks = repository.restic.read_chunks(snapshot, "/payload", 1000)
    begun = next(chunks)
    with pytest.raises(RepositoryFailed) as failure:
        repository.restic.forget([snapshot], prune=True)
    assert failure.value.code == "repository_locked"
    assert begun + b"".join(chunks) == PAYLOAD and locks(repository.location) == set()
    repository.restic.forget([snapshot], prune=True)


def test_whoever_stops_reading_leaves_no_lock(repository: TestRepository, snapshot: str) -> None:
    chunks = repository.restic.read_chunks(snapshot, "/payload", 1000)
    assert next(chunks) == PAYLOAD[:1000] and len(locks(repository.location)) == 1
    chunks.close()
    assert locks(repository.location) == set()


def test_a_deadline_leaves_no_lock(repository: TestRepository) -> None:
    program = repository.restic.stdin_program("stream", host="db1", tags=())
    with started(program, stdin=subprocess.PIPE) as process:
        process.stdin.write(PAYLOAD)  # it reads when it has its lock: more than a pipe holds is gone only then
        process.stdin.flush()
        assert len(locks(repository.location)) == 1
        with deadline(process, program, 0):
            process.wait(60)
    assert locks(repository.location) == set() and repository.restic.snapshots() == ()


def test_a_copy_on_a_disk_for_reading_only_is_read_at_once(
    repository: TestRepository, snapshot: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 32) as disk:
        subprocess.run(["cp", "-a", repository.location, disk / "repository"], check=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        place = replace(repository.restic.repository, location=str(disk / "repository"), timeout=30)
        Restic(place).restore(snapshot, str(tmp_path / "target"))
        assert b"".join(Restic(place).read_chunks(snapshot, "/payload")) == PAYLOAD
    assert (tmp_path / "target" / "payload").read_bytes() == PAYLOAD


def test_a_copy_elsewhere_is_read_without_a_lock_where_none_can_be_written(
    repository: TestRepository, snapshot: str, tmp_path: Path
) -> None:
    """What restic says over sftp, where it may read only."""
    refused = "unable to create lock in backend: OpenFile: permission denied"
    lines = ('[[ "$*" = *--no-lock* || "$1" = unlock ]] && exec restic "$@"', f'echo "{refused}" >&2', "exit 1")
    restic = script(tmp_path / "bin" / "restic", *lines)
    reader = Restic(replace(repository.restic.repository, restic=str(restic)))
    reader.restore(snapshot, str(tmp_path / "target"))
    assert (
        (tmp_path / "target" / "payload").read_bytes() == b"".join(reader.read_chunks(snapshot, "/payload")) == PAYLOAD
    )
