# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Keep what a restore of files replaces, in a folder that only its user may read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Iterator, Optional

from .._core.config_copy import FILE, Entry
from .._core.config_copy_restore import UNDONE, Change, ConfigRecord, Kept, read_config_record
from .._core.errors import LockBusy, PreconditionFailed, VerificationFailed
from .._core.redact import printable
from .._core.sealed import next_id
from .config_copy_read import open_regular
from .config_copy_write import failing, folder_of, look


def default_undo_folder() -> Path:
    """Return where the old files are kept."""
    if os.geteuid() == 0:
        return Path("/var/lib/oncall-runbooks/config-undo")
    return Path("~/.local/state/oncall-runbooks/config-undo").expanduser()


class UndoStore:
    """Old files and records, one folder each restore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the store: two restores at once would keep each other's half as the old state.

        Raises:
            LockBusy: another restore is at work.
        """
        with failing("make", str(self._folder)):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_ours()
            lock = os.open(self._folder / ".lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LockBusy("another restore of files is at work", hint="wait for it") from error
            yield
        finally:
            os.close(lock)

    def _require_ours(self) -> None:
        status = self._folder.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or self._folder.is_symlink():
            raise PreconditionFailed(
                f"{self._folder} belongs to somebody else, or others may look into it",
                code="insecure_directory",
                hint="chown it to the user who restores and chmod it to 0700",
            )

    def newest(self, host: str, name: str, standing: bool) -> Optional[ConfigRecord]:
        """Return the newest restore that wrote, also one that was interrupted; ``standing``: not undone since.

        Raises:
            PreconditionFailed: a record cannot be read (code ``record_unreadable``), or could be somebody else's.
        """
        if not self._folder.exists():
            return None
        self._require_ours()
        records = []
        for path in self._folder.glob("*/record.json"):
            try:
                records.append(read_config_record(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                raise PreconditionFailed(
                    f"the record {path} cannot be read", code="record_unreadable", hint="move its folder away"
                ) from error
        here = [one for one in records if (one.host, one.name) == (host, name) and one.touched()]
        return max((one for one in here if one.state != UNDONE or not standing), key=lambda one: one.id, default=None)

    def next_id(self, now: datetime, host: str, name: str) -> str:
        """Return the id of the next restore, whose order is that of the ids."""
        newest = self.newest(host, name, standing=False)
        return next_id(now, None if newest is None else newest.id)

    def keep(self, record_id: str, number: int, change: Change) -> Kept:
        """Store what a change is about to replace.

        Raises:
            VerificationFailed: it changed since it was looked at.
        """
        present, wanted = change.present, change.wanted
        stored = ""
        if present is not None and present.kind == FILE:
            stored = str(number)
            self._store(record_id, stored, present, change.root)
        elif look(wanted.path, change.root) != present:
            raise _moved(wanted.path)
        return Kept(wanted.path, change.root, present, wanted, stored)

    def _store(self, record_id: str, stored: str, present: Entry, root: str) -> None:
        target = self._folder / record_id / stored
        with failing("keep", present.path):
            try:
                with folder_of(present.path, root) as place:
                    _copy(place, target)
            except FileNotFoundError as error:
                raise _moved(present.path) from error
        if look(present.path, root) != present:
            raise _moved(present.path)

    @contextlib.contextmanager
    def content(self, record: ConfigRecord, kept: Kept) -> Iterator[Optional[BinaryIO]]:
        """Give the old content of a path, None where it had none of its own."""
        if not kept.stored:
            yield None
            return
        with failing("read what was kept of", kept.path), (self._folder / record.id / kept.stored).open("rb") as stream:
            yield stream

    def note(self, record: ConfigRecord) -> None:
        """Write a record, durably and at once whole."""
        folder = self._folder / record.id
        with failing("write the record in", str(folder)):
            folder.mkdir(mode=0o700, exist_ok=True)
            partial = folder / "record.json.partial"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(record.to_json())
                stream.flush()
                os.fsync(descriptor)
            partial.replace(folder / "record.json")


def _copy(place: tuple[int, str], target: Path) -> None:
    with open_regular(*place) as (source, _status):
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(os.dup(source), "rb") as content, os.fdopen(copy, "wb") as stream:
            shutil.copyfileobj(content, stream)
            stream.flush()
            os.fsync(copy)


def _moved(path: str) -> VerificationFailed:
    return VerificationFailed(f"{printable(path)} was changed by somebody else a moment ago", hint="run it again")
