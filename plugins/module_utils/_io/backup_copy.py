# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Writes the copy of one database: a sentinel, the facts and the dump of one moment, the snapshot, and its proof."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from .._core.backup import MANIFEST, Copy, Source, copy_tags, read_catalog
from .._core.backup_manifest import (
    DIRECTORY,
    DUMP_FOLDER,
    GLOBALS_FILE,
    STREAM_FILE,
    DatabaseState,
    Manifest,
    Sentinel,
)
from .._core.backup_plan import Candidate
from .._core.errors import DatabaseFailed, InvalidValue, VerificationFailed
from .._core.redact import printable
from .._core.restic import Written
from .._core.result import WARNING, Finding
from .backup_dump import Dumper, DumpTerms, missing_data, read_globals, size_of
from .backup_facts import SharedSnapshot, read_shared, shared_snapshot
from .backup_sentinel import write_sentinel
from .backup_stream import Head, header, stream
from .database_belongings import read_own_belongings
from .postgres import Database, Target, connect, end_with_client, may_idle
from .postgres_tools import Login, Tool
from .restic import Restic
from .workspace import workspace

WORKSPACE = "pgbackup"

# phase, done, total: rows are counted by table, what is dumped or stored by bytes
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CopyTerms:
    """How to copy, for every database of a run."""

    staging_dir: str
    dump: DumpTerms
    checksum_rows: int
    globals: str
    sentinel: bool
    sentinel_keep: int
    application_version: Optional[str]
    migration_head_query: Optional[str]


@dataclass(frozen=True)
class Tools:
    """The programs; the one for roles is looked for only when it is needed."""

    pg_dump: Tool
    pg_dumpall: Callable[[], Tool]
    restic_version: str


@dataclass(frozen=True)
class Made:
    """A copy that was listed and read back."""

    copy: Copy
    manifest: Manifest
    added_bytes: int
    taken_at: datetime
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Draft:
    """A copy before its dump: whose it is, of which moment, and the files that go with it."""

    source: Source
    taken_at: datetime
    manifest: Manifest
    files: tuple[tuple[str, bytes], ...]
    findings: tuple[Finding, ...]
    estimate_bytes: int
    on_progress: OnProgress

    def on_bytes(self, size: int) -> None:
        """Tell how much is dumped."""
        self.on_progress("dump", size, self.estimate_bytes)


