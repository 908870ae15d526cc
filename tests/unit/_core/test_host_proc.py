from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core import host_mounts, host_proc, host_programs
from plugins.module_utils._core.host_mounts import Mount, choose_mounts, forced_read_only, parse_fstab, parse_mounts
from plugins.module_utils._core.host_proc import CpuTicks, Interface, Load, Pressure, Process
from plugins.module_utils._core.host_programs import FailedUnit

DEV = (
    "Inter-|   Receive                     |  Transmit\n face |bytes    packets errs drop\n"
    "    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n  eth0: 100 50 3 2 0 2 0 0 100 40 1 0 0 0 4 0\n  bad0: 1 2 3\n"
)
SHAPED = st.text(alphabet=" \n\t():,.-=[]{}\"'/0123456789abcpumemrowloINF\\\x00\x1bé", max_size=200)
PARSERS: list[Callable[[str], Any]] = [
    host_proc.parse_cpu,
    host_proc.parse_keyed,
    host_proc.parse_pressure,
    host_proc.parse_load,
    host_proc.parse_uptime,
    host_proc.parse_files,
    host_proc.parse_process,
    host_proc.parse_interfaces,
    host_proc.whole,
    host_mounts.parse_mounts,
    host_mounts.parse_fstab,
    host_programs.parse_failed_units,
    host_programs.parse_chrony,
    host_programs.parse_timedate,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.one_of(SHAPED, st.text()))
def test_no_text_of_the_world_breaks_a_parser(parse: Callable[[str], Any], text: str) -> None:
    for head in ("", "cpu ", "some avg10=", "[", "1 (", "eth0: ", "36 35 98:0 / "):
        parse(head + text)


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("cpu  10 1 5 80 3 0 1 7 9 9\ncpu0 1 1 1 1 1\n", CpuTicks(107, 80, 3, 7)),
        ("cpu  10 1 5 80 3\n", CpuTicks(99, 80, 3, 0)),
        ("cpu  10 1 5 -80 3\n", None),
        ("cpu  10 1\n", None),
        ("cpu0 10 1 5 80 3\n", None),
        ("", None),
    ],
)
def test_processors(text: str, ticks: Any) -> None:
    assert host_proc.parse_cpu(text) == ticks


def test_pressure() -> None:
    some = "some avg10=1.50 avg60=2.25 avg300=0.00 total=1\n"
    assert host_proc.parse_pressure(some + "full avg10=0.00 avg60=0.75 avg300=0.00 total=1\n") == Pressure(
        1.5, 2.25, 0.75
    )
    assert host_proc.parse_pressure(some) == Pressure(1.5, 2.25, None)  # the processors' file of old kernels
    assert host_proc.parse_pressure("some avg10=nan avg60=1e9 total=1\n") is None


def test_load_and_uptime() -> None:
    assert host_proc.parse_load("0.08 0.57 1.80 1/97 15742\n") == Load(0.08, 0.57, 1.8, 97)
    assert host_proc.parse_load("0.08 inf 1.80 1/97 15742\n") is None
    assert host_proc.parse_uptime("24727.92 10872.75\n") == 24727.92
    assert host_proc.parse_uptime("-1 0\n") is None


@pytest.mark.parametrize(
    ("text", "files"),
    [("597\t0\t2466193\n", (597, 2466193)), ("597 97 1000", (500, 1000)), ("597 0 0", None), ("597", None)],
)
def test_open_files(text: str, files: Any) -> None:
    assert host_proc.parse_files(text) == files


@pytest.mark.parametrize("name", ["app", "a b", ") S 1 (", "x\ny", "(()", "\x1b[31mred"])
def test_a_process_may_be_called_anything(name: str) -> None:
    rest = "Z 1 12 12 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 100 0 250 0 0"
    process = host_proc.parse_process(f"12 ({name}) {rest}\n")
    assert process is not None
    assert (process.pid, process.state, process.ticks, process.pages) == (12, "Z", 42, 250)
    assert process.command.isprintable()


def test_interfaces_without_the_loopback() -> None:
    assert host_proc.parse_interfaces(DEV) == (Interface("eth0", 90, 7, 2),)


def mount(point: str, device: str = "8:1", kind: str = "ext4", root: str = "/", **more: Any) -> Mount:
    options, super_options = more.get("options", "rw"), more.get("super_options", "rw")
    split = frozenset(options.split(",")), frozenset(super_options.split(","))
    return Mount(point, root, device, kind, more.get("source", "/dev/sda1"), *split)


