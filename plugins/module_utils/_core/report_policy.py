# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a report is asked for: which runs have to happen, what was promised, which runbook is for what."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional

from .errors import InvalidValue
from .journal import Part
from .redact import printable
from .report import Backup, Forecast, Kpi
from .units import parse_duration

COMPLETED, GOOD = COUNTS = ("completed", "good")

# The runbook that looks deeper, for each area.
AREA_RUNBOOKS: Mapping[str, str] = {
    "availability": "system-health",
    "database": "performance-check",
    "redis": "performance-check",
    "host": "system-health",
    "ingestion": "event-ingestion",
    "external_apis": "external-apis",
    "logs": "daily-operations",
    "backups": "backup-verify",
    "security": "weekly-maintenance",
    "kpis": "performance-check",
    "capacity": "capacity-planning",
}

# How old the newest reading of an area may be before it proves nothing any more, in seconds. What is not named is read
# every day.
DAILY = 26 * 3600.0
AREA_AGES: Mapping[str, float] = {"security": 8 * 86400.0, "capacity": 8 * 86400.0, "": float("inf")}

# What is drawn when the journal has it, with its title.
PLOTS: Mapping[str, str] = {
    "availability.latency.p95": "Response time, p95",
    "availability.up": "Availability",
    "external_apis.latency.p95": "External APIs, p95",
    "external_apis.error_percent": "External APIs, errors",
    "ingestion.events": "Events ingested",
    "logs.error_percent": "Failed requests",
    "logs.errors": "Errors in logs",
    "database.connections.used_percent": "Database connections",
    "database.cache_hit_percent": "Database cache hits",
    "database.commits": "Database commits",
    "database.replication.lag": "Replication lag",
    "database.size_bytes": "Database size",
    "redis.memory.used_percent": "Redis memory",
    "redis.hit_ratio": "Redis cache hits",
    "host.cpu.used_percent": "CPU",
    "host.memory.used_percent": "Memory",
    "host.disk.used_percent": "Disk",
}


@dataclass(frozen=True)
class Wish:
    """A run that has to happen: every so many seconds, with some grace. ``counts``: which runs are one.

    Whole runs are, and those with just this ``limit`` and these ``tags``.
    """

    runbook: str
    every: float
    grace: float
    counts: str = COMPLETED
    limit: str = ""
    tags: str = ""

    @property
    def part(self) -> Part:
        """Return what counts as a whole run."""
        return Part(self.runbook, self.limit, self.tags)


@dataclass(frozen=True)
class Promise:
    """What was promised about a recovery, in seconds; ``max_age``: how old its measurement may be."""

    name: str
    rto: Optional[float] = None
    rpo: Optional[float] = None
    max_age: Optional[float] = None


@dataclass(frozen=True)
class Policy:
    """What is asked for. Durations in seconds.

    ``hosts``: those that are still there; empty: all that the journal knows. ``kpis``, ``forecasts`` and ``backups``
    None: they are read from the journal.
    """

    product: str
    title: str = ""
    window: float = 30 * 86400.0
    history: float = 365 * 86400.0
    ages: Mapping[str, float] = field(default_factory=dict)
    areas: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    schedule: tuple[Wish, ...] = ()
    objectives: tuple[Promise, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    runbooks: Mapping[str, str] = field(default_factory=dict)
    plots: tuple[str, ...] = ()
    kpis: Optional[tuple[Kpi, ...]] = None
    forecasts: Optional[tuple[Forecast, ...]] = None
    backups: Optional[tuple[Backup, ...]] = None

    def age_of(self, area: str) -> float:
        """Return how old the newest reading of an area may be."""
        return self.ages.get(area, AREA_AGES.get(area, DAILY))


def read_schedule(raw: Iterable[Mapping[str, Any]]) -> tuple[Wish, ...]:
    """Return the runs that have to happen.

    Raises:
        InvalidValue: no duration, never due, or a runbook twice.
    """
    wishes = tuple(
        Wish(
            str(entry["runbook"]),
            parse_duration(entry["every"], f"schedule[{number}].every"),
            parse_duration(entry["grace"], f"schedule[{number}].grace"),
            entry.get("counts") or COMPLETED,
            entry.get("limit") or "",
            entry.get("tags") or "",
        )
        for number, entry in enumerate(raw)
    )
    for number, wish in enumerate(wishes):
        if wish.every <= 0:
            raise InvalidValue(f"schedule[{number}].every must be longer than nothing")
        if wish.runbook in [other.runbook for other in wishes[:number]]:
            raise InvalidValue(f"schedule names {printable(wish.runbook, 80)} twice")
    return wishes


def read_objectives(raw: Iterable[Mapping[str, Any]]) -> tuple[Promise, ...]:
    """Return what was promised.

    Raises:
        InvalidValue: no duration, or a name twice.
    """
    promises: list[Promise] = []
    for number, entry in enumerate(raw):
        durations = {
            key: None if entry.get(key) is None else parse_duration(entry[key], f"objectives[{number}].{key}")
            for key in ("rto", "rpo", "max_age")
        }
        if entry["name"] in [other.name for other in promises]:
            raise InvalidValue(f"objectives name {printable(str(entry['name']), 80)} twice")
        promises.append(Promise(str(entry["name"]), **durations))
    return tuple(promises)


def command_for(policy: Policy, name: str, host: str = "", inventory: str = "") -> str:
    """Return the command of the runbook for an area, or of a runbook by its name; a whole command stays as it is.

    >>> command_for(Policy("shop"), "database", "db1", "inventories/shop")
    'ansible-playbook -i inventories/shop playbooks/performance-check.yml --limit db1'
    >>> command_for(Policy("shop", runbooks={"database": "less /srv/wiki/db.md"}), "database", "db1")
    'less /srv/wiki/db.md'
    >>> command_for(Policy("shop"), "emergency/outage.yml"), command_for(Policy("shop"), "make triage")
    ('ansible-playbook playbooks/emergency/outage.yml', 'make triage')
    """
    if name in policy.runbooks:
        return printable(policy.runbooks[name])
    if " " in name:
        return printable(name)
    runbook = AREA_RUNBOOKS.get(name, name).removeprefix("playbooks/").removesuffix(".yml")
    words = ["ansible-playbook", *(["-i", inventory] if inventory else []), f"playbooks/{runbook}.yml"]
    words += ["--limit", host] if host and host != "localhost" else []
    return printable(shlex.join(words))
