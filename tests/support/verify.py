"""Asks postgresql_backup_verify about a copy, and what is left of it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.support.repositories import TestRepository
from tests.support.servers import Database, client_bin_dir, npm_install

MODULE = "postgresql_backup_verify"


@functools.cache
def work_dir() -> Path:
    """Make a folder of this process's own, which the user of a throwaway server can enter."""
    folder = Path(tempfile.mkdtemp(prefix="oncall-verify-", dir="/var/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def options(repository: TestRepository, database: Database, **more: Any) -> dict[str, Any]:
    major = database.server.major
    return {
        **repository.options,
        "product": "shop",
        "source_host": "db1",
        "name": database.name,
        "server_bin_dirs": [str(npm_install(major).bin_dir)],
        "client_bin_dirs": [str(client_bin_dir(major))],
        "work_dir": str(work_dir()),
        "jobs": 2,
        **more,
    }


def found(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def verdict_of(repository: TestRepository, copy_id: str) -> str:
    catalog = repository.catalog()
    return catalog.verdict_of(catalog.by_id(copy_id))


def leftovers() -> set[str]:
    return {str(path) for path in work_dir().iterdir()}
