# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What counts as the same database: how tables are summed up, and how definitions become a hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Iterable, Mapping, Optional

from .backup_manifest import Checksum

ALL, ENDS = "all", "ends"
SMALL_TABLE_BYTES = 16 << 20


@dataclass(frozen=True)
class Scope:
    """Which rows of a table are summed up: ``all``, or so many from both ``ends`` of its key together."""

    scope: str
    rows: int = 0


def first_scope(size_bytes: int) -> Optional[Scope]:
    """Return the scope that needs no count first: of a small table every row.

    >>> first_scope(1 << 20), first_scope(1 << 30)
    (Scope(scope='all', rows=0), None)
    """
    return Scope(ALL) if size_bytes <= SMALL_TABLE_BYTES else None


def counted_scope(rows: int, has_key: bool, end_rows: int) -> Optional[Scope]:
    """Return the scope for a large table whose rows were counted; None when it has no key to take the ends of.

    ``end_rows`` is how many rows each end has.

    >>> counted_scope(1999, True, 1000), counted_scope(5000, True, 1000), counted_scope(5000, False, 1000)
    (Scope(scope='all', rows=0), Scope(scope='ends', rows=2000), None)
    """
    if rows <= 2 * end_rows:
        return Scope(ALL)
    return Scope(ENDS, 2 * end_rows) if has_key and end_rows else None


def same_scope(checksum: Optional[Checksum]) -> Optional[Scope]:
    """Return the scope in which a checksum was made, so that another one can be compared with it."""
    if checksum is None:
        return None
    return Scope(checksum.scope, checksum.rows if checksum.scope == ENDS else 0)


@dataclass(frozen=True)
class Definitions:
    """All definitions of a database: one hash for each kind, one over everything, and how many there are."""

    hashes: Mapping[str, str]
    schema_hash: str
    objects: Mapping[str, int]


def read_definitions(lines: Iterable[str]) -> Definitions:
    """Return hashes and counts of definitions: JSON arrays that begin with their kind, in any order.

    >>> read_definitions(['["view", "a"]', '["view", "b"]']).objects
    {'view': 2}
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        by_kind[json.loads(line)[0]].append(line)
    hashes = {kind: hash_lines(found) for kind, found in sorted(by_kind.items())}
    counts = Counter({kind: len(found) for kind, found in by_kind.items()})
    return Definitions(
        hashes, hash_lines(f"{kind} {value}" for kind, value in hashes.items()), dict(sorted(counts.items()))
    )


def hash_lines(lines: Iterable[str]) -> str:
    """Return the SHA-256 of some lines in any order.

    >>> hash_lines(["a", "b"]) == hash_lines(["b", "a"])
    True
    """
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
