# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""config_restore: prove a copy of files, write it aside, put it in place, or take that back."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Iterator, Optional, Union

from .._core.backup import CONFIG, MANIFEST, Copy
from .._core.config_copy import (
    FILE,
    FILES,
    Entry,
    check_paths,
    judge_files,
    name_some,
    read_config_manifest,
)
from .._core.config_copy_restore import (
    BEGUN,
    RESTORED,
    UNDONE,
    Change,
    ConfigRecord,
    Kept,
    choose_entries,
    find_changes,
    plan_changes,
    plan_undo,
    shown,
)
from .._core.errors import InvalidValue, OpsError, PreconditionFailed, VerificationFailed
from .._core.result import CRITICAL, DONE, OK, SKIPPED, WARNING, Action, Decision, Finding, Outcome, Step
from .._core.units import count_of, rfc3339
from .._io.config_copy_read import hash_tree
from .._io.config_copy_undo import UndoStore, default_undo_folder
from .._io.config_copy_write import clear_partial, look, remove, write
from .._io.copy_proof import verdict_of, write_proof
from .._io.restic import RepositoryFailed, Restic
from .._io.workspace import ends_in_order, need_room, workspace
from .copy_options import Frank, check_confirm, choose_copy
from .copy_steps import Steps
from .repository import repository_of
from .run import Operation, Task

_DAMAGED = ("repository_damaged", "manifest_unreadable")


def config_restore(task: Task) -> Operation:
    """Return the operation that the options ask for."""
    if task.params["target"] == "throwaway":
        return Frank(ConfigProof(task))
    if task.params["target"] == "live":
        check_confirm(task.params)
    if task.params["state"] == "undone":
        if task.params["target"] != "live":
            raise InvalidValue("state undone takes back what was put in place: target must be live")
        return ConfigUndo(task)
    return Frank(ConfigRestore(task))


def _fetch(restic: Restic, copy: Copy, folder: Path, include: list[str]) -> Path:
    """Restore a copy into ``folder/copy`` and return that."""
    target = folder / "copy"
    target.mkdir(mode=0o700)
    need_room(folder, copy.size_bytes or 0, "the copy")
    restic.restore(copy.id, str(target), include)
    target.chmod(0o700)
    return target


