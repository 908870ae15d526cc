"""A stanza of pgBackRest around a real server, with two repositories."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import SUPERUSER, Server
from tools.embedded_postgres import give_to_server_account, server_account

STANZA = "shop"
RELEASE = 13  # pgBackRest 2.45 of Debian 12 knows servers up to 15


class Stanza:
    """A server that archives into two repositories; pgBackRest runs as the server's user."""

    def __init__(self, server_of: Callable[..., Server], repositories: int = 2) -> None:
        if shutil.which("pgbackrest") is None:
            pytest.fail("pgbackrest is not installed: run `make setup`")
        self.server = server_of(RELEASE, start=False, settings={"archive_mode": "on", "wal_level": "replica"})
        self.folder = self.server.directory / "pgbackrest"
        self.config = self.folder / "pgbackrest.conf"
        self.server.settings["archive_command"] = f"pgbackrest --config={self.config} --stanza={STANZA} archive-push %p"
        self.server.start()
        for name in ("lock", "log", *(f"repository{key}" for key in range(1, repositories + 1))):
            (self.folder / name).mkdir(parents=True)
        self._configure(repositories)
        give_to_server_account(self.folder)

    def _configure(self, repositories: int) -> None:
        places = [f"repo{key}-path={self.folder}/repository{key}" for key in range(1, repositories + 1)]
        kept = [f"repo{key}-retention-full=2" for key in range(1, repositories + 1)]
        shared = [f"lock-path={self.folder}/lock", f"log-path={self.folder}/log", "compress-type=lz4", "start-fast=y"]
        server = self.server
        own = [f"pg1-path={server.data_dir}", f"pg1-port={server.port}", f"pg1-socket-path={server.socket_dir}"]
        lines = [
            "[global]",
            *places,
            *kept,
            *shared,
            "archive-timeout=20",
            f"[{STANZA}]",
            *own,
            f"pg1-user={SUPERUSER}",
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str) -> None:
        argv = ["pgbackrest", f"--config={self.config}", f"--stanza={STANZA}", *arguments]
        subprocess.run(argv, cwd="/", check=True, **server_account())

    @property
    def options(self) -> dict[str, Any]:
        return {"config": str(self.config), "stanza": STANZA}

    def repository(self, key: int) -> Path:
        return self.folder / f"repository{key}"
