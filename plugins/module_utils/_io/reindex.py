# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read what is known of the indexes of one database, in one connection."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Mapping, Optional, Sequence

from .._core.databases import chosen_databases
from .._core.errors import DatabaseFailed, PreconditionFailed
from .._core.redact import printable
from .._core.reindex_bloat import Column, Measured, column_of, rows_now
from .._core.reindex_facts import (
    PGSTATTUPLE,
    DatabaseFacts,
    IndexFacts,
    Keys,
    Policy,
    Rights,
    SequenceFacts,
    Transaction,
)
from .._core.reindex_record import PREFIX, FreshSize, Rebuild, Record, parse_record
from . import reindex_queries as queries
from .postgres import Database

_LOOPBACK = ("127.", "::1")


def read_database(
    database: Database, policy: Policy, measured: Optional[Mapping[int, Measured]] = None
) -> DatabaseFacts:
    """Return everything that the decision needs; ``measured`` spares indexes that pgstattuple has seen before.

    Raises:
        PreconditionFailed: bloat_method is pgstattuple and the extension is not there (``extension_missing``), or the
            role may not use it (``insufficient_privilege``).
        DatabaseFailed: a query failed.
    """
    server = database.fetch(queries.SERVER)[0]
    rows = database.fetch(_indexes_query(database.server_version))
    judged = [row["oid"] for row in rows if _is_judged(row, policy)]
    columns = _read_columns(database, judged)
    pages = _measure(database, judged, measured or {}) if policy.bloat_method == PGSTATTUPLE else {}
    records = read_records(database)
    return DatabaseFacts(
        name=database.dbname,
        oid=server["database_oid"],
        version=database.server_version,
        block_size=server["block_size"],
        sample_rows=server["sample_rows"],
        standby=server["standby"],
        stats_age=server["stats_age"],
        has_standbys=server["has_standbys"],
        indexes=tuple(
            _index(row, database.dbname, server, columns.get(row["oid"], ()), pages.get(row["oid"])) for row in rows
        ),
        transactions=read_transactions(database),
        sequences=tuple(SequenceFacts(**row) for row in database.fetch(queries.SEQUENCES)),
        rebuilds=tuple(record for record in records if isinstance(record, Rebuild)),
        fresh_sizes=tuple(record for record in records if isinstance(record, FreshSize)),
        free_bytes=_free_bytes(server, {row["tablespace"] for row in rows}),
    )


def database_names(database: Database, wanted: Sequence[str]) -> list[str]:
    """Return the databases that names or patterns mean; without any it is the one that is logged in to.

    Raises:
        DatabaseFailed: code ``database_missing``: one of them means none.
    """
    return chosen_databases(database.fetch(queries.DATABASES), wanted, database.dbname, "rebuild indexes in")


def _indexes_query(version: int) -> str:
    variants = {
        "maintain": queries.MAINTAIN,
        "become": queries.BECOME,
        "nulls_not_distinct": queries.NULLS_NOT_DISTINCT,
    }
    return queries.INDEXES.format(**{name: queries.for_version(text, version) for name, text in variants.items()})


def _is_judged(row: Mapping[str, Any], policy: Policy) -> bool:
    """Tell whether the size of an index will be judged, so that its statistics are worth reading."""
    usable = row["valid"] and row["ready"] and row["live"]
    large = row["bytes"] >= max(policy.min_index_size, policy.min_wasted)
    return bool(usable and large and row["kind"] == "i" and row["method"] == "btree")


def _read_columns(database: Database, oids: Sequence[int]) -> dict[int, tuple[Column, ...]]:
    columns: dict[int, tuple[Column, ...]] = {}
    for row in database.fetch(queries.COLUMNS, [list(oids)]) if oids else ():
        columns[row["oid"]] = (*columns.get(row["oid"], ()), column_of(row))
    return columns


