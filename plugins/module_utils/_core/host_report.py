# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is returned about a host: samples for its history, and the facts themselves."""

from __future__ import annotations

from typing import Any, Iterator

from .host_facts import CpuUse, HostFacts, Memory, Processes
from .host_mounts import FileSystem, is_written_to
from .host_proc import Load
from .readings import NAMED
from .redact import printable
from .samples import Sample

_FILE_SYSTEMS = 30  # with samples; a host with more has a tool of its own for them


def samples_of(facts: HostFacts) -> Iterator[Sample]:
    """Yield what is kept as history."""
    if isinstance(facts.cpu, CpuUse):
        yield Sample("host.cpu.used_percent", round(facts.cpu.used, 2), "percent")
        yield Sample("host.cpu.steal_percent", round(facts.cpu.steal, 2), "percent")
        yield Sample("host.cpu.iowait_percent", round(facts.cpu.iowait, 2), "percent")
    if isinstance(facts.load, Load):
        yield Sample("host.load.per_cpu", round(facts.load.five / facts.cpus, 3), "ratio")
    for name, pressure in facts.pressure.items():
        yield Sample("host.pressure.some_percent", pressure.some_60, "percent", {"resource": name})
    if isinstance(facts.memory, Memory):
        yield Sample("host.memory.used_percent", round(facts.memory.used_percent, 2), "percent")
        yield Sample("host.memory.available", facts.memory.available, "bytes")
    for system in facts.file_systems[:_FILE_SYSTEMS] if isinstance(facts.file_systems, tuple) else ():
        yield from _of_disk(system)
    yield from _of_tables(facts)


def _of_disk(system: FileSystem) -> Iterator[Sample]:
    disk = system.room
    if disk is None or disk.used_percent is None or not is_written_to(system.mount):
        return
    labels = {"mount": printable(system.mount.point, 200)}
    yield Sample("host.disk.used_percent", disk.used_percent, "percent", labels)
    yield Sample("host.disk.used", disk.used_bytes, "bytes", labels)
    if disk.inodes_used_percent is not None:
        yield Sample("host.inodes.used_percent", disk.inodes_used_percent, "percent", labels)


def _of_tables(facts: HostFacts) -> Iterator[Sample]:
    pairs = {
        "host.swap.used_percent": facts.swap,
        "host.open_files.used_percent": facts.open_files,
        "host.threads.used_percent": facts.threads,
        "host.conntrack.used_percent": facts.conntrack,
    }
    for metric, pair in pairs.items():
        if isinstance(pair, tuple) and pair[1]:
            yield Sample(metric, round(100 * pair[0] / pair[1], 3), "percent")
    if isinstance(facts.processes, Processes):
        yield Sample("host.processes", facts.processes.count, "count")
        yield Sample("host.zombies", len(facts.processes.zombies), "count")
    if isinstance(facts.uptime, float):
        yield Sample("host.uptime", facts.uptime, "seconds")
    if isinstance(facts.oom_kills, int):
        yield Sample("host.oom_kills", facts.oom_kills, "count")
    if isinstance(facts.failed_units, tuple):
        yield Sample("host.failed_units", len(facts.failed_units), "count")


def render_host(facts: HostFacts) -> dict[str, Any]:
    """Return the facts for who wants to know more; null is what could not be read."""
    cpu = facts.cpu if isinstance(facts.cpu, CpuUse) else None
    memory = facts.memory if isinstance(facts.memory, Memory) else None
    swap = facts.swap if isinstance(facts.swap, tuple) else None
    load = facts.load if isinstance(facts.load, Load) else None
    units = facts.failed_units if isinstance(facts.failed_units, tuple) else None
    return {
        "cpus": facts.cpus,
        "busiest": [{"command": name, "pid": pid, "cpu_percent": round(part, 1)} for name, pid, part in cpu.busiest]
        if cpu
        else [],
        "load": [load.one, load.five, load.fifteen] if load else None,
        "memory_of": memory.of if memory else None,
        "memory_total_bytes": memory.total if memory else None,
        "memory_available_bytes": memory.available if memory else None,
        "biggest": [{"command": name, "pid": pid, "bytes": size} for name, pid, size in memory.biggest]
        if memory
        else [],
        "swap_total_bytes": swap[1] if swap else None,
        "swap_used_bytes": swap[0] if swap else None,
        "uptime_seconds": facts.uptime if isinstance(facts.uptime, float) else None,
        "failed_units": [one.name for one in units[:NAMED]] if units is not None else None,
        "file_systems": [_render_file_system(one) for one in facts.file_systems]
        if isinstance(facts.file_systems, tuple)
        else [],
        "deleted_files": _render_deleted(facts),
    }


def _render_file_system(system: FileSystem) -> dict[str, Any]:
    disk = system.room
    return {
        "mount": printable(system.mount.point, 200),
        "type": printable(system.mount.type, 40),
        "source": printable(system.mount.source, 200),
        "read_only": not is_written_to(system.mount) or bool(system.forced_read_only),
        "total_bytes": disk.total_bytes if disk else None,
        "used_bytes": disk.used_bytes if disk else None,
        "free_bytes": disk.free_bytes if disk else None,
        "used_percent": disk.used_percent if disk else None,
        "inodes_used_percent": disk.inodes_used_percent if disk else None,
        "error": printable(system.unread.reason, 200) if system.unread else "",
    }


def _render_deleted(facts: HostFacts) -> list[dict[str, Any]]:
    files = getattr(facts.deleted, "files", ())
    return [
        {
            "path": printable(one.path, 200),
            "bytes": one.size,
            "pids": [holder.pid for holder in one.holders[:NAMED]],
            "commands": sorted({printable(holder.command, 40) for holder in one.holders[:NAMED]}),
        }
        for one in sorted(files, key=lambda one: -one.size)[:NAMED]
    ]
