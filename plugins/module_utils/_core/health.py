# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The areas of a host or product put together: one verdict for each, the worst first."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from .result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding
from .units import count_of

_ORDER = (CRITICAL, WARNING, UNKNOWN, OK)


def combine(results: Mapping[str, Mapping[str, Any]]) -> Decision:
    """Return what all areas say together; each result is the one that its own module would have given.

    The findings of all areas are in the order of the areas; ``areas`` keeps them apart.
    """
    findings = tuple(Finding(**one) for result in results.values() for one in result["findings"])
    return Decision(areas_headline(results), findings=findings, extra={"areas": dict(results)})


def areas_headline(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line: what the worst areas say, and how the others are.

    >>> areas_headline({"host": {"status": "ok", "msg": "all well"}, "database": {"status": "critical", "msg": "full"}})
    'database: full; 1 area ok'
    """
    by_status = {status: [name for name in results if results[name]["status"] == status] for status in _ORDER}
    worst = next((status for status in _ORDER if by_status[status]), OK)
    if worst == OK:
        return f"{_areas(results)} ok" if results else "nothing was looked at"
    named = "; ".join(f"{name}: {results[name]['msg']}" for name in by_status[worst])
    others = [f"{_areas(by_status[status])} {status}" for status in _ORDER if status != worst and by_status[status]]
    return "; ".join([named, *others])


def _areas(names: Sequence[str] | Mapping[str, Any]) -> str:
    return count_of(len(names), "area")


def unread(area: str, code: str, msg: str, hint: str) -> Decision:
    """Return what is said of an area that could not be looked at as a whole."""
    words = f"{msg} ({hint})" if hint else msg
    finding = Finding(f"{area}_readable", UNKNOWN, words)
    return Decision(words, findings=(finding,), extra={"unread": {"code": code, "hint": hint}})
