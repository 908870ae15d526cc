# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Keep the state of log reading in a file of this host: private, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any, Mapping

from .._core.errors import CommandFailed
from .._core.log_state import BadState
from .._core.redact import printable

_LARGEST = 16 << 20


def load_state(path: str) -> Any:
    """Return what is in the file; None when there is none.

    Raises:
        BadState: it is somebody else's, a link, too large or no JSON: it must not be relied on.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadState(f"{printable(path)} cannot be opened: {error.strerror}") from error
    with os.fdopen(fd, "rb") as handle:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise BadState(f"{printable(path)} is not a file that its owner alone, who runs this, may write")
        if status.st_size > _LARGEST:
            raise BadState(f"{printable(path)} is too large to be a state")
        try:
            return json.loads(handle.read())
        except (ValueError, RecursionError) as error:
            raise BadState(f"{printable(path)} holds no state: {printable(str(error), 100)}") from error


def save_state(path: str, state: Mapping[str, Any]) -> None:
    """Write the file with mode 0600, on the disk before it takes the old one's place.

    Raises:
        CommandFailed: it cannot be written (code ``state_not_saved``); the old one is as it was.
    """
    partial = Path(f"{path}.partial")
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as handle:
                json.dump(state, handle, separators=(",", ":"))
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    except OSError as error:
        raise CommandFailed(
            f"save the state in {printable(path)}: {error.strerror}",
            code="state_not_saved",
            hint="the folder must be there and belong to who runs this; the next run reads the same lines again",
        ) from error
