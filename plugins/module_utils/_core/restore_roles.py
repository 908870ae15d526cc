# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Roles that a copy needs and the server has not: made from the copy's globals, and only those."""

from __future__ import annotations

import re
from typing import Collection, Tuple

from .backup_load import GlobalStatement, bare_name, globals_statements

_NAME = r'("(?:[^"]|"")+"|[^\s";]+)'
_ALTER = re.compile(rf"^ALTER\s+ROLE\s+{_NAME}\s", re.IGNORECASE)
_IN_DATABASE = re.compile(rf"^ALTER\s+ROLE\s+{_NAME}\s+IN\s+DATABASE\s", re.IGNORECASE)
_GRANT = re.compile(rf"^GRANT\s+{_NAME}\s+TO\s+{_NAME}", re.IGNORECASE)
_GRANTOR = re.compile(rf"\s+GRANTED\s+BY\s+{_NAME}$", re.IGNORECASE)


def role_statements(text: str, needed: Collection[str], there: Collection[str]) -> Tuple[GlobalStatement, ...]:
    """Return the statements that make the roles that are needed and not there, with the groups that they belong to.

    Roles that are there stay as they are. Who granted a membership is left out: it may be nobody here.

    >>> [one.sql for one in role_statements("CREATE ROLE a;CREATE ROLE b;ALTER ROLE a WITH LOGIN;", ["a"], ["b"])]
    ['CREATE ROLE a', 'ALTER ROLE a WITH LOGIN']
    """
    statements = tuple(globals_statements(text))
    makable = {one.creates for one in statements if one.creates} - set(there)
    wanted = set(needed) & makable
    while True:
        groups = {group for group, member in map(_membership, statements) if member in wanted} & makable
        if groups <= wanted:
            break
        wanted |= groups
    return tuple(
        GlobalStatement(_GRANTOR.sub("", one.sql), one.creates) for one in statements if _concerns(one) in wanted
    )


def _concerns(statement: GlobalStatement) -> str:
    """Return the role that a statement is about; "" when it is about something else."""
    if statement.creates or _IN_DATABASE.match(statement.sql):
        return statement.creates
    altered = _ALTER.match(statement.sql)
    return bare_name(altered[1]) if altered else _membership(statement)[1]


def _membership(statement: GlobalStatement) -> Tuple[str, str]:
    """Return the group and the member of a grant; both "" for any other statement."""
    granted = _GRANT.match(statement.sql)
    return (bare_name(granted[1]), bare_name(granted[2])) if granted else ("", "")
