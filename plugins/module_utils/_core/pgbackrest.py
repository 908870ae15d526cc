# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What pgBackRest says about its stanzas, backups and WAL archive, against limits. Written for 2.45 and newer.

Sources: ``pgbackrest info --output=json`` and ``verify --output=text`` of 2.45 as they were seen; the names of the
states of a backup in verify are those of its source (verify.c).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Mapping, Optional, Tuple

from .result import CRITICAL, OK, UNKNOWN, Finding, threshold_status
from .units import human_duration, human_size, rfc3339

FULL = "full"
_AHEAD_SECONDS = 300.0  # a backup that is younger than now by more than this: one of the clocks is wrong

_STATUS = re.compile(r"^status: (\S+)")
_BACKUP = re.compile(r"^\s+backup: (\S+), status: (.+?), total files checked: (\d+)")
_WAL_NAME = re.compile(r"^[0-9A-F]{24}")


@dataclass(frozen=True)
class Backup:
    """One backup; ``error`` tells of pages with wrong checksums, None where this version does not say.

    ``size_bytes`` is that of the database, ``repository_bytes`` what a restore needs from the repository.
    """

    label: str
    type: str
    repository: int
    database: int
    system: str
    start: datetime
    stop: datetime
    size_bytes: int
    repository_bytes: Optional[int]
    wal_start: Optional[str]
    wal_stop: Optional[str]
    error: Optional[bool]


@dataclass(frozen=True)
class Archive:
    """The WAL of one database in one repository: the first and the last segment; there may be gaps between them."""

    repository: int
    database: int
    minimum: Optional[str]
    maximum: Optional[str]


@dataclass(frozen=True)
class StanzaRepository:
    """What pgBackRest thinks of a stanza in one repository; code 0 is fine."""

    key: int
    code: int
    message: str


@dataclass(frozen=True)
class Stanza:
    """One stanza in all its repositories. ``systems``: system identifiers, the newest database last."""

    name: str
    repositories: Tuple[StanzaRepository, ...]
    backups: Tuple[Backup, ...]
    archives: Tuple[Archive, ...]
    systems: Tuple[str, ...]


@dataclass(frozen=True)
class Ran:
    """How a command of pgBackRest ended; ``code`` is set when it could not be run. ``output`` is standard output."""

    stanza: str
    repository: Optional[int]
    rc: Optional[int]
    output: str
    said: str
    code: str = ""


@dataclass(frozen=True)
class Archiver:
    """pg_stat_archiver, and where the server writes WAL: ``current`` the segment's name, ``segment_bytes`` its size."""

    last_archived: Optional[str]
    last_archived_at: Optional[datetime]
    last_failed: Optional[str]
    last_failed_at: Optional[datetime]
    current: Optional[str]
    segment_bytes: int
    archive_mode: str
    in_recovery: bool
    system_identifier: str


@dataclass(frozen=True)
class Facts:
    """All that could be read; ``unreadable`` says why the stanzas could not be, ``archiver_trouble`` likewise."""

    stanzas: Tuple[Stanza, ...] = ()
    unreadable: Optional[Ran] = None
    checks: Tuple[Ran, ...] = ()
    verifications: Tuple[Ran, ...] = ()
    archiver: Optional[Archiver] = None
    archiver_trouble: str = ""


@dataclass(frozen=True)
class Limits:
    """Ages in seconds, lag in bytes."""

    max_age: float
    max_full_age: float
    lag_warning: int
    lag_critical: int


def parse_info(text: str) -> Tuple[Stanza, ...]:
    """Return the stanzas of ``pgbackrest info --output=json``.

    Raises:
        ValueError: it is not that.
    """
    try:
        return tuple(_stanza(one) for one in json.loads(text))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the answer of pgbackrest info has another form: {error!r}") from error


def _stanza(one: Mapping[str, Any]) -> Stanza:
    databases = sorted(one["db"], key=lambda db: db["id"])
    known = {(int(db["repo-key"]), int(db["id"])): str(db["system-id"]) for db in databases}
    return Stanza(
        name=str(one["name"]),
        repositories=tuple(
            StanzaRepository(int(repo["key"]), int(repo["status"]["code"]), str(repo["status"]["message"]))
            for repo in one["repo"]
        ),
        backups=tuple(_backup(backup, known) for backup in one["backup"]),
        archives=tuple(
            Archive(int(arc["database"]["repo-key"]), int(arc["database"]["id"]), arc.get("min"), arc.get("max"))
            for arc in one["archive"]
        ),
        systems=tuple(dict.fromkeys(str(database["system-id"]) for database in databases)),
    )


