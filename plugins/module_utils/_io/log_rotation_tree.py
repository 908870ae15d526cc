# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""A directory of logs, held open: nothing is ever reached by a path that somebody could bend meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from typing import FrozenSet, Iterator, Mapping

from .._core.errors import OpsError, PreconditionFailed
from .._core.log_rotation import Entry, FileId
from .._core.log_rotation_names import is_staging

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Never waits: a named pipe without a writer would block the open for ever.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class LeftAlone(Exception):
    """A file is not what it was when the plan was made: it stays as it is, with the reason as text."""


@dataclass(frozen=True)
class Scan:
    """Every name below the directory, and the directories that must not be worked in, with the reason.

    ``hidden`` are those of them about whose content nothing is known.
    """

    entries: tuple[Entry, ...]
    closed: Mapping[str, str]
    hidden: FrozenSet[str]


class LogTree:
    """The directory that was given and what is below it, reached from one open descriptor."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = _open_root(path)

    @property
    def device(self) -> int:
        """The file system's device number."""
        return os.fstat(self._fd).st_dev

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def writable(self) -> bool:
        """Tell whether names in the directory may be changed."""
        return os.access(".", os.W_OK | os.X_OK, dir_fd=self._fd, effective_ids=True)

    @contextlib.contextmanager
    def directory(self, relative: str) -> Iterator[int]:
        """Open a directory below, one component after the other and never through a symbolic link."""
        fd = os.open(".", _DIRECTORY, dir_fd=self._fd)
        try:
            for part in filter(None, relative.split("/")):
                child = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = child
            yield fd
        finally:
            os.close(fd)

    def scan(self, recurse: bool, uid: int) -> Scan:
        """Return every name, with ``recurse`` below all directories that are safe to work in."""
        entries: list[Entry] = []
        closed: dict[str, str] = {}
        hidden: set[str] = set()
        waiting = [""]
        while waiting:
            relative = waiting.pop()
            try:
                with self.directory(relative) as fd:
                    unsafe = _unsafe(os.fstat(fd), uid)
                    reason = unsafe or _unwritable(fd, uid)
                    found = list(_entries(fd, relative))
            except OSError as error:
                closed[relative] = f"cannot be opened: {error.strerror}"
                hidden.add(relative)
                continue
            if reason:
                closed[relative] = reason
            entries += found
            if recurse and unsafe:
                hidden.add(relative)
            elif recurse:
                waiting += [entry.path for entry in found if _is_directory(entry)]
        return Scan(tuple(entries), closed, frozenset(hidden))


def open_entry(directory: int, entry: Entry, flags: int = os.O_RDONLY) -> int:
    """Open a file that was seen before, only if it is still the same one and has no other name.

    Raises:
        LeftAlone: it is gone or another one.
    """
    return open_same(directory, entry.name, entry.identity, flags)


def open_same(directory: int, name: str, identity: FileId, flags: int = os.O_RDONLY) -> int:
    """Open a regular file by name, only if it is the one with that identity.

    Raises:
        LeftAlone: it is gone or another one.
    """
    try:
        fd = os.open(name, flags | _FILE, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            raise LeftAlone("gone, or another file by now") from error
        raise
    now = os.fstat(fd)
    if (now.st_dev, now.st_ino) != identity or not stat.S_ISREG(now.st_mode) or now.st_nlink != 1:
        os.close(fd)
        raise LeftAlone("another file by now, or it got a second name")
    return fd


def unlink_same(directory: int, name: str, identity: FileId) -> None:
    """Remove a name, only if it still is that file's.

    Raises:
        LeftAlone: it is another file's by now.
    """
    if identity_of(directory, name) != identity:
        raise LeftAlone("gone, or another file by now")
    os.unlink(name, dir_fd=directory)


def identity_of(directory: int, name: str) -> FileId:
    """Return what a name stands for without following it; (0, 0) when there is nothing.

    A symbolic link has an identity of its own, so it never equals that of a file.
    """
    try:
        now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return (0, 0)
    return (now.st_dev, now.st_ino)


def _open_root(path: str) -> int:
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    parts = [part for part in path.split("/") if part]
    try:
        for position, part in enumerate(parts):
            last = position == len(parts) - 1
            child = os.open(part, _DIRECTORY if last else _DIRECTORY | os.O_PATH, dir_fd=fd)
            os.close(fd)
            fd = child
    except OSError as error:
        shown = "/" + "/".join(parts[: position + 1])
        raise _open_failed(path, shown, part, fd, error) from error
    else:
        return os.dup(fd)
    finally:
        os.close(fd)


def _open_failed(path: str, shown: str, part: str, parent: int, error: OSError) -> OpsError:
    attempt = f"open the log directory {path}"
    if error.errno == errno.ENOENT:
        return PreconditionFailed(
            f"{attempt}: {shown} is not there", code="path_missing", hint="create it, or mend path"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "run the task as the directory's owner or as root (become)"
        return PreconditionFailed(f"{attempt}: {shown}: permission denied", code="insufficient_privilege", hint=hint)
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        kind = os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISLNK(kind):
            hint = f"give the directory itself: {os.path.realpath(path)}"
            return PreconditionFailed(f"{attempt}: {shown} is a symbolic link", code="path_refused", hint=hint)
        return PreconditionFailed(f"{attempt}: {shown} is not a directory", code="not_a_directory", hint="mend path")
    return OpsError(f"{attempt}: {shown}: {error.strerror}", code="io_error")


def _entries(fd: int, relative: str) -> Iterator[Entry]:
    with os.scandir(fd) as names:
        for name in names:
            try:
                s = name.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Entry(
                relative, name.name, s.st_dev, s.st_ino, s.st_nlink, s.st_mode, s.st_uid, s.st_gid, s.st_size,
                s.st_mtime, s.st_ctime,
            )  # fmt: skip


def _is_directory(entry: Entry) -> bool:
    return stat.S_ISDIR(entry.mode) and not is_staging(entry.name)


def _unsafe(directory: os.stat_result, uid: int) -> str:
    """Return why root must not work in a directory (logrotate's rule), or ""."""
    mode = directory.st_mode
    if uid != 0 or mode & stat.S_ISVTX:
        return ""
    others = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and directory.st_gid != 0)
    return "can be written by others: run the task as its owner (become_user) or take that right away" if others else ""


def _unwritable(fd: int, uid: int) -> str:
    allowed = uid == 0 or os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True)
    return "" if allowed else "may not be written by this user"
