# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is known about a server's sessions: the facts that a decision about them is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Mapping, Optional

from .redact import printable, redact_query
from .units import count_of, human_duration

NEEDS_STATS = "hidden: needs pg_read_all_stats"
NOT_TRACKED = "hidden: track_activities is off"
CLIENT = "client backend"
WORKING = ("active", "fastpath function call")
IN_TRANSACTION = ("idle in transaction", "idle in transaction (aborted)")


@dataclass(frozen=True)
class Ages:
    """For how long each thing has lasted, in seconds of the server's own clock; None where there is no such thing."""

    connected: Optional[float] = None
    state: Optional[float] = None
    query: Optional[float] = None
    transaction: Optional[float] = None


@dataclass(frozen=True)
class Session:
    """One server process as pg_stat_activity shows it.

    ``kind`` is its backend_type, None when the role may not see it (then nearly all else is empty too). ``client`` is
    None for a Unix socket. ``superuser`` is true, to be safe, when the role behind the session no longer exists.
    ``blockers`` are the pids that it waits for (0 stands for a prepared transaction), ``waiting`` for how many seconds.
    """

    pid: int
    kind: Optional[str]
    started: Optional[datetime] = None
    role_oid: int = 0
    role: str = ""
    superuser: bool = True
    database: str = ""
    application: str = ""
    client: Optional[str] = None
    state: str = ""
    state_change: Optional[datetime] = None
    query_start: Optional[datetime] = None
    xact_start: Optional[datetime] = None
    ages: Ages = field(default_factory=Ages)
    query: str = ""
    may_signal: bool = False
    own: bool = False
    slot: str = ""
    holds_backup: bool = False
    leader: Optional[int] = None
    blockers: tuple[int, ...] = ()
    waiting: Optional[float] = None

    @property
    def hidden(self) -> str:
        """Return why nothing is known of its state, or an empty text."""
        return NEEDS_STATS if self.kind is None else NOT_TRACKED if self.state == "disabled" else ""

    @property
    def readable(self) -> bool:
        """Tell whether it is a client's session of which enough is known to decide about it."""
        return self.kind == CLIENT and self.started is not None and self.state not in ("", "disabled")

    def label(self) -> str:
        """Return who this is, in one short text that is safe to print.

        >>> Session(4711, CLIENT, role="app", database="shop", application="psql").label()
        'pid 4711 app@shop (psql)'
        """
        who = f"pid {self.pid} {self.role}@{self.database}" if self.role or self.database else f"pid {self.pid}"
        what = self.application or (self.kind if self.kind != CLIENT else "")
        return printable(f"{who} ({what})" if what else who, 200)

    def shown_query(self) -> str:
        """Return the shape of its statement without literals, or why there is none."""
        return self.hidden or printable(redact_query(self.query))


@dataclass(frozen=True)
class Rights:
    """What the role that looks may do."""

    role: str
    superuser: bool
    signal_backend: bool
    read_all_stats: bool


@dataclass(frozen=True)
class Activity:
    """Everything at one moment. ``reserved`` are the connections that an ordinary role cannot have."""

    sessions: tuple[Session, ...]
    rights: Rights
    max_connections: int
    reserved: int = 0

    @property
    def connections(self) -> tuple[Session, ...]:
        """Return the sessions that use up max_connections."""
        return tuple(s for s in self.sessions if s.kind == CLIENT or (s.kind is None and s.role and s.database))

    def by_pid(self) -> Mapping[int, Session]:
        """Return the sessions by pid."""
        return {session.pid: session for session in self.sessions}


@dataclass(frozen=True)
class Blocked:
    """One session behind a root: who it waits for directly and for how long, in seconds (None: not known)."""

    session: Session
    blockers: tuple[int, ...]
    waiting: Optional[float]

    def as_result(self) -> dict[str, object]:
        """Return its entry in a module's result."""
        return {
            "pid": self.session.pid,
            "role": printable(self.session.role),
            "database": printable(self.session.database),
            "application": printable(self.session.application),
            "query": self.session.shown_query(),
            "waiting_seconds": None if self.waiting is None else round(self.waiting, 1),
            "blocked_by": list(self.blockers),
        }


@dataclass(frozen=True)
class Tree:
    """A root that waits for nobody, and all who wait for it, directly or behind others, longest wait first."""

    root: int
    blocked: tuple[Blocked, ...]

    @property
    def longest(self) -> Optional[float]:
        """Return the longest wait in seconds."""
        return max((b.waiting for b in self.blocked if b.waiting is not None), default=None)

    def summary(self) -> str:
        """Return the tree in words."""
        pids = ", ".join(str(blocked.session.pid) for blocked in self.blocked[:10])
        more = ", ..." if len(self.blocked) > 10 else ""
        lasting = "" if self.longest is None else f" for up to {human_duration(self.longest)}"
        return f"blocks {count_of(len(self.blocked), 'session')}{lasting}: pid {pids}{more}"


def blocking_trees(sessions: tuple[Session, ...]) -> Mapping[int, Tree]:
    """Return the tree of each root that blocks somebody and is not blocked itself.

    A parallel worker counts as its leader. Sessions that wait in a circle have no root: the server ends a deadlock.
    """
    by_pid = {session.pid: session for session in sessions}
    waits: dict[int, Blocked] = {}
    for session in sessions:
        pid = session.leader or session.pid
        blockers = set(session.blockers) - {pid}
        if blockers:
            waits[pid] = _merged(Blocked(by_pid.get(pid, session), tuple(sorted(blockers)), session.waiting), waits)
    return {root: Tree(root, _behind(root, waits)) for root in _roots(waits)}


def _merged(blocked: Blocked, waits: Mapping[int, Blocked]) -> Blocked:
    """Return one entry for a process and its parallel workers, which may each wait for somebody."""
    before = waits.get(blocked.session.pid)
    if before is None:
        return blocked
    known = [seconds for seconds in (before.waiting, blocked.waiting) if seconds is not None]
    blockers = tuple(sorted({*before.blockers, *blocked.blockers}))
    return Blocked(before.session, blockers, max(known, default=None))


def _roots(waits: Mapping[int, Blocked]) -> list[int]:
    return sorted({blocker for blocked in waits.values() for blocker in blocked.blockers} - set(waits))


def _behind(root: int, waits: Mapping[int, Blocked]) -> tuple[Blocked, ...]:
    reached, frontier = set(), {root}
    while frontier:
        frontier = {pid for pid, blocked in waits.items() if pid not in reached and frontier & set(blocked.blockers)}
        reached |= frontier
    return tuple(sorted((waits[pid] for pid in reached), key=lambda b: (-(b.waiting or 0), b.session.pid)))
