# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Log rotation: the facts about a directory of logs, and what belongs together in it."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Callable, FrozenSet, Iterable, Mapping, NamedTuple, Optional, Tuple

from .log_rotation_names import COPIED, LOCK_NAME, fits, generation_of, is_compressed, is_staging

FileId = Tuple[int, int]  # device and inode

HELD, FREE, UNCLEAR = "held", "free", "unclear"

_KINDS = {
    stat.S_IFLNK: "symbolic link, not followed",
    stat.S_IFDIR: "directory, not a file",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class Entry(NamedTuple):
    """One name below the directory as lstat saw it; sizes in bytes, moments in seconds since 1970."""

    directory: str  # relative to the directory that was given, "" for itself
    name: str
    device: int
    inode: int
    links: int
    mode: int  # with the file type, as st_mode
    uid: int
    gid: int
    size: int
    mtime: float
    ctime: float

    @property
    def path(self) -> str:
        """The name relative to the directory that was given."""
        return f"{self.directory}/{self.name}" if self.directory else self.name

    @property
    def identity(self) -> FileId:
        """What stays the same when the file is renamed."""
        return (self.device, self.inode)


@dataclass(frozen=True)
class User:
    """Who is at work: root may do what nobody else may, and must be more careful."""

    uid: int
    groups: FrozenSet[int] = frozenset()


@dataclass(frozen=True)
class Reopening:
    """How the process that writes is told about its new file; ``target`` and ``command`` are for people."""

    method: str = "none"  # none, signal, command, copytruncate
    target: str = ""
    command: str = ""

    @property
    def asks(self) -> bool:
        """Tell whether somebody can be asked to open the file again."""
        return self.method in ("signal", "command")


@dataclass(frozen=True)
class Policy:
    """What the user wants; ages in seconds, sizes in bytes, None for no such limit."""

    matches: Callable[[str], bool]
    min_size: int = 1
    max_size: Optional[int] = None
    max_age: float = 0.0
    keep: int = 0  # generations of one log, 0 for no limit
    prune_age: Optional[float] = None
    prune_logs_age: Optional[float] = None
    max_total_size: Optional[int] = None
    prune_existing: bool = False
    suffix: str = ".gz"  # "" when nothing is to be compressed
    delay_compress: bool = False
    create: bool = True
    reopening: Reopening = field(default_factory=Reopening)


@dataclass(frozen=True)
class Holder:
    """A process that has a file open; ``start`` in clock ticks since the boot tells a reused pid apart."""

    pid: int
    command: str
    start: int
    writes: bool
    appends: bool


@dataclass(frozen=True)
class DeletedFile:
    """A file that has no name any more, but whose space a process still holds; ``size`` is what it occupies."""

    path: str
    size: int
    holders: Tuple[Holder, ...]
    inside: bool  # it was below the directory that was given, not only on the same file system


@dataclass(frozen=True)
class Holdings:
    """Who has what open.

    ``leases`` is the kernel's own answer to "does anybody have it open for writing?" (None: it cannot tell).
    ``unseen`` counts the processes whose files this user may not look at; ``shared`` are the devices of network file
    systems, where another host may have a file open.
    """

    holders: Mapping[FileId, Tuple[Holder, ...]] = field(default_factory=dict)
    leases: Mapping[FileId, Optional[bool]] = field(default_factory=dict)
    unseen: int = 0
    deleted: Tuple[DeletedFile, ...] = ()
    shared: FrozenSet[int] = frozenset()

    def writers(self, identity: FileId) -> Tuple[Holder, ...]:
        """Return the processes that are seen to have a file open for writing."""
        return tuple(holder for holder in self.holders.get(identity, ()) if holder.writes)

    def hidden(self, identity: FileId) -> bool:
        """Tell whether somebody may have a file open whom nobody here can see."""
        return bool(self.unseen) or identity[0] in self.shared

    def verdict(self, identity: FileId) -> str:
        """Tell whether somebody has a file open for writing, seen or not."""
        lease = self.leases.get(identity)
        if lease or self.writers(identity):
            return HELD
        return FREE if lease is False or not self.hidden(identity) else UNCLEAR


@dataclass(frozen=True)
class Refusal:
    """A name that is left alone, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Generation:
    """A rotated log. ``moment`` is when it was rotated, ``order`` sorts the generations of one log."""

    entry: Entry
    moment: float
    order: float
    ours: bool  # the name carries our stamp
    tail: str

    @property
    def plain(self) -> bool:
        """Tell whether it waits for compression."""
        return self.ours and self.tail == ""


@dataclass(frozen=True)
class Family:
    """A log and its generations, the newest first."""

    directory: str
    log: str
    live: Optional[Entry] = None
    generations: Tuple[Generation, ...] = ()
    copied: Tuple[Generation, ...] = ()  # copies that copytruncate had not finished

    @property
    def path(self) -> str:
        """The log's name relative to the directory that was given."""
        return f"{self.directory}/{self.log}" if self.directory else self.log


@dataclass(frozen=True)
class Survey:
    """Everything below the directory that the policy is about."""

    families: Tuple[Family, ...] = ()
    staging: Tuple[Entry, ...] = ()
    refused: Tuple[Refusal, ...] = ()

    def generations(self) -> Iterable[Generation]:
        """Yield the generations of all logs."""
        return (generation for family in self.families for generation in family.generations)


def survey(
    entries: Iterable[Entry],
    policy: Policy,
    user: User,
    closed: Mapping[str, str] = MappingProxyType({}),
    hidden: FrozenSet[str] = frozenset(),
) -> Survey:
    """Sort names into logs with their generations, our own leftovers, and what must be left alone.

    ``closed`` are directories that must not be worked in, with the reason; ``hidden`` those of them that may hold logs.
    """
    drafts: dict[tuple[str, str], Family] = {}
    generations: dict[tuple[str, str], list[Generation]] = {}
    staging: list[Entry] = []
    refused: list[Refusal] = []
    reported = set(hidden)
    for entry in entries:
        log, generation = _role_of(entry, policy)
        if entry.directory in closed:
            reported |= {entry.directory} if log is not None else set()
            continue
        if is_staging(entry.name):
            if stat.S_ISDIR(entry.mode) and entry.uid == user.uid:
                staging.append(entry)
            else:
                refused.append(Refusal(entry.path, "bears the name of a working directory of ours, but is none"))
        if log is None:
            continue
        reason = _refusal(entry, user, live=generation is None)
        if reason:
            refused.append(Refusal(entry.path, reason))
            continue
        key = (entry.directory, log)
        if generation is None:
            drafts[key] = Family(entry.directory, log, entry)
        else:
            drafts.setdefault(key, Family(entry.directory, log))
            generations.setdefault(key, []).append(generation)
    refused += [Refusal(directory or ".", f"directory {closed[directory]}") for directory in sorted(reported)]
    families = tuple(_family(drafts[key], generations.get(key, [])) for key in sorted(drafts))
    return Survey(families, tuple(staging), tuple(refused))


def _role_of(entry: Entry, policy: Policy) -> tuple[Optional[str], Optional[Generation]]:
    if entry.name == LOCK_NAME or is_staging(entry.name):
        return None, None
    name = generation_of(entry.name)
    if name is not None and policy.matches(name.log):
        moment = entry.mtime if name.stamp is None else min(name.stamp, entry.ctime)
        order = entry.mtime if name.stamp is None else name.stamp
        return name.log, Generation(entry, moment, order, name.stamp is not None, name.tail)
    if policy.matches(entry.name) and not is_compressed(entry.name):
        return entry.name, None
    return None, None


def _family(draft: Family, found: list[Generation]) -> Family:
    newest_first = sorted(found, key=lambda generation: (-generation.order, generation.entry.name))
    finished = tuple(generation for generation in newest_first if generation.tail != COPIED)
    copied = tuple(generation for generation in newest_first if generation.tail == COPIED)
    return Family(draft.directory, draft.log, draft.live, finished, copied)


def _refusal(entry: Entry, user: User, *, live: bool) -> str:
    kind = stat.S_IFMT(entry.mode)
    if kind != stat.S_IFREG:
        return _KINDS.get(kind, "not a regular file")
    if entry.links != 1:
        return f"has {entry.links} hard links: the other names would lose or keep its lines"
    if user.uid != 0 and entry.uid != user.uid:
        return f"belongs to user {entry.uid}: rotate it as that user or as root"
    if user.uid != 0 and entry.gid not in user.groups:
        return f"belongs to group {entry.gid}: only root can give the new file to it"
    if live and not fits(entry.name):
        return "the name is too long to carry a time stamp"
    return ""
