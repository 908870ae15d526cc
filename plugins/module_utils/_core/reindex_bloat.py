# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How large a B-tree would be if it were built anew, from the page layout and the planner's statistics.

Source: PostgreSQL documentation, "Database Page Layout" and "B-Tree Indexes: Implementation" (deduplication); the
constants and the rule for a full page are those of nbtree's index build (_bt_buildadd, _bt_load), the same in 13-18.

    tuple         = 8-byte header (16 with a null bitmap) + columns, each aligned to its type, the whole to 8 bytes
    posting list  = key tuple + 6 bytes a row, as many rows as fit into 808 bytes (13+, equal keys, not unique)
    leaf page     = 8192 - 24 (header) - 16 (special space) - 4 (line pointer of the high key); filled until less than
                    (100 - fillfactor) % is free; the last tuple moves to the next page and leaves a high key behind
    inner pages   = one pivot tuple for each page below, filled to 70 %, up to a single root
    index         = 1 meta page + leaf pages + inner pages

Where the statistics leave room (keys of several columns, unknown distribution), the larger size is taken, so that
bloat is rather underestimated than found where there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Optional

PAGE_HEADER, SPECIAL, LINE_POINTER, ROW_ID = 24, 16, 4, 6
TUPLE_HEADER, TUPLE_HEADER_WITH_NULLS = 8, 16
INNER_FILLFACTOR = 70
SHORT_VALUE = 127  # bytes: up to here a variable-length value has a one-byte header and no alignment
_LONG_HEADER = 4  # of a variable-length value that was computed and not stored
_ALIGN = 8
_TRUNCATED = 0.5  # pg_stats.avg_width has lost the fraction
_ALIGNMENTS = {"c": 1, "s": 2, "i": 4, "d": 8}


@dataclass(frozen=True)
class Column:
    """What the statistics say about a column of an index.

    ``width``: bytes, None when not known; ``fixed``: the type has one length; ``distinct``: as pg_stats.n_distinct;
    ``common``: the shares of the most common values; ``unknown``: why the width is not known.
    """

    width: Optional[float]
    fixed: bool = True
    align: int = 4
    null_fraction: float = 0.0
    distinct: float = -1.0
    common: tuple[float, ...] = ()
    key: bool = True
    unknown: str = ""


@dataclass(frozen=True)
class Shape:
    """What decides the size of a fresh B-tree. ``deduplicates``: whether a build merges equal keys."""

    columns: tuple[Column, ...]
    rows: float
    fillfactor: int = 90
    deduplicates: bool = False
    block_size: int = 8192
    sample_rows: int = 30_000  # ANALYZE looks at 300 times default_statistics_target


@dataclass(frozen=True)
class Measured:
    """What pgstatindex() saw: pages by kind and how full the leaf pages are on average (percent)."""

    leaf_pages: int
    inner_pages: int
    leaf_density: float


def column_of(row: Mapping[str, Any]) -> Column:
    """Return a column from its row of the statistics: see COLUMNS in _io/reindex_queries.py."""
    fixed = row["length"] > 0
    width: Optional[float] = row["length"] if fixed else row["width"]
    unknown = ""
    if width is None:
        unknown = "not_analyzed" if row["readable"] else "not_readable"
    elif not fixed and row["width"] and not row["sampled"] and not row["computed"]:
        width, unknown = None, "too_wide"
    if width is not None and not fixed and row["computed"]:
        width = max(1.0, width - _LONG_HEADER + 1) if width <= SHORT_VALUE + _LONG_HEADER else width
    return Column(
        width=width,
        fixed=fixed,
        align=_ALIGNMENTS[row["alignment"]],
        null_fraction=row["null_fraction"] or 0.0,
        distinct=-1.0 if row["distinct_values"] is None else row["distinct_values"],
        common=tuple(row["common"] or ()),
        key=row["is_key"],
        unknown=unknown,
    )


