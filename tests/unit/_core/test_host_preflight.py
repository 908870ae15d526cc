"""Readings of a host against their limits."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.host_preflight import Disk, HostFacts, Limits, check_limits, decide

GB = 1024**3


def disk(used: float, free: float, **more: object) -> Disk:
    return Disk("/data", int((used + free) * GB), int(used * GB), int(free * GB), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reading", "limits", "status"),
    [
        (disk(84.9, 15.1), Limits(), "ok"),
        (disk(85, 15), Limits(), "warning"),
        (disk(95, 5), Limits(), "critical"),
        (disk(10, 1.9), Limits(free_minimum=2 * GB), "critical"),
        (disk(10, 90, read_only=True), Limits(), "critical"),
        (disk(10, 90, inodes_total=100, inodes_free=10), Limits(), "warning"),
        (disk(10, 90, inodes_total=100, inodes_free=5), Limits(), "critical"),
        (disk(99, 1), Limits(disk_warning=None, disk_critical=None), "ok"),
        (Disk("/gone", error="No such file or directory"), Limits(), "unknown"),
    ],
)
def test_disks(reading: Disk, limits: Limits, status: str) -> None:
    decision = decide(HostFacts(disks=(reading,)), limits)
    assert max(finding.status != "ok" for finding in decision.findings) == (status != "ok")
    assert status in [finding.status for finding in decision.findings] and not decision.plan


def test_what_is_missing_is_critical() -> None:
    facts = HostFacts(commands=(("psql", True), ("logrotate", False)), writable=(("/var/log", False),))
    decision = decide(facts, Limits())
    assert [finding.status for finding in decision.findings] == ["ok", "critical", "critical"]
    assert decision.msg == "logrotate is missing: install it (and 1 more finding)"


def test_load_is_judged_only_when_asked() -> None:
    facts = HostFacts(load_per_cpu=3.0)
    assert decide(facts, Limits()).findings == ()
    assert decide(facts, Limits(load_warning=2)).findings[0].status == "warning"
    assert decide(HostFacts(), Limits(load_critical=2)).findings[0].status == "unknown"


def test_percent_is_what_df_shows() -> None:
    with_reserve = Disk("/", total_bytes=100 * GB, used_bytes=90 * GB, free_bytes=5 * GB)
    assert with_reserve.used_percent == 94.7


def test_hostile_paths_are_printable() -> None:
    decision = decide(HostFacts(disks=(Disk("/a\x1b[2Jb", error="x\ny"),)), Limits())
    assert decision.msg == "/a\\x1b[2Jb could not be looked at: x\\ny"


@pytest.mark.parametrize(
    "limits", [Limits(disk_warning=96), Limits(inodes_critical=101), Limits(load_warning=2, load_critical=1)]
)
def test_limits_that_make_no_sense_are_refused(limits: Limits) -> None:
    with pytest.raises(InvalidValue):
        check_limits(limits)
