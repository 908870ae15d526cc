"""config_backup on real files: what is stored, what is left out and said, and what never is."""

from __future__ import annotations

import json
import os
import pwd
import socket
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.config_copy import read_config_manifest
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository

MODULE = "config_backup"
SOURCE = {"product": "shop", "source_host": "app1"}
SECRET = "hunter2-4411"


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "shop"
    (folder / "conf.d" / "empty").mkdir(parents=True)
    (folder / "env").write_text(f"PASSWORD={SECRET}\n")
    (folder / "env").chmod(0o640)
    (folder / "conf.d" / "a.conf").write_bytes(os.urandom(70_000))
    (folder / ".hidden").write_text("x")
    (folder / "passwd").symlink_to("/etc/passwd")
    return folder


def options(repository: TestRepository, *paths: Path | str, **more: Any) -> dict[str, Any]:
    named = [str(path) for path in paths]
    return {**repository.options, **SOURCE, "paths": named, **more}


def manifest_of(repository: TestRepository) -> Any:
    return read_config_manifest(repository.restic.read_file(repository.catalog().copies[-1].id, "/manifest.json"))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"paths": []}, "invalid_value"),
        ({"paths": [""]}, "invalid_value"),
        ({"paths": ["etc/shop"]}, "invalid_value"),
        ({"paths": ["/etc/../root"]}, "invalid_value"),
        ({"paths": ["/nowhere/at/all"]}, "incomplete"),
        ({"paths": ["/nowhere/*"]}, "nothing_chosen"),
        ({"max_size": "much"}, "invalid_value"),
        ({"max_size": "50kB"}, "too_big"),
        ({"min_files": 4}, "too_few_files"),
        ({"exclude": ["*"]}, None),
        ({"staging_dir": "/nowhere"}, "no_workspace"),
        ({"repository": "/nowhere/repository"}, "repository_missing"),
    ],
)
def test_bad_input_is_said_and_nothing_is_stored(
    repository: TestRepository, tree: Path, wrong: dict[str, Any], code: str | None
) -> None:
    given = {**options(repository, tree), **wrong}
    if code is None:  # what is named itself is stored all the same, without anything below it
        assert run_ok(MODULE, given)["files"] == 0
        return
    assert run_failed(MODULE, given)["failure"]["code"] == code
    assert repository.restic.snapshots() == ()


def test_check_mode_a_real_run_and_an_unchanged_second_one(repository: TestRepository, tree: Path) -> None:
    given = options(repository, tree, only_if_changed=True)
    predicted = run_ok(MODULE, given, check=True)
    assert predicted["changed"] and repository.restic.snapshots() == ()
    result = run_ok(MODULE, given)
    assert (result["plan"], result["before"]) == (predicted["plan"], predicted["before"])
    assert result["after"] == predicted["after"] and result["files"] == 3

    again = run_ok(MODULE, given)
    assert again["changed"] is False and again["snapshot"].startswith(result["snapshot"])
    assert run_ok(MODULE, options(repository, tree))["changed"] is True

    (tree / "env").write_text("PASSWORD=other\n")
    (tree / "new").write_text("")
    changed = run_ok(MODULE, given)
    assert changed["changes"] == {"added": [f"{tree}/new"], "changed": [f"{tree}/env"], "removed": []}
    assert len(repository.catalog().copies) == 3


def test_modes_owners_links_and_folders_are_kept(repository: TestRepository, tree: Path) -> None:
    run_ok(MODULE, options(repository, tree))
    entries = {entry.path[len(str(tree)) :]: entry for entry in manifest_of(repository).entries}
    assert set(entries) == {"", "/.hidden", "/conf.d", "/conf.d/a.conf", "/conf.d/empty", "/env", "/passwd"}
    assert (entries["/env"].mode, entries["/env"].owner) == (0o640, pwd.getpwuid(os.geteuid()).pw_name)
    assert (entries["/passwd"].kind, entries["/passwd"].target) == ("link", "/etc/passwd")
    assert entries["/conf.d/empty"].kind == "folder"


