# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Long-running programs: followed line by line, ended as a whole, never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import IO, Any, Callable, Iterator, Mapping, Optional, Sequence

from .._core.errors import CommandFailed, TimedOut
from .._core.redact import printable, redact_text
from .command import Completed, starting

_KEPT_LINES = 400
_PATIENCE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Account:
    """The operating system user that a program runs as; only root may choose one."""

    uid: int
    gid: int
    name: str
    home: str


@dataclass(frozen=True)
class Program:
    """A program to start. Secrets go by ``env``, never in ``argv``; ``cwd`` None means the root directory.

    ``dies_with_us``: the kernel (Linux) kills it when the thread that started it ends, whatever ends that.
    ``tidies_up``: it is asked to end by SIGINT, and its children are not: it needs them to put things in order.
    """

    argv: Sequence[str]
    env: Optional[Mapping[str, str]] = None
    cwd: Optional[str] = None
    account: Optional[Account] = None
    dies_with_us: bool = False
    tidies_up: bool = False

    def label(self) -> str:
        """Return the command for messages."""
        return redact_text(printable(" ".join(self.argv), 200))


@contextlib.contextmanager
def started(program: Program, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.PIPE) -> Iterator[Any]:
    """Give a running program in a process group of its own; however the block ends, nothing of it stays behind.

    Raises:
        CommandFailed: it is not there (code ``command_missing``), or must not be run.
    """
    with starting(program.label(), program.argv[0]):
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with,subprocess-popen-preexec-fn
            # run_command belongs to an AnsibleModule, which a port never sees; the block below ends the process; what
            # runs before the program is one system call, prepared before the fork
            list(program.argv),
            env={**os.environ, **_identity(program.account), "LC_ALL": "C", "LANGUAGE": "C", **(program.env or {})},
            cwd=program.cwd or "/",
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_death_wish() if program.dies_with_us else None,
            **_credentials(program.account),
        )
    try:
        yield process
    finally:
        _end(process, program)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()


def _end(process: Any, program: Program) -> None:
    """End a program and everything that it started: asked first, then made to."""
    if process.poll() is None:
        if program.tidies_up:
            process.send_signal(signal.SIGINT)
        else:
            _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_SECONDS)
    _signal_group(process, signal.SIGKILL)  # also children that outlived it
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_SECONDS)


def _signal_group(process: Any, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def follow(
    program: Program,
    *,
    timeout: float,
    on_line: Optional[Callable[[str], None]] = None,
    check: bool = True,
    undecodable: str = "replace",
) -> Completed:
    """Run a program to its end and hand over each line of its output as it comes.

    The result holds the last lines only, so that memory stays flat however much it says. ``undecodable``: what becomes
    of bytes that are not UTF-8, as bytes.decode() takes it (``replace``, ``surrogateescape``).

    Raises:
        CommandFailed: it could not be started or, with ``check``, its exit status is not 0.
        TimedOut: it ran longer than ``timeout`` seconds and was ended.
    """
    with started(program) as process, deadline(process, program, timeout) as late:
        errors = LineKeeper(process.stderr)
        output: deque[str] = deque(maxlen=_KEPT_LINES)
        for raw in process.stdout:
            line = raw.decode("utf-8", undecodable).rstrip("\r\n")
            output.append(line)
            if on_line is not None:
                on_line(line)
        rc = process.wait()
        completed = Completed(rc, "\n".join(output), errors.text())
    if late.is_set():
        raise too_late(program, timeout)
    if check and completed.rc != 0:
        raise failure_of(program, completed)
    return completed


def too_late(program: Program, timeout: float) -> TimedOut:
    """Return the error for a program that its deadline ended."""
    return TimedOut(f"run {program.label()}: no end after {timeout:g} s, ended")


def failure_of(program: Program, completed: Completed) -> CommandFailed:
    """Return the error for an exit status that is not 0."""
    text = (completed.stderr or completed.stdout).strip()
    last = printable(" / ".join(text.splitlines()[-3:]), 500)
    return CommandFailed(
        f"run {program.label()}: exit status {completed.rc}: {redact_text(last)}",
        details={"rc": completed.rc, "stderr": redact_text(printable(completed.stderr, 2000))},
    )


class LineKeeper:
    """Reads a stream to its end in the background, so that nobody blocks on it, and keeps the last lines.

    ``on_line`` gets each line in that background thread.
    """

    def __init__(self, stream: IO[bytes], on_line: Optional[Callable[[str], None]] = None) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by end()
            for raw in self._stream:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                self._lines.append(line)
                if self._on_line is not None:
                    self._on_line(line)

    def text(self) -> str:
        """Return what was kept, once the stream has ended."""
        self._thread.join(_PATIENCE_SECONDS)
        return "\n".join(self._lines)


@contextlib.contextmanager
def deadline(process: Any, program: Program, timeout: float) -> Iterator[threading.Event]:
    """End a started program after ``timeout`` seconds; the event says that it came to that."""
    late = threading.Event()

    def ring() -> None:
        late.set()
        _end(process, program)

    timer = threading.Timer(timeout, ring)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _death_wish() -> Optional[Callable[[], None]]:
    """Return what the child calls before it becomes the program; all that can fail is done here, before the fork."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def wish() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and here
            os.kill(os.getpid(), signal.SIGKILL)

    return wish


def _credentials(account: Optional[Account]) -> dict[str, Any]:
    if account is None or os.geteuid() == account.uid:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _identity(account: Optional[Account]) -> dict[str, str]:
    return {} if account is None else {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}
