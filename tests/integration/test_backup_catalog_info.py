"""backup_catalog_info against real repositories: what it says, and what it says when it cannot look."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io.process import started
from tests.support.copies import APP, add_copy, add_proof, add_stranger, snapshots
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import PASSWORD, TestRepository, make_repository

NOW = datetime.now(timezone.utc).replace(microsecond=0)
EXPECTED = {"product": "shop", "host": "db1", "kind": "postgresql", "name": "app"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> TestRepository:
    """A fresh copy, one of two days ago that was proven an hour ago, and something of somebody else."""
    repository = make_repository(tmp_path_factory.mktemp("prepared"))
    old = add_copy(repository, NOW - timedelta(days=2))
    add_copy(repository, NOW - timedelta(minutes=30), database="app", tables=[{"rows": 2}, {"rows": 3}])
    add_proof(repository, old, NOW - timedelta(hours=1), "ok")
    add_stranger(repository)
    return repository


@pytest.fixture
def repository(prepared: TestRepository, tmp_path: Path) -> TestRepository:
    shutil.copytree(prepared.location, tmp_path / "repository")
    return TestRepository(tmp_path)


def look(repository: TestRepository, **options: Any) -> dict[str, Any]:
    return run_ok("backup_catalog_info", {**repository.options, **options})


def status_of(result: dict[str, Any], check: str) -> str:
    (found,) = (finding for finding in result["findings"] if finding["check"] == check)
    return str(found["status"])


def test_what_there_is(repository: TestRepository) -> None:
    before = snapshots(repository)
    result = look(repository, expected=[EXPECTED], facts=True, stored=True, check="structure")
    assert result["status"] == "ok" and not result["changed"] and snapshots(repository) == before
    (source,) = result["sources"]
    assert source["copies"] == 2 and source["newest"] == result["copies"][1]["id"]
    assert source["proven"] == result["copies"][0]["id"] and result["copies"][0]["verdict"] == "proven"
    assert 1800 <= source["age_seconds"] < 3600 * 4
    assert source["facts"]["rows"] == 5 and source["facts"]["tables"] == 2
    assert len(result["strangers"]) == 1 and result["stored_bytes"] > 0
    assert status_of(result, "repository_check") == "ok"


def test_what_is_missing_stale_or_not_new_is_critical(repository: TestRepository) -> None:
    missing = {**EXPECTED, "kind": "redis", "name": "main"}
    result = look(repository, expected=[EXPECTED, missing], max_age="10m", max_proof_age="10m")
    bad = {finding["check"] for finding in result["findings"] if finding["status"] == "critical"}
    assert bad == {"copy_missing", "backup_age", "proof_age"} and result["status"] == "critical"
    known = [copy["id"] for copy in result["copies"]]
    assert status_of(look(repository, known_copies=known), "no_new_copy") == "critical"
    add_copy(repository, NOW - timedelta(days=1))  # a source whose clock is slow: new all the same
    assert look(repository, known_copies=known)["status"] == "ok"


def test_a_manifest_that_cannot_be_read_is_critical(repository: TestRepository) -> None:
    add_copy(repository, NOW, APP)
    newest = look(repository)["copies"][-1]["id"]
    script = repository.folder / "restic"
    script.write_text('#!/bin/sh\n[ "$1" != dump ] || { echo "["; exit 0; }\nexec restic "$@"\n')
    script.chmod(0o755)
    result = look(repository, facts=True, restic_path=str(script))
    assert status_of(result, "manifest_unreadable") == "critical" and result["sources"][0]["newest"] == newest


def test_a_lock_is_no_obstacle_but_for_the_check(repository: TestRepository) -> None:
    with started(repository.restic.stdin_program("x", host="h", tags=()), stdin=subprocess.PIPE) as living:
        living.stdin.write(b"x" * 100_000)
        living.stdin.flush()
        while not repository.restic.locks():
            assert living.poll() is None
        result = look(repository, check="structure")
    assert status_of(result, "repository_check") == "unknown" and status_of(result, "backup_age") == "ok"


def test_damage_is_critical(repository: TestRepository) -> None:
    snapshot = max(repository.location.glob("snapshots/*"))
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.chmod(0o600)
    snapshot.write_bytes(data)
    result = look(repository, expected=[EXPECTED], restic_cache_dir=str(repository.folder / "empty"))
    assert result["status"] == "critical"
    pack = max(repository.location.glob("data/*/*"), key=lambda path: path.stat().st_size)
    snapshot.unlink()
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-20])
    assert status_of(look(repository, check="100%"), "repository_check") == "critical"


@pytest.mark.parametrize("address", ["rest:http://127.0.0.1:{port}/", "sftp://nobody@127.0.0.1:{port}//x"])
def test_a_repository_that_does_not_answer_is_unknown_and_no_failure(repository: TestRepository, address: str) -> None:
    with socket.socket() as held:  # bound and never listening: nobody else can answer there
        held.bind(("127.0.0.1", 0))
        options = {**repository.options, "repository": address.format(port=held.getsockname()[1])}
        result = run_ok("backup_catalog_info", {**options, "expected": [EXPECTED]})
    assert result["status"] == "unknown" and {finding["status"] for finding in result["findings"]} == {"unknown"}
    assert result["findings"][0]["value"] == "repository_unreachable"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"repository_password": "another"}, "wrong_key"),
        ({"repository": "/nowhere"}, "repository_missing"),
        ({"restic_path": "/nowhere/restic"}, "command_missing"),
        ({"max_age": "soon"}, "invalid_value"),
        ({"check": "half"}, "invalid_value"),
        ({"expected": [{**EXPECTED, "kind": "mysql"}]}, "invalid_arguments"),
        ({"repository_password_file": "/x"}, "invalid_arguments"),
    ],
)
def test_a_mistake_in_the_options_fails(repository: TestRepository, changes: dict[str, Any], code: str) -> None:
    failed = run_failed("backup_catalog_info", {**repository.options, **changes})
    assert failed["failure"]["code"] == code and failed["failure"]["hint"]
    assert PASSWORD not in json.dumps(failed)
