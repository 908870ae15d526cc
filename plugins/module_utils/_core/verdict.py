# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One line out of many readings, the worst first."""

from __future__ import annotations

from typing import Iterable, Sequence

from .result import CRITICAL, OK, UNKNOWN, WARNING, Finding
from .units import count_of

_NAMED = 3
_WORDS = {CRITICAL: ("critical", "critical"), WARNING: ("warning", "warnings"), UNKNOWN: ("unknown", "unknown")}


def headline(findings: Iterable[Finding]) -> str:
    """Return the line: the worst readings in words, the others counted.

    >>> old, full = (Finding("slot", "critical", "slot old_dr holds 48 GB"), Finding("pool", "warning", "pool 91 %"))
    >>> headline([full, old])
    '1 critical: slot old_dr holds 48 GB; and 1 warning'
    >>> headline([Finding("a", "ok", "fine"), Finding("b", "ok", "fine")])
    'all 2 checks ok'
    >>> headline([])
    'nothing was looked at'
    """
    seen = tuple(findings)
    groups = [(status, [one for one in seen if one.status == status]) for status in _WORDS]
    bad = [(status, group) for status, group in groups if group]
    if not bad:
        return _all_ok(sum(1 for one in seen if one.status == OK))
    (status, group), *others = bad
    counted = ", ".join(_counted(other, members) for other, members in others)
    rest = f"; and {counted}" if counted else ""
    return f"{_counted(status, group)}: {_named(group)}{rest}"


def _all_ok(number: int) -> str:
    if number == 0:
        return "nothing was looked at"
    return "the one check is ok" if number == 1 else f"all {number} checks ok"


def _counted(status: str, group: Sequence[Finding]) -> str:
    return count_of(len(group), *_WORDS[status])


def _named(group: Sequence[Finding]) -> str:
    named = "; ".join(one.msg for one in group[:_NAMED])
    return f"{named}; {len(group) - _NAMED} more" if len(group) > _NAMED else named
