# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""redis_backup: one RDB, checked and compared, as one snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Mapping, Optional

from .._core.backup import MANIFEST, Copy, copy_tags
from .._core.errors import PreconditionFailed, VerificationFailed
from .._core.redis_copy import (
    FORM,
    RDB_FILE,
    KeyState,
    Observed,
    Payload,
    RedisManifest,
    judge_against_live,
    steady,
)
from .._core.redis_copy_rdb import RdbHeader
from .._core.result import CRITICAL, Action, Decision, Finding, Outcome
from .._core.timestamps import parse_own
from .._core.units import human_size, parse_duration, rfc3339
from .._io.redis_facts import choose_keys, databases_of, read_keys, read_loaded, read_server
from .._io.redis_save import (
    Save,
    check_rdb,
    copy_file,
    file_of,
    refuse_damaged,
    save,
    sha256_of,
    start_watch,
    transfer,
)
from .._io.redis_server import RedisServer
from .._io.redis_throwaway import MEMORY_FACTOR, ServerProgram, find_server, need_memory, ordinary_account, throwaway
from .._io.restic import Restic, Written
from .._io.workspace import give, need_room, workspace
from .copy_steps import Steps
from .ranges import check_ranges
from .redis_options import redis_source, redis_target
from .repository import repository_of
from .run import Operation, Task


