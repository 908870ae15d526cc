"""The set-up: made once, made again when it has to be, never taken for done when it is half done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.embedded_postgres import ROOT

NOTHING = "# nothing to install\n"
BROKEN = f"./missing-1.0-py3-none-any.whl --hash=sha256:{'0' * 64}\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    (folder / "tools").mkdir(parents=True)
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "tools" / "setup.sh", folder / "tools")
    require(folder, NOTHING)
    return folder


def require(clone: Path, text: str) -> None:
    (clone / "requirements" / "demo-py311.txt").write_text(text)


def set_up(clone: Path, profile: str = "demo", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [clone / "tools" / "setup.sh", profile]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def pip_location(clone: Path) -> str:
    command = [clone / ".venv" / "bin" / "pip", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_is_done_once_and_never_taken_for_done_when_it_failed(clone: Path) -> None:
    assert "Making" in set_up(clone).stderr
    second = set_up(clone)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    require(clone, BROKEN)
    assert "missing-1.0" in set_up(clone).stderr
    require(clone, NOTHING)
    assert "Making" in set_up(clone).stderr


def test_a_clone_that_moves_to_an_odd_folder_gets_an_interpreter_with_a_plain_path(clone: Path, tmp_path: Path) -> None:
    set_up(clone)
    odd = clone.rename(clone.with_name("odd 'name' \"é\" $x"))
    assert "Making" in set_up(odd, XDG_CACHE_HOME=str(tmp_path / "cache")).stderr
    assert (odd / ".venv").resolve().is_relative_to(tmp_path / "cache")
    assert str((odd / ".venv").resolve()) in pip_location(odd)
    assert set_up(odd, XDG_CACHE_HOME=str(tmp_path / "cache")).stderr == ""


def test_an_ordinary_user_is_told_what_to_type(clone: Path) -> None:
    (clone / "requirements" / "dev-py311.txt").write_text(NOTHING)
    (clone / "requirements" / "system.txt").write_text("# comment\nsh dash\nno-such-command the-package\n")
    identity = clone / "bin" / "id"
    identity.parent.mkdir()
    identity.write_text("#!/bin/sh\necho 1000\n")
    identity.chmod(0o755)
    refused = set_up(clone, "dev", PATH=f"{identity.parent}:{os.environ['PATH']}")
    assert refused.returncode == 1
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends the-package\n" in refused.stderr
