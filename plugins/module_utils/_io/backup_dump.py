# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Drives pg_dump and pg_dumpall; neither sees a password in its command line."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence

from .._core.backup_dump import dump_failure, undecodable_line
from .._core.errors import CommandFailed, OpsError, TimedOut
from .._core.redact import printable
from .postgres import Database, Target
from .postgres_tools import Login, Tool
from .process import Program, follow

AUTO, REQUIRED, NONE = "auto", "required", "none"
COMPLETE, WITHOUT_PASSWORDS = "complete", "without passwords"
_LOOK_SECONDS = 1.0

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class DumpTerms:
    """How to dump. Seconds; ``role`` is what pg_dump changes to after its log-in."""

    jobs: int
    lock_timeout: float
    timeout: float
    role: Optional[str] = None


def dump_arguments(terms: DumpTerms, directory: bool) -> list[str]:
    """Return the options of pg_dump that don't differ from run to run.

    Without compression restic finds what has not changed; without fsync because the repository keeps it, not this.
    """
    how = ["--format=directory", f"--jobs={terms.jobs}", "--no-sync"] if directory else ["--format=custom"]
    role = [f"--role={terms.role}"] if terms.role else []
    wait = f"--lock-wait-timeout={max(int(terms.lock_timeout * 1000), 1)}"
    return [*how, "--compress=0", "--no-password", wait, *role]


@dataclass(frozen=True)
class Dumper:
    """pg_dump of one database at one exported snapshot."""

    tool: Tool
    login: Login
    terms: DumpTerms
    database: str
    snapshot: str

    def program(self, directory: bool, cwd: str, *more: str) -> Program:
        """Return the program; what it leaves running when we die is known by its working directory."""
        argv = [self.tool.path, *dump_arguments(self.terms, directory), f"--snapshot={self.snapshot}", *more]
        argv.append(f"--dbname={self.login.conninfo(self.database)}")
        return Program(argv, env=self.login.env, cwd=cwd, dies_with_us=True)

    def failure(self, rc: int, stderr: str) -> CommandFailed:
        """Return the error for a pg_dump that ended badly."""
        return dump_failure("pg_dump", f"back up {printable(self.database)}", rc, stderr)

    def late(self) -> TimedOut:
        """Return the error for a pg_dump that had to be ended."""
        name, limit = printable(self.database), self.terms.timeout
        return TimedOut(f"back up {name}: the dump was not done after {limit:g} s, ended", hint="raise max_duration")

    def to_folder(self, folder: Path, on_bytes: Optional[OnBytes] = None) -> None:
        """Dump into a folder that does not exist yet.

        Raises:
            CommandFailed: with a code from _core.backup_dump.
            TimedOut: it took longer than it may.
        """
        program = self.program(True, str(folder.parent), f"--file={folder}")
        with _Watch(folder, on_bytes):
            try:
                completed = follow(program, timeout=self.terms.timeout, check=False)
            except TimedOut as error:
                raise self.late() from error
        if completed.rc != 0:
            raise self.failure(completed.rc, completed.stderr)


def missing_data(folder: Path, tables: int) -> str:
    """Return what a dump folder lacks to hold so many tables, "" when it has a list of contents and a file for each.

    It costs nothing, and a pg_dump that ended well without having written everything is not believed.
    """
    if not (folder / "toc.dat").is_file():
        return "its list of contents (toc.dat)"
    files = sum(1 for path in folder.glob("*.dat") if path.stem.isdigit())
    return f"the data of {tables - files} of {tables} tables" if files < tables else ""


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; what vanishes meanwhile does not count."""
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += Path(parent, name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


class _Watch:
    """Tells how a folder grows, from a thread of its own."""

    def __init__(self, folder: Path, on_bytes: Optional[OnBytes]) -> None:
        self._folder, self._on_bytes, self._end = folder, on_bytes, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        if self._on_bytes is not None:
            self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        if self._on_bytes is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            if self._on_bytes is not None:
                self._on_bytes(size_of(self._folder))


@dataclass(frozen=True)
class Globals:
    """Roles, memberships, tablespaces and settings of roles; ``how`` says what is left out and why."""

    text: str
    how: str
    warning: str = ""


def read_globals(database: Database, tool: Callable[[], Tool], login: Login, target: Target, wish: str) -> Globals:
    """Return what pg_dumpall says about everything that no single database holds.

    Raises:
        OpsError: it could not be read, or not with passwords, and it is required.
    """
    if wish == NONE:
        return Globals("", "left out: not wanted")
    allowed = database.fetch("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS may")
    passwords = bool(allowed[0]["may"])
    if wish == REQUIRED and not passwords:
        raise CommandFailed(
            "back up the roles: this role may not read their passwords (pg_authid)",
            code="insufficient_privilege",
            hint="log in as a superuser, or use globals: auto, which leaves the passwords out",
        )
    try:
        text = _dump_globals(tool(), login, target, passwords)
    except OpsError as error:
        if wish == REQUIRED or error.code == "stopped":
            raise
        return Globals(
            "", f"left out: {error.message}", f"roles and grants on them are not in the copy: {error.message}"
        )
    if passwords:
        return Globals(text, COMPLETE)
    return Globals(text, WITHOUT_PASSWORDS, "this role may not read pg_authid: the roles are copied without passwords")


def _dump_globals(tool: Tool, login: Login, target: Target, passwords: bool) -> str:
    """Collect line by line, because follow() keeps the last ones only.

    Raises:
        CommandFailed: with a code from _core.backup_dump, or ``undecodable``: a name would not come back as it was.
    """
    lines: list[str] = []
    base = login.conninfo(str(target.parameters["dbname"])) if "dbname" in target.parameters else login.conninfo()
    argv: Sequence[str] = [
        tool.path,
        "--globals-only",
        "--encoding=UTF8",
        "--no-password",
        *([] if passwords else ["--no-role-passwords"]),
        *([f"--role={target.session_role}"] if target.session_role else []),
        f"--database={base}",
    ]
    program = Program(argv, env=login.env)
    completed = follow(program, timeout=300, on_line=lines.append, check=False, undecodable="surrogateescape")
    if completed.rc != 0:
        raise dump_failure("pg_dumpall", "back up the roles", completed.rc, completed.stderr)
    strange = undecodable_line(lines)
    if strange:
        raise CommandFailed(
            f"back up the roles: a name or a setting is not in the encoding of the database that is logged in to: "
            f"{strange}",
            code="undecodable",
            hint="log in (login_db) to a database of the encoding in which it was given, or rename it",
        )
    return "\n".join(lines) + "\n"
