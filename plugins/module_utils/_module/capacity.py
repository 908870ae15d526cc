# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""capacity_forecast: when the inventory's resources run out, by the journal."""

from __future__ import annotations

from typing import Any, Optional

from .._core.capacity import ENTRY_KEYS, LimitSource, Resource, read_resources
from .._core.capacity_forecast import Outlook, foresee
from .._core.capacity_report import decide, decide_blind
from .._core.journal import DAY_SECONDS, day_of
from .._core.result import Decision
from .._core.samples import CAPACITY
from .._core.source import Series, short_unit
from .._core.units import count_of
from .._io.journal_open import JournalSchema, JournalUnreachable
from .._io.journal_read import Journal, open_journal
from .._io.journal_series import read_days
from .info import InfoOperation
from .kpi import journal_reader_spec
from .run import Task
from .spec import ArgumentSpec


def capacity_spec() -> ArgumentSpec:
    """Return the options of capacity_forecast; values are checked by read_resources, which knows an entry's place."""
    source: dict[str, Any] = {key: {"type": "raw"} for key in ("metric", "hosts", "labels")}
    resource: dict[str, Any] = {key: {"type": "raw"} for key in ENTRY_KEYS}
    resource["source"] = {"type": "dict", "options": source}
    resources = {"type": "list", "elements": "dict", "required": True, "options": resource}
    return ArgumentSpec({"resources": resources}).merge(journal_reader_spec("resources"))


class CapacityForecast(InfoOperation):
    """Foresee when resources run out; with ``validate_only`` only their definitions are read."""

    def __init__(self, task: Task) -> None:
        self._resources = read_resources(task.params["resources"], task.params["variable"])
        self._validate_only: bool = task.params["validate_only"]
        self._url = task.params["journal_url"]
        self._clock = task.clock

    def decide(self) -> Decision:
        """Read the journal and foresee; a journal that cannot be read leaves every resource unknown."""
        if self._validate_only:
            text = f"{count_of(len(self._resources), 'resource')} can be read"
            return Decision(text, extra={"area": CAPACITY, "samples": [], "forecasts": []})
        try:
            with open_journal(self._url) as journal:
                outlooks = {one.name: self._foresee(journal, one) for one in self._resources}
        except (JournalUnreachable, JournalSchema) as error:
            return decide_blind(self._resources, error.words())
        return decide(self._resources, outlooks)

    def _foresee(self, journal: Journal, resource: Resource) -> list[Outlook]:
        now = self._clock.now().timestamp()
        # Days are kept for years, raw readings for a while: of those today's and the newest are enough.
        first_day = day_of(now - resource.history * DAY_SECONDS)
        since = now - max(resource.max_age, 2) * DAY_SECONDS
        limits = _Limits(journal, resource, since)
        return [
            foresee(resource, series, days, limits(series), now)
            for series, days in read_days(journal, resource.selector, since, first_day)
        ]


class _Limits:
    """The limit of each series: a number for all, or the newest value of the one series that goes with it."""

    def __init__(self, journal: Journal, resource: Resource, since: float) -> None:
        self._fixed: Optional[float] = None
        self._found: tuple[Series, ...] = ()
        if isinstance(resource.limit, LimitSource):
            self._found = tuple(series for series, _days in read_days(journal, resource.limit.selector(), since, None))
        else:
            self._fixed = resource.limit

    def __call__(self, series: Series) -> Optional[float]:
        if self._fixed is not None:
            return self._fixed
        own = [one for one in self._found if one.samples and _agree(one, series)]
        return own[0].samples[-1][1] if len(own) == 1 else None


def _agree(limit: Series, series: Series) -> bool:
    same_unit = short_unit(limit.unit) == short_unit(series.unit)
    same_labels = all(series.labels.get(label, value) == value for label, value in limit.labels.items())
    return same_unit and same_labels and limit.host == series.host
