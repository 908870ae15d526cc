# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What the user wants: thresholds, options of the statements, and exceptions for single tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Iterable, Mapping, Optional

from .errors import InvalidValue
from .maintenance_facts import ServerFacts, TableFacts

PROCESS_TOAST_MAJOR = 14
_MINIMUM_MAJOR = {"buffer_usage_limit": 16, "process_toast": PROCESS_TOAST_MAJOR}


@dataclass(frozen=True)
class Thresholds:
    """When work is needed: more rows than ``*_min`` + ``*_ratio`` x rows, as autovacuum reckons; ages as numbers.

    ``freeze_age`` None: three quarters of the server's own limit.
    """

    dead_rows_min: int = 50
    dead_ratio: float = 0.05
    inserted_rows_min: int = 1000
    inserted_ratio: float = 0.2
    modified_rows_min: int = 50
    modified_ratio: float = 0.05
    freeze_age: Optional[int] = None
    multixact_freeze_age: Optional[int] = None


@dataclass(frozen=True)
class Manner:
    """How a table is worked on; None leaves it to the server and to the table's own storage parameters."""

    vacuum: bool = True
    analyze: bool = True
    freeze: bool = False
    truncate: Optional[bool] = None
    index_cleanup: Optional[str] = None
    parallel: Optional[int] = None
    process_toast: Optional[bool] = None
    buffer_usage_limit: Optional[int] = None
    skip_locked: bool = False


@dataclass(frozen=True)
class Override:
    """Other values for the tables that match a pattern; the first override that matches a table counts."""

    pattern: str
    thresholds: Mapping[str, Any]
    manner: Mapping[str, Any]


@dataclass(frozen=True)
class Policy:
    """The whole wish. ``xmin_*`` in seconds, ``parent_max_age`` in seconds, ``limit`` in tables."""

    thresholds: Thresholds = Thresholds()
    manner: Manner = Manner()
    overrides: tuple[Override, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    system_catalogs: bool = True
    all_tables: bool = False
    parent_max_age: float = 30 * 86400.0
    xmin_warning: float = 3600.0
    xmin_critical: float = 86400.0
    limit: Optional[int] = None

    def for_table(self, table: TableFacts) -> tuple[Thresholds, Manner]:
        """Return what counts for one table."""
        for override in self.overrides:
            if matches(table, override.pattern):
                return replace(self.thresholds, **override.thresholds), replace(self.manner, **override.manner)
        return self.thresholds, self.manner

    def wants(self, table: TableFacts) -> bool:
        """Tell whether the patterns let a table in."""
        if table.catalog and not self.system_catalogs:
            return False
        included = not self.include or any(matches(table, pattern) for pattern in self.include)
        return included and not any(matches(table, pattern) for pattern in self.exclude)

    @property
    def has_patterns(self) -> bool:
        """Tell whether tables are named, so that each name has to be looked at."""
        return bool(self.include or self.exclude or self.overrides)

    def lowest_ages(self, server: ServerFacts) -> tuple[int, int]:
        """Return from which age in transactions and multixacts on a table can be due, whatever its name."""
        every = [self.thresholds, *(replace(self.thresholds, **override.thresholds) for override in self.overrides)]
        xids = (server.freeze_max_age * 3 // 4 if t.freeze_age is None else t.freeze_age for t in every)
        limit = server.multixact_freeze_max_age * 3 // 4
        multixacts = (limit if t.multixact_freeze_age is None else t.multixact_freeze_age for t in every)
        return min(xids), min(multixacts)

    def unmatched(self, tables: Iterable[TableFacts]) -> tuple[str, ...]:
        """Return the patterns that match no table at all: mostly a slip of the pen."""
        everything = list(tables)
        patterns = (*self.include, *self.exclude, *(override.pattern for override in self.overrides))
        return tuple(p for p in dict.fromkeys(patterns) if not any(matches(table, p) for table in everything))


def matches(table: TableFacts, pattern: str) -> bool:
    """Tell whether a glob matches ``schema.table``, or the table's name alone when it has no dot.

    >>> t = TableFacts("shop", 1, "public", "events", "public.events")
    >>> matches(t, "events"), matches(t, "public.ev*"), matches(t, "audit.*")
    (True, True, False)
    """
    return fnmatchcase(table.full_name if "." in pattern else table.name, pattern)


def check_supported(policy: Policy, server: ServerFacts) -> None:
    """Refuse options that the server's version does not know.

    Raises:
        InvalidValue: code ``not_supported``.
    """
    asked: dict[str, Any] = dict(vars(policy.manner))
    for override in policy.overrides:
        asked.update({name: value for name, value in override.manner.items() if value is not None})
    for name, minimum in _MINIMUM_MAJOR.items():
        if asked[name] is not None and server.major < minimum:
            raise InvalidValue(
                f"{name} needs PostgreSQL {minimum}, the server is {server.major}",
                code="not_supported",
                hint=f"leave {name} out for this server",
            )
