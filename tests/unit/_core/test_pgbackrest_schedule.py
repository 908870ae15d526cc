"""Which physical backup is due, by the age of those that are there."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from plugins.module_utils._core.pgbackrest import Backup, Ran, Stanza, StanzaRepository
from plugins.module_utils._core.pgbackrest_schedule import (
    Schedule,
    due,
    failure_of,
    lacks_stanza,
    new_backup,
    new_stanza,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
HOUR = 3600.0
WEEKLY = Schedule(168 * HOUR, 24 * HOUR, HOUR)


def backup(kind: str, hours: float, repository: int = 1, database: int = 1) -> Backup:
    start = NOW - timedelta(hours=hours)
    return Backup(f"{kind}{hours}", kind, repository, database, "7", start, start, 1, 1, None, None, None)


def stanza(*backups: Backup, codes: tuple[int, ...] = (0,)) -> Stanza:
    repositories = tuple(StanzaRepository(key, code, "") for key, code in enumerate(codes, 1))
    return Stanza("shop", repositories, backups, (), ())


@pytest.mark.parametrize(
    ("backups", "kind"),
    [
        ([], "full"),
        ([("full", 0.5)], None),
        ([("full", 2)], "incr"),
        ([("full", 25)], "diff"),
        ([("full", 25), ("incr", 0.5)], "diff"),  # incremental ones are no differential ones
        ([("full", 25), ("diff", 2)], "incr"),
        ([("full", 25), ("diff", 2), ("incr", 0.5)], None),
        ([("full", 200), ("diff", 0.5)], "full"),
        ([("full", 0.96)], "incr"),  # a run that comes two minutes early must not skip its turn
        ([("full", 0.94)], None),
        ([("full", -5)], None),  # a clock was set back
        ([("diff", 1), ("incr", 1)], "full"),  # nothing to build on
    ],
)
def test_what_is_due(backups: list[tuple[str, float]], kind: str | None) -> None:
    found = due(stanza(*(backup(*one) for one in backups)), WEEKLY, NOW)
    assert [one.type for one in found] == ([] if kind is None else [kind])


def test_a_first_run_makes_the_stanza_and_full_backups() -> None:
    planned = new_stanza("shop", 2)
    assert lacks_stanza(planned) == (1, 2)
    assert [(one.repository, one.type) for one in due(planned, WEEKLY, NOW)] == [(1, "full"), (2, "full")]


def test_each_repository_by_itself() -> None:
    found = due(stanza(backup("full", 0.1), backup("full", 30, repository=2), codes=(0, 0, 2)), WEEKLY, NOW)
    assert [(one.repository, one.type) for one in found] == [(2, "diff"), (3, "full")]


def test_kinds_that_are_not_wanted_are_never_due() -> None:
    assert due(stanza(backup("full", 10_000)), Schedule(0), NOW) == ()
    assert [one.type for one in due(stanza(backup("full", 100)), Schedule(0, 0, HOUR), NOW)] == ["incr"]


def test_backups_of_a_server_before_its_upgrade_count_for_nothing() -> None:
    found = due(stanza(backup("full", 1, database=1), backup("full", 1, repository=2, database=2), codes=(0, 0)),
                WEEKLY, NOW)  # fmt: skip
    assert [(one.repository, one.type) for one in found] == [(1, "full"), (2, "incr")]


def test_repositories_without_the_stanza() -> None:
    assert lacks_stanza(stanza(codes=(0, 1, 2, 3, 99))) == (2, 4)


def test_only_a_backup_that_was_not_there_is_new() -> None:
    before = stanza(backup("full", 2))
    assert new_backup(before, before, 1) is None
    after = stanza(backup("full", 2), backup("incr", 0), backup("full", 0, repository=2))
    assert new_backup(before, after, 1) == backup("incr", 0)


@pytest.mark.parametrize(
    ("ran", "code"),
    [
        (Ran("shop", 1, 50, "", "unable to acquire lock"), "lock_busy"),
        (Ran("shop", 1, 68, "", "archive_command must contain pgbackrest"), "archive_not_set"),
        (Ran("shop", 1, 87, "", "archive_mode must be enabled"), "archive_not_set"),
        (Ran("shop", 1, 82, "", "WAL segment was not archived"), "archive_timeout"),
        (Ran("shop", 1, 29, "", "something"), "pgbackrest_failed"),
        (Ran("shop", 1, None, "", "pgbackrest is not there", "command_missing"), "command_missing"),
    ],
)
def test_failures_have_stable_codes(ran: Ran, code: str) -> None:
    error = failure_of(ran, "back up")
    assert error.code == code and ran.said in error.message
