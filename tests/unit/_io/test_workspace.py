"""Folders that killed runs left: cleared when they are ours, and nobody else can point us at somebody's processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils._io import workspace
from plugins.module_utils._io.workspace import clear_leftovers, processes_in


def leftover(place: Path, name: str = "oncall-x-1") -> Path:
    folder = place / name
    folder.mkdir()
    (folder / ".lock").touch(mode=0o600)
    return folder


@contextlib.contextmanager
def tool_at_work(folder: Path) -> Iterator[int]:
    """Give the pid of a program that is called like one of ours and works in the folder."""
    program = folder / "restic"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"], cwd=folder) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_what_a_dead_run_left_is_cleared_with_what_works_in_it(tmp_path: Path) -> None:
    folder = leftover(tmp_path)
    with tool_at_work(folder) as pid:
        assert processes_in(folder) == {pid}
        assert clear_leftovers(tmp_path, "x") == ["oncall-x-1"]
        assert not folder.exists() and processes_in(folder) == set()


def test_a_lock_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    folder = tmp_path / "oncall-x-1"
    folder.mkdir()
    os.mkfifo(folder / ".lock")
    assert clear_leftovers(tmp_path, "x") == [] and folder.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_a_folder_that_somebody_else_locked_is_left_alone(tmp_path: Path) -> None:
    folder = leftover(tmp_path)
    os.chown(folder / ".lock", 65534, 65534)
    assert clear_leftovers(tmp_path, "x") == [] and folder.is_dir()
    given = leftover(tmp_path, "oncall-x-2")
    os.chown(given, 65534, 65534)  # a server's user owns the folder, the lock is ours
    assert clear_leftovers(tmp_path, "x") == ["oncall-x-2"]


def test_a_folder_that_takes_the_place_of_ours_is_not_looked_into(tmp_path: Path) -> None:
    folder, production = leftover(tmp_path), tmp_path / "production"
    production.mkdir()
    with tool_at_work(production), workspace._opened(folder) as opened:
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(production)
        assert workspace._processes_in(opened) == set()
        assert processes_in(folder) == set()
        assert clear_leftovers(tmp_path, "x") == []
