# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a restore needs to know about the server, and what somebody wants of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

from .restore_marker import Marker

RESTORED, UNDONE, CLEANED = "restored", "undone", "cleaned"
FENCE, REFUSE = "fence", "refuse"
RESERVED = ("postgres", "template0", "template1")


@dataclass(frozen=True)
class DatabaseFacts:
    """One database; ``comment`` is the person's own part of it. ``owned``: our role may act as its owner."""

    oid: int
    name: str
    owner: str
    owned: bool
    tablespace: str
    comment: Optional[str] = None
    marker: Optional[Marker] = None
    size_bytes: Optional[int] = None


@dataclass(frozen=True)
class SessionFacts:
    """One session in a database; what our role may not see is None."""

    pid: int
    user: Optional[str]
    application: Optional[str]
    client: Optional[str]

    def label(self) -> str:
        """Return the session for messages."""
        return f"pid {self.pid} ({self.user or '?'}, {self.application or 'no name'}, {self.client or 'local'})"


@dataclass(frozen=True)
class ServerFacts:
    """The server that is restored to. ``free_bytes`` None: its disk cannot be seen from this host.

    ``tablespaces``: whether our role may put something into each.
    """

    version: str
    major: int
    in_recovery: bool
    read_only: bool
    system_identifier: str
    role: str
    superuser: bool
    may_create: bool
    maintenance_database: str
    databases: Tuple[DatabaseFacts, ...]
    roles: frozenset[str]
    extensions: frozenset[str]
    tablespaces: Mapping[str, bool] = field(default_factory=dict)
    sessions: Tuple[SessionFacts, ...] = ()
    prepared: int = 0
    slots: Tuple[str, ...] = ()
    free_bytes: Optional[int] = None

    def find(self, name: str) -> Optional[DatabaseFacts]:
        """Return the database of this name."""
        return next((one for one in self.databases if one.name == name), None)

    @property
    def names(self) -> frozenset[str]:
        """Return the names that are taken."""
        return frozenset(one.name for one in self.databases)

    def of(self, target: str, *roles: str) -> Tuple[Tuple[DatabaseFacts, Marker], ...]:
        """Return the databases that restores of ``target`` made into one of these, with their markers, oldest first."""
        marked = [(one, one.marker) for one in self.databases if one.marker is not None and one.name != target]
        ours = [pair for pair in marked if pair[1].target == target and pair[1].role in roles]
        return tuple(sorted(ours, key=lambda pair: (pair[1].order, pair[0].oid)))

    def next_number(self, target: str) -> int:
        """Return the number of the next swap of ``target``."""
        markers = [one.marker for one in self.databases if one.marker is not None]
        return 1 + max((marker.number for marker in markers if marker.target == target), default=0)


@dataclass(frozen=True)
class Wish:
    """What somebody wants. ``fingerprint`` as given; ``keep`` in seconds."""

    state: str
    database: str
    target: str
    confirm: Optional[str]
    swap: bool = True
    force: bool = False
    writers: str = FENCE
    keep: float = 0.0
    keep_last: bool = True
    fingerprint: Optional[Mapping[str, Any]] = None
    allow_other_server: bool = False
    create_roles: bool = False
    tablespaces: bool = True
