"""What the tests of postgresql_backup share: options of a database and a repository of one test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.repositories import TestRepository
from tests.support.servers import Database, client_bin_dir

PRODUCT, HOST = "shop", "db1"
MODULE = "postgresql_backup"


def backup_options(database: Database, repository: TestRepository, staging: Path, **more: Any) -> dict[str, Any]:
    staging.mkdir(exist_ok=True)
    return {
        "login_host": database.server.host,
        "login_port": database.server.port,
        "login_user": "postgres",
        "login_db": database.name,
        "product": PRODUCT,
        "source_host": HOST,
        "staging_dir": str(staging),
        "client_bin_dirs": [str(client_bin_dir(18))],
        **repository.options,
        **more,
    }


def manifest_of(repository: TestRepository, copy: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a copy as restic and tar give them, without our own reader."""
    if copy["form"] == "directory":
        text = repository.restic.read_file(copy["snapshot"], "/manifest.json")
    else:
        text = untar(repository, copy, "manifest.json").decode()
    facts: dict[str, Any] = json.loads(text)
    return facts


def untar(repository: TestRepository, copy: dict[str, Any], *members: str) -> bytes:
    """Take files out of a stream by hand, as the manual says."""
    stream = b"".join(repository.restic.read_chunks(copy["snapshot"], "/stream.tar"))
    command = ["tar", "-xO", "--wildcards", *members]
    return subprocess.run(command, input=stream, stdout=subprocess.PIPE, check=True).stdout


def restore_by_hand(repository: TestRepository, copy: dict[str, Any], to: Database, folder: Path) -> None:
    """Restore a copy with restic, tar and pg_restore alone."""
    if copy["form"] == "directory":
        repository.restic.restore(copy["snapshot"], str(folder))
        dump = folder / "dump"
    else:
        dump = folder
        dump.write_bytes(untar(repository, copy, "dump.part.*"))
    command = [client_bin_dir(18) / "pg_restore", "--no-owner", "-d", to.dsn(), dump]
    restored = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in restored.stderr.splitlines() if "error:" in line and "transaction_timeout" not in line]
    assert errors == []
