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
STANZAS = [{"name": "shop", "systems": [OTHER, OWN], "backups": [
    {"label": "20260101-000000F", "system": OTHER, "size_bytes": 1000},
    {"label": "20260901-000000F", "system": OWN, "size_bytes": 900},
]}]  # fmt: skip
NOTHING = [{"name": "shop", "systems": [OTHER], "backups": []}]
FOREIGN = [{**STANZAS[0], "systems": [OWN, OTHER]}]
FILES = ["/data/main/PG_VERSION", "/data/main/base"]


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
    ],
)
def test_mistakes_are_all_named(changes: dict[str, Any], said: list[str]) -> None:
    found = point_in_time_mistakes({**WANTED, **changes})
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


@pytest.mark.parametrize(
    ("stanzas", "paths", "free", "said"),
    [
        (STANZAS, FILES, 1101, []),
        (STANZAS, FILES, 1100, ["not enough space"]),
        (NOTHING, FILES, 5000, ["no backup"]),
        (FOREIGN, FILES, 5000, [f"stanza shop is of {OTHER}, /data/main is of {OWN}"]),
        (FOREIGN, FILES, 0, ["of another server", "not enough space"]),
        ([], FILES, 5000, ["no backup"]),
        (STANZAS, ["/data/main/base"], 5000, ["no data directory"]),
        (STANZAS, ["/data/main/pg_tblspc/PG_VERSION"], 5000, ["no data directory", "tablespaces"]),
        (STANZAS, [*FILES, "/data/main/standby.signal"], 5000, ["standby"]),
        (STANZAS, [*FILES, "/data/main/pg_tblspc", "/data/main/pg_tblspc/16400"], 5000, ["tablespaces"]),
        (STANZAS, [*FILES, "/data/main/pg_tblspc"], 5000, []),
        ([], [], 0, ["no backup", "no data directory"]),
    ],
)
def test_obstacles_are_all_named(stanzas: list[Any], paths: list[str], free: int, said: list[str]) -> None:
    found = point_in_time_obstacles(stanzas, "/data/main", paths, free, control(OWN))
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


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
    found = point_in_time_obstacles(STANZAS, "/data/main", FILES, free, control(OWN), chosen)
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True)), found


def control(identifier: str, order: str = "<") -> str:
    """Return what slurp returns of a pg_control of PostgreSQL 18, cut short."""
    return base64.b64encode(struct.pack(f"{order}QII", int(identifier), 1800, 202506291)).decode()


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_server_is_known_by_the_first_bytes_of_its_control_file_on_every_machine(order: str) -> None:
    assert system_identifier(control(OWN, order)) == OWN


@pytest.mark.parametrize("content", ["", base64.b64encode(b"12345678").decode()])
def test_a_server_that_cannot_be_told_is_not_replaced(content: str) -> None:
    assert system_identifier(content) == ""
    (found,) = point_in_time_obstacles(STANZAS, "/data/main", FILES, 5000, content)
    assert "cannot be told" in found and "/data/main/global/pg_control" in found


def test_the_command_restores_aside_and_leads_to_the_server_s_own_directory() -> None:
    assert point_in_time_restore(WANTED, "/data/main.aside") == [
        "pgbackrest",
        "--stanza=shop",
        "--pg1-path=/data/main.aside",
        "--process-max=2",
        "--log-level-file=off",
        '--recovery-option=restore_command=pgbackrest --stanza=shop --pg1-path=/data/main archive-get %f "%p"',
        "--type=time",
        "--target=2026-09-18 04:00:00+00",
        "--target-action=promote",
        "restore",
    ]


def test_every_wish_is_an_option_of_the_command() -> None:
    more = {"config": "/etc/our backups.conf", "exclusive": True, "timeline": "current", "set": "20260918-010000F"}
    command = point_in_time_restore({**WANTED, **more}, "/data/main.aside")
    assert {"--target-exclusive", "--target-timeline=current", "--set=20260918-010000F"} < set(command)
    assert "--config=/etc/our backups.conf" in command
    (option,) = [argument for argument in command if argument.startswith("--recovery-option=")]
    assert "--config=/etc/our backups.conf" in shlex.split(option.partition("restore_command=")[2])


@pytest.mark.parametrize(("kind", "promotes"), [("immediate", True), ("default", False), ("xid", True)])
def test_the_server_does_not_wait_at_its_target(kind: str, promotes: bool) -> None:
    """PostgreSQL pauses at a target by default; without one there is nothing to pause at."""
    target = "" if kind in ("immediate", "default") else "4711"
    command = point_in_time_restore({**WANTED, "type": kind, "target": target}, "/data/main.aside")
    assert ("--target-action=promote" in command) is promotes


def test_a_percent_sign_in_a_path_is_none_of_postgresql_s() -> None:
    (option,) = [
        argument
        for argument in point_in_time_restore({**WANTED, "data_dir": "/data/100%full"}, "/aside")
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
