# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Is this host well: readings of its processors, memory, disks, kernel and services against their limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Callable, Iterator, Mapping, Optional, Union

from .counters import Previous, growth, render_counters
from .host_disks import disk_counters, disk_findings
from .host_facts import CpuUse, Deleted, HostFacts, Memory
from .host_proc import Interface
from .host_programs import UNSYNCHRONISED_SECONDS, ClockState
from .host_report import render_host, samples_of
from .limits import Limit
from .readings import Judge, Unread
from .redact import printable
from .result import OK, Decision, Finding
from .samples import HOST, render_samples
from .units import count_of, human_duration, human_size
from .verdict import headline

_DAY = 86400.0
_GIB = 1024**3

# The handbooks' for processors, memory and disks; the others are our own.
LIMITS: Mapping[str, Limit] = {
    "cpu": Limit(70, 90),
    "cpu_steal": Limit(10, 25),
    "cpu_iowait": Limit(30, 60),
    "load": Limit(2, 4),
    "pressure_cpu": Limit(60, 90),
    "pressure_memory": Limit(10, 30),
    "pressure_io": Limit(40, 80),
    "memory": Limit(80, 90),
    "swap": Limit(50, 80),
    "oom_kills": Limit(1, None),
    "disk": Limit(85, 95),
    "inodes": Limit(85, 95),
    "days_to_full": Limit(14, 3, lower_is_worse=True),
    "read_only": Limit(None, 1),
    "deleted_files": Limit(_GIB, 10 * _GIB),
    "failed_units": Limit(1, None),
    "time_sync": Limit(1, None),
    "clock_skew": Limit(5, 30),
    "reboot_pending": Limit(1, None),
    "uptime": Limit(3600, None, lower_is_worse=True),
    "open_files": Limit(80, 90),
    "threads": Limit(80, 90),
    "zombies": Limit(10, 100),
    "conntrack": Limit(80, 90),
    "network_errors": Limit(0.1, 1),
}
_FEW_ERRORS = 10  # fewer say nothing about a network, however few packets there were


@dataclass(frozen=True)
class Moment:
    """The time of the readings and the counters of the run before."""

    now: datetime
    previous: Optional[Previous] = None


def decide(facts: HostFacts, limits: Mapping[str, Optional[Limit]], moment: Moment) -> Decision:
    """Return the readings against their limits; nothing is ever planned."""
    judge = Judge(limits)
    findings = tuple(_findings(facts, judge, moment))
    extra = {
        "area": HOST,
        "samples": render_samples(samples_of(facts)),
        "counters": render_counters(moment.now, counters_of(facts, moment)),
        "host": render_host(facts),
    }
    return Decision(headline(findings), findings=findings, extra=extra)


def counters_of(facts: HostFacts, moment: Moment) -> dict[str, Optional[float]]:
    """Return what the next run compares with."""
    counters = disk_counters(facts, moment.now, moment.previous)
    if isinstance(facts.oom_kills, int):
        counters["oom_kills"] = facts.oom_kills
    for one in facts.interfaces if isinstance(facts.interfaces, tuple) else ():
        counters[f"network_errors:{one.name}"] = one.errors
        counters[f"network_packets:{one.name}"] = one.packets
    return counters


def _findings(facts: HostFacts, judge: Judge, moment: Moment) -> Iterator[Finding]:
    yield from _cpu(facts, judge)
    yield from _load(facts, judge)
    yield from _pressure(facts, judge)
    yield from _memory(facts, judge)
    yield from _swap(facts, judge)
    yield from _oom_kills(facts, judge, moment)
    yield from disk_findings(facts, judge, moment.now, moment.previous)
    yield from _deleted(facts, judge)
    yield from _units(facts, judge)
    yield from _clock(facts, judge)
    yield from _boot(facts, judge)
    yield from _kernel_tables(facts, judge)
    yield from _zombies(facts, judge)
    yield from _interfaces(facts, judge, moment)


