# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The port to a restic repository. The password goes by the environment, nothing secret is in a command line."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Generator, Iterator, Mapping, Optional, Sequence, TypeVar

from .._core.backup import Catalog, Snapshot, read_catalog
from .._core.backup_plan import local_path
from .._core.errors import OpsError
from .._core.redact import printable, redact_text
from .._core.restic import (
    FULL,
    HOST_KEY_REFUSED,
    INCOMPLETE,
    LOCKED,
    Listing,
    Meaning,
    Written,
    backup_arguments,
    is_about_lock,
    meaning_of,
    read_message,
    read_snapshots,
    read_unreadable,
    read_written,
)
from .._core.sftp import sftp_command
from .command import Completed
from .process import LineKeeper, Program, deadline, follow, started, too_late
from .restic_locks import is_judged_rightly

T = TypeVar("T")
_QUICK_SECONDS = 300.0
_SSH_SECONDS = 30.0
_FULL_BYTES = 32 << 20  # two of its packs
_UNLOCKED = ("--no-lock",)


class RepositoryFailed(OpsError):
    """The repository refused, or is damaged; the code says which."""

    default_code = "restic_failed"


class LockFailed(RepositoryFailed):
    """It got no lock: another run has one (``repository_locked``), or none can be written (any other code)."""


@dataclass(frozen=True)
class Repository:
    """Where the repository is and how to open it: never print ``password`` or ``environment``.

    ``timeout``: seconds that one transfer may take; quick questions have 5 minutes.
    """

    location: str
    password: str = ""
    password_file: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    restic: str = "restic"
    cache_dir: str = ""
    ssh_config: str = ""
    timeout: float = 6 * 3600.0


Progress = Callable[[Mapping[str, Any]], None]


