"""A whole server back to a moment: what is asked for, what is in the way, and the command."""

from __future__ import annotations

import base64
import shlex
import struct
from typing import Any

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.point_in_time import (
    newest_kept,
    point_in_time_mistakes,
    point_in_time_obstacles,
    point_in_time_restore,
    point_in_time_target,
    point_in_time_undo_obstacles,
    server_timeline,
    system_identifier,
)

WANTED: dict[str, Any] = {
    "pgbackrest": "pgbackrest",
    "stanza": "shop",
    "config": "",
    "data_dir": "/data/main",
    "jobs": 2,
    "type": "time",
    "target": "2026-09-18 04:00:00+00",
    "exclusive": False,
    "timeline": "",
    "set": "",
    "stop_command": ["systemctl", "stop", "postgresql"],
    "start_command": ["systemctl", "start", "postgresql"],
}
OWN, OTHER = "7575757575757575757", "7000000000000000001"
OLD = {"stop": "2026-01-01T00:00:00Z", "wal_start": "000000070000000000000003"}
NEW = {"stop": "2026-09-01T00:00:00Z", "wal_start": "000000030000000000000003"}
STANZAS: list[dict[str, Any]] = [{"name": "shop", "systems": [OTHER, OWN], "backups": [
    {"label": "20260101-000000F", "system": OTHER, "size_bytes": 1000, **OLD},
    {"label": "20260901-000000F", "system": OWN, "size_bytes": 900, **NEW},
]}]  # fmt: skip
NOTHING = [{"name": "shop", "systems": [OTHER], "backups": []}]
FOREIGN = [{**STANZAS[0], "systems": [OWN, OTHER]}]
DIRECTORY: dict[str, Any] = {"path": "/data/main", "islnk": False, "dev": 8}


def file(name: str, **facts: Any) -> dict[str, Any]:
    return {**DIRECTORY, "path": f"/data/main/{name}", **facts}


FILES = [DIRECTORY, file("PG_VERSION"), file("base")]


def control(identifier: str = OWN, order: str = "<", timeline: int = 3, promoted: int = 0, align: int = 8) -> str:
    """Return what slurp returns of a pg_control of PostgreSQL 18."""
    content = bytearray(8192)
    struct.pack_into(f"{order}QII", content, 0, int(identifier), 1800, 202506291)
    struct.pack_into(f"{order}II", content, 48, timeline, timeline - 1)
    struct.pack_into(f"{order}I", content, 144, promoted)
    struct.pack_into(f"{order}Id", content, 204, align, 1234567.0)
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("target", "at", "kind", "expected"),
    [
        ("", "20260918-040000", "time", "2026-09-18 04:00:00+00"),
        ("", "2026-09-18T06:00:00+02:00", "time", "2026-09-18 04:00:00+00"),
        ("", "2026-09-18T04:00:00.25Z", "time", "2026-09-18 04:00:00.250000+00"),
        ("0/3000060", "", "lsn", "0/3000060"),
        ("", "", "immediate", ""),
    ],
)
def test_a_moment_is_a_target(target: str, at: str, kind: str, expected: str) -> None:
    assert point_in_time_target(target, at, kind) == expected


@pytest.mark.parametrize(
    ("target", "at", "kind"),
    [
        ("", "yesterday", "time"),
        ("", "2026-09-18T04:00:00", "time"),
        ("release", "20260918-040000", "name"),
        ("", "20260918-040000", "lsn"),
        ("", "20260918-040000", "immediate"),
        ("2026-09-18 05:00:00+00", "20260918-040000", "time"),
    ],
)
def test_what_is_no_moment_or_contradicts_itself_is_refused(target: str, at: str, kind: str) -> None:
    with pytest.raises(InvalidValue, match="at"):
        point_in_time_target(target, at, kind)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"type": "immediate", "target": ""}, []),
        ({"type": "lsn", "exclusive": True}, []),
        ({"stanza": ""}, ["set point_in_time_stanza"]),
        ({"stop_command": [], "start_command": []}, ["stop_command", "start_command"]),
        ({"data_dir": "data"}, ["absolute"]),
        ({"data_dir": "/"}, ["absolute"]),
        ({"data_dir": "/data/main/"}, ["absolute"]),
        ({"target": ""}, ["until when"]),
        ({"type": "default"}, ["takes no target"]),
        ({"type": "name", "exclusive": True}, ["not for name"]),
        ({"type": "immediate", "target": "", "timeline": "2"}, ["on the timeline of its backup"]),
    ],
)
def test_mistakes_are_all_named(changes: dict[str, Any], said: list[str]) -> None:
    found = point_in_time_mistakes({**WANTED, **changes})
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


