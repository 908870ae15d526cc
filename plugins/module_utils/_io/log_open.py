# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Find and open logs without being led astray: no links that lead out, no pipes, no devices."""

from __future__ import annotations

import contextlib
import getpass
import glob
import grp
import os
import pwd
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Iterator, Optional, Sequence

from .._core.errors import PreconditionFailed
from .._core.log_names import live_only
from .._core.log_state import MOST_FILES
from .._core.redact import printable

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
          (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip


@dataclass(frozen=True)
class Found:
    """The logs that some shell patterns name, and what is wrong with the others, in words."""

    paths: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class OpenLog:
    """An open regular file; ``status`` is as it was when it was opened."""

    path: str
    handle: IO[bytes]
    status: os.stat_result


def find_logs(patterns: Sequence[str]) -> Found:
    """Return the live logs that the patterns name, by their real paths; a pattern that names none is a problem."""
    paths: dict[str, None] = {}
    problems = []
    for pattern in patterns:
        matches = list(islice(glob.iglob(pattern), MOST_FILES + 1))  # noqa: PTH207  (absolute patterns)
        if len(matches) > MOST_FILES:
            problems.append(f"{printable(pattern)} names more than {MOST_FILES} files: narrow it down")
            matches = sorted(matches)[:MOST_FILES]
        by_folder: dict[Path, list[str]] = {}
        for named in map(Path, matches):
            by_folder.setdefault(named.parent, []).append(named.name)
        live = [str(folder / name) for folder, names in sorted(by_folder.items()) for name in live_only(names)]
        if not live:
            problems.append(_nothing(pattern))
        for match in live:
            real, problem = _resolve(match, pattern)
            if problem:
                problems.append(problem)
            else:
                paths[real] = None
    return Found(tuple(paths), tuple(problems))


def _nothing(pattern: str) -> str:
    """Say why a pattern names no file: there is none, or its folder must not be listed."""
    folder = _fixed_part(pattern)
    if _is_barred(folder):
        return f"{printable(pattern)}: the folder {printable(folder)} cannot be listed ({how_to_read(folder)})"
    return f"{printable(pattern)} names no file"


def _is_barred(folder: str) -> bool:
    try:
        return Path(folder).is_dir() and not os.access(folder, os.R_OK | os.X_OK)
    except PermissionError:  # a folder on the way to it must not be entered
        return True


def _fixed_part(pattern: str) -> str:
    """Return the folder of a pattern up to its first wildcard."""
    folder = Path(pattern).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return str(folder)


def _resolve(path: str, pattern: str) -> tuple[str, str]:
    base, real = os.path.realpath(_fixed_part(pattern)), os.path.realpath(path)
    if os.path.commonpath([base, real]) != base:
        what = f"{printable(path)} is a symbolic link to {printable(real)}, outside {printable(base)}"
        return "", f"{what}: not read; name the file itself in paths if it is to be"
    return real, ""


@contextlib.contextmanager
def open_log(path: str) -> Iterator[OpenLog]:
    """Open a log by its real path.

    Raises:
        PreconditionFailed: it is gone (code ``file_missing``), must not be read (``not_readable``, with how to get the
            right), is no regular file, or another one than a moment ago (``unsafe``).
    """
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise _not_opened(path, error) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "no file")
        raise PreconditionFailed(f"{printable(path)} is {kind}, not a log", code="unsafe")
    with os.fdopen(fd, "rb", buffering=0) as handle:
        if _opened_path(fd) not in (None, path):
            raise PreconditionFailed(f"{printable(path)} leads elsewhere all of a sudden: not read", code="unsafe")
        yield OpenLog(path, handle, status)


def _opened_path(fd: int) -> Optional[str]:
    """Return what was really opened: a folder on the way may have become a link after the path was looked at."""
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink())
    except OSError:
        return None


def _not_opened(path: str, error: OSError) -> PreconditionFailed:
    shown = printable(path)
    if isinstance(error, FileNotFoundError):
        return PreconditionFailed(f"{shown} is gone", code="file_missing")
    if isinstance(error, PermissionError):
        return PreconditionFailed(f"{shown} cannot be read ({how_to_read(path)})", code="not_readable")
    return PreconditionFailed(f"{shown} cannot be opened: {error.strerror}", code="unsafe")


def how_to_read(path: str) -> str:
    """Return which group may read a file or folder, for who may not; the folder on the way that is in the way first."""
    parts = path.split("/")
    for number in range(2, len(parts) + 1):
        place = "/".join(parts[:number])
        folder = number < len(parts)
        if not os.access(place, os.X_OK if folder else os.R_OK):
            return _who_may(place, 0o010 if folder else 0o040)
    return "run it as a user who may read it"


def _who_may(place: str, bit: int) -> str:
    try:
        status = Path(place).stat()
    except OSError:
        return "run it as a user who may read it"
    user = _name(pwd.getpwuid, os.getuid()) if os.getuid() != os.geteuid() else getpass_user()
    if status.st_mode & bit:
        group = _name(grp.getgrgid, status.st_gid)
        return f"{printable(place)} is for the group {group}: usermod -aG {group} {user}"
    owner = _name(pwd.getpwuid, status.st_uid)
    mode = stat.S_IMODE(status.st_mode)
    return (
        f"{printable(place)} is for {owner} alone (mode {mode:04o}): become {owner}, or give a group the right to read"
    )


def getpass_user() -> str:
    """Return the name of the user who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _name(look_up: object, number: int) -> str:
    try:
        return str(look_up(number)[0])  # type: ignore[operator]
    except KeyError:
        return str(number)
