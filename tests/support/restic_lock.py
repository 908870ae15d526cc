"""Locks in a restic repository as another run would have left them, of any host, process and age.

Format: restic's design document, "Locks": JSON, sealed with the repository's master key, named by its SHA-256.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from plugins.module_utils._io.process import started
from tests.support.repositories import PASSWORD, TestRepository, make_repository
from tests.support.restic_key import derive, open_sealed, seal
from tests.support.sessions import eventually


def add_lock(location: Path, *, host: str, pid: int, age: timedelta = timedelta(), exclusive: bool = True) -> str:
    """Write a lock into a repository and return its id."""
    made = (datetime.now(timezone.utc) - age).isoformat()
    lock = {"time": made, "exclusive": exclusive, "hostname": host, "username": "root", "pid": pid}
    data = seal(_master_key(location), json.dumps(lock).encode())
    name = hashlib.sha256(data).hexdigest()
    (location / "locks" / name).write_bytes(data)
    return name


def add_dead_lock(location: Path, *, exclusive: bool = True) -> str:
    """Write the lock of a run of this host that was killed a moment ago."""
    with subprocess.Popen(["true"]) as ended:
        pass
    return add_lock(location, host=socket.gethostname(), pid=ended.pid, exclusive=exclusive)


@contextlib.contextmanager
def living_lock(repository: TestRepository, folder: Path) -> Iterator[str]:
    """Hold the exclusive lock of a restic that is at work, as its process is: it waits for the input of another copy.

    Its own lock says that it has come so far that it takes no harm from being asked whether it lives.
    """
    other = make_repository(folder)
    with started(other.restic.stdin_program("stream", host="db1", tags=()), stdin=subprocess.PIPE) as process:
        eventually(lambda: locks(other.location), "restic to be at work")
        yield add_lock(repository.location, host=socket.gethostname(), pid=process.pid)
        assert process.poll() is None


def locks(location: Path) -> set[str]:
    """Return the ids of the locks as they lie in the folder; a name that is not its last one is none yet."""
    return {path.name for path in (location / "locks").iterdir() if len(path.name) == 64}


def until_locked(location: Path) -> str:
    """Return shell text that waits for a lock as long as $! lives: under its last name, restic writes another first."""
    there = f"ls {location / 'locks'} | grep -qx '.\\{{64\\}}'"
    return f"while kill -0 $! && ! {there}; do sleep 0.01; done"


def _master_key(location: Path) -> bytes:
    (path,) = (location / "keys").iterdir()
    key = json.loads(path.read_text())
    master = json.loads(open_sealed(derive(key, PASSWORD), base64.b64decode(key["data"])))
    parts = (master["encrypt"], master["mac"]["k"], master["mac"]["r"])
    return b"".join(base64.b64decode(part) for part in parts)