def test_no_content_is_shown_and_a_link_is_never_followed(
    repository: TestRepository, tree: Path, tmp_path: Path
) -> None:
    result = run_ok(MODULE, options(repository, tree), diff=True)
    assert SECRET not in json.dumps(result)
    copy = repository.catalog().copies[-1]
    repository.restic.restore(copy.id, str(tmp_path / "by hand"))
    stored = sorted(path for path in (tmp_path / "by hand").rglob("*") if path.is_file())
    assert [path.name for path in stored] == [".hidden", "a.conf", "env", "manifest.json"]
    assert (tmp_path / f"by hand/files{tree}/env").read_text() == f"PASSWORD={SECRET}\n"
    assert not any(b"root:" in path.read_bytes() for path in stored if path.name != "manifest.json")


def test_what_holds_no_content_is_left_out_and_named(repository: TestRepository, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{os.open(tree, os.O_RDONLY)}/sock")
        result = run_ok(MODULE, options(repository, tree))
    assert {(one.path.rsplit("/", 1)[1], one.reason) for one in manifest_of(repository).skipped} == {
        ("pipe", "fifo"),
        ("sock", "socket"),
    }
    special = next(one for one in result["findings"] if one["check"] == "special")
    assert special["value"] == 2 and "pipe (fifo)" in special["msg"]


def test_patterns_and_exclusions(repository: TestRepository, tree: Path) -> None:
    (tree / "conf.d" / "a.conf.swp").write_text("x")
    result = run_ok(MODULE, options(repository, f"{tree}/*.none", f"{tree}/conf.d/a*", exclude=["*.swp"]))
    assert [entry.path for entry in manifest_of(repository).entries] == [f"{tree}/conf.d/a.conf"]
    assert result["status"] == "warning" and "*.none" in json.dumps(result["findings"])


def test_a_path_named_twice_is_stored_once(repository: TestRepository, tree: Path) -> None:
    assert run_ok(MODULE, options(repository, tree, tree, tree / "env"))["files"] == 3


def test_names_can_have_any_bytes(repository: TestRepository, tree: Path, tmp_path: Path) -> None:
    names = [b"n\xff", b"new\nline", b"-rf", b"a b'\"$(x)", "ö".encode(), b"x" * 255, b"\x1b[31m"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(name)
    run_ok(MODULE, options(repository, tree))
    proof = run_ok("config_restore", {**repository.options, **SOURCE, "target": "throwaway"})
    assert proof["verdict"] == "ok", proof["findings"]


@pytest.mark.parametrize("staging", ["copy", "link"])
def test_thousands_of_files(repository: TestRepository, tmp_path: Path, staging: str) -> None:
    folder = tmp_path / "uploads"
    for number in range(3000):
        path = folder / f"{number % 50:02}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    (tmp_path / "staging").mkdir()
    more = {"name": "uploads", "staging": staging, "staging_dir": str(tmp_path / "staging")}
    result = run_ok(MODULE, options(repository, folder, **more))
    assert result["files"] == 3000 and len(result["changes"]["added"]) == 500
    assert {path.stat().st_nlink for path in folder.rglob("*.jpg")} == {1}
    assert list((tmp_path / "staging").iterdir()) == []
    proof = run_ok("config_restore", {**repository.options, **SOURCE, "name": "uploads", "target": "throwaway"})
    assert (proof["verdict"], proof["findings"][0]["value"]) == ("ok", 3000)


def test_the_staging_folder_is_not_copied_into_itself(repository: TestRepository, tree: Path) -> None:
    (tree / "staging").mkdir()
    result = run_failed(MODULE, options(repository, tree, staging_dir=str(tree / "staging")))
    assert result["failure"]["code"] == "invalid_value"
