# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The report within the summary of the run that wrote it: what only the report knows is told, nothing twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Iterator, Sequence

from .report import SEVERITY, Need
from .report_needs import RUNS
from .result import OK, WARNING, worst
from .samples import BACKUPS, CAPACITY, KPIS
from .summary import Line, Notice
from .units import count_of

PRODUCT = "product"
_MOST_TOLD = 5
# The report says it in words of its own.
_REWORDED = frozenset({KPIS, CAPACITY, BACKUPS})
_SAME = 250  # the report cuts long sentences


def without_repeats(lines: Iterable[Line], runbook: str = "") -> tuple[Line, ...]:
    """Return the lines; those of a report keep what no other line of the run says.

    ``runbook`` is this run's, when it is whole: that it was late, or that its last run failed, is over.
    """
    found = tuple(lines)
    others = [line for line in found if not line.needs]
    return tuple(_settled(line, others, runbook) if line.needs else line for line in found)


def _settled(line: Line, others: Sequence[Line], runbook: str) -> Line:
    left = tuple(need for need in line.needs if not _is_over(need, runbook) and not _is_told(need, others))
    status = worst([WARNING if line.failed else OK, *(need.status for need in left)])
    return replace(line, status=status, notices=tuple(_notices(left)), needs=left)


def _is_over(need: Need, runbook: str) -> bool:
    mine = (f"{runbook}: ", f"the newest run of {runbook} ")
    return bool(runbook) and need.area == RUNS and need.msg.startswith(mine)


def _is_told(need: Need, others: Iterable[Line]) -> bool:
    """Tell whether each host that the need names has a line that says it."""
    about = [line for line in others if need.area in _REWORDED and line.area == need.area]
    told = {line.host for line in others if any(one.msg[:_SAME] == need.msg[:_SAME] for one in line.notices)}
    return bool(about) or bool(told and told >= set(_hosts(need)))


def _hosts(need: Need) -> Iterator[str]:
    """Yield the hosts that a need names.

    >>> list(_hosts(Need("warning", "host", "app1, app2 and 3 more", "a reboot is pending")))
    ['app1', 'app2']
    """
    yield from (name for name in need.where.partition(" and ")[0].split(", ") if name)


def _notices(needs: Sequence[Need]) -> Iterator[Notice]:
    """Yield the worst needs with their commands, and the others as one; without a command the page says what to do."""
    ordered = sorted(needs, key=lambda need: -SEVERITY[need.status])
    for need in ordered[:_MOST_TOLD]:
        check = f"report.{need.area}" if need.command else PRODUCT
        yield Notice(check, need.status, f"{need.where}: {need.msg}" if need.where else need.msg, "", need.command)
    rest = ordered[_MOST_TOLD:]
    if rest:
        yield Notice(PRODUCT, rest[0].status, f"{count_of(len(rest), 'more thing')} on the page, from other runs")
