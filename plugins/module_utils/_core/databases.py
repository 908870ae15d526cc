# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which databases of a server names and patterns mean."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Mapping, Sequence

from .errors import DatabaseFailed
from .redact import printable


def chosen_databases(rows: Sequence[Mapping[str, Any]], wanted: Sequence[str], logged_in: str, verb: str) -> list[str]:
    """Return the databases that were asked for, without any the one that is logged in to.

    ``rows`` have name, connectable, and usable (no template); patterns only mean usable ones. ``verb`` is what is to
    be done, for the message.

    Raises:
        DatabaseFailed: code ``database_missing``: a name or pattern means none.
    """
    names: list[str] = []
    for pattern in wanted:
        exact = [row["name"] for row in rows if row["name"] == pattern and row["connectable"]]
        found = exact or [row["name"] for row in rows if row["usable"] and fnmatchcase(row["name"], pattern)]
        if not found:
            raise DatabaseFailed(
                f"{verb} database {printable(pattern)}: no database has this name or matches this pattern",
                code="database_missing",
                hint="pg_database lists the databases; templates and those without connections do not count",
            )
        names += [name for name in found if name not in names]
    return names or [logged_in]
