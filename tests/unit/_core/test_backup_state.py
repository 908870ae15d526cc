"""Which rows are summed up, and how definitions become a hash."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.backup_manifest import Checksum
from plugins.module_utils._core.backup_state import (
    SMALL_TABLE_BYTES,
    Scope,
    counted_scope,
    first_scope,
    read_definitions,
    same_scope,
)

LINES = st.lists(st.lists(st.text(), min_size=1).map(json.dumps), unique=True)


@given(LINES, st.randoms())
def test_order_is_of_no_matter(lines: list[str], random: object) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert read_definitions(lines) == read_definitions(shuffled)


@given(LINES, st.lists(st.text(), min_size=1).map(json.dumps))
def test_one_more_definition_changes_the_hash_of_its_kind_alone(lines: list[str], more: str) -> None:
    before, after = read_definitions(lines), read_definitions([*lines, more])
    kind = json.loads(more)[0]
    assert before.schema_hash != after.schema_hash
    assert after.objects[kind] == before.objects.get(kind, 0) + 1
    assert {k: v for k, v in before.hashes.items() if k != kind} == {k: v for k, v in after.hashes.items() if k != kind}


def test_small_tables_are_summed_up_whole() -> None:
    assert first_scope(SMALL_TABLE_BYTES) == Scope("all")
    assert first_scope(SMALL_TABLE_BYTES + 1) is None


@pytest.mark.parametrize(
    ("rows", "has_key", "end_rows", "scope"),
    [
        (2000, False, 1000, Scope("all")),
        (2001, True, 1000, Scope("ends", 2000)),
        (2001, False, 1000, None),
        (5, True, 0, None),
        (0, False, 0, Scope("all")),
    ],
)
def test_scope_of_large_tables(rows: int, has_key: bool, end_rows: int, scope: Scope | None) -> None:
    assert counted_scope(rows, has_key, end_rows) == scope


def test_a_comparison_takes_the_same_rows() -> None:
    assert same_scope(Checksum("all", 70, "1")) == Scope("all")
    assert same_scope(Checksum("ends", 2000, "1")) == Scope("ends", 2000)
    assert same_scope(None) is None
