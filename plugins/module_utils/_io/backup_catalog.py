# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Look into a repository of backups without changing or locking anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Callable, Mapping, Optional

from .._core.backup import MANIFEST, Catalog, Copy
from .._core.backup_catalog import READINGS, Look, Policy, newest_copies, summary_of_facts
from .._core.backup_manifest import STREAM
from .._core.errors import OpsError
from .._core.result import CRITICAL, OK, UNKNOWN, Finding
from .backup_fetch import read_head
from .restic import Restic


def look_into(restic: Restic, policy: Policy, facts: bool, stored: bool, check: Optional[str]) -> Look:
    """Return what the repository holds. ``check`` None: not asked; "": its structure; "10%": that part of the data too.

    Raises:
        OpsError: it can only be a mistake of whoever asks: wrong key, wrong place, no program.
    """
    listing = _Reading("repository", "list the repository")
    catalog = listing.read(restic.catalog)
    if catalog is None:
        return Look(None, listing.findings)
    findings = [Finding("repository", OK, "the repository opens and can be listed")]
    read_facts: Mapping[str, Mapping[str, Any]] = {}
    if facts:
        read_facts, troubles = _facts_of(restic, catalog, policy)
        findings += troubles
    size = _Reading("stored_bytes", "measure what is stored")
    stored_bytes = size.read(restic.stored_bytes) if stored else None
    findings += size.findings
    if check is not None:
        findings += _check(restic, check)
    return Look(catalog, tuple(findings), read_facts, stored_bytes)


class _Reading:
    """Turns a trouble that is a reading into a finding."""

    def __init__(self, check: str, what: str) -> None:
        self._check, self._what = check, what
        self.findings: tuple[Finding, ...] = ()

    def read(self, ask: Callable[[], Any]) -> Any:
        """Return the answer, None with a finding when there is none."""
        try:
            return ask()
        except OpsError as error:
            if error.code not in READINGS:
                raise
            self.findings = (Finding(self._check, READINGS[error.code], f"{self._what}: {error.message}", error.code),)
            return None


def _check(restic: Restic, part: str) -> tuple[Finding, ...]:
    reading = _Reading("repository_check", "check the repository")
    reading.read(lambda: restic.check(part))
    what = f"its structure and {part} of its data" if part else "its structure"
    return reading.findings or (Finding("repository_check", OK, f"the repository is whole: {what}"),)


def _facts_of(restic: Restic, catalog: Catalog, policy: Policy) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Return the facts of the newest copy of each source; those that cannot be read are findings."""
    found: dict[str, dict[str, Any]] = {}
    troubles: list[Finding] = []
    for copy in newest_copies(catalog, policy):
        try:
            found[copy.id] = dict(summary_of_facts(_manifest(restic, copy)))
        except (OpsError, ValueError, AttributeError) as error:
            code = getattr(error, "code", "manifest_unreadable")
            status = UNKNOWN if READINGS.get(code) == UNKNOWN else CRITICAL
            msg = f"{copy.source.label()}: the facts of its newest copy cannot be read: {error}"
            troubles.append(Finding("manifest_unreadable", status, msg, code))
    return found, troubles


def _manifest(restic: Restic, copy: Copy) -> Mapping[str, Any]:
    if copy.form == STREAM:
        return asdict(read_head(restic, copy).manifest)
    content: Mapping[str, Any] = json.loads(restic.read_file(copy.id, f"/{MANIFEST}"))
    content.keys()  # a manifest is a mapping; anything else raises here
    return content
