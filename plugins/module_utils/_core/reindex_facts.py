# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is known of the indexes of a server before anything is decided, and what the user wants."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Iterable, Mapping, Optional

from .errors import PreconditionFailed
from .reindex_bloat import Column, Measured
from .reindex_record import FreshSize, Rebuild

ESTIMATE, PGSTATTUPLE = "estimate", "pgstattuple"
_LEFTOVER_NAME = re.compile(r"_cc(?:new|old)\d*\Z")
_UNSAFE = range(140000, 140004)
_FIXED_RESTRICTION = {13: 130007}  # CVE-2022-1552; 14.0-14.3 are refused anyway


@dataclass(frozen=True)
class Rights:
    """What the role that logged in may do with an index. ``superuser`` and ``role`` are of the session."""

    role: str = "postgres"
    superuser: bool = True
    owns: bool = True
    maintains: bool = False
    can_become_owner: bool = True
    sees_schema: bool = True
    owner_sees_schema: bool = True


@dataclass(frozen=True)
class Keys:
    """What an index is made of, as the catalog writes it, so that two can be compared; lists in column order.

    ``expressions`` and ``predicate`` are None when the table was locked and they could not be read.
    """

    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    collations: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    key_count: int = 1
    expressions: Optional[str] = ""
    predicate: Optional[str] = ""


@dataclass(frozen=True)
class IndexFacts:
    """One index. ``sql_name`` is quoted by the server; table names of a TOAST index are those of its owner.

    ``rows`` counts the index's entries (None: nobody ever counted), ``measured`` is what pgstattuple saw.
    ``deferrable`` and ``nulls_not_distinct``: the rule of a unique index. ``referenced``: a foreign key relies on it.
    ``worked_on_by``: pid of a session that builds, rebuilds or drops it right now. ``age`` of its catalog entry, in
    transactions.
    """

    database: str
    oid: int
    schema: str
    name: str
    sql_name: str
    table_oid: int
    table_schema: str
    table_name: str
    table_sql_name: str
    method: str = "btree"
    kind: str = "i"
    bytes: int = 0
    table_bytes: int = 0
    rows: Optional[float] = None
    fillfactor: int = 90
    deduplicates: bool = False
    columns: tuple[Column, ...] = ()
    measured: Optional[Measured] = None
    keys: Keys = Keys()
    unique: bool = False
    deferrable: bool = False
    nulls_not_distinct: bool = False
    referenced: bool = False
    primary: bool = False
    exclusion: bool = False
    replica_identity: bool = False
    clustered: bool = False
    constraint: Optional[str] = None
    valid: bool = True
    ready: bool = True
    live: bool = True
    partial: bool = False
    toast: bool = False
    system: bool = False
    parent_oid: Optional[int] = None
    owner: str = "postgres"
    calls_functions: bool = False
    rights: Rights = Rights()
    scans: int = 0
    tablespace: str = ""
    age: int = 0
    worked_on_by: Optional[int] = None

    @property
    def looks_left_over(self) -> bool:
        """Tell whether this may be what an interrupted REINDEX CONCURRENTLY left behind, whoever ran it."""
        return not self.usable and _LEFTOVER_NAME.search(self.name) is not None

    @property
    def usable(self) -> bool:
        """Tell whether queries may use it."""
        return self.valid and self.ready


@dataclass(frozen=True)
class Transaction:
    """An open or prepared transaction of a database. ``age`` in seconds, None when the role may not see it.

    ``relations``: oids of what it has locked, in whatever mode.
    """

    pid: Optional[int]
    role: Optional[str] = None
    application: Optional[str] = None
    state: Optional[str] = None
    gid: Optional[str] = None
    age: Optional[float] = None
    has_snapshot: bool = False
    hidden: bool = False
    relations: frozenset[int] = frozenset()


