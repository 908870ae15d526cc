# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Where the content of files waits for restic: copied, or as a second link to the same file.

Links cost neither time nor room, for trees of thousands of uploads. What is written into such a file in place, after
it was read, would get into the repository and differ from its facts: that is looked for afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import BinaryIO, Iterator

from .._core.config_copy import ConfigManifest, name_some
from .._core.errors import PreconditionFailed
from .config_copy_read import Incomplete, Sink
from .config_copy_write import failing


class CopyStage:
    """Copies, each at its own path below one folder of our user alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def open(self, path: str, _source: int) -> Iterator[Sink]:
        """Give what takes the content of a file."""
        target = self._place(path)
        with failing("stage", path):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                yield _Writer(stream, path)

    def check(self, _manifest: ConfigManifest) -> None:
        """Do nothing: nobody else can change a copy."""

    def _place(self, path: str) -> Path:
        target = Path(str(self._root) + path)
        with failing("stage", path):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return target


class LinkStage(CopyStage):
    """Second links to the very files that were read."""

    @contextlib.contextmanager
    def open(self, path: str, source: int) -> Iterator[Sink]:
        """Take no content, and link the open file when it was read whole.

        Raises:
            PreconditionFailed: it lies on another file system (code ``other_filesystem``).
        """
        yield lambda _chunk: None
        target = self._place(path)
        with failing("stage", path):
            target.unlink(missing_ok=True)
            try:
                os.link(f"/proc/self/fd/{source}", target, src_dir_fd=source, follow_symlinks=True)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                raise PreconditionFailed(
                    f"{name_some([path])} is on another file system than the staging folder: it cannot be linked",
                    code="other_filesystem",
                    hint="choose a staging_dir on the same file system, or staging copy",
                ) from error

    def check(self, manifest: ConfigManifest) -> None:
        """Make sure that nothing was written into a file since it was read.

        Raises:
            Incomplete: something was.
        """
        changed = []
        for entry in manifest.files():
            status = self._place(entry.path).stat()
            if (status.st_size, status.st_mtime_ns) != (entry.size_bytes, entry.mtime_ns):
                changed.append(entry.path)
        if changed:
            raise Incomplete(
                f"changed while they were stored, so that nothing was kept: {name_some(changed)}",
                hint="run it again; choose staging copy for files that are written in place",
                details={"paths": changed[:100]},
            )


class _Writer:
    """Writes chunks; trouble with our own copy is no trouble with the source."""

    def __init__(self, stream: BinaryIO, path: str) -> None:
        self._stream = stream
        self._path = path

    def __call__(self, chunk: bytes) -> None:
        with failing("stage", self._path):
            self._stream.write(chunk)
