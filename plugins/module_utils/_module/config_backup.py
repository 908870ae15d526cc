# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""config_backup: files with mode and owner as one snapshot."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from .._core.backup import CONFIG, MANIFEST, Copy, copy_tags
from .._core.config_copy import (
    FILES,
    FORM,
    ConfigManifest,
    changes_between,
    check_paths,
    name_some,
    read_config_manifest,
    root_of,
)
from .._core.errors import InvalidValue, PreconditionFailed
from .._core.redact import printable
from .._core.result import OK, WARNING, Action, Decision, Finding, Outcome
from .._core.units import count_of, human_size, parse_size, rfc3339
from .._io.config_copy_read import Incomplete, Tree, TreeReader
from .._io.config_copy_stage import CopyStage, LinkStage
from .._io.restic import Restic, Written
from .._io.workspace import ends_in_order, need_room, workspace
from .copy_steps import Steps
from .repository import repository_of, source_of
from .run import Operation, Task

_LISTED = 500


class ConfigBackup(Operation):
    """Look at everything first; then copy it beside, and store that."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._source = source_of(params, CONFIG, params["name"])
        self._paths = check_paths(params["paths"], "paths")
        self._exclude = tuple(params["exclude"])
        self._max_bytes = parse_size(params["max_size"], "max_size")
        self._restic = Restic(repository_of(params))
        staging = params["staging_dir"]
        if staging and root_of(str(Path(staging).resolve()), self._paths):
            raise InvalidValue("staging_dir lies in paths: the copy would copy itself", hint="choose another one")

    def decide(self) -> Decision:
        """Read all of it and compare it with the newest copy."""
        with ends_in_order():
            tree = self._reader().read(self._paths)
        if not tree.entries:
            raise PreconditionFailed("nothing fits paths and exclude", code="nothing_chosen", hint="check both")
        manifest = self._manifest(tree)
        require_files(manifest, self._task.params["min_files"])
        self._size = manifest.size_bytes()
        newest = self._newest()
        diff = changes_between(newest[1].entries if newest else (), manifest.entries)
        facts = {"content_hash": manifest.content_hash(), "files": len(manifest.files())}
        before = {"content_hash": newest[1].content_hash() if newest else None}
        if newest and self._task.params["only_if_changed"] and before["content_hash"] == facts["content_hash"]:
            msg = f"nothing has changed since the copy of {rfc3339(newest[0].taken)}"
            return Decision(msg, findings=_findings(tree), before=before, after=before, extra=_facts(newest[0], diff))
        reason = ", ".join(f"{len(names)} {word}" for word, names in diff.items() if names) or "unchanged"
        action = Action("store", "store", self._source.label(), reason, "restic backup")
        after = {"content_hash": facts["content_hash"]}
        return Decision(
            f"will store {count_of(int(facts['files']), 'file')}, {human_size(manifest.size_bytes())}",
            (action,),
            _findings(tree),
            before,
            after,
            {"changes": _printable(diff)},
        )

    def _reader(self) -> TreeReader:
        return TreeReader(self._exclude, self._max_bytes)

    def _newest(self) -> Optional[tuple[Copy, ConfigManifest]]:
        if self._task.params["repository_create"] and not self._restic.exists():
            return None
        copies = self._restic.catalog().of(self._source)
        if not copies:
            return None
        return copies[-1], read_config_manifest(self._restic.read_file(copies[-1].id, f"/{MANIFEST}"))

    def _manifest(self, tree: Tree) -> ConfigManifest:
        return ConfigManifest(
            product=self._source.product,
            host=self._source.host,
            name=self._source.name,
            taken_at=rfc3339(self._task.clock.now()),
            paths=self._paths,
            exclude=self._exclude,
            entries=tuple(tree.entries),
            skipped=tuple(tree.skipped),
        )

    def apply(self, decision: Decision) -> Outcome:
        """Copy into a folder of our own, then store that folder as one snapshot."""
        if self._task.params["repository_create"] and not self._restic.exists():
            self._restic.create()
        steps = Steps(decision, self._task.clock, self._task.progress, self._source.label())
        with steps.doing("store") as note, workspace("config", self._task.params["staging_dir"]) as folder:
            payload = folder / "copy"
            payload.mkdir(mode=0o700)
            moment = self._task.clock.now()
            stage = self._stage(payload)
            tree = self._reader().read(self._paths, stage.open)
            manifest = self._manifest(tree)
            require_files(manifest, self._task.params["min_files"])
            (payload / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            copy = Copy("", self._source, moment, FORM, "", manifest.size_bytes())
            written = self._restic.backup(
                str(payload), host=self._source.host, tags=copy_tags(copy), on_progress=steps.stored
            )
            self._check(stage, manifest, written)
            note.detail = f"snapshot {written.snapshot[:8]}, {human_size(written.added_bytes)} new"
        files = len(manifest.files())
        msg = (
            f"{self._source.label()}: {count_of(files, 'file')}, {human_size(manifest.size_bytes())}, "
            f"as snapshot {written.snapshot[:8]}"
        )
        facts = {
            **decision.extra,
            "snapshot": written.snapshot,
            "taken_at": rfc3339(moment),
            "files": files,
            "size_bytes": manifest.size_bytes(),
            "added_bytes": written.added_bytes,
            "newest": newest_file(manifest),
        }
        after = {"content_hash": manifest.content_hash()}
        return Outcome(msg, tuple(steps.done), _findings(tree), after, facts)

    def _stage(self, payload: Path) -> CopyStage:
        if self._task.params["staging"] == "link":
            return LinkStage(payload / FILES)
        need_room(payload, self._size, "the copy")
        return CopyStage(payload / FILES)

    def _check(self, stage: CopyStage, manifest: ConfigManifest, written: Written) -> None:
        try:
            stage.check(manifest)
        except Incomplete:
            self._restic.forget([one.id for one in self._restic.snapshots() if one.id.startswith(written.snapshot)])
            raise


def _findings(tree: Tree) -> tuple[Finding, ...]:
    links = [entry.path for entry in tree.entries if entry.kind == "link"]
    findings = [Finding("read", OK, f"{count_of(len(tree.entries), 'path')} read", len(tree.entries), "paths")]
    if tree.skipped:
        named = name_some(f"{one.path} ({one.reason})" for one in tree.skipped)
        findings.append(Finding("special", OK, f"left out, they hold no content: {named}", len(tree.skipped), "paths"))
    if tree.unmatched:
        text = f"fitted nothing: {name_some(tree.unmatched)}"
        findings.append(Finding("unmatched", WARNING, text, len(tree.unmatched), "patterns"))
    if links:
        text = f"kept as links, what they point to is copied only where paths name it: {name_some(links)}"
        findings.append(Finding("links", OK, text, len(links), "paths"))
    return tuple(findings)


def require_files(manifest: ConfigManifest, least: int) -> None:
    """Refuse a tree that has lost what must be in it: a disk that is not mounted is an empty folder.

    Raises:
        PreconditionFailed: there are fewer files (code ``too_few_files``).
    """
    found = len(manifest.files())
    if found < least:
        raise PreconditionFailed(
            f"{count_of(found, 'file')} where at least {least} must be: {name_some(manifest.paths)}",
            code="too_few_files",
            hint="is their disk mounted? When they are gone for good, lower min_files",
            details={"files": found, "min_files": least},
        )


def newest_file(manifest: ConfigManifest) -> Optional[dict[str, str]]:
    """Return the file that was written last, and when."""
    newest = max(manifest.files(), key=lambda entry: entry.mtime_ns, default=None)
    if newest is None:
        return None
    at = datetime.fromtimestamp(newest.mtime_ns // 10**9, timezone.utc)
    return {"path": printable(newest.path), "at": rfc3339(at)}


def _printable(diff: dict[str, list[str]]) -> dict[str, list[str]]:
    return {word: [printable(name) for name in names[:_LISTED]] for word, names in diff.items()}


def _facts(copy: Copy, diff: dict[str, list[str]]) -> dict[str, Any]:
    return {"snapshot": copy.id, "taken_at": rfc3339(copy.taken), "changes": _printable(diff)}
