"""backup_retention against real repositories: exactly the planned snapshots go, or it says why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Source
from plugins.module_utils._io.process import started
from tests.support.copies import add_copy, add_proof, add_stranger, snapshots
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import PASSWORD, TestRepository, make_repository

TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
OTHER = Source("other", "db1", "postgresql", "app")
POLICY = {
    "products": ["shop"],
    "keep_hourly": 0,
    "keep_daily": 2,
    "keep_proven": 1,
    "keep_bad": "0",
    "max_removals": "6",
}


@dataclass(frozen=True)
class Known:
    """A repository with copies of days before today, by their age in days."""

    repository: TestRepository
    copies: dict[int, str]
    proofs: dict[int, str]
    orphan: str
    others: frozenset[str]

    def module(self, **changes: Any) -> dict[str, Any]:
        return {**self.repository.options, **POLICY, **changes}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Known:
    repository = make_repository(tmp_path_factory.mktemp("prepared"))
    copies = {days: add_copy(repository, TODAY - timedelta(days=days)) for days in (1, 2, 3, 4, 5, 6)}
    bad, proven = add_proof(repository, copies[2], TODAY, "critical"), add_proof(repository, copies[5], TODAY, "ok")
    gone = add_proof(repository, copies[6], TODAY, "ok")
    orphan = add_proof(repository, "f" * 64, TODAY, "ok")
    others = frozenset({add_stranger(repository), add_copy(repository, TODAY - timedelta(days=9), OTHER)})
    return Known(repository, copies, {2: bad, 5: proven, 6: gone}, orphan, others)


@pytest.fixture
def known(prepared: Known, tmp_path: Path) -> Iterator[Known]:
    shutil.copytree(prepared.repository.location, tmp_path / "repository")
    yield Known(TestRepository(tmp_path), prepared.copies, prepared.proofs, prepared.orphan, prepared.others)


def leaving(known: Known) -> set[str]:
    """What the policy takes: not the two newest good days (1, 3), not the proven one (5)."""
    return {known.copies[2], known.copies[4], known.copies[6], known.proofs[2], known.proofs[6], known.orphan}


def test_predict_do_and_nothing_left(known: Known) -> None:
    before = snapshots(known.repository)
    check = run_ok("backup_retention", known.module(), check=True)
    assert snapshots(known.repository) == before and check["changed"]
    planned = {one for action in check["plan"] if action["action"] != "prune" for one in action["command"].split()[2:]}
    assert planned == leaving(known)

    real = run_ok("backup_retention", known.module(), diff=True)
    assert real["plan"] == check["plan"] and real["changed"]
    assert before - snapshots(known.repository) == leaving(known)
    assert {step["status"] for step in real["steps"]} == {"done"}
    assert (real["after"]["copies"], real["after"]["proofs"]) == (check["after"]["copies"], check["after"]["proofs"])
    assert 0 < real["after"]["stored_bytes"] < real["before"]["stored_bytes"]
    assert [row["reason"] for row in real["kept"]] == [
        "proven to restore (number 1 from the newest)",
        f"newest of the day {TODAY - timedelta(days=3):%Y-%m-%d}",
        "the newest of its source",
    ]
    known.repository.restic.check("100%")

    again = run_ok("backup_retention", known.module())
    assert not again["changed"] and again["plan"] == [] and again["msg"].startswith("nothing to remove")


def test_the_periods_are_those_of_restic(known: Known) -> None:
    """The same policy by restic's own hand, where neither proofs nor bad copies come into it."""
    repository = known.repository
    for hours in (30.5, 31, 31.2, 80, 200, 700):
        add_copy(repository, TODAY - timedelta(hours=hours), Source("third", "db1", "postgresql", "app"))
    product = [one for one in repository.catalog().copies if one.source.product == "third"]
    for one in product:  # restic goes by the time of the snapshot: give it ours
        rewrite_time(repository, one.id, one.taken)
    rules = {"keep_hourly": 2, "keep_daily": 3, "keep_weekly": 3, "keep_monthly": 2}
    options = [f"--{name.replace('_', '-')}={number}" for name, number in rules.items()]
    command = ["restic", "forget", "--dry-run", "--json", "--tag", "product=third", "--group-by", "host", *options]
    environment = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(repository.location), "TZ": "UTC"}
    answer = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    theirs = {
        datetime.fromisoformat(one["time"].replace("Z", "+00:00")) for one in json.loads(answer.stdout)[0]["keep"]
    }
    module = known.module(products=["third"], max_removals="100%", **rules)
    ours = {datetime.fromisoformat(row["taken"].replace("Z", "+00:00"))
            for row in run_ok("backup_retention", module, check=True)["kept"]}  # fmt: skip
    assert ours == theirs and len(ours) < len(product)


def rewrite_time(repository: TestRepository, snapshot: str, taken: datetime) -> None:
    """Write the same copy again with the time of the snapshot that restic is to go by."""
    environment = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(repository.location), "TZ": "UTC"}
    run = {"env": {**os.environ, **environment}, "check": True, "capture_output": True}
    (tags,) = (one.tags for one in repository.restic.snapshots() if one.id == snapshot)
    arguments = [part for tag in tags for part in ("--tag", tag)]
    time = f"{taken:%Y-%m-%d %H:%M:%S}"
    subprocess.run(["restic", "backup", "--time", time, "--host", "db1", *arguments, "/etc/hostname"], **run)  # type: ignore[call-overload]
    subprocess.run(["restic", "forget", snapshot], **run)  # type: ignore[call-overload]


