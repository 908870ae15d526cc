"""What a record says, whom it accuses, and how patient a watch is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.maintenance_schedule import Rate
from plugins.module_utils._core.reindex_facts import DatabaseFacts, IndexFacts, Keys, Policy
from plugins.module_utils._core.reindex_leftover import has_copy_name, leftover_of, stale_records
from plugins.module_utils._core.reindex_plan import Work, survey
from plugins.module_utils._core.reindex_record import PREFIX, FreshSize, Rebuild, parse_record, record_text
from plugins.module_utils._core.reindex_watch import (
    LOCK_TIMEOUT,
    MAX_WAIT,
    Patience,
    Sighting,
    choose,
    new_copies,
    percent_of,
    seconds_of,
)

MB = 1024**2
KEYS = Keys(("1",))


def an_index(oid: int, name: str, **more: Any) -> IndexFacts:
    """Return an invalid index of table 10."""
    facts: dict[str, Any] = {
        "database": "shop", "oid": oid, "schema": "app", "name": name, "sql_name": f"app.{name}", "table_oid": 10,
        "table_schema": "app", "table_name": "t", "table_sql_name": "app.t", "valid": False, "keys": KEYS,
        "bytes": oid * MB,
    }  # fmt: skip
    return IndexFacts(**{**facts, **more})


REBUILT = an_index(100, "t_v", valid=True)
NOTED = Rebuild(5, 10, 100, copies=(7,), known=(100,), started="2026-01-01T00:00:00Z", record_oid=1)
UNNOTED = replace(NOTED, copies=())

ACCUSED: dict[str, tuple[IndexFacts, Rebuild, bool]] = {
    "the copy that was noted": (an_index(7, "t_v_ccnew"), NOTED, True),
    "by whatever number": (an_index(7, "t_v_ccnew12"), NOTED, True),
    "the old index after the swap": (an_index(100, "t_v_ccold"), NOTED, True),
    "not one that was not noted": (an_index(8, "t_v_ccnew"), NOTED, False),
    "not the rebuilt index itself": (an_index(100, "t_v"), NOTED, False),
    "not of another table": (an_index(7, "t_v_ccnew", table_oid=11), NOTED, False),
    "not in another database": (an_index(7, "t_v_ccnew"), replace(NOTED, database_oid=6), False),
    "not a valid one": (an_index(7, "t_v_ccnew", valid=True), NOTED, False),
    "not by another name": (an_index(7, "t_v_renamed"), NOTED, False),
    "one that appeared since": (an_index(8, "t_v_ccnew"), UNNOTED, True),
    "not one that was there before": (an_index(8, "t_v_ccnew"), replace(UNNOTED, known=(8, 100)), False),
    "not with another definition": (an_index(8, "t_v_ccnew", keys=Keys(("2",))), UNNOTED, False),
    "not unique when the rebuilt one is not": (an_index(8, "t_v_ccnew", unique=True), UNNOTED, False),
    "not of another method": (an_index(8, "t_v_ccnew", method="hash"), UNNOTED, False),
    "not the copy of another index": (an_index(8, "t_w_ccnew"), UNNOTED, False),
    "not an old one": (an_index(8, "t_v_ccold"), UNNOTED, False),
    "not what could not be compared": (
        an_index(8, "t_v_ccnew", keys=replace(KEYS, predicate=None)), UNNOTED, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCUSED)
def test_which_index_a_record_accuses(case: str) -> None:
    index, record, accused = ACCUSED[case]
    others = () if index.oid == 100 else (REBUILT,)
    assert (
        leftover_of(index, DatabaseFacts("shop", 5, indexes=(*others, index), rebuilds=(record,))) is not None
    ) == accused


def test_of_two_that_appeared_since_only_the_first_is_ours() -> None:
    first, second = an_index(9, "t_v_ccnew", age=50), an_index(8, "t_v_ccnew1", age=40)
    facts = DatabaseFacts("shop", 5, indexes=(REBUILT, second, first), rebuilds=(UNNOTED,))
    assert leftover_of(first, facts) == UNNOTED and leftover_of(second, facts) is None


@pytest.mark.parametrize(
    ("name", "rebuilt", "matches"),
    [
        ("t_v_ccnew", "t_v", True),
        ("t_v_ccnew7", "t_v", True),
        ("t_v_ccnewx", "t_v", False),
        ("t_ccnew", "t_v", False),
        ("t_v_ccold", "t_v", False),
        ("a_ccnew_ccnew", "a_ccnew", True),
        ("a\nb_ccnew", "a\nb", True),
        ("n" * 57 + "_ccnew", "n" * 63, True),
        ("n" * 56 + "_ccnew1", "n" * 63, True),
        ("é" * 28 + "_ccnew", "é" * 31, True),
        ("n" * 40 + "_ccnew", "n" * 63, False),
    ],
)
def test_the_names_that_the_server_gives_to_copies(name: str, rebuilt: str, matches: bool) -> None:
    assert has_copy_name(name, rebuilt) == matches


def test_records_with_nothing_to_say_are_stale() -> None:
    here, gone = FreshSize(5, 100, 1, 1.0, record_oid=2), FreshSize(5, 999, 1, 1.0, record_oid=3)
    elsewhere = FreshSize(6, 100, 1, 1.0, record_oid=4)
    facts = DatabaseFacts("shop", 5, indexes=(REBUILT,), rebuilds=(NOTED,), fresh_sizes=(here, gone, elsewhere))
    assert {record.record_oid for record, _reason in stale_records(facts)} == {1, 3, 4}
    left = replace(facts, indexes=(REBUILT, an_index(7, "t_v_ccnew")))
    assert {record.record_oid for record, _reason in stale_records(left)} == {3, 4}


oids = st.integers(1, 2**32 - 1)
rebuilds = st.builds(
    Rebuild, oids, oids, oids, st.lists(oids).map(tuple), st.lists(oids).map(tuple), st.text(max_size=30), oids
)
sizes = st.builds(FreshSize, oids, oids, st.integers(0, 2**50), st.floats(0, 1e12), oids)


@given(rebuilds | sizes)
def test_a_record_is_read_as_it_was_written(record: Rebuild | FreshSize) -> None:
    assert parse_record(record.record_oid, record_text(record)) == record


@given(st.text() | st.text().map(lambda text: PREFIX + text))
def test_other_comments_are_no_records(text: str) -> None:
    assert parse_record(1, text) is None


@pytest.mark.parametrize(
    "content", ["[]", "3", "null", '{"rebuild": 1}', '{"fresh": "x", "database": 1, "bytes": 1, "rows": 1}']
)
def test_half_a_record_is_none(content: str) -> None:
    assert parse_record(1, PREFIX + content) is None


# --- the watch ----------------------------------------------------------------------------------------------------


def test_patience_with_a_lock_begins_anew_with_each_wait() -> None:
    patience = Patience(lock_timeout=1.0, max_wait=9.0)
    waits, works = Sighting("relation", (4711,)), Sighting()
    assert [patience.exhausted(s, 0.6) for s in (waits, works, waits, waits)] == [None, None, None, LOCK_TIMEOUT]
    assert patience.blockers == (4711,)


def test_patience_with_other_transactions_adds_up() -> None:
    patience = Patience(lock_timeout=0.1, max_wait=1.0)
    waits, works = Sighting("virtualxid", (1,)), Sighting()
    assert [patience.exhausted(s, 0.6) for s in (waits, works, works, waits)] == [None, None, None, MAX_WAIT]
    assert patience.waited_for_others == pytest.approx(1.2)


PHASES = [
    ("initializing", None), ("waiting for writers before build", 0), ("building index: scanning table", 0),
    ("building index: sorting live tuples", 25), ("building index: loading tuples in tree", 45),
    ("waiting for writers before validation", 70), ("index validation: scanning index", 70),
    ("index validation: sorting tuples", 78), ("index validation: scanning table", 86),
    ("waiting for old snapshots", 97), ("waiting for readers before marking dead", 98),
    ("waiting for readers before dropping", 98),
]  # fmt: skip


def test_the_percentage_of_a_rebuild_only_goes_up() -> None:
    seen = [percent_of(Sighting(phase=phase)) for phase, _expected in PHASES]
    assert seen == [expected for _phase, expected in PHASES]
    assert percent_of(Sighting(phase="building index: scanning table", blocks_done=9, blocks_total=3)) == 25
    assert percent_of(Sighting(phase="building index", blocks_done=1, blocks_total=2)) == 35


def test_what_is_new_among_the_locked_relations() -> None:
    assert new_copies(Sighting(locked=frozenset({3, 9, 10})), {3, 10}) == (9,)


def queue(*tables: int, size: int = 8 * MB) -> tuple[Work, ...]:
    indexes = tuple(
        an_index(n, f"i{n}", sql_name=f"app.i{n}", table_oid=table, bytes=size) for n, table in enumerate(tables, 1)
    )
    return survey([DatabaseFacts("shop", 5, indexes=indexes)], Policy()).works


def test_two_rebuilds_are_never_on_one_table() -> None:
    works = queue(10, 10, 11)
    choice = choose(works, {("shop", 10)}, None, Rate(), 8192)
    assert choice.work == works[2] and choice.unfit == ()
    assert choose(works, {("shop", 10), ("shop", 11)}, None, Rate(), 8192).work is None


def test_what_does_not_fit_is_given_up_and_the_next_that_fits_is_taken() -> None:
    large, small = queue(10, size=800 * MB)[0], queue(11, size=1 * MB)[0]
    choice = choose([large, small], set(), 5.0, Rate(), 8192)
    assert choice.work == small and choice.unfit == (large,)
    measured = Rate().plus(1_000_000, 1.0)
    assert choose([large, small], set(), 5.0, measured, 8192).work == large
    assert choose([large, small], set(), -1.0, measured, 8192).unfit == (large, small)


def test_an_estimate_reckons_the_table_twice() -> None:
    (work,) = queue(10)
    with_table = replace(work, index=replace(work.index, table_bytes=42 * MB))
    assert seconds_of(with_table, Rate(), 8192) == pytest.approx(2 * 50 / 50, rel=0.01)
