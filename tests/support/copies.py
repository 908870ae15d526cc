"""Copies and proofs in a repository, made as small as they can be: the tags are what counts."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from plugins.module_utils._core.backup import Copy, Proof, Source, copy_tags, proof_tags
from tests.support.repositories import TestRepository

APP = Source("shop", "db1", "postgresql", "app")


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
