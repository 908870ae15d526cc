# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What restic says, in our terms: snapshots, progress, and what an error means. Written for 0.14 to 0.18.

Sources: restic's scripting documentation for the JSON, its source for the words; exit codes 10 to 12 since 0.17.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Mapping, Optional, Sequence

from .backup import Snapshot
from .timestamps import parse_rfc3339

INCOMPLETE = 3  # exit code of a backup that could not read everything, and wrote a snapshot all the same
HOST_KEY_REFUSED = "host_key_refused"
FULL = "no space left on device"
LOCKED = "repository_locked"
STALE_SECONDS = 1800.0  # how old a lock must be for restic to take it for that of a dead run, whosever it is

_UNREADABLE = re.compile(r"(?:could not|failed to) load snapshot ([0-9a-f]{8,64})")


@dataclass(frozen=True)
class Meaning:
    """A stable code and what to do next."""

    code: str
    hint: str


_NO_LOCK = "unable to create lock"  # what restic writes before the reason, whatever that is
_BY_EXIT_CODE = {10: "repository_missing", 11: LOCKED, 12: "wrong_key"}
_HINTS = {
    "repository_missing": "check the location, or let the backup make it (repository_create)",
    LOCKED: "another run is at work: wait for it; the lock of one that died is removed by the next run on its host, "
    "or by any run 30 minutes after its last sign of life",
    "wrong_key": "check repository_password or repository_password_file",
    "repository_damaged": "run restic check --read-data; restore from a second repository if there is one",
    "disk_full": "make room where the repository or the staging folder lies",
    "insufficient_privilege": "give the user the right to read and write there",
    "repository_unreachable": "check address, credentials and network of the repository",
    HOST_KEY_REFUSED: "ask its owner whether the server's key is right, by another way; only then mend known_hosts",
    "incomplete": "a part of the copy is missing; choose another one",
    "restic_failed": "read the text; run restic by hand with the same environment",
}
# A pack that the storage has not, though the index knows it, or of which it has not all.
_PACK_GONE = re.compile(
    r"/data/[0-9a-f]{2}/[0-9a-f]{64}: (?:no such file|file does not exist)"
    r"|streampack: (?:readfull: )?eof\b|readfull\(<data/[0-9a-f]+>\): eof\b"
)
# The first that fits decides: a damaged repository may also be one that cannot be decrypted.
_BY_WORDS = (
    ((FULL, "disk quota exceeded"), "disk_full"),
    (("wrong password or no key found", "resolving password failed"), "wrong_key"),
    (("repository is already locked",), LOCKED),
    (("host key verification failed", "remote host identification has changed"), HOST_KEY_REFUSED),
    # Before damage: what could not be fetched is not damaged for that.
    (("connection refused", "no such host", "i/o timeout", "dial tcp", "ssh command exited", "unable to start the sftp",
      "access denied", "invalidaccesskeyid", "access key id you provided", "signaturedoesnotmatch",
      "signature you provided", "nosuchbucket", "connection reset",
      "network is unreachable", "no route to host", "tls handshake", "401 unauthorized", "403 forbidden"),
     "repository_unreachable"),
    (
        ("ciphertext verification failed", "hash does not match", "invalid data returned", "data seems to be corrupted",
         "load <snapshot/", "load <index/", "blob not found", "not found in index", "not found in repository",
         "repository contains errors", "unexpected eof", "truncated", "is damaged", "no key found to decrypt",
         "invalid header", "id does not match", "failed to load index", "file is shorter",
         "no such file or directory: pack"),
        "repository_damaged",
    ),
    (("not found in snapshot",), "incomplete"),
    (("permission denied", "operation not permitted", "read-only file system"), "insufficient_privilege"),
    # Last: restic adds these words whatever the reason was for which the repository did not open.
    (("is there a repository at the following location", "unable to open config file"), "repository_missing"),
)  # fmt: skip


