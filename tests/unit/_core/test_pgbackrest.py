from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from plugins.module_utils._core.pgbackrest import (
    Archiver,
    Facts,
    Limits,
    Ran,
    findings,
    lag_bytes,
    pages_finding,
    parse_info,
    verify_finding,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
LIMITS = Limits(max_age=86400, max_full_age=7 * 86400, lag_warning=64 << 20, lag_critical=1 << 30)
SEGMENT = 16 << 20


def backup(label: str, hours_ago: float, **changes: Any) -> dict[str, Any]:
    stop = int((NOW - timedelta(hours=hours_ago)).timestamp())
    return {
        "archive": {"start": "000000010000000000000003", "stop": "000000010000000000000004"},
        "database": {"id": 1, "repo-key": 1},
        "error": False,
        "info": {"delta": 10, "repository": {"delta": 5, "size": 5}, "size": 10},
        "label": label,
        "timestamp": {"start": stop - 60, "stop": stop},
        "type": "full",
        **changes,
    }


def info(*backups: dict[str, Any], maximum: str | None = "000000010000000000000006") -> str:
    archive = {"database": {"id": 1, "repo-key": 1}, "id": "13-1", "max": maximum, "min": "000000010000000000000001"}
    stanza = {
        "archive": [archive],
        "backup": list(backups),
        "db": [{"id": 1, "repo-key": 1, "system-id": 7710527294059581742, "version": "13"}],
        "name": "shop",
        "repo": [{"cipher": "none", "key": 1, "status": {"code": 0, "message": "ok"}}],
    }
    return json.dumps([stanza])


def statuses(text: str) -> dict[str, str]:
    return {found.check: found.status for found in findings(Facts(parse_info(text)), LIMITS, NOW)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (info(backup("F", 1)), {}),
        (info(backup("F", 25)), {"backup_age": "critical"}),
        (info(backup("F", 200), backup("I", 1, type="incr")), {"full_backup_age": "critical"}),
        (info(backup("F", -1)), {"backup_age": "unknown", "full_backup_age": "unknown"}),
        (info(backup("F", 1, error=True)), {"backup_errors": "critical"}),
        (info(backup("F", 1, error=None)), {"backup_errors": "unknown"}),
        (info(backup("F", 1), maximum="000000010000000000000003"), {"archive": "critical"}),
        (info(backup("F", 1), maximum=None), {"archive": "critical"}),
        (info(backup("F", 1, archive={"start": None, "stop": None})), {"archive": "unknown"}),
    ],
)
def test_each_reading_has_its_verdict(text: str, expected: dict[str, str]) -> None:
    fine = dict.fromkeys(("repository", "backup_age", "full_backup_age", "backup_errors", "archive"), "ok")
    assert statuses(text) == {**fine, **expected}


def test_no_stanza_at_all_is_critical() -> None:
    assert statuses("[]") == {"info": "critical"}


@pytest.mark.parametrize("text", ["", "{", '[{"name": "shop"}]', "[1]", '{"a": 1}'])
def test_an_answer_of_another_form_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):
        parse_info(text)


GOOD = """stanza: shop
status: ok
  archiveId: 13-1, total WAL checked: 7, total valid WAL: 7
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261121-111229F, status: valid, total files checked: 934, total valid files: 934
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
BAD = GOOD.replace("status: ok", "status: error").replace("status: valid", "status: invalid")


@pytest.mark.parametrize(
    ("rc", "output", "status"),
    [
        (0, GOOD, "ok"),
        (0, BAD, "critical"),
        (0, GOOD.replace("status: valid", "status: manifest missing"), "critical"),
        (0, "stanza: shop\nstatus: error\n  No usable backup.info file\n", "critical"),
        (0, GOOD.replace("status: ok", "status: error"), "critical"),
        (25, BAD, "critical"),
        (25, GOOD, "unknown"),
        (0, "", "unknown"),
        (0, "stanza: shop\nstatus: ok\n", "unknown"),
        (0, GOOD.replace("status: valid", "status: in-progress"), "unknown"),
        (None, GOOD, "unknown"),
    ],
)
def test_the_text_of_verify_decides_and_silence_is_unknown(rc: int | None, output: str, status: str) -> None:
    assert verify_finding(Ran("shop", 1, rc, output, "")).status == status


@pytest.mark.parametrize(
    ("archived", "current", "lag"),
    [
        ("000000010000000000000005", "000000010000000000000006", 0),
        ("000000010000000000000005.00000028.backup", "000000010000000000000007", SEGMENT),
        ("00000002.history", "000000020000000000000007", None),
        ("000000010000000000000005", "000000010000000000000005", 0),
        (None, "000000010000000000000007", None),
        ("000000010000000000000005", None, None),
    ],
)
def test_lag_is_counted_in_finished_segments(archived: str | None, current: str | None, lag: int | None) -> None:
    assert lag_bytes(archived, current, SEGMENT) == lag


ARCHIVER = Archiver(
    last_archived="000000010000000000000005",
    last_archived_at=NOW,
    last_failed=None,
    last_failed_at=None,
    current="000000010000000000000006",
    segment_bytes=SEGMENT,
    archive_mode="on",
    in_recovery=False,
    system_identifier="7710527294059581742",
)


@pytest.mark.parametrize(
    ("archiver", "expected"),
    [
        (ARCHIVER, {}),
        (replace(ARCHIVER, last_failed="x", last_failed_at=NOW - timedelta(hours=1)), {}),
        (replace(ARCHIVER, last_failed="x", last_failed_at=NOW + timedelta(hours=1)), {"archiver": "critical"}),
        (replace(ARCHIVER, archive_mode="off"), {"archiver": "critical"}),
        (replace(ARCHIVER, last_archived_at=None), {"archiver": "unknown"}),
        (replace(ARCHIVER, in_recovery=True, last_archived_at=None), {}),
        (replace(ARCHIVER, system_identifier="1"), {"stanza_database": "critical"}),
        (replace(ARCHIVER, current="000000010000000000000010"), {"archive_lag": "warning"}),
        (replace(ARCHIVER, current="000000010000000100000010"), {"archive_lag": "critical"}),
    ],
)
def test_the_archiver_is_judged(archiver: Archiver, expected: dict[str, str]) -> None:
    facts = Facts(parse_info(info(backup("F", 1))), archiver=archiver)
    found = {one.check: one.status for one in findings(facts, LIMITS, NOW)}
    fine = dict.fromkeys(("archiver", "archive_lag", "stanza_database"), "ok")
    assert {key: found[key] for key in fine} == {**fine, **expected}


@pytest.mark.parametrize(("error", "status"), [(True, "critical"), (False, "ok"), (None, "unknown")])
def test_a_backup_of_which_nobody_says_that_its_pages_are_whole_is_not_ok(error: bool | None, status: str) -> None:
    (stanza,) = parse_info(info(backup("F", 1, error=error)))
    assert pages_finding("shop", stanza.backups[0]).status == status