@pytest.mark.parametrize(
    ("stanzas", "files", "free", "said"),
    [
        (STANZAS, FILES, 1101, []),
        (STANZAS, FILES, 1100, ["not enough space"]),
        (NOTHING, FILES, 5000, ["no backup"]),
        (FOREIGN, FILES, 5000, [f"stanza shop is of {OTHER}, /data/main is of {OWN}"]),
        (FOREIGN, FILES, 0, ["of another server", "not enough space"]),
        ([], FILES, 5000, ["no backup"]),
        (STANZAS, [file("base")], 5000, ["no data directory"]),
        (STANZAS, [file("pg_tblspc/PG_VERSION")], 5000, ["no data directory", "tablespaces"]),
        (STANZAS, [*FILES, file("standby.signal")], 5000, ["standby"]),
        (STANZAS, [*FILES, file("pg_tblspc"), file("pg_tblspc/16400", islnk=True)], 5000, ["tablespaces"]),
        (STANZAS, [*FILES, file("pg_tblspc")], 5000, []),
        (STANZAS, [*FILES, file("pg_wal", islnk=True)], 5000, ["plain folders: /data/main/pg_wal (use"]),
        (STANZAS, [*FILES, file("pg_wal", dev=9)], 5000, ["plain folders: /data/main/pg_wal (use"]),
        (STANZAS, [{**DIRECTORY, "islnk": True, "dev": 9}, *FILES[1:]], 5000, ["plain folders: /data/main (use"]),
        ([], [], 0, ["no backup", "no data directory"]),
    ],
)
def test_obstacles_are_all_named(stanzas: list[Any], files: list[Any], free: int, said: list[str]) -> None:
    found = point_in_time_obstacles(stanzas, WANTED, files, free, control(), False)
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


def test_a_mount_point_cannot_be_renamed() -> None:
    (found,) = point_in_time_obstacles(STANZAS, WANTED, FILES, 5000, control(), True)
    assert "/data/main is a mount point" in found


@pytest.mark.parametrize(
    ("chosen", "free", "said"),
    [
        ("20260901-000000F", 991, []),
        ("20260901-000000F", 990, ["not enough space"]),
        ("20260101-000000F", 5000, [f"stanza shop is of {OTHER}, /data/main is of {OWN}"]),
        ("20260101-999999F", 5000, ["there is no backup 20260101-999999F"]),
    ],
)
def test_the_backup_that_was_chosen_must_be_of_this_server(chosen: str, free: int, said: list[str]) -> None:
    found = point_in_time_obstacles(STANZAS, {**WANTED, "set": chosen}, FILES, free, control(), False)
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


@pytest.mark.parametrize(
    ("given", "own", "said"),
    [
        ("", control(timeline=3), []),
        ("", control(timeline=4), []),
        (
            "",
            control(timeline=2),
            ["backup 20260901-000000F is of a recovery that was undone, the server is on timeline 2"],
        ),
        ("3", control(timeline=2), []),
        ("", control(align=4), ["set point_in_time_timeline"]),
        ("3", control(align=4), []),
    ],
)
def test_a_backup_must_be_on_the_way_to_where_the_server_is(given: str, own: str, said: list[str]) -> None:
    found = point_in_time_obstacles(STANZAS, {**WANTED, "timeline": given}, FILES, 5000, own, False)
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


def test_the_end_of_a_backup_needs_no_timeline_of_the_server() -> None:
    wanted = {**WANTED, "type": "immediate"}
    assert point_in_time_obstacles(STANZAS, wanted, FILES, 5000, control(align=4), False) == []
    (found,) = point_in_time_obstacles(STANZAS, wanted, FILES, 5000, control(timeline=2), False)
    assert "was undone" in found


def test_a_backup_that_does_not_say_its_timeline_is_no_obstacle() -> None:
    backups = [{**one, "wal_start": None} for one in STANZAS[0]["backups"]]
    assert point_in_time_obstacles([{**STANZAS[0], "backups": backups}], WANTED, FILES, 5000, control(), False) == []


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_server_is_known_by_the_first_bytes_of_its_control_file_on_every_machine(order: str) -> None:
    assert system_identifier(control(OWN, order)) == OWN
    assert server_timeline(control(OWN, order)) == 3


@pytest.mark.parametrize(
    ("content", "timeline"),
    [(control(promoted=4), 4), (control(timeline=4, promoted=0), 4), (control(align=4), 0), ("", 0)],
)
def test_a_server_promoted_just_now_is_on_its_new_timeline(content: str, timeline: int) -> None:
    assert server_timeline(content) == timeline


@pytest.mark.parametrize("content", ["", base64.b64encode(b"12345678").decode()])
def test_a_server_that_cannot_be_told_is_not_replaced(content: str) -> None:
    assert system_identifier(content) == ""
    (found,) = point_in_time_obstacles(STANZAS, WANTED, FILES, 5000, content, False)
    assert "cannot be told" in found and "/data/main/global/pg_control" in found


