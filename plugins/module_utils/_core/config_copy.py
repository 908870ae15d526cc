# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The facts of a copy of files, which of them are chosen, and whether they are what they were."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Iterable, Mapping, Optional, Tuple

from .errors import InvalidValue
from .redact import printable
from .result import CRITICAL, OK, Finding
from .sealed import reading_manifest, seal, unseal
from .units import count_of

FORMAT = 1
FORM, FILES = "files", "files"
FILE, LINK, FOLDER = "file", "link", "folder"
_NAMED = 10


@dataclass(frozen=True)
class Entry:
    """One path. ``mode`` are the permission bits; ``sha256`` and ``size_bytes`` of files, ``target`` of links."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    owner: str
    group: str
    mtime_ns: int
    size_bytes: int = 0
    sha256: str = ""
    target: str = ""

    def content(self) -> tuple[str, str, str]:
        """Return what makes two entries the same thing, whoever owns it."""
        return self.kind, self.sha256, self.target

    def brief(self) -> dict[str, Any]:
        """Return what a diff may show: never the content."""
        what = {FILE: f"sha256 {self.sha256[:12]}", LINK: "link", FOLDER: "folder"}[self.kind]
        return {
            "what": what,
            "size": self.size_bytes,
            "mode": f"{self.mode:04o}",
            "owner": f"{self.owner}:{self.group}",
        }


@dataclass(frozen=True)
class Skipped:
    """A path that is no file, link or folder, and why it was left out."""

    path: str
    reason: str


@dataclass(frozen=True)
class ConfigManifest:
    """All facts of one copy; the payload lies under ``files/`` with its absolute path."""

    product: str
    host: str
    name: str
    taken_at: str
    paths: Tuple[str, ...]
    exclude: Tuple[str, ...]
    entries: Tuple[Entry, ...]
    skipped: Tuple[Skipped, ...]

    def files(self) -> tuple[Entry, ...]:
        """Return the entries that have a payload."""
        return tuple(entry for entry in self.entries if entry.kind == FILE)

    def size_bytes(self) -> int:
        """Return the size of all payloads."""
        return sum(entry.size_bytes for entry in self.entries)

    def content_hash(self) -> str:
        """Return a hash over everything that a restore would bring back; times are not part of it."""
        made = hashlib.sha256()
        for one in sorted(self.entries, key=lambda entry: entry.path):
            made.update(json.dumps([one.path, *one.content(), one.mode, one.owner, one.group]).encode())
        return made.hexdigest()

    def to_json(self) -> str:
        """Return the text of the manifest file; a name that is no UTF-8 keeps its bytes as escapes."""
        return seal(asdict(self), FORMAT, any_bytes=True)


def read_config_manifest(text: str) -> ConfigManifest:
    """Return the facts of a manifest file.

    Raises:
        PreconditionFailed: it is damaged, or of a newer format (code ``manifest_unreadable``).
    """
    with reading_manifest():
        data = unseal(text, FORMAT)
        return ConfigManifest(
            **{
                **data,
                "paths": tuple(data["paths"]),
                "exclude": tuple(data["exclude"]),
                "entries": tuple(Entry(**one) for one in data["entries"]),
                "skipped": tuple(Skipped(**one) for one in data["skipped"]),
            }
        )


def check_paths(paths: Iterable[str], option: str) -> tuple[str, ...]:
    """Return the paths when each of them says one place and no other.

    Raises:
        InvalidValue: one is relative, has ``..`` or a NUL in it, or there is none.
    """
    kept = tuple(path.rstrip("/") or path[:1] for path in paths)
    for path in kept:
        if not is_plain(path):
            raise InvalidValue(
                f"{option}: {printable(path, 200)!r} is no absolute path without . and ..",
                hint="write it as /etc/shop/env",
            )
    if not kept:
        raise InvalidValue(f"{option} is empty", hint="name at least one file or folder")
    return kept


def is_plain(path: str) -> bool:
    """Tell whether a path is absolute and goes nowhere but down.

    >>> [is_plain(path) for path in ("/etc/shop", "etc", "/etc/../shadow", "/etc//shop", "/a/.")]
    [True, False, False, False, False]
    """
    if path == "/":
        return True
    parts = path.split("/")
    return parts[0] == "" and len(parts) > 1 and "\0" not in path and not {"", ".", ".."} & set(parts[1:])


def root_of(path: str, roots: Iterable[str]) -> Optional[str]:
    """Return the longest root that holds a path.

    >>> root_of("/etc/shop/env", ["/etc", "/etc/shop"]), root_of("/etc/shopping", ["/etc/shop"])
    ('/etc/shop', None)
    """
    found = [root for root in roots if path == root or path.startswith(root.rstrip("/") + "/")]
    return max(found, key=len, default=None)


def is_excluded(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether a pattern fits the whole path or its last part.

    >>> is_excluded("/etc/a/b.swp", ["*.swp"]), is_excluded("/etc/a", ["/etc/b*"])
    (True, False)
    """
    name = path.rsplit("/", 1)[1]
    return any(fnmatchcase(path, pattern) or fnmatchcase(name, pattern) for pattern in patterns)


def changes_between(before: Iterable[Entry], after: Iterable[Entry]) -> dict[str, list[str]]:
    """Return the names of what was added, changed and removed."""
    old, new = {one.path: one for one in before}, {one.path: one for one in after}
    same = ("path", "kind", "mode", "owner", "group", "sha256", "target")
    changed = [
        path
        for path in sorted(old.keys() & new.keys())
        if any(getattr(old[path], name) != getattr(new[path], name) for name in same)
    ]
    return {"added": sorted(new.keys() - old.keys()), "changed": changed, "removed": sorted(old.keys() - new.keys())}


def name_some(paths: Iterable[str]) -> str:
    """Return the first names of a list for a message."""
    listed = [printable(path, 200) for path in paths]
    rest = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def judge_files(manifest: ConfigManifest, found: Mapping[str, tuple[int, str]]) -> tuple[Finding, ...]:
    """Compare the payload of a copy, path to size and SHA-256, with its facts."""
    expected = {entry.path: (entry.size_bytes, entry.sha256) for entry in manifest.files()}
    missing = sorted(expected.keys() - found.keys())
    strange = sorted(found.keys() - expected.keys())
    different = sorted(path for path in expected.keys() & found.keys() if expected[path] != found[path])
    equal = len(expected) - len(missing) - len(different)
    findings = [
        Finding("files", OK, f"{equal} of {count_of(len(expected), 'file')} equal byte for byte", equal, "files")
    ]
    for check, paths, text in (
        ("missing", missing, "not in the copy"),
        ("different", different, "not what was stored"),
        ("strange", strange, "in the copy and not in its facts"),
    ):
        if paths:
            findings.append(Finding(check, CRITICAL, f"{text}: {name_some(paths)}", len(paths), "files"))
    return tuple(findings)
