from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.number import number_of, parse_number

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("value", "given_as_one", "read"),
    [
        (0, 0.0, 0.0),
        (-2.5, -2.5, -2.5),
        ("2.5", None, 2.5),
        (" 7 ", None, 7.0),
        (Decimal("1.25"), None, 1.25),
        (Fraction(1, 4), None, 0.25),
        (True, None, None),
        (False, None, None),
        (None, None, None),
        ("", None, None),
        ("²", None, None),
        ("0x10", None, None),
        (b"12", None, None),
        (bytearray(b"12"), None, None),
        ([1], None, None),
        ({"value": 1}, None, None),
        (10**400, None, None),
        (Decimal("NaN"), None, None),
        (float("nan"), None, None),
        ("nan", None, None),
        (INFINITE, None, None),
        ("-Infinity", None, None),
    ],
)
def test_what_counts_as_a_number(value: Any, given_as_one: float | None, read: float | None) -> None:
    assert number_of(value) == given_as_one
    assert parse_number(value) == read


@pytest.mark.parametrize("value", [INFINITE, -INFINITE, "inf", Decimal("-Infinity")])
def test_infinity_is_a_number_only_where_that_is_said(value: Any) -> None:
    assert parse_number(value) is None
    assert parse_number(value, infinite=True) == float(value)


@pytest.mark.parametrize("value", ["nan", float("nan"), True, None, "soon"])
def test_what_is_no_number_is_none_there_either(value: Any) -> None:
    assert parse_number(value, infinite=True) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_kept(value: float) -> None:
    assert number_of(value) == parse_number(repr(value)) == value
