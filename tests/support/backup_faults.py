"""Ways to break a backup at a moment of the test's choice."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.repositories import TestRepository
from tests.support.servers import client_bin_dir
from tests.support.sessions import eventually


@dataclass(frozen=True)
class Stop:
    """A program that stops at a known point, says so, and goes on when it is let go."""

    folder: Path

    @property
    def reached(self) -> Path:
        return self.folder / "reached"

    @property
    def pid(self) -> int:
        """Wait until the point is reached, and return the id of the process that the module started."""
        eventually(
            lambda: self.reached.exists() and self.reached.read_text().endswith("\n"), "the program to get there"
        )
        return int(self.reached.read_text())

    def let_go(self) -> None:
        (self.folder / "go").touch()

    @property
    def here(self) -> str:
        """Shell text that says that the point is reached, and waits."""
        reached, go = shlex.quote(str(self.reached)), shlex.quote(str(self.folder / "go"))
        return f"echo $$ > {reached}.new; mv {reached}.new {reached}; while [ ! -e {go} ]; do sleep 0.05; done"


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/bash\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


def broken_pg_dump(folder: Path, *lines: str) -> list[str]:
    """Make a folder of client programs whose pg_dump runs these lines; ``$REAL`` is the real one."""
    place, real = folder / "clients", client_bin_dir(18)
    place.mkdir()
    (place / "pg_dumpall").symlink_to(real / "pg_dumpall")
    first = f"REAL={shlex.quote(str(real / 'pg_dump'))}"
    script(place / "pg_dump", first, 'if [ "$1" = --version ]; then exec "$REAL" --version; fi', *lines)
    return [str(place)]


def pg_dump_that_stops(folder: Path, mode: str) -> tuple[Stop, list[str]]:
    """Stop in the middle: a stream after its first 2 MB, a folder when it has files and no end yet."""
    stop = Stop(folder)
    if mode == "stream":
        lines = ("set -o pipefail", f'"$REAL" "$@" | {{ head -c 2000000; {stop.here}; cat; }}')
    else:
        lines = ('"$REAL" "$@" || exit', stop.here)
    return stop, broken_pg_dump(folder, *lines)


@contextlib.contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something in the background while the block runs; what fails there fails the test."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result(60)


def children(name: str) -> list[int]:
    """Return the running children of this process with this program name."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            comm, rest = stat.read_text().partition("(")[2].rsplit(")", 1)
            if comm == name and int(rest.split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


_RUN = """
import json, sys
from tests.support.modules import run_module
print(json.dumps(run_module(sys.argv[1], json.load(sys.stdin))))
"""


@dataclass
class ModuleProcess:
    """The module in a process of its own, so that it can be killed."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, options: dict[str, Any], temp: Path, module: str = "postgresql_backup") -> ModuleProcess:
        temp.mkdir(exist_ok=True)
        pipe, environment = subprocess.PIPE, {**os.environ, "TMPDIR": str(temp)}
        command = [sys.executable, "-c", _RUN, module]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        assert process.stdin is not None
        process.stdin.write(json.dumps(options))
        process.stdin.close()
        process.stdin = None
        return cls(process)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def result(self) -> dict[str, Any]:
        output, _errors = self.process.communicate(timeout=60)
        found: dict[str, Any] = json.loads(output.splitlines()[-1]) if output.strip() else {}
        return found


def gone(pid: int) -> bool:
    """Tell whether a process is gone, or a zombie."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


@contextlib.contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[Path]:
    """Mount a small file system in memory; without the right to do that there is nothing to fill up."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk, and not in every container")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def snapshot_files(repository: TestRepository) -> dict[str, bytes]:
    """Return every snapshot as it lies in the repository."""
    return {path.name: path.read_bytes() for path in (repository.location / "snapshots").iterdir()}