class ConfigProof(Operation):
    """Decrypt a copy, compare every file with its facts, write down the verdict."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._restic = Restic(repository_of(task.params))

    def decide(self) -> Decision:
        """Choose the copy."""
        self._copy, self.unreadable = choose_copy(self._restic, self._task.params, CONFIG, self._task.clock.now())
        label, taken = self._copy.source.label(), rfc3339(self._copy.taken)
        plan = (
            Action("fetch", "fetch", label, f"state of {taken}", f"restic restore {self._copy.id[:8]}"),
            Action("prove", "compare", label, "every file with the SHA-256 taken with it"),
            Action("store", "store", "proof", "the verdict is kept with the copy", "restic backup"),
        )
        facts = {"snapshot": self._copy.id, "taken_at": taken}
        return Decision(f"will prove the copy of {label} of {taken}", plan, extra=facts)

    def apply(self, decision: Decision) -> Outcome:
        """Fetch, compare, store the proof."""
        steps = Steps(decision, self._task.clock, self._task.progress, self._copy.source.label())
        with workspace("config", self._task.params["staging_dir"]) as folder:
            with steps.doing("fetch"):
                fetched = self._try_fetch(folder)
            with steps.doing("prove") as note:
                findings = fetched if isinstance(fetched, tuple) else _examine(fetched)
                note.detail = f"verdict {verdict_of(findings)}"
        with steps.doing("store") as note:
            evidence = {"taken_at": rfc3339(self._copy.taken)}
            proof = write_proof(self._restic, self._copy, self._task.clock.now(), findings, evidence)
            note.detail = f"snapshot {proof.id[:8]}"
        about = f"copy {self._copy.id[:8]} of {rfc3339(self._copy.taken)}"
        bad = [one.msg for one in findings if one.status != OK]
        msg = f"{about} is proven: {findings[-1].msg}" if not bad else f"{about} is not what was stored: {bad[0]}"
        facts = {**decision.extra, "verdict": proof.verdict, "proof": proof.id}
        return Outcome(msg, tuple(steps.done), findings, {"verdict": proof.verdict}, facts)

    def _try_fetch(self, folder: Path) -> Union[tuple[Finding, ...], Path]:
        try:
            return _fetch(self._restic, self._copy, folder, [])
        except RepositoryFailed as error:
            if error.code not in _DAMAGED:
                raise
            return (Finding("payload", CRITICAL, f"the copy cannot be read: {error.message}"),)


def _examine(folder: Path) -> tuple[Finding, ...]:
    try:
        manifest = read_config_manifest((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, OpsError) as error:
        return (Finding("manifest", CRITICAL, f"the facts of the copy cannot be read: {error}"),)
    return judge_files(manifest, hash_tree(folder / FILES))


class ConfigRestore(Operation):
    """Write the files of a copy where they were, or below another folder."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._aside = params["target"] == "aside"
        if self._aside and not params["directory"]:
            raise InvalidValue("target aside needs directory", hint="name an empty folder")
        self._roots = check_paths([params["directory"]] if self._aside else params["roots"], "roots")
        self._only = tuple(params["only"])
        self._restic = Restic(repository_of(params))
        self._undo = UndoStore(Path(params["undo_dir"] or default_undo_folder()))
        wanted = params["restore_owner"]
        self._owner: bool = os.geteuid() == 0 if wanted is None else wanted

    def decide(self) -> Decision:
        """Compare every path with the copy; no content leaves this function."""
        self._copy, self.unreadable = choose_copy(self._restic, self._task.params, CONFIG, self._task.clock.now())
        self._manifest = read_config_manifest(self._restic.read_file(self._copy.id, f"/{MANIFEST}"))
        if not self._aside:
            self._refuse_interrupted()
        entries = choose_entries(self._manifest, ("/",) if self._aside else self._roots, self._only)
        if self._aside:
            entries = tuple(replace(one, path=self._roots[0] + one.path) for one in entries)
        present = {one.path: look(one.path, self._root(one.path)) for one in entries}
        self._changes = find_changes(entries, present, self._roots, self._owner)
        decision = plan_changes(self._changes, self._manifest, self._copy.id, len(entries))
        return replace(decision, extra={"snapshot": self._copy.id, "taken_at": rfc3339(self._copy.taken)})

    def _root(self, path: str) -> str:
        fitting = [root for root in self._roots if path == root or path.startswith(root.rstrip("/") + "/")]
        return max(fitting, key=len)

    def _refuse_interrupted(self) -> None:
        source = self._copy.source
        record = self._undo.newest(source.host, source.name, standing=True)
        if record is not None and record.state == BEGUN:
            raise PreconditionFailed(
                f"the restore of {record.at} was interrupted in the middle of it",
                code="restore_interrupted",
                hint="take it back first, with state undone",
            )

    def apply(self, decision: Decision) -> Outcome:
        """Fetch and compare all of it, keep what is replaced, write; a failure takes back what was written."""
        steps = Steps(decision, self._task.clock, self._task.progress, self._copy.source.label())
        with workspace("config", self._task.params["staging_dir"]) as folder:
            payload = self._fetch(folder)
            if self._aside:
                Path(self._roots[0]).mkdir(mode=0o700, parents=True, exist_ok=True)
                for change in self._changes:
                    self._write(steps, change, payload)
            else:
                with self._undo.exclusive():
                    self._put_in_place(steps, payload)
        left = [one.wanted.path for one in self._changes if look(one.wanted.path, one.root) is None]
        if left:
            raise VerificationFailed(f"written, and not there any more: {name_some(left)}")
        count = count_of(len(self._changes), "path")
        where = f" below {self._roots[0]}" if self._aside else "; state undone takes it back"
        msg = f"{count} written as of {self._manifest.taken_at}{where}"
        return Outcome(msg, tuple(steps.done), (), decision.after, dict(decision.extra))

    def _fetch(self, folder: Path) -> Path:
        target = _fetch(self._restic, self._copy, folder, [])
        bad = [one for one in judge_files(self._manifest, hash_tree(target / FILES)) if one.status != OK]
        if bad:
            raise VerificationFailed(
                f"the copy is not what was stored, nothing was written: {'; '.join(one.msg for one in bad)}",
                hint="choose an earlier copy",
            )
        return target / FILES

    def _put_in_place(self, steps: Steps, payload: Path) -> None:
        now = self._task.clock.now()
        source = self._copy.source
        record = ConfigRecord(
            self._undo.next_id(now, source.host, source.name), source.host, source.name, self._copy.id,
            rfc3339(self._copy.taken), rfc3339(now), BEGUN, (),
        )  # fmt: skip
        self._undo.note(record)
        kept = tuple(self._undo.keep(record.id, number, change) for number, change in enumerate(self._changes))
        record = replace(record, kept=kept)
        self._undo.note(record)
        try:
            for change in self._changes:
                self._write(steps, change, payload)
        except OpsError as error:
            with ends_in_order():
                left = take_back(self._undo, record, self._owner)
            error.message += f"; what was written before has been taken back{_but(left)}"
            raise
        self._undo.note(record.with_state(RESTORED))

    def _write(self, steps: Steps, change: Change, payload: Path) -> None:
        wanted = change.wanted
        owner = self._owner or change.present is not None
        original = wanted.path[len(self._roots[0]) :] if self._aside else wanted.path
        with steps.doing(f"write:{shown(wanted.path)}") as note, _content(wanted, payload, original) as content:
            write(wanted, change.root, content, owner)
            now = look(wanted.path, change.root)
            if now is None or now.content() != wanted.content():
                raise VerificationFailed(f"{shown(wanted.path)} is not what was written")
            note.detail = change.reason()