def _index(
    row: dict[str, Any],
    dbname: str,
    server: Mapping[str, Any],
    columns: tuple[Column, ...],
    measured: Optional[Measured],
) -> IndexFacts:
    table_pages, now = row.pop("table_bytes_counted"), row["table_bytes"]
    counts = [row.pop("counted_rows"), row.pop("table_counted_rows"), float(row.pop("live_rows") or 0)]
    counted_pages = row.pop("counted_pages")
    index_rows = counts[0] if counts[0] > 0 or counted_pages > 0 else None
    if not row["partial"] and counts[1] >= 0 and table_pages:
        index_rows = max(index_rows or 0.0, counts[1])
    rights = ("owns", "maintains", "can_become_owner", "sees_schema", "owner_sees_schema")
    lists = {name: tuple(row.pop(name).split()) for name in ("classes", "collations", "options")}
    keys = Keys(
        columns=tuple(row.pop("key_columns").split()),
        key_count=row.pop("key_count"),
        expressions=row.pop("expressions"),
        predicate=row.pop("predicate"),
        **lists,
    )
    return IndexFacts(
        database=dbname,
        rows=rows_now(index_rows, now / table_pages if table_pages else 1.0, None if row["partial"] else counts[2]),
        columns=columns,
        measured=measured,
        keys=keys,
        rights=Rights(server["role"], server["superuser"], **{name: row.pop(name) for name in rights}),
        **row,
    )


def read_transactions(database: Database) -> tuple[Transaction, ...]:
    """Return the open and prepared transactions of the database."""
    rows = database.fetch(queries.TRANSACTIONS)
    return tuple(Transaction(**{**row, "relations": frozenset(row["relations"])}) for row in rows)


def read_records(database: Database) -> tuple[Record, ...]:
    """Return what earlier runs of this role wrote down in the database."""
    rows = database.fetch(queries.RECORDS, [PREFIX.replace("_", r"\_") + "%"])
    found = (parse_record(row["oid"], row["description"]) for row in rows)
    return tuple(record for record in found if record is not None)


# --- pgstattuple --------------------------------------------------------------------------------------------------


def _measure(database: Database, oids: Sequence[int], known: Mapping[int, Measured]) -> dict[int, Measured]:
    """Read each index to its end; one that takes too long, is locked or is gone is missing from the result."""
    query = queries.PGSTATINDEX.format(schema=database.quote(_pgstattuple_schema(database)))
    found = {oid: known[oid] for oid in oids if oid in known}
    for oid in oids:
        if oid not in found:
            with _unless_passing():
                row = database.fetch(query, [oid])[0]
                found[oid] = Measured(row["leaf_pages"], row["internal_pages"], row["avg_leaf_density"])
    return found


@contextlib.contextmanager
def _unless_passing() -> Any:
    try:
        yield
    except DatabaseFailed as error:
        if error.code not in ("cancelled", "lock_timeout", "object_missing", "not_supported", "database_failed"):
            raise


def _pgstattuple_schema(database: Database) -> str:
    rows = database.fetch(queries.PGSTATTUPLE)
    name = printable(database.dbname)
    if not rows:
        raise PreconditionFailed(
            f"measure the bloat of indexes: the extension pgstattuple is missing in database {name}",
            code="extension_missing",
            hint=f"run CREATE EXTENSION pgstattuple in {name} (of postgresql-contrib), or use bloat_method=estimate",
        )
    if not rows[0]["allowed"]:
        raise PreconditionFailed(
            f"measure the bloat of indexes: this role may not call pgstatindex() in database {name}",
            code="insufficient_privilege",
            hint="GRANT pg_stat_scan_tables (or pg_monitor) to the role, or use bloat_method=estimate",
        )
    return str(rows[0]["schema"])


# --- free space ---------------------------------------------------------------------------------------------------


def _free_bytes(server: Mapping[str, Any], tablespaces: set[str]) -> dict[str, int]:
    """Return the free room under the tablespaces, when the server runs on this host and its folders can be seen."""
    address = server["address"]
    if server["data_directory"] is None or not (address is None or address.startswith(_LOOPBACK)):
        return {}
    found = {}
    for tablespace in tablespaces:
        with contextlib.suppress(OSError):
            room = os.statvfs(tablespace or server["data_directory"])
            found[tablespace] = room.f_bavail * room.f_frsize
    return found