@dataclass(frozen=True)
class SequenceFacts:
    """A sequence that does not cycle; ``maximum`` is the column's where that is lower. ``last_value`` None: unused."""

    sql_name: str
    minimum: int
    maximum: int
    step: int
    last_value: Optional[int]
    readable: bool = True


@dataclass(frozen=True)
class DatabaseFacts:
    """One database. ``stats_age``: seconds for which scans have been counted, None when the server does not say.

    ``free_bytes``: free room by tablespace path ('' is the data directory), empty when it cannot be known from here.
    """

    name: str
    oid: int = 0
    version: int = 180000
    block_size: int = 8192
    sample_rows: int = 30_000
    standby: bool = False
    stats_age: Optional[float] = None
    has_standbys: bool = False
    indexes: tuple[IndexFacts, ...] = ()
    transactions: tuple[Transaction, ...] = ()
    sequences: tuple[SequenceFacts, ...] = ()
    rebuilds: tuple[Rebuild, ...] = ()
    fresh_sizes: tuple[FreshSize, ...] = ()
    free_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def restricts_functions(self) -> bool:
        """Tell whether REINDEX runs an index's functions as the table's owner from its very start."""
        return self.version >= _FIXED_RESTRICTION.get(self.version // 10000, 0)


@dataclass(frozen=True)
class Policy:
    """What the user wants. Ratios 0 to 1, sizes in bytes, durations in seconds, percentages for sequences."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    bloat_method: str = ESTIMATE
    bloat_ratio: float = 0.4
    min_wasted: int = 16 * 1024**2
    min_index_size: int = 10 * 1024**2
    rebuild_invalid: bool = True
    drop_leftovers: bool = True
    unused_after: float = 30 * 86400.0
    sequence_warning: float = 75.0
    sequence_critical: float = 90.0
    max_wait: float = 600.0
    limit: Optional[int] = None

    def wants(self, index: IndexFacts) -> bool:
        """Tell whether the patterns let an index in."""
        included = not self.include or any(matches(index, pattern) for pattern in self.include)
        return included and not any(matches(index, pattern) for pattern in self.exclude)

    def unmatched(self, indexes: Iterable[IndexFacts]) -> tuple[str, ...]:
        """Return the patterns that match nothing at all: mostly a slip of the pen."""
        everything = list(indexes)
        patterns = dict.fromkeys((*self.include, *self.exclude))
        return tuple(pattern for pattern in patterns if not any(matches(index, pattern) for index in everything))


def matches(index: IndexFacts, pattern: str) -> bool:
    """Tell whether a glob matches ``schema.table`` or ``schema.index``; without a dot the name alone counts.

    What looks like a leftover goes by the name of the index that it was made for, too.

    >>> index = IndexFacts("shop", 1, "app", "t_pkey", "app.t_pkey", 2, "app", "t", "app.t")
    >>> [matches(index, pattern) for pattern in ("app.*", "t_pkey", "t", "app.t", "web.*", "app")]
    [True, True, True, True, False, False]
    """
    names = [(index.table_schema, index.table_name), (index.schema, index.name)]
    if index.looks_left_over:
        names.append((index.schema, _LEFTOVER_NAME.sub("", index.name)))
    return any(fnmatchcase(f"{schema}.{name}" if "." in pattern else name, pattern) for schema, name in names)


def check_version(version: int) -> None:
    """Refuse the releases whose concurrent rebuilds silently lose rows.

    Raises:
        PreconditionFailed: code ``unsafe_server_version`` (14.0 to 14.3; BUG #17485, mended in 14.4).
    """
    if version in _UNSAFE:
        raise PreconditionFailed(
            f"rebuild indexes: PostgreSQL {version // 10000}.{version % 10000} can silently corrupt an index that is "
            "rebuilt CONCURRENTLY (BUG #17485)",
            code="unsafe_server_version",
            hint="update the server to 14.4 or newer first, then rebuild (or check with amcheck) what was built so far",
        )
