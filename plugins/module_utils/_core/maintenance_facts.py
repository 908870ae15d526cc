# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is known of a server, its databases and their tables before anything is decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Mapping, Optional

XID_LIMIT = 2**31
TABLE, MATVIEW, PARENT = "table", "materialized view", "partitioned table"


@dataclass(frozen=True)
class ServerFacts:
    """A server's version and limits; ages in transactions or multixacts."""

    version: int
    freeze_max_age: int = 200_000_000
    multixact_freeze_max_age: int = 400_000_000
    failsafe_age: int = 1_600_000_000
    multixact_failsafe_age: int = 1_600_000_000
    block_size: int = 8192
    in_recovery: bool = False
    track_counts: bool = True

    @property
    def major(self) -> int:
        """Return the major version."""
        return self.version // 10000


@dataclass(frozen=True)
class TableFacts:
    """One table, materialized view or partitioned parent; TOAST is part of its owner.

    ``target`` is the name as quoted by the server. ``rows`` is the planner's estimate, negative when there is none.
    Ages in transactions and multixacts, None where there is no such age. ``pages`` are of the heap alone.
    ``vacuum_seconds`` is the mean of the vacuums that the server has timed (18).
    """

    database: str
    oid: int
    schema: str
    name: str
    target: str
    kind: str = TABLE
    temporary: bool = False
    shared: bool = False
    catalog: bool = False
    parent_oid: Optional[int] = None
    may_maintain: bool = True
    pages: int = 0
    all_visible_pages: int = 0
    index_pages: int = 0
    toast_pages: int = 0
    rows: float = -1
    live_rows: int = 0
    dead_rows: int = 0
    modified_rows: int = 0
    inserted_rows: int = 0
    toast_rows: float = 0
    toast_live_rows: int = 0
    toast_dead_rows: int = 0
    xid_age: Optional[int] = None
    multixact_age: Optional[int] = None
    last_vacuum: Optional[datetime] = None
    last_analyze: Optional[datetime] = None
    last_autoanalyze: Optional[datetime] = None
    vacuum_count: int = 0
    analyze_count: int = 0
    has_statistics: bool = False
    heap_bytes: Optional[int] = None
    vacuum_seconds: Optional[float] = None
    columns: int = 0
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def full_name(self) -> str:
        """Return schema and name, unquoted, as patterns see them."""
        return f"{self.schema}.{self.name}"

    @property
    def known_rows(self) -> float:
        """Return the rows that ratios refer to: the planner's estimate, else the counted live rows."""
        return self.rows if self.rows > 0 else float(self.live_rows)

    @property
    def is_parent(self) -> bool:
        """Tell whether this is a partitioned parent, which has no rows of its own."""
        return self.kind == PARENT

    @property
    def has_empty_toast(self) -> bool:
        """Tell whether there is nothing in its TOAST table, and the server knows that since a vacuum of it."""
        return not (self.toast_pages or self.toast_rows or self.toast_live_rows or self.toast_dead_rows)

    @property
    def is_statistics(self) -> bool:
        """Tell whether ANALYZE of other tables writes into this catalog."""
        return self.catalog and self.name == "pg_statistic"

    @property
    def may_hold_rows(self) -> bool:
        """Tell whether there is anything in it, as far as is known: changes that left no row are no reason to look."""
        return self.known_rows > 0 or (bool(self.heap_bytes) and not self.modified_rows)


@dataclass(frozen=True)
class Holder:
    """Who holds back the oldest transaction whose dead rows must stay.

    ``kind`` is session, prepared, slot or standby; ``age`` in transactions; ``since`` None when it cannot be known,
    ``not_before``: since when at the earliest then, as far as its age tells. ``database`` None: it counts for all of
    them. ``catalog_only``: it counts for system catalogs alone.
    """

    kind: str
    name: str
    age: int
    since: Optional[datetime] = None
    database: Optional[str] = None
    catalog_only: bool = False
    detail: str = ""
    not_before: Optional[datetime] = None

    def concerns(self, table: TableFacts) -> bool:
        """Tell whether it keeps dead rows of this table alive."""
        if self.catalog_only and not table.catalog:
            return False
        return self.database is None or table.shared or self.database == table.database


@dataclass(frozen=True)
class Running:
    """A VACUUM or ANALYZE that somebody runs right now; ``orphan``: left behind by an earlier run of ours."""

    pid: int
    database: str
    relation_oid: int
    who: str
    orphan: bool = False


@dataclass(frozen=True)
class DatabaseAge:
    """How far a database is from the wraparound limits, also one that cannot be connected to."""

    name: str
    xid_age: int
    multixact_age: int


@dataclass(frozen=True)
class Facts:
    """All that was collected; ``table_count`` counts the tables that were not worth listing too."""

    server: ServerFacts
    now: datetime
    tables: tuple[TableFacts, ...] = ()
    holders: tuple[Holder, ...] = ()
    running: tuple[Running, ...] = ()
    ages: tuple[DatabaseAge, ...] = ()
    table_count: int = 0
    unreachable: tuple[tuple[str, str], ...] = ()
