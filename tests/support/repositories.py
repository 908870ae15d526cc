"""A restic repository of one test, and what is in it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Catalog
from plugins.module_utils._io.restic import Repository, Restic
from tests.support.restic_key import make_key_cheap

PASSWORD = "repository-secret-7f3a"


@dataclass(frozen=True)
class TestRepository:
    """A local repository below a test's folder; ``options`` are the module options that open it."""

    __test__ = False

    folder: Path

    @property
    def location(self) -> Path:
        return self.folder / "repository"

    @property
    def options(self) -> dict[str, Any]:
        return {
            "repository": str(self.location),
            "repository_password": PASSWORD,
            "restic_cache_dir": str(self.folder / "cache"),
        }

    @property
    def restic(self) -> Restic:
        cache = str(self.folder / "cache")
        return Restic(Repository(location=str(self.location), password=PASSWORD, cache_dir=cache, timeout=600))

    def catalog(self) -> Catalog:
        return self.restic.catalog()

    def damage_snapshot(self, snapshot: str) -> dict[str, Any]:
        """Flip a bit of a snapshot's file; return options whose cache does not have it as it was."""
        path = self.location / "snapshots" / snapshot
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return {"restic_cache_dir": str(self.folder / "another cache")}


def make_repository(folder: Path, create: bool = True) -> TestRepository:
    if shutil.which("restic") is None:
        pytest.fail("restic is not installed: run `make setup`")
    repository = TestRepository(folder)
    if create:
        shutil.copytree(_template(), repository.location)
    return repository


@functools.cache
def _template() -> Path:
    """Make one empty repository for this process, whose key is cheap to derive."""
    place = Path(tempfile.mkdtemp(prefix="oncall-restic-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    template = TestRepository(place)
    template.restic.create()
    make_key_cheap(template.location, PASSWORD)
    return template.location
