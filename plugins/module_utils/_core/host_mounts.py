# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which file systems of a host are worth a look: real ones, each once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Iterable, Mapping, Optional, Sequence

from .host_preflight import Disk
from .readings import Unread

# Nothing is stored on these, or nothing can be: their room says nothing about the host.
_PSEUDO = frozenset(
    (
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs"),
        *("fusectl", "hugetlbfs", "mqueue", "nfsd", "nsfs", "overlay", "proc", "pstore", "ramfs", "rootfs"),
        *("rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs"),
    )
)
_UNCHANGING = frozenset(["cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"])
_ESCAPED = re.compile(r"\\([0-7]{3})")
_KERNEL = ("/proc/", "/sys/", "/dev/")  # whatever is mounted there, also on the folders themselves


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo. ``root`` is the part of the file system that is seen at ``point``."""

    point: str
    root: str
    device: str
    type: str
    source: str
    options: frozenset[str]
    super_options: frozenset[str]


@dataclass(frozen=True)
class FileSystem:
    """A file system with its room. ``forced_read_only`` says why it is read-only although it should not be."""

    mount: Mount
    disk: object  # Disk, or Unread
    forced_read_only: str = ""

    @property
    def room(self) -> Optional[Disk]:
        """Return the room, None when it could not be read."""
        return self.disk if isinstance(self.disk, Disk) else None

    @property
    def unread(self) -> Optional[Unread]:
        """Return why the room could not be read."""
        return self.disk if isinstance(self.disk, Unread) else None


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts of a mountinfo file, lines that make no sense left out (proc_pid_mountinfo(5))."""
    found = []
    for line in text.split("\n"):
        head, dash, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if dash and len(fields) >= 6 and len(rest) >= 3 and fields[4].startswith("/"):
            options = frozenset(fields[5].split(","))
            root, point, source = (_unescape(one) for one in (fields[3], fields[4], rest[1]))
            found.append(Mount(point, root, fields[2], rest[0], source, options, frozenset(rest[2].split(","))))
    return tuple(found)


def parse_fstab(text: str) -> dict[str, frozenset[str]]:
    """Return the options that the administrator wants for each mount point."""
    lines = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {_unescape(fields[1]): frozenset(fields[3].split(",")) for fields in lines if len(fields) >= 4}


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def choose_mounts(mounts: Sequence[Mount], exclude: Sequence[str]) -> tuple[Mount, ...]:
    """Return one mount of each real file system: the one that shows the whole of it, then the shortest name.

    ``exclude`` are patterns of mount points. What was mounted over is out of sight and left out.
    """
    visible = {mount.point: mount for mount in mounts}.values()
    best: dict[object, Mount] = {}
    for mount in visible:
        if _is_real(mount) and not any(fnmatchcase(mount.point, pattern) for pattern in exclude):
            key = _identity(mount)
            best[key] = min(best.get(key, mount), mount, key=_preference)
    return tuple(sorted(best.values(), key=lambda mount: mount.point))


def _identity(mount: Mount) -> object:
    """Return what two mounts of one file system have in common; each subvolume of btrfs has a device of its own."""
    return (mount.type, mount.source) if mount.type == "btrfs" else mount.device


def _preference(mount: Mount) -> tuple[bool, int, str]:
    return mount.root != "/", len(mount.point), mount.point


def _is_real(mount: Mount) -> bool:
    if mount.point == "/":
        return True  # also a container's, whatever it is made of
    if mount.type in _PSEUDO or mount.type in _UNCHANGING or mount.type in ("fuse.lxcfs", "fuse.snapfuse"):
        return False
    return not f"{mount.point}/".startswith(_KERNEL) or mount.point == "/dev/shm"  # noqa: S108  (named, not written to)


def forced_read_only(mount: Mount, wanted: Mapping[str, frozenset[str]]) -> str:
    """Return why a file system is read-only although somebody wants to write to it; "" when it is not."""
    if "emergency_ro" in mount.super_options or ("ro" in mount.super_options and "rw" in mount.options):
        return "the kernel has made it read-only, as it does after an error of the device"
    options = wanted.get(mount.point)
    if "ro" in mount.options and options is not None and "ro" not in options:
        return "it is mounted read-only, fstab wants it writable"
    return ""


def is_written_to(mount: Mount) -> bool:
    """Tell whether the file system can fill up."""
    return "ro" not in mount.options


def below(points: Iterable[str]) -> tuple[str, ...]:
    """Return prefixes of the paths below mount points.

    >>> below(["/mnt/nfs", "/"])
    ('/mnt/nfs/', '/')
    """
    return tuple(point.rstrip("/") + "/" for point in points)
