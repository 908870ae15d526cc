# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Reads what belongs to a database besides its contents, and gives it to another one. No dump holds it."""

from __future__ import annotations

from .._core.backup_manifest import Belongings, Right, Setting
from .._core.errors import DatabaseFailed
from .._core.redact import printable
from .._core.restore_marker import split_comment
from .postgres import Database
from .restore_server import quoted

_DATABASE = """
SELECT datconnlimit AS connection_limit, datacl IS NOT NULL AS own_rights,
       pg_catalog.shobj_description(oid, 'pg_database') AS comment
  FROM pg_catalog.pg_database WHERE oid = %s::bigint::oid
"""
_OWN = "SELECT oid::bigint AS oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
_RIGHTS = """
SELECT x.privilege_type AS privilege, x.is_grantable AS grantable,
       CASE WHEN x.grantee = 0 THEN '' ELSE pg_catalog.pg_get_userbyid(x.grantee)::text END AS grantee
  FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) x WHERE d.oid = %s::bigint::oid
 ORDER BY 2, 3, 1
"""
_SETTINGS = """
SELECT coalesce(r.rolname::text, '') AS role, pg_catalog.split_part(c.entry, '=', 1) AS name,
       pg_catalog.substr(c.entry, pg_catalog.strpos(c.entry, '=') + 1) AS value
  FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c(entry)
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 WHERE s.setdatabase = %s::bigint::oid ORDER BY 1, 2
"""
# Their values are lists that are quoted already (GUC_LIST_QUOTE; pg_dump's variable_is_guc_list_quote has the same).
_QUOTED_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries",
                 "shared_preload_libraries", "unix_socket_directories")  # fmt: skip


def read_belongings(database: Database, oid: int) -> Belongings:
    """Return the connection limit, rights, settings and the person's own comment of a database of this server."""
    row = database.fetch(_DATABASE, [oid])[0]
    rights = tuple(Right(**one) for one in database.fetch(_RIGHTS, [oid])) if row["own_rights"] else None
    settings = tuple(Setting(**one) for one in database.fetch(_SETTINGS, [oid]))
    return Belongings(row["connection_limit"], rights, settings, split_comment(row["comment"])[0])


def read_own_belongings(database: Database) -> Belongings:
    """Return those of the session's own database."""
    return read_belongings(database, database.fetch(_OWN)[0]["oid"])


def give(database: Database, name: str, given: Belongings) -> tuple[str, ...]:
    """Give a database all of it but the comment, within a transaction; return what could not be given."""
    database.execute(quoted(database, f"ALTER DATABASE %I CONNECTION LIMIT {int(given.connection_limit)}", name))
    failed = []
    if given.rights is not None:
        failed += _try(database, "rights of PUBLIC", quoted(database, "REVOKE ALL ON DATABASE %I FROM PUBLIC", name))
        for right in given.rights:
            failed += _grant(database, name, right)
    for setting in given.settings:
        failed += _set(database, name, setting)
    return tuple(failed)


def _grant(database: Database, name: str, right: Right) -> list[str]:
    option = " WITH GRANT OPTION" if right.grantable else ""
    whom, names = ("%I", [name, right.grantee]) if right.grantee else ("PUBLIC", [name])
    sql = quoted(database, f"GRANT {right.privilege} ON DATABASE %I TO {whom}{option}", *names)
    return _try(database, f"{right.privilege} of {right.grantee or 'PUBLIC'}", sql)


def _set(database: Database, name: str, setting: Setting) -> list[str]:
    head = "ALTER ROLE %I IN DATABASE %I SET %I" if setting.role else "ALTER DATABASE %I SET %I"
    names = [setting.role, name, setting.name] if setting.role else [name, setting.name]
    label = f"setting {setting.name}" + (f" of role {setting.role}" if setting.role else "")
    if setting.name not in _QUOTED_LISTS:
        return _try(database, label, quoted(database, f"{head} TO %L", *names, setting.value))
    local = quoted(database, "SELECT pg_catalog.set_config(%L, %L, true)", setting.name, setting.value)
    return _try(database, label, local, quoted(database, f"{head} FROM CURRENT", *names),
                "SELECT pg_catalog.set_config('search_path', '', true)")  # fmt: skip


def _try(database: Database, label: str, *statements: str) -> list[str]:
    database.execute("SAVEPOINT carried")
    try:
        for statement in statements:
            database.execute(statement)
    except DatabaseFailed as error:
        if database.closed:
            raise
        database.execute("ROLLBACK TO SAVEPOINT carried")
        return [printable(f"{label} ({error.code})")]
    database.execute("RELEASE SAVEPOINT carried")
    return []
