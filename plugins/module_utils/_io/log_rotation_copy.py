# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Copy and truncate: for writers that cannot be told to open their log again."""

from __future__ import annotations

import contextlib
import os
from typing import FrozenSet, Iterator, Tuple

from .._core.errors import VerificationFailed
from .._core.log_rotation import Entry, FileId, Survey
from .._core.log_rotation_names import COPIED
from .log_rotation_compress import pieces, write_all
from .log_rotation_place import Staging, rename_free, take_after
from .log_rotation_tree import LeftAlone, LogTree, open_entry, open_same, unlink_same

_COPY = "oncall-copy"  # name of a copy before it gets its place
_SYNCS = 10  # a busy log gets new lines during each sync: after so many the rest is small


def copy_and_truncate(directory: int, staging: Staging, entry: Entry, target: str) -> Tuple[FileId, int]:
    """Copy a log, truncate it, and return the copy's identity and size.

    Until the log is truncated the copy is called ``target`` + ``.copied`` and is a prefix of the log, so that whoever
    comes after a kill can tell what happened. Lines written between the last look and the truncation are lost: the
    window is a few microseconds, and it is the price of this method. A power failure right after the truncation may
    cost a busy log what it got during the last sync.

    Raises:
        FileExistsError: ``target`` is taken; nothing was changed.
        LeftAlone: the log is another file by now.
        VerificationFailed: the writer does not append, the truncated log has a hole.
    """
    log = open_entry(directory, entry, os.O_RDWR)
    copy = staging.create(_COPY)
    try:
        _append(log, copy)
        take_after(copy, log, times=True)
        os.fsync(copy)
        staging.place(_COPY, copy, target + COPIED)
        os.fsync(directory)
        synced = 0
        while _append(log, copy) and synced < _SYNCS:
            os.fsync(copy)
            synced += 1
        os.ftruncate(log, 0)
        os.fsync(copy)
        info, left = os.fstat(copy), os.fstat(log)
    finally:
        os.close(copy)
        os.close(log)
    rename_free(directory, target + COPIED, target, (info.st_dev, info.st_ino))
    if left.st_size >= info.st_size and left.st_blocks * 512 < left.st_size:
        raise VerificationFailed("its writer does not append: the truncated log has a hole; the copy is whole")
    return (info.st_dev, info.st_ino), info.st_size


def finish_copy(directory: int, entry: Entry, log: str, target: str) -> bool:
    """Finish what a killed copy_and_truncate left; return whether the copy became a generation.

    A copy that the log still begins with was not followed by the truncation: the log has it all, the copy goes.

    Raises:
        LeftAlone: the copy or its name is another file's by now.
        FileExistsError: ``target`` is taken; nothing was changed.
    """
    if is_redundant(directory, entry, log):
        unlink_same(directory, entry.name, entry.identity)
        return False
    rename_free(directory, entry.name, target, entry.identity)
    return True


def redundant_copies(tree: LogTree, survey: Survey) -> FrozenSet[str]:
    """Return the paths of the unfinished copies whose log still has all of their lines."""
    found = set()
    for family in survey.families:
        for copy in family.copied:
            with contextlib.suppress(OSError, LeftAlone), tree.directory(family.directory) as directory:
                if copy.entry.size and is_redundant(directory, copy.entry, family.log):
                    found.add(copy.entry.path)
    return frozenset(found)


def is_redundant(directory: int, copied: Entry, log: str) -> bool:
    """Tell whether a log still begins with all that was copied from it: then it was not truncated.

    Raises:
        LeftAlone: one of both is another file by now.
    """
    copy = open_entry(directory, copied)
    try:
        info = os.stat(log, dir_fd=directory, follow_symlinks=False)
        fd = open_same(directory, log, (info.st_dev, info.st_ino))
        try:
            return info.st_size >= copied.size and equal(_head(fd, copied.size), pieces(copy))
        finally:
            os.close(fd)
    except FileNotFoundError:
        return False
    finally:
        os.close(copy)


def equal(first: Iterator[bytes], second: Iterator[bytes]) -> bool:
    """Tell whether two streams have the same content, however they are cut."""
    left = right = b""
    while True:
        left, right = left or next(first, b""), right or next(second, b"")
        if not left or not right:
            return not left and not right
        length = min(len(left), len(right))
        if left[:length] != right[:length]:
            return False
        left, right = left[length:], right[length:]


def _append(source: int, target: int) -> int:
    """Copy what is new in the source and return how much it was, in bytes."""
    copied = 0
    for piece in pieces(source):
        write_all(target, piece)
        copied += len(piece)
    return copied


def _head(fd: int, size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes of a file."""
    for piece in pieces(fd):
        yield piece[:size]
        size -= len(piece)
        if size <= 0:
            return