def fresh_bytes(shape: Shape) -> Optional[int]:
    """Return the size of the index if it were built now; None when a column's width is not known.

    >>> fresh_bytes(Shape((Column(4),), 1_000_000)) // 8192   # CREATE INDEX really makes 2745 pages
    2745
    """
    if any(column.width is None for column in shape.columns):
        return None
    if shape.rows < 1:
        return shape.block_size
    groups = tuple(_groups(shape))
    tuples = sum(count for count, _size in groups)
    average = sum(count * size for count, size in groups) / tuples
    exact = len(groups) == 1 and all(column.fixed for column in shape.columns)
    leaves = max(1, math.ceil(tuples / _per_leaf(average, shape, exact)))
    return (1 + leaves + _inner_pages(leaves, _plain_size(shape), shape.block_size)) * shape.block_size


def fresh_bytes_measured(shape: Shape, measured: Measured) -> int:
    """Return the size after a rebuild when the pages were looked at instead of estimated."""
    full = shape.fillfactor / 100
    if shape.rows >= 1 and not any(column.width is None for column in shape.columns):
        size, exact = _plain_size(shape), all(column.fixed for column in shape.columns)
        used = (_per_leaf(size, shape, exact) + 1) * (size + LINE_POINTER)
        full = min(1.0, used / (shape.block_size - PAGE_HEADER - SPECIAL))
    share = min(1.0, measured.leaf_density / 100 / full)
    leaves = math.ceil(measured.leaf_pages * share)
    inner = math.ceil(measured.inner_pages * share)
    return (1 + leaves + inner) * shape.block_size


def _per_leaf(size: float, shape: Shape, exact: bool) -> float:
    """Return how many tuples a leaf page keeps; the last one that was added has moved on as the high key."""
    usable = shape.block_size - PAGE_HEADER - SPECIAL - 2 * LINE_POINTER
    reserve = shape.block_size * (100 - shape.fillfactor) // 100
    wanted = (usable - reserve) / (size + LINE_POINTER)
    possible = (usable - _ALIGN - size) / (size + LINE_POINTER)
    kept = min(wanted, possible)
    return max(1.0, math.floor(kept) if exact else kept - 0.5)


def _inner_pages(leaves: int, pivot: float, block_size: int) -> int:
    usable = block_size - PAGE_HEADER - SPECIAL - 2 * LINE_POINTER - block_size * (100 - INNER_FILLFACTOR) // 100
    fanout = max(2.0, usable / (pivot + LINE_POINTER) + 0.5)  # the first pointer of a page needs no key
    pages, level = 0, leaves
    while level > 1:
        level = math.ceil(level / fanout)
        pages += level
    return pages


