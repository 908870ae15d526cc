# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Load a copy into a server that is given: roles first, then pg_restore with several jobs; no error is passed over."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Optional, Sequence

from .._core.backup_load import GlobalStatement, LoadError, Transcript, entries_to_repeat
from .._core.backup_manifest import Manifest
from .._core.errors import CommandFailed, DatabaseFailed
from .._core.redact import printable, redact_text
from .command import CommandRunner
from .postgres import Database
from .postgres_tools import Login, Tool, find_tool
from .process import Account, LineKeeper, Program, deadline, follow, started, too_late
from .workspace import give, workspace

_LIST_SECONDS = 600.0


@dataclass(frozen=True)
class Load:
    """One load into a database that exists and is empty.

    ``options`` are further options of pg_restore (``--no-subscriptions``, ``--no-tablespaces``). ``stop_at_error``:
    end at the first error, otherwise go on and list them all. ``timeout`` in seconds.
    """

    tool: Tool
    login: Login
    database: str
    jobs: int
    timeout: float
    options: Sequence[str] = ()
    stop_at_error: bool = True
    account: Optional[Account] = None
    cwd: Optional[str] = None


def restore_tool(commands: CommandRunner, manifest: Manifest, server_major: int, folders: Sequence[str] = ()) -> Tool:
    """Return the pg_restore that can read the copy and speaks to a server of ``server_major``.

    An archive is read by the program that wrote it and by newer ones. Raises as ``find_tool``.
    """
    wrote = manifest.tools.get("pg_dump", "").partition(".")[0]
    return find_tool(commands, "pg_restore", max(server_major, int(wrote) if wrote.isdigit() else 0), folders)


def count_items(load: Load, dump: str) -> int:
    """Return how many entries an archive lists, for the progress; it says nothing about its soundness."""
    program = Program([load.tool.path, "--list", dump], account=load.account, cwd=load.cwd)
    found = 0

    def count(line: str) -> None:
        nonlocal found
        found += bool(line) and not line.startswith(";")

    follow(program, timeout=_LIST_SECONDS, on_line=count)
    return found


def load_dump(load: Load, dump: str, on_item: Optional[Callable[[str], None]] = None) -> tuple[LoadError, ...]:
    """Run pg_restore with several jobs on a folder or a file and return its errors; no error means that it is all in.

    ``on_item`` gets the name of each object that is done. What failed because jobs were in each other's way is done
    again one after the other.

    Raises:
        CommandFailed: it could not be started.
        TimedOut: it took longer than it may.
    """
    errors = _run(load, [f"--jobs={load.jobs}", dump], on_item, None)
    again = entries_to_repeat(errors)
    if not again:
        return errors
    with workspace("load", account=load.account) as folder:
        wanted = folder / "wanted.list"
        wanted.write_text("".join(f"{number};\n" for number in again), encoding="ascii")
        give(wanted, load.account)
        return _run(load, [f"--use-list={wanted}", dump], on_item, None)


def load_stream(
    load: Load, feed: Callable[[Callable[[bytes], Any]], Any], on_item: Optional[Callable[[str], None]] = None
) -> tuple[LoadError, ...]:
    """Run pg_restore on what ``feed`` writes, one job, and return its errors.

    What ``feed`` raises ends pg_restore before the end of its input, and is raised here.
    """
    return _run(load, [], on_item, feed)


def _run(
    load: Load,
    arguments: Sequence[str],
    on_item: Optional[Callable[[str], None]],
    feed: Optional[Callable[[Callable[[bytes], Any]], Any]],
) -> tuple[LoadError, ...]:
    argv = [load.tool.path, "--verbose", f"--dbname={load.login.conninfo(load.database)}", *load.options, *arguments]
    program = Program(argv, env=load.login.env, cwd=load.cwd, account=load.account)
    transcript = Transcript(on_item)
    stdin = subprocess.DEVNULL if feed is None else subprocess.PIPE
    with started(program, stdin=stdin) as process, deadline(process, program, load.timeout) as late:

        def read(line: str) -> None:
            transcript.read(line)
            if load.stop_at_error and transcript.is_lost():
                process.terminate()

        said = LineKeeper(process.stderr, read)
        if feed is not None:
            _feed(process, feed)
        process.stdout.read()
        rc = process.wait()
        text = said.text()
    transcript.close()
    if late.is_set():
        raise too_late(program, load.timeout)
    if rc not in (0, 1) and not transcript.count:
        raise CommandFailed(f"run {program.label()}: exit status {rc}: {_last(text)}", details={"rc": rc})
    if rc != 0 and not transcript.errors and "errors ignored on restore" not in text:
        return (LoadError("", _last(text) or f"exit status {rc}"),)
    return tuple(transcript.errors)


def _feed(process: Any, feed: Callable[[Callable[[bytes], Any]], Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # it ended early: its own error says why
        feed(process.stdin.write)
        process.stdin.close()


def _last(text: str) -> str:
    return redact_text(printable(" / ".join(text.strip().splitlines()[-3:]), 500))


def existing_roles(database: Database) -> frozenset[str]:
    """Return the names of the roles of a server."""
    rows = database.fetch("SELECT rolname::text AS name FROM pg_catalog.pg_roles")
    return frozenset(row["name"] for row in rows)


def apply_globals(database: Database, statements: Iterable[GlobalStatement]) -> tuple[LoadError, ...]:
    """Carry out statements about roles and return the errors; a role that exists is not made again."""
    roles = existing_roles(database)
    errors = []
    for statement in statements:
        if statement.creates in roles:
            continue
        try:
            database.execute(statement.sql)
        except DatabaseFailed as error:
            shown = redact_text(printable(statement.sql, 80))
            errors.append(LoadError(shown, error.message))
    return tuple(errors)
