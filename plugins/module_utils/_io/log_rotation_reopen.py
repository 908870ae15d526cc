# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Tell the process that writes to a log about its new file, and prove that it went over to it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, Iterator, List, Optional, Sequence, Tuple

from .._core.errors import CommandFailed, OpsError, PreconditionFailed
from .._core.log_rotation import FileId, Holder
from .clock import Clock
from .command import CommandRunner
from .log_rotation_holders import Processes, holder_of, open_for_writing, parent_of, started
from .log_rotation_tree import LeftAlone, LogTree, identity_of, open_same

_EVERY = 0.05  # seconds between two looks


@dataclass(frozen=True)
class Request:
    """How to tell the process; exactly one of ``unit``, ``pid_file`` and ``command`` is given. Times in seconds."""

    unit: str = ""
    pid_file: str = ""
    signal_name: str = "HUP"
    command: Tuple[str, ...] = ()
    timeout: float = 10.0


@dataclass(frozen=True)
class Move:
    """A log that got a new file: who wrote to the old one (nobody that we see: ``writers`` is empty)."""

    directory: str
    old_name: str
    old: FileId
    log: str
    writers: Tuple[Holder, ...]


class Reopener:
    """Asks once, then looks until every writer has the new file open and none the old one."""

    def __init__(
        self, request: Request, tree: LogTree, processes: Processes, commands: CommandRunner, clock: Clock
    ) -> None:
        self._request = request
        self._tree = tree
        self._processes = processes
        self._commands = commands
        self._clock = clock
        self._checked = (0, 0)  # the process to signal and when it was started

    def check(self, writers: Iterable[Holder]) -> None:
        """Look whether there is somebody to tell, and whether it is the one who writes; changes nothing.

        Raises:
            PreconditionFailed: no process (``reopen_target_missing``), or one that has none of the logs
                (``reopen_target_wrong``): a stale pid file must not get a stranger killed.
        """
        request, pids = self._request, {holder.pid for holder in writers}
        if request.command:
            if self._commands.find(request.command[0]) is None:
                raise _missing(f"the command {request.command[0]} is not there")
            return
        target = self._target()
        if pids and not any(target in _line(pid) for pid in pids):
            name = holder_of(target, 0).command
            raise PreconditionFailed(
                f"tell the writer of the logs to reopen them: pid {target} ({name}) has none of them open for writing",
                code="reopen_target_wrong",
                hint=f"mend {'reopen.unit' if request.unit else 'reopen.pid_file'}; the logs are held by pid "
                + ", ".join(map(str, sorted(pids)[:5])),
            )
        # Who is signalled is settled here: a pid file that is written anew meanwhile changes nothing.
        self._checked = (target, started(target))

    def ask(self) -> str:
        """Send the signal or run the command, and return what was done.

        Raises:
            OpsError: it could not be done (code ``reopen_failed``).
        """
        request = self._request
        if request.command:
            try:
                self._commands.run(request.command, timeout=request.timeout)
            except OpsError as error:
                raise _failed(error.message) from error
            return "command run"
        target, born = self._checked
        try:
            _send(target, born, request.signal_name)
        except OSError as error:
            raise _failed(f"signal {request.signal_name} to pid {target}: {error.strerror or error}") from error
        return f"{request.signal_name} sent to pid {target}"

    def prove(self, moves: Sequence[Move]) -> List[Tuple[Move, str]]:
        """Wait until all writers went over; return the moves that cannot be proven in time, each with the reason."""
        deadline = self._clock.monotonic() + self._request.timeout
        waiting = [(move, "") for move in moves]
        while True:
            pids = {pid for move, _why in waiting for pid in _alive(move.writers)}
            written = {pid: self._processes.written_by(pid) for pid in pids}
            waiting = [(move, why) for move, _why in waiting for why in self._doubts(move, written)]
            if not waiting or self._clock.monotonic() >= deadline:
                return waiting
            self._clock.sleep(_EVERY)

    def _doubts(self, move: Move, written: Dict[int, FrozenSet[FileId]]) -> Iterator[str]:
        """Yield at most one reason why a writer may still write to the old file."""
        alive = [holder for holder in move.writers if holder.pid in written]
        old = self._lease(move.directory, move.old_name, move.old)
        with self._tree.directory(move.directory) as directory:
            new = identity_of(directory, move.log)
        for holder in alive:
            who = f"{holder.command} (pid {holder.pid})"
            if move.old in written[holder.pid]:
                yield f"{who} still writes to the old file"
                return
            if new not in written[holder.pid]:
                yield f"{who} has closed the old file, but not opened the new one"
                return
        if old:
            yield "a process that cannot be seen still writes to the old file"
        elif not alive and self._lease(move.directory, move.log, new) is not True:
            yield "nobody has the new file open: the process that wrote to the old one is gone or waits"

    def _lease(self, directory: str, name: str, identity: FileId) -> Optional[bool]:
        with contextlib.suppress(OSError, LeftAlone), self._tree.directory(directory) as folder:
            fd = open_same(folder, name, identity)
            try:
                return open_for_writing(fd)
            finally:
                os.close(fd)
        return None

    def _target(self) -> int:
        request = self._request
        if request.unit:
            argv = ["systemctl", "show", "--property=MainPID", "--value", "--", request.unit]
            try:
                text = self._commands.run(argv, timeout=request.timeout).stdout.strip()
            except CommandFailed as error:
                raise _missing(error.message) from error
            what = f"unit {request.unit} has no main process"
        else:
            try:
                with open(request.pid_file, encoding="ascii", errors="replace") as file:  # noqa: PTH123
                    text = file.read(64).strip()
            except OSError as error:
                raise _missing(f"pid file {request.pid_file}: {error.strerror}") from error
            what = f"pid file {request.pid_file} names no living process"
        pid = int(text) if text.isascii() and text.isdigit() else 0
        if pid <= 1 or not started(pid):
            raise _missing(what)
        return pid


def _line(pid: int) -> Iterator[int]:
    """Yield a process and its ancestors: the one that is told is often the parent of the one that writes."""
    while pid > 1:
        yield pid
        pid = parent_of(pid)


def _alive(writers: Iterable[Holder]) -> Iterator[int]:
    return (holder.pid for holder in writers if started(holder.pid) == holder.start)


def _send(pid: int, born: int, name: str) -> None:
    """Send a signal to a process by a descriptor that cannot come to mean another one."""
    number = getattr(signal, f"SIG{name}")
    if pid <= 1 or started(pid) != born:
        raise ProcessLookupError(errno.ESRCH, "it has just ended")
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # kernels before 5.3
            raise
        os.kill(pid, number)
        return
    try:
        if started(pid) != born:
            raise ProcessLookupError(errno.ESRCH, "it has just ended")
        signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def _missing(text: str) -> PreconditionFailed:
    hint = "start the service, or mend reopen"
    message = f"tell the writer of the logs to reopen them: {text}"
    return PreconditionFailed(message, code="reopen_target_missing", hint=hint)


def _failed(text: str) -> OpsError:
    hint = "the old files are whole and not compressed; the next run goes on"
    return OpsError(f"tell the writer of the logs to reopen them: {text}", code="reopen_failed", hint=hint)