def _cpu(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    use = facts.cpu
    if isinstance(use, Unread):
        for check in ("cpu", "cpu_steal", "cpu_iowait"):
            yield from judge.unread(check, use)
        return
    over = f"over {human_duration(use.seconds)}"
    yield from judge.reading("cpu", use.used, "%", f"processors {use.used:.0f} % busy {over}{_busiest(use)}")
    yield from judge.reading(
        "cpu_steal", use.steal, "%", f"the hypervisor took {use.steal:.0f} % of the processors {over}"
    )
    yield from judge.reading("cpu_iowait", use.iowait, "%", f"processors waited {use.iowait:.0f} % for disks {over}")


def _busiest(use: CpuUse) -> str:
    named = ", ".join(f"{command} (pid {pid}) {percent:.0f} %" for command, pid, percent in use.busiest)
    return f"; busiest: {named}" if named else ""


def _load(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.load, Unread):
        yield from judge.unread("load", facts.load)
        return
    each = facts.load.five / facts.cpus
    text = f"load of five minutes {facts.load.five:g} on {count_of(facts.cpus, 'processor')}: {each:.2f} each"
    yield from judge.reading("load", each, "ratio", text)


def _pressure(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    """Yield a verdict for each resource; a kernel without PSI (RHEL before psi=1) has none, and that is no gap."""
    words = {"cpu": "a processor", "memory": "memory", "io": "a disk"}
    for name, pressure in facts.pressure.items():
        text = f"some task waited for {words[name]} {pressure.some_60:.0f} % of the last minute"
        yield from judge.reading(f"pressure_{name}", pressure.some_60, "%", text)


def _memory(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    memory = facts.memory
    if isinstance(memory, Unread):
        yield from judge.unread("memory", memory)
        return
    whose = "memory" if memory.of == "host" else f"memory of this {memory.of}"
    left = f"{human_size(memory.available)} of {human_size(memory.total)} available"
    text = f"{whose} {memory.used_percent:.0f} % used, {left}{_biggest(memory)}"
    yield from judge.reading("memory", memory.used_percent, "%", text)


def _biggest(memory: Memory) -> str:
    named = ", ".join(f"{command} (pid {pid}) {human_size(size)}" for command, pid, size in memory.biggest)
    return f"; biggest: {named}" if named else ""


def _swap(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.swap, Unread):
        yield from judge.unread("swap", facts.swap)
        return
    used, total = facts.swap
    percent = 100 * used / total if total else 0.0
    text = f"swap {percent:.0f} % used, {human_size(used)} of {human_size(total)}" if total else "there is no swap"
    yield from judge.reading("swap", percent, "%", text)


def _oom_kills(facts: HostFacts, judge: Judge, moment: Moment) -> Iterator[Finding]:
    if isinstance(facts.oom_kills, Unread):
        yield from judge.unread("oom_kills", facts.oom_kills)
        return
    age = facts.uptime if isinstance(facts.uptime, float) else None
    counted = growth("oom_kills", facts.oom_kills, moment.now, moment.previous, age, "the boot")
    if counted is None:
        yield from judge.unread("oom_kills", Unread("the kernel does not tell since when it counts its kills"))
        return
    killed = f"{count_of(int(counted.count), 'process', 'processes')} killed for want of memory since {counted.since}"
    if moment.previous is not None and "oom_kills" in moment.previous.values:
        yield from judge.reading("oom_kills", counted.count, "count", killed)
        return
    # Without a run before, one kill months ago must not be a warning for ever: what counts is how many in a day.
    daily = counted.count / max(1.0, counted.seconds / _DAY)
    yield from judge.reading("oom_kills", daily, "count", f"{killed}, {daily:.2g} a day" if counted.count else killed)


def _deleted(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.deleted, Unread):
        yield from judge.unread("deleted_files", facts.deleted)
        return
    deleted = facts.deleted
    total = sum(one.size for one in deleted.files)
    text = f"{count_of(len(deleted.files), 'deleted file')} held open {'hold' if len(deleted.files) != 1 else 'holds'}"
    text = f"{text} {human_size(total)}{_holders(deleted)}"
    limit = judge.limits.get("deleted_files")
    if deleted.unseen and limit is not None and limit.judge(total) == OK:
        hint = f"; {count_of(deleted.unseen, 'process', 'processes')} could not be looked at: run with become"
        yield from judge.unread("deleted_files", Unread(text + hint))
        return
    yield from judge.reading("deleted_files", total, "bytes", text)


def _holders(deleted: Deleted) -> str:
    largest = sorted(deleted.files, key=lambda one: -one.size)[:2]
    named = ", ".join(
        f"{human_size(one.size)} of {printable(one.path, 80)} by {printable(one.holders[0].command, 40)}"
        f" (pid {one.holders[0].pid})"
        for one in largest
        if one.size and one.holders
    )
    return f": {named}" if named else ""


def _units(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    limit = judge.limits.get("failed_units")
    if isinstance(facts.failed_units, Unread):
        yield from judge.unread("failed_units", facts.failed_units)
    elif limit is not None:
        number = len(facts.failed_units)
        status = limit.judge(number)
        bad = (
            Finding(
                "failed_units",
                status,
                f"unit {one.name} has failed" + (f" ({one.description})" if one.description else ""),
                number,
                "count",
                limit.warning,
                limit.critical,
            )
            for one in facts.failed_units
        )
        yield from judge.each(
            "failed_units", bad, "no unit has failed" if not number else f"{number} units have failed"
        )


def _clock(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.clock, Unread):
        yield from judge.unread("time_sync", facts.clock)
    else:
        yield from judge.reading("time_sync", *_synchronised(facts.clock))
    if facts.clock_skew is not None:
        way = "ahead of" if facts.clock_skew >= 0 else "behind"
        text = f"clock is {human_duration(abs(facts.clock_skew))} {way} the controller's, the task's start included"
        yield from judge.reading("clock_skew", abs(facts.clock_skew), "s", text)


def _synchronised(clock: ClockState) -> tuple[float, str, str]:
    if not clock.synchronised:
        text = f"clock is not synchronised, says {clock.source}: look at chronyd or systemd-timesyncd"
        return UNSYNCHRONISED_SECONDS, "s", text
    if clock.error_seconds is None:
        return 0.0, "s", f"clock is synchronised, says {clock.source}"
    return (
        clock.error_seconds,
        "s",
        f"clock is synchronised, at most {clock.error_seconds:.3f} s off, says {clock.source}",
    )


def _boot(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.reboot, Unread):
        yield from judge.unread("reboot_pending", facts.reboot)
    else:
        reasons = "; ".join(printable(reason, 200) for reason in facts.reboot.reasons)
        if facts.reboot.unknown and not reasons:
            yield from judge.unread("reboot_pending", Unread(facts.reboot.unknown))
        else:
            text = f"a reboot is pending: {reasons}" if reasons else "no reboot is pending"
            yield from judge.reading("reboot_pending", 1 if reasons else 0, "count", text)
    if isinstance(facts.uptime, Unread):
        yield from judge.unread("uptime", facts.uptime)
    else:
        yield from judge.reading("uptime", facts.uptime, "s", f"booted {human_duration(facts.uptime)} ago")


def _kernel_tables(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    tables: tuple[tuple[str, Union[tuple[int, int], Unread, None], Callable[[int], str]], ...] = (
        ("open_files", facts.open_files, lambda number: count_of(number, "open file")),
        ("threads", facts.threads, lambda number: count_of(number, "thread")),
        ("conntrack", facts.conntrack, lambda number: count_of(number, "followed connection")),
    )
    for check, table, words in tables:
        if isinstance(table, Unread):
            yield from judge.unread(check, table)
        elif table is None:
            yield from judge.fixed(check, OK, "the kernel follows no connections")
        else:
            percent = 100 * table[0] / table[1]
            text = f"{words(table[0])}, {percent:.0f} % of the {table[1]} that are allowed"
            yield from judge.reading(check, percent, "%", text)


def _zombies(facts: HostFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.processes, Unread):
        yield from judge.unread("zombies", facts.processes)
        return
    zombies = facts.processes.zombies
    named = ", ".join(f"{command} (pid {pid})" for command, pid in zombies[:3])
    text = f"{count_of(len(zombies), 'zombie')} among {count_of(facts.processes.count, 'process', 'processes')}"
    yield from judge.reading("zombies", len(zombies), "count", f"{text}: {named}" if named else text)


def _interfaces(facts: HostFacts, judge: Judge, moment: Moment) -> Iterator[Finding]:
    if isinstance(facts.interfaces, Unread):
        yield from judge.unread("network_errors", facts.interfaces)
        return
    age = facts.uptime if isinstance(facts.uptime, float) else None
    findings = [found for one in facts.interfaces for found in _interface(one, judge, moment, age)]
    well = f"{count_of(len(facts.interfaces), 'network interface')} without errors to speak of"
    yield from judge.each("network_errors", findings, well)


def _interface(one: Interface, judge: Judge, moment: Moment, age: Optional[float]) -> Iterator[Finding]:
    errors = growth(f"network_errors:{one.name}", one.errors, moment.now, moment.previous, age, "the boot")
    packets = growth(f"network_packets:{one.name}", one.packets, moment.now, moment.previous, age, "the boot")
    if errors is None or packets is None or errors.count < _FEW_ERRORS:
        return
    percent = 100 * errors.count / max(errors.count, packets.count)
    text = f"interface {one.name}: {errors.count:.0f} errors, {percent:.3g} % of its packets, since {errors.since}"
    yield from judge.reading("network_errors", percent, "%", text)
