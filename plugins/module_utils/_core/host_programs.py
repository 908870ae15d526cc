# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read what systemctl, chronyc and timedatectl print."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

from .redact import printable

# One call, for all releases: one that does not know the JSON of lists (before 246) prints plain lines.
FAILED_UNITS = (
    "systemctl",
    "list-units",
    "--state=failed",
    "--all",
    "--plain",
    "--full",
    "--no-legend",
    "--no-pager",
    "--output=json",
)
CHRONY = ("chronyc", "-n", "-c", "tracking")
TIMEDATE = ("timedatectl", "show", "--property=NTPSynchronized", "--value")

# From here on the kernel takes its clock for unsynchronised (NTP_PHASE_LIMIT); timedatectl asks the same.
UNSYNCHRONISED_SECONDS = 16.0


@dataclass(frozen=True)
class FailedUnit:
    """A unit that systemd has given up."""

    name: str
    description: str


@dataclass(frozen=True)
class ClockState:
    """How far this host's clock may be off. ``source`` says who says so; no error: it is only known whether."""

    synchronised: bool
    source: str
    error_seconds: Optional[float] = None


def parse_failed_units(text: str) -> Optional[tuple[FailedUnit, ...]]:
    """Return the units of FAILED_UNITS' output; None when it makes no sense.

    >>> parse_failed_units("nginx.service loaded failed failed A web server\\n")
    (FailedUnit(name='nginx.service', description='A web server'),)
    """
    if text.lstrip().startswith("["):
        try:
            rows: Any = json.loads(text)
        except ValueError:
            return None
        pairs = [(row.get("unit"), row.get("description", "")) for row in rows if isinstance(row, dict)]
        if len(pairs) != len(rows) or not all(isinstance(name, str) and name for name, _text in pairs):
            return None
    else:
        lines = [line.lstrip("●*×? ").split(None, 4) for line in text.splitlines() if line.strip()]
        if any(len(parts) < 4 or "." not in parts[0] for parts in lines):
            return None
        pairs = [(parts[0], parts[4] if len(parts) > 4 else "") for parts in lines]
    return tuple(FailedUnit(printable(str(name), 120), printable(str(words), 120)) for name, words in pairs)


def parse_chrony(text: str) -> Optional[ClockState]:
    """Return what chronyd knows about the clock; None when it makes no sense.

    The error is at most what chronyc(1) says: offset, root dispersion and half of the root delay.

    >>> parse_chrony("A29FC801,192.0.2.1,2,1795262400.1,-0.000100,0,0,0,0,0,0.020000,0.001000,64.4,Normal")
    ClockState(synchronised=True, source='chronyd', error_seconds=0.0111)
    """
    fields = text.strip().split(",")
    if len(fields) != 14:
        return None
    try:
        offset, delay, dispersion = (abs(float(fields[place])) for place in (4, 10, 11))
    except ValueError:
        return None
    if fields[13] == "Not synchronised":
        return ClockState(False, "chronyd")
    return ClockState(True, "chronyd", round(offset + dispersion + delay / 2, 6))


def parse_timedate(text: str) -> Optional[ClockState]:
    """Return what timedatectl says; None when it makes no sense."""
    answer = text.strip().rpartition("=")[2]
    return ClockState(answer == "yes", "timedatectl") if answer in ("yes", "no") else None
