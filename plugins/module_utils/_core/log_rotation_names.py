# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Names in a log directory: logs, their generations, and what we leave there while we work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import translate
from functools import lru_cache
from posixpath import normpath
from typing import Callable, Optional, Sequence

from .errors import InvalidValue, PreconditionFailed

NAME_LIMIT = 255  # bytes of one file name, NAME_MAX of every Linux file system that matters
OWN_PREFIX = ".oncall-log-rotation."
LOCK_NAME = OWN_PREFIX + "lock"
STAGING_SUFFIX = ".partial"
COPIED = ".copied"
SUFFIXES = {"gzip": ".gz", "zstd": ".zst", "none": ""}

_COMPRESSED = r"\.(?:gz|zst|xz|bz2)"
_STAMPED = re.compile(
    rf"(?P<log>.+)-(?P<stamp>\d{{8}}T\d{{6}}Z)(?P<tail>{_COMPRESSED}|{re.escape(COPIED)})?", re.DOTALL
)
# What logrotate leaves: app.log.1, app.log.2.gz, app.log-20261121, app.log-2026112107.gz, app.log-20261121-1795234567
_FOREIGN = re.compile(
    rf"(?P<log>.+?)(?:\.[1-9]\d{{0,4}}|-\d{{8}}(?:\d\d)?(?:-\d{{2,10}})?)(?P<tail>{_COMPRESSED})?", re.DOTALL
)
_COMPRESSED_END = re.compile(rf".*{_COMPRESSED}", re.DOTALL)

# A whole tree below is never ours, or a directory that only holds other directories.
_FORBIDDEN_TREES = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys",
    "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share",
)  # fmt: skip
_FORBIDDEN = (
    "/", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/usr/local",  # noqa: S108
    "/var", "/var/lib", "/var/tmp",  # noqa: S108
)  # fmt: skip


@dataclass(frozen=True)
class GenerationName:
    """What the name of a rotated log says; ``stamp`` in seconds since 1970, None when another tool made the name."""

    log: str
    stamp: Optional[float]
    tail: str


def generation_of(name: str) -> Optional[GenerationName]:
    """Return what a name says as that of a rotated log, or None.

    >>> generation_of("app.log-20261121T074500Z.gz")
    GenerationName(log='app.log', stamp=1795247100.0, tail='.gz')
    >>> generation_of("app.log.2.gz"), generation_of("app.log")
    (GenerationName(log='app.log', stamp=None, tail='.gz'), None)
    """
    match = _STAMPED.fullmatch(name)
    if match is not None:
        stamp = _seconds(match["stamp"])
        if stamp is not None:
            return GenerationName(match["log"], stamp, match["tail"] or "")
    match = _FOREIGN.fullmatch(name)
    return None if match is None else GenerationName(match["log"], None, match["tail"] or "")


def generation_name(log: str, seconds: float) -> str:
    """Return the name of a log's generation that was rotated at a moment.

    >>> generation_name("app.log", 1795247100)
    'app.log-20261121T074500Z'
    """
    return f"{log}-{_stamp(int(seconds))}"


def is_compressed(name: str) -> bool:
    """Tell whether a name says that its file is compressed already."""
    return _COMPRESSED_END.fullmatch(name) is not None


def is_staging(name: str) -> bool:
    """Tell whether a name is that of a working directory of ours, which only a killed run leaves behind."""
    return name.startswith(OWN_PREFIX) and name.endswith(STAGING_SUFFIX)


def fits(name: str) -> bool:
    """Tell whether a log's name leaves room for everything that is put behind it."""
    longest = generation_name(name, 0) + COPIED
    return len(longest.encode("utf-8", "surrogateescape")) <= NAME_LIMIT


def matcher(patterns: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a file name is wanted; as in a shell, a leading dot must be in the pattern.

    Raises:
        InvalidValue: a pattern is empty or could reach outside the directory.
    """
    for option, texts in (("patterns", patterns), ("exclude", exclude)):
        for text in texts:
            _check_pattern(option, text)
    if not patterns:
        raise InvalidValue("patterns must name at least one shell pattern such as *.log")
    wanted = re.compile("|".join(_hidden_safe(text) for text in patterns))
    unwanted = re.compile("|".join(translate(text) for text in exclude) or r"(?!)")
    return lambda name: wanted.match(name) is not None and unwanted.match(name) is None


def check_path(path: str) -> str:
    """Return the directory without superfluous slashes.

    Raises:
        InvalidValue: it is relative or has ``..`` in it.
        PreconditionFailed: it belongs to the system (code ``path_refused``).
    """
    if not path.startswith("/") or "\0" in path:
        raise InvalidValue(f"path must be absolute, not {path!r}", hint="give the whole path of the log directory")
    if ".." in path.split("/"):
        raise InvalidValue(f"path must not have .. in it, as {path!r} has", hint="give the directory's real path")
    clean = "/" + normpath(path).lstrip("/")
    if clean in _FORBIDDEN or any(clean == tree or clean.startswith(tree + "/") for tree in _FORBIDDEN_TREES):
        raise PreconditionFailed(
            f"rotate logs under {clean}: this directory belongs to the system",
            code="path_refused",
            hint="give a directory that holds logs, such as /var/log/shop",
        )
    return clean


def _check_pattern(option: str, text: str) -> None:
    if not text or "/" in text or "\0" in text or text in (".", ".."):
        raise InvalidValue(
            f"{option} must be shell patterns of file names, without a slash: {text!r} is none",
            hint="use path for the directory and recurse for what is below it",
        )


def _hidden_safe(pattern: str) -> str:
    return translate(pattern) if pattern.startswith(".") else r"(?!\.)" + translate(pattern)


@lru_cache(maxsize=64)
def _stamp(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y%m%dT%H%M%SZ}"


def _seconds(stamp: str) -> Optional[float]:
    fields = (stamp[0:4], stamp[4:6], stamp[6:8], stamp[9:11], stamp[11:13], stamp[13:15])
    year, month, day, hour, minute, second = map(int, fields)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
