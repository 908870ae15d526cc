# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Talk to what runs a service: systemd, pm2, or commands of its own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Protocol, Sequence

from .._core import service_pm2, service_systemd
from .._core.errors import CommandFailed, OpsError, PreconditionFailed
from .._core.redact import printable, redact_text
from .._core.service import ACTIVE, STOPPED, Order, ServiceState
from .command import CommandRunner, Completed
from .service_launch import launch
from .service_processes import start_time

_LOOK_SECONDS = 20.0
_LOG_BYTES = 64 * 1024


class ServiceManager(Protocol):
    """What one service is asked and told."""

    def read(self) -> ServiceState:
        """Return the service as it is.

        Raises:
            OpsError: it is not there, or its manager is not.
        """

    def orders(self, service: ServiceState, action: str) -> tuple[Order, ...]:
        """Return the commands that carry out an action."""

    def carry_out(self, order: Order, timeout: float) -> None:
        """Run one command to its end.

        Raises:
            OpsError: it failed, with a code that says why.
        """

    def log(self, lines: int, since: int) -> list[str]:
        """Return the newest log lines, redacted; ``since`` in seconds of the Unix epoch where the log knows times."""


@dataclass(frozen=True)
class Systemd:
    """A unit of systemd, of the system's or of the user's own manager."""

    unit: str
    scope: str
    commands: CommandRunner

    def read(self) -> ServiceState:
        """Return the unit's state."""
        done = self._run(service_systemd.show_command(self.unit, self.scope), _LOOK_SECONDS)
        if done.rc != 0:
            raise self._refused("look at", done.stderr)
        return service_systemd.parse_show(done.stdout)

    def orders(self, service: ServiceState, action: str) -> tuple[Order, ...]:
        """Return systemctl's calls."""
        return service_systemd.orders(service, action, self.scope)

    def carry_out(self, order: Order, timeout: float) -> None:
        """Run one call of systemctl."""
        done = self._run(order.argv, timeout)
        if done.rc != 0:
            raise self._refused(order.action, done.stderr)

    def log(self, lines: int, since: int) -> list[str]:
        """Return the unit's newest lines of the journal."""
        argv = service_systemd.journal_command(self.unit, self.scope, lines, since)
        try:
            done = self._run(argv, _LOOK_SECONDS)
        except OpsError as error:
            return [f"the journal could not be read: {error.message}"]
        if done.rc != 0:
            return [f"the journal could not be read: {printable(done.stderr.strip())}"]
        return shown_lines(done.stdout, lines)

    def _run(self, argv: Sequence[str], timeout: float) -> Completed:
        env = {"TZ": "UTC"}
        runtime = f"/run/user/{os.getuid()}"
        if self.scope == "user" and "XDG_RUNTIME_DIR" not in os.environ and Path(runtime).is_dir():
            env["XDG_RUNTIME_DIR"] = runtime
        return self.commands.run(argv, timeout=timeout, env=env, check=False)

    def _refused(self, attempt: str, stderr: str) -> OpsError:
        meaning = service_systemd.refusal(stderr)
        words = redact_text(printable(" / ".join(stderr.strip().splitlines()[:3])))
        return CommandFailed(f"{attempt} {self.unit}: {words}", code=meaning.code, hint=meaning.hint)


@dataclass(frozen=True)
class Pm2:
    """An application of pm2, of the user that runs this."""

    name: str
    program: str
    home: Path
    commands: CommandRunner

    def read(self) -> ServiceState:
        """Return the application's state.

        Raises:
            PreconditionFailed: no pm2 daemon runs for this user (``manager_unavailable``): asking would start one.
        """
        return service_pm2.service_state(self.name, service_pm2.select(self._processes(), self.name))

    def orders(self, service: ServiceState, action: str) -> tuple[Order, ...]:
        """Return pm2's call."""
        return service_pm2.orders(self.program, self.name, action)

    def carry_out(self, order: Order, timeout: float) -> None:
        """Run one call of pm2."""
        self._check_daemon()
        self.commands.run(order.argv, timeout=timeout, env=self._env())

    def log(self, lines: int, since: int) -> list[str]:
        """Return the newest lines of the error logs."""
        found: list[str] = []
        for path in service_pm2.log_paths(service_pm2.select(self._processes(), self.name)):
            found += tail(Path(path), lines)
        return found[-lines:]

    def _processes(self) -> list[dict[str, Any]]:
        self._check_daemon()
        done = self.commands.run((self.program, "jlist"), timeout=_LOOK_SECONDS, env=self._env())
        return service_pm2.parse_jlist(done.stdout)

    def _env(self) -> Mapping[str, str]:
        return {"PM2_HOME": str(self.home), "PM2_DISCRETE_MODE": "true", "NO_COLOR": "1"}

    def _check_daemon(self) -> None:
        alive = False
        with contextlib.suppress(OSError, ValueError):
            alive = start_time(int((self.home / "pm2.pid").read_text(encoding="ascii"))) is not None
        if not alive:
            raise PreconditionFailed(
                f"look at {printable(self.name)}: no pm2 daemon runs in {self.home}",
                code="manager_unavailable",
                hint="become the user whose applications these are (become_user), or set pm2_home",
            )


