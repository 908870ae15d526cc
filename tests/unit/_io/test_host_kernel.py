"""Who uses the processors and the memory, computed from two looks at the kernel's own figures."""

from __future__ import annotations

import os
from pathlib import Path

from plugins.module_utils._core.host_proc import CpuTicks, Process
from plugins.module_utils._core.readings import Unread
from plugins.module_utils._io.host_kernel import Kernel, biggest, busiest, cpu_use, summary

HERTZ = os.sysconf("SC_CLK_TCK")


def process(pid: int, command: str = "app", ticks: int = 0, pages: int = 0, state: str = "S") -> Process:
    return Process(pid, command, state, ticks, pages)


def test_the_use_of_the_processors_is_that_between_two_looks_without_our_own() -> None:
    before, after = CpuTicks(1000, 900, 0, 0), CpuTicks(1200, 920, 30, 20)
    use = cpu_use(before, after, 50, 1.0)
    assert not isinstance(use, Unread)
    assert (use.used, use.steal, use.iowait) == (50, 10, 15)


def test_counters_that_stand_still_or_run_backwards() -> None:
    here = CpuTicks(1000, 900, 0, 0)
    assert isinstance(cpu_use(here, here, 0, 1.0), Unread)
    assert isinstance(cpu_use(here, CpuTicks(900, 100, 0, 0), 0, 1.0), Unread)
    use = cpu_use(here, CpuTicks(1100, 800, 0, 0), 500, 1.0)  # idle time may run backwards (proc(5))
    assert not isinstance(use, Unread) and 0 <= use.used <= 100


def test_the_busiest_processes() -> None:
    before = {pid: process(pid, ticks=1000) for pid in range(10, 15)}
    before[15] = process(15, "was another", ticks=0)
    grown = {10: 0.5, 11: 2.0, 12: 0.05, 13: 0.2, 14: 1.0}
    after = {pid: process(pid, ticks=1000 + int(2 * seconds * HERTZ)) for pid, seconds in grown.items()}
    after[15], after[16] = process(15, ticks=9000), process(16, ticks=9000)  # a pid that was given again, a new one
    assert [(pid, round(percent)) for _command, pid, percent in busiest(before, after, 2.0)] == [
        (11, 200),
        (14, 100),
        (10, 50),
    ]
    assert busiest({12: before[12]}, {12: after[12]}, 2.0) == ()


def test_the_biggest_processes() -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    held = {pid: process(pid, pages=pid * 10) for pid in range(5)}
    assert [(pid, size) for _command, pid, size in biggest(held)] == [(4, 40 * page), (3, 30 * page), (2, 20 * page)]


def test_zombies_are_counted() -> None:
    counted = summary({1: process(1), 2: process(2, "dead", state="Z")})
    assert not isinstance(counted, Unread) and (counted.count, counted.zombies) == (2, (("dead", 2),))


def test_the_kernel_of_this_host_is_read_whole() -> None:
    """A read that asks for megabytes at once is refused by files of /proc/sys."""
    kernel = Kernel(Path("/"))
    assert isinstance(kernel.open_files(), tuple) and isinstance(kernel.threads(kernel.load()), tuple)
    assert kernel.text("proc/self/mountinfo") == Path("/proc/self/mountinfo").read_text(encoding="utf-8")
