# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Let a Redis server write its RDB and bring it into a folder: its own file, or by a replication transfer."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

from .._core.errors import OpsError, PreconditionFailed, VerificationFailed
from .._core.redact import printable, redact_text
from .._core.redis_copy_rdb import HEADER_BYTES, RdbCheck, RdbHeader, read_rdb_check, read_rdb_header
from .clock import Clock, wait_until
from .command import CommandRunner
from .redis_server import RedisFailed, RedisServer, RedisTarget
from .workspace import need_room

_CHUNK = 1 << 20
_COARSE_MS = 50  # how far the clock by which a server stamps may be behind the one that it answers with
_CODES = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EACCES: "insufficient_privilege"}


class SaveFailed(OpsError):
    """The server could not write its RDB, or it cannot be brought here."""

    default_code = "bgsave_failed"


@dataclass(frozen=True)
class Save:
    """One finished save: the server's seconds between which it began, and what happened until it was over."""

    began_after: int
    ended: int
    info: Mapping[str, Any]
    changes: int


def save(server: RedisServer, clock: Clock, timeout: float) -> Save:
    """Let the server write its RDB now and wait until that very save is over.

    A save (or a rewrite of the append-only file) that is already at work is waited for first. LASTSAVE counts seconds
    and is the start of the server when nothing was saved yet, so that the save is known by the server's own counter,
    or by a LASTSAVE of a later second.

    Raises:
        SaveFailed: it failed (``bgsave_failed``), or the server was started anew meanwhile (``server_gone``).
        TimedOut: it took longer than ``timeout`` seconds.
    """
    deadline = clock.monotonic() + timeout
    before = _start(server, clock, deadline)
    last: dict[str, Any] = {}

    def over() -> bool:
        last.clear()
        last.update(server.info())
        return not int(last["rdb_bgsave_in_progress"])

    wait_until(over, "BGSAVE to end", max(deadline - clock.monotonic(), 0.0), clock, every=0.05)
    if last["run_id"] != before["run_id"]:
        raise SaveFailed("the server was started anew during BGSAVE", code="server_gone", hint="run it again")
    if last["rdb_last_bgsave_status"] != "ok":
        raise _save_failed(server, last)
    mark = "rdb_saves" if "rdb_saves" in before else "rdb_last_save_time"
    if last[mark] == before[mark]:
        raise SaveFailed("BGSAVE ended and no new RDB was written", hint="read the log of the server")
    changes = int(last["rdb_changes_since_last_save"]) + _moved(before, last, "expired_keys", "evicted_keys")
    return Save(int(before["time"]), int(last["rdb_last_save_time"]), last, changes)


