"""Copies and proofs in a repository, made as small as they can be: the tags are what counts."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from plugins.module_utils._core.backup import Copy, Proof, Source, copy_tags, proof_tags
from tests.support.repositories import TestRepository, make_repository

APP = Source("shop", "db1", "postgresql", "app")
OTHER = Source("other", "db1", "postgresql", "app")
TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
POLICY = {
    "products": ["shop"],
    "keep_hourly": 0,
    "keep_daily": 2,
    "keep_proven": 1,
    "keep_bad": "0",
    "max_removals": "6",
}


def add_copy(repository: TestRepository, taken: datetime, source: Source = APP, **facts: Any) -> str:
    """Write a copy with a small manifest and return the full id of its snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_text(json.dumps({"format": 1, "taken_at": str(taken), **facts}))
        tags = copy_tags(Copy("", source, taken, "directory", "7001", 1000))
        return full_id(repository, repository.restic.backup(folder, host=source.host, tags=tags).snapshot)


def add_proof(repository: TestRepository, copy_id: str, at: datetime, verdict: str, source: Source = APP) -> str:
    """Write the verdict of a verification and return the full id of its snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "proof.json").write_text("{}")
        tags = proof_tags(Proof("", copy_id, source, verdict, at))
        return full_id(repository, repository.restic.backup(folder, host=source.host, tags=tags).snapshot)


def add_stranger(repository: TestRepository) -> str:
    """Write a snapshot as somebody else would."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "theirs").write_text("x")
        return full_id(repository, repository.restic.backup(folder, host="db1", tags=("nightly",)).snapshot)


def full_id(repository: TestRepository, short: str) -> str:
    (found,) = (path.name for path in (repository.location / "snapshots").iterdir() if path.name.startswith(short))
    return found


def snapshots(repository: TestRepository) -> set[str]:
    """Return the full ids of all snapshots as they lie in the folder."""
    return {path.name for path in (repository.location / "snapshots").iterdir()}


@dataclass(frozen=True)
class Known:
    """A repository with copies of days before today, by their age in days, for backup_retention with POLICY."""

    repository: TestRepository
    copies: dict[int, str]
    proofs: dict[int, str]
    orphan: str

    @classmethod
    def prepare(cls, folder: Path) -> Known:
        """Make it: 2 is bad, 5 and 6 are proven, one proof has no copy, and two snapshots are none of ours."""
        repository = make_repository(folder)
        copies = {days: add_copy(repository, TODAY - timedelta(days=days)) for days in (1, 2, 3, 4, 5, 6)}
        verdicts = {2: "critical", 5: "ok", 6: "ok"}
        proofs = {days: add_proof(repository, copies[days], TODAY, verdict) for days, verdict in verdicts.items()}
        orphan = add_proof(repository, "f" * 64, TODAY, "ok")
        add_stranger(repository)
        add_copy(repository, TODAY - timedelta(days=9), OTHER)
        return cls(repository, copies, proofs, orphan)

    def copy_to(self, folder: Path) -> Known:
        """Give a test its own."""
        shutil.copytree(self.repository.location, folder / "repository")
        return Known(TestRepository(folder), self.copies, self.proofs, self.orphan)

    def module(self, **changes: Any) -> dict[str, Any]:
        """Return the options of the module."""
        return {**self.repository.options, **POLICY, **changes}

    def leaving(self) -> set[str]:
        """Return what the policy takes: not the two newest good days (1, 3), not the proven one (5)."""
        return {*(self.copies[days] for days in (2, 4, 6)), self.proofs[2], self.proofs[6], self.orphan}
