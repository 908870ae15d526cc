# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the kernel's own figures of a host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional, TypeVar, Union

from .._core import host_proc
from .._core.host_facts import CpuUse, Memory, Processes
from .._core.host_proc import CpuTicks, Interface, Load, Pressure, Process
from .._core.readings import Unread

_LARGEST = 4 << 20  # mountinfo of a host with thousands of containers has about as much
_PIECE = 64 << 10  # the kernel takes as much memory as is asked for at once, and refuses megabytes
_NAMED = 3
# limit, use, statistics, and the name there of what files hold: control groups of version 2, then of version 1
_GROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)

T = TypeVar("T")


class Kernel:
    """The files in which the kernel tells how the host is; ``root`` is another folder in tests."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str) -> str:
        """Return a file of the kernel, at most 4 MiB of it.

        Raises:
            OSError: it is not there or may not be read.
        """
        pieces: list[bytes] = []
        with (self.root / path).open("rb", buffering=0) as file:
            while sum(map(len, pieces)) < _LARGEST:
                piece = file.read(_PIECE)
                if not piece:
                    break
                pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "surrogateescape")

    def read(self, path: str, parse: Callable[[str], Optional[T]]) -> Union[T, Unread]:
        """Return what a file says; Unread with the reason when it says nothing."""
        try:
            value = parse(self.text(path))
        except OSError as error:
            return Unread(f"/{path} cannot be read: {error.strerror}")
        return Unread(f"/{path} makes no sense") if value is None else value

    def cpu_ticks(self) -> Union[CpuTicks, Unread]:
        """Return the ticks of all processors."""
        return self.read("proc/stat", host_proc.parse_cpu)

    def load(self) -> Union[Load, Unread]:
        """Return the load averages."""
        return self.read("proc/loadavg", host_proc.parse_load)

    def uptime(self) -> Union[float, Unread]:
        """Return the seconds since the boot."""
        return self.read("proc/uptime", host_proc.parse_uptime)

    def open_files(self) -> Union[tuple[int, int], Unread]:
        """Return how many files are open, and may be."""
        return self.read("proc/sys/fs/file-nr", host_proc.parse_files)

    def interfaces(self) -> Union[tuple[Interface, ...], Unread]:
        """Return the network interfaces of this network namespace."""
        return self.read("proc/net/dev", host_proc.parse_interfaces)

    def pressure(self) -> dict[str, Pressure]:
        """Return the pressure stall information, nothing where the kernel has none."""
        found = {name: self.read(f"proc/pressure/{name}", host_proc.parse_pressure) for name in ("cpu", "memory", "io")}
        return {name: value for name, value in found.items() if isinstance(value, Pressure)}

    def threads(self, load: Union[Load, Unread]) -> Union[tuple[int, int], Unread]:
        """Return how many threads there are, and may be: in the container when it has a limit, or on the host."""
        for folder in ("", "pids/"):
            group = [self.read(f"sys/fs/cgroup/{folder}pids.{name}", host_proc.whole) for name in ("current", "max")]
            current, limit = group
            if isinstance(current, int) and isinstance(limit, int) and limit:
                return current, limit
        if isinstance(load, Unread):
            return load
        limits = [self.read(f"proc/sys/kernel/{name}", host_proc.whole) for name in ("pid_max", "threads-max")]
        known = [limit for limit in limits if isinstance(limit, int) and limit]
        return (load.threads, min(known)) if known else Unread("/proc/sys/kernel/pid_max cannot be read")

    def conntrack(self) -> Union[tuple[int, int], Unread, None]:
        """Return how many connections are followed, and may be; None when the kernel follows none."""
        folder = "proc/sys/net/netfilter/nf_conntrack"
        if not (self.root / f"{folder}_max").exists():
            return None
        count, limit = (self.read(f"{folder}_{name}", host_proc.whole) for name in ("count", "max"))
        if isinstance(count, Unread):
            return count
        return (count, limit) if isinstance(limit, int) and limit else Unread(f"/{folder}_max makes no sense")

    def memory(self) -> Union[Memory, Unread]:
        """Return the memory of the host, or of the container when its limit is lower."""
        keyed = self.read("proc/meminfo", host_proc.parse_keyed)
        if isinstance(keyed, Unread):
            return keyed
        total, available = keyed.get("MemTotal"), keyed.get("MemAvailable")
        if not total or available is None:
            return Unread("/proc/meminfo has no MemTotal and MemAvailable")
        limited = self._container_memory(total)
        return limited or Memory(total, min(available, total))

    def _container_memory(self, total: int) -> Optional[Memory]:
        """Return the memory of the control group at the root of what is seen here: a container's own.

        The real root has no limit (version 2) or one beyond all memory (version 1). What files hold that nobody used
        lately is given back first, so it counts as available.
        """
        for limit_file, used_file, stat_file, key in _GROUP_FILES:
            limit = self.read(f"sys/fs/cgroup/{limit_file}", host_proc.whole)
            used = self.read(f"sys/fs/cgroup/{used_file}", host_proc.whole)
            stat = self.read(f"sys/fs/cgroup/{stat_file}", host_proc.parse_keyed)
            if isinstance(limit, int) and isinstance(used, int) and 0 < limit < total:
                idle = stat.get(key, 0) if isinstance(stat, dict) else 0
                return Memory(limit, max(0, min(limit, limit - used + idle)), "container")
        return None

    def swap(self) -> Union[tuple[int, int], Unread]:
        """Return how much swap is used, and there is."""
        return self.read("proc/meminfo", lambda text: host_proc.swap_of(host_proc.parse_keyed(text)))

    def oom_kills(self, memory: Union[Memory, Unread]) -> Union[int, Unread]:
        """Return how many processes were killed for want of memory: in the container, or on the host."""
        if isinstance(memory, Memory) and memory.of != "host":
            for path in ("memory.events", "memory/memory.oom_control"):
                events = self.read(f"sys/fs/cgroup/{path}", host_proc.parse_keyed)
                if isinstance(events, dict) and "oom_kill" in events:
                    return events["oom_kill"]
        return self.read("proc/vmstat", lambda text: host_proc.parse_keyed(text).get("oom_kill"))

    def processes(self) -> Union[dict[int, Process], Unread]:
        """Return all processes, by pid."""
        try:
            pids = [name for name in os.listdir(self.root / "proc") if name.isdigit()]  # noqa: PTH208
        except OSError as error:
            return Unread(f"/proc cannot be read: {error.strerror}")
        return {process.pid: process for process in self._processes(pids)}

    def _processes(self, pids: list[str]) -> Iterator[Process]:
        for pid in pids:
            process = self.read(f"proc/{pid}/stat", host_proc.parse_process)
            if isinstance(process, Process):  # else it has ended meanwhile
                yield process


def own_ticks() -> int:
    """Return the ticks that this process, and what it ran, have used."""
    used = os.times()
    seconds = used.user + used.system + used.children_user + used.children_system
    return round(seconds * os.sysconf("SC_CLK_TCK"))


def cpu_use(before: CpuTicks, after: CpuTicks, own: int, seconds: float) -> Union[CpuUse, Unread]:
    """Return the use of the processors between two looks; ``own`` are the ticks of the looking itself."""
    total = after.total - before.total
    if total <= 0:
        return Unread("/proc/stat has not moved: the window is too short")
    idle = max(0, after.idle + after.iowait - before.idle - before.iowait)
    busy = max(0, total - idle - own)

    def percent(ticks: int) -> float:
        return min(100.0, max(0.0, 100 * ticks / total))

    return CpuUse(percent(busy), percent(after.steal - before.steal), percent(after.iowait - before.iowait), seconds)


def busiest(
    before: Mapping[int, Process], after: Mapping[int, Process], seconds: float
) -> tuple[tuple[str, int, float], ...]:
    """Return the processes that used the processors most, in percent of one processor."""
    hertz = os.sysconf("SC_CLK_TCK")
    used = [
        (one.command, pid, 100 * (one.ticks - before[pid].ticks) / hertz / seconds)
        for pid, one in after.items()
        if pid in before and pid != os.getpid() and before[pid].command == one.command
    ]
    largest = sorted(used, key=lambda one: -one[2])[:_NAMED]
    return tuple(one for one in largest if one[2] >= 10)


def biggest(processes: Mapping[int, Process]) -> tuple[tuple[str, int, int], ...]:
    """Return the processes that hold the most memory, in bytes; what they share counts for each."""
    page = os.sysconf("SC_PAGE_SIZE")
    largest = sorted(processes.values(), key=lambda one: -one.pages)[:_NAMED]
    return tuple((one.command, one.pid, one.pages * page) for one in largest if one.pages)


def summary(processes: Union[dict[int, Process], Unread]) -> Union[Processes, Unread]:
    """Return how many there are, and who is a zombie."""
    if isinstance(processes, Unread):
        return processes
    zombies = tuple((one.command, one.pid) for one in processes.values() if one.state == "Z")
    return Processes(len(processes), zombies)