@dataclass(frozen=True)
class CommandPair:
    """A service that is known by its own commands and its pid file."""

    name: str
    commands: CommandRunner
    status: tuple[str, ...] = ()
    pid_file: Optional[Path] = None
    by_action: Mapping[str, tuple[Order, ...]] = field(default_factory=dict)

    def read(self) -> ServiceState:
        """Return the state that the status command (0: it runs) and the pid file tell; both must agree."""
        pid = self._pid()
        started = start_time(pid) if pid else None
        words = []
        runs = self.pid_file is None or started is not None
        if self.pid_file is not None:
            words.append(f"pid {pid}" if started is not None else "no process of its pid file")
        if self.status:
            rc = self.commands.run(self.status, timeout=_LOOK_SECONDS, check=False).rc
            words.append(f"status command exits {rc}")
            runs = runs and rc == 0
        return ServiceState(
            manager="command",
            name=self.name,
            state=ACTIVE if runs else STOPPED,
            detail=", ".join(words) or "known by its probes only",
            wanted=True,
            pids=(pid,) if pid and started is not None else (),
            identity=(f"{pid}:{started}",) if started is not None else (),
            can_reload="reload" in self.by_action,
        )

    def orders(self, service: ServiceState, action: str) -> tuple[Order, ...]:
        """Return the commands that were given for the action."""
        return self.by_action.get(action, ())

    def carry_out(self, order: Order, timeout: float) -> None:
        """Run one command; what it leaves running goes on."""
        done = launch(order.argv, timeout)
        if done.rc != 0:
            output = shown_lines(done.stderr, 20)
            raise CommandFailed(
                f"{order.action} {self.name}: exit status {done.rc}: {' / '.join(output[-3:])}",
                hint="run the command by hand as the same user",
                details={"rc": done.rc, "output": output},
            )

    def log(self, lines: int, since: int) -> list[str]:
        """Return nothing: commands of its own have no log that is known."""
        return []

    def _pid(self) -> int:
        if self.pid_file is not None:
            with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
                return max(0, int(self.pid_file.read_text(encoding="ascii").split()[0]))
        return 0


def check_config(argv: Sequence[str], commands: CommandRunner, timeout: float) -> None:
    """Run a command that checks the service's configuration and changes nothing.

    Raises:
        PreconditionFailed: it says no (``config_invalid``).
        OpsError: it is not there, or did not end.
    """
    done = commands.run(argv, timeout=timeout, check=False)
    if done.rc != 0:
        output = shown_lines(done.stdout + done.stderr, 20)
        raise PreconditionFailed(
            f"check the configuration with {redact_text(printable(' '.join(argv), 200))}: exit status {done.rc}: "
            f"{' / '.join(output[-3:])}",
            code="config_invalid",
            hint="the service was left alone; mend the configuration first",
            details={"rc": done.rc, "output": output},
        )


def tail(path: Path, lines: int) -> list[str]:
    """Return a log file's last lines, redacted; a reason in their place when it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            return shown_lines(log.read().decode("utf-8", "replace"), lines)
    except OSError as error:
        return [f"{printable(str(path))} could not be read: {error.strerror}"]


def shown_lines(text: str, lines: int) -> list[str]:
    """Return the last lines of a text, each safe to print and without secrets that can be told by their shape."""
    return [redact_text(printable(line)) for line in text.splitlines()[-lines:]]
