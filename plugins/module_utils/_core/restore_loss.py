# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a restore will lose: the live database beside the copy, as far as it can be reached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional, Tuple

from .backup_load import LoadError
from .backup_manifest import Manifest
from .backup_proof import data_age
from .errors import CommandFailed, OpsError
from .redact import printable
from .result import UNKNOWN, WARNING, Finding
from .units import count_of, human_duration, rfc3339

_SHOWN = 5
_CODES = (
    (("No space left on device", "Disk quota exceeded"), "disk_full"),
    (("server closed the connection", "terminating connection", "connection to server", "could not connect"),
     "server_gone"),
    (('role "',), "role_missing"),
    (("extension ",), "extension_missing"),
    (("default_tablespace",), "tablespace_missing"),
    (("permission denied", "must be owner", "must be superuser", "must be able to"), "insufficient_privilege"),
)  # fmt: skip


@dataclass(frozen=True)
class LiveTable:
    """One table of the live database; ``rows`` None: it could not be counted in the time that was given, or at all."""

    schema: str
    name: str
    rows: Optional[int]


@dataclass(frozen=True)
class LiveState:
    """The live database. ``unreachable`` says why there is nothing; ``newest_sentinel`` stamps its last copy."""

    tables: Tuple[LiveTable, ...] = ()
    newest_sentinel: Optional[datetime] = None
    unreachable: str = ""


@dataclass(frozen=True)
class Loss:
    """What is in the live database and not in the copy. Rows that were changed in place are not seen by counting."""

    seconds: float
    measured: bool
    reason: str
    tables: Tuple[dict[str, Any], ...]
    not_counted: int
    newest_sentinel: Optional[str]

    def shown(self) -> dict[str, Any]:
        """Return the loss for the result."""
        return {
            "seconds": round(self.seconds, 1),
            "measured": self.measured,
            "reason": self.reason,
            "rows": self.rows,
            "tables": list(self.tables),
            "not_counted": self.not_counted,
            "newest_sentinel": self.newest_sentinel,
        }

    @property
    def rows(self) -> int:
        """Return how many rows more the live database has, in the tables that have more."""
        return sum(max(0, table["difference"] or 0) for table in self.tables)

    def finding(self) -> Finding:
        """Return the loss in words; it is a warning always: everything that changed since the copy goes."""
        since = f"everything changed in the last {human_duration(max(self.seconds, 0.0))} is lost"
        if not self.measured:
            return Finding("loss", UNKNOWN, f"{since}; it could not be measured: {self.reason}", None, "rows")
        return Finding("loss", WARNING, f"{since}: {self.by_rows()}", self.rows, "rows")

    def by_rows(self) -> str:
        """Return how many rows go, and where from."""
        if not self.measured:
            return f"what is lost cannot be measured: {self.reason}"
        named = [f"{table['schema']}.{table['name']} {table['difference']:+d}" for table in self.tables[:_SHOWN]
                 if table["difference"] is not None]  # fmt: skip
        rest = f" and {len(self.tables) - _SHOWN} more" if self.tables[_SHOWN:] else ""
        by_table = f" ({printable(', '.join(named), 400)}{rest})" if named else ""
        left = f"; {count_of(self.not_counted, 'table')} not counted" if self.not_counted else ""
        return f"{count_of(self.rows, 'row')} more than in the copy{by_table}{left}"


def measure(manifest: Manifest, live: LiveState, now: datetime, ignore: Tuple[str, str] = ("", "")) -> Loss:
    """Return what the copy lacks, but for the table ``ignore``.

    ``difference`` is rows now less rows in the copy; None where that is not known.
    """
    was = {(table.schema, table.name): table.rows for table in manifest.tables}
    found = {(table.schema, table.name): table.rows for table in live.tables}
    tables = []
    for name in () if live.unreachable else sorted((was.keys() | found.keys()) - {ignore}):
        before, rows = was.get(name), found.get(name)
        counted = rows is not None or name not in found
        difference = (rows or 0) - (before or 0) if counted else None
        if before is None or name not in found or difference:
            entry = {"rows_now": rows, "rows_in_copy": before, "difference": difference}
            tables.append({"schema": name[0], "name": name[1], **entry})
    return Loss(
        seconds=data_age(manifest, now),
        measured=not live.unreachable,
        reason=live.unreachable,
        tables=tuple(sorted(tables, key=lambda table: -(table["difference"] or 0))),
        not_counted=sum(1 for table in live.tables if table.rows is None),
        newest_sentinel=None if live.newest_sentinel is None else rfc3339(live.newest_sentinel),
    )


def load_failure(errors: Tuple[LoadError, ...], what: str) -> OpsError:
    """Return the failure for what pg_restore complained about; one error is enough: half a database is none."""
    first = errors[0]
    code = next((code for words, code in _CODES if any(word in first.message for word in words)), "load_failed")
    more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
    return CommandFailed(
        f"load {printable(what)}: {first.label()}{more}; the live database was not touched",
        code=code,
        hint="what was loaded was thrown away; see the text of the error",
        details={"errors": [error.label() for error in errors]},
    )