def test_the_command_restores_aside_and_leads_to_the_server_s_own_directory() -> None:
    assert point_in_time_restore(WANTED, "/data/main.aside", control()) == [
        "pgbackrest",
        "--stanza=shop",
        "--pg1-path=/data/main.aside",
        "--process-max=2",
        "--log-level-file=off",
        '--recovery-option=restore_command=pgbackrest --stanza=shop --pg1-path=/data/main archive-get %f "%p"',
        "--type=time",
        "--target=2026-09-18 04:00:00+00",
        "--target-timeline=3",
        "--target-action=promote",
        "restore",
    ]


def test_every_wish_is_an_option_of_the_command() -> None:
    more = {"config": "/etc/our backups.conf", "exclusive": True, "timeline": "current", "set": "20260918-010000F"}
    command = point_in_time_restore({**WANTED, **more}, "/data/main.aside", control())
    assert {"--target-exclusive", "--target-timeline=current", "--set=20260918-010000F"} < set(command)
    assert "--config=/etc/our backups.conf" in command
    (option,) = [argument for argument in command if argument.startswith("--recovery-option=")]
    assert "--config=/etc/our backups.conf" in shlex.split(option.partition("restore_command=")[2])


@pytest.mark.parametrize(("kind", "promotes"), [("immediate", True), ("default", False), ("xid", True)])
def test_the_server_does_not_wait_at_its_target(kind: str, promotes: bool) -> None:
    """PostgreSQL pauses at a target by default; without one there is nothing to pause at."""
    target = "" if kind in ("immediate", "default") else "4711"
    command = point_in_time_restore({**WANTED, "type": kind, "target": target}, "/data/main.aside", control())
    assert ("--target-action=promote" in command) is promotes


@pytest.mark.parametrize(
    ("kind", "own", "said"),
    [
        ("time", control(timeline=2), ["--target-timeline=2"]),
        ("default", control(timeline=11), ["--target-timeline=11"]),
        ("immediate", control(timeline=2), []),
        ("immediate", "", []),
    ],
)
def test_the_replay_stays_on_the_timeline_of_the_server(kind: str, own: str, said: list[str]) -> None:
    """PostgreSQL follows the latest by default, though the recovery that began it may have been undone."""
    command = point_in_time_restore({**WANTED, "type": kind}, "/data/main.aside", own)
    assert [option for option in command if "timeline" in option] == said


def test_a_timeline_that_cannot_be_told_is_not_guessed() -> None:
    with pytest.raises(InvalidValue, match="point_in_time_timeline"):
        point_in_time_restore(WANTED, "/data/main.aside", control(align=4))
    named = point_in_time_restore({**WANTED, "timeline": "latest"}, "/data/main.aside", "")
    assert "--target-timeline=latest" in named


def test_a_percent_sign_in_a_path_is_none_of_postgresql_s() -> None:
    (option,) = [
        argument
        for argument in point_in_time_restore({**WANTED, "data_dir": "/data/100%full"}, "/aside", control())
        if argument.startswith("--recovery-option=")
    ]
    assert "/data/100%%full" in option and option.endswith('archive-get %f "%p"')


def test_only_what_a_recovery_kept_is_put_back() -> None:
    kept = ["/d/main.before-20260918040000", "/d/main.before-20260917040000"]
    others = ["/d/main.before-upgrade", "/d/other.before-20270101000000", "/d/main.before-202701010000001"]
    assert newest_kept([*others, *kept], "/d/main") == kept[0]
    assert newest_kept(others, "/d/main") == ""


MONDAY, THURSDAY = "20260914040000", "20260917040000"


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ([f"before-{MONDAY}"], []),
        ([f"before-{MONDAY}", f"undone-{THURSDAY}"], ["undone already", f"/d/main.before-{MONDAY} is from before an"]),
        ([f"before-{THURSDAY}", f"undone-{MONDAY}"], []),
        ([f"before-{MONDAY}", "aside"], ["/d/main.aside is what it left", "point_in_time_force=true"]),
        ([f"before-{MONDAY}", f"undone-{THURSDAY}", "aside"], ["undone already", "aside", "force"]),
        ([f"before-{MONDAY}", "undone-by-hand"], []),
        (["before-upgrade"], ["there is no /d/main.before-<time>"]),
        ([], ["there is no"]),
    ],
)
def test_a_recovery_that_was_good_is_not_undone(beside: list[str], said: list[str]) -> None:
    paths = [f"/d/main.{name}" for name in beside]
    found = point_in_time_undo_obstacles(paths, "/d/main", False)
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found
    assert bool(point_in_time_undo_obstacles(paths, "/d/main", True)) is (newest_kept(paths, "/d/main") == "")
