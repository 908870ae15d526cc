"""Names in a log directory: what is a log, a generation, one of ours, and what may not be named at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed
from plugins.module_utils._core.log_rotation_names import (
    COPIED,
    check_path,
    fits,
    generation_name,
    generation_of,
    is_compressed,
    is_staging,
    matcher,
)

MOMENT = 1795247100.0  # 2026-11-21T07:45:00Z

GENERATIONS = {
    "app.log-20261121T074500Z": ("app.log", MOMENT, ""),
    "app.log-20261121T074500Z.gz": ("app.log", MOMENT, ".gz"),
    "app.log-20261121T074500Z.zst": ("app.log", MOMENT, ".zst"),
    "app.log-20261121T074500Z.copied": ("app.log", MOMENT, COPIED),
    "a\nb.log-20261121T074500Z": ("a\nb.log", MOMENT, ""),
    "x-20261121T074500Z-20261121T074500Z": ("x-20261121T074500Z", MOMENT, ""),
    "app.log.1": ("app.log", None, ""),
    "app.log.52.gz": ("app.log", None, ".gz"),
    "app.log.3.xz": ("app.log", None, ".xz"),
    "app.log-20261121": ("app.log", None, ""),
    "app.log-2026112107.gz": ("app.log", None, ".gz"),
    "app.log-20261121-1795247100.bz2": ("app.log", None, ".bz2"),
}
NO_GENERATIONS = [
    "app.log", "app.log.gz", "app.log.0", "app.log.x", "app.log-20261321T074500Z", "app.log-20261121T074500Z.gz.part",
    "-20261121T074500Z", ".1", "app.log-2026", "app.log-20261121T074500", "import-31.log",
]  # fmt: skip


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_generation_is_known_by_its_name(name: str) -> None:
    found = generation_of(name)
    assert found is not None
    assert (found.log, found.stamp, found.tail) == GENERATIONS[name]


@pytest.mark.parametrize("name", NO_GENERATIONS)
def test_other_names_are_no_generations(name: str) -> None:
    assert generation_of(name) is None


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1), st.integers(0, 4_000_000_000))
def test_every_log_gets_a_name_that_says_log_and_moment(log: str, seconds: int) -> None:
    found = generation_of(generation_name(log, seconds))
    assert found is not None
    assert (found.log, found.stamp, found.tail) == (log, seconds, "")


@given(st.lists(st.integers(0, 4_000_000_000), min_size=2, max_size=5))
def test_names_sort_as_the_moments(moments: list[int]) -> None:
    names = [generation_name("app.log", moment) for moment in moments]
    assert sorted(names) == [generation_name("app.log", moment) for moment in sorted(moments)]


@pytest.mark.parametrize(
    ("patterns", "exclude", "name", "wanted"),
    [
        (["*.log"], [], "app.log", True),
        (["*.log"], [], "app.LOG", False),
        (["*.log"], [], ".hidden.log", False),
        ([".*.log"], [], ".hidden.log", True),
        (["*.log"], ["app*"], "app.log", False),
        (["*.log", "*.out"], ["app*"], "web.out", True),
        (["a[bc].log"], [], "ac.log", True),
        (["*"], [], "\udcff\n.x", True),
        (["-*.log"], [], "-rf.log", True),
    ],
)
def test_patterns_are_those_of_a_shell(patterns: list[str], exclude: list[str], name: str, wanted: bool) -> None:
    assert matcher(patterns, exclude)(name) is wanted


@pytest.mark.parametrize("pattern", ["", "/etc/passwd", "../*.log", "sub/*.log", "..", ".", "a\0b"])
@pytest.mark.parametrize("option", ["patterns", "exclude"])
def test_a_pattern_that_could_reach_outside_is_refused(pattern: str, option: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        matcher(["*.log", pattern], []) if option == "patterns" else matcher(["*.log"], [pattern])
    assert option in caught.value.message


def test_without_a_pattern_nothing_is_meant() -> None:
    with pytest.raises(InvalidValue):
        matcher([], [])


@pytest.mark.parametrize(
    ("path", "clean"),
    [("/var/log/shop", "/var/log/shop"), ("//var//log/shop/", "/var/log/shop"), ("/var/log/./x", "/var/log/x")],
)
def test_a_log_directory_is_written_in_one_way(path: str, clean: str) -> None:
    assert check_path(path) == clean


@pytest.mark.parametrize("path", ["log", "", "./log", "~/log", "/var/log/../../etc", "/var/log/..", "/var/log/a\0b"])
def test_a_path_that_is_not_plainly_absolute_is_refused(path: str) -> None:
    with pytest.raises(InvalidValue):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["/", "//", "/etc", "/etc/nginx", "/usr", "/usr/lib/x", "/var", "/proc/1", "/dev/shm", "/home", "/tmp/"]
)
def test_directories_of_the_system_are_refused(path: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        check_path(path)
    assert caught.value.code == "path_refused"


@pytest.mark.parametrize("path", ["/var/log", "/etcetera", "/home/shop/logs", "/srv/shop/log", "/usr/local/shop/log"])
def test_places_where_logs_live_are_allowed(path: str) -> None:
    assert check_path(path) == path


def test_a_name_must_leave_room_for_what_is_put_behind_it() -> None:
    longest = 255 - len("-20261121T074500Z.copied")
    assert fits("a" * longest)
    assert not fits("a" * (longest + 1))
    assert not fits("é" * (longest // 2 + 1))
    assert fits("\udcff" * longest)


@pytest.mark.parametrize(
    ("name", "compressed", "staging"),
    [
        ("a.gz", True, False),
        ("a.log", False, False),
        (".oncall-log-rotation.12-ab.partial", False, True),
        ("a.partial", False, False),
        (".oncall-log-rotation.lock", False, False),
    ],
)
def test_special_names(name: str, compressed: bool, staging: bool) -> None:
    assert (is_compressed(name), is_staging(name)) == (compressed, staging)