def test_a_line_of_mountinfo() -> None:
    text = (
        "36 35 98:0 /mnt1 /mnt/with\\040blank rw,noatime master:1 - ext3 /dev/root\\011x rw,errors=continue\n"
        "no sense\n37 35 98:0 / relative rw - ext3 /dev/root rw\n"
    )
    options = {"options": "rw,noatime", "super_options": "rw,errors=continue"}
    source = "/dev/root\tx"
    assert parse_mounts(text) == (mount("/mnt/with blank", "98:0", "ext3", "/mnt1", source=source, **options),)


def test_each_real_file_system_once() -> None:
    mounts = (
        mount("/"),
        mount("/proc", "0:5", "proc"),
        mount("/dev", "0:4", "tmpfs"),
        mount("/devices", "8:7"),
        mount("/a-longer-name-of-devices", "8:7"),
        mount("/a", "8:7", root="/part"),
        mount("/sys/fs/cgroup", "0:6", "tmpfs"),
        mount("/dev/shm", "0:7", "tmpfs"),
        mount("/srv/bound", root="/var/data"),
        mount("/var/lib/docker/overlay2/x/merged", "0:9", "overlay"),
        mount("/var/lib/docker/volumes", "8:9"),
        mount("/snap/core/1", "7:0", "squashfs"),
        mount("/data/b", "0:30", "btrfs", root="/@b", source="/dev/sdb"),
        mount("/data", "0:31", "btrfs", source="/dev/sdb"),
        mount("/was", "8:2"),
        mount("/was", "0:33", "tmpfs"),
        mount("/only/bound", "8:3", root="/x"),
    )
    chosen = [one.point for one in choose_mounts(mounts, ["/var/lib/docker/*"])]
    assert chosen == ["/", "/data", "/dev/shm", "/devices", "/only/bound", "/was"]
    assert next(one for one in choose_mounts(mounts, []) if one.point == "/was").type == "tmpfs"


def test_the_root_of_a_container_counts() -> None:
    assert [one.point for one in choose_mounts([mount("/", "0:50", "overlay")], [])] == ["/"]


@pytest.mark.parametrize(
    ("options", "super_options", "fstab", "word"),
    [
        ("rw", "ro,errors=remount-ro", {}, "kernel"),
        ("rw", "rw,emergency_ro", {}, "kernel"),
        ("ro", "ro", {"/data": frozenset({"defaults"})}, "fstab"),
        ("ro", "ro", {"/data": frozenset({"ro", "noatime"})}, ""),
        ("ro", "ro", {}, ""),
        ("rw", "rw", {"/data": frozenset({"defaults"})}, ""),
    ],
)
def test_read_only_against_the_will(options: str, super_options: str, fstab: Any, word: str) -> None:
    why = forced_read_only(mount("/data", options=options, super_options=super_options), fstab)
    assert word in why and bool(why) == bool(word)


def test_fstab() -> None:
    text = (
        "# /dev/x /no ext4 rw 0 0\nUUID=1 / ext4 errors=remount-ro 0 1\n/dev/b /with\\040blank xfs ro,noatime\nshort\n"
    )
    assert parse_fstab(text) == {"/": frozenset({"errors=remount-ro"}), "/with blank": frozenset({"ro", "noatime"})}


UNITS = '[{"unit":"a.service","load":"loaded","active":"failed","sub":"failed","description":"A \\u001b[31mserver"}]'


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (UNITS, (FailedUnit("a.service", "A \\x1b[31mserver"),)),
        ("[]", ()),
        ("", ()),
        ("● b.timer loaded failed failed Nightly work\n", (FailedUnit("b.timer", "Nightly work"),)),
        ("c.mount not-found failed failed\n", (FailedUnit("c.mount", ""),)),
        ("[{", None),
        ("[1]", None),
        ('[{"unit": 1}]', None),
        ("<html> is no list of units\n", None),
    ],
)
def test_failed_units(text: str, units: Any) -> None:
    assert host_programs.parse_failed_units(text) == units


def test_clocks() -> None:
    lost = host_programs.parse_chrony(",,0,0,0,0,0,0,0,0,1.0,1.0,0,Not synchronised")
    assert lost is not None and not lost.synchronised
    assert host_programs.parse_chrony("506 Cannot talk to daemon") is None
    yes, no = (host_programs.parse_timedate(text) for text in ("yes\n", "NTPSynchronized=no\n"))
    assert yes is not None and yes.synchronised and no is not None and not no.synchronised
    assert host_programs.parse_timedate("Failed to connect to bus") is None


def test_a_process_that_is_not_one() -> None:
    assert host_proc.parse_process("12 (x) S 1\n") is None
    assert host_proc.parse_process(f"1 (init) S {'0 ' * 30}") == Process(1, "init", "S", 0, 0)
