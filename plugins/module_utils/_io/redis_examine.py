# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Bring a Redis copy out of the repository and find out, with a throwaway server, whether it is what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

from .._core.backup import MANIFEST, Copy
from .._core.errors import OpsError, PreconditionFailed, TimedOut
from .._core.redis_copy import RDB_FILE, Loaded, RedisManifest, judge, read_redis_manifest
from .._core.result import CRITICAL, OK, UNKNOWN, Finding
from .clock import Clock
from .command import CommandRunner
from .process import Account
from .redis_facts import read_loaded
from .redis_save import check_rdb, sha256_of
from .redis_throwaway import MEMORY_FACTOR, LoadFailed, ServerProgram, need_memory, throwaway
from .restic import RepositoryFailed, Restic
from .workspace import give, need_room

_DAMAGED = ("repository_damaged", "manifest_unreadable", "no_copy")


@dataclass(frozen=True)
class Examined:
    """What was found out; ``manifest`` None: not even the facts of the copy could be read."""

    findings: tuple[Finding, ...]
    manifest: Optional[RedisManifest] = None
    loaded: Optional[Loaded] = None

    def evidence(self) -> Mapping[str, Any]:
        """Return the facts that belong to a proof."""
        return {
            "taken_at": self.manifest.taken_at if self.manifest else None,
            "keys": self.loaded.total if self.loaded else None,
            "redis_version": self.loaded.version if self.loaded else None,
            "facts": "exact" if self.manifest and self.manifest.loaded else "observed",
        }


class Examiner:
    """Fetches a copy into a folder and examines it there."""

    def __init__(
        self, restic: Restic, commands: CommandRunner, clock: Clock, program: ServerProgram, timeout: float
    ) -> None:
        self._restic = restic
        self._commands = commands
        self._clock = clock
        self._program = program
        self._timeout = timeout

    def fetch(self, copy: Copy, folder: Path, account: Optional[Account]) -> Path:
        """Restore the copy into ``folder/copy``, which belongs to ``account`` then; return the RDB's path."""
        target = folder / "copy"
        target.mkdir(mode=0o700)
        need_room(folder, copy.size_bytes or 0, "the copy")
        self._restic.restore(copy.id, str(target))
        target.chmod(0o700)
        give(target, account)
        if (target / RDB_FILE).is_file():
            (target / RDB_FILE).chmod(0o600)
            give(target / RDB_FILE, account)
        return target / RDB_FILE

    def try_fetch(self, copy: Copy, folder: Path, account: Optional[Account]) -> Optional[Examined]:
        """Fetch for a proof: a copy that cannot be read out of the repository is a bad one, not a failure."""
        try:
            self.fetch(copy, folder, account)
        except RepositoryFailed as error:
            if error.code not in _DAMAGED:
                raise
            return Examined((Finding("payload", CRITICAL, f"the copy cannot be read: {error.message}"),))
        return None

    def examine(self, path: Path, account: Optional[Account]) -> Examined:
        """Compare the file with its facts, byte for byte first, then what a server finds in it."""
        try:
            manifest = read_redis_manifest((path.parent / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, OpsError) as error:
            return Examined((Finding("manifest", CRITICAL, f"the facts of the copy cannot be read: {error}"),))
        findings = [_payload(manifest, path), *self._format(path)]
        if findings[0].status == CRITICAL:
            return Examined(tuple(findings), manifest)
        expected = manifest.loaded.sample if manifest.loaded else manifest.sample
        try:
            need_memory(int(manifest.server.used_memory_bytes * MEMORY_FACTOR))
            with throwaway(self._program, path.parent, path.name, account, self._clock, self._timeout) as server:
                loaded = read_loaded(server, [(one.db, one.raw_key()) for one in expected], limit=0)
                now_ms = server.now_ms()
        except (LoadFailed, PreconditionFailed, TimedOut) as error:
            status = CRITICAL if error.code == "rdb_damaged" else UNKNOWN
            return Examined((*findings, Finding("load", status, error.message)), manifest)
        findings.append(Finding("load", OK, f"redis {loaded.version} has loaded it", loaded.keys, "keys"))
        return Examined((*findings, *judge(manifest, loaded, now_ms)), manifest, loaded)

    def _format(self, path: Path) -> list[Finding]:
        check = check_rdb(path, self._commands)
        if check is None:
            return []  # the server that loads it says the same, and more
        status = OK if check.good else CRITICAL if check.supported else UNKNOWN
        return [Finding("format", status, f"redis-check-rdb: {check.message}", check.keys, "keys")]


def _payload(manifest: RedisManifest, path: Path) -> Finding:
    if not path.is_file():
        return Finding("payload", CRITICAL, f"the copy holds no {RDB_FILE}")
    size = path.stat().st_size
    if size != manifest.payload.size_bytes or sha256_of(path) != manifest.payload.sha256:
        text = f"{RDB_FILE} is not the file that was stored: {size} bytes, {manifest.payload.size_bytes} expected"
        return Finding("payload", CRITICAL, text, size, "B")
    return Finding("payload", OK, f"{RDB_FILE} is byte for byte the file that was stored", size, "B")
