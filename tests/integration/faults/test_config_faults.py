"""Faults of files, copies and hosts: an error with a code, nothing half written, nothing written elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Copy, Source, copy_tags
from plugins.module_utils._core.timestamps import parse_own
from plugins.module_utils._io import config_copy_write
from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.redis_copies import start_module
from tests.support.redis_servers import wait_for
from tests.support.repositories import TestRepository, make_repository

BACKUP, RESTORE = "config_backup", "config_restore"
SOURCE = {"product": "shop", "source_host": "app1"}
NONE = "error with a code, no snapshot"
UNWRITTEN = "refused as a whole, nothing is written"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "shop"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "env").write_text("PASSWORD=one\n")
    (folder / "conf.d" / "a.conf").write_bytes(os.urandom(300_000))
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def repository(empty: TestRepository, tree: Path) -> TestRepository:
    run_ok(BACKUP, backup(empty, tree))
    return empty


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def backup(repository: TestRepository, *paths: Path, **more: Any) -> dict[str, Any]:
    return {**repository.options, **SOURCE, "paths": [str(path) for path in paths], **more}


def restore(repository: TestRepository, target: str = "live", **more: Any) -> dict[str, Any]:
    place = {"roots": [str(repository.folder / "etc")], "confirm": "app1", "undo_dir": str(repository.folder / "undo")}
    return {**repository.options, **SOURCE, "target": target, **place, **more}


def add_copy(repository: TestRepository, change: Callable[[Path, dict[str, Any]], object]) -> None:
    """Store the newest copy once more, changed: its folder and its facts."""
    folder = repository.folder / "changed"
    repository.restic.restore(repository.catalog().copies[-1].id, str(folder))
    facts = json.loads((folder / "manifest.json").read_text())
    change(folder, facts)
    facts["taken_at"] = "2099-01-01T00:00:00Z"
    (folder / "manifest.json").write_text(json.dumps(facts))
    copy = Copy("", Source("shop", "app1", "config", "config"), parse_own(facts["taken_at"]), "files")
    repository.restic.backup(str(folder), host="app1", tags=copy_tags(copy))
    shutil.rmtree(folder)


# --- backup -----------------------------------------------------------------------------------------------------


@fault("file that may not be read", "config backup: read", NONE + " that leaves it out")
def test_an_unreadable_file(empty: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "a.conf" and flags & os.O_NOFOLLOW:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr("plugins.module_utils._io.config_copy_read.os.open", refuse)
    result = run_failed(BACKUP, backup(empty, tree))
    assert result["failure"]["code"] == "incomplete" and "a.conf (Permission denied)" in result["msg"]
    assert empty.restic.snapshots() == ()


@fault("file that changes faster than it is read", "config backup: read", NONE + " with half of it")
def test_a_file_that_never_stands_still(empty: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, path = os.read, tree / "env"
    numbers = iter(range(10**6))

    def read(descriptor: int, size: int) -> bytes:
        chunk = real(descriptor, size)
        if Path(f"/proc/self/fd/{descriptor}").readlink() == path:
            path.write_text(f"{next(numbers)}")
        return chunk

    monkeypatch.setattr("plugins.module_utils._io.config_copy_read.os.read", read)
    result = run_failed(BACKUP, backup(empty, tree))
    assert result["failure"]["code"] == "incomplete" and "faster" in result["msg"]
    assert empty.restic.snapshots() == ()


@fault("file that becomes a link while it is read", "config backup: read", NONE + "; the link is not followed")
def test_a_file_that_becomes_a_link(empty: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def swap(path: Any, **kwargs: Any) -> os.stat_result:
        status = real(path, **kwargs)
        if path == "env" and kwargs.get("follow_symlinks") is False and not (tree / "env").is_symlink():
            (tree / "env").unlink()
            (tree / "env").symlink_to("/etc/shadow")
        return status

    monkeypatch.setattr("plugins.module_utils._io.config_copy_read.os.stat", swap)
    assert run_failed(BACKUP, backup(empty, tree))["failure"]["code"] == "incomplete"
    assert empty.restic.snapshots() == ()


@fault("no room in the staging folder for files", "config backup: staging", NONE)
def test_no_room_in_staging(empty: TestRepository, tree: Path, small_disk: Path) -> None:
    result = run_failed(BACKUP, backup(empty, tree, staging_dir=str(small_disk)))
    assert result["failure"]["code"] in ("not_enough_space", "disk_full")
    assert list(small_disk.iterdir()) == [] and empty.restic.snapshots() == ()


@fault("staging folder that gets full on the way", "config backup: staging", NONE)
def test_staging_gets_full_on_the_way(
    empty: TestRepository, tree: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.module_utils._module.config_backup.need_room", lambda *_: None)
    result = run_failed(BACKUP, backup(empty, tree, staging_dir=str(small_disk)))
    assert result["failure"]["code"] == "disk_full", result
    assert list(small_disk.iterdir()) == [] and empty.restic.snapshots() == ()


@fault("staging folder on another file system than the files to link", "config backup: staging", NONE)
def test_another_file_system(empty: TestRepository, tree: Path, small_disk: Path) -> None:
    result = run_failed(BACKUP, backup(empty, tree, staging="link", staging_dir=str(small_disk)))
    assert result["failure"]["code"] == "other_filesystem"
    assert list(small_disk.iterdir()) == [] and empty.restic.snapshots() == ()


@fault("file that is written in place while restic reads it", "config backup: store",
       "error with a code; the snapshot that was made is taken away again")  # fmt: skip
def test_a_file_written_in_place(empty: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.module_utils._io.restic import Restic

    real = Restic.backup

    def write(self: Restic, *args: Any, **kwargs: Any) -> Any:
        with (tree / "env").open("a") as stream:
            stream.write("MORE=1\n")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Restic, "backup", write)
    result = run_failed(BACKUP, backup(empty, tree, staging="link", staging_dir=str(empty.folder)))
    assert result["failure"]["code"] == "incomplete" and "env" in result["msg"]
    assert empty.restic.snapshots() == ()


# --- copies -----------------------------------------------------------------------------------------------------


def file_of(folder: Path, facts: dict[str, Any]) -> Path:
    path = next(one["path"] for one in facts["entries"] if one["path"].endswith("/env"))
    return Path(f"{folder}/files{path}")


@fault("file of a copy that was changed, lost or added", "config proof", "verdict critical; a restore writes nothing")
@pytest.mark.parametrize(
    "change",
    [
        lambda folder, facts: file_of(folder, facts).write_text("PASSWORD=two\n"),
        lambda folder, facts: file_of(folder, facts).unlink(),
        lambda folder, facts: file_of(folder, facts).with_name("more").write_text("x"),
        lambda folder, facts: facts.pop("entries"),
    ],
    ids=["changed", "lost", "added", "facts lost"],
)
def test_a_copy_that_is_not_what_was_stored(
    repository: TestRepository, tree: Path, change: Callable[[Path, dict[str, Any]], object]
) -> None:
    add_copy(repository, change)
    (tree / "env").write_text("PASSWORD=three\n")
    refused = run_failed(RESTORE, restore(repository))
    assert refused["failure"]["code"] in ("verification_failed", "manifest_unreadable")
    assert (tree / "env").read_text() == "PASSWORD=three\n"
    result = run_ok(RESTORE, restore(repository, "throwaway"))
    assert result["verdict"] == "critical"
    assert repository.catalog().verdict_of(repository.catalog().copies[-1]) == "bad"


@fault("bit flip in the repository below a copy of files", "config proof", "verdict critical, never ok")
def test_a_bit_flip_in_the_repository(repository: TestRepository, tree: Path) -> None:
    packs = [path for path in (repository.location / "data").rglob("*") if path.is_file()]
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    assert run_ok(RESTORE, restore(repository, "throwaway"))["verdict"] == "critical"
    (tree / "env").write_text("PASSWORD=three\n")
    assert run_failed(RESTORE, restore(repository))["failure"]["code"] == "no_good_copy"
    forced = run_failed(RESTORE, restore(repository, snapshot=repository.catalog().copies[0].id))
    assert forced["failure"]["code"] in ("repository_damaged", "verification_failed")
    assert (tree / "env").read_text() == "PASSWORD=three\n"


@fault("copy that wants to write outside of the roots", "config restore: preflight", UNWRITTEN)
@pytest.mark.parametrize(
    "path", ["{etc}/../victim", "{top}/victim", "victim", "{etc}/shop/../../victim", "{etc}//../victim"]
)
def test_a_copy_that_wants_to_write_elsewhere(repository: TestRepository, tree: Path, path: str) -> None:
    wanted = path.format(etc=repository.folder / "etc", top=repository.folder)

    def change(folder: Path, facts: dict[str, Any]) -> None:
        entry = next(one for one in facts["entries"] if one["kind"] == "file")
        target = Path(os.path.normpath(f"{folder}/files/{wanted}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"{folder}/files{entry['path']}", target)
        facts["entries"].append({**entry, "path": wanted})

    add_copy(repository, change)
    (tree / "env").write_text("PASSWORD=three\n")
    assert run_failed(RESTORE, restore(repository))["failure"]["code"] == "path_refused"
    assert not (repository.folder / "victim").exists() and (tree / "env").read_text() == "PASSWORD=three\n"


# --- restore ----------------------------------------------------------------------------------------------------


@fault("folder on the way that was replaced by a link", "config restore: write", UNWRITTEN + " behind the link")
def test_a_folder_that_became_a_link(repository: TestRepository, tree: Path) -> None:
    victim = repository.folder / "victim"
    victim.mkdir()
    shutil.rmtree(tree / "conf.d")
    (tree / "conf.d").symlink_to(victim)
    result = run_failed(RESTORE, restore(repository))
    assert result["failure"]["code"] in ("path_refused", "type_conflict"), result
    assert list(victim.iterdir()) == []


@fault(
    "file that was replaced by a link",
    "config restore: write",
    "the link is replaced, what it points to is not touched",
)
def test_a_file_that_became_a_link(repository: TestRepository, tree: Path) -> None:
    victim = repository.folder / "victim"
    victim.write_text("precious")
    (tree / "env").unlink()
    (tree / "env").symlink_to(victim)
    run_ok(RESTORE, restore(repository))
    assert victim.read_text() == "precious" and (tree / "env").read_text() == "PASSWORD=one\n"
    run_ok(RESTORE, restore(repository, state="undone"))
    assert (tree / "env").is_symlink() and victim.read_text() == "precious"


@fault("folder in the place of a file", "config restore: preflight", UNWRITTEN)
def test_a_folder_in_the_place_of_a_file(repository: TestRepository, tree: Path) -> None:
    (tree / "env").unlink()
    (tree / "env").mkdir()
    (tree / "conf.d" / "a.conf").write_text("x")
    assert run_failed(RESTORE, restore(repository))["failure"]["code"] == "type_conflict"
    assert (tree / "conf.d" / "a.conf").read_text() == "x"


@fault("disk that gets full half way through a restore of files", "config restore: write",
       "what was written before is taken back")  # fmt: skip
def test_a_failure_half_way(repository: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "conf.d" / "a.conf").write_text("x")
    (tree / "env").write_text("y")
    real = config_copy_write._write_file

    def fail(folder: int, name: str, entry: Any, *args: Any) -> None:
        if entry.path.endswith("/env") and entry.sha256 != "":
            raise_full = len((tree / "conf.d" / "a.conf").read_bytes()) == 300_000
            if raise_full:
                raise OSError(28, "No space left on device")
        real(folder, name, entry, *args)

    monkeypatch.setattr(config_copy_write, "_write_file", fail)
    result = run_failed(RESTORE, restore(repository))
    assert result["failure"]["code"] == "disk_full" and "taken back" in result["msg"]
    assert [one["status"] for one in result["steps"]] == ["done", "failed"]
    assert ((tree / "conf.d" / "a.conf").read_text(), (tree / "env").read_text()) == ("x", "y")
    assert sorted(path.name for path in tree.rglob("*")) == ["a.conf", "conf.d", "env"]


@fault("restore of files that is killed (SIGKILL)", "config restore: write",
       "every file is whole; the next restore refuses, the undo brings the old ones back")  # fmt: skip
def test_a_restore_that_is_killed(repository: TestRepository, tree: Path) -> None:
    many = tree / "many"
    many.mkdir()
    for number in range(400):
        (many / f"{number:03}").write_text(f"one {number}")
    run_ok(BACKUP, backup(repository, tree))
    for path in many.iterdir():
        path.write_text("two")
    process = start_module(RESTORE, restore(repository))

    def begun() -> bool:
        return any(path.read_text() != "two" for path in many.iterdir() if path.name[0] != ".")

    wait_for(lambda: process.poll() is not None or begun(), "a first file")
    process.kill()
    said = process.communicate()
    assert begun(), said
    texts = {path.name: path.read_text() for path in many.iterdir() if not path.name.startswith(".oncall-")}
    assert all(text in ("two", f"one {int(name)}") for name, text in texts.items())
    if any(text == "two" for text in texts.values()):  # otherwise it was over before the signal came
        assert run_failed(RESTORE, restore(repository))["failure"]["code"] == "restore_interrupted"
    assert run_ok(RESTORE, restore(repository, state="undone"))["changed"]
    assert {path.read_text() for path in many.iterdir()} == {"two"} and len(list(many.iterdir())) == 400


@fault("two restores of files at once", "config restore: preflight", "the second is refused with lock_busy")
def test_two_restores_at_once(repository: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "env").write_text("y")
    waiting, go = threading.Event(), threading.Event()
    real = config_copy_write._write_file

    def slow(*args: Any) -> None:
        waiting.set()
        assert go.wait(60)
        real(*args)

    from plugins.module_utils._io.config_copy_undo import UndoStore

    monkeypatch.setattr(config_copy_write, "_write_file", slow)
    with UndoStore(repository.folder / "undo").exclusive():
        result = run_failed(RESTORE, restore(repository))
    assert result["failure"]["code"] == "lock_busy" and not waiting.is_set()
    assert (tree / "env").read_text() == "y"


@fault("folder for the old files that others can look into", "config restore: preflight", UNWRITTEN)
def test_an_undo_folder_of_everybody(repository: TestRepository, tree: Path) -> None:
    (tree / "env").write_text("y")
    (repository.folder / "undo").mkdir(mode=0o755)
    assert run_failed(RESTORE, restore(repository))["failure"]["code"] == "insecure_directory"
    assert (tree / "env").read_text() == "y"


@fault("file that is changed between the look and the restore", "config restore: write", UNWRITTEN + ", run it again")
def test_a_change_in_between(repository: TestRepository, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "env").write_text("y")
    from plugins.module_utils._module.config_restore import ConfigRestore

    real = ConfigRestore._put_in_place

    def changed(self: Any, *args: Any) -> None:
        (tree / "env").write_text("z")
        real(self, *args)

    monkeypatch.setattr(ConfigRestore, "_put_in_place", changed)
    assert run_failed(RESTORE, restore(repository))["failure"]["code"] == "verification_failed"
    assert (tree / "env").read_text() == "z"
