"""Advice about indexes that are not needed, and sequences near their end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plugins.module_utils._core.reindex_facts import DatabaseFacts, IndexFacts, Keys, Policy, SequenceFacts
from plugins.module_utils._core.reindex_findings import advice, drop_statement, sequence_findings, used_percent, wholes
from plugins.module_utils._core.result import Finding

POLICY = Policy(unused_after=86400.0)


def an_index(oid: int, *columns: str, **more: Any) -> IndexFacts:
    """Return a used index on some columns (by their numbers)."""
    count = more.pop("key_count", len(columns))
    keys = Keys(columns, ("1978",) * count, ("0",) * count, ("0",) * count, count)
    facts: dict[str, Any] = {
        "database": "shop", "oid": oid, "schema": "app", "name": f"i{oid}", "sql_name": f"app.i{oid}", "table_oid": 10,
        "table_schema": "app", "table_name": "t", "table_sql_name": "app.t", "keys": keys, "scans": 1, "bytes": oid,
    }  # fmt: skip
    return IndexFacts(**{**facts, **more})


def advised(*indexes: IndexFacts, policy: Policy = POLICY, **more: Any) -> list[Finding]:
    facts: dict[str, Any] = {"stats_age": 86400.0, "indexes": indexes, **more}
    return [finding for finding in advice(DatabaseFacts("shop", **facts), policy) if finding.status != "ok"]


def checks(*indexes: IndexFacts, **more: Any) -> set[str]:
    return {finding.check.replace("shop:app.", "") for finding in advised(*indexes, **more)}


EXPRESSION = replace(an_index(1, "0").keys, expressions="lower(v)")
PARTIAL = replace(an_index(1, "1").keys, predicate="(a > 1)")
DUPLICATES: dict[str, tuple[tuple[IndexFacts, ...], set[str]]] = {
    "the younger one": ((an_index(1, "1"), an_index(2, "1")), {"duplicate_index:i2"}),
    "the one that is not used": (
        (an_index(1, "1", scans=0), an_index(2, "1", scans=5)),
        {"duplicate_index:i1", "unused_index:i1"},
    ),
    "never the primary key": ((an_index(1, "1"), an_index(2, "1", primary=True, unique=True)), {"duplicate_index:i1"}),
    "never a constraint's": (
        (an_index(1, "1", unique=True), an_index(2, "1", unique=True, constraint="c")),
        {"duplicate_index:i1"},
    ),
    "never the unique one": ((an_index(1, "1"), an_index(2, "1", unique=True)), {"duplicate_index:i1"}),
    "never the replica identity": (
        (an_index(1, "1", primary=True, unique=True), an_index(2, "1", unique=True, replica_identity=True)), set(),
    ),
    "never the one that the table is clustered on": (
        (an_index(1, "1"), an_index(2, "1", clustered=True)), {"duplicate_index:i1"},
    ),
    "never one on which a foreign key relies": (
        (an_index(1, "1", unique=True, constraint="c"), an_index(2, "1", unique=True, referenced=True)),
        {"duplicate_index:i1"},
    ),
    "never the one that is checked at once": (
        (an_index(1, "1", unique=True), an_index(2, "1", unique=True, constraint="c", deferrable=True)), set(),
    ),
    "never a stricter rule about nulls": (
        (an_index(1, "1", unique=True, nulls_not_distinct=True), an_index(2, "1", unique=True, constraint="c")), set(),
    ),
    "what a unique one of whatever rule can do": (
        (an_index(1, "1"), an_index(2, "1", unique=True, constraint="c", deferrable=True)), {"duplicate_index:i1"},
    ),
    "two of the same rule beside another rule": (
        (an_index(1, "1", unique=True), an_index(2, "1", unique=True),
         an_index(3, "1", unique=True, constraint="c", deferrable=True)), {"duplicate_index:i2"},
    ),
    "three of them": (
        (an_index(1, "1"), an_index(2, "1"), an_index(3, "1")),
        {"duplicate_index:i2", "duplicate_index:i3"},
    ),
    "another table": ((an_index(1, "1"), an_index(2, "1", table_oid=11)), set()),
    "another method": ((an_index(1, "1"), an_index(2, "1", method="hash")), set()),
    "another condition": ((an_index(1, "1"), an_index(2, "1", keys=PARTIAL)), set()),
    "the same condition": ((an_index(1, "1", keys=PARTIAL), an_index(2, "1", keys=PARTIAL)), {"duplicate_index:i2"}),
    "the same expression": (
        (an_index(1, "0", keys=EXPRESSION), an_index(2, "0", keys=EXPRESSION)),
        {"duplicate_index:i2"},
    ),
    "expressions that could not be read": (
        (an_index(1, "0", keys=replace(EXPRESSION, expressions=None)),
         an_index(2, "0", keys=replace(EXPRESSION, expressions=None))), set(),
    ),
    "an invalid one": ((an_index(1, "1"), an_index(2, "1", valid=False)), set()),
    "catalogs and TOAST": (
        (an_index(1, "1", system=True), an_index(2, "1", system=True), an_index(3, "1", toast=True)),
        set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DUPLICATES)
def test_which_duplicate_is_told(case: str) -> None:
    indexes, expected = DUPLICATES[case]
    assert checks(*indexes) == expected


OVERLAPS: dict[str, tuple[tuple[IndexFacts, ...], set[str]]] = {
    "a leading column": ((an_index(1, "1"), an_index(2, "1", "2")), {"overlapping_index:i1"}),
    "of a unique index": ((an_index(1, "1"), an_index(2, "1", "2", unique=True)), {"overlapping_index:i1"}),
    "included columns that are there": (
        (an_index(1, "1", "2", key_count=1), an_index(2, "1", "2")), {"overlapping_index:i1"},
    ),
    "included columns that are not": ((an_index(1, "1", "3", key_count=1), an_index(2, "1", "2")), set()),
    "not the second column": ((an_index(1, "2"), an_index(2, "1", "2")), set()),
    "a unique one": ((an_index(1, "1", unique=True), an_index(2, "1", "2")), set()),
    "a clustered one": ((an_index(1, "1", clustered=True), an_index(2, "1", "2")), set()),
    "another order": (
        (an_index(1, "1", keys=replace(an_index(1, "1").keys, options=("3",))), an_index(2, "1", "2")), set(),
    ),
    "another condition": ((an_index(1, "1", keys=PARTIAL), an_index(2, "1", "2")), set()),
    "no B-tree": ((an_index(1, "1", method="gist"), an_index(2, "1", "2", method="gist")), set()),
}  # fmt: skip


@pytest.mark.parametrize("case", OVERLAPS)
def test_which_leading_part_is_told(case: str) -> None:
    indexes, expected = OVERLAPS[case]
    assert checks(*indexes) == expected


NEEDED = ["unique", "primary", "exclusion", "replica_identity", "clustered", "referenced"]


@pytest.mark.parametrize("duty", NEEDED)
def test_an_index_with_a_duty_is_never_unused(duty: str) -> None:
    assert checks(an_index(1, "1", scans=0, **{duty: True})) == set()
    assert checks(an_index(1, "1", scans=0)) == {"unused_index:i1"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stats_age": 86399.0}, "not enough"),
        ({"stats_age": None}, "not known"),
        ({"standby": True}, "scans on its primary"),
        ({"has_standbys": True}, "scans on standbys are not counted here"),
    ],
)
def test_what_cannot_be_known_about_scans_is_unknown(more: dict[str, Any], words: str) -> None:
    (finding,) = advised(an_index(1, "1", scans=0), **more)
    assert finding.status == "unknown" and words in finding.msg


def test_the_parts_of_a_partitioned_index_count_for_the_whole() -> None:
    parts = (an_index(1, "1", kind="I", scans=0), an_index(2, "1", parent_oid=1, scans=0, table_oid=11),
             an_index(3, "1", parent_oid=2, scans=7, table_oid=12))  # fmt: skip
    (whole,) = wholes(parts)
    assert (whole.index.oid, whole.bytes, whole.scans) == (1, 6, 7) and checks(*parts) == set()
    (finding,) = advised(*(replace(part, scans=0) for part in parts))
    assert finding.check == "unused_index:shop:app.i1" and finding.msg.endswith("DROP INDEX app.i1")


@pytest.mark.parametrize("duty", ["replica_identity", "clustered", "referenced"])
def test_what_a_part_is_there_for_keeps_the_whole(duty: str) -> None:
    parts = (an_index(1, "1", kind="I", scans=0), an_index(2, "1", parent_oid=1, scans=0, table_oid=11, **{duty: True}))
    assert checks(*parts) == set()
    assert checks(*parts, an_index(3, "1", kind="I")) == {"duplicate_index:i3"}


def test_a_part_that_is_left_out_still_counts_for_the_whole() -> None:
    root = an_index(1, "1", kind="I", scans=0)
    part = an_index(2, "1", parent_oid=1, scans=7, table_oid=11, table_name="t_old", table_sql_name="app.t_old")
    assert checks(root, part, policy=replace(POLICY, exclude=("t_old",))) == set()
    assert checks(root, replace(part, scans=0), policy=replace(POLICY, include=("t_old",))) == set()


def test_what_is_left_out_is_not_spoken_of() -> None:
    assert checks(an_index(1, "1", scans=0), policy=replace(POLICY, exclude=("app.t",))) == set()


def test_many_findings_of_one_kind_are_cut_to_the_largest() -> None:
    found = advised(*(an_index(oid, str(oid), scans=0) for oid in range(1, 31)))
    assert len(found) == 21 and found[0].value == 30 and found[-1].msg == "shop: 10 more"


def test_a_constraint_is_dropped_with_its_own_statement() -> None:
    index = an_index(1, "1", unique=True, constraint='od"d')
    assert drop_statement(index) == 'ALTER TABLE app.t DROP CONSTRAINT "od""d"'


@pytest.mark.parametrize(
    ("last", "status"), [(None, "ok"), (1, "ok"), (74, "ok"), (76, "warning"), (91, "critical"), (101, "critical")]
)
def test_sequences_are_told_by_what_is_used(last: int | None, status: str) -> None:
    sequence = SequenceFacts("app.s", 1, 100, 1, last)
    (finding,) = sequence_findings(DatabaseFacts("shop", sequences=(sequence,)), POLICY)
    assert finding.status == status


def test_a_sequence_that_counts_down_ends_at_its_minimum() -> None:
    assert used_percent(SequenceFacts("s", -101, -1, -1, -100)) == 99.0
    (finding,) = sequence_findings(DatabaseFacts("d", sequences=(SequenceFacts("s", -101, -1, -1, -100),)), POLICY)
    assert "-100 of -101" in finding.msg


def test_sequences_that_cannot_be_read_are_counted() -> None:
    sequences = tuple(SequenceFacts(f"s{n}", 1, 9, 1, None, readable=False) for n in range(3))
    found = list(sequence_findings(DatabaseFacts("shop", sequences=sequences), POLICY))
    assert [finding.status for finding in found] == ["ok", "unknown"] and found[1].value == 3
