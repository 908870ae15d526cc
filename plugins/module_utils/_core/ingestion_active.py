# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ingestion: the hours in which a source is expected to deliver."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Optional, Sequence

from .window import Interval, Window, occurrences

LOOK_BACK_DAYS = 35  # the last Sunday of the month comes once in 35 days
_LONGEST_DAYS = 8  # a window may last a week


def active_intervals(windows: Sequence[Window], start: datetime, end: datetime) -> list[Interval]:
    """Return the active time between two moments, merged and in order; without windows that is all of it."""
    if not windows:
        return [Interval(start, end, "always")] if end > start else []
    found = []
    for window in windows:
        first = start.astimezone(window.zone).date() - timedelta(days=_LONGEST_DAYS)
        days = (end - start).days + 2 * _LONGEST_DAYS
        found += [one for one in occurrences(window, first, days) if one.start < end and one.end > start]
    merged: list[Interval] = []
    for one in sorted(found, key=lambda interval: interval.start):
        clipped = Interval(max(one.start, start), min(one.end, end), one.name)
        if merged and clipped.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, clipped.end), merged[-1].name)
        else:
            merged.append(clipped)
    return merged


def active_seconds(windows: Sequence[Window], start: datetime, end: datetime) -> float:
    """Return how much active time lies between two moments, in seconds."""
    return sum((one.end - one.start).total_seconds() for one in active_intervals(windows, start, end))


def measured_since(windows: Sequence[Window], until: datetime, seconds: float) -> tuple[datetime, float]:
    """Return from when on to measure so that so many seconds of active time lie before ``until``, and how many do.

    At night that is the evening before. Less active time than that, within LOOK_BACK_DAYS, is all there is.
    """
    if not windows:
        return until - timedelta(seconds=seconds), seconds
    missing = seconds
    start: Optional[datetime] = None
    for one in reversed(active_intervals(windows, until - timedelta(days=LOOK_BACK_DAYS), until)):
        length = (one.end - one.start).total_seconds()
        if length >= missing:
            return one.end - timedelta(seconds=missing), seconds
        missing, start = missing - length, one.start
    return start or until, seconds - missing
