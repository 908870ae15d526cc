"""The port to restic against the real one: what it writes, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.module_utils._core.backup import make_tags
from plugins.module_utils._io.process import started
from plugins.module_utils._io.restic import Repository, RepositoryFailed, Restic
from tests.support.repositories import TestRepository, make_repository
from tests.support.sessions import eventually


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "söurce 'x'"
    (folder / "dump").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"a": "ö"}')
    (folder / "dump" / "1.dat").write_bytes(os.urandom(300_000))
    return folder


def code_of(action: object) -> str:
    with pytest.raises(RepositoryFailed) as failure:
        action()  # type: ignore[operator]
    assert failure.value.hint
    return failure.value.code


def test_a_folder_comes_back_as_it_was(repository: TestRepository, folder: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    written = repository.restic.backup(str(folder), host="db1", tags=make_tags({"k": "v,w"}), on_progress=seen.append)
    (snapshot,) = repository.restic.snapshots()
    assert snapshot.id.startswith(written.snapshot)
    assert (snapshot.host, snapshot.tags) == ("db1", make_tags({"k": "v,w"}))
    assert written.size_bytes > 300_000
    assert repository.restic.read_file(snapshot.id, "/manifest.json") == '{"a": "ö"}'
    target = tmp_path / "target"
    repository.restic.restore(snapshot.id, str(target))
    assert (target / "dump/1.dat").read_bytes() == (folder / "dump/1.dat").read_bytes()
    chunks = list(repository.restic.read_chunks(snapshot.id, "/dump/1.dat", 1000))
    assert b"".join(chunks) == (folder / "dump/1.dat").read_bytes()


def test_a_producer_that_dies_leaves_no_snapshot(repository: TestRepository) -> None:
    program = repository.restic.stdin_program("stream.tar", host="db1", tags=make_tags({"k": "v"}))
    with contextlib.suppress(ZeroDivisionError), started(program, stdin=-1) as process:
        process.stdin.write(os.urandom(3_000_000))
        raise ZeroDivisionError
    assert repository.restic.snapshots() == ()


def test_what_cannot_be_opened_says_why(repository: TestRepository, tmp_path: Path) -> None:
    wrong = Restic(Repository(str(repository.location), password="another"))
    missing = Restic(Repository(str(tmp_path / "none"), password="x"))
    assert code_of(wrong.snapshots) == "wrong_key"
    assert code_of(missing.snapshots) == "repository_missing"
    assert not missing.exists()
    assert code_of(wrong.exists) == "wrong_key"


def test_an_id_that_is_not_there_is_not_forgotten_in_silence(repository: TestRepository) -> None:
    assert code_of(lambda: repository.restic.forget(["0" * 64])) == "no_copy"


def test_a_part_that_cannot_be_read_leaves_no_snapshot(
    repository: TestRepository, folder: Path, tmp_path: Path
) -> None:
    """The real restic writes a snapshot without that part and ends with 3; for root it is made to."""
    (folder / "manifest.json").chmod(0)
    restic = repository.restic
    if os.geteuid() == 0:
        script = tmp_path / "restic"
        script.write_text('#!/bin/sh\nrestic "$@" || exit\n[ "$1" != backup ] || exit 3\n')
        script.chmod(0o755)
        restic = Restic(replace(restic.repository, restic=str(script)))
    assert code_of(lambda: restic.backup(str(folder), host="h", tags=())) == "incomplete"
    assert repository.restic.snapshots() == ()


def test_a_flipped_bit_is_found(repository: TestRepository, folder: Path) -> None:
    repository.restic.backup(str(folder), host="db1", tags=())
    pack = max(repository.location.glob("data/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    assert code_of(lambda: repository.restic.check("100%")) == "repository_damaged"


def test_a_long_text_comes_back_whole(repository: TestRepository, folder: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(5000))
    (folder / "manifest.json").write_text(text)
    written = repository.restic.backup(str(folder), host="db1", tags=())
    assert repository.restic.read_file(written.snapshot, "/manifest.json") == text


def test_a_killed_feeder_leaves_no_snapshot(repository: TestRepository) -> None:
    """The end of its input would be a reason to write one."""
    program = repository.restic.stdin_program("stream.tar", host="db1", tags=make_tags({"k": "v"}))
    code = f"""
import subprocess, sys, time
from plugins.module_utils._io.process import Program, started
with started(Program({list(program.argv)!r}, {dict(program.env or {})!r}, dies_with_us=True), stdin=-1) as process:
    process.stdin.write(bytes(3_000_000))
    process.stdin.flush()
    print(process.pid, flush=True)
    time.sleep(60)
"""
    feeder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert feeder.stdout is not None
    pid = int(feeder.stdout.readline())
    feeder.kill()
    feeder.communicate()
    eventually(
        lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes(), "its end"
    )
    assert repository.restic.snapshots() == ()


@pytest.mark.parametrize(("free", "code"), [(1 << 20, "disk_full"), (1 << 30, "restic_failed")])
def test_a_crash_over_a_full_disk_is_known(
    repository: TestRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, code: str
) -> None:
    """As 0.14 sometimes does, with nothing but goroutines in its last words."""
    crash = tmp_path / "restic"
    crash.write_text("#!/bin/sh\necho 'panic: runtime error' >&2\nexit 2\n")
    crash.chmod(0o755)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=free))
    restic = Restic(replace(repository.restic.repository, restic=str(crash)))
    assert code_of(lambda: restic.backup(str(tmp_path), host="h", tags=())) == code


def test_a_part_that_cannot_be_read_and_cannot_be_taken_away_is_said(
    repository: TestRepository, folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "restic"
    refused = "echo 'unable to create lock in backend: repository is already locked' >&2; exit 1"
    script.write_text(
        f'#!/bin/sh\n[ "$1" != forget ] || {{ {refused}; }}\nrestic "$@" && [ "$1" = backup ] && exit 3\n'
    )
    script.chmod(0o755)
    restic = Restic(replace(repository.restic.repository, restic=str(script)))
    with pytest.raises(RepositoryFailed) as failure:
        restic.backup(str(folder), host="h", tags=())
    (left,) = repository.restic.snapshots()
    assert failure.value.code == "incomplete" and left.id[:8] in failure.value.message
