from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.config_copy import (
    ConfigManifest,
    Entry,
    Skipped,
    changes_between,
    check_paths,
    is_excluded,
    is_plain,
    judge_files,
    name_some,
    read_config_manifest,
    root_of,
)
from plugins.module_utils._core.config_copy_restore import (
    ConfigRecord,
    Kept,
    choose_entries,
    find_changes,
    plan_changes,
    plan_undo,
    read_config_record,
)
from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed

ENV = Entry("/etc/shop/env", "file", 0o640, 0, 0, "root", "root", 1, 5, "aa")
LINK = Entry("/etc/shop/link", "link", 0o777, 0, 0, "root", "root", 1, target="/etc/passwd")
FOLDER = Entry("/etc/shop", "folder", 0o755, 0, 0, "root", "root", 1)
MANIFEST = ConfigManifest(
    "shop", "app1", "config", "2026-09-18T04:00:00Z", ("/etc/shop",), (), (FOLDER, ENV, LINK), (Skipped("/x", "fifo"),)
)


def test_a_manifest_comes_back_as_it_was_also_with_names_that_are_no_text():
    strange = replace(MANIFEST, entries=(replace(ENV, path="/etc/\udcff\n"),))
    for manifest in (MANIFEST, strange):
        assert read_config_manifest(manifest.to_json()) == manifest
        manifest.to_json().encode("ascii")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": 9}', MANIFEST.to_json()[:99]])
def test_a_manifest_that_cannot_be_read_is_said_so(text):
    with pytest.raises(PreconditionFailed) as failure:
        read_config_manifest(text)
    assert failure.value.code == "manifest_unreadable"


@pytest.mark.parametrize("path", ["etc", "", "/etc/../shadow", "/etc/./x", "/etc//x", "/a\0b", "../x", "/.."])
def test_a_path_that_goes_anywhere_but_down_is_refused(path):
    assert not is_plain(path)
    with pytest.raises(InvalidValue):
        check_paths([path], "paths")


def test_paths_must_be_given():
    with pytest.raises(InvalidValue):
        check_paths([], "paths")
    assert check_paths(["/etc/shop/", "/"], "paths") == ("/etc/shop", "/")


@pytest.mark.parametrize(
    ("path", "roots", "root"),
    [
        ("/etc/shop/env", ("/etc/shop",), "/etc/shop"),
        ("/etc/shop", ("/etc/shop",), "/etc/shop"),
        ("/etc/shopping", ("/etc/shop",), None),
        ("/etc/shop/a", ("/etc", "/etc/shop"), "/etc/shop"),
        ("/etc/shadow", ("/",), "/"),
        ("/etc/shadow", (), None),
    ],
)
def test_a_root_holds_what_is_below_it_and_nothing_else(path, roots, root):
    assert root_of(path, roots) == root


@pytest.mark.parametrize(
    ("path", "patterns", "excluded"),
    [
        ("/a/b.swp", ["*.swp"], True),
        ("/a/b.swp/c", ["*.swp"], False),
        ("/a/b/c", ["/a/*"], True),
        ("/a/B", ["b"], False),
        ("/a/b", [], False),
    ],
)
def test_a_pattern_fits_the_whole_path_or_the_name(path, patterns, excluded):
    assert is_excluded(path, patterns) is excluded


def test_what_changed_is_told_by_name():
    other = replace(ENV, sha256="bb")
    new = replace(ENV, path="/etc/shop/new")
    assert changes_between([ENV, LINK, FOLDER], [other, FOLDER, new]) == {
        "added": ["/etc/shop/new"],
        "changed": ["/etc/shop/env"],
        "removed": ["/etc/shop/link"],
    }
    assert changes_between([ENV], [replace(ENV, mtime_ns=2)])["changed"] == []


@pytest.mark.parametrize("change", [{"sha256": "b"}, {"mode": 0o600}, {"owner": "app"}, {"path": "/etc/shop/x"}])
def test_the_content_hash_sees_everything_that_a_restore_brings_back(change):
    other = replace(MANIFEST, entries=(FOLDER, replace(ENV, **change), LINK))
    assert other.content_hash() != MANIFEST.content_hash()
    assert replace(MANIFEST, entries=(LINK, ENV, FOLDER)).content_hash() == MANIFEST.content_hash()
    assert replace(MANIFEST, entries=(FOLDER, replace(ENV, mtime_ns=9), LINK)).content_hash() == MANIFEST.content_hash()


