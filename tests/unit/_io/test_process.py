"""How a program is ended: asked first, so that it can put things in order, then made to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plugins.module_utils._core.errors import TimedOut
from plugins.module_utils._io import process
from plugins.module_utils._io.process import Program, follow, started

# It needs its child to put things in order, as restic needs ssh to remove a lock.
CAREFUL = """
import os, signal, subprocess, sys
place = sys.argv[1]
child = subprocess.Popen(["cat"], stdin=-1, stdout=open(place + "/tidied.new", "wb"))

def tidy(number, frame):
    child.communicate(signal.Signals(number).name.encode())
    os.rename(place + "/tidied.new", place + "/tidied")
    sys.exit(1)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, tidy)
print("ready", flush=True)
while True:
    signal.pause()
"""
DEAF = """
import signal
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


def program(code: str, folder: Path, tidies_up: bool) -> Program:
    return Program([sys.executable, "-c", code, str(folder)], tidies_up=tidies_up)


def test_what_tidies_up_is_interrupted_alone(tmp_path: Path) -> None:
    with started(program(CAREFUL, tmp_path, True)) as running:
        assert running.stdout.readline() == b"ready\n"
    assert (tmp_path / "tidied").read_text() == "SIGINT"


def test_a_deadline_asks_first(tmp_path: Path) -> None:
    careful = program(CAREFUL, tmp_path, True)
    with started(careful) as running:
        assert running.stdout.readline() == b"ready\n"
        with process.deadline(running, careful, 0) as late:
            running.wait(60)
    assert late.is_set() and (tmp_path / "tidied").read_text() == "SIGINT"


@pytest.mark.parametrize("tidies_up", [True, False])
def test_what_does_not_listen_is_made_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tidies_up: bool) -> None:
    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.2)
    deaf = program(DEAF, tmp_path, tidies_up)
    with started(deaf) as running:
        assert running.stdout.readline() == b"ready\n"
        with process.deadline(running, deaf, 0):
            assert running.wait(60) == -9
    with started(deaf) as running:
        assert running.stdout.readline() == b"ready\n"
    assert running.returncode == -9


def test_what_is_late_is_said(tmp_path: Path) -> None:
    with pytest.raises(TimedOut, match="no end after"):
        follow(program(DEAF.replace("SIG_IGN", "SIG_DFL"), tmp_path, False), timeout=0.1)
