# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Reads the server that is restored to: its databases with what restores made of them, rights, sessions, disk."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any, Optional

from .._core.backup_manifest import ServerState
from .._core.restore_facts import DatabaseFacts, ServerFacts, SessionFacts
from .._core.restore_marker import split_comment
from .._core.throwaway import locale_clauses
from .postgres import Database

_SERVER = """
SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.current_setting('default_transaction_read_only')::boolean AS read_only,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c) ELSE '' END AS identifier,
       r.rolname AS role, r.rolsuper AS superuser, (r.rolsuper OR r.rolcreatedb) AS may_create,
       (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'data_directory') AS data_directory
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
_DATABASES = """
SELECT d.oid::bigint AS oid, d.datname AS name, pg_catalog.pg_get_userbyid(d.datdba) AS owner,
       pg_catalog.pg_has_role(d.datdba, 'USAGE') AS owned, t.spcname AS tablespace,
       pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
       CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_catalog.pg_database_size(d.oid) END
         AS size_bytes
  FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
 ORDER BY d.oid
"""
_TEMPLATE_TABLESPACE = """
SELECT t.spcname AS name FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
 WHERE d.datname = 'template0'
"""
_SESSIONS = """
SELECT a.pid, a.usename::text AS user, a.application_name AS application, a.client_addr::text AS client
  FROM pg_catalog.pg_stat_activity a
 WHERE a.datname = %s AND a.backend_type IS DISTINCT FROM 'autovacuum worker' AND a.pid <> pg_catalog.pg_backend_pid()
 ORDER BY a.pid
"""
_PREPARED = "SELECT pg_catalog.count(*) AS number FROM pg_catalog.pg_prepared_xacts WHERE database = %s"
_SLOTS = "SELECT slot_name::text AS name FROM pg_catalog.pg_replication_slots WHERE database = %s ORDER BY 1"
_ROLES = "SELECT rolname::text AS name FROM pg_catalog.pg_roles"
_TABLESPACES = """
SELECT t.spcname::text AS name, pg_catalog.has_tablespace_privilege(t.oid, 'CREATE') AS usable
  FROM pg_catalog.pg_tablespace t WHERE t.spcname <> 'pg_global'
"""
_EXTENSIONS = "SELECT name::text AS name FROM pg_catalog.pg_available_extensions"


def read_server(database: Database, target: str) -> ServerFacts:
    """Return what counts about the server and about its database ``target``, which may be missing."""
    row = database.fetch(_SERVER)[0]
    return ServerFacts(
        version=row["version"],
        major=database.major,
        in_recovery=row["in_recovery"],
        read_only=row["read_only"],
        system_identifier=row["identifier"],
        role=row["role"],
        superuser=row["superuser"],
        may_create=row["may_create"],
        maintenance_database=database.dbname,
        databases=tuple(_database(one) for one in database.fetch(_DATABASES)),
        roles=frozenset(one["name"] for one in database.fetch(_ROLES)),
        extensions=frozenset(one["name"] for one in database.fetch(_EXTENSIONS)),
        tablespaces={one["name"]: one["usable"] for one in database.fetch(_TABLESPACES)},
        sessions=read_sessions(database, target),
        prepared=database.fetch(_PREPARED, [target])[0]["number"],
        slots=tuple(one["name"] for one in database.fetch(_SLOTS, [target])),
        free_bytes=_free_bytes(row["data_directory"], row["identifier"]),
    )


def _database(row: dict[str, Any]) -> DatabaseFacts:
    comment, marker = split_comment(row.pop("comment"))
    return DatabaseFacts(**row, comment=comment, marker=marker)


def read_sessions(database: Database, target: str) -> tuple[SessionFacts, ...]:
    """Return the sessions in a database that would have to end before it can be renamed."""
    return tuple(SessionFacts(**row) for row in database.fetch(_SESSIONS, [target]))


def _free_bytes(data_directory: Optional[str], identifier: str) -> Optional[int]:
    """Return the room on the server's disk when this host is the server's: its control file says so.

    A file of PostgreSQL's, pg_control, begins with the system identifier (src/include/catalog/pg_control.h).
    """
    if not data_directory or not identifier:
        return None
    with contextlib.suppress(OSError), (Path(data_directory) / "global" / "pg_control").open("rb") as control:
        first = control.read(8)
        if str(int.from_bytes(first, "little")) == identifier or str(int.from_bytes(first, "big")) == identifier:
            return shutil.disk_usage(data_directory).free
    return None


def create_statement(database: Database, name: str, owner: str, tablespace: str, server: ServerState) -> str:
    """Return the statement that makes an empty database as the copied one was, quoted by the server.

    The tablespace is only named where it is not the template's: to name one takes a right that an owner may not have.
    """
    clauses = [
        (key, value) for key, value in locale_clauses(database.major, server).items() if key != "LOCALE_PROVIDER"
    ]
    provider = locale_clauses(database.major, server).get("LOCALE_PROVIDER")
    form, names = "CREATE DATABASE %I OWNER %I TEMPLATE template0", [name, owner]
    if tablespace != database.fetch(_TEMPLATE_TABLESPACE)[0]["name"]:
        form, names = form + " TABLESPACE %I", [*names, tablespace]
    form += f" LOCALE_PROVIDER {provider}" if provider else ""
    form += "".join(f" {key} %L" for key, _value in clauses)
    return quoted(database, form, *names, *(value for _key, value in clauses))


def quoted(database: Database, form: str, *names: str) -> str:
    """Return a statement with names quoted by the server; ``form`` is for its format(), with ``%I`` and ``%L``."""
    marks = "".join(", %s" for _name in names)
    query = f"SELECT pg_catalog.format(%s{marks}) AS sql"
    return str(database.fetch(query, [form, *names])[0]["sql"])