class RedisBackup(Operation):
    """Save, fetch, prove, store: in this order, so that nothing that is not whole gets into the repository."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._source = redis_source(params)
        self._restic = Restic(repository_of(params))
        self._timeout = parse_duration(params["save_timeout"], "save_timeout")
        self._server = RedisServer(redis_target(params))
        check_ranges(params, {"sample": (0, 10_000)})

    def decide(self) -> Decision:
        """Look at the server and choose the way; nothing is written."""
        info = self._server.info()
        self._state = read_server(self._server, info)
        self._method, why = self._choose_method()
        self._program = self._choose_program()
        self._check_repository()
        label = self._server.target.label()
        if self._method == "file":
            fetch = Action("save", "save", label, why, "BGSAVE")
        else:
            fetch = Action("save", "transfer", label, why, "redis-cli --rdb")
        plan = [fetch]
        if self._program is not None:
            reason = "what a server loads is what the copy holds"
            plan.append(Action("prove", "load", "throwaway redis-server", reason, self._program.path))
        plan.append(Action("store", "store", self._source.label(), "one snapshot", "restic backup"))
        before = {"keys": sum(one.keys for one in databases_of(info)), "method": self._method}
        return Decision(f"will copy {self._source.label()} ({self._method})", tuple(plan), before=before, after=before)

    def _choose_method(self) -> tuple[str, str]:
        method = self._task.params["method"]
        path = file_of(self._server)
        if method == "file" and path is None:
            raise PreconditionFailed(
                "the server's RDB file cannot be reached from here",
                code="insufficient_privilege",
                hint="run as the server's user or root on its host, or choose method transfer",
            )
        if method == "transfer" or path is None:
            return "transfer", "asked for" if method == "transfer" else "the server's own file is out of reach"
        return "file", "the server's own file can be read here"

    def _choose_program(self) -> Optional[ServerProgram]:
        if not self._task.params["prove"]:
            return None
        need_memory(int(self._state.used_memory_bytes * MEMORY_FACTOR))
        return find_server(self._task.commands, self._task.params["server_bin_dirs"])

    def _check_repository(self) -> None:
        if not self._task.params["repository_create"]:
            self._restic.catalog()  # a wrong key shall not be found out after the work

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan."""
        if self._task.params["repository_create"] and not self._restic.exists():
            self._restic.create()
        steps = Steps(decision, self._task.clock, self._task.progress, self._source.label())
        account = ordinary_account() if self._program is not None else None
        with workspace("redis", self._task.params["staging_dir"], account) as folder:
            copy = folder / "copy"
            copy.mkdir(mode=0o700)
            with steps.doing("save") as note:
                manifest = self._fetch(copy / RDB_FILE)
                note.detail = f"{human_size(manifest.payload.size_bytes)}, state of {manifest.taken_at}"
            if self._program is not None:
                with steps.doing("prove") as note:
                    give(copy, account)
                    give(copy / RDB_FILE, account)
                    manifest = self._prove(self._program, manifest, copy)
                    note.detail = f"loaded by redis {manifest.loaded.version if manifest.loaded else ''}"
            findings = self._judge(manifest)
            with steps.doing("store") as note:
                (copy / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
                written, stored = self._store(manifest, copy, steps)
                note.detail = f"snapshot {written.snapshot[:8]}, {human_size(written.added_bytes)} new"
        return self._outcome(manifest, steps, findings, written, stored)

    def _fetch(self, path: Path) -> RedisManifest:
        chosen = choose_keys(self._server, databases_of(self._server.info("keyspace")), self._task.params["sample"])
        before = read_keys(self._server, chosen)
        if self._method == "file":
            source = file_of(self._server)
            saved = save(self._server, self._task.clock, self._timeout)
            if source is None:
                raise PreconditionFailed("the server no longer tells where its RDB is", code="insufficient_privilege")
            header = copy_file(source, path, saved)
        else:
            header, saved = self._transfer(path)
        after = read_keys(self._server, chosen)
        check = refuse_damaged(check_rdb(path, self._task.commands))
        payload = Payload(path.stat().st_size, sha256_of(path), header.version, check.keys if check else None)
        return self._manifest(header, saved, payload, steady(before, after))

    def _transfer(self, path: Path) -> tuple[RdbHeader, Save]:
        need_room(path.parent, self._state.used_memory_bytes // 4, "the RDB")
        watch = start_watch(self._server)
        header = transfer(self._server.target, path, self._task.commands, "redis-cli", self._timeout)
        return header, watch()

    def _manifest(
        self, header: RdbHeader, saved: Save, payload: Payload, sample: tuple[KeyState, ...]
    ) -> RedisManifest:
        taken = header.ctime if header.ctime is not None else saved.began_after
        return RedisManifest(
            product=self._source.product,
            host=self._source.host,
            name=self._source.name,
            taken_at=rfc3339(datetime.fromtimestamp(taken, timezone.utc)),
            method=self._method,
            server=self._state,
            payload=payload,
            observed=Observed(databases_of(saved.info), saved.changes),
            sample=sample,
        )

    def _prove(self, program: ServerProgram, manifest: RedisManifest, copy: Path) -> RedisManifest:
        keys = [(one.db, one.raw_key()) for one in manifest.sample]
        account = ordinary_account()
        with throwaway(program, copy, RDB_FILE, account, self._task.clock, self._timeout) as server:
            loaded = read_loaded(server, keys, self._task.params["sample"])
        return replace(manifest, loaded=loaded)

    def _judge(self, manifest: RedisManifest) -> tuple[Finding, ...]:
        findings = judge_against_live(manifest)
        wrong = [finding.msg for finding in findings if finding.status == CRITICAL]
        if wrong:
            raise VerificationFailed(
                f"the RDB is not what the server holds: {'; '.join(wrong)}; no snapshot was written",
                hint="is it the right server, and its own file? Run it again; choose method transfer",
            )
        return findings

    def _store(self, manifest: RedisManifest, copy: Path, steps: Steps) -> tuple[Written, Copy]:
        about = Copy("", self._source, parse_own(manifest.taken_at), FORM, "", manifest.payload.size_bytes)
        host, tags = self._source.host, copy_tags(about)
        return self._restic.backup(str(copy), host=host, tags=tags, on_progress=steps.stored), about

    def _outcome(
        self, manifest: RedisManifest, steps: Steps, findings: tuple[Finding, ...], written: Written, copy: Copy
    ) -> Outcome:
        keys = manifest.loaded.total if manifest.loaded else manifest.payload.keys
        count = "keys not counted" if keys is None else f"{keys} keys"
        size = human_size(manifest.payload.size_bytes)
        msg = f"{self._source.label()}: {count}, {size}, as snapshot {written.snapshot[:8]}"
        facts: Mapping[str, Any] = {
            "snapshot": written.snapshot,
            "taken_at": manifest.taken_at,
            "method": manifest.method,
            "keys": keys,
            "size_bytes": copy.size_bytes,
            "added_bytes": written.added_bytes,
            "proven": manifest.loaded is not None,
        }
        return Outcome(msg, tuple(steps.done), findings, {"keys": keys, "method": manifest.method}, facts)

    def close(self) -> None:
        """Close the connections."""
        self._server.close()
