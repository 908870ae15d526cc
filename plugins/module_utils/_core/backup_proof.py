# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Judge a restored database by the facts that were taken with its copy: what is not proven is never called good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Callable, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

from .backup_load import DEADLOCK, LoadError
from .backup_manifest import DatabaseState, Manifest, TableState
from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, WARNING, Finding
from .timestamps import parse_own
from .units import count_of, human_duration

_SHOWN = 5
_OF_EVERY_TEMPLATE = {"plpgsql"}  # a restored database has it, also when the copied one had dropped it
# What the throwaway server says when it is its own host that fails, not the copy.
_HOST_TROUBLE = (
    DEADLOCK,  # that could not be repeated
    "No space left on device",
    "wrote only",  # a disk that is full in the middle of a block
    "Input/output error",
    "Read-only file system",
    "Disk quota exceeded",
    "out of memory",
    "Out of memory",
    "out of shared memory",
    "Cannot allocate memory",
    "server closed the connection unexpectedly",
    "terminating connection",
    "connection to server",
)
# Codes of failures that say something about the copy itself; any other failure says that we could not look.
_COPY_IS_BAD = ("repository_damaged", "incomplete", "manifest_unreadable", "verification_failed")


@dataclass(frozen=True)
class Amcheck:
    """What amcheck said. ``unavailable``: why it could not be asked."""

    indexes: int = 0
    tables: int = 0
    problems: Tuple[str, ...] = ()
    unavailable: str = ""


@dataclass(frozen=True)
class Restored:
    """What was found out about a restored database.

    ``uncreatable``: extensions that this host cannot provide, and why. ``locale_note``: why another locale was taken.
    ``sentinel_found`` None: no sentinel was written. ``amcheck`` None: it was not asked for.
    """

    state: DatabaseState
    roles: FrozenSet[str]
    load_errors: Tuple[LoadError, ...]
    globals_errors: Tuple[LoadError, ...]
    uncreatable: Mapping[str, str]
    locale_note: str
    unvalidated: Tuple[str, ...]
    invalid_indexes: Tuple[str, ...]
    sentinel_found: Optional[bool]
    amcheck: Optional[Amcheck]

    @property
    def excuse(self) -> str:
        """Return why this host cannot tell whether a failure is the copy's fault; "" when it can."""
        return "; ".join([*self.uncreatable.values(), *([self.locale_note] if self.locale_note else [])])


def judge(manifest: Manifest, restored: Restored, now: datetime) -> Tuple[Finding, ...]:
    """Return one finding for each thing that was proven, or was not."""
    findings = (
        _roles(manifest, restored),
        _load(restored),
        _tables(manifest, restored),
        _rows(manifest, restored),
        _checksums(manifest, restored),
        _sequences(manifest, restored),
        _extensions(manifest, restored),
        _schema(manifest, restored),
        _grants(manifest, restored),
        _constraints(manifest, restored),
        _indexes(restored),
        _sentinel(manifest, restored),
        _data_age(manifest, now),
        *_host(manifest, restored),
    )
    return tuple(finding for finding in findings if finding is not None)


def amcheck_finding(found: Optional[Amcheck]) -> Tuple[Finding, ...]:
    """Return what amcheck said; it is asked besides, so that a host without it can still prove a copy."""
    if found is None:
        return ()
    if found.unavailable:
        return (Finding("amcheck", UNKNOWN, f"amcheck cannot be asked: {found.unavailable}"),)
    looked = f"{count_of(found.indexes, 'index', 'indexes')} and {count_of(found.tables, 'table')}"
    if found.problems:
        return (Finding("amcheck", CRITICAL, f"amcheck: {_some(found.problems)}", len(found.problems), "problems"),)
    return (Finding("amcheck", OK, f"amcheck found {looked} sound", found.indexes, "indexes"),)


def tablespaces_finding(manifest: Manifest) -> Tuple[Finding, ...]:
    """Return what a restore needs besides the copy; a throwaway server has one tablespace, where all of it goes."""
    named = sorted({*manifest.tablespaces, manifest.tablespace} - {"", "pg_default"})
    if not named:
        return ()
    text = f"a restore needs tablespaces {_some(named)} on its server, or tablespaces: false"
    return (Finding("tablespaces", OK, text, len(named), "tablespaces"),)


def failure_finding(code: str, message: str) -> Finding:
    """Return what a failure on the way says: the copy is bad, or we could not look."""
    status = CRITICAL if code in _COPY_IS_BAD else UNKNOWN
    words = "the copy does not restore" if status == CRITICAL else "could not verify"
    return Finding("restore", status, f"{words}: {printable(message)}", code)


def host_trouble(errors: Iterable[LoadError]) -> str:
    """Return the first error that is the throwaway server's own trouble, "" when there is none."""
    return next((one.label() for one in errors if any(words in one.message for words in _HOST_TROUBLE)), "")


