# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One run at a time: a lock file that nobody else can hold open."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import PurePosixPath
from typing import Iterable, Optional

from .._core.errors import LockBusy, OpsError, PreconditionFailed
from .._core.log_rotation_names import LOCK_NAME
from .clock import Clock
from .log_rotation_tree import LeftAlone, LogTree, identity_of, unlink_same

# 0600: whoever can open a lock file can hold the lock and stop the rotation (CVE-2022-1348).
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_ATTEMPTS, _PAUSE = 5, 0.02  # a run that only looks whether the lock is free holds it for a moment


class RotationLock:
    """The right to work in a directory and, when it recurses, below it."""

    def __init__(self, tree: LogTree, clock: Clock) -> None:
        self._tree = tree
        self._clock = clock
        self._fd: Optional[int] = None

    def check(self, below: Iterable[str]) -> None:
        """Look whether another run is at work here, in a parent or in one of the directories below; changes nothing.

        Raises:
            LockBusy: there is one.
        """
        above = [str(parent / LOCK_NAME) for parent in PurePosixPath(self._tree.path).parents]
        for path in above:
            _check_free(path, None, self._tree.path)
        for directory in (*([] if self._fd else [""]), *below):
            with self._tree.directory(directory) as fd:
                _check_free(LOCK_NAME, fd, self._tree.path)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockBusy: another run has it.
            PreconditionFailed: something else bears the lock file's name (code ``lock_unusable``).
        """
        with self._tree.directory("") as directory:
            for _attempt in range(_ATTEMPTS):
                fd = _open_lock(directory, self._tree.path)
                info = os.fstat(fd)
                # Its owner may have removed it between our open and our lock.
                if _lock(fd, self._tree.path) and identity_of(directory, LOCK_NAME) == (info.st_dev, info.st_ino):
                    self._fd = fd
                    return
                os.close(fd)
                self._clock.sleep(_PAUSE)
        raise _busy(self._tree.path)

    def release(self) -> None:
        """Remove the lock file and give the lock back; without a lock it does nothing."""
        if self._fd is None:
            return
        info = os.fstat(self._fd)
        # A file that stays hinders nobody, the lock goes with the descriptor; what the run did must be told.
        with contextlib.suppress(LeftAlone, OSError), self._tree.directory("") as directory:
            unlink_same(directory, LOCK_NAME, (info.st_dev, info.st_ino))
        os.close(self._fd)
        self._fd = None


def _open_lock(directory: int, path: str) -> int:
    try:
        fd = os.open(LOCK_NAME, _FLAGS | os.O_CREAT, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OpsError(f"lock {path}: the disk is full", code="disk_full", hint="free a little space") from error
        raise _unusable(path, error.strerror or "cannot be opened") from error
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.geteuid()):
        os.close(fd)
        raise _unusable(path, "not a file of ours")
    return fd


def _unusable(path: str, reason: str) -> PreconditionFailed:
    hint = "look at that file, and remove it if no run needs it"
    return PreconditionFailed(f"lock {path} by {LOCK_NAME}: {reason}", code="lock_unusable", hint=hint)


def _check_free(name: str, directory: Optional[int], path: str) -> None:
    """Raise LockBusy when a lock file is there and held; one that may not be opened says nothing."""
    try:
        fd = os.open(name, _FLAGS, dir_fd=directory)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode) and not _lock(fd, path):
            raise _busy(path)
    finally:
        os.close(fd)


def _lock(fd: int, path: str) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _unusable(path, error.strerror or "cannot be locked") from error
    return True


def _busy(path: str) -> LockBusy:
    hint = "wait for it; the lock goes with its process, nothing has to be removed by hand"
    return LockBusy(f"rotate logs under {path}: another run is at work there", hint=hint)
