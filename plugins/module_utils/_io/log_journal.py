# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the journal of some units with journalctl: from a cursor on, the newest entries, within a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

from .._core.errors import OpsError
from .._core.log_levels import level_of_priority
from .._core.log_lines import Entry, Reading, read_entry
from .._core.log_scan import Scan
from .._core.redact import printable
from .._core.timestamps import from_epoch
from .command import CommandRunner, Completed
from .log_open import getpass_user

_FIELDS = "MESSAGE,PRIORITY,__REALTIME_TIMESTAMP"
_NOT_ALL = ("not seeing messages", "insufficient permissions", "Permission denied")


@dataclass(frozen=True)
class JournalAsk:
    """Which entries: of these units (all without any), after the cursor, else since then; the newest ``most``."""

    units: Sequence[str]
    directory: Optional[str]
    cursor: Optional[str]
    since: float
    most: int
    timeout: float


@dataclass(frozen=True)
class JournalOutcome:
    """The cursor to go on from, how many entries were read, whether there may be more, and what went wrong."""

    cursor: Optional[str]
    entries: int = 0
    full: bool = False
    problem: str = ""


def read_journal(ask: JournalAsk, scan: Scan, reading: Reading, commands: CommandRunner) -> JournalOutcome:
    """Read the entries into ``scan``; whatever goes wrong is a problem in words, and the cursor stays."""
    try:
        done = _ask(ask, commands)
    except OpsError as error:
        return JournalOutcome(ask.cursor, problem=error.words())
    problem = _problem(ask, done)
    if problem:
        return JournalOutcome(ask.cursor, problem=problem)
    cursor, entries = ask.cursor, 0
    for line in done.stdout.splitlines():
        fields = _fields(line)
        if fields is not None:
            entries += 1
            cursor = str(fields.get("__CURSOR") or cursor)
            scan.lines += 1
            entry, text = _entry(fields, reading)
            scan.take(entry, text)
    if entries == 0 and ask.cursor is None and not _has_any(ask, commands):
        units = ", ".join(printable(unit) for unit in ask.units) or "this host"
        return JournalOutcome(None, problem=f"the journal holds no entry of {units}: is the name right?")
    return JournalOutcome(cursor, entries, entries >= ask.most)


def _ask(ask: JournalAsk, commands: CommandRunner) -> Completed:
    place = [f"--after-cursor={ask.cursor}"] if ask.cursor else [f"--since=@{ask.since:.0f}"]
    done = commands.run(_argv(ask, [*place, f"--lines={ask.most}"]), timeout=ask.timeout, check=False)
    if done.rc != 0 and ask.cursor and "cursor" in done.stderr:  # of another machine, or of a journal that is gone
        argv = _argv(ask, [f"--since=@{ask.since:.0f}", f"--lines={ask.most}"])
        done = commands.run(argv, timeout=ask.timeout, check=False)
    return done


def _argv(ask: JournalAsk, more: Sequence[str]) -> list[str]:
    units = [f"--unit={unit}" for unit in ask.units]
    place = [f"--directory={ask.directory}"] if ask.directory else []
    return ["journalctl", "--no-pager", "--output=json", f"--output-fields={_FIELDS}", *place, *units, *more]


def _has_any(ask: JournalAsk, commands: CommandRunner) -> bool:
    try:
        return bool(commands.run(_argv(ask, ["--lines=1"]), timeout=ask.timeout, check=False).stdout.strip())
    except OpsError:
        return False


def _problem(ask: JournalAsk, done: Completed) -> str:
    text = printable(" ".join(done.stderr.split()), 300)
    if any(words in text for words in _NOT_ALL):
        return f"the journal cannot be read: usermod -aG systemd-journal {getpass_user()} ({text})"
    if done.rc != 0:
        return f"journalctl failed with {done.rc}: {text}"
    if "No journal files were found" in text:
        return f"there is no journal on this host{f' in {ask.directory}' if ask.directory else ''}"
    return ""


def _fields(line: str) -> Optional[Mapping[str, Any]]:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _entry(fields: Mapping[str, Any], reading: Reading) -> tuple[Entry, str]:
    """Return the entry: as bad as its text says; of what goes by the default priority the text alone decides."""
    raw = fields.get("MESSAGE")
    if isinstance(raw, list):  # not UTF-8, or with control characters
        raw = bytes(part for part in raw if isinstance(part, int) and 0 <= part < 256).decode("utf-8", "replace")
    text = raw if isinstance(raw, str) else ""
    inner = read_entry(text.split("\n"), reading)
    priority = str(fields.get("PRIORITY") or "")
    level = level_of_priority(int(priority)) if priority.isdigit() else None
    stamp = str(fields.get("__REALTIME_TIMESTAMP") or "")
    at = from_epoch(int(stamp) / 1_000_000) if stamp.isdigit() else inner.at
    if level in (None, "info") and inner.level is not None:
        level = inner.level
    return Entry(level, inner.message, at), text
