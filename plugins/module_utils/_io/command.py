# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Run commands: argv lists without a shell, always in the C locale, always with a deadline."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Iterator, Mapping, Optional, Protocol, Sequence

from .._core.errors import CommandFailed, TimedOut
from .._core.redact import printable, redact_text


@dataclass(frozen=True)
class Completed:
    """A command that ended: its exit code and its output as text."""

    rc: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def starting(shown: str, program: str) -> Iterator[None]:
    """Start a program in it; ``shown`` is what people see of the command.

    Raises:
        CommandFailed: it is not there (code ``command_missing``), or must not be run.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise CommandFailed(
            f"run {shown}: {program} is not there", code="command_missing", hint=f"install {program}"
        ) from error
    except OSError as error:
        raise CommandFailed(f"run {shown}: {error.strerror}", details={"errno": error.errno}) from error


class CommandRunner(Protocol):
    """The port through which operations start programs."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Optional[Mapping[str, str]] = None,
        stdin: Optional[str] = None,
        check: bool = True,
    ) -> Completed:
        """Run argv to its end. Secrets go by ``env`` or ``stdin``, never in argv.

        Raises:
            CommandFailed: not found (code ``command_missing``), not allowed, or, with ``check``, rc is not 0.
            TimedOut: it ran longer than ``timeout`` seconds and was killed.
        """

    def find(self, name: str) -> Optional[str]:
        """Return the path of a program, or None."""


class SystemCommands:
    """Programs of this host."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Optional[Mapping[str, str]] = None,
        stdin: Optional[str] = None,
        check: bool = True,
    ) -> Completed:
        """Run argv to its end (see CommandRunner.run)."""
        shown = redact_text(printable(" ".join(argv), 200))
        try:
            with starting(shown, argv[0]):
                done = subprocess.run(  # pylint: disable=ansible-bad-function
                    # run_command belongs to an AnsibleModule, which a port never sees
                    list(argv),
                    env={**os.environ, "LC_ALL": "C", "LANGUAGE": "C", **(env or {})},
                    input=stdin,
                    stdin=subprocess.DEVNULL if stdin is None else None,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=timeout,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"run {shown}: no end after {timeout:g} s, killed") from error
        completed = Completed(done.returncode, done.stdout, done.stderr)
        if check and completed.rc != 0:
            raise CommandFailed(
                f"run {shown}: exit status {completed.rc}: {_last_lines(completed.stderr or completed.stdout)}",
                details={"rc": completed.rc, "stderr": redact_text(printable(completed.stderr, 2000))},
            )
        return completed

    def find(self, name: str) -> Optional[str]:
        """Return the path of a program; the administrators' folders count for an ordinary user too."""
        return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def _last_lines(text: str, lines: int = 3) -> str:
    return redact_text(printable(" / ".join(text.strip().splitlines()[-lines:]), 500))
