# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which physical backup is due in which repository, by the age of those that are there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Iterable, Optional, Tuple

from .errors import CommandFailed
from .pgbackrest import FULL, Backup, Ran, Stanza, StanzaRepository
from .units import human_duration

DIFFERENTIAL, INCREMENTAL = "diff", "incr"
STANZA_STEP = "stanza"
_EARLY = 0.05  # a schedule never meets its hour to the second; one that comes a little early must not skip a turn
_NO_STANZA = (1, 3)  # pgBackRest's codes: the stanza's path, or its data, is missing
_CODES = {50: "lock_busy", 68: "archive_not_set", 82: "archive_timeout", 87: "archive_not_set"}
_HINTS = {
    "lock_busy": "another backup of this stanza is running; wait for it",
    "archive_not_set": "set archive_mode = on (needs a restart) and archive_command to pgbackrest's archive-push",
    "archive_timeout": "WAL does not arrive: see archive_mode and archive_command of the server, and its log",
}


@dataclass(frozen=True)
class Schedule:
    """How old the newest backup of a kind may get before there is a new one. Seconds; 0: none of that kind.

    A full one counts as a differential, and both count as incremental ones.
    """

    full: float
    differential: float = 0.0
    incremental: float = 0.0


@dataclass(frozen=True)
class Due:
    """A backup to make in one repository."""

    repository: int
    type: str
    reason: str

    @property
    def step_id(self) -> str:
        """Return the id of its action."""
        return f"backup:{self.repository}"


def lacks_stanza(stanza: Stanza) -> Tuple[int, ...]:
    """Return the repositories in which the stanza was never made."""
    return tuple(one.key for one in stanza.repositories if one.code in _NO_STANZA)


def new_stanza(name: str, repositories: int) -> Stanza:
    """Return a stanza that is yet to be made in so many repositories."""
    missing = tuple(StanzaRepository(key, _NO_STANZA[0], "not made yet") for key in range(1, repositories + 1))
    return Stanza(name, missing, (), (), ())


def due(stanza: Stanza, schedule: Schedule, now: datetime) -> Tuple[Due, ...]:
    """Return what is to be made now, at most one backup for each repository.

    Backups of a server that the stanza had before an upgrade count for nothing.
    """
    known = [*(one.database for one in stanza.backups), *(one.database for one in stanza.archives)]
    newest = max(known, default=0)
    found = []
    for repository in stanza.repositories:
        backups = [one for one in stanza.backups if one.repository == repository.key and one.database == newest]
        one = _due_in(repository.key, backups, schedule, now)
        if one is not None:
            found.append(one)
    return tuple(found)


def _due_in(key: int, backups: Iterable[Backup], schedule: Schedule, now: datetime) -> Optional[Due]:
    there = list(backups)
    fulls = [one for one in there if one.type == FULL]
    if not fulls:
        return Due(key, FULL, "there is no full backup yet")
    kinds = (
        (FULL, schedule.full, fulls),
        (DIFFERENTIAL, schedule.differential, [one for one in there if one.type != INCREMENTAL]),
        (INCREMENTAL, schedule.incremental, there),
    )
    for kind, every, counted in kinds:
        last = max(counted, key=lambda one: one.start)
        age = (now - last.start).total_seconds()
        if every and age >= every * (1 - _EARLY):
            return Due(
                key, kind, f"{last.label} began {human_duration(age)} ago, one is due every {human_duration(every)}"
            )
    return None


def new_backup(before: Stanza, after: Stanza, repository: int) -> Optional[Backup]:
    """Return the newest backup of a repository that was not there before."""
    known = {one.label for one in before.backups if one.repository == repository}
    fresh = [one for one in after.backups if one.repository == repository and one.label not in known]
    return max(fresh, key=lambda one: one.start, default=None)


def failure_of(ran: Ran, what: str) -> CommandFailed:
    """Return the error for a command of pgBackRest that ended badly, or could not be run at all."""
    code = ran.code or _CODES.get(ran.rc or 0, "pgbackrest_failed")
    return CommandFailed(f"{what}: {ran.said}", code=code, hint=_HINTS.get(code), details={"rc": ran.rc})
