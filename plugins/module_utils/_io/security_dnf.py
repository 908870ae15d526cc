# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask dnf and rpm for security updates, and have them installed."""

from __future__ import annotations

from typing import Optional, Sequence

from .._core import security_dnf as dnf
from .._core.errors import CommandFailed, LockBusy
from .._core.redact import printable, redact_text
from .._core.security_updates import Change, Installation, SecurityFacts, Update
from .clock import Clock
from .command import CommandRunner
from .security_apt import Launch
from .service_launch import launch

_LOOK_SECONDS = 600.0
_WAIT_SECONDS = 5.0


class Dnf:
    """dnf of this host. It renews its own lists when they are out of date, also when it is only asked."""

    def __init__(self, commands: CommandRunner, clock: Clock, launcher: Launch = launch) -> None:
        self._commands = commands
        self._clock = clock
        self._launch = launcher

    def read(self, refresh_after: Optional[float]) -> SecurityFacts:
        """Return what is pending; without a single advisory "nothing" would prove nothing."""
        try:
            wanted = self._check(refresh_after is not None)
            advisories = dnf.parse_advisories(self._look(dnf.advisories_command("updates"))) if wanted else {}
            knows = bool(wanted) or bool(self._look(dnf.advisories_command("all")).strip())
        except CommandFailed as error:
            if error.code in ("command_missing", "output_unreadable"):
                raise
            return SecurityFacts(manager="dnf", lists_problem=error.message)
        return SecurityFacts(
            manager="dnf", updates=dnf.pending(wanted, advisories, self._rpms()), has_security_source=knows
        )

    def installed(self) -> dict[str, str]:
        """Return the version of each package, by name.arch."""
        return {key: rpm.evr for key, rpm in dnf.newest(self._rpms()).items()}

    def kernels(self) -> dict[str, str]:
        """Return the installed kernels."""
        return dnf.kernels(self._rpms())

    def prepare(
        self, updates: Sequence[Update], lock_seconds: int
    ) -> tuple[Optional[Installation], tuple[Update, ...]]:
        """Return what is to be installed; dnf itself checks dependencies and room before it begins."""
        changes = tuple(Change(update.name, update.installed, update.target, update.origin) for update in updates)
        return Installation(tuple(updates), changes, (), dnf.install_command(updates)), ()

    def refresh(self, argv: Sequence[str], lock_seconds: int) -> None:
        """Do nothing: reading has renewed the lists."""

    def install(self, argv: Sequence[str], lock_seconds: int, seconds: float) -> None:
        """Install, trying again while somebody else is at work.

        Raises:
            OpsError: lock_busy, download_failed, packages_failed, disk_full, insufficient_privilege.
        """
        deadline = self._clock.monotonic() + lock_seconds
        while True:
            done = self._launch(argv, seconds, {})
            code = dnf.failure_code(done.rc, done.stderr)
            if done.rc == 0 or code != "lock_busy" or self._clock.monotonic() >= deadline:
                break
            self._clock.sleep(_WAIT_SECONDS)
        if done.rc != 0:
            lines = [redact_text(printable(line)) for line in done.stderr.splitlines()]
            reason = " / ".join(line for line in lines if line.startswith("Error")) or " / ".join(lines[-3:])
            kind = LockBusy if code == "lock_busy" else CommandFailed
            raise kind(
                f"install security updates: {reason}",
                code=code,
                hint="read details.output",
                details={"rc": done.rc, "output": lines[-30:]},
            )

    def close(self) -> None:
        """Nothing is held open."""

    def _check(self, refresh: bool) -> dict[str, str]:
        done = self._commands.run(dnf.check_command(refresh), timeout=_LOOK_SECONDS, check=False)
        if done.rc not in (0, dnf.CHANGES_PENDING):
            reason = redact_text(printable(" / ".join(done.stderr.strip().splitlines()[-2:])))
            raise CommandFailed(
                f"dnf could not read its sources: {reason}", code=dnf.failure_code(done.rc, done.stderr)
            )
        return dnf.parse_check(done.stdout)

    def _rpms(self) -> tuple[dnf.Rpm, ...]:
        return dnf.parse_rpms(self._look(dnf.RPM))

    def _look(self, argv: Sequence[str]) -> str:
        return self._commands.run(argv, timeout=_LOOK_SECONDS).stdout
