# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read files for a copy: no link is followed, nothing special is opened, and what changes while it is read is seen."""

from __future__ import annotations

import contextlib
import glob
import grp
import hashlib
import os
import pwd
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, ContextManager, Iterator, Optional

from .._core.config_copy import FILE, FOLDER, LINK, Entry, Skipped, is_excluded, name_some
from .._core.errors import OpsError, PreconditionFailed
from .._core.units import human_size

_CHUNK = 1 << 20
_ATTEMPTS = 3
_GLOB = ("*", "?", "[")
_SPECIAL = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}
Sink = Callable[[bytes], object]
OpenSink = Callable[[str, int], ContextManager[Sink]]  # for a path and its open file


class Incomplete(OpsError):
    """Something that was asked for could not be read whole."""

    default_code = "incomplete"


@dataclass
class Tree:
    """What was found below the paths that were asked for; ``unmatched`` patterns fitted nothing."""

    entries: list[Entry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


class TreeReader:
    """Reads paths; ``max_bytes`` is the most that may come together."""

    def __init__(self, exclude: tuple[str, ...], max_bytes: int) -> None:
        self._exclude = exclude
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._seen: set[str] = set()
        self._failed: list[str] = []
        self._tree = Tree()

    def read(self, paths: tuple[str, ...], open_sink: Optional[OpenSink] = None) -> Tree:
        """Return everything below ``paths``; ``open_sink`` gives where the content of a file goes.

        Raises:
            Incomplete: one or more paths cannot be read, are not there, or change faster than they are read.
            PreconditionFailed: it is more than ``max_bytes`` (code ``too_big``).
        """
        for path in paths:
            for top in self._expand(path):
                if not is_excluded(top, self._exclude) or top == path:
                    self._walk(top, open_sink)
        if self._failed:
            raise Incomplete(
                f"not everything can be read, so that nothing was stored: {name_some(self._failed)}",
                hint="run as a user who may read it, or leave it out with exclude",
                details={"paths": self._failed[:100]},
            )
        self._tree.entries.sort(key=lambda entry: entry.path)
        return self._tree

    def _expand(self, path: str) -> list[str]:
        if not any(letter in path for letter in _GLOB) or os.path.lexists(path):
            return [path]
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207  (Path.glob resolves ".." and needs a root)
        if not found:
            self._tree.unmatched.append(path)
        return [one.rstrip("/") for one in found]

    def _walk(self, top: str, open_sink: Optional[OpenSink]) -> None:
        parent, name = os.path.split(top)
        try:
            folder = os.open(parent or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._failed.append(f"{top} ({error.strerror})")
            return
        try:
            self._visit(folder, name or ".", top, open_sink)
        finally:
            os.close(folder)

    def _visit(self, folder: int, name: str, path: str, open_sink: Optional[OpenSink]) -> None:
        if path in self._seen:
            return
        self._seen.add(path)
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=folder)
                self._tree.entries.append(_entry(path, LINK, status, target=target))
            elif stat.S_ISDIR(status.st_mode):
                self._descend(folder, name, path, open_sink)
            elif stat.S_ISREG(status.st_mode):
                self._tree.entries.append(self._read_file(folder, name, path, open_sink))
            else:
                self._tree.skipped.append(Skipped(path, _SPECIAL.get(stat.S_IFMT(status.st_mode), "special")))
        except OSError as error:
            self._failed.append(f"{path} ({error.strerror})")

    def _descend(self, folder: int, name: str, path: str, open_sink: Optional[OpenSink]) -> None:
        inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self._tree.entries.append(_entry(path, FOLDER, os.fstat(inside)))
            for child in sorted(one.name for one in os.scandir(inside)):
                below = f"{path.rstrip('/')}/{child}"
                if not is_excluded(below, self._exclude):
                    self._visit(inside, child, below, open_sink)
        finally:
            os.close(inside)

    def _read_file(self, folder: int, name: str, path: str, open_sink: Optional[OpenSink]) -> Entry:
        for _attempt in range(_ATTEMPTS):
            with open_regular(folder, name) as (descriptor, before):
                self._need(before.st_size)
                with open_sink(path, descriptor) if open_sink else contextlib.nullcontext(_nowhere) as sink:
                    size, digest = _copy(descriptor, sink)
                    after = os.fstat(descriptor)
            if _stamp(before) == _stamp(after) and size == after.st_size:
                self._left -= size
                return _entry(path, FILE, after, size_bytes=size, sha256=digest)
        raise OSError(None, "it changes faster than it can be read")

    def _need(self, size: int) -> None:
        if size > self._left:
            raise PreconditionFailed(
                f"the files are more than {human_size(self._max_bytes)} together",
                code="too_big",
                hint="leave something out with exclude, or choose a larger max_size",
            )


@contextlib.contextmanager
def open_regular(folder: int, name: str) -> Iterator[tuple[int, os.stat_result]]:
    """Give a regular file and its status; a link or something special, also one put there just now, is an OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it was a file a moment ago, and is none now")
        yield descriptor, status
    finally:
        os.close(descriptor)


def entry_of(folder: int, name: str, path: str) -> Optional[Entry]:
    """Return what is at a path now, None when there is nothing."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return _entry(path, LINK, status, target=os.readlink(name, dir_fd=folder))
    if stat.S_ISDIR(status.st_mode):
        return _entry(path, FOLDER, status)
    with open_regular(folder, name) as (descriptor, status):
        size, digest = _copy(descriptor, _nowhere)
        return _entry(path, FILE, status, size_bytes=size, sha256=digest)


def hash_tree(root: Path) -> dict[str, tuple[int, str]]:
    """Return size and SHA-256 of every file below a folder, by its path as seen from there (``/etc/x``)."""
    found = {}
    for folder, _folders, files in os.walk(root):
        for name in files:
            path = f"{folder}/{name}"
            parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with open_regular(parent, name) as (descriptor, _status):
                    found[path[len(str(root)) :]] = _copy(descriptor, _nowhere)
            finally:
                os.close(parent)
    return found


def _nowhere(_chunk: bytes) -> None:
    """Take content that only its hash is wanted of."""


def _copy(descriptor: int, sink: Sink) -> tuple[int, str]:
    made, size = hashlib.sha256(), 0
    while chunk := os.read(descriptor, _CHUNK):
        made.update(chunk)
        sink(chunk)
        size += len(chunk)
    return size, made.hexdigest()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _entry(
    path: str, kind: str, status: os.stat_result, size_bytes: int = 0, sha256: str = "", target: str = ""
) -> Entry:
    owner, group = names_of(status.st_uid, status.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    return Entry(
        path, kind, mode, status.st_uid, status.st_gid, owner, group, status.st_mtime_ns, size_bytes, sha256, target
    )


def names_of(uid: int, gid: int) -> tuple[str, str]:
    """Return the names of a user and a group, their numbers where they have none."""
    owner, group = str(uid), str(gid)
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(gid).gr_name
    return owner, group
