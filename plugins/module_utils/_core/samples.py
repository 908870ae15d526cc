# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Readings that are kept as history: what a module returns as ``samples`` and the journal stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Iterable, Mapping

AVAILABILITY, DATABASE, REDIS, HOST, INGESTION, APIS, LOGS, BACKUPS, SECURITY, KPIS, CAPACITY = AREAS = (
    "availability",
    "database",
    "redis",
    "host",
    "ingestion",
    "external_apis",
    "logs",
    "backups",
    "security",
    "kpis",
    "capacity",
)


@dataclass(frozen=True)
class Sample:
    """One reading: ``metric`` is a dotted name that starts with its area, ``labels`` tell apart what it is read of.

    Units: ``count``, ``bytes``, ``seconds``, ``percent`` (0 to 100), ``ratio`` (0 to 1), ``per_second``, ``per_hour``,
    ``per_minute``. Values are finite numbers.
    """

    metric: str
    value: float
    unit: str
    labels: Mapping[str, str] = field(default_factory=dict)


def render_samples(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Return the samples as they stand in a result; what is not a finite number is left out, it was not read."""
    return [
        {"metric": one.metric, "value": one.value, "unit": one.unit, "labels": dict(one.labels)}
        for one in samples
        if isfinite(one.value)
    ]
