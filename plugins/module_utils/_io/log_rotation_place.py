# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Put a file in place so that it is whole or absent, and never over another one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat

from .._core.log_rotation import FileId
from .._core.log_rotation_names import OWN_PREFIX, STAGING_SUFFIX
from .log_rotation_tree import LeftAlone, identity_of, unlink_same

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LABELS = ("system.posix_acl_access", "security.selinux")
_OWN_FILES = re.compile(r"oncall-\w+|\d+\.zst")  # of us, of the zstd program
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """A directory of our own (0700) beside the logs, where files are made before they get their names.

    Nobody else can look into it or exchange what is in it, also where the logs' directory belongs to another user.
    """

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._name = f"{OWN_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{STAGING_SUFFIX}"
        os.mkdir(self._name, 0o700, dir_fd=directory)
        self.fd = _open_own(directory, self._name)
        if os.listdir(self.fd):  # noqa: PTH208
            os.close(self.fd)
            raise LeftAlone("somebody exchanged a working directory of ours")

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_error: object) -> None:
        _empty(self.fd)
        os.close(self.fd)
        with contextlib.suppress(OSError):
            os.rmdir(self._name, dir_fd=self._directory)

    def create(self, name: str) -> int:
        """Make an empty file, in the place of one that was not used, and return its descriptor."""
        try:
            return os.open(name, os.O_RDWR | _NEW, 0o600, dir_fd=self.fd)
        except FileExistsError:
            os.unlink(name, dir_fd=self.fd)
            return os.open(name, os.O_RDWR | _NEW, 0o600, dir_fd=self.fd)

    def open(self, name: str) -> int:
        """Open a file that a command made here."""
        return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def place(self, name: str, fd: int, target: str) -> None:
        """Give a finished file its name beside the logs.

        Raises:
            FileExistsError: the name is taken; nothing was changed.
        """
        _rename_into_free(self.fd, name, self._directory, target, _identity(fd))

    def offer(self, name: str, target: str) -> None:
        """Give a finished file its name unless there is one already; it appears with its owner and mode at once."""
        with contextlib.suppress(FileExistsError):
            os.link(name, target, src_dir_fd=self.fd, dst_dir_fd=self._directory, follow_symlinks=False)
        os.unlink(name, dir_fd=self.fd)


def rename_free(directory: int, name: str, target: str, identity: FileId) -> None:
    """Rename a file to a name that is free.

    Raises:
        FileExistsError: the name is taken; nothing was changed.
        LeftAlone: another file had come under ``name``.
    """
    _rename_into_free(directory, name, directory, target, identity)


def remove_staging(directory: int, name: str) -> None:
    """Remove a working directory that a killed run left.

    Raises:
        LeftAlone: it is not one of ours, or holds what is not ours.
    """
    fd = _open_own(directory, name)
    try:
        _empty(fd)
        if os.listdir(fd):  # noqa: PTH208
            raise LeftAlone("has files in it that are not ours")
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def take_after(fd: int, model: int, *, times: bool) -> None:
    """Give an open file the owner, the permissions and the labels of another one, and its times."""
    wanted = os.fstat(model)
    if (os.geteuid(), os.fstat(fd).st_gid) != (wanted.st_uid, wanted.st_gid):
        os.fchown(fd, wanted.st_uid, wanted.st_gid)
    os.fchmod(fd, stat.S_IMODE(wanted.st_mode) & 0o777)
    for name in _LABELS:
        with contextlib.suppress(OSError):  # most files and some file systems have none
            os.setxattr(fd, name, os.getxattr(model, name))
    if times:
        os.utime(fd, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))


def _identity(fd: int) -> FileId:
    info = os.fstat(fd)
    return (info.st_dev, info.st_ino)


def _rename_into_free(source: int, name: str, directory: int, target: str, identity: FileId) -> None:
    # The empty file reserves the name: a rename alone would replace whatever came there meanwhile.
    fd = os.open(target, os.O_WRONLY | _NEW, 0o600, dir_fd=directory)
    try:
        os.rename(name, target, src_dir_fd=source, dst_dir_fd=directory)
    except OSError:
        with contextlib.suppress(LeftAlone, OSError):
            unlink_same(directory, target, _identity(fd))
        raise
    finally:
        os.close(fd)
    if identity_of(directory, target) != identity:
        raise LeftAlone("exchanged for another file while it got its new name")


def _open_own(directory: int, name: str) -> int:
    """Open a working directory, only if it is one of ours.

    Raises:
        LeftAlone: it is not.
    """
    try:
        fd = os.open(name, _OPEN_DIRECTORY, dir_fd=directory)
    except OSError as error:
        raise LeftAlone("bears the name of a working directory of ours, but is none") from error
    info = os.fstat(fd)
    if info.st_uid != os.geteuid() or info.st_mode & 0o777 != 0o700:
        os.close(fd)
        raise LeftAlone("bears the name of a working directory of ours, but is somebody else's")
    return fd


def _empty(directory: int) -> None:
    """Remove the files that we make in a working directory, and no others: it could have been exchanged."""
    for name in os.listdir(directory):
        if _OWN_FILES.fullmatch(name):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
