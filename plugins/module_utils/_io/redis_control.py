# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The server whose data is replaced: how it is found, made to wait, stopped and started."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping, Optional

from .._core.errors import OpsError, PreconditionFailed, TimedOut
from .._core.redis_copy import RedisManifest, judge
from .._core.redis_copy_restore import AofLayout, LiveServer, Replica
from .._core.result import Finding
from .clock import Clock, wait_until
from .command import CommandRunner
from .redis_facts import databases_of, loaded_from, read_keys
from .redis_place import Place
from .redis_save import save
from .redis_server import RedisFailed, RedisServer

_MULTIPART = 7  # the major from which the append-only file is a folder
_STOP_SECONDS = 120.0


class RedisControl:
    """One server on this host, with the commands that stop and start it."""

    def __init__(
        self,
        server: RedisServer,
        commands: CommandRunner,
        clock: Clock,
        stop: list[str],
        start: list[str],
        timeout: float,
    ) -> None:
        self.server = server
        self._commands = commands
        self._clock = clock
        self._stop = stop
        self._start = start
        self._timeout = timeout

    def look(self, data_dir: str, filename: str) -> LiveServer:
        """Return what the server says about itself; when it does not run, what its folder shows.

        Raises:
            PreconditionFailed: it does not run and ``data_dir`` was not given, or it does not tell its folder.
        """
        try:
            info = self.server.info()
        except RedisFailed as error:
            if error.code != "connection_failed":
                raise
            return _from_folder(self.server.target.port, data_dir, filename, error)
        directory = self.server.setting("dir") or data_dir
        if not directory:
            raise PreconditionFailed(
                "the server does not tell where its data is", code="insufficient_privilege", hint="give data_dir"
            )
        return LiveServer(
            running=True,
            role=str(info["role"]),
            port=int(info["tcp_port"]),
            pid=int(info["process_id"]),
            directory=directory,
            filename=self.server.setting("dbfilename") or filename,
            aof=self._aof(info),
            replicas=_replicas(info),
            keys=_count(info),
        )

    def _aof(self, info: Mapping[str, Any]) -> Optional[AofLayout]:
        if not int(info["aof_enabled"]) and self.server.setting("appendonly") != "yes":
            return None
        name = self.server.setting("appendfilename") or "appendonly.aof"
        modern = int(str(info["redis_version"]).split(".", 1)[0]) >= _MULTIPART
        return AofLayout((self.server.setting("appenddirname") or "appendonlydir") if modern else "", name)

    def master_of(self, replica: Replica) -> str:
        """Return whom a replica follows, as REPLICAOF has it.

        Raises:
            RedisFailed: it cannot be reached with the same credentials.
        """
        with self._of(replica) as server:
            answer = server.info("replication")
        return f"{answer.get('master_host', '?')} {answer.get('master_port', '?')}"

    def fence(self, replica: Replica) -> None:
        """Make a replica a master, so that it keeps what it has.

        Raises:
            RedisFailed: it cannot be reached with the same credentials.
            PreconditionFailed: it still follows somebody.
        """
        with self._of(replica) as server:
            server.call("REPLICAOF", "NO", "ONE")
            if server.info("replication")["role"] != "master":
                raise PreconditionFailed(f"replica {replica.label()} goes on following", code="replicas_attached")

    def attach(self, replica: Replica, master: str) -> None:
        """Make a fenced replica follow again; what it holds is thrown away for what its master holds.

        Raises:
            RedisFailed: it cannot be reached.
        """
        with self._of(replica) as server:
            server.call("REPLICAOF", *master.split(" "))

    def is_detached(self, replica: Replica) -> bool:
        """Tell whether a replica follows nobody, or cannot be asked."""
        try:
            with self._of(replica) as server:
                return bool(server.info("replication")["role"] == "master")
        except RedisFailed:
            return True

    def _of(self, replica: Replica) -> RedisServer:
        return RedisServer(replace(self.server.target, host=replica.host, port=replica.port, unix_socket=""))

    def keep(self, live: LiveServer, seconds: float) -> int:
        """Let writers wait and write what is in memory to the disk; return the number of keys.

        With an append-only file all of it is there already.
        """
        with contextlib.suppress(RedisFailed):  # before 6.2 there is no pause that lets our own save through
            self.server.call("CLIENT", "PAUSE", int(seconds * 1000), "WRITE")
        if live.aof is None:
            save(self.server, self._clock, seconds)
        return _count(self.server.info("keyspace"))

    def resume(self) -> None:
        """Let writers go on."""
        with contextlib.suppress(OpsError):
            self.server.call("CLIENT", "UNPAUSE")

    def stop(self, place: Place) -> None:
        """Stop the server and make sure that it is gone, and stays so.

        Raises:
            PreconditionFailed: it runs on, or somebody starts it again (code ``target_in_use``).
        """
        self._commands.run(self._stop, timeout=_STOP_SECONDS)
        try:
            wait_until(lambda: not self.is_there(place), "the server to end", _STOP_SECONDS, self._clock)
        except TimedOut as error:
            raise PreconditionFailed(
                f"the server in {place.directory} runs on, or is started again by somebody",
                code="target_in_use",
                hint="check systemd_unit or stop_command",
            ) from error

    def is_there(self, place: Place) -> bool:
        """Tell whether a server answers, or is at work in the data folder."""
        self.server.close()
        if place.user_of() is not None:
            return True
        try:
            self.server.info("server")
        except RedisFailed as error:
            return error.code != "connection_failed"
        return True

    def start(self, place: Place) -> None:
        """Start the server and wait until it has loaded its data.

        Raises:
            TimedOut: it did not come up, or works in another folder.
        """
        self._commands.run(self._start, timeout=self._timeout)
        wait_until(self._is_ready, "the server to load its data", self._timeout, self._clock)
        directory = self.server.setting("dir")
        if directory and Path(directory).resolve() != place.directory.resolve():
            raise PreconditionFailed(
                f"the server that was started works in {directory}, not in {place.directory}",
                code="fingerprint_mismatch",
                hint="check start_command",
            )

    def _is_ready(self) -> bool:
        self.server.close()
        try:
            return not int(self.server.info("persistence")["loading"])
        except RedisFailed as error:
            if error.code not in ("connection_failed", "server_loading", "timed_out"):
                raise
            return False

    def compare(self, manifest: RedisManifest) -> tuple[Finding, ...]:
        """Compare the server with a copy's facts; clients may be at work again."""
        expected = manifest.loaded.sample if manifest.loaded else manifest.sample
        sample = read_keys(self.server, [(one.db, one.raw_key()) for one in expected])
        return judge(manifest, loaded_from(self.server.info(), sample), self.server.now_ms(), served=True)

    def count_keys(self) -> int:
        """Return how many keys the server holds."""
        return _count(self.server.info("keyspace"))


def _count(info: Mapping[str, Any]) -> int:
    return sum(one.keys for one in databases_of(info))


def _replicas(info: Mapping[str, Any]) -> tuple[Replica, ...]:
    found = [
        value
        for name, value in info.items()
        if name.startswith("slave") and name[5:].isdigit() and isinstance(value, dict)
    ]
    return tuple(Replica(str(one["ip"]), int(one["port"])) for one in found)


def _from_folder(port: int, data_dir: str, filename: str, error: RedisFailed) -> LiveServer:
    if not data_dir:
        raise PreconditionFailed(
            f"{error.message}; a server that does not run cannot tell where its data is",
            code="connection_failed",
            hint="start it, or give data_dir (and rdb_filename)",
        ) from error
    folder = Path(data_dir)
    manifests = sorted(folder.glob("*/*.manifest"))
    aof = None
    if manifests:
        aof = AofLayout(manifests[0].parent.name, manifests[0].name[: -len(".manifest")])
    elif (folder / "appendonly.aof").exists():
        aof = AofLayout("", "appendonly.aof")
    return LiveServer(False, "", port, 0, data_dir, filename, aof, (), None)
