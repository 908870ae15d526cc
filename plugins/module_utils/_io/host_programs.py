# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What only other programs, or a call into the kernel, know about a host."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Optional, Union

from .._core import host_programs
from .._core.errors import OpsError
from .._core.host_programs import UNSYNCHRONISED_SECONDS, ClockState, FailedUnit
from .._core.readings import Unread
from .._core.redact import printable
from .._core.security_updates import Reboot, newest_kernel
from .command import CommandRunner
from .security_host import reboot_of


class _Timex(ctypes.Structure):
    """struct timex of sys/timex.h."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_rest", ctypes.c_long * 32),
    )


def failed_units(commands: CommandRunner, seconds: float) -> Union[tuple[FailedUnit, ...], Unread]:
    """Return the units that systemd has given up."""
    try:
        done = commands.run(host_programs.FAILED_UNITS, timeout=seconds, check=False)
    except OpsError as error:
        if error.code == "command_missing":
            return Unread("failed units are not known: this host has no systemd (no systemctl)")
        return Unread(f"failed units are not known: {error.message}")
    if done.rc != 0:
        words = " ".join((done.stderr or done.stdout).split())
        return Unread(f"failed units are not known: systemctl says: {printable(words, 200)}")
    units = host_programs.parse_failed_units(done.stdout)
    return Unread("failed units are not known: systemctl's answer makes no sense") if units is None else units


def clock_state(commands: CommandRunner, seconds: float) -> Union[ClockState, Unread]:
    """Return whether the clock is synchronised: the kernel's own word, then chronyd's, then timedatectl's.

    A chronyd without rtcsync leaves the kernel in the belief that nobody looks after its clock.
    """
    kernel = kernel_clock()
    if kernel is not None and kernel.synchronised:
        return kernel
    chrony = _ask_chrony(commands, seconds / 2)
    if chrony is not None:
        return chrony
    return kernel or _ask_timedate(commands, seconds / 2)


def kernel_clock() -> Optional[ClockState]:
    """Return what adjtimex(2) says, asked for nothing but an answer; None where that is forbidden."""
    timex = _Timex()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        return None
    error = timex.maxerror / 1e6
    return ClockState(error < UNSYNCHRONISED_SECONDS, "the kernel", round(error, 6))


def _ask_chrony(commands: CommandRunner, seconds: float) -> Optional[ClockState]:
    if commands.find("chronyc") is None:
        return None
    try:
        done = commands.run(host_programs.CHRONY, timeout=seconds, check=False)
    except OpsError:
        return None
    return host_programs.parse_chrony(done.stdout) if done.rc == 0 else None


def _ask_timedate(commands: CommandRunner, seconds: float) -> Union[ClockState, Unread]:
    why = "the kernel refuses adjtimex to this user or container"
    try:
        done = commands.run(host_programs.TIMEDATE, timeout=seconds, check=False)
    except OpsError as error:
        return Unread(f"time synchronisation is not known: {why}, {error.message}")
    state = host_programs.parse_timedate(done.stdout) if done.rc == 0 else None
    return state or Unread(f"time synchronisation is not known: {why}, timedatectl does not answer")


def pending_reboot(commands: CommandRunner, seconds: float, root: Path) -> Union[Reboot, Unread]:
    """Return why a reboot is pending: what packages asked for, a newer kernel, and on RHEL what dnf says."""
    reboot = reboot_of(_newer_kernel(root), root / "run", root / "proc")
    if reboot.reasons or not (root / "etc/redhat-release").exists():
        return reboot
    if commands.find("needs-restarting") is None:
        return Unread("a pending reboot is not known: needs-restarting is missing, install dnf-utils")
    try:
        done = commands.run(("needs-restarting", "-r"), timeout=seconds, check=False)
    except OpsError as error:
        return Unread(f"a pending reboot is not known: {error.message}")
    if done.rc == 1:
        return Reboot(("needs-restarting asks for it: core libraries or services were updated",))
    return reboot if done.rc == 0 else Unread(f"a pending reboot is not known: needs-restarting ends with {done.rc}")


def _newer_kernel(root: Path) -> dict[str, str]:
    """Return the newest installed kernel, nothing when it is the one that runs; a container has none of its own."""
    try:
        running = (root / "proc/sys/kernel/osrelease").read_text(encoding="ascii", errors="replace").strip()
        folders = [name for name in os.listdir(root / "lib/modules") if _is_kernel(root, name)]  # noqa: PTH208
    except OSError:
        return {}
    newest = newest_kernel(running, folders) if running in folders else ""
    return {newest: ""} if newest and newest != running else {}


def _is_kernel(root: Path, name: str) -> bool:
    """Tell whether a kernel is really there: its folder outlives it when something was left in it."""
    return (root / "lib/modules" / name / "modules.dep").exists()
