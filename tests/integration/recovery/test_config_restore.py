"""config_restore on real files: proof, aside, in place, a second run, and the way back."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.errors import VerificationFailed
from plugins.module_utils._io.config_copy_undo import UndoStore
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository

MODULE = "config_restore"
SOURCE = {"product": "shop", "source_host": "app1"}
SECRET = "hunter2-4411"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "shop"
    (folder / "conf.d" / "empty").mkdir(parents=True)
    (folder / "env").write_text(f"PASSWORD={SECRET}\n")
    (folder / "env").chmod(0o640)
    (folder / "conf.d" / "a.conf").write_bytes(b"a" * 3000)
    (folder / "passwd").symlink_to("/etc/passwd")
    return folder


@pytest.fixture
def repository(tmp_path: Path, tree: Path) -> TestRepository:
    """A repository with a copy of the tree."""
    repository = make_repository(tmp_path)
    run_ok("config_backup", {**repository.options, **SOURCE, "paths": [str(tree)]})
    return repository


def options(repository: TestRepository, target: str, **more: Any) -> dict[str, Any]:
    undo = str(repository.folder / "undo")
    return {**repository.options, **SOURCE, "target": target, "undo_dir": undo, **more}


def live(repository: TestRepository, **more: Any) -> dict[str, Any]:
    return options(repository, "live", confirm="app1", roots=[str(repository.folder / "etc")], **more)


def state_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return kind, mode, owner and content of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = 0 if path.is_symlink() else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(folder))] = (mode, status.st_uid, status.st_gid, content)
    return found


def damage(tree: Path) -> None:
    (tree / "env").write_text("PASSWORD=lost\n")
    (tree / "env").chmod(0o600)
    (tree / "conf.d" / "a.conf").unlink()
    (tree / "passwd").unlink()
    (tree / "mine").write_text("not in the copy")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"confirm": None}, "confirmation_missing"),
        ({"confirm": "app2"}, "confirmation_missing"),
        ({"target_host": "app2"}, "confirmation_missing"),
        ({"roots": []}, "invalid_value"),
        ({"roots": ["etc"]}, "invalid_value"),
        ({"roots": ["/srv/elsewhere"]}, "path_refused"),
        ({"only": ["nothing"]}, "nothing_chosen"),
        ({"at": "20200101-000000"}, "no_copy_old_enough"),
        ({"source_host": "app2", "confirm": "app2"}, "no_copy"),
        ({"target": "aside"}, "invalid_value"),
        ({"target": "aside", "directory": "relative"}, "invalid_value"),
        ({"target": "aside", "directory": "/tmp/x", "state": "undone"}, "invalid_value"),
        ({"repository_password": "not-the-key"}, "wrong_key"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(
    repository: TestRepository, tree: Path, wrong: dict[str, Any], code: str
) -> None:
    damage(tree)
    before = state_of(tree)
    result = run_failed(MODULE, {**live(repository), **wrong})
    assert result["failure"]["code"] == code, result
    assert state_of(tree) == before and not (repository.folder / "undo").exists()


def test_a_proof_is_kept_with_the_copy(repository: TestRepository) -> None:
    predicted = run_ok(MODULE, options(repository, "throwaway"), check=True)
    assert repository.catalog().proofs == ()
    result = run_ok(MODULE, options(repository, "throwaway"))
    assert (result["plan"], result["verdict"]) == (predicted["plan"], "ok")
    catalog = repository.catalog()
    assert catalog.verdict_of(catalog.copies[0]) == "proven"
    evidence = repository.restic.read_file(catalog.proofs[0].id, "/proof.json")
    assert '"verdict": "ok"' in evidence and SECRET not in evidence + json.dumps(result)


@pytest.mark.parametrize("target", ["throwaway", "live"])
def test_a_newer_copy_that_cannot_be_read_is_told(repository: TestRepository, tree: Path, target: str) -> None:
    older = repository.catalog().copies[0].id
    run_ok("config_backup", {**repository.options, **SOURCE, "paths": [str(tree)], "only_if_changed": False})
    damage(tree)
    asked = live(repository) if target == "live" else options(repository, target)
    (newer,) = {one.id for one in repository.catalog().copies} - {older}
    asked |= repository.damage_snapshot(newer)
    for check in (True, False):
        result = run_ok(MODULE, asked, check=check)
        told = {one["check"]: (one["status"], one["value"]) for one in result["findings"]}
        assert (result["snapshot"], told["snapshots_unreadable"], result["changed"]) == (older, ("warning", 1), True)
    failed = run_failed(MODULE, {**asked, "at": "20200101-000000"})
    assert failed["failure"]["code"] == "no_copy_old_enough" and "1 snapshot cannot be read" in failed["msg"]


def test_check_real_second_run_and_the_way_back(repository: TestRepository, tree: Path) -> None:
    good = state_of(tree)
    damage(tree)
    damaged = state_of(tree)
    predicted = run_ok(MODULE, live(repository), check=True, diff=True)
    assert predicted["changed"] and state_of(tree) == damaged
    assert SECRET not in json.dumps(predicted) and "lost" not in json.dumps(predicted)
    reasons = {Path(one["target"]).name: one["reason"] for one in predicted["plan"]}
    assert reasons == {"env": "content and mode 0600 instead of 0640", "a.conf": "is missing", "passwd": "is missing"}

    result = run_ok(MODULE, live(repository))
    assert (result["plan"], result["after"]) == (predicted["plan"], predicted["after"])
    assert state_of(tree) == {**good, "mine": damaged["mine"]}
    assert SECRET not in json.dumps(result)

    again = run_ok(MODULE, live(repository))
    assert (again["changed"], again["plan"]) == (False, [])

    undo = {**live(repository), "state": "undone"}
    assert run_ok(MODULE, undo, check=True)["changed"] and state_of(tree) != damaged
    undone = run_ok(MODULE, undo)
    assert [one["status"] for one in undone["steps"]] == ["done"] * 3
    assert state_of(tree) == damaged
    assert run_ok(MODULE, undo)["changed"] is False and state_of(tree) == damaged


def test_an_undo_stops_at_a_restore_that_was_undone(repository: TestRepository, tree: Path) -> None:
    undo = {**live(repository), "state": "undone"}
    damage(tree)
    run_ok(MODULE, live(repository, only=["passwd"]))
    run_ok(MODULE, live(repository, only=["env"]))
    run_ok(MODULE, undo)
    for check in (True, False):
        again = run_ok(MODULE, undo, check=check)
        assert (again["changed"], again["plan"], again["findings"][0]["check"]) == (False, [], "already_undone"), again
    assert (tree / "passwd").is_symlink()

    assert run_ok(MODULE, {**undo, "force": True})["changed"] and not (tree / "passwd").is_symlink()
    assert run_failed(MODULE, {**undo, "force": True})["failure"]["code"] == "no_kept_restore"


def test_a_clock_that_was_set_back_does_not_change_which_restore_is_the_newest(
    repository: TestRepository, tree: Path
) -> None:
    undo = {**live(repository), "state": "undone"}
    damage(tree)
    run_ok(MODULE, live(repository, only=["passwd"]))
    (record,) = (repository.folder / "undo").glob("*/record.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "id": "29991231-000000-000000"}))
    record.parent.rename(record.parent.with_name("29991231-000000-000000"))
    run_ok(MODULE, live(repository, only=["env"]))
    run_ok(MODULE, undo)
    assert (tree / "passwd").is_symlink()
    run_ok(MODULE, {**undo, "force": True})
    assert not (tree / "passwd").is_symlink()


def test_a_restore_that_wrote_nothing_is_in_nobodys_way(
    repository: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(*_unused: Any) -> None:
        raise VerificationFailed("changed by somebody else a moment ago")

    run_ok(MODULE, live(repository))
    damage(tree)
    with monkeypatch.context() as patch:
        patch.setattr(UndoStore, "keep", moved)
        assert run_failed(MODULE, live(repository))["failure"]["code"] == "verification_failed"
    assert run_failed(MODULE, {**live(repository), "state": "undone"})["failure"]["code"] == "no_kept_restore"
    assert run_ok(MODULE, live(repository))["changed"]


def test_the_host_that_is_overwritten_is_confirmed(repository: TestRepository, tree: Path) -> None:
    damage(tree)
    elsewhere = {**live(repository), "target_host": "app-prod"}
    refused = run_failed(MODULE, elsewhere)
    assert refused["failure"]["code"] == "confirmation_missing" and "app-prod" in refused["failure"]["hint"]
    run_ok(MODULE, {**elsewhere, "confirm": "app-prod"})
    assert SECRET in (tree / "env").read_text()


def test_what_was_replaced_is_kept_for_its_owner_alone(repository: TestRepository, tree: Path) -> None:
    damage(tree)
    run_ok(MODULE, live(repository))
    undo = repository.folder / "undo"
    kept = [undo, *undo.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in kept} == {0}
    assert any(path.is_file() and path.read_bytes() == b"PASSWORD=lost\n" for path in kept)


def test_only_some_paths(repository: TestRepository, tree: Path) -> None:
    damage(tree)
    run_ok(MODULE, live(repository, only=["env"]))
    assert (tree / "env").read_text().endswith(SECRET + "\n") and not (tree / "passwd").is_symlink()


def test_a_whole_tree_that_is_gone_comes_back(repository: TestRepository, tree: Path) -> None:
    good = state_of(tree)
    tree.rename(tree.parent / "gone")
    run_ok(MODULE, live(repository))
    assert state_of(tree) == good


def test_owners_come_back_where_they_are_wanted(repository: TestRepository, tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tree / "env").write_text("x")
    os.chown(tree / "env", 65534, 65534)
    run_ok(MODULE, live(repository, restore_owner=False))
    status = (tree / "env").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (65534, 0o640)
    assert SECRET in (tree / "env").read_text()
    assert run_ok(MODULE, live(repository, restore_owner=False))["changed"] is False
    run_ok(MODULE, live(repository))
    assert (tree / "env").stat().st_uid == 0
    run_ok(MODULE, {**live(repository), "state": "undone"})
    assert (tree / "env").stat().st_uid == 65534


def test_aside_is_a_folder_of_its_own(repository: TestRepository, tree: Path, tmp_path: Path) -> None:
    good = state_of(tree)
    damage(tree)
    damaged = state_of(tree)
    aside = options(repository, "aside", directory=str(tmp_path / "aside"))
    assert run_ok(MODULE, aside, check=True)["changed"] and not (tmp_path / "aside").exists()
    run_ok(MODULE, aside)
    assert state_of(tmp_path / f"aside{tree}") == good and state_of(tree) == damaged
    assert stat.S_IMODE((tmp_path / "aside").stat().st_mode) == 0o700
    assert run_ok(MODULE, aside)["changed"] is False


def test_the_time_chooses_the_copy(repository: TestRepository, tree: Path) -> None:
    first = repository.catalog().copies[0]
    (tree / "env").write_text("second")
    run_ok("config_backup", {**repository.options, **SOURCE, "paths": [str(tree)]})
    run_ok(MODULE, live(repository, snapshot=first.id[:10]))
    assert SECRET in (tree / "env").read_text()


def test_an_undo_leaves_alone_what_somebody_changed_since(repository: TestRepository, tree: Path) -> None:
    damage(tree)
    run_ok(MODULE, live(repository))
    (tree / "env").write_text("changed since")
    result = run_ok(MODULE, {**live(repository), "state": "undone"})
    assert result["status"] == "warning" and "env" in result["msg"]
    assert sorted(one["status"] for one in result["steps"]) == ["done", "done", "skipped"]
    assert (tree / "env").read_text() == "changed since" and not (tree / "passwd").is_symlink()
