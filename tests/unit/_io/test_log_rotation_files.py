"""The file operations of log rotation, one by one: nothing is followed, overwritten, or taken for whole wrongly."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import OpsError
from plugins.module_utils._io import log_rotation_holders
from plugins.module_utils._io.command import SystemCommands
from plugins.module_utils._io.log_rotation_compress import find_compressor, unpack
from plugins.module_utils._io.log_rotation_copy import equal
from plugins.module_utils._io.log_rotation_holders import Processes, parent_of, started
from plugins.module_utils._io.log_rotation_place import Staging, remove_staging, rename_free
from plugins.module_utils._io.log_rotation_tree import LeftAlone, LogTree, identity_of, open_same, unlink_same


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def identity(path: Path) -> tuple[int, int]:
    return path.lstat().st_dev, path.lstat().st_ino


def unpacked(path: Path, suffix: str) -> bytes:
    with path.open("rb") as file:
        return b"".join(unpack(file.fileno(), suffix, SystemCommands()))


# --- opening --------------------------------------------------------------------------------------------------------


def test_only_the_very_file_is_opened(tmp_path: Path, directory: int) -> None:
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    log.write_text("a")
    other.write_text("b")
    os.close(open_same(directory, "a.log", identity(log)))
    for name, wanted in (("b.log", identity(log)), ("none.log", identity(log))):
        with pytest.raises(LeftAlone):
            open_same(directory, name, wanted)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "directory"])
def test_what_came_under_the_name_is_not_opened(tmp_path: Path, directory: int, kind: str) -> None:
    log = tmp_path / "a.log"
    log.write_text("a")
    wanted = identity(log)
    if kind == "link":
        log.rename(tmp_path / "moved")
        log.symlink_to("moved")
    elif kind == "hard link":
        os.link(log, tmp_path / "second")
    elif kind == "pipe":
        log.unlink()
        os.mkfifo(log)
    else:
        log.unlink()
        log.mkdir()
    with pytest.raises(LeftAlone):
        open_same(directory, "a.log", wanted)


def test_only_the_very_file_is_removed(tmp_path: Path, directory: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(LeftAlone):
        unlink_same(directory, "a", identity(tmp_path / "b"))
    with pytest.raises(LeftAlone):
        unlink_same(directory, "none", (0, 1))
    unlink_same(directory, "a", identity(tmp_path / "a"))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_directory_below_is_never_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    tree = LogTree(str(tmp_path))
    try:
        with tree.directory("real/deep") as fd:
            assert os.fstat(fd).st_ino == (tmp_path / "real" / "deep").stat().st_ino
        for path in ("link", "link/deep"):
            with pytest.raises(OSError), tree.directory(path):
                pass
    finally:
        tree.close()


# --- placing --------------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_never_overwritten(tmp_path: Path, directory: int) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    with pytest.raises(FileExistsError):
        rename_free(directory, "new", "old", identity(tmp_path / "new"))
    with Staging(directory) as staging:
        fd = staging.create("oncall-0")
        with pytest.raises(FileExistsError):
            staging.place("oncall-0", fd, "old")
        os.close(fd)
        os.close(staging.create("oncall-new"))
        staging.offer("oncall-new", "old")
    assert (tmp_path / "old").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_rename_that_fails_leaves_no_reservation(tmp_path: Path, directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        rename_free(directory, "none", "target", (0, 1))
    assert list(tmp_path.iterdir()) == []


def test_another_file_under_the_name_is_noticed_after_the_rename(tmp_path: Path, directory: int) -> None:
    (tmp_path / "stranger").symlink_to("/nowhere")
    with pytest.raises(LeftAlone):
        rename_free(directory, "stranger", "target", (1, 1))


def test_a_working_directory_is_closed_to_others_and_gone_afterwards(tmp_path: Path, directory: int) -> None:
    with Staging(directory) as staging:
        (made,) = tmp_path.iterdir()
        assert made.stat().st_mode & 0o777 == 0o700
        fd = staging.create("oncall-0")
        assert os.fstat(fd).st_mode & 0o777 == 0o600
        os.close(fd)
    assert list(tmp_path.iterdir()) == []


def test_only_our_own_files_are_removed_with_a_leftover(tmp_path: Path, directory: int) -> None:
    leftover = tmp_path / ".oncall-log-rotation.1-ab.partial"
    leftover.mkdir(0o700)
    for name in ("oncall-0", "oncall-copy", "17.zst"):
        (leftover / name).write_text("half")
    (leftover / "important").write_text("not ours")
    with pytest.raises(LeftAlone):
        remove_staging(directory, leftover.name)
    assert [path.name for path in leftover.iterdir()] == ["important"]
    (leftover / "important").unlink()
    remove_staging(directory, leftover.name)
    assert identity_of(directory, leftover.name) == (0, 0)


@pytest.mark.parametrize("kind", ["open to others", "link", "file"])
def test_what_only_looks_like_a_leftover_is_left_alone(tmp_path: Path, directory: int, kind: str) -> None:
    path = tmp_path / ".oncall-log-rotation.1-ab.partial"
    if kind == "open to others":
        path.mkdir()
        path.chmod(0o755)
    elif kind == "link":
        (tmp_path / "real").mkdir(0o700)
        path.symlink_to("real")
    else:
        path.write_text("x")
    with pytest.raises(LeftAlone):
        remove_staging(directory, path.name)
    assert path.exists()


# --- content --------------------------------------------------------------------------------------------------------

PIECES = st.lists(st.binary(max_size=20), max_size=6)


@given(PIECES, PIECES)
def test_streams_are_compared_by_content_and_not_by_how_they_are_cut(first: list[bytes], second: list[bytes]) -> None:
    left, right = [p for p in first if p], [p for p in second if p]
    assert equal(iter(left), iter(right)) is (b"".join(left) == b"".join(right))


@given(st.binary(min_size=1, max_size=60), st.integers(1, 10), st.integers(1, 10))
def test_the_same_content_is_equal_in_any_pieces(content: bytes, one: int, other: int) -> None:
    def cut(size: int) -> Iterator[bytes]:
        return iter([content[start : start + size] for start in range(0, len(content), size)])

    assert equal(cut(one), cut(other))
    assert not equal(cut(one), iter([content + b"x"]))


@pytest.fixture(params=["library", "program"])
def zstd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "program":
        if shutil.which("zstd") is None:
            pytest.skip("the program zstd is not there")
        monkeypatch.setitem(sys.modules, "zstandard", None)
    return str(request.param)


def packed(suffix: str, content: bytes) -> bytes:
    return (
        gzip.compress(content) if suffix == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress(content)
    )


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_is_read_only_when_it_is_whole(tmp_path: Path, zstd: str, suffix: str) -> None:
    content = os.urandom(5000)
    whole = packed(suffix, content)
    path = tmp_path / "x"
    path.write_bytes(whole)
    assert unpacked(path, suffix) == content, zstd
    for broken in (whole[: len(whole) // 2], whole[:-1], b"nonsense" * 9, whole[:200] + b"\xff" + whole[201:], b""):
        path.write_bytes(broken)
        with pytest.raises(LeftAlone):
            unpacked(path, suffix)


def test_no_compressor_is_needed_for_none() -> None:
    assert find_compressor("none", None, SystemCommands()) is None


def test_what_nothing_can_read_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    (tmp_path / "x").write_bytes(packed(".zst", b"x"))
    with pytest.raises(LeftAlone):
        unpacked(tmp_path / "x", ".zst")
    with pytest.raises(OpsError):
        find_compressor("zstd", None, SystemCommands())


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_start(tmp_path: Path) -> None:
    assert started(os.getpid()) > 0
    assert started(2**22 + 1) == 0
    assert parent_of(os.getpid()) == os.getppid()
    assert parent_of(2**22 + 1) == 0


def test_files_open_for_writing_are_told_from_those_that_are_read(tmp_path: Path) -> None:
    log = tmp_path / "x"
    log.write_text("x")
    processes = Processes()
    with log.open():
        assert identity(log) not in processes.written_by(os.getpid())
    with log.open("a"):
        assert identity(log) in processes.written_by(os.getpid())
    assert processes.written_by(2**22 + 1) == frozenset()


@pytest.mark.parametrize(
    ("mount", "file", "same_device", "seen"),
    [("", "logs/x", False, True), ("logs/", "logs/x", False, True), ("logs/deep/", "logs/deep/x", False, True),
     ("other/", "other/x", False, False), ("other/", "other/x", True, True)],
    ids=["holds the tree", "is the tree", "in the tree", "elsewhere", "the same one elsewhere"],
)  # fmt: skip
def test_a_network_file_system_is_looked_at_only_when_the_logs_are_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str, file: str, same_device: bool, seen: bool
) -> None:
    for name in ("logs/deep", "other"):
        (tmp_path / name).mkdir(parents=True)
    tree = LogTree(str(tmp_path / "logs"))
    mounts = [(tree.device if same_device else 0, f"{tmp_path}/{mount}")]
    monkeypatch.setattr(log_rotation_holders, "_remote_mounts", lambda: iter(mounts))
    try:
        with (tmp_path / file).open("a"):
            held = identity(tmp_path / file)
            assert (held in Processes(tree=tree).written_by(os.getpid())) is seen
            assert held not in Processes().written_by(os.getpid())
    finally:
        tree.close()


def test_mounts_are_told_with_their_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_rotation_holders, "_REMOTE", ("proc",))
    assert (Path("/proc").stat().st_dev, "/proc/") in log_rotation_holders._remote_mounts()
