"""What is said about the facts of a host: one table of cases for each check."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from plugins.module_utils._core.counters import Previous, read_previous
from plugins.module_utils._core.host_facts import CpuUse, Deleted, HostFacts, Memory, Processes
from plugins.module_utils._core.host_health import LIMITS, Moment, decide
from plugins.module_utils._core.host_mounts import FileSystem, Mount
from plugins.module_utils._core.host_preflight import Disk
from plugins.module_utils._core.host_proc import Interface, Load, Pressure
from plugins.module_utils._core.host_programs import ClockState, FailedUnit
from plugins.module_utils._core.limits import read_limits
from plugins.module_utils._core.log_rotation import DeletedFile, Holder
from plugins.module_utils._core.readings import Unread
from plugins.module_utils._core.result import Decision, Finding, worst
from plugins.module_utils._core.security_updates import Reboot

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
GIB = 1024**3
GONE = Unread("it is gone")


def system(point: str = "/", used: int = 10, free: int = 90, inodes: int = 90, **more: Any) -> FileSystem:
    """A file system of 100 GiB and 100 inodes."""
    disk = more.get("disk") or Disk(point, 100 * GIB, used * GIB, free * GIB, 100, inodes)
    options = frozenset({more.get("options", "rw")})
    return FileSystem(Mount(point, "/", "8:1", "ext4", "/dev/sda", options, options), disk, more.get("forced", ""))


WELL = HostFacts(
    cpus=2,
    cpu=CpuUse(10, 0, 0, 1.0),
    load=Load(0.1, 0.2, 0.3, 100),
    memory=Memory(8 * GIB, 6 * GIB),
    swap=(0, 0),
    pressure={"cpu": Pressure(0, 0), "memory": Pressure(0, 0), "io": Pressure(0, 0)},
    file_systems=(system(),),
    oom_kills=0,
    failed_units=(),
    clock=ClockState(True, "the kernel", 0.01),
    reboot=Reboot(),
    uptime=864000.0,
    open_files=(10, 1000),
    threads=(10, 1000),
    processes=Processes(50),
    deleted=Deleted(),
    conntrack=(10, 1000),
    interfaces=(Interface("eth0", 1000, 0, 0),),
)


def look(limits: dict[str, Any] | None = None, previous: Previous | None = None, **changes: Any) -> Decision:
    return decide(replace(WELL, **changes), read_limits(limits or {}, LIMITS), Moment(NOW, previous))


def found(check: str, decision: Decision) -> list[Finding]:
    return [finding for finding in decision.findings if finding.check == check]


def test_a_host_that_is_well() -> None:
    decision = look()
    assert {finding.status for finding in decision.findings} == {"ok"}
    assert decision.plan == () and decision.msg.startswith("all ") and decision.extra["area"] == "host"
    assert {finding.check for finding in decision.findings} == set(LIMITS) - {"days_to_full", "clock_skew"}


HELD = DeletedFile("/var/log/x.log", 2 * GIB, (Holder(12, "app", 1, True, True),), False)

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("cpu", {"cpu": CpuUse(70, 0, 0, 1.0, (("burn", 12, 99.6),))}, "warning", "burn (pid 12) 100 %"),
    ("cpu", {"cpu": CpuUse(95, 0, 0, 1.0)}, "critical", "95 % busy"),
    ("cpu_steal", {"cpu": CpuUse(0, 12, 0, 1.0)}, "warning", "hypervisor"),
    ("cpu_iowait", {"cpu": CpuUse(0, 0, 60, 1.0)}, "critical", "disks"),
    ("load", {"load": Load(9, 8, 7, 100)}, "critical", "4.00 each"),
    ("pressure_memory", {"pressure": {"memory": Pressure(90, 31)}}, "critical", "31 %"),
    ("memory", {"memory": Memory(100, 15)}, "warning", "85 % used"),
    ("memory", {"memory": Memory(GIB, 0, "container", (("hog", 9, GIB),))}, "critical", "hog (pid 9) 1.0 GB"),
    ("swap", {"swap": (80, 100)}, "critical", "80 % used"),
    ("oom_kills", {"oom_kills": 20}, "warning", "20 processes killed"),
    ("disk", {"file_systems": (system("/var", 96, 4), system("/"))}, "critical", "/var 96 % full"),
    ("inodes", {"file_systems": (system(inodes=10),)}, "warning", "90 % of its inodes"),
    ("read_only", {"file_systems": (system(forced="error"),)}, "critical", "/ is read-only: error"),
    ("deleted_files", {"deleted": Deleted((HELD,))}, "warning", "2.0 GB of /var/log/x.log by app (pid 12)"),
    ("deleted_files", {"deleted": Deleted((HELD,), unseen=3)}, "warning", "2.0 GB"),
    ("failed_units", {"failed_units": (FailedUnit("a.service", "A"),)}, "warning", "unit a.service has failed (A)"),
    ("time_sync", {"clock": ClockState(True, "chronyd", 1.5)}, "warning", "1.500 s off, says chronyd"),
    ("time_sync", {"clock": ClockState(False, "the kernel")}, "warning", "not synchronised"),
    ("clock_skew", {"clock_skew": -31.0}, "critical", "31 s behind"),
    ("reboot_pending", {"reboot": Reboot(("kernel 1 runs, 2 is installed",))}, "warning", "2 is installed"),
    ("uptime", {"uptime": 60.0}, "warning", "1 min ago"),
    ("open_files", {"open_files": (900, 1000)}, "critical", "900 open files, 90 %"),
    ("threads", {"threads": (800, 1000)}, "warning", "800 threads"),
    ("zombies", {"processes": Processes(50, (("defunct", 7),) * 10)}, "warning", "defunct (pid 7)"),
    ("conntrack", {"conntrack": (1000, 1000)}, "critical", "100 %"),
    ("network_errors", {"interfaces": (Interface("eth0", 1000, 10, 0),)}, "critical", "eth0: 10 errors, 1 %"),
]


@pytest.mark.parametrize(("check", "changes", "status", "words"), BAD)
def test_a_host_that_is_not_well(check: str, changes: dict[str, Any], status: str, words: str) -> None:
    decision = look(**changes)
    (finding,) = found(check, decision)
    assert (finding.status, words in finding.msg) == (status, True), finding
    assert finding.value is not None and finding.unit
    assert decision.msg.startswith(f"1 {status}: ") and finding.msg in decision.msg


UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    *((check, {"cpu": GONE}) for check in ("cpu", "cpu_steal", "cpu_iowait")),
    *((check, {"file_systems": GONE}) for check in ("disk", "inodes", "read_only")),
    *((name, {name: GONE}) for name in ("load", "memory", "swap", "oom_kills", "failed_units", "uptime")),
    *((name, {name: GONE}) for name in ("open_files", "threads", "conntrack")),
    ("oom_kills", {"oom_kills": 3, "uptime": GONE}),
    ("deleted_files", {"deleted": GONE}),
    ("deleted_files", {"deleted": Deleted((), unseen=1)}),
    ("time_sync", {"clock": GONE}),
    ("reboot_pending", {"reboot": GONE}),
    ("reboot_pending", {"reboot": Reboot((), (), "it is gone")}),
    ("zombies", {"processes": GONE}),
    ("network_errors", {"interfaces": GONE}),
    ("disk", {"file_systems": (system("/mnt/nfs", disk=GONE),)}),
    ("disk", {"mounts_left_out": 4}),
]


@pytest.mark.parametrize(("check", "changes"), UNREADABLE)
def test_what_could_not_be_looked_at_is_unknown(check: str, changes: dict[str, Any]) -> None:
    (finding,) = found(check, look(**changes))
    assert finding.status == "unknown" and finding.value is None and finding.msg


def test_everything_is_unknown_when_nothing_can_be_read() -> None:
    decision = decide(HostFacts(), LIMITS, Moment(NOW))
    assert worst(finding.status for finding in decision.findings) == "unknown"
    assert [finding.check for finding in decision.findings if finding.status == "ok"] == ["conntrack"]
    assert decision.extra["samples"] == []


@pytest.mark.parametrize("check", sorted(LIMITS))
def test_a_check_that_is_switched_off_says_nothing(check: str) -> None:
    for _name, changes, _status, _words in BAD:
        assert found(check, look({check: False}, **changes)) == []


def test_kills_of_long_ago_are_no_news() -> None:
    assert found("oom_kills", look(oom_kills=5))[0].status == "ok"  # in ten days
    last = Previous(NOW - timedelta(hours=1), {"oom_kills": 5.0})
    assert found("oom_kills", look(oom_kills=5, previous=last))[0].status == "ok"
    (news,) = found("oom_kills", look(oom_kills=6, previous=last))
    assert (news.status, news.value) == ("warning", 1) and "the last run, 1 h ago" in news.msg


@pytest.mark.parametrize(
    ("hours", "earlier_gib", "status", "words"),
    [
        (24, 40, "critical", "/ is full in 2 d"),  # 20 GiB a day, 40 free
        (24, 56, "warning", "/ is full in 10 d"),
        (24, 59.9, "ok", "not be full soon"),
        (24, 60, "ok", "not be full soon"),
        (24, 80, "ok", "not be full soon"),
    ],
)
def test_days_to_full(hours: int, earlier_gib: float, status: str, words: str) -> None:
    last = Previous(NOW - timedelta(hours=hours), {"disk_used_bytes:/": earlier_gib * GIB})
    (finding,) = found("days_to_full", look(previous=last, file_systems=(system("/", 60, 40),)))
    assert (finding.status, words in finding.msg) == (status, True), finding


@pytest.mark.parametrize("hours", [5, 0, -24])
def test_no_trend_of_two_points_that_are_near(hours: int) -> None:
    last = Previous(NOW - timedelta(hours=hours), {"disk_used_bytes:/": 1.0})
    assert found("days_to_full", look(previous=last)) == []


@pytest.mark.parametrize("minutes", [5, 60, 7 * 60, 24 * 60])
def test_a_trend_is_told_however_often_one_looks(minutes: int) -> None:
    """A file system that takes 1 GiB an hour, looked at again and again, each time with the counters of the last."""
    counters: dict[str, Any] = {}
    told: list[str] = []
    looks = [timedelta(minutes=minutes * number) for number in range(3 * 24 * 60 // minutes)]
    for passed in looks:
        used = int(passed / timedelta(hours=1) * GIB)
        full = system(disk=Disk("/", 200 * GIB, used, 100 * GIB - used, 100, 90))
        moment = Moment(NOW + passed, read_previous(counters))
        decision = decide(replace(WELL, file_systems=(full,)), LIMITS, moment)
        counters = decision.extra["counters"]
        told += [finding.msg for finding in found("days_to_full", decision)]
    assert len(told) == sum(1 for passed in looks if passed >= timedelta(hours=6))
    assert all(message.endswith("(24.0 GB a day)") for message in told)
    assert len([name for name in counters if name.startswith("disk_")]) <= 4


def test_a_file_system_that_does_not_answer_once_keeps_its_trend() -> None:
    first = {"at": "2026-11-21T05:00:00Z", "disk_used_bytes:/mnt/nfs": 10.0 * GIB}
    lost = look(previous=read_previous(first), file_systems=(system("/mnt/nfs", disk=GONE),))
    assert found("days_to_full", lost) == []
    later = replace(WELL, file_systems=(system("/mnt/nfs", 60, 40),))
    again = decide(
        later, read_limits({}, LIMITS), Moment(NOW + timedelta(hours=1), read_previous(lost.extra["counters"]))
    )
    (finding,) = found("days_to_full", again)
    assert finding.status == "critical" and "in the last 8 h" in finding.msg


def test_network_errors_are_measured_since_the_last_run() -> None:
    last = Previous(NOW - timedelta(hours=1), {"network_errors:eth0": 995.0, "network_packets:eth0": 1000.0})
    (well,) = found("network_errors", look(previous=last, interfaces=(Interface("eth0", 2000, 1000, 0),)))
    assert well.status == "ok"  # five errors are too few
    (bad,) = found("network_errors", look(previous=last, interfaces=(Interface("eth0", 6000, 1005, 0),)))
    assert (bad.status, bad.value) == ("warning", 0.2)


def test_what_is_read_only_on_purpose_does_not_fill_up() -> None:
    decision = look(file_systems=(system("/iso", 100, 0, options="ro"), system("/")))
    assert found("disk", decision)[0].status == "ok"
    assert [one["labels"]["mount"] for one in decision.extra["samples"] if one["metric"] == "host.disk.used"] == ["/"]


def test_many_bad_ones_are_named_up_to_a_number() -> None:
    units = tuple(FailedUnit(f"u{number}.service", "") for number in range(25))
    findings = found("failed_units", look(failed_units=units))
    assert len(findings) == 21 and "5 more" in findings[-1].msg and findings[-1].status == "warning"


def test_a_name_from_outside_cannot_write_to_the_terminal() -> None:
    decision = look(file_systems=(system("/mnt/\x1b[31m", 99, 1), system("/mnt/\n", disk=GONE)))
    assert all(finding.msg.isprintable() for finding in decision.findings)
    assert decision.msg.isprintable()


def test_counters_come_back_as_previous() -> None:
    counters = look().extra["counters"]
    assert counters["at"] == "2026-11-21T12:00:00Z" and counters["disk_used_bytes:/"] == 10 * GIB
    assert counters["network_packets:eth0"] == 1000 and counters["oom_kills"] == 0
