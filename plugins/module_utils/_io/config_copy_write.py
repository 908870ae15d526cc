# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Write files of a copy: below a root no link is followed, and each file is at once whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Iterator, Optional

from .._core.config_copy import FOLDER, LINK, Entry
from .._core.errors import OpsError
from .._core.redact import printable
from .config_copy_read import entry_of

_CHUNK = 1 << 20
_CODES = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EACCES: "insufficient_privilege",
    errno.EPERM: "insufficient_privilege",
    errno.EROFS: "read_only",
    errno.ELOOP: "path_refused",
    errno.ENOTDIR: "path_refused",
}


class WriteFailed(OpsError):
    """A path could not be read or written."""

    default_code = "write_failed"


@contextlib.contextmanager
def failing(what: str, path: str) -> Iterator[None]:
    """Turn an OSError into a WriteFailed that names the path."""
    try:
        yield
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.ENOTDIR)
        raise WriteFailed(
            f"{what} {printable(path, 200)}: {'a link or a file is in its way' if link else error.strerror}",
            code=_CODES.get(error.errno or 0, "write_failed"),
            hint="see who put it there" if link else "mend it, then run it again",
            details={"errno": error.errno},
        ) from error


@contextlib.contextmanager
def folder_of(path: str, root: str, make: bool = False) -> Iterator[tuple[int, str]]:
    """Give the folder of a path and its name in it; without ``make``, a folder that is not there is an error.

    ``root`` is trusted, and may lie behind a link of the system; nothing below it may be one.

    Raises:
        FileNotFoundError: a folder on the way is not there.
    """
    trusted = str(Path(root).parent) if path == root else root
    parts = path[len(trusted.rstrip("/")) + 1 :].split("/")
    opened = []
    try:
        if make:
            Path(trusted).mkdir(parents=True, exist_ok=True)
        opened.append(os.open(trusted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in parts[:-1]:
            opened.append(_descend(opened[-1], part, make))
        yield opened[-1], parts[-1]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _descend(folder: int, name: str, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
        os.mkdir(name, 0o755, dir_fd=folder)
        return os.open(name, flags, dir_fd=folder)


def look(path: str, root: str) -> Optional[Entry]:
    """Return what is at a path now, None when there is nothing."""
    with failing("look at", path), contextlib.suppress(FileNotFoundError), folder_of(path, root) as (folder, name):
        return entry_of(folder, name, path)
    return None


def write(entry: Entry, root: str, content: Optional[BinaryIO], owner: bool) -> None:
    """Bring a path into the state of its entry: by temporary file, fsync and rename, with its mode and owner."""
    with failing("write", entry.path), folder_of(entry.path, root, make=True) as (folder, name):
        if entry.kind == FOLDER:
            _make_folder(folder, name, entry, owner)
        else:
            _replace(folder, name, entry, content, owner)
        os.fsync(folder)


def _make_folder(folder: int, name: str, entry: Entry, owner: bool) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if owner:
            os.fchown(opened, entry.uid, entry.gid)
        os.fchmod(opened, entry.mode)
    finally:
        os.close(opened)


def _replace(folder: int, name: str, entry: Entry, content: Optional[BinaryIO], owner: bool) -> None:
    partial = _partial_of(name)
    _forget(folder, partial)
    try:
        if entry.kind == LINK:
            os.symlink(entry.target, partial, dir_fd=folder)
            if owner:
                os.chown(partial, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        else:
            _write_file(folder, partial, entry, content, owner)
        os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            _forget(folder, partial)
        raise


def _partial_of(name: str) -> str:
    """Return the name under which a file is written: always the same one, so that a killed run's is found again."""
    return f".oncall-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _forget(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def clear_partial(path: str, root: str) -> None:
    """Remove what a run that was killed had half written for a path."""
    with failing("clear", path), contextlib.suppress(FileNotFoundError), folder_of(path, root) as (folder, name):
        _forget(folder, _partial_of(name))


def _write_file(folder: int, name: str, entry: Entry, content: Optional[BinaryIO], owner: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as stream:
        while content is not None and (chunk := content.read(_CHUNK)):
            stream.write(chunk)
        stream.flush()
        if owner:
            os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)  # after the owner: a change of owner takes the special bits away
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        os.fsync(descriptor)


def remove(entry: Entry, root: str) -> None:
    """Remove a file or link; a folder stays."""
    if entry.kind == FOLDER:
        return
    path = entry.path
    with failing("remove", path), contextlib.suppress(FileNotFoundError), folder_of(path, root) as (folder, name):
        _forget(folder, name)
        os.fsync(folder)
