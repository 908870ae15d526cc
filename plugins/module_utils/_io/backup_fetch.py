# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Get a copy of a database out of the repository: its facts, its globals and its dump, each as it was sealed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Iterator, Optional

from .._core.backup import MANIFEST, Copy
from .._core.backup_manifest import (
    DIRECTORY,
    DUMP_FOLDER,
    DUMP_PART,
    GLOBALS_FILE,
    SEAL_FILE,
    STREAM,
    STREAM_FILE,
    Manifest,
    read_manifest,
)
from .._core.errors import VerificationFailed
from .process import Account
from .restic import Restic

_CHUNK_BYTES = 1 << 20
_DUMP_FILE = "dump.custom"


@dataclass(frozen=True)
class Head:
    """What can be read of a copy without its data."""

    manifest: Manifest
    globals_sql: str


@dataclass(frozen=True)
class Fetched:
    """A copy that lies on this host; ``dump`` is what pg_restore takes: a folder (-Fd) or a file (-Fc)."""

    manifest: Manifest
    globals_sql: str
    dump: str


def read_head(restic: Restic, copy: Copy) -> Head:
    """Return the facts and the globals of a copy without fetching its dump.

    Raises:
        RepositoryFailed: the repository cannot give them.
        PreconditionFailed: the facts cannot be read (``manifest_unreadable``).
        VerificationFailed: a part is missing (``incomplete``), or these are the facts of another copy.
    """
    if copy.form == STREAM:
        with _members(restic, copy, lock=False) as members:
            return _read_stream_head(members, copy)
    with tempfile.TemporaryDirectory(prefix="oncall-head-") as folder:  # in one go: each call of restic costs a key
        restic.restore(copy.id, folder, [f"/{MANIFEST}", f"/{GLOBALS_FILE}"], verify=False, lock=False)
        return _read_files(Path(folder), copy)


def fetch(restic: Restic, copy: Copy, folder: str, account: Optional[Account] = None, verify: bool = True) -> Fetched:
    """Write a copy into an empty folder of mode 0700; ``account`` is whom its files belong to afterwards.

    A stream becomes one file, so that it can be loaded by several jobs. ``verify``: files are read again and compared;
    what the repository gives is checked in any case. Raises as ``read_head`` and ``feed``.
    """
    place = Path(folder)
    if copy.form == STREAM:
        path = place / _DUMP_FILE
        with path.open("xb") as file, _members(restic, copy) as members:
            head = _read_stream_head(members, copy)
            _read_parts(members, file.write)
    elif copy.form == DIRECTORY:
        restic.restore(copy.id, folder, verify=verify)
        path = place / DUMP_FOLDER
        head = _read_folder(place, copy)
    else:
        raise VerificationFailed(f"fetch {copy.source.label()}: unknown form {copy.form!r}", code="manifest_unreadable")
    if account is not None and os.geteuid() == 0:
        _give(place, account)
    return Fetched(head.manifest, head.globals_sql, str(path))


def feed(restic: Restic, copy: Copy, write: Callable[[bytes], Any]) -> int:
    """Hand over the dump of a stream piece by piece, without a file, and return its size in bytes.

    Raises:
        RepositoryFailed: the repository cannot give it.
        VerificationFailed: it is not whole (``incomplete``), or not what was sealed (``verification_failed``). Only
            the end tells: what was made of it must be thrown away then.
    """
    with _members(restic, copy) as members:
        _read_stream_head(members, copy)
        return _read_parts(members, write)


def _read_folder(place: Path, copy: Copy) -> Head:
    head = _read_files(place, copy)
    if not (place / DUMP_FOLDER / "toc.dat").is_file():
        raise _incomplete(copy, f"{DUMP_FOLDER}/toc.dat")
    return head


def _read_files(place: Path, copy: Copy) -> Head:
    texts = []
    for name in (MANIFEST, GLOBALS_FILE):
        try:
            texts.append((place / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise _incomplete(copy, name) from error
    return _head(texts[0], texts[1], copy)


def _head(manifest_text: str, globals_sql: str, copy: Copy) -> Head:
    manifest, source = read_manifest(manifest_text), copy.source
    if (manifest.product, manifest.host, manifest.database) != (source.product, source.host, source.name):
        raise VerificationFailed(
            f"fetch {source.label()}: the facts in it are of {manifest.database} of {manifest.host}",
            hint="somebody changed tags of the snapshot, or swapped its contents; choose another copy",
        )
    return Head(manifest, globals_sql)


def _incomplete(copy: Copy, what: str) -> VerificationFailed:
    return VerificationFailed(
        f"fetch {copy.source.label()}, copy {copy.id[:8]}: {what} is missing in it",
        code="incomplete",
        hint="the copy is useless; choose another one",
    )


# --- the stream -------------------------------------------------------------------------------------------------


class _Members:
    """The files of a stream in the order in which they come; each must be read before the next one."""

    def __init__(self, archive: tarfile.TarFile, copy: Copy) -> None:
        self._archive = archive
        self.copy = copy

    def next(self) -> tuple[str, IO[bytes]]:
        """Return the next name and what to read it from; the name "" at the end."""
        member = self._archive.next()
        if member is None:
            return "", io.BytesIO()
        return member.name, self._archive.extractfile(member) or io.BytesIO()

    def read(self, name: str) -> str:
        """Return the text of the next file, which must have this name."""
        found, file = self.next()
        if found != name:
            raise _incomplete(self.copy, name)
        return file.read().decode("utf-8", "replace")


@contextlib.contextmanager
def _members(restic: Restic, copy: Copy, lock: bool = True) -> Iterator[_Members]:
    with contextlib.closing(restic.read_chunks(copy.id, f"/{STREAM_FILE}", _CHUNK_BYTES, lock)) as chunks:
        try:
            with tarfile.open(fileobj=_Source(chunks), mode="r|", bufsize=_CHUNK_BYTES) as archive:
                yield _Members(archive, copy)
        except tarfile.TarError as error:
            for _chunk in chunks:  # to its end: what restic has to say explains more than a torn archive
                pass
            raise _incomplete(copy, f"the rest of {STREAM_FILE}") from error


class _Source(io.RawIOBase):
    """Reads from an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def _read_stream_head(members: _Members, copy: Copy) -> Head:
    manifest_text = members.read(MANIFEST)
    return _head(manifest_text, members.read(GLOBALS_FILE), copy)


def _read_parts(members: _Members, write: Callable[[bytes], Any]) -> int:
    digest, size, number = hashlib.sha256(), 0, 0
    while True:
        name, file = members.next()
        if name != f"{DUMP_PART}.{number:06d}":
            break
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            write(chunk)
            size += len(chunk)
        number += 1
    if name != SEAL_FILE:
        raise _incomplete(members.copy, f"{DUMP_PART}.{number:06d}")
    seal = json.loads(file.read())
    if members.next()[0]:
        raise _incomplete(members.copy, "the end after the seal")
    if (seal["size_bytes"], seal["sha256"]) != (size, digest.hexdigest()):
        raise VerificationFailed(
            f"fetch {members.copy.source.label()}, copy {members.copy.id[:8]}: not what was sealed",
            hint="the copy is useless; choose another one",
            details={"size_bytes": size, "sealed_size_bytes": seal["size_bytes"]},
        )
    return size


def _give(folder: Path, account: Account) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)
