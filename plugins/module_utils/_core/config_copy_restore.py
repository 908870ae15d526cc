# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a restore of files changes, and what an undo puts back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Iterable, Mapping, Optional, Tuple

from .config_copy import FOLDER, ConfigManifest, Entry, is_excluded, is_plain, name_some, root_of
from .errors import PreconditionFailed
from .redact import printable
from .result import OK, Action, Decision, Finding
from .sealed import seal, unseal
from .units import count_of

BEGUN, RESTORED, UNDONE = "begun", "restored", "undone"
RECORD_FORMAT = 1


@dataclass(frozen=True)
class Change:
    """One path that is not what the copy says; ``present`` None: there is nothing."""

    wanted: Entry
    present: Optional[Entry]
    root: str

    def reason(self) -> str:
        """Return in words what is different."""
        have, want = self.present, self.wanted
        if have is None:
            return "is missing"
        what = []
        if have.content() != want.content():
            what.append("content")
        if want.kind != "link" and have.mode != want.mode:
            what.append(f"mode {have.mode:04o} instead of {want.mode:04o}")
        if (have.uid, have.gid) != (want.uid, want.gid):
            what.append(f"owner {have.owner}:{have.group} instead of {want.owner}:{want.group}")
        return " and ".join(what)


@dataclass(frozen=True)
class Kept:
    """What was at a path before; ``stored`` names the file with its content, "" where there was none."""

    path: str
    root: str
    before: Optional[Entry]
    placed: Entry
    stored: str = ""


@dataclass(frozen=True)
class ConfigRecord:
    """What a restore changed, in the order in which it did."""

    id: str
    host: str
    name: str
    copy: str
    taken_at: str
    at: str
    state: str
    kept: Tuple[Kept, ...]

    def to_json(self) -> str:
        """Return the text of the record."""
        return seal(asdict(self), RECORD_FORMAT, any_bytes=True)

    def touched(self) -> bool:
        """Tell whether anything was written: what is replaced is noted first."""
        return bool(self.kept)

    def with_state(self, state: str) -> ConfigRecord:
        """Return it in another state."""
        return replace(self, state=state)


def read_config_record(text: str) -> ConfigRecord:
    """Return a record.

    Raises:
        ValueError: it is none that can be read.
    """
    data = unseal(text, RECORD_FORMAT)
    try:
        return ConfigRecord(**{**data, "kept": tuple(_kept(one) for one in data["kept"])})
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


def _kept(one: Mapping[str, Any]) -> Kept:
    before = None if one["before"] is None else Entry(**one["before"])
    return Kept(one["path"], one["root"], before, Entry(**one["placed"]), one["stored"])


def choose_entries(manifest: ConfigManifest, roots: Tuple[str, ...], only: Tuple[str, ...]) -> tuple[Entry, ...]:
    """Return the entries to restore, folders before what is in them.

    Raises:
        PreconditionFailed: a path of the copy lies outside of what may be written (``path_refused``), or nothing fits
            (``nothing_chosen``).
    """
    chosen = [one for one in manifest.entries if not only or is_excluded(one.path, only)]
    refused = [one.path for one in chosen if not is_plain(one.path) or root_of(one.path, roots) is None]
    if refused:
        raise PreconditionFailed(
            f"the copy wants to write where it may not: {name_some(refused)}",
            code="path_refused",
            hint="name the folders that may be written to in roots, or choose paths with only",
        )
    if not chosen:
        raise PreconditionFailed("no path of the copy fits", code="nothing_chosen", hint="check only")
    return tuple(sorted(chosen, key=lambda one: one.path))


def find_changes(
    entries: Iterable[Entry], present: Mapping[str, Optional[Entry]], roots: Tuple[str, ...], owner: bool
) -> tuple[Change, ...]:
    """Return what has to be written; without ``owner`` a file keeps the owner that it has.

    Raises:
        PreconditionFailed: a folder is in the place of a file, or the other way round (code ``type_conflict``).
    """
    changes = []
    for entry in entries:
        have = present.get(entry.path)
        if have is not None and FOLDER in (have.kind, entry.kind) and have.kind != entry.kind:
            raise PreconditionFailed(
                f"{name_some([entry.path])} is a {have.kind}, in the copy it is a {entry.kind}",
                code="type_conflict",
                hint="move it away by hand",
            )
        wanted = entry if owner or have is None else replace(
            entry, uid=have.uid, gid=have.gid, owner=have.owner, group=have.group
        )  # fmt: skip
        change = Change(wanted, have, root_of(entry.path, roots) or "")
        if change.reason():
            changes.append(change)
    return tuple(changes)


def shown(path: str) -> str:
    """Return a path as a result may hold it: a name can have any bytes but NUL and slash."""
    return printable(path, 4096)


def plan_changes(changes: Tuple[Change, ...], manifest: ConfigManifest, copy_id: str, unchanged: int) -> Decision:
    """Return what a restore does, path by path, without any content."""
    if not changes:
        return Decision(f"all {count_of(unchanged, 'path')} are as in the copy of {manifest.taken_at}")
    plan = tuple(
        Action(f"write:{shown(one.wanted.path)}", "write", shown(one.wanted.path), one.reason()) for one in changes
    )
    before = {shown(one.wanted.path): one.present.brief() if one.present else None for one in changes}
    after = {shown(one.wanted.path): one.wanted.brief() for one in changes}
    msg = f"will bring {count_of(len(changes), 'path')} back to {manifest.taken_at} (copy {copy_id[:8]})"
    return Decision(msg, plan, before=before, after=after)


def already_undone(at: str) -> Finding:
    """Return what an undo says that finds the newest restore, of files or of Redis, taken back already."""
    text = f"the restore of {at} was taken back already; force: true takes back the one before it, if there is one"
    return Finding("already_undone", OK, text)


def nothing_kept(what: str) -> PreconditionFailed:
    """Return the failure of an undo that finds no restore: a wrong name must not look like something done."""
    return PreconditionFailed(
        f"no restore of {what} that could be taken back was made on this host",
        code="no_kept_restore",
        hint="is it the right name and host? Only a restore into its place can be taken back",
    )


def plan_undo(record: Optional[ConfigRecord], what: str) -> Decision:
    """Return what an undo does; nothing where the newest restore was undone.

    Raises:
        PreconditionFailed: code ``no_kept_restore``.
    """
    if record is None:
        raise nothing_kept(what)
    if record.state == UNDONE:
        finding = already_undone(record.at)
        return Decision(finding.msg, findings=(finding,))
    plan = tuple(
        Action(
            f"write:{shown(one.path)}",
            "write" if one.before else "remove",
            shown(one.path),
            f"as it was before {record.at}",
        )
        for one in reversed(record.kept)
        if one.before is not None or one.placed.kind != FOLDER
    )
    after = {shown(one.path): one.before.brief() if one.before else None for one in record.kept}
    before = {shown(one.path): one.placed.brief() for one in record.kept}
    return Decision(f"will take back the restore of {record.at}", plan, before=before, after=after)
