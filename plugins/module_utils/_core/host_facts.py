# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is known about a host at one moment; Unread stands where it could not be looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

from .host_mounts import FileSystem
from .host_proc import Interface, Load, Pressure
from .host_programs import ClockState, FailedUnit
from .log_rotation import DeletedFile
from .readings import Unread
from .security_updates import Reboot

_NOT_YET = Unread("not looked at")


@dataclass(frozen=True)
class CpuUse:
    """Percent of the time of all processors, over ``seconds``; ``busiest`` are (command, pid, percent of one)."""

    used: float
    steal: float
    iowait: float
    seconds: float
    busiest: tuple[tuple[str, int, float], ...] = ()


@dataclass(frozen=True)
class Memory:
    """Bytes. ``of`` says whose memory it is: the host's, or the lower limit of the container's control group."""

    total: int
    available: int
    of: str = "host"
    biggest: tuple[tuple[str, int, int], ...] = ()  # command, pid, bytes

    @property
    def used_percent(self) -> float:
        """Return what is not available for another program."""
        return 100 * (self.total - self.available) / self.total


@dataclass(frozen=True)
class Processes:
    """How many there are; ``zombies`` are (command, pid) of those whose parent does not collect them."""

    count: int = 0
    zombies: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Deleted:
    """Files without a name that hold room; ``unseen`` processes could not be looked at."""

    files: tuple[DeletedFile, ...] = ()
    unseen: int = 0


@dataclass(frozen=True)
class HostFacts:
    """Everything. A pair is (used, limit). ``oom_kills`` are those of the host since the boot, of the container's
    group since it is there."""

    cpus: int = 1
    cpu: Union[CpuUse, Unread] = _NOT_YET
    load: Union[Load, Unread] = _NOT_YET
    memory: Union[Memory, Unread] = _NOT_YET
    swap: Union[tuple[int, int], Unread] = _NOT_YET
    pressure: dict[str, Pressure] = field(default_factory=dict)
    file_systems: Union[tuple[FileSystem, ...], Unread] = _NOT_YET
    mounts_left_out: int = 0
    oom_kills: Union[int, Unread] = _NOT_YET
    failed_units: Union[tuple[FailedUnit, ...], Unread] = _NOT_YET
    clock: Union[ClockState, Unread] = _NOT_YET
    clock_skew: Optional[float] = None
    reboot: Union[Reboot, Unread] = _NOT_YET
    uptime: Union[float, Unread] = _NOT_YET
    open_files: Union[tuple[int, int], Unread] = _NOT_YET
    threads: Union[tuple[int, int], Unread] = _NOT_YET
    processes: Union[Processes, Unread] = _NOT_YET
    deleted: Union[Deleted, Unread] = _NOT_YET
    conntrack: Union[tuple[int, int], Unread, None] = None  # None: the kernel follows no connections
    interfaces: Union[tuple[Interface, ...], Unread] = _NOT_YET
