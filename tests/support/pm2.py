"""A pm2 of the test's own: the real program, with its daemon's folder in the test's."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSION = "7.0.4"
CACHE = Path(__file__).resolve().parents[2] / ".cache"


class Pm2Unavailable(RuntimeError):
    """pm2 cannot be had here; the text says why."""


def install() -> Path:
    """Return the program, fetched into .cache by npm unless it is there."""
    program = CACHE / f"pm2-{VERSION}" / "node_modules" / ".bin" / "pm2"
    npm = shutil.which("npm")
    if npm is None:
        raise Pm2Unavailable("npm is not installed")
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"pm2-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            new = CACHE / f"pm2-{VERSION}.new"
            shutil.rmtree(new, ignore_errors=True)
            command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            environment = {**os.environ, "npm_config_cache": str(CACHE / "npm")}
            done = subprocess.run(
                [*command, "--prefix", str(new), f"pm2@{VERSION}"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise Pm2Unavailable(f"npm install pm2@{VERSION}: {done.stderr.strip()[-500:]}")
            new.rename(program.parents[2])
    return program


class Pm2:
    """pm2 with a daemon of its own."""

    def __init__(self, program: Path, home: Path) -> None:
        self.program, self.home = program, home

    def call(self, *words: str) -> str:
        environment = {**os.environ, "PM2_HOME": str(self.home), "SHOP_PASSWORD": "hunter2"}
        done = subprocess.run([self.program, *words], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def processes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.call("jlist"))
        return found

    def pids(self, name: str) -> list[int]:
        return [process["pid"] for process in self.processes() if process["name"] == name]

    def end(self) -> None:
        """End the daemon, by its pid, with all its applications."""
        with contextlib.suppress(FileNotFoundError):
            daemon = int((self.home / "pm2.pid").read_text())
            self.call("delete", "all")
            os.kill(daemon, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while Path(f"/proc/{daemon}").exists() and time.monotonic() < deadline:
                time.sleep(0.02)


@contextlib.contextmanager
def own_pm2(home: Path) -> Iterator[Pm2]:
    pm2 = Pm2(install(), home)
    pm2.call("jlist")
    try:
        yield pm2
    finally:
        pm2.end()
