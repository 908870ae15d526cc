# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which unusable indexes are leftovers of this module, and which of its records have nothing to say any more."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from .reindex_facts import DatabaseFacts, IndexFacts
from .reindex_record import FreshSize, Rebuild, Record

_LONGEST_NAME = 63  # bytes
_COPY_NAME = re.compile(r"(?P<stem>.*)_ccnew\d*\Z", re.DOTALL)


def leftover_of(index: IndexFacts, database: DatabaseFacts) -> Optional[Rebuild]:
    """Return the record that proves an unusable index to be a leftover of this module, or None.

    A record knows the oid of the new index. Only a run that died in the very moment between its creation and the note
    of it has none yet: then it is the first index that appeared on the table since the rebuild began, with the name
    that the server gives and the definition of the index that was to be rebuilt.
    """
    if not index.looks_left_over:
        return None
    for rebuild in database.rebuilds:
        if rebuild.database_oid != database.oid:
            continue
        if rebuild.explains(index.oid, index.name, index.table_oid):
            return rebuild
        if not rebuild.copies and index == _first_copy(rebuild, database):
            return rebuild
    return None


def _first_copy(rebuild: Rebuild, database: DatabaseFacts) -> Optional[IndexFacts]:
    rebuilt = next((index for index in database.indexes if index.oid == rebuild.index_oid), None)
    if rebuilt is None:
        return None
    copies = [
        index
        for index in database.indexes
        if index.looks_left_over and index.oid not in rebuild.known and is_copy(index, rebuilt)
    ]
    return max(copies, key=lambda index: index.age, default=None)


def is_copy(index: IndexFacts, rebuilt: IndexFacts) -> bool:
    """Tell whether an index has the name and the definition of what REINDEX CONCURRENTLY makes of another one."""
    same = (index.table_oid, index.method, index.unique) == (rebuilt.table_oid, rebuilt.method, rebuilt.unique)
    known = None not in (index.keys.expressions, index.keys.predicate)
    return same and known and index.keys == rebuilt.keys and has_copy_name(index.name, rebuilt.name)


def has_copy_name(name: str, rebuilt: str) -> bool:
    """Tell whether a name is the one that the server gives to the copy of an index; long names are cut.

    >>> has_copy_name("orders_idx_ccnew", "orders_idx"), has_copy_name("orders_idx_ccnew12", "orders_idx")
    (True, True)
    >>> has_copy_name("orders_ccnew", "orders_idx"), has_copy_name("x" * 57 + "_ccnew", "x" * 63)
    (False, True)
    """
    match = _COPY_NAME.match(name)
    if match is None:
        return False
    cut = len(name.encode()) >= _LONGEST_NAME - 3  # a character of up to 4 bytes is cut as a whole
    return match["stem"] == rebuilt or (cut and rebuilt.startswith(match["stem"]))


def stale_records(database: DatabaseFacts) -> Iterator[tuple[Record, str]]:
    """Yield the records that can be forgotten, and why."""
    oids = {index.oid for index in database.indexes}
    in_use = {record.record_oid for record in (leftover_of(index, database) for index in database.indexes) if record}
    records: tuple[Record, ...] = (*database.rebuilds, *database.fresh_sizes)
    for record in records:
        if record.database_oid != database.oid:
            yield record, "a record that was copied from another database"
        elif isinstance(record, FreshSize):
            if record.index_oid not in oids:
                yield record, "the known size of an index that is gone"
        elif record.record_oid not in in_use:
            yield record, f"the record of our rebuild of {record.started}, of which nothing is left behind"