@dataclass(frozen=True)
class Copier:
    """Everything that the copies of one run have in common.

    ``ready`` waits for a repository that is being made; it raises what became of that.
    """

    target: Target
    login: Login
    restic: Restic
    tools: Tools
    terms: CopyTerms
    ready: Callable[[], None]

    def copy(self, source: Source, candidate: Candidate, sentinel: Optional[Sentinel], on_progress: OnProgress) -> Made:
        """Copy one database; a session that holds its lock must be open meanwhile.

        Raises:
            OpsError: there is no copy then, and nothing is left in the staging folder.
        """
        with workspace(WORKSPACE, self.terms.staging_dir) as folder, contextlib.ExitStack() as moment:
            sessions = [moment.enter_context(self._session(source.name)) for _unused in range(self.terms.dump.jobs)]
            shared = moment.enter_context(shared_snapshot(sessions[0], sessions[1:]))
            draft = self._draft(shared, source, candidate, sentinel, on_progress)
            dumper = Dumper(self.tools.pg_dump, self.login, self.terms.dump, source.name, shared.id)
            work = self._by_folder if candidate.form == DIRECTORY else self._by_stream
            copy, tags, written = work(draft, dumper, folder, moment.close)
        proven = self._prove(written, copy, tags, draft.files[0][1])
        proven = replace(proven, size_bytes=proven.size_bytes or written.size_bytes)
        return Made(proven, draft.manifest, written.added_bytes, shared.taken_at, draft.findings)

    def _by_folder(
        self, draft: _Draft, dumper: Dumper, folder: Path, end_of_moment: Callable[[], None]
    ) -> tuple[Copy, tuple[str, ...], Written]:
        """Dump into a folder; the moment is let go before restic reads it, so that the server can vacuum again."""
        place = _folder(folder, draft.files)
        dumper.to_folder(place / DUMP_FOLDER, draft.on_bytes)
        missing = missing_data(place / DUMP_FOLDER, len(draft.manifest.tables))
        if missing:
            raise VerificationFailed(
                f"back up {draft.source.label()}: pg_dump said that it was done, but {missing} is missing",
                code="incomplete",
                hint="look at the program in client_bin_dirs: is it pg_dump itself?",
            )
        end_of_moment()
        self.ready()
        copy = _copy(draft, size_of(place / DUMP_FOLDER))
        tags = _tags(copy)

        def tell(message: Mapping[str, Any]) -> None:
            draft.on_progress("store", int(message.get("bytes_done", 0)), int(message.get("total_bytes", 0)))

        host = draft.manifest.host
        return copy, tags, self.restic.backup(str(place), host=host, tags=tags, on_progress=tell)

    def _by_stream(
        self, draft: _Draft, dumper: Dumper, folder: Path, end_of_moment: Callable[[], None]
    ) -> tuple[Copy, tuple[str, ...], Written]:
        """Dump into the repository; the folder is only where pg_dump works, so that a later run can find it."""
        self.ready()
        copy = _copy(draft, None)
        tags, head = _tags(copy), Head(draft.manifest.host, draft.files)
        written = stream(self.restic, dumper, head, tags, str(folder), draft.on_bytes)
        end_of_moment()
        return copy, tags, written

    def _session(self, name: str) -> Database:
        """Open a session that may count for as long as a dump may take, and may idle while the dump runs."""
        database = connect(replace(self.target, statement_timeout=self.terms.dump.timeout), name)
        end_with_client(database)
        may_idle(database)
        return database

    def _draft(
        self,
        shared: SharedSnapshot,
        source: Source,
        candidate: Candidate,
        sentinel: Optional[Sentinel],
        on_progress: OnProgress,
    ) -> _Draft:
        database, found = shared.sessions[0], []
        head, problem = self._migration_head(database)
        if problem is not None:
            found.append(problem)
        state = read_shared(
            shared,
            checksum_rows=self.terms.checksum_rows,
            on_table=lambda done, total, _table: on_progress("count", done, total),
        )
        roles = read_globals(database, self.tools.pg_dumpall, self.login, self.target, self.terms.globals)
        if roles.warning:
            found.append(Finding("globals", WARNING, roles.warning, roles.how))
        manifest = Manifest(
            **_values_of(state),
            product=source.product,
            host=source.host,
            database=source.name,
            taken_at=shared.taken_at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            form=candidate.form,
            globals=roles.how,
            sentinel=sentinel,
            application_version=self.terms.application_version,
            migration_head=head,
            belongings=read_own_belongings(database),
            tools={"pg_dump": self.tools.pg_dump.version, "restic": self.tools.restic_version},
        )
        files = ((MANIFEST, manifest.to_json().encode()), (GLOBALS_FILE, roles.text.encode()))
        return _Draft(source, shared.taken_at, manifest, files, tuple(found), candidate.estimate_bytes, on_progress)

    def _migration_head(self, database: Database) -> tuple[Optional[str], Optional[Finding]]:
        """Ask for the migration head; the transaction reads only, and goes on when the question fails."""
        query = self.terms.migration_head_query
        if not query:
            return None, None
        try:
            database.execute("SAVEPOINT head")
            rows = database.fetch(query)
            database.execute("RELEASE SAVEPOINT head")
            if len(rows) != 1 or len(rows[0]) != 1:
                raise InvalidValue(f"it gives {len(rows)} rows, not one value")
            return str(next(iter(rows[0].values()))), None
        except (DatabaseFailed, InvalidValue) as error:
            if database.closed:
                raise
            if isinstance(error, DatabaseFailed):
                database.execute("ROLLBACK TO SAVEPOINT head")
            text = f"migration_head_query in {printable(database.dbname)}: {error.message}"
            return None, Finding("migration_head", WARNING, text, error.code)

    def _prove(self, written: Written, copy: Copy, tags: tuple[str, ...], facts: bytes) -> Copy:
        """Find the snapshot in the repository's own list, and its facts as they were written.

        Raises:
            VerificationFailed: it is not there, or not what was written; it is taken away then.
        """
        label = f"back up {copy.source.label()}: snapshot {written.snapshot[:8]}"
        skip, file = (0, MANIFEST) if copy.form == DIRECTORY else (len(header(MANIFEST, 0)), STREAM_FILE)
        with self.restic.reading(written.snapshot, f"/{file}") as chunks:  # each of the two derives the key for itself
            listed = [one for one in self.restic.snapshots() if one.id.startswith(written.snapshot)]
            if [one.tags for one in listed] != [tags]:
                raise VerificationFailed(f"{label} is not in the repository's list as it was written", hint="run again")
            found = b"".join(chunks) if copy.form == DIRECTORY else _beginning(chunks, skip + len(facts))
        if found[skip:] != facts:
            self.restic.forget([listed[0].id])
            raise VerificationFailed(
                f"{label} gives back other facts than were written, and was taken away",
                hint="check the repository: restic check --read-data",
            )
        return read_catalog(listed).copies[0]


def _beginning(chunks: Iterator[bytes], size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (chunk := next(chunks, b"")):
        found += chunk
    return bytes(found[:size])


def try_sentinel(database: Database, keep: int) -> tuple[Optional[Sentinel], Optional[Finding]]:
    """Write the sentinel where the server lets us; that it does not is no reason to have no copy."""
    try:
        return write_sentinel(database, keep), None
    except DatabaseFailed as error:
        name = printable(database.dbname)
        text = f"no sentinel was written into {name}: {error.message}; the copy says its age by its own stamp only"
        return None, Finding("sentinel", WARNING, text, error.code)


def free_bytes(path: str) -> int:
    """Return what an ordinary user can still write there; of a path that does not exist yet, its nearest parent."""
    place = Path(path).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _values_of(state: DatabaseState) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in fields(DatabaseState)}


def _folder(workspace_folder: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    place = workspace_folder / "copy"
    place.mkdir(mode=0o700)
    for name, data in files:
        path = place / name
        path.touch(mode=0o600)
        path.write_bytes(data)
    return place


def _copy(draft: _Draft, size: Optional[int]) -> Copy:
    manifest = draft.manifest
    return Copy("", draft.source, draft.taken_at, manifest.form, manifest.server.system_identifier, size)


def _tags(copy: Copy) -> tuple[str, ...]:
    """Return the tags with one that no other run has."""
    return (*copy_tags(copy), f"run={uuid.uuid4().hex}")
