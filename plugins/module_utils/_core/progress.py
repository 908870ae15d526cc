# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One line that says how far a long piece of work is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .units import human_duration


@dataclass(frozen=True)
class Progress:
    """Where the work stands. ``elapsed`` and ``budget`` in seconds, ``percent`` of the current item 0-100."""

    item: str
    activity: str
    done: int
    total: int
    noun: str
    elapsed: float
    budget: Optional[float] = None
    percent: Optional[float] = None


def progress_line(progress: Progress) -> str:
    """Return the line.

    >>> progress_line(Progress("public.events", "vacuum", 3, 57, "tables", 720, 3600, 41.2))
    'public.events vacuum 41 %, 3 of 57 tables, 12 min of 1 h'
    >>> progress_line(Progress("app.log", "compress", 1, 2, "files", 3))
    'app.log compress, 1 of 2 files, 3.0 s'
    """
    percent = "" if progress.percent is None else f" {progress.percent:.0f} %"
    budget = "" if progress.budget is None else f" of {human_duration(progress.budget)}"
    return (
        f"{progress.item} {progress.activity}{percent}, {progress.done} of {progress.total} {progress.noun}, "
        f"{human_duration(progress.elapsed)}{budget}"
    )