def _backup(one: Mapping[str, Any], systems: Mapping[Tuple[int, int], str]) -> Backup:
    info, archive = one["info"], one.get("archive") or {}
    place = int(one["database"]["repo-key"]), int(one["database"]["id"])
    return Backup(
        label=str(one["label"]),
        type=str(one["type"]),
        repository=place[0],
        database=place[1],
        system=systems[place],
        start=_moment(one["timestamp"]["start"]),
        stop=_moment(one["timestamp"]["stop"]),
        size_bytes=int(info["size"]),
        repository_bytes=info["repository"].get("size"),  # unknown with block incremental, since 2.46
        wal_start=archive.get("start"),
        wal_stop=archive.get("stop"),
        error=one.get("error"),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def findings(facts: Facts, limits: Limits, now: datetime) -> Tuple[Finding, ...]:
    """Return every reading against its limits."""
    if facts.unreadable is not None:
        ran = facts.unreadable
        found = [Finding("info", UNKNOWN, f"pgbackrest info: {ran.said}", ran.code or ran.rc)]
    elif not facts.stanzas:
        found = [Finding("info", CRITICAL, "pgBackRest knows of no stanza: there is no backup", 0, "stanzas")]
    else:
        found = [finding for stanza in facts.stanzas for finding in _stanza_findings(stanza, limits, now)]
    found += _archiver_findings(facts, limits)
    found += [_check_finding(ran) for ran in facts.checks]
    found += [verify_finding(ran) for ran in facts.verifications]
    return tuple(found)


def _stanza_findings(stanza: Stanza, limits: Limits, now: datetime) -> list[Finding]:
    found = []
    for repository in stanza.repositories:
        where = f"stanza {stanza.name}, repository {repository.key}"
        status = OK if repository.code == 0 else CRITICAL
        found.append(Finding("repository", status, f"{where}: {repository.message}", repository.code))
        backups = [backup for backup in stanza.backups if backup.repository == repository.key]
        fulls = [backup for backup in backups if backup.type == FULL]
        found.append(_age("backup_age", f"{where}: newest backup", backups, limits.max_age, now))
        found.append(_age("full_backup_age", f"{where}: newest full backup", fulls, limits.max_full_age, now))
        if backups:
            found.append(_errors(where, backups))
            found.append(_archive(where, backups, stanza.archives))
    return found


def _age(check: str, what: str, backups: list[Backup], limit: float, now: datetime) -> Finding:
    if not backups:
        return Finding(check, CRITICAL, f"{what}: there is none", None, "s", critical=limit)
    newest = max(backups, key=lambda backup: backup.stop)
    age = (now - newest.stop).total_seconds()
    if age < -_AHEAD_SECONDS:
        text = f"{what} {newest.label} is of the future by {human_duration(-age)}: a clock is or was wrong"
        return Finding(check, UNKNOWN, text, round(age), "s", critical=limit)
    age = max(age, 0.0)
    text = f"{what} {newest.label} is {human_duration(age)} old"
    return Finding(check, CRITICAL if age > limit else OK, text, round(age), "s", critical=limit)


def pages_finding(stanza: str, backup: Backup) -> Finding:
    """Return whether a backup that was just made holds damaged pages, which pgBackRest copies without a failure."""
    where = f"stanza {stanza}, repository {backup.repository}, {backup.label}"
    if backup.error is None:
        return Finding("backup_errors", UNKNOWN, f"{where}: pgBackRest does not say whether pages were damaged")
    if backup.error:
        return Finding("backup_errors", CRITICAL, f"{where}: pages of the database have wrong checksums", backup.label)
    return Finding("backup_errors", OK, f"{where}: no page with a wrong checksum was seen", backup.label)


def _errors(where: str, backups: list[Backup]) -> Finding:
    bad = [backup.label for backup in backups if backup.error]
    if bad:
        text = f"{where}: pages with wrong checksums were found while backing up: {', '.join(bad)}"
        return Finding("backup_errors", CRITICAL, text, len(bad), "backups", critical=1)
    if any(backup.error is None for backup in backups):
        return Finding("backup_errors", UNKNOWN, f"{where}: pgBackRest does not say whether pages were damaged")
    return Finding("backup_errors", OK, f"{where}: no damaged page in {len(backups)} backups", 0, "backups", critical=1)


def _archive(where: str, backups: list[Backup], archives: Tuple[Archive, ...]) -> Finding:
    """Judge whether the WAL that the newest backup needs is within the archive (timelines sort as their names do)."""
    newest = max(backups, key=lambda backup: backup.stop)
    own = [arc for arc in archives if (arc.repository, arc.database) == (newest.repository, newest.database)]
    if newest.wal_start is None or newest.wal_stop is None:
        return Finding("archive", UNKNOWN, f"{where}: {newest.label} does not say which WAL it needs")
    if not own or own[0].minimum is None or own[0].maximum is None:
        return Finding("archive", CRITICAL, f"{where}: the archive is empty; {newest.label} cannot be restored")
    low, high = own[0].minimum, own[0].maximum
    text = f"{where}: archive from {low} to {high}, {newest.label} needs {newest.wal_start} to {newest.wal_stop}"
    inside = low <= newest.wal_start and newest.wal_stop <= high
    return Finding("archive", OK if inside else CRITICAL, text, high)


def _archiver_findings(facts: Facts, limits: Limits) -> list[Finding]:
    if facts.archiver_trouble:
        return [Finding("archiver", UNKNOWN, f"pg_stat_archiver: {facts.archiver_trouble}")]
    archiver = facts.archiver
    if archiver is None:
        return []
    return [_identity(facts.stanzas, archiver), _archiver(archiver), _lag(archiver, limits)]


def _identity(stanzas: Tuple[Stanza, ...], archiver: Archiver) -> Finding:
    systems = {stanza.systems[-1] for stanza in stanzas if stanza.systems}
    own = archiver.system_identifier
    if not systems or not own:
        return Finding("stanza_database", UNKNOWN, "whether a stanza is of this server cannot be told", own or None)
    if own in systems:
        return Finding("stanza_database", OK, f"a stanza backs up this server ({own})", own)
    text = f"no stanza backs up this server ({own}); they are of {', '.join(sorted(systems))}"
    return Finding("stanza_database", CRITICAL, text, own)


def _archiver(archiver: Archiver) -> Finding:
    if archiver.archive_mode == "off":
        return Finding("archiver", CRITICAL, "archive_mode is off: no WAL reaches the archive", archiver.archive_mode)
    if archiver.in_recovery and archiver.archive_mode != "always":
        return Finding(
            "archiver", OK, "a standby archives nothing unless archive_mode is always", archiver.archive_mode
        )
    failed, done = archiver.last_failed_at, archiver.last_archived_at
    if failed is not None and (done is None or failed > done):
        text = f"archiving fails: {archiver.last_failed} at {rfc3339(failed)}; last archived: {archiver.last_archived}"
        return Finding("archiver", CRITICAL, text, archiver.last_failed)
    if done is None:
        return Finding("archiver", UNKNOWN, "nothing was archived since the statistics were reset")
    return Finding("archiver", OK, f"last archived {archiver.last_archived} at {rfc3339(done)}", archiver.last_archived)


def _lag(archiver: Archiver, limits: Limits) -> Finding:
    lag = lag_bytes(archiver.last_archived, archiver.current, archiver.segment_bytes)
    status = threshold_status(lag, limits.lag_warning, limits.lag_critical)
    text = "how much WAL waits for the archive cannot be told" if lag is None else f"{human_size(lag)} of WAL wait"
    return Finding("archive_lag", status, text, lag, "bytes", limits.lag_warning, limits.lag_critical)


def lag_bytes(archived: Optional[str], current: Optional[str], segment_bytes: int) -> Optional[int]:
    """Return the size of the finished segments after the last archived one; None when the names do not say it.

    >>> lag_bytes("000000010000000000000005", "000000010000000000000008", 16777216)
    33554432
    >>> lag_bytes("0000000100000000000000FF", "000000010000000100000000", 16777216)
    0
    """
    if not archived or not current or not _WAL_NAME.match(archived) or segment_bytes <= 0:
        return None
    per_file = 0x100000000 // segment_bytes
    done, now = (int(name[8:16], 16) * per_file + int(name[16:24], 16) for name in (archived, current))
    return max(0, now - done - 1) * segment_bytes


def _check_finding(ran: Ran) -> Finding:
    what = f"pgbackrest check of stanza {ran.stanza}"
    if ran.rc is None:
        return Finding("check", UNKNOWN, f"{what}: {ran.said}", ran.code)
    if ran.rc == 0:
        return Finding("check", OK, f"{what}: a WAL segment reached every repository", 0)
    return Finding("check", CRITICAL, f"{what}: {ran.said}", ran.rc)


def verify_finding(ran: Ran) -> Finding:
    """Return the verdict of ``verify --output=text --verbose`` by its text: the exit status is 0 whatever it found."""
    what = f"pgbackrest verify of stanza {ran.stanza}, repository {ran.repository}"
    lines = ran.output.splitlines()
    states = [match[1] for match in map(_STATUS.match, lines) if match]
    backups = [match for match in map(_BACKUP.match, lines) if match]
    bad = [f"{match[1]} {match[2]}" for match in backups if match[2] not in ("valid", "in-progress")]
    if bad or any(state != OK for state in states):
        said = ", ".join(bad) or " / ".join(line.strip() for line in lines[2:6])
        return Finding("verify", CRITICAL, f"{what}: damage: {said}", len(bad) or 1, "backups", critical=1)
    if ran.rc != 0 or not states:
        return Finding("verify", UNKNOWN, f"{what}: {ran.said or 'it said nothing'}", ran.code or ran.rc)
    checked = sum(int(match[3]) for match in backups if match[2] == "valid")
    if not checked:
        return Finding("verify", UNKNOWN, f"{what}: there was no finished backup to verify", 0, "backups")
    return Finding(
        "verify", OK, f"{what}: {checked} files of {len(backups)} backups are whole", 0, "backups", critical=1
    )
