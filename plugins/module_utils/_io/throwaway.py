# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""PostgreSQL servers for an hour: started as an ordinary user, in a folder that goes away with whoever made it.

A guard process holds one end of a pipe: when the process that holds the other one ends, however it ends, the guard
stops what runs in the folder and removes it. Should both be killed, the next run does it (``workspace``). What is
stopped is found by where it works, never by a number in a file: a copied postmaster.pid names somebody else's server.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence

from .._core.backup_manifest import ServerState
from .._core.errors import CommandFailed, DatabaseFailed, InvalidValue, PreconditionFailed
from .._core.redact import printable
from .._core.throwaway import (
    PORT,
    SOCKET_PATH_LIMIT,
    Resources,
    fallback_clauses,
    initdb_options,
    locale_clauses,
)
from .clock import Clock, wait_until
from .command import CommandRunner
from .postgres import Database, Target, connect
from .postgres_tools import Tool, find_tool
from .process import Account, LineKeeper, Program, follow, started
from .workspace import clear, give, workspace

_PREFIX = "throwaway"
_STOP_SECONDS = 15.0
_START_SECONDS = 120.0
_INITDB_SECONDS = 300.0


def host_resources() -> Resources:
    """Return the memory that is available and the processors of this host that this process may use."""
    available = 1 << 30
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    return Resources(available, len(os.sched_getaffinity(0)))


def find_server(commands: CommandRunner, major: int, folders: Sequence[str] = ()) -> Tool:
    """Return the server program of this major, else of the next newer one; its folder has initdb too.

    Raises:
        PreconditionFailed: there is none (code ``command_missing``); the hint names the package.
    """
    try:
        server = find_tool(commands, "postgres", major, folders)
    except PreconditionFailed as error:
        raise PreconditionFailed(
            f"no server of major {major} or newer is on this host: {error.message}",
            code="command_missing",
            hint=f"install postgresql-{major} (Debian) or postgresql{major}-server (RHEL), or set server_bin_dirs",
        ) from error
    if not os.access(Path(server.path).with_name("initdb"), os.X_OK):
        raise PreconditionFailed(
            f"{server.path} has no initdb beside it", code="command_missing", hint="install the whole server package"
        )
    return server


def server_account(run_as: Optional[str]) -> Optional[Account]:
    """Return who runs the server when this is root, which PostgreSQL refuses; None: this very user.

    Raises:
        InvalidValue: the user is not there, or only root may choose one.
    """
    if os.geteuid() != 0:
        if run_as not in (None, pwd.getpwuid(os.geteuid()).pw_name):
            raise InvalidValue(
                f"run_as: only root may run a server as {run_as}", hint="leave run_as out, or become root"
            )
        return None
    for name in (run_as,) if run_as else ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid == 0:
                raise InvalidValue("run_as: PostgreSQL does not run as root", hint="for example run_as: postgres")
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir)
    raise InvalidValue(f"run_as: there is no user {run_as or 'postgres or nobody'}", hint="adduser --system postgres")


# --- the folder -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workplace:
    """A folder for one run: ``private`` is of mode 0700 and belongs to ``account``, ``own`` to this very process."""

    folder: Path
    account: Optional[Account]

    @property
    def private(self) -> Path:
        """Return the folder for the server."""
        return self.folder / "p"

    @property
    def own(self) -> Path:
        """Return the folder that only the user of this process may enter."""
        return self.folder / "own"


@contextlib.contextmanager
def workplace(base: str, account: Optional[Account]) -> Iterator[Workplace]:
    """Give a guarded folder below ``base``; nothing of it, and nothing that runs in it, stays behind.

    Raises:
        InvalidValue: ``base`` is no folder, its path is too long for a socket, or the server's user cannot get there.
    """
    if not Path(base).is_dir():
        raise InvalidValue(f"work_dir: {base} is no folder", hint="make it, or choose another one")
    if len(os.fsencode(f"{base}/oncall-{_PREFIX}-12345678/p/.s.PGSQL.{PORT}")) > SOCKET_PATH_LIMIT:
        raise InvalidValue(f"work_dir: {base} is too long a path for a socket", hint="choose a shorter one")
    with workspace(_PREFIX, base) as folder, _guarded(folder):
        place = Workplace(folder, account)
        place.own.mkdir(mode=0o700)
        place.private.mkdir(mode=0o700)
        if account is not None:
            folder.chmod(0o711)
            give(place.private, account)
            _require_reach(place)
        yield place


def _require_reach(place: Workplace) -> None:
    completed = follow(Program(["test", "-w", str(place.private)], account=place.account), timeout=30, check=False)
    if completed.rc != 0:
        name = place.account.name if place.account else ""
        raise InvalidValue(
            f"work_dir: the user {name} cannot get to {place.folder.parent}",
            hint="choose a folder whose parents everybody may enter, for example /var/tmp",
        )


