"""Copies of databases with their facts, sound ones and ones that are not what their facts say."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from plugins.module_utils._core.backup import POSTGRESQL, Copy, Source, copy_tags
from plugins.module_utils._core.backup_manifest import Manifest
from plugins.module_utils._io.backup_facts import read_state
from plugins.module_utils._io.backup_sentinel import write_sentinel
from plugins.module_utils._io.database_belongings import read_own_belongings
from plugins.module_utils._io.postgres import Target, connect
from tests.support.copies import full_id
from tests.support.repositories import TestRepository
from tests.support.servers import Database, client_bin_dir

PART_BYTES = 64 * 1024


def source_of(database: Database) -> Source:
    return Source("shop", "db1", POSTGRESQL, database.name)


def add_database_copy(
    repository: TestRepository,
    database: Database,
    *,
    form: str = "directory",
    damage: Callable[[], object] | None = None,
    on_folder: Callable[[Path], object] | None = None,
    tags: Callable[[Copy], Copy] = lambda copy: copy,
    **facts: Any,
) -> str:
    """Write a copy and return its full id.

    ``damage`` changes the database after its facts were read and before it is dumped, ``on_folder`` changes what is
    about to be stored, ``facts`` replaces single ones.
    """
    manifest = replace(read_manifest_of(database), form=form, **facts)
    if damage is not None:
        damage()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        folder.mkdir()
        size = (write_directory if form == "directory" else write_stream)(folder, database, manifest)
        if on_folder is not None:
            on_folder(folder)
        source = source_of(database)
        taken = datetime.strptime(manifest.taken_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        copy = tags(Copy("", source, taken, form, manifest.server.system_identifier, size))
        written = repository.restic.backup(str(folder), host=source.host, tags=copy_tags(copy))
        return full_id(repository, written.snapshot)


def read_manifest_of(database: Database) -> Manifest:
    parameters = {"host": database.server.host, "port": database.server.port, "user": database.server.superuser}
    with connect(Target(parameters, "test"), database.name) as session:
        sentinel = write_sentinel(session, 3)
        state = read_state(session)
        belongings = read_own_belongings(session)
    return Manifest(
        **{name: getattr(state, name) for name in asdict(state)},
        product="shop",
        host="db1",
        database=database.name,
        taken_at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        form="",
        globals="complete",
        sentinel=sentinel,
        belongings=belongings,
        tools={"pg_dump": run(database, "pg_dump", "--version").split()[2]},
    )


def run(database: Database, program: str, *arguments: str) -> str:
    path = client_bin_dir(database.server.major) / program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def login(database: Database) -> list[str]:
    return [
        f"--host={database.server.host}",
        f"--port={database.server.port}",
        f"--username={database.server.superuser}",
    ]


def write_directory(folder: Path, database: Database, manifest: Manifest) -> int:
    dump = folder / "dump"
    run(database, "pg_dump", *login(database), "-Fd", "-Z0", "-j2", f"--file={dump}", database.name)
    (folder / "manifest.json").write_text(manifest.to_json())
    (folder / "globals.sql").write_text(run(database, "pg_dumpall", *login(database), "--globals-only"))
    return sum(path.stat().st_size for path in dump.iterdir())


def write_stream(folder: Path, database: Database, manifest: Manifest) -> int:
    dump = folder.parent / "dump.custom"
    run(database, "pg_dump", *login(database), "-Fc", "-Z0", f"--file={dump}", database.name)
    data = dump.read_bytes()
    seal = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    members = [("manifest.json", manifest.to_json().encode())]
    members.append(("globals.sql", run(database, "pg_dumpall", *login(database), "--globals-only").encode()))
    pieces = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    members += [(f"dump.part.{number:06d}", piece) for number, piece in enumerate(pieces)]
    write_tar(folder / "stream.tar", [*members, ("seal.json", json.dumps(seal).encode())])
    return len(data)


def rewrite_facts(**changes: Any) -> Callable[[Path], None]:
    """Return what changes single facts of a copy that is about to be stored."""

    def rewrite(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return rewrite


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def read_tar(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