def _finding(check: str, bad: Sequence[str], good: str, value: int, unit: str, excuse: str = "") -> Finding:
    if not bad:
        return Finding(check, OK, good, value, unit)
    if excuse:
        return Finding(check, UNKNOWN, f"could not verify ({printable(excuse)}): {_some(bad)}", len(bad), unit)
    return Finding(check, CRITICAL, _some(bad), len(bad), unit)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if items[_SHOWN:] else ""
    return printable("; ".join(items[:_SHOWN]), 700) + more


def _roles(manifest: Manifest, restored: Restored) -> Finding:
    missing = [f"role {name} is missing" for name in sorted(set(manifest.roles) - restored.roles)]
    bad = missing + [f"the globals: {error.label()}" for error in restored.globals_errors]
    good = f"{count_of(len(manifest.roles), 'role')} of the database and all other globals came back"
    return _finding("roles", bad, good, len(manifest.roles), "roles")


def _load(restored: Restored) -> Finding:
    bad = [error.label() for error in restored.load_errors]
    return _finding("restore", bad, "pg_restore reported no error", 0, "errors", restored.excuse)


def _by_name(tables: Iterable[TableState]) -> dict[Tuple[str, str], TableState]:
    return {(table.schema, table.name): table for table in tables}


def _label(name: Tuple[str, str]) -> str:
    return printable(".".join(name), 140)


def _tables(manifest: Manifest, restored: Restored) -> Finding:
    expected, found = _by_name(manifest.tables), _by_name(restored.state.tables)
    bad = [f"table {_label(name)} is missing" for name in sorted(expected.keys() - found.keys())]
    bad += [f"table {_label(name)} was not in the facts" for name in sorted(found.keys() - expected.keys())]
    good = f"all {count_of(len(expected), 'table')} are there and were read"
    return _finding("tables", bad, good, len(expected), "tables", restored.excuse)


def _excuse_of(name: Tuple[str, str], restored: Restored) -> str:
    """Return the excuse for the contents of one table: there is one only when its load failed."""
    named = f" {name[0]} {name[1]} "
    failed = any(named in f"{error.entry} " or name[1] in error.message for error in restored.load_errors)
    return restored.excuse if failed else ""


def _compared(
    check: str,
    unit: str,
    good: str,
    value: int,
    manifest: Manifest,
    restored: Restored,
    differ: Callable[[TableState, TableState], str],
) -> Finding:
    expected, found = _by_name(manifest.tables), _by_name(restored.state.tables)
    bad: List[str] = []
    excused: List[str] = []
    for name in sorted(expected.keys() & found.keys()):
        difference = differ(expected[name], found[name])
        if difference:
            (excused if _excuse_of(name, restored) else bad).append(f"{_label(name)}: {difference}")
    return _finding(check, bad or excused, good, value, unit, "" if bad else restored.excuse)


def _rows(manifest: Manifest, restored: Restored) -> Finding:
    total = sum(table.rows for table in manifest.tables)
    good = f"{count_of(total, 'row')} in {count_of(len(manifest.tables), 'table')}, each table as many as were copied"

    def differ(was: TableState, now: TableState) -> str:
        return "" if was.rows == now.rows else f"{now.rows} rows instead of {was.rows}"

    return _compared("rows", "rows", good, total, manifest, restored, differ)


def _checksums(manifest: Manifest, restored: Restored) -> Finding:
    known = [table for table in manifest.tables if table.checksum is not None]
    covered = sum(table.checksum.rows for table in known if table.checksum is not None)
    without = len(manifest.tables) - len(known)
    rest = f"; {count_of(without, 'table')} without one: only counted" if without else ""
    good = f"the checksums of {count_of(len(known), 'table')} over {count_of(covered, 'row')} are the same{rest}"

    def differ(was: TableState, now: TableState) -> str:
        return "" if was.checksum is None or was.checksum == now.checksum else "other contents than were copied"

    return _compared("checksums", "rows", good, covered, manifest, restored, differ)


def _sequences(manifest: Manifest, restored: Restored) -> Finding:
    """A sequence that is used while it is copied may be ahead of the facts, never behind them."""
    found = {(one.schema, one.name): one.last_value for one in restored.state.sequences}
    bad = []
    for one in manifest.sequences:
        name = (one.schema, one.name)
        if name not in found:
            bad.append(f"sequence {_label(name)} is missing")
        elif one.last_value is not None and (found[name] is None or _behind(found[name], one.last_value)):
            bad.append(f"sequence {_label(name)} is at {found[name]} instead of {one.last_value}")
    good = f"{count_of(len(manifest.sequences), 'sequence')} stand where they stood"
    return _finding("sequences", bad, good, len(manifest.sequences), "sequences", restored.excuse)


