# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

r"""What the module writes down in the database itself, so that a later run knows what an earlier one did.

Each record is the comment of an empty large object that belongs to the role which wrote it (``\lo_list`` shows it).
Any role may make one without further rights; it survives a dead client, a crash and a failover; and only records of
one's own role are believed, so nobody can make somebody else drop an index.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Union

PREFIX = "oncall.runbooks postgresql_reindex "


@dataclass(frozen=True)
class Rebuild:
    """A rebuild that was begun. ``index_oid``: what is rebuilt; ``copies``: what appeared for it since.

    ``known``: the table's indexes at the beginning. ``record_oid`` is the large object. A record that is still there
    when no run is at work belongs to a dead run.
    """

    database_oid: int
    table_oid: int
    index_oid: int
    copies: tuple[int, ...] = ()
    known: tuple[int, ...] = ()
    started: str = ""
    record_oid: int = 0

    def explains(self, oid: int, name: str, table_oid: int) -> bool:
        """Tell whether an unusable index is what this rebuild left behind.

        Before the swap that is the new index (``_ccnew``), after it the old one under its new name (``_ccold``).
        """
        if table_oid != self.table_oid:
            return False
        return oid in self.copies or (oid == self.index_oid and "_ccold" in name)


@dataclass(frozen=True)
class FreshSize:
    """What a rebuilt index really came to, kept only where the estimate expects less than a rebuild can reach."""

    database_oid: int
    index_oid: int
    bytes: int
    rows: float
    record_oid: int = 0


Record = Union[Rebuild, FreshSize]


def record_text(record: Record) -> str:
    """Return the comment that stands for a record.

    >>> record_text(FreshSize(5, 16400, 8192, 10.0))
    'oncall.runbooks postgresql_reindex {"fresh": 16400, "database": 5, "bytes": 8192, "rows": 10.0}'
    """
    if isinstance(record, FreshSize):
        content: dict[str, Any] = {"fresh": record.index_oid, "database": record.database_oid}
        content.update(bytes=record.bytes, rows=record.rows)
    else:
        content = {"rebuild": record.index_oid, "database": record.database_oid, "table": record.table_oid}
        content.update(copies=list(record.copies), known=list(record.known), started=record.started)
    return PREFIX + json.dumps(content)


def parse_record(record_oid: int, text: str) -> Optional[Record]:
    """Return the record that a comment stands for, or None when it cannot be understood (and is left alone)."""
    try:
        content = json.loads(text[len(PREFIX) :])
        return _record(record_oid, content) if text.startswith(PREFIX) else None
    except (ValueError, KeyError, TypeError):
        return None


def _record(record_oid: int, content: Mapping[str, Any]) -> Record:
    if "fresh" in content:
        return FreshSize(
            database_oid=int(content["database"]),
            index_oid=int(content["fresh"]),
            bytes=int(content["bytes"]),
            rows=float(content["rows"]),
            record_oid=record_oid,
        )
    return Rebuild(
        database_oid=int(content["database"]),
        table_oid=int(content["table"]),
        index_oid=int(content["rebuild"]),
        copies=tuple(int(oid) for oid in content["copies"]),
        known=tuple(int(oid) for oid in content["known"]),
        started=str(content["started"]),
        record_oid=record_oid,
    )
