# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Who has which file open: /proc for the names, leases for the kernel's own word."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, Iterator, List, Optional, Tuple

from .._core.log_rotation import DeletedFile, Entry, FileId, Holder, Holdings
from .log_rotation_tree import LeftAlone, LogTree, open_entry

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "glusterfs")  # a dead server hangs whoever looks
_DELETED = " (deleted)"

_Open = Tuple[str, os.stat_result, str]  # path as the kernel shows it, the file, the descriptor's number
_Lost = Dict[FileId, Tuple[str, os.stat_result, List[Holder]]]


class Processes:
    """The processes of this host, as far as this user may look at them.

    Files below ``avoid`` and on network file systems are left alone; not on those of ``tree``: they have just answered.
    """

    def __init__(self, avoid: Tuple[str, ...] = (), tree: Optional[LogTree] = None) -> None:
        mounts = tuple(_remote_mounts())
        self._shared = frozenset(device for device, _point in mounts)
        self._avoid = (*(point for device, point in mounts if not _belongs(device, point, tree)), *avoid)
        self._own = os.getpid()

    def holdings(self, wanted: FrozenSet[FileId], tree: LogTree) -> Holdings:
        """Return who has the wanted files open, and the deleted files of the tree's file system that are held.

        One pass over all descriptors of the host.
        """
        found: Dict[FileId, List[Holder]] = {}
        deleted: _Lost = {}
        device, unseen = tree.device, 0
        for pid in self._pids():
            files = self._open_files(pid)
            if files is None:
                unseen += 0 if _is_kernel_thread(pid) else 1
                continue
            for path, info, number in files:
                identity = (info.st_dev, info.st_ino)
                if identity in wanted:
                    found.setdefault(identity, []).append(holder_of(pid, _flags(pid, number)))
                if info.st_dev == device:
                    _note_deleted(deleted, path, info, pid, number)
        lost = tuple(_deleted(*facts, tree.path) for facts in deleted.values())
        holders = {key: _merged(several) for key, several in found.items()}
        return Holdings(holders, {}, unseen, lost, self._shared)

    def deleted(self) -> Tuple[Tuple[DeletedFile, ...], int]:
        """Return the deleted files of all file systems that are held open, and how many processes hide theirs."""
        found: _Lost = {}
        unseen = 0
        for pid in self._pids():
            files = self._open_files(pid)
            unseen += 1 if files is None and not _is_kernel_thread(pid) else 0
            for path, info, number in files or ():
                _note_deleted(found, path, info, pid, number)
        return tuple(_deleted(*facts, "") for facts in found.values()), unseen

    def written_by(self, pid: int) -> FrozenSet[FileId]:
        """Return the files that a process has open for writing; none when it is gone or hides them."""
        files = self._open_files(pid) or []
        return frozenset((info.st_dev, info.st_ino) for _path, info, number in files if _writes(_flags(pid, number)))

    def _pids(self) -> Iterator[int]:
        names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
        return (int(name) for name in names if int(name) != self._own)

    def _open_files(self, pid: int) -> Optional[List[_Open]]:
        folder = f"/proc/{pid}/fd"
        try:
            numbers = os.listdir(folder)  # noqa: PTH208
        except PermissionError:
            return None
        except OSError:
            return []
        return [opened for number in numbers for opened in self._open_file(folder, number)]

    def _open_file(self, folder: str, number: str) -> Iterator[_Open]:
        try:
            path = os.readlink(f"{folder}/{number}")  # noqa: PTH115
            if not path.startswith("/") or path.startswith(("/dev/", "/memfd:", "/proc/", *self._avoid)):
                return
            info = os.stat(f"{folder}/{number}")  # noqa: PTH116
            if stat.S_ISREG(info.st_mode):
                yield path, info, number
        except OSError:
            return  # closed meanwhile


