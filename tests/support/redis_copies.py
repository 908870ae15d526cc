"""Copies of Redis in a repository: made by the module, or put together by hand to be wrong on purpose."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugins.module_utils._core.backup import Copy, Source, copy_tags
from plugins.module_utils._core.redis_copy import RDB_FILE, read_redis_manifest
from plugins.module_utils._core.timestamps import parse_own
from tests.support.modules import run_ok
from tests.support.redis_servers import TestRedis
from tests.support.repositories import TestRepository

SOURCE = {"product": "shop", "source_host": "cache1"}
ROOT = Path(__file__).resolve().parents[2]
Damage = Callable[[Path], object]


def backup_options(repository: TestRepository, server: TestRedis, **more: Any) -> dict[str, Any]:
    return {**repository.options, **server.options, **SOURCE, **more}


def back_up(repository: TestRepository, server: TestRedis, **more: Any) -> dict[str, Any]:
    return run_ok("redis_backup", backup_options(repository, server, **more))


def proof_options(repository: TestRepository, **more: Any) -> dict[str, Any]:
    return {**repository.options, **SOURCE, "target": "throwaway", **more}


def live_options(repository: TestRepository, server: TestRedis, **more: Any) -> dict[str, Any]:
    return {
        **backup_options(repository, server),
        "target": "live",
        "confirm": "cache1",
        "stop_command": server.command("stop"),
        "start_command": server.command("start"),
        "start_timeout": "30s",
        **more,
    }


def add_bad_copy(repository: TestRepository, folder: Path, damage: Damage, resealed: bool = False) -> None:
    """Store the newest copy once more, damaged; ``resealed``: size and SHA-256 in its facts are made to fit."""
    newest = repository.catalog().copies[-1]
    repository.restic.restore(newest.id, str(folder))
    damage(folder / RDB_FILE)
    manifest = folder / "manifest.json"
    facts = json.loads(manifest.read_text())
    if resealed:
        content = (folder / RDB_FILE).read_bytes()
        facts["payload"].update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    facts["taken_at"] = "2099-01-01T00:00:00Z"  # newer than any good one
    manifest.write_text(json.dumps(facts))
    read_redis_manifest(manifest.read_text())
    copy = Copy("", Source("shop", "cache1", "redis", "redis"), parse_own(facts["taken_at"]), "rdb")
    repository.restic.backup(str(folder), host="cache1", tags=copy_tags(copy))


def start_module(name: str, args: dict[str, Any]) -> subprocess.Popen[str]:
    """Run a module in a process of its own, that can be killed."""
    code = (
        "import json, sys; from tests.support.modules import run_module; "
        "print(json.dumps(run_module(sys.argv[1], json.loads(sys.argv[2]))))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, name, json.dumps(args)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
