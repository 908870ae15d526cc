# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Leases as files: one JSON file each in a folder of its owner alone, changed under a lock on that folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Iterator, Optional

from .._core.errors import OpsError, PreconditionFailed
from .._core.lease import Lease, read_record
from .clock import Clock, wait_until

_LARGEST_BYTES = 65536
_WAIT_SECONDS = 10.0
_CODES = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "read_only",
    errno.EACCES: "denied",
    errno.ELOOP: "insecure_directory",
    errno.ENOTDIR: "insecure_directory",
}


def default_directory() -> Path:
    """Return the folder of this user's leases: root's is gone after a boot, as every run is."""
    if os.geteuid() == 0:
        return Path("/run/oncall-runbooks")
    return Path("~/.local/state/oncall-runbooks").expanduser()


class LeaseFiles:
    """The leases in one folder. Reading makes nothing; the folder is made by the first write."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    def read(self, name: str) -> Optional[Lease]:
        """Return the lease with this name, or None.

        Raises:
            PreconditionFailed: codes ``insecure_directory``, ``lease_unreadable``.
        """
        with self._failing("read", name):
            try:
                folder = self._open_folder()
            except FileNotFoundError:
                return None
            try:
                return self._read_in(folder, name)
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[LockedFolder]:
        """Hold the folder, so that what is read is still true when it is written."""
        with self._failing("lock", "folder"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = self._open_folder()
        try:
            wait_until(lambda: _try_flock(folder), f"the lock on {self._directory}", _WAIT_SECONDS, self._clock)
            yield LockedFolder(self, folder)
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(folder)
            raise PreconditionFailed(
                f"locks in {self._directory}: the folder belongs to somebody else or others may write to it",
                code="insecure_directory",
                hint="chown it to the user who runs the runbooks and chmod it to 0700",
            )
        return folder

    def _read_in(self, folder: int, name: str) -> Optional[Lease]:
        try:
            file = os.open(_file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        with os.fdopen(file, "rb") as stream:
            content = stream.read(_LARGEST_BYTES) if stat.S_ISREG(os.fstat(file).st_mode) else b""
        try:
            return read_record(json.loads(content))
        except ValueError as error:
            raise PreconditionFailed(
                f"lock {name}: {self._directory / _file(name)} is no lease that can be read",
                code="lease_unreadable",
                hint="see that no run is at work, then remove the file",
            ) from error

    @contextlib.contextmanager
    def _failing(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OpsError(
                f"{what} lock {name} in {self._directory}: {error.strerror}",
                code=_CODES.get(error.errno or 0, "lease_not_kept"),
                hint="choose another directory, or mend this one",
                details={"errno": error.errno},
            ) from error


class LockedFolder:
    """The folder while this process alone may change it."""

    def __init__(self, files: LeaseFiles, folder: int) -> None:
        self._files = files
        self._folder = folder

    def read(self, name: str) -> Optional[Lease]:
        """Return the lease with this name, or None."""
        with self._files._failing("read", name):
            return self._files._read_in(self._folder, name)

    def write(self, lease: Lease) -> None:
        """Store a lease, durably and at once whole."""
        partial = f".{_file(lease.name)}.partial"
        with self._files._failing("write", lease.name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=self._folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(partial, flags, 0o600, dir_fd=self._folder)
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                json.dump(lease.record(), stream)
                stream.flush()
                os.fsync(file)
            os.replace(partial, _file(lease.name), src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    def remove(self, name: str) -> None:
        """Forget a lease."""
        with self._files._failing("remove", name), contextlib.suppress(FileNotFoundError):
            os.unlink(_file(name), dir_fd=self._folder)


def _file(name: str) -> str:
    return f"{name}.lease"


def _try_flock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
