"""What a memory map and a control group say about a process, in the formats of proc(5)."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.service_processes import (
    Process,
    family,
    merged_stale,
    stale_files,
    stale_units,
    unit_of,
)

LIBRARY = "/usr/lib/x86_64-linux-gnu/libssl.so.3"


def line(path: str, perms: str = "r-xp", deleted: bool = True) -> str:
    return f"7f0000000000-7f0000001000 {perms} 00000000 08:01 1234    {path}{' (deleted)' if deleted else ''}\n"


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (line(LIBRARY), (LIBRARY,)),
        (line(LIBRARY) + line(LIBRARY, "r--p"), (LIBRARY,)),
        (line(LIBRARY, "r--p"), (LIBRARY,)),
        (line("/usr/sbin/nginx"), ("/usr/sbin/nginx",)),
        (line("/opt/shop/bin/node"), ("/opt/shop/bin/node",)),
        (line("/usr/lib/a path/lib x.so.1"), ("/usr/lib/a path/lib x.so.1",)),
        (line(LIBRARY, deleted=False), ()),
        (line("/usr/share/locale/C.mo", "r--p"), ()),
        (line("/memfd:jit", "r-xp"), ()),
        (line("/SYSV00000000", "rw-s"), ()),
        (line("/dev/zero", "rw-s"), ()),
        (line("/dev/shm/PostgreSQL.1804289383", "rw-s"), ()),
        (line("/[aio]", "rw-s"), ()),
        (line("/i915", "rw-s"), ()),
        (line("/tmp/jna-1/jna123.tmp", "r-xp"), ()),
        (line("/var/cache/nscd/passwd", "r--s"), ()),
        ("7f0000000000-7f0000001000 rw-p 00000000 00:00 0\n", ()),
        ("7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n", ()),
        ("", ()),
    ],
)
def test_only_replaced_code_counts(maps: str, expected: tuple[str, ...]) -> None:
    assert stale_files(maps) == expected


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("12:pids:/x\n1:name=systemd:/system.slice/nginx.service\n0::/\n", "nginx.service"),
        ("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n", "postgresql@15-main.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n", "user@1000.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        (
            "1:name=systemd:/libpod_parent/libpod-9d0f/system.slice/redis-server.service\n0::/libpod\n",
            "redis-server.service",
        ),
        ("0::/system.slice/dev-disk\\x2dby.service\n", "dev-disk\\x2dby.service"),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_a_process_belongs_to_the_unit_of_its_control_group(cgroup: str, expected: str | None) -> None:
    assert unit_of(cgroup) == expected


def test_a_family_is_the_process_and_all_that_descend_from_it() -> None:
    processes = [Process(pid, parent, "p") for pid, parent in [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1), (21, 20)]]
    assert [process.pid for process in family(processes, [10])] == [10, 11, 12]
    assert family(processes, [99]) == ()
    assert [process.pid for process in family(processes, [11, 20])] == [11, 12, 20, 21]


def test_what_left_the_family_but_not_the_control_group_belongs_to_the_unit() -> None:
    processes = [
        Process(10, 1, "main", "shop.service"),
        Process(20, 1, "daemon", "shop.service"),
        Process(21, 20, "helper", "session"),
        Process(30, 1, "other", "other.service"),
        Process(40, 1, "none", None),
    ]
    assert [process.pid for process in family(processes, [10], "shop.service")] == [10, 20, 21]
    assert [process.pid for process in family(processes, [], "shop.service")] == [10, 20, 21]
    assert family(processes, [], None) == ()


def test_stale_files_are_gathered_by_unit_and_unreadable_processes_add_nothing() -> None:
    processes = [
        Process(10, 1, "nginx", "nginx.service", ("/usr/lib/b.so",)),
        Process(11, 10, "nginx", "nginx.service", ("/usr/lib/a.so", "/usr/lib/b.so")),
        Process(12, 1, "redis", "redis.service", ()),
        Process(13, 1, "secret", "secret.service", None),
        Process(14, 1, "bash", None, ("/usr/bin/bash",)),
    ]
    assert stale_units(processes) == {"[bash]": ("/usr/bin/bash",), "nginx.service": ("/usr/lib/a.so", "/usr/lib/b.so")}
    assert merged_stale(processes[3:4]) == ()
