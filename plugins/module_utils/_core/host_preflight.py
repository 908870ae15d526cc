# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Is this host fit for work: room on its disks, programs, rights, load."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Iterator, Optional

from .errors import InvalidValue
from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, Decision, Finding, threshold_status, worst
from .units import count_of, human_size


@dataclass(frozen=True)
class Disk:
    """The file system under a path. Bytes; ``free`` is what an ordinary user may still use. ``error``: not readable."""

    path: str
    total_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0
    inodes_total: int = 0
    inodes_free: int = 0
    read_only: bool = False
    error: str = ""

    @property
    def used_percent(self) -> Optional[float]:
        """Return what df shows: used of used and free, without the part that is kept for root."""
        room = self.used_bytes + self.free_bytes
        return round(100 * self.used_bytes / room, 1) if room and not self.error else None

    @property
    def inodes_used_percent(self) -> Optional[float]:
        """Return the share of used inodes, or None where the file system has no fixed number of them."""
        if not self.inodes_total or self.error:
            return None
        return round(100 * (self.inodes_total - self.inodes_free) / self.inodes_total, 1)


@dataclass(frozen=True)
class HostFacts:
    """What was read. ``commands`` and ``writable`` tell for each wanted name whether it is there."""

    disks: tuple[Disk, ...] = ()
    commands: tuple[tuple[str, bool], ...] = ()
    writable: tuple[tuple[str, bool], ...] = ()
    load_per_cpu: Optional[float] = None
    uptime_seconds: Optional[float] = None
    release: str = ""
    kernel: str = ""
    python: str = ""
    user: str = ""


@dataclass(frozen=True)
class Limits:
    """Percentages of use, bytes that must be free, load per processor; None asks for no verdict."""

    disk_warning: Optional[float] = 85.0
    disk_critical: Optional[float] = 95.0
    inodes_warning: Optional[float] = 85.0
    inodes_critical: Optional[float] = 95.0
    free_minimum: int = 0
    load_warning: Optional[float] = None
    load_critical: Optional[float] = None


def check_limits(limits: Limits) -> Limits:
    """Return the limits when they make sense.

    Raises:
        InvalidValue: a percentage outside 0 to 100, or a warning above its critical limit.
    """
    for name in ("disk", "inodes", "load"):
        low, high = getattr(limits, f"{name}_warning"), getattr(limits, f"{name}_critical")
        unit = "" if name == "load" else "_percent"
        if name != "load" and any(limit is not None and not 0 <= limit <= 100 for limit in (low, high)):
            raise InvalidValue(f"{name}_warning{unit} and {name}_critical{unit} must be from 0 to 100")
        if low is not None and high is not None and low > high:
            raise InvalidValue(
                f"{name}_warning{unit} ({low:g}) is above {name}_critical{unit} ({high:g})",
                hint="the warning comes first",
            )
    return limits


def decide(facts: HostFacts, limits: Limits) -> Decision:
    """Return the readings against their limits; nothing is ever planned."""
    findings = (
        *(finding for disk in facts.disks for finding in _disk(disk, limits)),
        *(_command(name, there) for name, there in facts.commands),
        *(_writable(path, allowed) for path, allowed in facts.writable),
        *_load(facts, limits),
    )
    return Decision(_sentence(findings, facts), findings=findings, extra={"host": _host(facts)})


def _disk(disk: Disk, limits: Limits) -> Iterator[Finding]:
    path = printable(disk.path, 100)
    if disk.error:
        yield Finding(f"disk:{path}", UNKNOWN, f"{path} could not be looked at: {printable(disk.error)}")
        return
    percent, inodes = disk.used_percent, disk.inodes_used_percent
    status = threshold_status(percent, limits.disk_warning, limits.disk_critical)
    text = f"{path} is {percent:g} % full, {human_size(disk.free_bytes)} free" if percent is not None else f"{path}: ?"
    if disk.free_bytes < limits.free_minimum:
        status, text = CRITICAL, f"{text}, at least {human_size(limits.free_minimum)} are needed"
    if disk.read_only:
        status, text = CRITICAL, f"{text}, mounted read-only"
    yield Finding(f"disk:{path}", status, text, percent, "%", limits.disk_warning, limits.disk_critical)
    if inodes is not None:
        status = threshold_status(inodes, limits.inodes_warning, limits.inodes_critical)
        text = f"{path} has used {inodes:g} % of its inodes, {disk.inodes_free} left"
        yield Finding(f"inodes:{path}", status, text, inodes, "%", limits.inodes_warning, limits.inodes_critical)


def _command(name: str, there: bool) -> Finding:
    text = f"{printable(name, 100)} is {'there' if there else 'missing: install it'}"
    return Finding(f"command:{printable(name, 100)}", OK if there else CRITICAL, text, there)


def _writable(path: str, allowed: bool) -> Finding:
    text = f"{printable(path, 100)} may {'' if allowed else 'not '}be written to"
    return Finding(f"writable:{printable(path, 100)}", OK if allowed else CRITICAL, text, allowed)


def _load(facts: HostFacts, limits: Limits) -> Iterator[Finding]:
    if limits.load_warning is None and limits.load_critical is None:
        return
    status = threshold_status(facts.load_per_cpu, limits.load_warning, limits.load_critical)
    text = "the load is not known" if facts.load_per_cpu is None else f"load is {facts.load_per_cpu:g} per processor"
    yield Finding("load", status, text, facts.load_per_cpu, "", limits.load_warning, limits.load_critical)


def _sentence(findings: tuple[Finding, ...], facts: HostFacts) -> str:
    bad = [finding for finding in findings if finding.status != OK]
    verdict = worst(finding.status for finding in findings)
    if bad:
        first = next(finding for finding in bad if finding.status == verdict)
        more = f" (and {count_of(len(bad) - 1, 'more finding')})" if len(bad) > 1 else ""
        return f"{first.msg}{more}"
    fullest = max(facts.disks, key=lambda disk: disk.used_percent or 0.0, default=None)
    disk = f", {printable(fullest.path, 60)} {fullest.used_percent:g} % full" if fullest else ""
    return f"fit for work{disk}"


def _host(facts: HostFacts) -> dict[str, object]:
    return {
        "release": printable(facts.release, 100),
        "kernel": facts.kernel,
        "python": facts.python,
        "user": facts.user,
        "uptime_seconds": facts.uptime_seconds,
        "load_per_cpu": facts.load_per_cpu,
        "disks": [
            {**asdict(disk), "used_percent": disk.used_percent, "inodes_used_percent": disk.inodes_used_percent}
            for disk in facts.disks
        ],
    }
