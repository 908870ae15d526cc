# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Readings of the journal by selector."""

from __future__ import annotations

from typing import Optional

from .._core.journal import Day
from .._core.source import Selector, Series
from .journal_read import Journal


def read_series(journal: Journal, selector: Selector, since: Optional[float] = None) -> tuple[Series, ...]:
    """Return the series that a selector means, with their readings since a moment (epoch seconds)."""
    return tuple(series for series, _days in read_days(journal, selector, since, None))


def read_days(
    journal: Journal, selector: Selector, since: Optional[float], since_day: Optional[int]
) -> tuple[tuple[Series, tuple[Day, ...]], ...]:
    """Return the same with what is kept of each day since one (counted from the epoch); None: of no day.

    Raises:
        JournalUnreachable: the journal cannot be read.
    """
    rows = [row for row in journal.series(selector.metric) if selector.matches(row.host, row.label_values())]
    numbers = [row.id for row in rows]
    samples = journal.samples(numbers, since)
    days = {} if since_day is None else journal.days(numbers, since_day)
    return tuple(
        (
            Series(row.host, row.label_values(), row.unit, tuple(samples.get(row.id, ()))),
            tuple(days.get(row.id, ())),
        )
        for row in rows
    )