@contextlib.contextmanager
def _content(entry: Entry, payload: Path, original: str) -> Iterator[Optional[BinaryIO]]:
    if entry.kind != FILE:
        yield None
        return
    with Path(str(payload) + original).open("rb") as stream:
        yield stream


def _but(left: list[str]) -> str:
    return f", but not {name_some(left)}" if left else ""


def take_back(undo: UndoStore, record: ConfigRecord, owner: bool) -> list[str]:
    """Put back what a restore replaced; return the paths that somebody has changed since, which are left alone."""
    left = [one.path for one in reversed(record.kept) if not _take_back(undo, record, one, owner)]
    undo.note(record.with_state(UNDONE))
    return left


def _take_back(undo: UndoStore, record: ConfigRecord, kept: Kept, owner: bool) -> bool:
    clear_partial(kept.path, kept.root)
    now = look(kept.path, kept.root)
    if _same(now, kept.before):
        return True
    if now is not None and now.content() != kept.placed.content():
        return False
    if kept.before is None:
        remove(kept.placed, kept.root)
        return True
    with undo.content(record, kept) as content:
        write(kept.before, kept.root, content, owner)
    return True


def _same(one: Optional[Entry], other: Optional[Entry]) -> bool:
    if one is None or other is None:
        return one is other
    return (*one.content(), one.mode, one.uid, one.gid) == (*other.content(), other.mode, other.uid, other.gid)


class ConfigUndo(Operation):
    """Take the newest restore of files back."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._undo = UndoStore(Path(params["undo_dir"] or default_undo_folder()))

    def decide(self) -> Decision:
        """Find the restore."""
        params = self._task.params
        self._record = self._undo.newest(params["source_host"], params["name"], standing=params["force"])
        return plan_undo(self._record, f"{params['source_host']}'s {params['name']}")

    def apply(self, decision: Decision) -> Outcome:
        """Put back, file by file."""
        record = self._record
        if record is None:
            raise RuntimeError("an empty plan never gets here")
        began = self._task.clock.monotonic()
        with ends_in_order(), self._undo.exclusive():
            left = [shown(path) for path in take_back(self._undo, record, os.geteuid() == 0)]
        seconds = round(self._task.clock.monotonic() - began, 3)
        steps = tuple(
            Step(one.id, SKIPPED if one.target in left else DONE, seconds, "changed since" * (one.target in left))
            for one in decision.plan
        )
        findings = (Finding("changed_since", WARNING, f"left alone: {name_some(left)}", len(left)),) if left else ()
        msg = f"the restore of {record.at} is taken back{_but(left)}"
        return Outcome(msg, steps, findings, decision.after, {"snapshot": record.copy, "taken_at": record.taken_at})
