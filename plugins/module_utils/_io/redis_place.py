# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Put an RDB in the place of a stopped server's data, by renames, so that the old data can be put back as fast.

Everything of one restore lies in ``<data folder>/oncall-restore-<id>/``: ``record.json``, ``new`` (made before the
server is stopped), ``old`` (what was there), ``undone`` (what an undo took away). The same file system: a rename.
The folder belongs to who restores, the data in it to the owner of the data folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Iterator, Optional

from .._core.errors import LockBusy, OpsError, PreconditionFailed
from .._core.redis_copy_restore import RESTORED, UNDONE, LiveServer, RestoreRecord, read_record
from .._core.sealed import next_id

_PREFIX = "oncall-restore-"
_SERVERS = ("redis-", "valkey-", "keydb-")
_LOCK = ".oncall-restore.lock"
_CODES = {errno.ENOSPC: "disk_full", errno.EACCES: "insufficient_privilege", errno.EROFS: "read_only"}


class PlaceFailed(OpsError):
    """The files could not be put in place."""

    default_code = "place_failed"


@dataclass(frozen=True)
class Place:
    """The data folder of a server. Data belongs to the folder's owner, as the server needs it."""

    directory: Path

    def check(self) -> None:
        """Make sure that files can be put there.

        Raises:
            PreconditionFailed: there is no such folder, or it must not be written to.
        """
        if not self.directory.is_dir() or not os.access(self.directory, os.R_OK | os.W_OK | os.X_OK):
            raise PreconditionFailed(
                f"the server's folder {self.directory} is not here, or must not be written to",
                code="insufficient_privilege",
                hint="run on the server's host as root or as the server's user; a managed server can't be restored so",
            )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder: two restores into it at once would lose the undo of one of them.

        Raises:
            LockBusy: another restore is at work there.
        """
        with _failing("lock", self.directory):
            lock = os.open(self.directory / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LockBusy(f"another restore is at work in {self.directory}", hint="wait for it") from error
            yield
        finally:
            os.close(lock)

    def newest_record(self, standing: bool) -> Optional[RestoreRecord]:
        """Return the newest restore that touched the data, None when there was none; ``standing``: not undone since.

        One that was prepared and never begun has no record, and is only a folder to throw away.

        Raises:
            PreconditionFailed: a record is damaged (``record_unreadable``) or somebody else's (``insecure_directory``).
        """
        found = []
        for path in self.directory.glob(f"{_PREFIX}*"):
            with _failing(f"read {path.name}", self.directory), self._opened(path.name) as folder:
                if (folder / "record.json").exists():
                    found.append(_read(folder / "record.json", path))
        wanted = [record for record in found if record.state != UNDONE or not standing]
        return max(wanted, key=lambda record: record.id, default=None)

    def next_id(self, now: datetime) -> str:
        """Return the id of the next restore, whose order is that of the ids."""
        newest = self.newest_record(standing=False)
        return next_id(now, None if newest is None else newest.id)

    def prepare(self, record: RestoreRecord, live: LiveServer, rdb: Path) -> None:
        """Copy the RDB beside the data, in the form that the server will read."""
        contents: dict[str, Optional[str]] = {live.filename: None, **(live.aof.files() if live.aof else {})}
        with _failing("prepare", self.directory):
            self._clear_unbegun()
            (self.directory / _name_of(record)).mkdir(mode=0o700)
            with self._opened(_name_of(record)) as folder:
                for sub in ("new", "old", "undone"):
                    (folder / sub).mkdir(mode=0o700)
                for name, text in contents.items():
                    target = folder / "new" / name
                    if not target.parent.exists():
                        target.parent.mkdir(mode=0o700)
                        self._hand_over(target.parent, 0o700)
                    if text is None:
                        shutil.copyfile(rdb, target)
                    else:
                        target.write_text(text, encoding="utf-8")
                    self._hand_over(target, 0o600)

    def swap(self, record: RestoreRecord) -> None:
        """Rename the old data aside and the new into its place. The record is written first."""
        self.note(record)
        with _failing("put the copy in place", self.directory), self._opened(_name_of(record)) as folder:
            for name in record.placed:
                if os.path.lexists(self.directory / name):
                    (self.directory / name).rename(folder / "old" / name)
                (folder / "new" / name).rename(self.directory / name)
            _sync(self.directory)

    def put_back(self, record: RestoreRecord) -> None:
        """Undo ``swap`` from wherever it stopped; what was restored is kept in ``undone``."""
        with _failing("put the old data back", self.directory), self._opened(_name_of(record)) as folder:
            for name in record.placed:
                placed = not (folder / "new" / name).exists()
                taken = (folder / "undone" / name).exists()
                if placed and not taken and os.path.lexists(self.directory / name):
                    (self.directory / name).rename(folder / "undone" / name)
                if os.path.lexists(folder / "old" / name):
                    (folder / "old" / name).rename(self.directory / name)
            _sync(self.directory)
        self.note(record.with_state(UNDONE))

    def note(self, record: RestoreRecord) -> None:
        """Write the record, durably and at once whole."""
        with _failing("write the record", self.directory), self._opened(_name_of(record)) as folder:
            partial = folder / "record.json.partial"
            partial.write_text(record.to_json(), encoding="utf-8")
            partial.chmod(0o600)
            _sync(partial)
            partial.replace(folder / "record.json")
            _sync(folder)

    def is_touched(self, record: RestoreRecord) -> bool:
        """Tell whether a file of the server was renamed, or put there, by this restore."""
        with _failing("look into the restore", self.directory), self._opened(_name_of(record)) as folder:
            placed = any(not os.path.lexists(folder / "new" / name) for name in record.placed)
            return placed or any((folder / "old").iterdir())

    def forget(self, record: RestoreRecord) -> None:
        """Take the record of a restore that has touched nothing away, so that it never was; else leave it."""
        if not self.is_touched(record):
            with _failing("take the record away", self.directory), self._opened(_name_of(record)) as folder:
                (folder / "record.json").unlink()

    def finish(self, record: RestoreRecord) -> None:
        """Say that the restore is over."""
        self.note(record.with_state(RESTORED))

    def discard(self, record: RestoreRecord) -> None:
        """Throw away a restore that never began."""
        folder = self.directory / _name_of(record)
        if not (folder / "record.json").exists():
            shutil.rmtree(folder, ignore_errors=True)

    def present(self, live: LiveServer) -> tuple[str, ...]:
        """Return which of the server's files are there."""
        return tuple(name for name in live.entries() if (self.directory / name).exists())

    def user_of(self) -> Optional[int]:
        """Return the server whose working directory this is: a server changes into its data folder."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name = (process / "comm").read_text(encoding="utf-8")
                if name.startswith(_SERVERS) and (process / "cwd").readlink() == self.directory.resolve():
                    return int(process.name)
        return None

    def _clear_unbegun(self) -> None:
        for folder in self.directory.glob(f"{_PREFIX}*"):
            if not (folder / "record.json").exists():
                shutil.rmtree(folder)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[Path]:
        """Give the way to a restore's folder by a descriptor: who owns the data folder could rename things in it.

        Raises:
            PreconditionFailed: it is not ours; what is in it must not be believed (code ``insecure_directory``).
        """
        folder = os.open(self.directory / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise PreconditionFailed(
                    f"{self.directory / name} belongs to somebody else, or others may look into it",
                    code="insecure_directory",
                    hint="run as the user who restored, or move it away when it is not of a restore",
                )
            yield Path(f"/proc/self/fd/{folder}")
        finally:
            os.close(folder)

    def _hand_over(self, path: Path, mode: int) -> None:
        owner = self.directory.stat()
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        _sync(path)


def _read(record: Path, shown: Path) -> RestoreRecord:
    try:
        return read_record(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PreconditionFailed(
            f"the record in {shown} cannot be read", code="record_unreadable", hint="move it away"
        ) from error


def _name_of(record: RestoreRecord) -> str:
    return f"{_PREFIX}{record.id}"


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def _failing(what: str, directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlaceFailed(
            f"{what} in {directory}: {error.strerror}",
            code=_CODES.get(error.errno or 0, "place_failed"),
            hint="mend the folder, then run it again; what is there is told in its record.json",
            details={"errno": error.errno},
        ) from error
