# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decides how each database is copied: through a folder that deduplicates well, or as a stream that needs no room."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Optional, Sequence

from .backup_manifest import DIRECTORY, STREAM
from .errors import OpsError, PreconditionFailed
from .redact import printable
from .result import CRITICAL, OK, WARNING, Action, Finding
from .units import count_of, human_duration, human_size, rfc3339

AUTO = "auto"
MODES = (AUTO, DIRECTORY, STREAM)
REPOSITORY_STEP = "repository:create"
_SHOWN = 5
_MARGIN_RATIO, _MARGIN_BYTES = 1.2, 64 << 20
_REMOTE = re.compile(r"^(?!local:)[a-z0-9]+:")
# A later copy adds what changed; a tenth is much for one day, and a quarter of it is left after compression.
_NEW_SHARE, _LEAST_SHARE = 0.1, 0.25


@dataclass(frozen=True)
class Room:
    """Free bytes where copies go; None: it cannot be known (the repository is remote)."""

    staging_dir: str
    staging_bytes: int
    repository_bytes: Optional[int] = None


@dataclass(frozen=True)
class Candidate:
    """One database to copy. ``estimate_bytes``: its dump without compression. ``blocked``: why it can't be copied."""

    name: str
    size_bytes: int = 0
    estimate_bytes: int = 0
    newest: Optional[datetime] = None
    blocked: Optional[OpsError] = None
    form: str = ""

    @property
    def step_id(self) -> str:
        """Return the id of its action."""
        return f"backup:{self.name}"

    @property
    def sentinel_id(self) -> str:
        """Return the id of the action that writes its sentinel."""
        return f"sentinel:{self.name}"


def estimate_dump(table_bytes: int, toast_bytes: int) -> int:
    """Return how large a dump without compression can get, in bytes.

    Tables without indexes; what is stored out of line counts three times, because it is mostly compressed there, and
    binary data doubles in a dump.

    >>> estimate_dump(100, 10)
    120
    """
    return table_bytes + 2 * toast_bytes


def needed_bytes(estimate: int) -> int:
    """Return the room that a dump must find, with a margin.

    >>> needed_bytes(0) == 64 << 20
    True
    """
    return int(estimate * _MARGIN_RATIO) + _MARGIN_BYTES


def plan_form(candidate: Candidate, mode: str, room: Room) -> Candidate:
    """Return the candidate with its form, or blocked (``not_enough_space``) when it fits nowhere."""
    if candidate.blocked is not None:
        return candidate
    needed = needed_bytes(candidate.estimate_bytes)
    fits = needed <= room.staging_bytes
    if mode == DIRECTORY and not fits:
        hint = "make room, choose another staging_dir, or use mode: stream, which needs no staging folder"
        blocked = _no_room(candidate.name, "its dump", needed, room.staging_dir, room.staging_bytes, hint)
        return replace(candidate, form=DIRECTORY, blocked=blocked)
    form = STREAM if mode == STREAM or not fits else DIRECTORY
    least = int(_worth(candidate) * _LEAST_SHARE)
    if room.repository_bytes is not None and room.repository_bytes < least:
        hint = "make room where the repository is, or let backup_retention remove old copies"
        blocked = _no_room(candidate.name, "its copy at least", least, "the repository", room.repository_bytes, hint)
        return replace(candidate, form=form, blocked=blocked)
    return replace(candidate, form=form)


def _worth(candidate: Candidate) -> int:
    """Return how much a copy may add to the repository."""
    return int(candidate.estimate_bytes * (1 if candidate.newest is None else _NEW_SHARE))


def _no_room(name: str, what: str, needs: int, where: str, has: int, hint: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"back up {printable(name)}: {what} needs {human_size(needs)}, {where} has {human_size(has)} free",
        code="not_enough_space",
        hint=hint,
        details={"needed_bytes": needs, "free_bytes": has},
    )


def action_of(candidate: Candidate, command: str) -> Action:
    """Return the action for one database; ``command`` is the dump's command line."""
    reason = "there is no copy of it yet"
    if candidate.newest is not None:
        reason = f"its newest copy is of {rfc3339(candidate.newest)}"
    about = f"{reason}; {candidate.form or 'no form'}, about {human_size(candidate.estimate_bytes)} to dump"
    return Action(candidate.step_id, "backup", printable(candidate.name), about, command)


