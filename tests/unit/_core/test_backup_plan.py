"""How each database is copied, and what is said about room and clocks."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from plugins.module_utils._core.backup_plan import (
    Candidate,
    Room,
    action_of,
    clock_finding,
    local_path,
    needed_bytes,
    plan_form,
    space_findings,
    unchosen_finding,
)
from plugins.module_utils._core.errors import DatabaseFailed

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
GB = 1 << 30


def candidate(estimate: int = GB, newest: datetime | None = None) -> Candidate:
    return Candidate("app", 2 * estimate, estimate, newest)


@pytest.mark.parametrize(
    ("mode", "staging", "repository", "newest", "form", "code"),
    [
        ("auto", 2 * GB, None, None, "directory", ""),
        ("auto", GB, None, None, "stream", ""),
        ("auto", needed_bytes(GB), 10 * GB, None, "directory", ""),
        ("auto", needed_bytes(GB) - 1, 10 * GB, None, "stream", ""),
        ("stream", 9 * GB, None, None, "stream", ""),
        ("directory", GB, None, None, "directory", "not_enough_space"),
        ("stream", 0, GB // 4 - 1, None, "stream", "not_enough_space"),
        ("stream", 0, GB // 4, None, "stream", ""),
        ("stream", 0, GB // 40, NOW, "stream", ""),  # a later copy adds what changed
        ("stream", 0, GB // 50, NOW, "stream", "not_enough_space"),
    ],
)
def test_form(mode: str, staging: int, repository: int | None, newest: datetime | None, form: str, code: str) -> None:
    planned = plan_form(candidate(newest=newest), mode, Room("/staging", staging, repository))
    assert planned.form == form
    assert (planned.blocked.code if planned.blocked else "") == code


@pytest.mark.parametrize(
    ("chosen", "left_out", "missing"),
    [
        (["shop"], ["postgres"], ["billing", "billing_old"]),
        (["shop", "billing"], ["postgres", "*_old"], []),
        (["shop", "billing", "billing_old", "postgres"], [], []),
        (["shop"], [], ["postgres", "billing", "billing_old"]),
        (["shop"], ["BILLING*", "postgres"], ["billing", "billing_old"]),
    ],
)
def test_a_database_that_nobody_chose_is_named(chosen: list[str], left_out: list[str], missing: list[str]) -> None:
    finding = unchosen_finding(["postgres", "shop", "billing", "billing_old"], chosen, left_out)
    assert (finding.status, finding.value) == ("warning" if missing else "ok", len(missing))
    assert ", ".join(missing) in finding.msg


def test_of_many_that_nobody_chose_some_are_named() -> None:
    assert unchosen_finding([f"db{n}" for n in range(9)], ["db8"], []).msg.endswith("db3, db4 and 3 more")


def test_what_is_blocked_stays_blocked() -> None:
    error = DatabaseFailed("no", code="insufficient_privilege")
    blocked = plan_form(Candidate("app", blocked=error), "auto", Room("/staging", GB))
    assert blocked.blocked is error
    (finding,) = space_findings([blocked], Room("/staging", GB), "auto")
    assert (finding.check, finding.status) == ("possible", "critical")


@pytest.mark.parametrize(
    ("repository", "statuses"), [(None, []), (GB - 1, ["warning"]), (GB, ["ok"])], ids=["remote", "little", "enough"]
)
def test_room_of_the_repository(repository: int | None, statuses: list[str]) -> None:
    room = Room("/staging", 2 * GB, repository)
    found = space_findings([plan_form(candidate(), "auto", room)], room, "auto")
    assert [(one.check, one.status) for one in found] == [("repository_space", status) for status in statuses]


def test_a_stream_that_was_not_asked_for_is_said() -> None:
    room = Room("/staging", 1, 9 * GB)
    checks = [one.check for one in space_findings([plan_form(candidate(), "auto", room)], room, "auto")]
    assert "staging_space" in checks
    checks = [one.check for one in space_findings([plan_form(candidate(), "stream", room)], room, "stream")]
    assert "staging_space" not in checks


@pytest.mark.parametrize(
    ("taken", "newest", "here", "value"),
    [
        (NOW, None, NOW, None),
        (NOW, NOW - timedelta(hours=1), NOW + timedelta(minutes=4), None),
        (NOW, NOW + timedelta(hours=1), NOW, 3600),
        (NOW, NOW, NOW, 0),
        (NOW, None, NOW + timedelta(minutes=6), 360),
        (NOW, None, NOW - timedelta(minutes=6), -360),
    ],
)
def test_clocks(taken: datetime, newest: datetime | None, here: datetime, value: float | None) -> None:
    finding = clock_finding("app", taken, newest, here)
    assert (finding.value if finding else None) == value
    assert finding is None or finding.status == "warning"


def test_the_plan_does_not_change_with_the_time_of_the_day() -> None:
    assert "2026-11-21T12:00:00Z" in action_of(candidate(newest=NOW), "pg_dump").reason


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/srv/r", "/srv/r"),
        ("relative", "relative"),
        ("local:/srv/r", "/srv/r"),
        ("sftp:u@h:/r", None),
        ("s3:https://h/b", None),
        ("rest:https://h/", None),
        ("rclone:x:y", None),
    ],
)
def test_where_a_repository_is(location: str, path: str | None) -> None:
    assert local_path(location) == path
