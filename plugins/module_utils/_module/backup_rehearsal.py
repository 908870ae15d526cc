# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One rehearsal of a restore: a copy goes into a throwaway server, and what comes back is looked at."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterator, Optional

from .._core.backup import Copy
from .._core.backup_load import LoadError, bootstrap_name, globals_statements
from .._core.backup_manifest import Manifest, TableState
from .._core.backup_proof import Amcheck, Restored, host_trouble
from .._core.errors import DatabaseFailed, PreconditionFailed
from .._core.progress import Progress
from .._core.throwaway import server_settings
from .._core.units import count_of
from .._io.backup_check import (
    invalid_indexes,
    run_amcheck,
    uncreatable_extensions,
    unvalidated_constraints,
)
from .._io.backup_facts import read_state
from .._io.backup_fetch import Fetched, Head, fetch
from .._io.backup_load import Load, apply_globals, count_items, existing_roles, load_dump
from .._io.backup_sentinel import has_sentinel
from .._io.postgres import Database
from .._io.postgres_tools import Tool, login
from .._io.process import Account
from .._io.restic import Restic
from .._io.throwaway import ThrowawayServer, Workplace, host_resources, throwaway_server, workplace
from .copy_steps import Steps
from .run import Task

_DATABASE = "restored"
_SUPERUSER = "oncall_throwaway"
_LOAD_OPTIONS = ("--no-subscriptions", "--no-tablespaces")


@dataclass(frozen=True)
class Means:
    """What a rehearsal needs: the programs, where to work and as whom, and how long each part may take (seconds)."""

    head: Head
    server: Tool
    restore: Tool
    account: Optional[Account]
    work_dir: str
    jobs: int
    amcheck: bool
    timeout: float


class Rehearsal:
    """Fetch, load, check; each is a step whose time counts."""

    def __init__(self, task: Task, restic: Restic, copy: Copy, means: Means) -> None:
        self._task, self._copy, self._means = task, copy, means
        self._repository = restic.repository
        self._began = task.clock.monotonic()
        self.seconds: dict[str, float] = {}

    def run(self, steps: Steps) -> tuple[Manifest, Restored]:
        """Return what the copy says about itself and what was found.

        Raises:
            OpsError: the copy cannot be fetched, or this host could not do it; the code says which.
        """
        means = self._means
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(workplace(means.work_dir, means.account))
            with ThreadPoolExecutor(1) as pool:
                starting = pool.submit(stack.enter_context, self._server(place))  # while the copy is fetched
                with self._step(steps, "fetch") as note:
                    fetched = self._fetch(place)
                    note.detail = "read without restic's cache, checked by restic"
            with self._step(steps, "load") as note:
                server = starting.result()
                loaded = self._load(server, fetched)
                note.detail = f"server {means.server.version}, {count_of(len(loaded.errors), 'error')}"
            with self._step(steps, "check") as note:
                restored = self._check(server, fetched.manifest, loaded)
                note.detail = count_of(len(restored.state.tables), "table")
        return fetched.manifest, restored

    @contextlib.contextmanager
    def _step(self, steps: Steps, name: str) -> Iterator[Any]:
        self._show(name, 0, 1, "steps")
        with steps.doing(name) as note:
            yield note
        self.seconds[name] = steps.done[-1].duration_seconds

    def _fetch(self, place: Workplace) -> Fetched:
        """Read everything from the repository itself: a damage that restic's cache hides must be found.

        What is written is not read again: a file that this host spoilt would only make a good copy look bad.
        """
        folder = place.private / "copy"
        folder.mkdir(mode=0o700)
        restic = Restic(replace(self._repository, cache_dir=str(place.own / "cache")))
        return fetch(restic, self._copy, str(folder), self._means.account, verify=False)

    def _server(self, place: Workplace) -> Any:
        means = self._means
        superuser = bootstrap_name(list(globals_statements(means.head.globals_sql))) or _SUPERUSER
        settings = server_settings(means.server.major, host_resources(), means.jobs)
        return throwaway_server(means.server, place, superuser, settings, timeout=means.timeout, clock=self._task.clock)

    def _load(self, server: ThrowawayServer, fetched: Fetched) -> _Loaded:
        means, manifest = self._means, fetched.manifest
        with server.connect() as session:
            locale_note = server.create_database(session, _DATABASE, manifest.server)
        with server.connect(_DATABASE) as session:  # roles are found by their names in the encoding of the copy
            globals_errors = apply_globals(session, globals_statements(fetched.globals_sql))
            quoted = session.quote(server.superuser)
            session.execute(f"ALTER ROLE {quoted} LOGIN CONNECTION LIMIT -1")
            session.execute(f"ALTER ROLE {quoted} RESET ALL")  # what it is set to is for the real server
            roles = existing_roles(session)
            if manifest.owner in roles:
                session.execute(f"ALTER DATABASE {_DATABASE} OWNER TO {session.quote(manifest.owner)}")
        with login(server.target(), means.account) as entry:
            load = Load(
                means.restore, entry, _DATABASE, means.jobs, means.timeout, _LOAD_OPTIONS, stop_at_error=False,
                account=means.account, cwd=str(server.place.private),
            )  # fmt: skip
            errors = load_dump(load, fetched.dump, self._item_counter(load, fetched.dump))
        trouble = host_trouble(errors)
        if trouble:
            raise PreconditionFailed(
                f"the throwaway server gave up: {trouble}", code="throwaway_failed", hint="see work_dir and memory"
            )
        return _Loaded(errors, globals_errors, roles, locale_note)

    def _item_counter(self, load: Load, dump: str) -> Optional[Callable[[str], None]]:
        if not self._task.progress.wanted:
            return None
        total, done = count_items(load, dump), 0

        def count(item: str) -> None:
            nonlocal done
            done = min(done + 1, total)
            self._show(f"load {item}", done, total, "objects")

        return count

    def _check(self, server: ThrowawayServer, manifest: Manifest, loaded: _Loaded) -> Restored:
        def show(done: int, total: int, _table: TableState) -> None:
            self._show("check", done, total, "tables")

        with contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(server.connect(_DATABASE)) for _job in range(self._means.jobs)]
            first = sessions[0]
            state = read_state(first, like=manifest, helpers=sessions[1:], on_table=show)
            scratch = stack.enter_context(server.connect())
            return Restored(
                state=state,
                roles=loaded.roles,
                load_errors=loaded.errors,
                globals_errors=loaded.globals_errors,
                uncreatable=uncreatable_extensions(scratch, manifest, state.extensions),
                locale_note=loaded.locale_note,
                unvalidated=unvalidated_constraints(first),
                invalid_indexes=invalid_indexes(first),
                sentinel_found=has_sentinel(first, manifest.sentinel) if manifest.sentinel else None,
                amcheck=self._amcheck(sessions),
            )

    def _amcheck(self, sessions: list[Database]) -> Optional[Amcheck]:
        if not self._means.amcheck:
            return None
        try:
            return run_amcheck(sessions)
        except DatabaseFailed as error:
            return Amcheck(unavailable=error.message)

    def _show(self, activity: str, done: int, total: int, noun: str) -> None:
        elapsed = self._task.clock.monotonic() - self._began
        name = self._copy.source.name
        self._task.progress.show(Progress(name, activity, done, total, noun, elapsed))


@dataclass(frozen=True)
class _Loaded:
    errors: tuple[LoadError, ...]
    globals_errors: tuple[LoadError, ...]
    roles: frozenset[str]
    locale_note: str
