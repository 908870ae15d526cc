# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read all that is to be known about a host, in hardly more time than the processors are watched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Union

from .._core.errors import OpsError
from .._core.host_facts import CpuUse, Deleted, HostFacts, Memory
from .._core.host_mounts import (
    FileSystem,
    Mount,
    below,
    choose_mounts,
    forced_read_only,
    parse_fstab,
    parse_mounts,
)
from .._core.host_preflight import Disk
from .._core.host_proc import CpuTicks, Process
from .._core.readings import Unread
from . import host_programs
from .background import Background
from .clock import Clock
from .command import CommandRunner
from .host_kernel import Kernel, biggest, busiest, cpu_use, own_ticks, summary
from .host_preflight import read_disk
from .log_rotation_holders import Processes

_MOUNTS = 100

DiskReader = Callable[[str], Disk]


@dataclass(frozen=True)
class Budget:
    """Seconds: how long the processors are watched, a file system may take to answer, and all together may take."""

    window: float
    mount: float
    total: float


@dataclass(frozen=True)
class Ports:
    """The world of one look: ``root`` holds the kernel's files, ``read_disk`` asks a file system for its room."""

    commands: CommandRunner
    clock: Clock
    root: Path = Path("/")
    read_disk: DiskReader = read_disk


def read_host(ports: Ports, budget: Budget, exclude: Sequence[str], controller_time: Optional[datetime]) -> HostFacts:
    """Return the facts. What takes long goes on beside the watch over the processors."""
    look = _Look(ports, budget)
    skew = (ports.clock.now() - controller_time).total_seconds() if controller_time is not None else None
    watch = look.start_watch()
    left = 0.8 * budget.total  # a program is stopped before it is no longer waited for: none is left behind
    units = Background(lambda: host_programs.failed_units(ports.commands, left))
    clock_state = Background(lambda: host_programs.clock_state(ports.commands, left))
    reboot = Background(lambda: host_programs.pending_reboot(ports.commands, left, ports.root))
    systems, left_out = look.file_systems(exclude)
    hung = [one.mount.point for one in systems if one.unread] if not isinstance(systems, Unread) else []
    deleted: Background[Deleted] = Background(lambda: Deleted(*Processes(below([*hung, *look.fuse])).deleted()))
    kernel = look.kernel
    load, memory = kernel.load(), kernel.memory()
    cpu, processes = look.end_watch(watch)
    if isinstance(memory, Memory) and not isinstance(processes, Unread):
        memory = Memory(memory.total, memory.available, memory.of, biggest(processes))
    return HostFacts(
        cpus=os.cpu_count() or 1,
        cpu=cpu,
        load=load,
        memory=memory,
        swap=kernel.swap(),
        pressure=kernel.pressure(),
        file_systems=systems,
        mounts_left_out=left_out,
        oom_kills=kernel.oom_kills(memory),
        failed_units=look.fetch(units, "failed units are not known"),
        clock=look.fetch(clock_state, "time synchronisation is not known"),
        clock_skew=skew,
        reboot=look.fetch(reboot, "a pending reboot is not known"),
        uptime=kernel.uptime(),
        open_files=kernel.open_files(),
        threads=kernel.threads(load),
        processes=summary(processes),
        deleted=look.fetch(deleted, "deleted files are not known"),
        conntrack=kernel.conntrack(),
        interfaces=kernel.interfaces(),
    )


@dataclass(frozen=True)
class _Watch:
    """The first look at the processors."""

    ticks: Union[CpuTicks, Unread]
    processes: Union[dict[int, Process], Unread]
    own: int
    at: float


class _Look:
    """One look at a host, that ends in time."""

    def __init__(self, ports: Ports, budget: Budget) -> None:
        self.kernel = Kernel(ports.root)
        self.fuse: tuple[str, ...] = ()
        self._ports = ports
        self._budget = budget
        self._deadline = ports.clock.monotonic() + budget.total

    def fetch(self, work: Background[Any], what: str) -> Any:
        """Return what the work brings; Unread when that does not come back in time."""
        try:
            return work.result(self._deadline - self._ports.clock.monotonic())
        except OpsError as error:
            return Unread(f"{what}: {error.message}; give a longer timeout")
        except OSError as error:
            return Unread(f"{what}: {error.strerror}")

    def start_watch(self) -> _Watch:
        """Look at the processors for the first time."""
        processes = self.kernel.processes()
        return _Watch(self.kernel.cpu_ticks(), processes, own_ticks(), self._ports.clock.monotonic())

    def end_watch(self, watch: _Watch) -> tuple[Union[CpuUse, Unread], Union[dict[int, Process], Unread]]:
        """Wait for the rest of the window and look again."""
        clock = self._ports.clock
        clock.sleep(max(0.0, watch.at + self._budget.window - clock.monotonic()))
        ticks, own, seconds = self.kernel.cpu_ticks(), own_ticks(), clock.monotonic() - watch.at
        processes = self.kernel.processes()
        if isinstance(watch.ticks, Unread) or isinstance(ticks, Unread):
            return (ticks if isinstance(ticks, Unread) else Unread("/proc/stat makes no sense")), processes
        use = cpu_use(watch.ticks, ticks, own - watch.own, seconds)
        if isinstance(use, Unread) or isinstance(processes, Unread) or isinstance(watch.processes, Unread):
            return use, processes
        top = busiest(watch.processes, processes, seconds)
        return CpuUse(use.used, use.steal, use.iowait, use.seconds, top), processes

    def file_systems(self, exclude: Sequence[str]) -> tuple[Union[tuple[FileSystem, ...], Unread], int]:
        """Return the real file systems with their room, and how many there are beyond those looked at."""
        mounts = self.kernel.read("proc/self/mountinfo", parse_mounts)
        if isinstance(mounts, Unread):
            return mounts, 0
        if not mounts:
            return Unread("/proc/self/mountinfo makes no sense"), 0
        fuse = [mount.point for mount in mounts if mount.type.split(".")[0] in ("fuse", "fuseblk")]
        self.fuse = tuple(point for point in fuse if point != "/")
        fstab = self.kernel.read("etc/fstab", parse_fstab)
        wanted = fstab if isinstance(fstab, dict) else {}
        chosen = choose_mounts(mounts, exclude)
        asked = [(mount, self._ask(mount)) for mount in chosen[:_MOUNTS]]
        until = self._ports.clock.monotonic() + self._budget.mount
        systems = (FileSystem(mount, self._room(work, until), forced_read_only(mount, wanted)) for mount, work in asked)
        return tuple(systems), max(0, len(chosen) - _MOUNTS)

    def _ask(self, mount: Mount) -> Background[Disk]:
        path = str(self._ports.root / mount.point.lstrip("/"))
        return Background(lambda: self._ports.read_disk(path))

    def _room(self, work: Background[Disk], until: float) -> Union[Disk, Unread]:
        try:
            disk = work.result(until - self._ports.clock.monotonic())
        except OpsError:
            return Unread(f"no answer within {self._budget.mount:g} s: is its server gone?")
        return Unread(disk.error) if disk.error else disk