def _behind(now: Optional[int], was: int) -> bool:
    return now is None or (now < was if was >= 0 else now > was)


def _extensions(manifest: Manifest, restored: Restored) -> Finding:
    found = restored.state.extensions
    missing = sorted(manifest.extensions.keys() - found.keys())
    bad = [f"extension {name} is missing" for name in missing if name not in restored.uncreatable]
    surplus = found.keys() - manifest.extensions.keys() - _OF_EVERY_TEMPLATE
    bad += [f"extension {name} was not in the facts" for name in sorted(surplus)]
    number = len(manifest.extensions)
    if bad:
        return _finding("extensions", bad, "", number, "extensions")
    if missing:
        return _finding("extensions", missing, "", number, "extensions", restored.excuse)
    other = [f"{name} {found[name]} (copied: {manifest.extensions[name]})" for name in sorted(manifest.extensions)
             if found[name] != manifest.extensions[name]]  # fmt: skip
    if other:
        return Finding("extensions", WARNING, f"other versions on this host: {_some(other)}", len(other), "extensions")
    return Finding("extensions", OK, f"{count_of(number, 'extension')} in the same version", number, "extensions")


def _schema(manifest: Manifest, restored: Restored) -> Finding:
    was, now = manifest.definitions, restored.state.definitions
    kinds = sorted(kind for kind in {*was, *now} if was.get(kind) != now.get(kind))
    bad = []
    for kind in kinds:
        counts = (manifest.objects.get(kind, 0), restored.state.objects.get(kind, 0))
        how = f"{counts[1]} instead of {counts[0]}" if counts[0] != counts[1] else "defined otherwise"
        bad.append(f"{kind}: {how}")
    if not bad and manifest.schema_hash != restored.state.schema_hash:
        bad = ["the definitions are not those that were copied"]
    number = sum(manifest.objects.values())
    return _finding("schema", bad, f"{count_of(number, 'definition')} as copied", number, "kinds", restored.excuse)


def _grants(manifest: Manifest, restored: Restored) -> Finding:
    same = manifest.grants_hash == restored.state.grants_hash
    bad = [] if same else ["owners or rights are not those that were copied"]
    return _finding("grants", bad, "owners and rights as copied", 0, "differences", restored.excuse)


def _constraints(manifest: Manifest, restored: Restored) -> Finding:
    faithful = manifest.definitions.get("constraint") == restored.state.definitions.get("constraint")
    bad = [f"{name} is not validated" for name in restored.unvalidated]
    if bad and faithful:
        text = f"not validated in the copied database either: {_some(list(restored.unvalidated))}"
        return Finding("constraints", WARNING, text, len(bad), "constraints")
    return _finding("constraints", bad, "every constraint is validated", 0, "constraints", restored.excuse)


def _indexes(restored: Restored) -> Finding:
    bad = [f"index {name} is not valid" for name in restored.invalid_indexes]
    return _finding("indexes", bad, "every index is valid", 0, "indexes", restored.excuse)


def _sentinel(manifest: Manifest, restored: Restored) -> Optional[Finding]:
    if manifest.sentinel is None:
        return None
    text = f"the sentinel row of {manifest.sentinel.written_at}"
    bad = [] if restored.sentinel_found else [f"{text} is missing"]
    return _finding("sentinel", bad, f"{text} was found", 1, "rows", restored.excuse)


def data_age(manifest: Manifest, now: datetime) -> float:
    """Return how old the newest data in the copy is, in seconds: what would be lost by restoring it now."""
    return (now - _data_moment(manifest)).total_seconds()


def age_when_copied(manifest: Manifest) -> float:
    """Return how old the sentinel was when the copy's moment was fixed, in seconds."""
    return (parse_own(manifest.taken_at) - _data_moment(manifest)).total_seconds()


def _data_moment(manifest: Manifest) -> datetime:
    return parse_own(manifest.sentinel.written_at if manifest.sentinel else manifest.taken_at)


def _data_age(manifest: Manifest, now: datetime) -> Finding:
    seconds = data_age(manifest, now)
    by = "its sentinel row" if manifest.sentinel else "its own stamp; no sentinel row was written"
    return Finding("data_age", OK, f"the data is {human_duration(seconds)} old by {by}", round(seconds, 1), "s")


def _host(manifest: Manifest, restored: Restored) -> Iterable[Finding]:
    if restored.locale_note:
        text = f"restored with the locale C, because this host has not that of the copy: {restored.locale_note}"
        yield Finding("locale", WARNING, text, manifest.server.collate)
    major = restored.state.server.major
    if major != manifest.server.major:
        text = f"restored into {major}, the copy is of {manifest.server.major}: a server of that major is not here"
        yield Finding("server", WARNING, text, major)