class Restic:
    """Commands of restic against one repository; every failure is a RepositoryFailed with a stable code."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def version(self) -> str:
        """Return restic's version, for example ``0.14.0``."""
        return self._ask("version").stdout.split()[1]

    def exists(self) -> bool:
        """Tell whether there is a repository; any other trouble than that is raised."""
        try:
            self._ask("cat", "config", "--no-lock")
        except RepositoryFailed as error:
            if error.code == "repository_missing":
                return False
            raise
        return True

    def create(self) -> None:
        """Make an empty repository."""
        with self.creating() as finish:
            finish()

    @contextlib.contextmanager
    def creating(self) -> Iterator[Callable[[], None]]:
        """Make an empty repository beside the work of the block; what is given waits for the end of it.

        The search for a key that is expensive enough takes seconds of one processor.
        """
        program = self._program(["init"])
        with started(program) as process, deadline(process, program, _QUICK_SECONDS) as late:
            output, errors = LineKeeper(process.stdout), LineKeeper(process.stderr)

            def finish() -> None:
                rc = process.wait()
                if late.is_set():
                    raise too_late(program, _QUICK_SECONDS)
                self.require_success(program, Completed(rc, output.text(), errors.text()))

            yield finish

    def listing(self) -> Listing:
        """Return every snapshot; without a lock, so that a look never stands in anybody's way."""
        completed = self._ask("snapshots", "--json", "--no-lock")
        try:
            snapshots = read_snapshots(completed.stdout.splitlines()[-1])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise RepositoryFailed("list the snapshots: restic's answer cannot be read") from error
        return Listing(snapshots, read_unreadable(completed.stderr))

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the snapshots that can be read."""
        return self.listing().snapshots

    def catalog(self) -> Catalog:
        """Return the copies and proofs of the repository."""
        listing = self.listing()
        return replace(read_catalog(listing.snapshots), unreadable=listing.unreadable)

    def backup(self, folder: str, *, host: str, tags: Sequence[str], on_progress: Optional[Progress] = None) -> Written:
        """Write everything in a folder as one snapshot whose root is the folder.

        A snapshot of which a part could not be read is taken away again.
        """
        argv = [*backup_arguments(host, tags), "."]
        program = replace(self._program(argv, cwd=folder), dies_with_us=True)
        return self.past_dead_locks(lambda: self._write(program, on_progress))

    def past_dead_locks(self, attempt: Callable[[], T]) -> T:
        """Do what needs a lock; when another one is in the way, remove those of dead runs and do it once more.

        restic itself never passes over the lock of a dead run.
        """
        try:
            return attempt()
        except LockFailed as error:
            if error.code != LOCKED:
                raise
        with contextlib.suppress(OpsError):  # without it the second attempt says what the trouble is
            self.unlock_stale()
        return attempt()

    def _write(self, program: Program, on_progress: Optional[Progress]) -> Written:
        written: list[Written] = []

        def read(line: str) -> None:
            message = read_message(line)
            summary = read_written(message)
            if summary is not None:
                written.append(summary)
            elif on_progress is not None and message.get("message_type") == "status":
                on_progress(message)

        completed = follow(program, timeout=self.repository.timeout, on_line=read, check=False)
        if completed.rc == INCOMPLETE:
            raise RepositoryFailed(
                f"back up: not everything could be read, {self._take_away(written)}: {_said(completed)}",
                code="incomplete",
                hint="give the user the right to read all of it",
            )
        self.require_success(program, completed)
        if not written:
            raise RepositoryFailed("back up: restic ended well and named no snapshot")
        return written[-1]

    def _take_away(self, written: Sequence[Written]) -> str:
        """Remove snapshots that are not whole and say what became of them: others may hold the repository's lock."""
        names = ", ".join(one.snapshot for one in written)
        try:
            self.forget([one.snapshot for one in written])
        except RepositoryFailed as error:
            return f"and snapshot {names}, which must not be used, could not be taken away ({error.message})"
        return "the snapshot was taken away again"

    def stdin_program(self, filename: str, *, host: str, tags: Sequence[str]) -> Program:
        """Return the program that writes its standard input as one file and one snapshot.

        Whoever feeds it must end it before the end of its input when the input is not whole: at the end of the input
        it writes the snapshot, whatever became of the producer. When we are killed, it is killed too.
        """
        argv = [*backup_arguments(host, tags), "--stdin", "--stdin-filename", filename]
        return replace(self._program(argv), dies_with_us=True)

    def read_file(self, snapshot: str, path: str) -> str:
        """Return a text file of a snapshot, all of its lines."""
        return b"".join(self.read_chunks(snapshot, path, lock=False)).decode("utf-8")

    def read_chunks(
        self, snapshot: str, path: str, size: int = 1 << 20, lock: bool = True
    ) -> Generator[bytes, None, None]:
        """Give one file of a snapshot piece by piece; whoever stops early ends the program.

        ``lock``: as in ``restore``. A failure of restic, also one that it tells only at the end, is raised after the
        last piece.
        """
        with contextlib.ExitStack() as running:  # the generator's own end, early or not, ends the block

            def begin(options: Sequence[str]) -> Iterator[bytes]:
                chunks = running.enter_context(self.reading(snapshot, path, size, options))
                return itertools.chain([next(chunks, b"")], chunks)  # the first piece shows that there is a lock

            yield from self._guarded(begin) if lock else begin(_UNLOCKED)

    @contextlib.contextmanager
    def reading(
        self, snapshot: str, path: str, size: int = 1 << 20, options: Sequence[str] = _UNLOCKED
    ) -> Iterator[Iterator[bytes]]:
        """Give one file of a snapshot piece by piece; restic is at work from the beginning of the block."""
        program = self._program(["dump", *options, snapshot, path])

        def chunks() -> Iterator[bytes]:
            while chunk := process.stdout.read(size):
                yield chunk
            stderr = process.stderr.read().decode("utf-8", "replace")
            self.require_success(program, Completed(process.wait(), "", stderr))

        with started(program) as process:
            yield chunks()

    def restore(
        self, snapshot: str, target: str, include: Sequence[str] = (), verify: bool = True, lock: bool = True
    ) -> None:
        """Write a snapshot's files under ``target``; ``verify``: each of them is read again and compared.

        What comes out of the repository is checked by its hash in any case. ``lock``: nobody can remove it meanwhile;
        only what is read in a moment does without.
        """
        chosen = [part for path in include for part in ("--include", path)]
        again = ["--verify"] if verify else []
        Path(target).mkdir(mode=0o700, parents=True, exist_ok=True)

        def attempt(options: Sequence[str]) -> None:
            argv = ["restore", *options, snapshot, "--target", target, *again, *chosen]
            self._attempt(self._program(argv, cwd=target), self.repository.timeout)

        if lock:
            self._guarded(attempt)
        else:
            attempt(_UNLOCKED)

    def _guarded(self, attempt: Callable[[Sequence[str]], T]) -> T:
        """Read with a lock; without one where none is to be had: nothing may keep a copy from who needs it."""
        place = local_path(self.repository.location)
        # restic tries for minutes to write into a file system that is mounted for reading only
        if place is None or os.access(Path(place) / "locks", os.W_OK):
            with contextlib.suppress(LockFailed):
                return self.past_dead_locks(lambda: attempt(()))
        return attempt(_UNLOCKED)

    def forget(self, ids: Sequence[str], prune: bool = False) -> None:
        """Remove snapshots by their full ids; restic passes over an id that it does not know, we don't."""
        if not ids:
            return
        completed = self._long("forget", *(["--prune"] if prune else []), "--", *ids)
        if "Ignoring" in completed.stderr or "Ignoring" in completed.stdout:
            raise RepositoryFailed(f"forget snapshots: {_said(completed)}", code="no_copy", hint="list them again")

    def prune(self) -> None:
        """Remove what no snapshot uses any more."""
        self._long("prune")

    def unlock_stale(self) -> None:
        """Remove the locks of runs that are dead: older than 30 minutes, or of this host and without a process."""
        if all(is_judged_rightly(lock) for lock in self._show_locks()):
            self._attempt(self._program(["unlock"]), _QUICK_SECONDS)

    def _show_locks(self) -> Iterator[str]:
        for name in self.locks():
            with contextlib.suppress(RepositoryFailed):  # its run has ended meanwhile
                yield self._ask("cat", "lock", name, "--no-lock").stdout

    def locks(self) -> list[str]:
        """Return the ids of the locks, of living and dead runs; without a lock of its own."""
        return self._ask("list", "locks", "--no-lock").stdout.split()

    def check(self, read_data: str = "") -> None:
        """Check the repository's structure; ``read_data`` (``100%``, ``1/7``) also reads that part of the data."""
        self._long("check", *([f"--read-data-subset={read_data}"] if read_data else []))

    def stored_bytes(self) -> int:
        """Return what all snapshots take together, after deduplication and compression."""
        answer = self._ask("stats", "--json", "--no-lock", "--mode", "raw-data").stdout
        return int(json.loads(answer.splitlines()[-1])["total_size"])

    def keys(self) -> list[dict[str, Any]]:
        """Return the keys that open the repository."""
        return list(json.loads(self._ask("key", "list", "--json", "--no-lock").stdout.splitlines()[-1]))

    def add_key(self, password_file: str, user: str = "") -> None:
        """Add a second key; its password is read from a file, ``user`` is what the list of keys shows for it."""
        self._ask("key", "add", "--new-password-file", password_file, *(["--user", user] if user else []))

    def program(self, *arguments: str) -> Program:
        """Return any other command as a program that can open the repository."""
        return self._program(arguments)

    def _ask(self, *arguments: str) -> Completed:
        return self._run(arguments, _QUICK_SECONDS)

    def _long(self, *arguments: str) -> Completed:
        return self._run(arguments, self.repository.timeout)

    def _run(self, arguments: Sequence[str], timeout: float) -> Completed:
        program = self._program(arguments)
        return self.past_dead_locks(lambda: self._attempt(program, timeout))

    def _attempt(self, program: Program, timeout: float) -> Completed:
        completed = follow(program, timeout=timeout, check=False)
        self.require_success(program, completed)
        return completed

    def _program(self, arguments: Sequence[str], cwd: Optional[str] = None) -> Program:
        repository = self.repository
        environment = {
            **repository.environment,
            "RESTIC_REPOSITORY": repository.location,
            "RESTIC_PROGRESS_FPS": "2",
            "TZ": "UTC",
        }
        if repository.password_file:
            environment["RESTIC_PASSWORD_FILE"] = str(Path(repository.password_file).absolute())
        else:
            environment["RESTIC_PASSWORD"] = repository.password
        if repository.cache_dir:
            environment["RESTIC_CACHE_DIR"] = repository.cache_dir
        command = sftp_command(repository.location, repository.ssh_config) if repository.ssh_config else ""
        options = ["-o", f'"sftp.command={command}"'] if command else []  # restic reads it as a line of CSV
        argv = [repository.restic, arguments[0], *options, *arguments[1:]]
        return Program(argv, env=environment, cwd=cwd, tidies_up=True)

    def require_success(self, program: Program, completed: Completed) -> None:
        """Raise what a program of this repository meant when it ended badly."""
        if completed.rc == 0:
            return
        meaning, said = meaning_of(completed.rc, completed.stderr), _said(completed)
        if meaning.code == RepositoryFailed.default_code and self._is_nearly_full():
            # restic 0.14 sometimes crashes over a full disk without a word about it
            meaning, said = meaning_of(1, FULL), f"the disk of the repository is full: {said}"
        elif meaning.code == "repository_unreachable":
            meaning, said = self._why_unreachable(meaning, said)
        failure = LockFailed if is_about_lock(completed.rc, completed.stderr) else RepositoryFailed
        raise failure(
            f"{' '.join(program.argv[:2])}: {said}",
            code=meaning.code,
            hint=meaning.hint,
            details={"rc": completed.rc},
        )

    def _why_unreachable(self, meaning: Meaning, said: str) -> tuple[Meaning, str]:
        """Let ssh say why it did not connect: restic often ends before it has passed that on."""
        repository = self.repository
        with contextlib.suppress(OpsError):
            command = shlex.split(sftp_command(repository.location, repository.ssh_config))
            if not command:
                return meaning, said
            answer = follow(Program(command, env=repository.environment), timeout=_SSH_SECONDS, check=False)
            own = meaning_of(1, answer.stderr)
            if own.code == HOST_KEY_REFUSED:
                meaning = own
            if answer.rc != 0:
                said = f"{said} / ssh: {_said(answer)}"
        return meaning, said

    def _is_nearly_full(self) -> bool:
        place = local_path(self.repository.location)
        return place is not None and Path(place).exists() and shutil.disk_usage(place).free < _FULL_BYTES


def _said(completed: Completed) -> str:
    lines = [line.strip() for line in (completed.stderr or completed.stdout).splitlines() if line.strip()]
    return redact_text(printable(" / ".join(lines[-3:]), 500)) or f"exit status {completed.rc}"