def test_too_many_at_once_need_a_confirmation_that_names_the_repository(known: Known) -> None:
    before = snapshots(known.repository)
    refused = run_failed("backup_retention", known.module(max_removals="20%"))
    assert refused["failure"]["code"] == "blast_cap_exceeded" and snapshots(known.repository) == before
    wrong = run_failed("backup_retention", known.module(max_removals="20%", confirm="shop"))
    assert wrong["failure"]["code"] == "confirmation_missing" and snapshots(known.repository) == before
    confirmed = known.module(max_removals="20%", confirm=known.repository.options["repository"])
    assert run_ok("backup_retention", confirmed, check=True)["changed"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"keep_daily": 0}, "invalid_value"),
        ({"keep_proven": 0}, "invalid_value"),
        ({"max_removals": "most"}, "invalid_value"),
        ({"protect_newer_than": "yesterday"}, "invalid_value"),
        ({"keep_bad": "long"}, "invalid_value"),
        ({"products": None}, "invalid_arguments"),
        ({"repository_password": "another"}, "wrong_key"),
        ({"repository": "/nowhere"}, "repository_missing"),
        ({"restic_path": "/nowhere/restic"}, "command_missing"),
    ],
)
def test_bad_input_changes_nothing(known: Known, changes: dict[str, Any], code: str) -> None:
    before = snapshots(known.repository)
    options = {name: value for name, value in known.module(**changes).items() if value is not None}
    failed = run_failed("backup_retention", options)
    assert failed["failure"]["code"] == code and failed["failure"]["hint"]
    assert snapshots(known.repository) == before and PASSWORD not in json.dumps(failed)


def test_a_clock_that_jumped_stops_it(known: Known) -> None:
    add_copy(known.repository, datetime.now(timezone.utc) + timedelta(days=400))
    before = snapshots(known.repository)
    assert run_failed("backup_retention", known.module())["failure"]["code"] == "clock_skew"
    assert snapshots(known.repository) == before


def test_a_run_that_is_alive_is_not_disturbed_and_a_dead_one_is_no_obstacle(known: Known) -> None:
    restic, before = known.repository.restic, snapshots(known.repository)
    program = restic.stdin_program("x", host="db1", tags=())
    with started(program, stdin=subprocess.PIPE) as living:
        living.stdin.write(b"x" * 100_000)
        living.stdin.flush()
        wait_for_locks(known.repository, 1)
        failed = run_failed("backup_retention", known.module())
        assert failed["failure"]["code"] == "repository_locked" and snapshots(known.repository) == before
        assert {step["id"]: step["status"] for step in failed["steps"]}["unlock"] == "skipped"
        assert "failed" in {step["status"] for step in failed["steps"]} and failed["changed"] is False
        living.kill()
        living.wait()
    assert len(restic.locks()) == 1
    done = run_ok("backup_retention", known.module())
    assert done["steps"][0]["detail"] == "1 lock of dead runs removed, 0 of living runs left"
    assert before - snapshots(known.repository) == leaving(known) and restic.locks() == []


def wait_for_locks(repository: TestRepository, number: int) -> None:
    for _attempt in range(100):
        if len(repository.restic.locks()) == number:
            return
    pytest.fail("waited for the lock, in vain")


def stubborn(folder: Path, body: str) -> str:
    """Write a restic that behaves like the real one but for one command."""
    script = folder / "restic"
    script.write_text(f'#!/bin/sh\n{body}\nexec restic "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_a_repository_that_only_pretends_to_forget_is_found_out(known: Known, tmp_path: Path) -> None:
    """As an append-only server does that answers well and keeps everything."""
    script = stubborn(tmp_path, '[ "$1" != forget ] || exit 0')
    failed = run_failed("backup_retention", known.module(restic_path=script))
    assert failed["failure"]["code"] == "verification_failed" and failed["changed"] is False
    assert {step["status"] for step in failed["steps"]} == {"failed"}


def test_what_vanishes_besides_is_told(known: Known, tmp_path: Path) -> None:
    script = stubborn(tmp_path, f'[ "$1" != forget ] || rm -f {known.repository.location}/snapshots/{known.copies[1]}')
    failed = run_failed("backup_retention", known.module(restic_path=script))
    assert failed["failure"]["code"] == "verification_failed" and "nobody here removed" in failed["msg"]
    assert failed["failure"]["details"]["snapshots"] == [known.copies[1]] and failed["changed"] is True


def test_a_prune_that_fails_tells_what_was_done_before_it(known: Known, tmp_path: Path) -> None:
    before = snapshots(known.repository)
    script = stubborn(tmp_path, '[ "$1" != prune ] || { echo "write: no space left on device" >&2; exit 1; }')
    failed = run_failed("backup_retention", known.module(restic_path=script))
    assert failed["failure"]["code"] == "disk_full" and failed["changed"] is True
    assert before - snapshots(known.repository) == leaving(known)
    assert [step["status"] for step in failed["steps"]] == ["done"] * 4 + ["failed"]


def test_without_prune_the_data_stays(known: Known) -> None:
    packs = sorted(known.repository.location.glob("data/*/*"))
    result = run_ok("backup_retention", known.module(prune=False))
    assert "prune" not in {action["action"] for action in result["plan"]}
    assert sorted(known.repository.location.glob("data/*/*")) == packs
