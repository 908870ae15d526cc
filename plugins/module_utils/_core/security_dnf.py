# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""dnf and rpm: their commands and what they print (recorded with dnf 4.14; never tried on a real RHEL host)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Mapping

from .errors import CommandFailed
from .security_updates import Update

# A source that cannot be reached must fail the question: dnf would leave it out and call the rest everything.
_DNF = ("dnf", "--quiet", "--setopt=*.skip_if_unavailable=0")
_ADVISORY = re.compile(r"(?:i\s+)?(?P<id>\S+)\s+(?P<severity>\S+)\s+(?P<package>\S+)")
_LOCKED = 200  # exit status, dnf(8)
RPM = ("rpm", "-qa", "--qf", "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{INSTALLTIME}\\n")
CHANGES_PENDING = 100  # exit status of check-update, dnf(8)


@dataclass(frozen=True)
class Rpm:
    """An installed package; a kernel may be there twice. ``at``: when it was installed, seconds of the epoch."""

    name: str
    epoch: str
    version: str
    release: str
    arch: str
    at: int

    @property
    def key(self) -> str:
        """Return name.arch."""
        return f"{self.name}.{self.arch}"

    @property
    def evr(self) -> str:
        """Return the version as dnf writes it: an epoch of 0 is left out."""
        return f"{self.epoch}:{self.version}-{self.release}" if self.epoch != "0" else f"{self.version}-{self.release}"


def check_command(refresh: bool) -> tuple[str, ...]:
    """Return the command that lists the newest version of each package with a security update."""
    return (*_DNF, *(("--refresh",) if refresh else ()), "check-update", "--security")


def advisories_command(scope: str) -> tuple[str, ...]:
    """Return the command that lists advisories; ``scope`` is updates or all."""
    return (*_DNF, "updateinfo", "list", "--security", f"--{scope}")


def install_command(updates: Iterable[Update]) -> tuple[str, ...]:
    """Return the command that installs exactly these versions and waits for nobody."""
    return ("dnf", "--assumeyes", "--setopt=exit_on_lock=True", "upgrade", *map(full_name, updates))


def full_name(update: Update) -> str:
    """Return name-epoch:version-release.arch.

    >>> full_name(Update("openssl.x86_64", "1:3.0.7-24.el9", "1:3.0.7-27.el9", ""))
    'openssl-1:3.0.7-27.el9.x86_64'
    """
    name, _dot, arch = update.name.rpartition(".")
    return f"{name}-{update.target}.{arch}"


def parse_check(text: str) -> dict[str, str]:
    """Return the newest version by name.arch; long names are wrapped, so words count and not lines.

    Raises:
        CommandFailed: the words do not make rows of three (``output_unreadable``).
    """
    words = text.partition("Obsoleting Packages")[0].split()
    if len(words) % 3:
        raise CommandFailed(
            "read dnf's list of updates: it has not three columns",
            code="output_unreadable",
            hint="run dnf check-update",
        )
    return dict(zip(words[::3], words[1::3]))


def parse_advisories(text: str) -> dict[str, str]:
    """Return the advisory and its severity by package, as in ``openssl-1:3.0.7-27.el9.x86_64``."""
    matches = (_ADVISORY.fullmatch(line.strip()) for line in text.splitlines())
    return {match["package"]: f"{match['id']} {match['severity']}" for match in matches if match}


def parse_rpms(text: str) -> tuple[Rpm, ...]:
    """Return the installed packages."""
    rows = (line.split("\t") for line in text.splitlines())
    return tuple(Rpm(row[0], row[1], row[2], row[3], row[4], int(row[5])) for row in rows if len(row) == 6)


def newest(rpms: Iterable[Rpm]) -> dict[str, Rpm]:
    """Return, by name.arch, the version that was installed last."""
    return {rpm.key: rpm for rpm in sorted(rpms, key=lambda rpm: rpm.at)}


def pending(wanted: Mapping[str, str], advisories: Mapping[str, str], rpms: Iterable[Rpm]) -> tuple[Update, ...]:
    """Return the security updates of installed packages."""
    installed = newest(rpms)
    found = []
    for key, target in wanted.items():
        update = Update(key, installed[key].evr if key in installed else "", target, "a security advisory")
        found.append(Update(key, update.installed, target, advisories.get(full_name(update), update.origin)))
    return tuple(sorted(found, key=lambda update: update.name))


def kernels(rpms: Iterable[Rpm]) -> dict[str, str]:
    """Return the installed kernels: release as in uname -r, and version."""
    return {f"{r.version}-{r.release}.{r.arch}": r.evr for r in rpms if r.name in ("kernel-core", "kernel")}


def failure_code(rc: int, output: str) -> str:
    """Return the stable code for what dnf said."""
    for words, code in (
        (("superuser privileges", "Permission denied"), "insufficient_privilege"),
        (("At least", "No space left on device", "more space needed"), "disk_full"),
        (("Failed to download", "Cannot download", "Curl error"), "download_failed"),
        (("conflicting requests", "nothing provides", "Problem:"), "unmet_dependencies"),
        (("scriptlet failed", "Transaction failed", "error: unpacking"), "packages_failed"),
    ):
        if any(word in output for word in words):
            return code
    return "lock_busy" if rc == _LOCKED else "command_failed"