def backup_arguments(host: str, tags: Sequence[str]) -> list[str]:
    """Return how every backup begins.

    ``--force``: don't look for a parent snapshot. Each copy comes from a folder of its own, so that there is never one,
    and a single damaged snapshot anywhere in the repository would make the search, and the backup, fail.
    """
    return ["backup", "--json", "--force", "--host", host, *(part for tag in tags for part in ("--tag", tag))]


def meaning_of(rc: int, stderr: str) -> Meaning:
    """Return what a failed restic means, by its exit code where that is specific, else by its words.

    >>> meaning_of(1, "Fatal: wrong password or no key found").code
    'wrong_key'
    """
    text = stderr.lower()
    other = "repository_damaged" if _PACK_GONE.search(text) else "restic_failed"
    code = _BY_EXIT_CODE.get(rc) or next(
        (code for words, code in _BY_WORDS if any(word in text for word in words)), other
    )
    return Meaning(code, _HINTS[code])


def is_about_lock(rc: int, stderr: str) -> bool:
    """Tell whether it ended because it got no lock: nothing was read or written then.

    >>> is_about_lock(1, "unable to create lock in backend: open /r/locks/5d: permission denied")
    True
    """
    return _BY_EXIT_CODE.get(rc) == LOCKED or _NO_LOCK in stderr.lower()


@dataclass(frozen=True)
class Lock:
    """Whose lock it is, and when that gave its last sign of life."""

    host: str
    pid: int
    time: datetime


def read_lock(stdout: str) -> Lock:
    """Return the lock of ``restic cat lock``.

    Raises:
        ValueError, KeyError: it is none.
    """
    lock = json.loads(stdout)
    return Lock(str(lock["hostname"]), int(lock["pid"]), read_time(lock["time"]))


def read_snapshots(stdout: str) -> tuple[Snapshot, ...]:
    """Return the snapshots of ``restic snapshots --json``.

    Raises:
        ValueError: it is not that.
    """
    listed = json.loads(stdout)
    if listed is None:  # what Go writes for an empty list
        return ()
    return tuple(
        Snapshot(
            id=str(one["id"]),
            time=read_time(one["time"]),
            host=str(one.get("hostname", "")),
            tags=tuple(one.get("tags") or ()),
            paths=tuple(one.get("paths") or ()),
        )
        for one in listed
    )


@dataclass(frozen=True)
class Listing:
    """The snapshots that could be read, and the beginnings of the ids of those that could not."""

    snapshots: tuple[Snapshot, ...]
    unreadable: tuple[str, ...] = ()


def read_unreadable(stderr: str) -> tuple[str, ...]:
    """Return the snapshots that restic passes over in its list: it only grumbles, and ends with 0.

    >>> read_unreadable("could not load snapshot 0ab6827c: load <snapshot/0ab6827caa>: invalid data returned")
    ('0ab6827c',)
    """
    return tuple(dict.fromkeys(_UNREADABLE.findall(stderr)))


def read_time(text: str) -> datetime:
    """Return a moment of an answer of restic: nanoseconds, any offset.

    Raises:
        ValueError: it is none.
    """
    moment = parse_rfc3339(text)
    if moment is None:
        raise ValueError(f"{text!r} is no moment")
    return moment


def read_message(line: str) -> Mapping[str, Any]:
    """Return one JSON message of a command that runs; empty for any other text."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


@dataclass(frozen=True)
class Written:
    """What a finished backup says: the snapshot, bytes read from the source, bytes that were new to the repository."""

    snapshot: str
    size_bytes: int
    added_bytes: int


def read_written(message: Mapping[str, Any]) -> Optional[Written]:
    """Return the summary, None for any other message."""
    if message.get("message_type") != "summary" or not message.get("snapshot_id"):
        return None
    size, added = message.get("total_bytes_processed", 0), message.get("data_added", 0)
    return Written(str(message["snapshot_id"]), int(size), int(added))
