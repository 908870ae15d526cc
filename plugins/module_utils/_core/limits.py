# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Limits of readings: defaults of the code, changed or switched off by the inventory, and the verdict they give."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any, Mapping, Optional

from .errors import InvalidValue
from .number import parse_number
from .result import CRITICAL, OK, UNKNOWN, WARNING

_LEVELS = (WARNING, CRITICAL)


@dataclass(frozen=True)
class Limit:
    """From where a reading is a warning and critical, in its own unit; a level that is None is never reached."""

    warning: Optional[float] = None
    critical: Optional[float] = None
    lower_is_worse: bool = False

    def judge(self, value: Optional[float]) -> str:
        """Return the verdict; a value that is not known is ``unknown``. The limit itself is already out of bounds.

        >>> limit = Limit(80, 90)
        >>> [limit.judge(value) for value in (79.9, 80, 90, None)]
        ['ok', 'warning', 'critical', 'unknown']
        >>> Limit(99, 95, lower_is_worse=True).judge(94.0)
        'critical'
        """
        if value is None or isnan(value):
            return UNKNOWN
        if self._is_reached(value, self.critical):
            return CRITICAL
        return WARNING if self._is_reached(value, self.warning) else OK

    def _is_reached(self, value: float, level: Optional[float]) -> bool:
        if level is None:
            return False
        return value <= level if self.lower_is_worse else value >= level


def read_limits(
    raw: Mapping[str, Any], defaults: Mapping[str, Limit], option: str = "limits"
) -> dict[str, Optional[Limit]]:
    """Return the limit of each check; None for one that is switched off.

    ``raw`` maps names of checks to ``{warning: number or null, critical: number or null}``, or to false to leave the
    check out. What it does not name keeps its default, a level that it does not name too.

    Raises:
        InvalidValue: no such check, no number, or the critical level is reached before the warning.

    >>> read_limits({"disk": {"warning": 70}}, {"disk": Limit(80, 90), "load": Limit(4)})
    {'disk': Limit(warning=70.0, critical=90, lower_is_worse=False), 'load': Limit(warning=4, critical=None, \
lower_is_worse=False)}
    """
    unknown = sorted(set(map(str, raw)) - set(defaults))
    if unknown:
        raise InvalidValue(
            f"{option} names no check: {', '.join(unknown)}", hint=f"the checks are {', '.join(sorted(defaults))}"
        )
    return {name: _read_one(raw.get(name), limit, f"{option}.{name}") for name, limit in defaults.items()}


def merged_limits(
    own: Mapping[str, Any], common: Mapping[str, Any], defaults: Mapping[str, Limit]
) -> dict[str, Optional[Limit]]:
    """Return the limits of one object: its own over those of all, level by level.

    Raises:
        InvalidValue: as ``read_limits``.

    >>> merged_limits({"disk": {"critical": 95}}, {"disk": {"warning": 70}}, {"disk": Limit(80, 90)})["disk"]
    Limit(warning=70.0, critical=95.0, lower_is_worse=False)
    """
    merged = dict(common)
    for check, limit in own.items():
        both = isinstance(limit, Mapping) and isinstance(common.get(check), Mapping)
        merged[check] = {**common[check], **limit} if both else limit
    return read_limits(merged, defaults)


def _read_one(raw: Any, default: Limit, option: str) -> Optional[Limit]:
    if raw is None:
        return default
    if raw is False:
        return None
    if not isinstance(raw, Mapping) or set(raw) - set(_LEVELS):
        raise InvalidValue(f"{option} must be warning and critical, or false, not {raw!r}")
    levels = {level: _number(raw[level], f"{option}.{level}") for level in raw}
    limit = Limit(levels.get(WARNING, default.warning), levels.get(CRITICAL, default.critical), default.lower_is_worse)
    return check_limit(limit, option)


def check_limit(limit: Limit, option: str) -> Limit:
    """Return the limit.

    Raises:
        InvalidValue: a reading would be critical before it is a warning.
    """
    if limit.warning is not None and limit.critical is not None:
        wrong = limit.critical > limit.warning if limit.lower_is_worse else limit.critical < limit.warning
        if wrong:
            beyond = "below" if limit.lower_is_worse else "above"
            raise InvalidValue(
                f"{option}: critical ({limit.critical:g}) must be {beyond} warning ({limit.warning:g})",
                hint="give both levels",
            )
    return limit


def _number(raw: Any, option: str) -> Optional[float]:
    if raw is None:
        return None
    number = parse_number(raw, infinite=True)
    if number is None:
        raise InvalidValue(f"{option} must be a number, not {raw!r}")
    return number
