# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Write the report's files: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Optional

from .._core.errors import OpsError


class ReportNotWritten(OpsError):
    """The file system refused."""

    default_code = "report_not_written"


def read_text(path: Path) -> Optional[str]:
    """Return a file's text, or None when there is none that can be read as one.

    Raises:
        ReportNotWritten: what is there is no file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ReportNotWritten(f"{path} is no regular file", hint="give another folder, or another name")
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise refused("read", path, error) from error


def mode_of(path: Path) -> Optional[int]:
    """Return a file's permissions, or None when there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def make_folder(path: Path) -> None:
    """Make a folder with its parents.

    Raises:
        ReportNotWritten: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused("make", path, error) from error


def write_text(path: Path, text: str, mode: int) -> None:
    """Write a file by temporary file and rename; it is on the disk before it has its name.

    Raises:
        ReportNotWritten: the old file is still there, whole.
    """
    partial = ""
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(partial).replace(path)
    except OSError as error:
        raise refused("write", path, error) from error
    finally:
        if partial:
            Path(partial).unlink(missing_ok=True)


def refused(what: str, path: Path, error: OSError) -> ReportNotWritten:
    """Return the failure for what the file system said."""
    hint = "see that the folder exists, belongs to the user who runs the playbook, and has room"
    return ReportNotWritten(f"{what} {path}: {error.strerror}", hint=hint)
