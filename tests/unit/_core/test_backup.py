"""What a repository holds is read from its tags alone, and the right copy is picked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.backup import (
    Copy,
    Proof,
    Snapshot,
    Source,
    copy_tags,
    make_tags,
    parse_at,
    proof_tags,
    read_catalog,
    read_tags,
)
from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed

NOON = datetime(2026, 9, 18, 12, tzinfo=timezone.utc)
SOURCE = Source("shop", "db1", "postgresql", 'a,b="c"\nö')
COPY = Copy("c" * 64, SOURCE, NOON, "directory", "7001", 1234)


def snapshot(copy: Copy) -> Snapshot:
    return Snapshot(copy.id, copy.taken, copy.source.host, copy_tags(copy))


def proof(copy: Copy, verdict: str, hours: int = 1) -> Snapshot:
    at = copy.taken + timedelta(hours=hours)
    identity = f"p{hours}{verdict}{copy.id[:4]}"
    return Snapshot(identity, at, copy.source.host, proof_tags(Proof(identity, copy.id, copy.source, verdict, at)))


@given(st.dictionaries(st.text("abc", min_size=1), st.text()))
def test_any_text_comes_back_from_tags(values: dict[str, str]) -> None:
    tags = make_tags(values)
    assert read_tags(tags) == values
    assert not any("," in tag for tag in tags)


def test_a_copy_and_its_proof_come_back() -> None:
    catalog = read_catalog([proof(COPY, "ok"), snapshot(COPY)])
    assert catalog.copies == (COPY,)
    assert catalog.verdict_of(COPY) == "proven"


@pytest.mark.parametrize("ids", ["ab", "ba"])
def test_of_two_copies_of_the_same_second_the_newer_one_is_taken(ids: str) -> None:
    older, newer = (replace(COPY, id=letter * 64) for letter in ids)
    found = [replace(snapshot(older), time=NOON), replace(snapshot(newer), time=NOON + timedelta(milliseconds=400))]
    catalog = read_catalog(found)
    assert catalog.copies == (older, newer) and catalog.pick(SOURCE, None) == newer


@pytest.mark.parametrize(
    "tags", [(), ("nightly",), ("kind=postgresql",), ("oncall-runbooks",), ("oncall-runbooks", "kind=other")]
)
def test_what_others_wrote_is_never_a_copy(tags: tuple[str, ...]) -> None:
    catalog = read_catalog([Snapshot("s", NOON, "h", tags)])
    assert (catalog.copies, catalog.strangers) == ((), ("s",))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "unproven"),
        (["unknown"], "unproven"),
        (["ok"], "proven"),
        (["ok", "critical"], "bad"),
        (["critical", "ok"], "proven"),
        (["ok", "unknown"], "proven"),
    ],
)
def test_the_newest_proof_that_could_look_decides(verdicts: list[str], expected: str) -> None:
    proofs = [proof(COPY, verdict, hours) for hours, verdict in enumerate(verdicts, 1)]
    assert read_catalog([snapshot(COPY), *proofs]).verdict_of(COPY) == expected


def test_the_newest_good_copy_at_or_before_the_time_is_picked() -> None:
    copies = [replace(COPY, id=f"{hour:064}", taken=NOON + timedelta(hours=hour)) for hour in range(4)]
    catalog = read_catalog([*(snapshot(copy) for copy in copies), proof(copies[2], "critical")])
    assert catalog.pick(SOURCE) == copies[3]
    assert catalog.pick(SOURCE, at=NOON + timedelta(hours=2, minutes=30)) == copies[1]
    assert catalog.pick(SOURCE, at=NOON) == copies[0]


@pytest.mark.parametrize(
    ("source", "at", "code"),
    [
        (replace(SOURCE, name="other"), None, "no_copy"),
        (SOURCE, NOON - timedelta(seconds=1), "no_copy_old_enough"),
        (SOURCE, None, "no_good_copy"),
    ],
)
def test_why_there_is_nothing_to_pick(source: Source, at: datetime | None, code: str) -> None:
    with pytest.raises(PreconditionFailed) as failure:
        read_catalog([snapshot(COPY), proof(COPY, "critical")]).pick(source, at)
    assert failure.value.code == code


def test_what_nobody_can_read_is_told_where_a_copy_is_missing() -> None:
    catalog = replace(read_catalog([snapshot(COPY)]), unreadable=("0ab6827c", "1bc7938d"))
    with pytest.raises(PreconditionFailed, match="2 snapshots cannot be read: 0ab6827c, 1bc7938d"):
        catalog.pick(SOURCE, NOON - timedelta(seconds=1))


def test_an_id_must_be_unambiguous() -> None:
    catalog = read_catalog([snapshot(COPY), snapshot(replace(COPY, id="cd"))])
    assert catalog.by_id("cc") == COPY
    for text in ("c", "", "x"):
        with pytest.raises(PreconditionFailed):
            catalog.by_id(text)


@pytest.mark.parametrize("text", ["", "yesterday", "20260918", "2026-09-18T04:00:00", "20260931-000000"])
def test_a_moment_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="at:"):
        parse_at(text, "at")