def _groups(shape: Shape) -> Iterator[tuple[float, float]]:
    """Yield (number of tuples, bytes of one) for each kind of leaf tuple."""
    size = _plain_size(shape)
    if not shape.deduplicates:
        yield from _by_nulls(shape, shape.rows, size)
        return
    capacity = max(1, int((_down(shape.block_size // 10) - LINE_POINTER) // _ALIGN * _ALIGN - size) // ROW_ID)
    for keys, rows in _equal_keys(shape):
        yield from _posting_lists(keys, rows / keys, size, capacity)


def _by_nulls(shape: Shape, rows: float, size: float) -> Iterator[tuple[float, float]]:
    """Tell the rows without a key (a null in a single column) from the others: they are shorter."""
    nulls = shape.columns[0].null_fraction * rows if len(shape.columns) == 1 else 0.0
    if nulls:
        yield nulls, TUPLE_HEADER_WITH_NULLS
    if rows > nulls:
        yield rows - nulls, size


def _equal_keys(shape: Shape) -> Iterator[tuple[float, float]]:
    """Yield (number of keys, number of rows) for groups of keys with about the same number of rows each."""
    keys = [column for column in shape.columns if column.key]
    if len(keys) > 1:
        combinations = math.prod(_distinct(column, shape.rows) + (column.null_fraction > 0) for column in keys)
        yield min(max(combinations, 1.0), shape.rows), shape.rows
        return
    column, rest = keys[0], shape.rows
    for share in (column.null_fraction, *column.common):
        if share * shape.rows >= 1:
            yield 1.0, share * shape.rows
            rest -= share * shape.rows
    if rest >= 1:
        yield min(max(_distinct_besides_common(column, shape), 1.0), rest), rest


def _distinct(column: Column, rows: float) -> float:
    return column.distinct if column.distinct >= 0 else -column.distinct * rows


def _distinct_besides_common(column: Column, shape: Shape) -> float:
    """Return the number of keys apart from the most common ones.

    ANALYZE extrapolates from its sample with the estimator Duj1 of Haas and Stokes, D = n d / (n - f1 + f1 n / N),
    which is far too low when a few common values fill much of the sample: half of the rows equal and the others all
    different gives a quarter of the true number. So the number of values seen once (f1) is found again from D, and
    the formula applied to the sample without the common values.
    """
    rows = shape.rows * (1.0 - column.null_fraction)
    distinct, shared = _distinct(column, shape.rows), min(1.0, sum(column.common))
    sample = min(rows, shape.sample_rows * (1.0 - column.null_fraction))
    if not shared or sample < 1:
        return distinct
    once = max(0.0, distinct - len(column.common))
    once = min(once * sample / (sample + once * (1 - sample / rows)), sample * (1 - shared))
    left, left_rows = sample * (1 - shared), rows * (1 - shared)
    return left * once / (left - once + once * left / left_rows) if once else 0.0


def _posting_lists(keys: float, rows: float, size: float, capacity: int) -> Iterator[tuple[float, float]]:
    """Yield the tuples of ``keys`` keys with ``rows`` rows each; a broken number of rows is a mix of its neighbours."""
    low = math.floor(rows)
    for count, share in ((low, low + 1 - rows), (low + 1, rows - low)):
        full, left = divmod(count, capacity)
        if share * full > 0:
            yield keys * share * full, _up(size + ROW_ID * capacity)
        if share * left > 0:
            yield keys * share, _up(size + ROW_ID * left) if left > 1 else size


def _plain_size(shape: Shape) -> float:
    """Return the bytes of a leaf tuple with one row, without its line pointer; averaged where lengths vary."""
    offset, varies = 0.0, False
    has_null = 1.0 - math.prod(1.0 - column.null_fraction for column in shape.columns)
    if len(shape.columns) == 1:
        has_null = 0.0  # those rows are a group of their own
    for column in shape.columns:
        width = (column.width or 0.0) + (0.0 if column.fixed else _TRUNCATED)
        present = 1.0 if len(shape.columns) == 1 else 1.0 - column.null_fraction
        if column.fixed or width > SHORT_VALUE:
            offset += _gap(offset, column.align, varies)
        varies = varies or not column.fixed or 0.0 < present < 1.0
        offset += width * present
    header = TUPLE_HEADER + (TUPLE_HEADER_WITH_NULLS - TUPLE_HEADER) * has_null
    whole = header + offset
    return max(_up(whole), whole + (_ALIGN - 1) / 2) if varies else _up(whole)


def _gap(offset: float, align: int, varies: bool) -> float:
    """Return the padding before a column; half of the worst when the offset is only known on average."""
    return (align - 1) / 2 if varies else -offset % align


def _up(size: float) -> float:
    return math.ceil(size / _ALIGN) * _ALIGN


def _down(size: int) -> int:
    return size // _ALIGN * _ALIGN


def rows_now(reltuples: Optional[float], growth: float, live_rows: Optional[float]) -> Optional[float]:
    """Return how many rows an index holds by now; None when nobody ever counted.

    ``reltuples`` is the last count, ``growth`` how much the table's file has grown since, ``live_rows`` the running
    count of the statistics (None for a partial index, where it says nothing). The highest wins: a table that has grown
    since the last ANALYZE must not look bloated.
    """
    counted = [] if reltuples is None else [reltuples * max(1.0, growth)]
    if live_rows:
        counted.append(live_rows)
    return max(counted) if counted else None
