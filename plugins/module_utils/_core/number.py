# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What counts as a number when it comes from outside: a truth value never does, and NaN is none."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any, Optional


def number_of(value: Any) -> Optional[float]:
    """Return a finite number that was given as one, as JSON has them; None for a text and for everything else.

    >>> number_of(2), number_of("2"), number_of(True), number_of(float("inf")), number_of(None)
    (2.0, None, None, None, None)
    """
    return parse_number(value) if isinstance(value, (int, float)) else None


def parse_number(value: Any, *, infinite: bool = False) -> Optional[float]:
    """Return a number, also one that is written as a text or comes from SQL; None for everything else.

    ``infinite``: infinity is a number too, for a limit that nothing reaches.

    >>> parse_number("2.5"), parse_number(True), parse_number("nan"), parse_number("soon"), parse_number([2])
    (2.5, None, None, None, None)
    >>> parse_number("-inf"), parse_number("-inf", infinite=True)
    (None, -inf)
    """
    if isinstance(value, (bool, bytes, bytearray)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) or (infinite and not isnan(number)) else None