def _start(server: RedisServer, clock: Clock, deadline: float) -> dict[str, Any]:
    """Begin a save of our own and return the facts of right before it, with the server's clock as ``time``."""
    while True:
        wait_until(
            lambda: _is_idle(server), "the save that is at work to end", max(deadline - clock.monotonic(), 0), clock
        )
        before = {**server.info(), "time": server.now_ms() // 1000}
        try:
            server.call("BGSAVE")
        except RedisFailed as error:
            if "in progress" not in error.message and "child process" not in error.message:
                raise SaveFailed(error.message, code="bgsave_failed", hint=error.hint) from error
            continue  # somebody else was quicker
        return before


def _is_idle(server: RedisServer) -> bool:
    info = server.info("persistence")
    if int(info["rdb_bgsave_in_progress"]) or int(info["aof_rewrite_in_progress"]):
        return False
    # A second save within one second would be known by its counter only, which old servers don't have.
    return "rdb_saves" in info or server.now_ms() > (int(info["rdb_last_save_time"]) + 1) * 1000 + _COARSE_MS


def _save_failed(server: RedisServer, info: Mapping[str, Any]) -> SaveFailed:
    directory = server.setting("dir") or ""
    refuses = server.setting("stop-writes-on-bgsave-error") == "yes" and bool(server.setting("save"))
    seen = ""
    if directory and server.target.is_near() and Path(directory).is_dir():
        status = os.statvfs(directory)
        seen = f"; {directory} has {status.f_bavail * status.f_frsize} bytes free"
    return SaveFailed(
        "BGSAVE failed: rdb_last_bgsave_status is err" + seen,
        hint="read the log of the server: no room in its dir, no right to write there, or no memory for the fork"
        + ("; until a save succeeds it refuses writes (stop-writes-on-bgsave-error)" if refuses else ""),
        details={"directory": directory, "writes_refused": refuses, "version": str(info.get("redis_version", ""))},
    )


def file_of(server: RedisServer) -> Optional[Path]:
    """Return the server's RDB file when it tells where that is and this user can look there."""
    directory, filename = server.setting("dir"), server.setting("dbfilename")
    if not directory or not filename or not server.target.is_near():
        return None
    return Path(directory) / filename if os.access(directory, os.R_OK | os.X_OK) else None


def copy_file(source: Path, target: Path, saved: Save) -> RdbHeader:
    """Copy the server's own file; it must be the one of this save, not that of another server in the same place.

    Raises:
        SaveFailed: it is another file (``not_this_server``), or cannot be read or written.
    """
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SaveFailed(f"{source} is no regular file", code="not_this_server")
            header = read_rdb_header(stream.read(HEADER_BYTES))
            _check_is_this_save(source, header, saved)
            need_room(target.parent, status.st_size, "the RDB")
            stream.seek(0)
            _write(stream, target)
    except OSError as error:
        raise SaveFailed(
            f"copy {source} to {target.parent}: {error.strerror}",
            code=_CODES.get(error.errno or 0, "copy_failed"),
            hint="choose method transfer, or give the user the right to read it, or make room in staging_dir",
        ) from error
    return header


def _check_is_this_save(source: Path, header: RdbHeader, saved: Save) -> None:
    # The clock that stamps a file may be behind TIME by some milliseconds, and so by a second.
    if header.ctime is None or not saved.began_after - 1 <= header.ctime <= saved.ended + 1:
        raise SaveFailed(
            f"{source} is not what this server has just written",
            code="not_this_server",
            hint="another server keeps its file there, or the server runs in a container; choose method transfer",
            details={"ctime": header.ctime, "began_after": saved.began_after, "ended": saved.ended},
        )


def _write(stream: Any, target: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as copy:
        while chunk := stream.read(_CHUNK):
            copy.write(chunk)
        copy.flush()
        os.fsync(descriptor)


def transfer(target: RedisTarget, path: Path, commands: CommandRunner, program: str, timeout: float) -> RdbHeader:
    """Let redis-cli fetch the RDB as a replica would; the password goes by the environment.

    Raises:
        SaveFailed: it did not come, or not whole.
    """
    found = commands.find(program)
    if found is None:
        raise PreconditionFailed(f"{program} is not there", code="command_missing", hint="install redis-tools")
    where = ["-s", target.unix_socket] if target.unix_socket else ["-h", target.host, "-p", str(target.port)]
    user = ["--user", target.username] if target.username else []
    tls = ["--tls", *(["--cacert", target.ca_cert] if target.ca_cert else [])] if target.tls else []
    environment = {"REDISCLI_AUTH": target.password} if target.password else {}
    completed = commands.run(
        [found, *where, *user, *tls, "--rdb", str(path)], timeout=timeout, env=environment, check=False
    )
    said = redact_text(printable(" / ".join((completed.stderr or completed.stdout).split("\n")[-4:]), 300))
    if completed.rc != 0 or not path.is_file():
        full = any(words in completed.stderr.lower() for words in ("no space left", "error writing data to file"))
        raise SaveFailed(
            f"redis-cli --rdb from {target.label()}: {said}",
            code="disk_full" if full else "transfer_failed",
            hint="the user needs the commands sync, psync and replconf; managed servers often refuse them",
            details={"rc": completed.rc},
        )
    path.chmod(0o600)
    with path.open("rb") as stream:
        return read_rdb_header(stream.read(HEADER_BYTES))


def start_watch(server: RedisServer) -> Callable[[], Save]:
    """Begin to count changes; what is returned tells how far the server may have moved since, at most."""
    before, began = server.info(), server.now_ms() // 1000

    def stop() -> Save:
        after = server.info()
        if after.get("run_id") != before.get("run_id"):
            raise SaveFailed("the server was started anew meanwhile", code="server_gone", hint="run it again")
        name = "rdb_changes_since_last_save"
        changes = int(after.get(name, 0))
        if after.get("rdb_last_save_time") == before.get("rdb_last_save_time"):
            changes -= int(before.get(name, 0))
        else:  # a save in between set the counter to 0
            changes += int(before.get(name, 0)) + _moved(before, after, "total_commands_processed")
        changes += _moved(before, after, "expired_keys", "evicted_keys")
        return Save(began, server.now_ms() // 1000, after, max(changes, 0))

    return stop


def _moved(before: Mapping[str, Any], after: Mapping[str, Any], *counters: str) -> int:
    return max(sum(int(after.get(name, 0)) - int(before.get(name, 0)) for name in counters), 0)


def check_rdb(path: Path, commands: CommandRunner, program: str = "redis-check-rdb") -> Optional[RdbCheck]:
    """Return the verdict of redis-check-rdb on a file, None where it is not installed."""
    found = commands.find(program)
    if found is None:
        return None
    completed = commands.run([found, str(path)], timeout=24 * 3600.0, check=False)
    return read_rdb_check(completed.rc, completed.stdout + completed.stderr)


def refuse_damaged(check: Optional[RdbCheck]) -> Optional[RdbCheck]:
    """Return the verdict unchanged when the file may be used.

    Raises:
        VerificationFailed: the file is damaged (code ``rdb_damaged``).
    """
    if check is not None and not check.good and check.supported:
        raise VerificationFailed(
            f"the RDB is damaged: {printable(check.message, 300)}",
            code="rdb_damaged",
            hint="no snapshot was written; look into the memory and the disk of the server, then run it again",
        )
    return check


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    made = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            made.update(chunk)
    return made.hexdigest()
