# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""A folder to work in that only its user may read, and that is gone afterwards, whatever ended the run.

What a killed run (SIGKILL) leaves is known by its name and by a lock that nobody holds; the next run clears it away,
with the server that may still be running in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Iterator, Optional

from .._core.errors import OpsError, PreconditionFailed
from .._core.units import human_size
from .process import Account

_LOCK = ".lock"
_STOP_SECONDS = 15.0
# Debian's redis-server is a link to redis-check-rdb.
_OURS = ("postgres", "initdb", "pg_restore", "pg_dump", "restic", "redis-server", "redis-check-rdb", "redis-cli")


class Stopped(OpsError):
    """Somebody asked the run to end; what it had begun was cleaned up."""

    default_code = "stopped"


@contextlib.contextmanager
def workspace(prefix: str, parent: Optional[str] = None, account: Optional[Account] = None) -> Iterator[Path]:
    """Give an empty folder ``<parent>/oncall-<prefix>-…`` (0700) of ``account``; SIGTERM ends the block with Stopped.

    Raises:
        PreconditionFailed: it cannot be made there (code ``no_workspace``).
    """
    place = Path(parent or tempfile.gettempdir())
    clear_leftovers(place, prefix)
    with ends_in_order():
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"oncall-{prefix}-", dir=place))
        except OSError as error:
            raise PreconditionFailed(
                f"make a folder in {place}: {error.strerror}", code="no_workspace", hint="choose another staging folder"
            ) from error
        lock = os.open(folder / ".lock.new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / ".lock.new").rename(folder / _LOCK)  # the name appears when the lock is held, not before
            give(folder, account)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def give(path: Path, account: Optional[Account]) -> None:
    """Give a file or folder to a user, where there is one to give it to."""
    if account is not None and os.geteuid() == 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def clear_leftovers(place: Path, prefix: str) -> list[str]:
    """Remove the folders of runs that are dead, and end what still works in them; return their names."""
    cleared = []
    for folder in sorted(place.glob(f"oncall-{prefix}-*")):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or not folder.is_dir() or not _is_abandoned(folder):
                continue
            clear(folder)
            cleared.append(folder.name)
    return cleared


def _is_abandoned(folder: Path) -> bool:
    """Tell whether it is a folder of ours, and nobody holds its lock; without a lock it is just being made.

    The folder may belong to a server's user, but the lock is always ours: nobody else can make us clear a folder.
    """
    lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(lock)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def clear(folder: Path) -> None:
    """Stop whatever of ours works in a folder, and delete it."""
    with _opened(folder) as opened:
        for number in (signal.SIGQUIT, signal.SIGKILL):
            deadline = time.monotonic() + _STOP_SECONDS
            asked: set[int] = set()
            while (pids := _processes_in(opened)) and time.monotonic() < deadline:
                for pid in pids - asked:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                asked |= pids
                time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def processes_in(folder: Path) -> set[int]:
    """Return the servers and tools that work in a folder; the shell of a person who looks around is not meant."""
    with _opened(folder) as opened:
        return _processes_in(opened)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Optional[int]]:
    """Give a descriptor of a folder, None when it is gone or a link."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _processes_in(opened: Optional[int]) -> set[int]:
    """Look by a descriptor: whoever puts another folder in the place of this one shall not choose whom we end."""
    if opened is None:
        return set()
    found, inside = set(), str(Path(f"/proc/self/fd/{opened}").readlink())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                works_here = f"{(entry / 'cwd').readlink()}/".startswith(f"{inside}/")
                if works_here and (entry / "exe").readlink().name.split(" ")[0] in _OURS:
                    found.add(int(entry.name))
    return found


@contextlib.contextmanager
def ends_in_order() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into Stopped, so that every ``finally`` has its turn; later ones are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop(number: int, _frame: Any) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(f"ended by {signal.Signals(number).name}; what was begun has been cleaned up")

    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def need_room(folder: Path, size_bytes: int, what: str) -> None:
    """Make sure that something fits, before the disk is full.

    Raises:
        PreconditionFailed: it does not (code ``not_enough_space``).
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise PreconditionFailed(
            f"{what} needs {human_size(size_bytes)} in {folder.parent}, where {human_size(free)} are free",
            code="not_enough_space",
            hint="make room there, or choose another staging folder",
            details={"free_bytes": free, "needed_bytes": size_bytes},
        )
