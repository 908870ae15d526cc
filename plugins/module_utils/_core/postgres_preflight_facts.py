# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Is a database fit for work: what was read of the server, and the limits that it is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Mapping, Optional

from .result import CRITICAL
from .sessions import Activity, Session

PRIMARY, STANDBY, ANY = "primary", "standby", "any"
MEMBERSHIPS = (
    *("pg_monitor", "pg_read_all_stats", "pg_read_all_settings", "pg_read_all_data"),
    *("pg_signal_backend", "pg_maintain", "pg_checkpoint", "pg_use_reserved_connections"),
)
# The day of the last minor release of each major. Source: https://www.postgresql.org/support/versioning/
END_OF_LIFE = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}


@dataclass(frozen=True)
class Server:
    """The server itself. ``version_number`` as in server_version_num; empty texts are not readable for the role."""

    version: str
    version_number: int
    in_recovery: bool
    started: datetime
    now: datetime
    database: str
    system_identifier: str = ""
    data_directory: str = ""
    last_replayed: Optional[datetime] = None  # the commit of the last transaction that a recovery of it replayed

    @property
    def major(self) -> int:
        """Return the major version."""
        return self.version_number // 10000


@dataclass(frozen=True)
class Grants:
    """What the role is a member of (None: this server has no such role), and its reach in the connected database.

    ``tables`` are all tables there; of them the role may VACUUM and ANALYZE ``maintainable``, REINDEX ``reindexable``
    and SELECT from ``readable``.
    """

    role: str
    superuser: bool
    memberships: Mapping[str, Optional[bool]]
    tables: int
    maintainable: int
    reindexable: int
    readable: int

    def has(self, group: str) -> bool:
        """Tell whether the role has the rights of a group; a superuser has all."""
        return self.superuser or bool(self.memberships.get(group))


@dataclass(frozen=True)
class Progressing:
    """A piece of work that the server shows as in progress: pid, what (``vacuum``), on what, how far."""

    pid: int
    activity: str
    relation: str = ""
    phase: str = ""


@dataclass(frozen=True)
class DatabaseEntry:
    """One database. ``size_bytes`` is None when the role may not know it."""

    name: str
    owner: str
    size_bytes: Optional[int]
    connectable: bool


@dataclass(frozen=True)
class Failure:
    """Why something could not be read."""

    code: str
    msg: str
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """All readings; one that failed is None, and ``failures`` (by the name of the field) says why.

    ``target`` is host and port for messages. ``locked`` are the pids that hold a lock of this collection.
    """

    target: str
    unreachable: Optional[Failure] = None
    server: Optional[Server] = None
    grants: Optional[Grants] = None
    activity: Optional[Activity] = None
    progress: Optional[tuple[Progressing, ...]] = None
    locked: Optional[tuple[int, ...]] = None
    databases: Optional[tuple[DatabaseEntry, ...]] = None
    failures: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What is expected, and where a reading becomes a warning or critical. Connections that are free; seconds.

    ``own_runs`` is the verdict when another run of this collection is at work.
    """

    expect: str = PRIMARY
    own_runs: str = CRITICAL
    free_warning: int = 10
    free_critical: int = 3
    transaction_warning: Optional[float] = 3600.0
    transaction_critical: Optional[float] = None


@dataclass(frozen=True)
class AtWork:
    """Somebody who is at work: a session, what it does, and whether that is in the way of a run (or routine)."""

    session: Session
    activity: str
    detail: str = ""
    lock: bool = False

    @property
    def routine(self) -> bool:
        """Tell whether the server does it by itself."""
        return not self.lock and self.session.kind == "autovacuum worker"
