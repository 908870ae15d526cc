# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""A throwaway Redis server that loads one RDB: no network, no persistence, never as root, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

from .._core.errors import OpsError, PreconditionFailed
from .._core.redact import printable
from .._core.redis_copy_rdb import is_supported
from .clock import Clock, wait_until
from .command import CommandRunner
from .process import Account, LineKeeper, Program, started
from .redis_server import RedisFailed, RedisServer, RedisTarget

MEMORY_FACTOR = 1.2  # of what the data takes in the server that was copied
_USERS = ("redis", "valkey", "nobody")
_VERSION = re.compile(r"v=(\d+)")
_SOCKET = "throwaway.sock"
_DATABASES = 4096  # a server refuses an RDB with a database of a higher number than it has
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)
_NO_MEMORY = "Out Of Memory"  # redis, src/server.c: redisOutOfMemoryHandler


class LoadFailed(OpsError):
    """The RDB did not load: ``rdb_damaged``; ``server_too_old``, ``throwaway_failed`` where nobody can tell why."""

    default_code = "rdb_damaged"


def ordinary_account() -> Optional[Account]:
    """Return the user that a throwaway server runs as; None where we are an ordinary user already."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return Account(user.pw_uid, user.pw_gid, name, "/")
    raise PreconditionFailed("no ordinary user to run a throwaway server as", code="command_missing")


@dataclass(frozen=True)
class ServerProgram:
    """A redis-server and its major version."""

    path: str
    major: int


def find_server(commands: CommandRunner, folders: Sequence[str]) -> ServerProgram:
    """Return redis-server, from ``folders`` only when there are any.

    Raises:
        PreconditionFailed: there is none (``command_missing``).
    """
    for name in ("redis-server", "valkey-server"):
        own = [str(Path(folder) / name) for folder in folders if os.access(Path(folder) / name, os.X_OK)]
        found = own[0] if own else None if folders else commands.find(name)
        if found:
            version = _VERSION.search(commands.run([found, "--version"], timeout=30).stdout)
            return ServerProgram(found, int(version[1]) if version else 0)
    raise PreconditionFailed(
        "redis-server is not on this host, and without it nobody can tell whether an RDB loads",
        code="command_missing",
        hint="install redis-server (its service need not run), or set prove to false for a backup",
    )


def need_memory(size_bytes: int) -> None:
    """Make sure that the data fits into the memory besides everything else.

    Raises:
        PreconditionFailed: it does not (``not_enough_memory``).
    """
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        facts = dict(line.split(":", 1) for line in lines)
    free = int(facts["MemAvailable"].split()[0]) * 1024
    if free < size_bytes:
        raise PreconditionFailed(
            f"a throwaway server needs {size_bytes} bytes of memory, {free} can be had",
            code="not_enough_memory",
            hint="prove it on another host (redis_restore with target throwaway), here set prove to false",
        )


@contextlib.contextmanager
def throwaway(
    program: ServerProgram, folder: Path, filename: str, account: Optional[Account], clock: Clock, timeout: float
) -> Iterator[RedisServer]:
    """Give a server that has loaded ``folder/filename``; it works in ``folder``, which ``account`` must own.

    Raises:
        LoadFailed: it did not load.
        TimedOut: it took longer than ``timeout`` seconds.
    """
    argv = [program.path, *_arguments(filename, program.major)]
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Names are relative, and the way to the socket goes by a descriptor: neither rights on the folders above nor
        # the 107 characters of a socket's path matter.
        with started(Program(argv, cwd=str(folder), account=account), stdout=-1) as process:
            log = _Log(process)
            server = RedisServer(RedisTarget(unix_socket=f"/proc/self/fd/{opened}/{_SOCKET}", timeout=3600.0))
            with server:
                _wait(server, process, log, clock, timeout)
                yield server
    finally:
        os.close(opened)
        with contextlib.suppress(FileNotFoundError):
            (folder / _SOCKET).unlink()


def _arguments(filename: str, major: int) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": _SOCKET,
        "unixsocketperm": "700",
        "dir": ".",
        "dbfilename": filename,
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "maxmemory": "0",
        "databases": str(_DATABASES),
    }
    if major >= 7:  # before, DEBUG was always there; it makes the digest over everything
        settings["enable-debug-command"] = "yes"
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


class _Log:
    """What the server says."""

    def __init__(self, process: Any) -> None:
        self._output, self._errors = LineKeeper(process.stdout), LineKeeper(process.stderr)

    def last_lines(self) -> str:
        """Return what it said last, once it has ended."""
        lines = deque((self._output.text() + "\n" + self._errors.text()).strip().splitlines(), maxlen=40)
        return "\n".join(lines)


def _wait(server: RedisServer, process: Any, log: _Log, clock: Clock, timeout: float) -> None:
    def ready() -> bool:
        ended = process.poll()
        if ended is not None:
            raise _load_failed(ended, log.last_lines())
        try:
            return not int(server.info("persistence")["loading"])
        except RedisFailed as error:
            if error.code not in ("connection_failed", "server_loading"):
                raise
            return False

    wait_until(ready, "the throwaway server to load the RDB", timeout, clock, every=0.05)


def _load_failed(ended: int, said: str) -> LoadFailed:
    """Return what the end of a server says; one that somebody else ended says nothing about what it read."""
    if -ended in _FROM_OUTSIDE or _NO_MEMORY in said:
        why = f"was ended by {signal.Signals(-ended).name}" if -ended in _FROM_OUTSIDE else "got no memory"
        return LoadFailed(
            f"the throwaway server {why} while it loaded the RDB",
            code="throwaway_failed",
            hint="look for the kernel's out-of-memory killer, and at the limits of the service or the container",
        )
    words = ("#", "fatal", "error", "can't", "wrong", "short read", "unrecoverable")
    telling = [line for line in said.splitlines() if any(word in line.lower() for word in words)]
    line = printable((telling or said.splitlines() or ["it said nothing"])[-1], 300)
    if not is_supported(said):
        return LoadFailed(
            f"the RDB is of a newer release, or needs a module: {line}",
            code="server_too_old",
            hint="install a redis-server of the release that wrote it, with its modules",
        )
    return LoadFailed(f"a server refuses to load the RDB: {line}", hint="choose an earlier copy")