def leases(tree: LogTree, entries: Iterable[Entry]) -> Dict[FileId, Optional[bool]]:
    """Return for each file whether anybody has it open for writing; None when the kernel cannot tell."""
    answers: Dict[FileId, Optional[bool]] = {}
    for entry in entries:
        try:
            with tree.directory(entry.directory) as directory:
                fd = open_entry(directory, entry)
        except (OSError, LeftAlone):
            answers[entry.identity] = None
            continue
        try:
            answers[entry.identity] = open_for_writing(fd)
        finally:
            os.close(fd)
    return answers


def open_for_writing(fd: int) -> Optional[bool]:
    """Ask the kernel whether anybody, seen or not, has a file open for writing or mapped; ``fd`` must be read-only.

    A read lease is granted only when nobody writes (fcntl(2)); it is given back at once. None: no lease on this file
    system, or the file belongs to somebody else.
    """
    try:
        # Should somebody open the file in this very moment, the kernel would tell us by SIGIO, which kills.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def holder_of(pid: int, flags: int) -> Holder:
    """Return a process with what its descriptor allows; its command line could hold secrets and is not read."""
    command = _read(f"/proc/{pid}/comm").rstrip("\n")
    return Holder(pid, command or "?", started(pid), _writes(flags), bool(flags & os.O_APPEND))


def started(pid: int) -> int:
    """Return when a process was started, in clock ticks since the boot; 0 when it is gone."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else 0


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent, 0 when there is none."""
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else 0


def _stat_fields(pid: int) -> List[str]:
    """Return the fields of /proc/<pid>/stat from the third on: the name before them may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _is_kernel_thread(pid: int) -> bool:
    fields = _stat_fields(pid)
    return not fields or bool(int(fields[6]) & _KERNEL_THREAD)


def _writes(flags: int) -> bool:
    return flags & os.O_ACCMODE != os.O_RDONLY


def _flags(pid: int, number: str) -> int:
    """Return the flags of a process's descriptor, as of open(2); read-only when it is closed by now."""
    lines = _read(f"/proc/{pid}/fdinfo/{number}").splitlines()
    return next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), os.O_RDONLY)


def _read(path: str) -> str:
    """Return a small file of /proc; nothing when the process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _merged(holders: List[Holder]) -> Tuple[Holder, ...]:
    """Return one holder for each process: it writes when one descriptor does, and appends when all that write do."""
    merged = []
    for pid in sorted({holder.pid for holder in holders}):
        same = [holder for holder in holders if holder.pid == pid]
        writing = [holder for holder in same if holder.writes]
        appends = bool(writing) and all(holder.appends for holder in writing)
        merged.append(Holder(pid, same[0].command, same[0].start, bool(writing), appends))
    return tuple(merged)


def _note_deleted(lost: _Lost, path: str, info: os.stat_result, pid: int, number: str) -> None:
    if info.st_nlink == 0 and path.endswith(_DELETED):
        known = lost.setdefault((info.st_dev, info.st_ino), (path[: -len(_DELETED)], info, []))
        known[2].append(holder_of(pid, _flags(pid, number)))


def _deleted(path: str, info: os.stat_result, holders: List[Holder], root: str) -> DeletedFile:
    return DeletedFile(path, info.st_blocks * 512, _merged(holders), path.startswith(root + "/"))


def _belongs(device: int, point: str, tree: Optional[LogTree]) -> bool:
    """Tell whether a mount holds a tree, lies in it, or shows the same file system in another place."""
    if tree is None:
        return False
    path = f"{tree.path}/"
    return path.startswith(point) or point.startswith(path) or device == tree.device


def _remote_mounts() -> Iterator[Tuple[int, str]]:
    """Yield the devices and the mount points (with a slash behind) of network file systems."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    for line in text.splitlines():
        head, _dash, tail = line.partition(" - ")
        if tail.split(" ", 1)[0] in _REMOTE:
            _id, _parent, device, _root, point = head.split()[:5]
            yield os.makedev(*map(int, device.split(":"))), point.rstrip("/") + "/"
