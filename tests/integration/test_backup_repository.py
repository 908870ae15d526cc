"""backup_repository against real repositories: both keys are tried each time, nothing is made unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.repositories import PASSWORD, TestRepository, make_repository

ESCROW = "escrow-secret-91ab"


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


def options(known: TestRepository, **changes: Any) -> dict[str, Any]:
    return {**known.options, "escrow_password": ESCROW, **changes}


def escrow(result: dict[str, Any]) -> str:
    (found,) = (finding["status"] for finding in result["findings"] if finding["check"] == "escrow_key")
    return str(found)


def test_predict_make_and_nothing_left(tmp_path: Path) -> None:
    fresh = make_repository(tmp_path, create=False)
    check = run_ok("backup_repository", options(fresh, create=True), check=True)
    assert check["changed"] and not fresh.location.exists()
    real = run_ok("backup_repository", options(fresh, create=True))
    assert real["plan"] == check["plan"] and [step["status"] for step in real["steps"]] == ["done", "done"]
    assert real["after"] == check["after"] and real["status"] == check["status"] == "ok"
    keys = fresh.restic.keys()
    assert len(keys) == 2 and "oncall-escrow" in {key["userName"] for key in keys}
    again = run_ok("backup_repository", options(fresh, create=True))
    assert not again["changed"] and escrow(again) == "ok" and len(fresh.restic.keys()) == 2
    assert ESCROW not in json.dumps([real, again]) and PASSWORD not in json.dumps([real, again])


def test_an_escrow_key_that_does_not_open_it_is_critical_and_not_mended_unasked(repository: TestRepository) -> None:
    result = run_ok("backup_repository", options(repository))
    assert escrow(result) == "critical" and not result["changed"] and len(repository.restic.keys()) == 1
    check = run_ok("backup_repository", options(repository, create=True), check=True)
    assert check["changed"] and len(repository.restic.keys()) == 1
    assert escrow(run_ok("backup_repository", options(repository, create=True))) == "ok"
    assert escrow(run_ok("backup_repository", options(repository, escrow_password="a third one"))) == "critical"


def test_without_escrow_only_the_repository_is_opened(repository: TestRepository) -> None:
    result = run_ok("backup_repository", repository.options)
    assert [finding["check"] for finding in result["findings"]] == ["repository"] and not result["changed"]


def test_the_password_may_come_from_a_file(repository: TestRepository, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    changes = {**repository.options, "repository_password": None, "repository_password_file": str(file)}
    given = {name: value for name, value in changes.items() if value is not None}
    assert run_ok("backup_repository", given)["status"] == "ok"
    failed = run_failed("backup_repository", {**given, "escrow_password": PASSWORD})
    assert failed["failure"]["code"] == "invalid_value" and PASSWORD not in json.dumps(failed)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"escrow_password": PASSWORD}, "invalid_value"),
        ({"repository_password": "another"}, "wrong_key"),
        ({"repository": "/nowhere"}, "repository_missing"),
        ({"repository": "/proc/nowhere", "create": True}, "restic_failed"),
        ({"restic_path": "/nowhere/restic"}, "command_missing"),
        ({"repository_password_file": "/x"}, "invalid_arguments"),
    ],
)
def test_bad_input_has_a_code(repository: TestRepository, changes: dict[str, Any], code: str) -> None:
    failed = run_failed("backup_repository", options(repository, **changes))
    assert failed["failure"]["code"] == code and failed["failure"]["hint"]
    assert ESCROW not in json.dumps(failed) and PASSWORD not in json.dumps(failed)


def test_a_key_that_was_added_and_does_not_open_it_is_no_success(repository: TestRepository, tmp_path: Path) -> None:
    script = tmp_path / "restic"
    script.write_text('#!/bin/sh\n[ "$1" != key ] || exit 0\nexec restic "$@"\n')
    script.chmod(0o755)
    failed = run_failed("backup_repository", options(repository, create=True, restic_path=str(script)))
    assert failed["failure"]["code"] == "verification_failed" and failed["changed"] is False