@pytest.mark.parametrize(
    ("found", "bad"),
    [
        ({"/etc/shop/env": (5, "aa")}, set()),
        ({}, {"missing"}),
        ({"/etc/shop/env": (5, "bb")}, {"different"}),
        ({"/etc/shop/env": (6, "aa")}, {"different"}),
        ({"/etc/shop/env": (5, "aa"), "/etc/x": (0, "")}, {"strange"}),
    ],
)
def test_every_file_must_be_what_was_stored(found, bad):
    assert {one.check for one in judge_files(MANIFEST, found) if one.status == "critical"} == bad


@pytest.mark.parametrize(
    "path", ["/etc/shop/../shadow", "etc/passwd", "/etc/shadow", "/etc/shopping/x", "/etc//shop/x"]
)
def test_a_copy_that_wants_to_write_elsewhere_is_refused_as_a_whole(path):
    manifest = replace(MANIFEST, entries=(ENV, replace(ENV, path=path)))
    with pytest.raises(PreconditionFailed) as failure:
        choose_entries(manifest, ("/etc/shop",), ())
    assert failure.value.code == "path_refused"


def test_paths_can_be_chosen():
    assert choose_entries(MANIFEST, ("/etc",), ("env",)) == (ENV,)
    assert choose_entries(MANIFEST, ("/etc",), ())[0].path == "/etc/shop"
    with pytest.raises(PreconditionFailed) as failure:
        choose_entries(MANIFEST, ("/etc",), ("none",))
    assert failure.value.code == "nothing_chosen"


@pytest.mark.parametrize(
    ("present", "owner", "reason"),
    [
        (None, True, "is missing"),
        (ENV, True, None),
        (replace(ENV, mtime_ns=99), True, None),
        (replace(ENV, sha256="bb"), True, "content"),
        (replace(ENV, mode=0o600), True, "mode 0600 instead of 0640"),
        (replace(ENV, uid=5, owner="app"), True, "owner app:root instead of root:root"),
        (replace(ENV, uid=5, owner="app"), False, None),
        (replace(LINK, path=ENV.path), True, "content and mode 0777 instead of 0640"),
    ],
)
def test_what_is_written_is_what_differs(present, owner, reason):
    changes = find_changes([ENV], {ENV.path: present}, ("/etc",), owner)
    assert [one.reason() for one in changes] == ([reason] if reason else [])


def test_without_owner_a_file_keeps_the_one_it_has():
    (change,) = find_changes([ENV], {ENV.path: replace(ENV, uid=5, owner="app", sha256="b")}, ("/etc",), False)
    assert (change.wanted.uid, change.wanted.owner, change.wanted.sha256) == (5, "app", "aa")


def test_a_folder_in_the_place_of_a_file_is_left_to_people():
    for entry, present in ((ENV, replace(FOLDER, path=ENV.path)), (FOLDER, replace(ENV, path=FOLDER.path))):
        with pytest.raises(PreconditionFailed) as failure:
            find_changes([entry], {entry.path: present}, ("/etc",), True)
        assert failure.value.code == "type_conflict"


def test_nothing_to_change_is_an_empty_plan():
    assert plan_changes((), MANIFEST, "ab" * 32, 3).plan == ()


def test_a_record_comes_back_and_says_what_to_undo():
    kept = (Kept("/etc/shop", "/etc", None, FOLDER), Kept(ENV.path, "/etc", replace(ENV, sha256="old"), ENV, "1"))
    record = ConfigRecord("1", "app1", "config", "ab", "t", "t", "restored", (*kept, Kept("/n", "/n", None, ENV)))
    assert read_config_record(record.to_json()) == record
    plan = plan_undo(record, "app1's config").plan
    assert [(one.action, one.target) for one in plan] == [("remove", "/n"), ("write", ENV.path)]
    with pytest.raises(PreconditionFailed, match="config that could be taken back") as failure:
        plan_undo(None, "app1's config")
    assert failure.value.code == "no_kept_restore"
    undone = plan_undo(record.with_state("undone"), "app1's config")
    assert (undone.plan, [one.check for one in undone.findings]) == ((), ["already_undone"])
    for text in ("", "{}", "[]", '{"format": 1}', '{"format": 1, "kept": [{}]}'):
        with pytest.raises(ValueError):
            read_config_record(text)


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), max_size=30))
def test_names_in_a_message_never_carry_control_characters(names):
    assert name_some(names).isprintable()
