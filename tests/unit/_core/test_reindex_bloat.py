"""The page layout as arithmetic: sizes that real servers gave, and rules that hold for every shape of index."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.reindex_bloat import (
    Column,
    Measured,
    Shape,
    column_of,
    fresh_bytes,
    fresh_bytes_measured,
    rows_now,
)

# Pages that CREATE INDEX made of 200,000 rows on servers 13 and 18.
REAL = {
    "bigint primary key": (Shape((Column(8, align=8),), 200_000), 551),
    "integer": (Shape((Column(4),), 200_000, deduplicates=True), 551),
    "uuid": (Shape((Column(16, align=1),), 200_000, deduplicates=True), 773),
    "integer and timestamp": (Shape((Column(4, distinct=10), Column(8, align=8)), 200_000, deduplicates=True), 773),
    "boolean and bigint": (
        Shape((Column(1, align=1, distinct=2), Column(8, align=8)), 200_000, deduplicates=True),
        773,
    ),
    "fillfactor 70": (Shape((Column(4),), 200_000, fillfactor=70, deduplicates=True), 710),
    "half of them one value": (
        Shape((Column(4, distinct=26_087, common=(0.5,)),), 200_000, deduplicates=True),
        362,
    ),
}


@pytest.mark.parametrize("case", REAL)
def test_fresh_sizes_are_those_of_real_servers(case: str) -> None:
    shape, pages = REAL[case]
    assert abs((fresh_bytes(shape) or 0) / 8192 - pages) <= 1


def test_an_empty_index_is_its_meta_page() -> None:
    assert fresh_bytes(Shape((Column(4),), 0)) == 8192
    assert fresh_bytes(Shape((Column(4),), 1)) == 2 * 8192


def test_wide_keys_fill_pages_badly() -> None:
    pages = (fresh_bytes(Shape((Column(2600, fixed=False),), 1000)) or 0) / 8192
    assert 500 <= pages <= 1100  # one or two of them share a page, three an inner page


def test_another_block_size_is_reckoned_with() -> None:
    small, large = (fresh_bytes(Shape((Column(4),), 1e6, block_size=size)) or 0 for size in (8192, 32768))
    assert 0.95 < small / large < 1.05


def test_a_width_that_is_not_known_is_not_guessed() -> None:
    assert fresh_bytes(Shape((Column(4), Column(None, unknown="not_readable")), 10)) is None


STATISTICS: dict[str, Any] = {
    "is_key": True, "length": -1, "alignment": "i", "width": 33, "null_fraction": 0.0, "distinct_values": -1.0,
    "common": None, "computed": False, "sampled": True, "readable": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "width", "unknown"),
    [
        ({}, 33, ""),
        ({"length": 8, "width": None}, 8, ""),
        ({"width": None}, None, "not_analyzed"),
        ({"width": None, "readable": False}, None, "not_readable"),
        ({"sampled": False}, None, "too_wide"),
        ({"sampled": False, "computed": True, "width": 1304}, 1304, ""),
        ({"computed": True}, 30, ""),
        ({"computed": True, "width": 2}, 1, ""),
    ],
)
def test_what_the_statistics_say_about_a_column(row: dict[str, Any], width: float | None, unknown: str) -> None:
    column = column_of({**STATISTICS, **row})
    assert (column.width, column.unknown) == (width, unknown)


@pytest.mark.parametrize(
    ("counted", "growth", "live", "expected"),
    [
        (None, 1, None, None), (None, 9, 0, None), (100, 1, None, 100), (100, 2, 0, 200), (100, 0.5, 150, 150),
        (None, 1, 7, 7),
    ],
)  # fmt: skip
def test_the_highest_count_of_rows_wins(
    counted: float | None, growth: float, live: float | None, expected: float | None
) -> None:
    assert rows_now(counted, growth, live) == expected


def test_measured_pages_are_packed_to_the_fillfactor() -> None:
    shape = Shape((Column(4),), 1e6)
    for measured in (Measured(2733, 11, 90.04), Measured(5466, 22, 45.02)):
        assert abs(fresh_bytes_measured(shape, measured) / 8192 - (1 + 2733 + 11)) <= 2
    assert fresh_bytes_measured(shape, Measured(100, 1, 100.0)) == 8192 * 102, "never more than there is"


columns = st.builds(
    Column,
    width=st.floats(1, 2600),
    fixed=st.booleans(),
    align=st.sampled_from([1, 2, 4, 8]),
    null_fraction=st.floats(0, 1),
    distinct=st.one_of(st.floats(-1, -0.001), st.floats(1, 1e6)),
    common=st.lists(st.floats(0.001, 0.1), max_size=5).map(tuple),
)
shapes = st.builds(
    Shape,
    columns=st.lists(columns, min_size=1, max_size=3).map(tuple),
    rows=st.floats(0, 1e8),
    fillfactor=st.integers(50, 100),
    deduplicates=st.booleans(),
)


@given(shapes)
def test_a_size_is_always_some_whole_pages_and_not_absurd(shape: Shape) -> None:
    size = fresh_bytes(shape)
    assert size is not None and size % 8192 == 0 and size >= 8192
    least = shape.rows * 6  # not even a posting list of one key is smaller
    assert size >= least or shape.rows < 1000
    assert size <= (shape.rows + 10) * 3 * 8192


@given(shapes, st.floats(1, 10))
def test_more_rows_never_need_less_room(shape: Shape, factor: float) -> None:
    more = Shape(shape.columns, shape.rows * factor, shape.fillfactor, False)
    less = Shape(shape.columns, shape.rows, shape.fillfactor, False)
    assert (fresh_bytes(more) or 0) >= (fresh_bytes(less) or 0)
