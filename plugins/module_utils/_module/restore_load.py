# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_restore: from the repository into a database aside that is verified, or gone again."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, Optional

from .._core.backup import Copy
from .._core.backup_load import LoadError
from .._core.backup_manifest import STREAM, Manifest, TableState
from .._core.errors import DatabaseFailed, OpsError, PreconditionFailed
from .._core.progress import Progress
from .._core.redact import printable
from .._core.restore import RestorePlan
from .._core.restore_check import home_tablespace
from .._core.restore_loss import load_failure
from .._core.result import WARNING, Finding
from .._core.units import count_of, rfc3339
from .._io import restore_aside as aside
from .._io.backup_fetch import feed, fetch
from .._io.backup_load import Load, count_items, load_dump, load_stream
from .._io.postgres_tools import Login, Tool, login
from .._io.restic import Restic
from .._io.restore_server import create_statement, quoted
from .._io.workspace import need_room, workspace
from .copy_steps import Steps
from .restore_ground import Ground


class Loader:
    """Makes the database aside; when anything fails, it is dropped again and the live one was never touched."""

    def __init__(self, ground: Ground, restic: Restic, copy: Copy, manifest: Manifest) -> None:
        self._ground = ground
        self._restic = restic
        self._copy = copy
        self._manifest = manifest
        self.seconds: dict[str, float] = {}

    def create_statement(self, plan: RestorePlan, owner: str) -> str:
        """Return the statement that makes the empty database."""
        tablespace = home_tablespace(self._ground.wish, self._manifest, plan.live)
        return create_statement(self._ground.database, plan.aside, owner, tablespace, self._manifest.server)

    def commands(self, plan: RestorePlan, tool: Tool, create: str) -> dict[str, str]:
        """Return the exact texts of the actions, by what they do."""
        options = " ".join(self._options())
        drops = {f"drop:{one.name}": quoted(self._ground.database, "DROP DATABASE %I WITH (FORCE)", one.name)
                 for one in plan.leftovers}  # fmt: skip
        return {
            **drops,
            "fetch": f"restic restore {self._copy.id}",
            "create": create,
            "load": f"{tool.path} --jobs={self._ground.means.jobs} {options}".strip(),
            "analyze": "ANALYZE",
        }

    def _options(self) -> tuple[str, ...]:
        role = self._ground.target.session_role
        return (
            "--no-subscriptions",  # a second subscriber would take what is meant for the live one
            *([] if self._ground.wish.tablespaces else ["--no-tablespaces"]),
            *([f"--role={role}"] if role else []),
        )

    def make_and_verify(self, plan: RestorePlan, tool: Tool, create: str, steps: Steps) -> tuple[Finding, ...]:
        """Return the findings about the database aside, which is as the copy was.

        Raises:
            OpsError: it could not be made so; then it is gone again, or named in ``details["left_behind"]``.
        """
        if plan.ready is not None:
            return self._verify(plan.aside, steps) if self._ground.wish.swap else ()
        with workspace("restore", self._ground.means.work_dir) as folder:
            dump = self._fetch(folder, steps)
            with self._timed("create", steps):
                marker = replace(plan.marker, at=rfc3339(self._ground.task.clock.now()))
                self._create(create, plan.aside, marker)
            try:
                with self._timed("load", steps):
                    self._load(tool, plan.aside, dump)
                with contextlib.suppress(OSError):
                    _empty(folder)  # the room may be the server's own
                with self._timed("analyze", steps):
                    passed = aside.analyze(self._ground.target, plan.aside, self._ground.seconds_left())
                return (*_passed(passed), *self._verify(plan.aside, steps))
            except BaseException as error:
                self._take_away(plan.aside, error)
                raise

    def _create(self, statement: str, name: str, marker: Any) -> None:
        try:
            aside.create(self._ground.database, statement, name, marker)
        except OpsError as error:
            error.message = f"create {printable(name)}: {error.message}; the live database was not touched"
            raise

    def _take_away(self, name: str, error: BaseException) -> None:
        try:
            aside.drop_by_name(self._ground.database, name, force=True)
        except DatabaseFailed as trouble:
            if isinstance(error, OpsError):
                left = f"{printable(name)} ({trouble.message})"
                error.details = {**error.details, "left_behind": left}

    @contextlib.contextmanager
    def _timed(self, name: str, steps: Steps) -> Iterator[Any]:
        began = self._ground.task.clock.monotonic()
        with steps.doing(f"{name}:{self._ground.wish.target}") as note:
            yield note
        self.seconds[name] = round(self._ground.task.clock.monotonic() - began, 3)

    # --- fetch and load -----------------------------------------------------------------------------------------

    def _fetch(self, folder: Path, steps: Steps) -> Optional[str]:
        """Return where the dump lies; None when there is only room to load it as it comes."""
        with self._timed("fetch", steps) as note:
            size = self._copy.size_bytes or self._manifest.size_bytes
            try:
                need_room(folder, size, "the copy")
            except PreconditionFailed:
                if self._copy.form != STREAM:
                    raise
                note.detail = "no room for it here: it is loaded as it comes, by one job"
                return None
            return fetch(self._restic, self._copy, str(folder)).dump

    def _load(self, tool: Tool, name: str, dump: Optional[str]) -> None:
        ground = self._ground
        with login(ground.target) as entry:
            load = Load(
                tool=tool,
                login=self._patient(entry),
                database=name,
                jobs=ground.means.jobs,
                timeout=ground.seconds_left(),
                options=self._options(),
            )
            errors = self._run(load, dump)
        if errors:
            raise load_failure(errors, name)

    def _patient(self, entry: Login) -> Login:
        """Let pg_restore's sessions wait for each other: of all time-outs it leaves only this one as it is."""
        if self._ground.database.major < 14 or self._ground.target.allow_pooler:  # a pooler refuses start-up options
            return entry
        return replace(entry, env={**entry.env, "PGOPTIONS": "-c idle_session_timeout=0"})

    def _run(self, load: Load, dump: Optional[str]) -> tuple[LoadError, ...]:
        if dump is None:
            shown = _Shown(self._ground, "load", 0, "objects")
            return load_stream(load, lambda write: feed(self._restic, self._copy, write), shown.next)
        shown = _Shown(self._ground, "load", count_items(load, dump), "objects")
        return load_dump(load, dump, shown.next)

    def _verify(self, name: str, steps: Steps) -> tuple[Finding, ...]:
        ground = self._ground
        shown = _Shown(ground, "verify", len(self._manifest.tables), "tables")

        def on_table(_done: int, _total: int, table: TableState) -> None:
            shown.next(f"{table.schema}.{table.name}")

        with self._timed("verify", steps) as note:
            now, left = ground.task.clock.now(), ground.seconds_left()
            found = aside.verify(ground.target, name, self._manifest, ground.means.jobs, left, now, on_table)
            note.detail = count_of(len(found), "check")
        return found


class _Shown:
    """Counts what is done and tells the person who watches."""

    def __init__(self, ground: Ground, activity: str, total: int, noun: str) -> None:
        self._ground, self._activity, self._total, self._noun, self._done = ground, activity, total, noun, 0

    def next(self, _item: str) -> None:
        """Say that one more is done."""
        self._done += 1
        elapsed = self._ground.task.clock.monotonic() - self._ground.began
        target = printable(self._ground.wish.target)
        total = max(self._total, self._done)
        self._ground.task.progress.show(
            Progress(target, self._activity, self._done, total, self._noun, elapsed, self._ground.means.max_time)
        )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != ".lock":
            entry.unlink()


def _passed(notices: tuple[str, ...]) -> tuple[Finding, ...]:
    if not notices:
        return ()
    text = f"{count_of(len(notices), 'table')} without new planner statistics: {notices[0]}"
    return (Finding("statistics", WARNING, text, len(notices), "tables"),)
