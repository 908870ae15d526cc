# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The port to a restic repository. The password goes by the environment, nothing secret is in a command line."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Generator, Iterator, Mapping, Optional, Sequence

from .._core.backup import Catalog, Snapshot, read_catalog
from .._core.backup_plan import local_path
from .._core.errors import OpsError, TimedOut
from .._core.redact import printable, redact_text
from .._core.restic import (
    FULL,
    HOST_KEY_REFUSED,
    INCOMPLETE,
    Listing,
    Meaning,
    Written,
    meaning_of,
    read_message,
    read_snapshots,
    read_unreadable,
    read_written,
)
from .._core.sftp import sftp_command
from .command import Completed
from .process import LineKeeper, Program, deadline, follow, started

_QUICK_SECONDS = 300.0
_SSH_SECONDS = 30.0
_FULL_BYTES = 32 << 20  # two of its packs


class RepositoryFailed(OpsError):
    """The repository refused, or is damaged; the code says which."""

    default_code = "restic_failed"


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
            self._ask("cat", "config")
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
        with started(program) as process, deadline(process, _QUICK_SECONDS) as late:
            output, errors = LineKeeper(process.stdout), LineKeeper(process.stderr)

            def finish() -> None:
                rc = process.wait()
                if late.is_set():
                    raise TimedOut(f"run {program.label()}: no end after {_QUICK_SECONDS:g} s, ended")
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
        argv = [*_backup_arguments(host, tags), "."]
        return self._write(replace(self._program(argv, cwd=folder), dies_with_us=True), on_progress)

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
        argv = [*_backup_arguments(host, tags), "--stdin", "--stdin-filename", filename]
        return replace(self._program(argv), dies_with_us=True)

    def read_file(self, snapshot: str, path: str) -> str:
        """Return a text file of a snapshot, all of its lines."""
        return b"".join(self.read_chunks(snapshot, path)).decode("utf-8")

    def dump_program(self, snapshot: str, path: str) -> Program:
        """Return the program that writes one file of a snapshot to its standard output."""
        return self._program(["dump", "--no-lock", snapshot, path])

    def read_chunks(self, snapshot: str, path: str, size: int = 1 << 20) -> Generator[bytes, None, None]:
        """Give one file of a snapshot piece by piece; whoever stops early ends the program.

        A failure of restic, also one that it tells only at the end, is raised after the last piece.
        """
        with self.reading(snapshot, path, size) as chunks:  # pylint: disable=contextmanager-generator-missing-cleanup
            yield from chunks  # the generator's own end, early or not, ends the block

    @contextlib.contextmanager
    def reading(self, snapshot: str, path: str, size: int = 1 << 20) -> Iterator[Iterator[bytes]]:
        """Give one file of a snapshot piece by piece; restic is at work from the beginning of the block."""
        program = self.dump_program(snapshot, path)

        def chunks() -> Iterator[bytes]:
            while chunk := process.stdout.read(size):
                yield chunk
            stderr = process.stderr.read().decode("utf-8", "replace")
            self.require_success(program, Completed(process.wait(), "", stderr))

        with started(program) as process:
            yield chunks()

    def restore(self, snapshot: str, target: str, include: Sequence[str] = (), verify: bool = True) -> None:
        """Write a snapshot's files under ``target``; ``verify``: each of them is read again and compared.

        What comes out of the repository is checked by its hash in any case.
        """
        chosen = [part for path in include for part in ("--include", path)]
        again = ["--verify"] if verify else []
        Path(target).mkdir(mode=0o700, parents=True, exist_ok=True)
        program = self._program(["restore", "--no-lock", snapshot, "--target", target, *again, *chosen], cwd=target)
        self.require_success(program, follow(program, timeout=self.repository.timeout, check=False))

    def forget(self, ids: Sequence[str], prune: bool = False) -> None:
        """Remove snapshots by their full ids; restic passes over an id that it does not know, we don't."""
        if not ids:
            return
        program = self._program(["forget", *(["--prune"] if prune else []), "--", *ids])
        completed = follow(program, timeout=self.repository.timeout, check=False)
        self.require_success(program, completed)
        if "Ignoring" in completed.stderr or "Ignoring" in completed.stdout:
            raise RepositoryFailed(f"forget snapshots: {_said(completed)}", code="no_copy", hint="list them again")

    def prune(self) -> None:
        """Remove what no snapshot uses any more."""
        self._long("prune")

    def unlock_stale(self) -> None:
        """Remove the locks of runs that are dead: older than 30 minutes, or of this host and without a process."""
        self._ask("unlock")

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
        return Program([repository.restic, arguments[0], *options, *arguments[1:]], env=environment, cwd=cwd)

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
        raise RepositoryFailed(
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


def _backup_arguments(host: str, tags: Sequence[str]) -> list[str]:
    """Return how every backup begins.

    ``--force``: don't look for a parent snapshot. Each copy comes from a folder of its own, so that there is never one,
    and a single damaged snapshot anywhere in the repository would make the search, and the backup, fail.
    """
    return ["backup", "--json", "--force", "--host", host, *(part for tag in tags for part in ("--tag", tag))]
