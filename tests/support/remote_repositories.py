"""Repositories at other places: S3 and SFTP, served by rclone on loopback; and a reader of command lines."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Catalog
from plugins.module_utils._io.restic import Repository, Restic
from tests.support.sessions import eventually
from tools.embedded_postgres import free_port

PASSWORD = "remote-repository-secret-2b9c"
KEY_ID, KEY = "remote-key-id", "remote-key-secret-5d01"


@dataclass(frozen=True)
class RemoteRepository:
    """Where it is, what its programs need in their environment, and where its files really lie."""

    location: str
    environment: dict[str, str] = field(repr=False)
    files: Path
    cache: Path
    ssh_config: str = ""

    @property
    def options(self) -> dict[str, Any]:
        return {
            "repository": self.location,
            "repository_password": PASSWORD,
            "repository_environment": self.environment,
            "restic_cache_dir": str(self.cache),
            **({"repository_ssh_config": self.ssh_config} if self.ssh_config else {}),
        }

    @property
    def restic(self) -> Restic:
        where = Repository(
            self.location,
            PASSWORD,
            environment=self.environment,
            cache_dir=str(self.cache),
            ssh_config=self.ssh_config,
            timeout=600,
        )
        return Restic(where)

    def catalog(self) -> Catalog:
        return self.restic.catalog()


def rclone() -> str:
    """Return the program that the environment of these tests brings."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    return found or pytest.fail("rclone is not installed: run `make setup`")


@contextlib.contextmanager
def served(kind: str, folder: Path, port: int, *arguments: str, **environment: str) -> Iterator[None]:
    """Serve a folder until the end of the block."""
    argv = [rclone(), "serve", kind, str(folder), "--addr", f"127.0.0.1:{port}", "--config", "", *arguments]
    process = subprocess.Popen(argv, env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        eventually(lambda: process.poll() is not None or answers(port), "rclone to serve")
        assert process.poll() is None, process.communicate()[1]
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def s3_repository(folder: Path) -> Iterator[RemoteRepository]:
    """Give a place in a bucket that only one key opens."""
    files, port = folder / "s3", free_port()
    (files / "backups").mkdir(parents=True)
    environment = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY}
    with served("s3", files, port, RCLONE_AUTH_KEY=f'"{KEY_ID},{KEY}"'):
        location = f"s3:http://127.0.0.1:{port}/backups/shop"
        yield RemoteRepository(location, environment, files / "backups" / "shop", folder / "cache")


@contextlib.contextmanager
def sftp_repository(folder: Path) -> Iterator[RemoteRepository]:
    """Give a place that restic reaches by SFTP; what it starts as ssh is the server, so that no sshd is needed."""
    files, programs = folder / "sftp", folder / "programs"
    for place in (files, programs):
        place.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec "{rclone()}" serve sftp --stdio --config "" "{files}"\n')
    ssh.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    yield RemoteRepository("sftp:backup@vault:/shop", environment, files / "shop", folder / "cache")


class CommandLines:
    """Reads the command line of every process of this host, again and again, as any other user can."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._end.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
