# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Look into a restored database: what a verification reads besides the facts that every copy has."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Mapping, Sequence

from .._core.backup_manifest import Manifest
from .._core.backup_proof import Amcheck
from .._core.errors import DatabaseFailed
from .._core.redact import printable
from .postgres import Database

_UNVALIDATED = """
SELECT pg_catalog.format('%I on %s', k.conname, coalesce(c.relname, t.typname)) AS name
  FROM pg_catalog.pg_constraint k
  LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
 WHERE NOT k.convalidated AND k.conparentid = 0 ORDER BY 1
"""
_INVALID = """
SELECT i.indexrelid::pg_catalog.regclass::text AS name FROM pg_catalog.pg_index i
 WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1
"""
_AVAILABLE = "SELECT name::text AS name FROM pg_catalog.pg_available_extensions"
_BTREES = """
SELECT c.oid::bigint AS oid, pg_catalog.pg_table_size(c.oid) AS size_bytes
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_am a ON a.oid = c.relam JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.amname = 'btree' AND c.relkind = 'i' AND i.indisvalid AND i.indisready AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
_HEAPS = """
SELECT c.oid::bigint AS oid, pg_catalog.pg_table_size(c.oid) AS size_bytes
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
 WHERE c.relkind IN ('r', 'm') AND a.amname = 'heap' AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""
_NAME = "SELECT %s::pg_catalog.oid::pg_catalog.regclass::text AS name"
_AMCHECK_SCHEMA = """
SELECT pg_catalog.quote_ident(n.nspname) AS name FROM pg_catalog.pg_extension e
  JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'
"""
_EVENT_TRIGGERS = "SELECT pg_catalog.quote_ident(evtname) AS name FROM pg_catalog.pg_event_trigger"
_KEPT_PROBLEMS = 50
_CORRUPTED = ("index_corrupted", "data_corrupted")


def unvalidated_constraints(database: Database) -> tuple[str, ...]:
    """Return the constraints that were not checked against the rows."""
    return tuple(row["name"] for row in database.fetch(_UNVALIDATED))


def invalid_indexes(database: Database) -> tuple[str, ...]:
    """Return the indexes that are not fit for use."""
    return tuple(row["name"] for row in database.fetch(_INVALID))


def uncreatable_extensions(scratch: Database, manifest: Manifest, restored: Mapping[str, str]) -> Mapping[str, str]:
    """Return the extensions of the copy that this host cannot provide, with what to install.

    They are tried in ``scratch``, an empty database of the same server: what is there already must not stand in the
    way.
    """
    available = {row["name"] for row in scratch.fetch(_AVAILABLE)}
    found = {}
    for name in sorted(manifest.extensions.keys() - restored.keys()):
        shown = printable(name, 80)
        if name not in available:
            found[name] = f"extension {shown} is not installed on this host: install its package for {scratch.major}"
            continue
        try:
            scratch.execute(f"CREATE EXTENSION {scratch.quote(name)} CASCADE")
        except DatabaseFailed as error:
            found[name] = f"extension {shown} cannot be made in a throwaway server: {error.message}"
    return found


def run_amcheck(sessions: Sequence[Database]) -> Amcheck:
    """Let amcheck look at every B-tree index against its table and, from 14 on, at every table, on all sessions.

    The restored database gets the extension; event triggers are switched off, they are for the real one.
    """
    first = sessions[0]
    for row in first.fetch(_EVENT_TRIGGERS):
        first.execute(f"ALTER EVENT TRIGGER {row['name']} DISABLE")
    if not first.fetch(_AMCHECK_SCHEMA):
        try:
            first.execute("CREATE SCHEMA oncall_amcheck")
            first.execute("CREATE EXTENSION amcheck SCHEMA oncall_amcheck")
        except DatabaseFailed as error:
            return Amcheck(unavailable=error.words())
    schema = first.fetch(_AMCHECK_SCHEMA)[0]["name"]
    btrees, heaps = first.fetch(_BTREES), first.fetch(_HEAPS) if first.major >= 14 else []
    work = [(f"SELECT {schema}.bt_index_check(%s::pg_catalog.oid::pg_catalog.regclass, true)", row) for row in btrees]
    look = f"SELECT blkno, msg FROM {schema}.verify_heapam(%s::pg_catalog.oid::pg_catalog.regclass) LIMIT 3"  # noqa: S608
    work += [(look, row) for row in heaps]
    problems = _Crew(work).run(sessions)
    return Amcheck(len(btrees), len(heaps), tuple(problems[:_KEPT_PROBLEMS]))


class _Crew:
    """Asks many questions on several sessions, the largest relations first."""

    def __init__(self, work: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        self._waiting = deque(sorted(work, key=lambda item: -item[1]["size_bytes"]))
        self._problems: list[str] = []
        self._lock = threading.Lock()

    def run(self, sessions: Sequence[Database]) -> list[str]:
        """Return what was found."""
        with ThreadPoolExecutor(len(sessions)) as pool:
            for done in [pool.submit(self._work, session) for session in sessions]:
                done.result()
        return sorted(self._problems)

    def _work(self, session: Database) -> None:
        while True:
            try:
                query, row = self._waiting.popleft()
            except IndexError:
                return
            for problem in self._ask(session, query, row["oid"]):
                name = session.fetch(_NAME, [row["oid"]])[0]["name"]
                with self._lock:
                    self._problems.append(printable(f"{name}: {problem}", 300))

    @staticmethod
    def _ask(session: Database, query: str, oid: int) -> list[str]:
        try:
            rows = session.fetch(query, [oid])
        except DatabaseFailed as error:
            if error.code not in _CORRUPTED:
                raise
            return [error.message]
        return [f"block {row['blkno']}: {row['msg']}" for row in rows if "msg" in row]
