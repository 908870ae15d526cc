# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Options that must lie within bounds."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.errors import InvalidValue
from .._core.units import parse_duration


def positive_duration(params: Mapping[str, Any], option: str) -> float:
    """Return seconds.

    Raises:
        InvalidValue: it is no duration, or none at all.
    """
    seconds = parse_duration(params[option], option)
    if seconds <= 0:
        raise InvalidValue(f"{option} must be longer than nothing", hint="for example 10s")
    return seconds


def bounded(params: Mapping[str, Any], option: str, least: int, most: int) -> int:
    """Return a whole number.

    Raises:
        InvalidValue: it is out of bounds.
    """
    check_ranges(params, {option: (least, most)})
    return int(params[option])


def check_ranges(params: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]], where: str = "") -> None:
    """Check numbers, both ends included; what is not given is in order. ``where`` stands before the option's name.

    Raises:
        InvalidValue: one is out of bounds.
    """
    for name, (least, most) in ranges.items():
        value = params.get(name)
        if value is not None and not least <= value <= most:
            raise InvalidValue(f"{where}{name} must be between {least:,} and {most:,}, not {value}")