@contextlib.contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    reading, writing = os.pipe()
    guard = os.fork()
    if guard == 0:
        _guard(folder, reading)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(guard, 0)


def _guard(folder: Path, reading: int) -> None:
    """Wait for the end of the other process, then clear; a copy of it made by fork(), so that it needs no file."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        os.chdir("/")
        os.dup2(reading, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        for _stream in (1, 2):
            os.open(os.devnull, os.O_WRONLY)
        os.read(0, 1)
        clear(folder)
    finally:
        os._exit(0)


# --- the server -------------------------------------------------------------------------------------------------


@dataclass
class ThrowawayServer:
    """A running server; its only way in is a socket in a folder of mode 0700."""

    tool: Tool
    place: Workplace
    superuser: str
    statement_timeout: float
    log: LineKeeper = field(repr=False)

    def target(self) -> Target:
        """Return how to log in as the superuser; statements may take as long as the verification."""
        parameters = {"host": str(self.place.private), "port": PORT, "user": self.superuser, "dbname": "postgres"}
        return Target(parameters, "oncall.runbooks throwaway", statement_timeout=self.statement_timeout)

    def connect(self, dbname: str = "postgres") -> Database:
        """Open a session."""
        return connect(self.target(), dbname)

    def create_database(self, session: Database, name: str, like: ServerState) -> str:
        """Make an empty database as the copied one was made; "" or why it is ordered by bytes instead.

        Raises:
            DatabaseFailed: that cannot be made either.
        """
        quoted = session.quote(name)
        try:
            _create(session, quoted, locale_clauses(session.major, like))
        except DatabaseFailed as error:
            _create(session, quoted, fallback_clauses(session.major, like))
            return error.message
        return ""


def _create(session: Database, quoted: str, clauses: Mapping[str, str]) -> None:
    text = " ".join(f"{name} %s" for name in clauses)
    session.execute(f"CREATE DATABASE {quoted} TEMPLATE template0 {text}", list(clauses.values()))


@contextlib.contextmanager
def throwaway_server(
    tool: Tool, place: Workplace, superuser: str, settings: Mapping[str, str], *, timeout: float, clock: Clock
) -> Iterator[ThrowawayServer]:
    """Give a fresh running server in a workplace; it is stopped at once at the end. ``timeout`` is per statement.

    Raises:
        CommandFailed: it cannot be set up or started.
        TimedOut: it does not get ready.
    """
    data = place.private / "data"
    _make_cluster(tool, place, superuser, data)
    options = {**settings, "unix_socket_directories": f'"{place.private}"'}
    argv = [tool.path, "-D", str(data), *[part for item in options.items() for part in ("-c", "=".join(item))]]
    program = _without_network(Program(argv, cwd=str(place.private), account=place.account))
    with started(program, stdout=subprocess.DEVNULL) as process:
        log = LineKeeper(process.stderr)
        try:
            _wait_until_ready(process, data, log, clock)
            yield ThrowawayServer(tool, place, superuser, timeout, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):  # then started() ends it
                    process.wait(_STOP_SECONDS)


def _make_cluster(tool: Tool, place: Workplace, superuser: str, data: Path) -> None:
    initdb = str(Path(tool.path).with_name("initdb"))
    argv = [initdb, *initdb_options(tool.major, superuser), "-D", str(data)]
    follow(Program(argv, cwd=str(place.private), account=place.account), timeout=_INITDB_SECONDS)


def _without_network(program: Program) -> Program:
    """Return the program in a network of its own, where this host lets us do that.

    A restored database may want to call out (views over postgres_fdw or dblink, for example), and what it knows is the
    addresses and passwords of the real one.
    """
    account = program.account
    if account is None:
        return program
    drop = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--"]
    around = ["unshare", "--net", "--", *drop]
    try:
        possible = follow(Program([*around, "true"]), timeout=30, check=False).rc == 0
    except CommandFailed:
        possible = False
    return Program([*around, *program.argv], cwd=program.cwd) if possible else program


def _wait_until_ready(process: Any, data: Path, log: LineKeeper, clock: Clock) -> None:
    def decided() -> bool:
        """Read what pg_ctl reads: line 1 of the pid file is the pid, line 8 the state."""
        if process.poll() is not None:
            return True
        with contextlib.suppress(OSError):
            lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready"
        return False

    wait_until(decided, "a throwaway server to start", _START_SECONDS, clock, every=0.02)
    if process.poll() is not None:
        said = printable(" / ".join(log.text().splitlines()[-3:]))
        raise CommandFailed(f"start a throwaway server: it ended: {said}", hint="its words say why")
