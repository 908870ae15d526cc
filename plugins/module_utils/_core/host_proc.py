# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read what the kernel says in /proc and /sys: text in, numbers out; what makes no sense is None.

Formats: proc(5), and Documentation/filesystems/proc.rst of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional

from .number import parse_number
from .redact import printable


@dataclass(frozen=True)
class CpuTicks:
    """Ticks of all processors since the boot."""

    total: int
    idle: int
    iowait: int
    steal: int


@dataclass(frozen=True)
class Pressure:
    """Percent of the time in which some, or all, tasks waited for a resource (pressure stall information)."""

    some_10: float
    some_60: float
    full_60: Optional[float] = None


@dataclass(frozen=True)
class Load:
    """Load averages over one, five and fifteen minutes, and the number of threads there are."""

    one: float
    five: float
    fifteen: float
    threads: int


@dataclass(frozen=True)
class Process:
    """One process: its time on the processors in ticks and the pages it has in memory."""

    pid: int
    command: str
    state: str
    ticks: int
    pages: int


@dataclass(frozen=True)
class Interface:
    """What a network interface has counted since it is there, received and sent together."""

    name: str
    packets: int
    errors: int
    dropped: int


def whole(text: str) -> Optional[int]:
    """Return a number that is not negative; None for anything else.

    >>> whole(" 42\\n"), whole("max"), whole("-1")
    (42, None, None)
    """
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def parse_cpu(text: str) -> Optional[CpuTicks]:
    """Return the ticks of all processors together, of /proc/stat."""
    line = next((line for line in text.splitlines() if line.startswith("cpu ")), "")
    ticks = [whole(part) for part in line.split()[1:9]]  # guest time is part of user time already
    numbers = [tick for tick in ticks if tick is not None]
    if len(numbers) != len(ticks) or len(numbers) < 5:
        return None
    return CpuTicks(sum(numbers), numbers[3], numbers[4], numbers[7] if len(numbers) > 7 else 0)


def parse_keyed(text: str) -> dict[str, int]:
    """Return the values of lines such as ``oom_kill 3`` or ``MemTotal:  24684096 kB``, sizes in bytes.

    >>> parse_keyed("MemTotal:  2 kB\\noom_kill 3\\nmax\\nstrange -1\\n")
    {'MemTotal': 2048, 'oom_kill': 3}
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        parts = line.split()
        number = whole(parts[1]) if len(parts) > 1 else None
        if number is not None:
            found[parts[0].rstrip(":")] = number * 1024 if parts[2:] == ["kB"] else number
    return found


def parse_pressure(text: str) -> Optional[Pressure]:
    """Return the averages of a file of /proc/pressure."""
    lines = {line.split(" ", 1)[0]: _averages(line) for line in text.splitlines()}
    some, full = lines.get("some", {}), lines.get("full", {})
    if "avg10" not in some or "avg60" not in some:
        return None
    return Pressure(some["avg10"], some["avg60"], full.get("avg60"))


def _averages(line: str) -> dict[str, float]:
    pairs = (part.partition("=") for part in line.split()[1:])
    numbers = ((name, _percent(value)) for name, _sign, value in pairs)
    return {name: number for name, number in numbers if number is not None}


def _percent(text: str) -> Optional[float]:
    number = parse_number(text)
    return number if number is not None and 0 <= number <= 100 else None


def parse_load(text: str) -> Optional[Load]:
    """Return what /proc/loadavg says."""
    parts = text.split()
    averages = [parse_number(part) for part in parts[:3]]
    numbers = [number for number in averages if number is not None and number >= 0]
    threads = whole(parts[3].partition("/")[2]) if len(parts) > 3 else None
    if len(numbers) != 3 or threads is None:
        return None
    return Load(numbers[0], numbers[1], numbers[2], threads)


def parse_uptime(text: str) -> Optional[float]:
    """Return the seconds since the boot."""
    parts = text.split()
    seconds = parse_number(parts[0]) if parts else None
    return seconds if seconds is not None and seconds >= 0 else None


def parse_files(text: str) -> Optional[tuple[int, int]]:
    """Return the open files and how many there may be, of /proc/sys/fs/file-nr."""
    numbers = [whole(part) for part in text.split()]
    if len(numbers) != 3 or numbers[0] is None or numbers[1] is None or not numbers[2]:
        return None
    return max(0, numbers[0] - numbers[1]), numbers[2]


def parse_process(text: str) -> Optional[Process]:
    """Return a process of /proc/<pid>/stat; its name may hold anything, also blanks, brackets and line ends."""
    head, _bracket, tail = text.rpartition(")")
    number, _bracket, command = head.partition("(")
    pid, fields = whole(number), tail.split()
    if pid is None or len(fields) < 22:
        return None
    user, system, pages = whole(fields[11]), whole(fields[12]), whole(fields[21])
    if user is None or system is None:
        return None
    return Process(pid, printable(command, 40), fields[0], user + system, pages or 0)


def parse_interfaces(text: str) -> tuple[Interface, ...]:
    """Return the interfaces of /proc/net/dev, without the loopback."""
    found = []
    for line in text.splitlines():
        name, colon, counts = line.rpartition(":")
        numbers = [whole(part) for part in counts.split()]
        known = [number for number in numbers if number is not None]
        if colon and len(known) == len(numbers) == 16 and name.strip() != "lo":
            found.append(_interface(printable(name.strip(), 40), known[:8], known[8:]))
    return tuple(found)


def _interface(name: str, received: list[int], sent: list[int]) -> Interface:
    """Return the counts; some drivers count damaged frames and a lost carrier only as such, not as errors too."""
    errors = max(received[2], received[5]) + max(sent[2], sent[6])
    return Interface(name, received[1] + sent[1], errors, received[3] + sent[3])


def swap_of(meminfo: Mapping[str, int]) -> Optional[tuple[int, int]]:
    """Return the bytes of swap that are used and that there are."""
    total, free = meminfo.get("SwapTotal"), meminfo.get("SwapFree")
    return None if total is None or free is None else (max(0, total - free), total)