def sentinel_action(candidate: Candidate, table: str) -> Action:
    """Return the action that writes a sentinel row, which makes its schema and table when they are missing."""
    reason = "so that a restored database says how old its data is"
    return Action(candidate.sentinel_id, "sentinel", printable(candidate.name), reason, f"INSERT INTO {table}")


def create_action(location: str) -> Action:
    """Return the action that makes the repository."""
    return Action(REPOSITORY_STEP, "create", location, "there is no repository yet", "restic init")


def space_findings(candidates: Sequence[Candidate], room: Room, mode: str) -> list[Finding]:
    """Return what is to be said about room: streams that were not asked for, and a repository that gets full."""
    found = []
    for one in candidates:
        name = printable(one.name)
        if one.blocked is not None:
            found.append(Finding("possible", CRITICAL, one.blocked.message, name))
            continue
        if one.form == STREAM and mode == AUTO:
            text = (
                f"{name} goes as a stream: {room.staging_dir} has {human_size(room.staging_bytes)} free of the "
                f"{human_size(needed_bytes(one.estimate_bytes))} that its dump may need; streams deduplicate less"
            )
            found.append(Finding("staging_space", WARNING, text, room.staging_bytes, "bytes"))
        worth = _worth(one)
        if room.repository_bytes is not None:
            status = WARNING if room.repository_bytes < worth else OK
            has = human_size(room.repository_bytes)
            text = f"{name} may add {human_size(worth)} before compression, the repository has {has} free"
            found.append(Finding("repository_space", status, text, room.repository_bytes, "bytes", worth))
    return found


def clock_finding(name: str, taken: datetime, newest: Optional[datetime], here: datetime) -> Optional[Finding]:
    """Return a finding when the server's clock is older than its newest copy, or far from this host's clock."""
    if newest is not None and taken <= newest:
        text = (
            f"the server's clock says {rfc3339(taken)}, but the newest copy of {printable(name)} is of "
            f"{rfc3339(newest)}: a clock was set back, and until it has caught up the wrong copy counts as the newest"
        )
        return Finding("clock_skew", WARNING, text, (newest - taken).total_seconds(), "s", 0)
    if abs(here - taken) > timedelta(minutes=5):
        apart = (here - taken).total_seconds()
        text = f"the clocks of the server and of this host are {human_duration(abs(apart))} apart"
        return Finding("clock_skew", WARNING, text, apart, "s", 300)
    return None


def unchosen_finding(there: Sequence[str], chosen: Sequence[str], left_out: Sequence[str]) -> Finding:
    """Return which databases of the server have no copy because nobody chose them; ``left_out``: names or patterns."""
    missing = [
        name for name in there if name not in chosen and not any(fnmatchcase(name, pattern) for pattern in left_out)
    ]
    if not missing:
        text = "every database of the server was chosen, or left out on purpose"
        return Finding("databases_without_copy", OK, text, 0, "databases")
    more = f" and {len(missing) - _SHOWN} more" if missing[_SHOWN:] else ""
    names = ", ".join(printable(name) for name in missing[:_SHOWN])
    text = f"{count_of(len(missing), 'database')} of the server without a copy, because nobody chose it: {names}{more}"
    return Finding("databases_without_copy", WARNING, text, len(missing), "databases")


def standby_finding(sentinel: bool) -> Finding:
    """Return what is to be said when the server is a standby; ``sentinel``: one was asked for."""
    text = (
        "this is a standby: no sentinel can be written, tables that are not logged are empty here, and the server may "
        "cancel the dump for a conflict with recovery (see max_standby_streaming_delay)"
    )
    return Finding("standby", WARNING if sentinel else OK, text)


def local_path(location: str) -> Optional[str]:
    """Return the folder of a repository on this host, None for one elsewhere.

    >>> local_path("/srv/x"), local_path("local:/srv/x"), local_path("sftp:u@h:/x"), local_path("s3:https://h/b")
    ('/srv/x', '/srv/x', None, None)
    """
    if _REMOTE.match(location):
        return None
    return location[len("local:") :] if location.startswith("local:") else location
