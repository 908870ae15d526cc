"""backup_retention against real repositories: exactly the planned snapshots go."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Source
from tests.support.copies import TODAY, Known, add_copy, snapshots
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import PASSWORD, TestRepository


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known.prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def known(prepared: Known, tmp_path: Path) -> Known:
    return prepared.copy_to(tmp_path)


def test_predict_do_and_nothing_left(known: Known) -> None:
    before = snapshots(known.repository)
    check = run_ok("backup_retention", known.module(), check=True)
    assert snapshots(known.repository) == before and check["changed"]
    planned = {one for action in check["plan"] if action["action"] != "prune" for one in action["command"].split()[2:]}
    assert planned == known.leaving()

    real = run_ok("backup_retention", known.module(), diff=True)
    assert real["plan"] == check["plan"] and real["changed"]
    assert before - snapshots(known.repository) == known.leaving()
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
    (tags,) = (one.tags for one in repository.restic.snapshots() if one.id == snapshot)
    arguments = [part for tag in tags for part in ("--tag", tag)]
    again = ["backup", "--time", f"{taken:%Y-%m-%d %H:%M:%S}", "--host", "db1", *arguments, "/etc/hostname"]
    for command in (again, ["forget", snapshot]):
        subprocess.run(["restic", *command], env={**os.environ, **environment}, check=True, capture_output=True)


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


def test_without_prune_the_data_stays(known: Known) -> None:
    packs = sorted(known.repository.location.glob("data/*/*"))
    result = run_ok("backup_retention", known.module(prune=False))
    assert "prune" not in {action["action"] for action in result["plan"]}
    assert sorted(known.repository.location.glob("data/*/*")) == packs
