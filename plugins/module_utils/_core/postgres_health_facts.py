# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is known about a database's health, and what is expected of it: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from math import isnan
from typing import Any, Iterator, Mapping, Optional, Sequence, Union

from .counters import Growth, Previous, growth
from .limits import Limit
from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, WARNING, Finding, worst
from .samples import Sample
from .sessions import Activity
from .sql_text import identifier
from .units import count_of

Row = Mapping[str, Any]
Rows = Sequence[Row]
Said = Union[Finding, Sample]
Counter = tuple[str, Optional[float]]  # its name and its value
NAMED = 20
NO_START = "since when the server counts is not known: give the last run's counters as previous"
START = "start"

_MINUTE, _HOUR, _MB, _GB = 60.0, 3600.0, 1024.0**2, 1024.0**3

# Where a number is a handbook's or PostgreSQL's own, it is said; the others are ours.
DEFAULT_LIMITS: Mapping[str, Limit] = {
    "connections": Limit(80, 90),  # handbooks: below 80 % of what there is
    "free_connections": Limit(10, 3, lower_is_worse=True),
    "reserved_connections": Limit(0, None, lower_is_worse=True),
    "pool": Limit(80, 95),  # handbooks: below 80 % of the pool
    "long_transactions": Limit(5 * _MINUTE, 30 * _MINUTE),  # handbooks: stuck after 5 min
    "idle_in_transaction": Limit(5 * _MINUTE, 15 * _MINUTE),
    "lock_waits": Limit(1, _MINUTE),  # handbooks: below 1 s
    "blocked_sessions": Limit(5, 20),
    "cache_hit": Limit(90, 80, lower_is_worse=True),  # handbooks: misses above 20 % are told
    "standbys": Limit(None, 1),  # how many of expected_standbys are missing
    "synchronous_standbys": Limit(None, 0, lower_is_worse=True),
    "replication_lag": Limit(30, 5 * _MINUTE),
    "replication_lag_bytes": Limit(256 * _MB, 2 * _GB),
    "wal_receiver": Limit(None, 0, lower_is_worse=True),
    "replay_lag": Limit(30, 5 * _MINUTE),
    "replay_paused": Limit(1, None),
    "slots_inactive": Limit(1, None),
    "slots_retained": Limit(2 * _GB, 10 * _GB),
    "slots_lost": Limit(None, 1),
    "slots_safe": Limit(1 * _GB, 256 * _MB, lower_is_worse=True),
    "xid_age": Limit(25, 50),  # autovacuum freezes at 9 % (autovacuum_freeze_max_age), the failsafe begins at 75 %
    "multixact_age": Limit(40, 60),  # autovacuum freezes at 19 % (autovacuum_multixact_freeze_max_age)
    "query_mean": Limit(0.1, 1),  # handbooks: below 100 ms
    "slow_statements": Limit(1, 5),
    "checkpoints": Limit(50, None),
    "deadlocks": Limit(1, 20),
    "temp_bytes": Limit(2 * _GB, 20 * _GB),
    "transactions": Limit(None, None),
    "transaction_spike": Limit(10, None),
    "rollbacks": Limit(10, 50),
    "database_size": Limit(None, None),
    "checksum_failures": Limit(None, 1),
    "recovery_conflicts": Limit(10, None),
    "sequences": Limit(75, 90),
    "invalid_indexes": Limit(1, None),
    "archiver": Limit(1, 15 * _MINUTE),
    "archive_backlog": Limit(16, 128),
    "autovacuum": Limit(0, None, lower_is_worse=True),
    "autovacuum_workers": Limit(100, None),
    "autovacuum_overdue": Limit(2, 10),
    "prepared_transactions": Limit(5 * _MINUTE, _HOUR),
    "pending_restart": Limit(1, None),
    "uptime": Limit(15 * _MINUTE, None, lower_is_worse=True),
    "slow_log": Limit(2 * _MINUTE, None),
}


@dataclass(frozen=True)
class Failure:
    """Why something could not be read, and what to do about it."""

    code: str
    msg: str
    hint: str = ""

    def words(self) -> str:
        """Return it for people."""
        return f"{self.msg} ({self.hint})" if self.hint else self.msg


@dataclass(frozen=True)
class Question:
    """A query of the inventory: ``value`` is its number, other columns are labels; limits in its own unit."""

    name: str
    query: str
    unit: str
    limit: Limit
    area: str
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10.0


@dataclass(frozen=True)
class Policy:
    """What is expected. A check whose limit is None is left out; ``pool_roles`` empty: every role counts."""

    limits: Mapping[str, Optional[Limit]]
    pool_size: Optional[int] = None
    pool_roles: tuple[str, ...] = ()
    expected_standbys: Optional[int] = None
    statements: int = 10
    statement_calls: int = 10
    previous: Optional[Previous] = None
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What one session read: rows by the name of the reading, or why they are missing.

    ``answers`` and ``failures`` of a question are by ``question:<its name>``. ``by_default``: nobody has said which
    database is looked at.
    """

    target: str
    database: str = ""
    major: int = 0
    unreachable: Optional[Failure] = None
    server: Optional[Row] = None
    activity: Optional[Activity] = None
    rows: Mapping[str, Rows] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    by_default: bool = False

    @property
    def where(self) -> str:
        """Return the connected database for messages."""
        return printable(self.database, 63)

    @property
    def not_looked_at(self) -> str:
        """Return that the databases that matter were not looked at; "" when somebody has said which one is."""
        others = (self.server or {}).get("other_databases", 0)
        if not (self.by_default and others):
            return ""
        return (
            f"only database {self.where} was looked at, because none was named, and there "
            f"{'is 1 other' if others == 1 else f'are {others} others'}: set login_db (in database_login)"
        )

    @property
    def now(self) -> Optional[datetime]:
        """Return the server's clock."""
        return self.server["now"] if self.server else None

    @property
    def start(self) -> Row:
        """Return when the server's processes and its statistics began, as far as that could be read."""
        rows = self.rows.get(START, ())
        return rows[0] if rows else {"checkpointer_age": None, "statistics_age": None}

    @property
    def in_recovery(self) -> bool:
        """Tell whether it is a standby."""
        return bool(self.server and self.server["in_recovery"])

    def lacks(self, what: str) -> str:
        """Return how the role gets to see something."""
        return f"{what}: GRANT pg_monitor TO {self.role}"

    @property
    def role(self) -> str:
        """Return the role that looks, as it stands in a statement."""
        return identifier(self.server["role"]) if self.server else "the role"


@dataclass(frozen=True)
class Share:
    """Two counters of which one's part is asked for, in each time in which they were counted, the shortest first."""

    times: tuple[tuple[Growth, Growth], ...]

    def judged(self, enough: float) -> Optional[tuple[float, int, str]]:
        """Return the percentage, of how many, and since when, in the shortest time with enough; None: there is none.

        A quiet hour says nothing, so then it is what was counted since the statistics began.
        """
        for part, rest in self.times:
            number = part.count + rest.count
            if number >= enough:
                return 100.0 * part.count / number, int(number), part.since
        return None

    @property
    def counted(self) -> float:
        """Return how many there were in the longest time."""
        return sum(one.count for one in self.times[-1]) if self.times else 0.0

    def why_not(self, one: str, many: str) -> str:
        """Return why it was not judged, with the number of what was counted."""
        if not self.times:
            return NO_START
        return f"{count_of(int(self.counted), one, many)} since {self.times[-1][0].since}: too few to judge"


class Judge:
    """Turns readings into findings; a check that is switched off says nothing."""

    def __init__(self, facts: Facts, policy: Policy) -> None:
        self.facts = facts
        self.policy = policy
        self.counters: dict[str, Optional[float]] = {}

    def one(self, check: str, value: Optional[float], unit: str, msg: str) -> Iterator[Finding]:
        """Yield the finding of one reading."""
        limit = self.policy.limits[check]
        if limit is not None:
            yield Finding(check, limit.judge(value), msg, tidy(value), unit, limit.warning, limit.critical)

    def broken(self, check: str, value: float, unit: str, msg: str) -> Iterator[Finding]:
        """Yield a finding that is as bad as the check's limits know, whatever its value."""
        limit = self.policy.limits[check]
        if limit is not None:
            status = CRITICAL if limit.critical is not None else WARNING if limit.warning is not None else OK
            yield Finding(check, status, msg, tidy(value), unit, limit.warning, limit.critical)

    def unknown(self, check: str, msg: str) -> Iterator[Finding]:
        """Yield that something could not be looked at."""
        yield from self.one(check, None, "", msg)

    def many(
        self, check: str, readings: Sequence[tuple[Optional[float], str]], unit: str, fine: str, hidden: str = ""
    ) -> Iterator[Finding]:
        """Yield each reading that is out of its limits, worst first, or one that says that none is.

        ``hidden`` says what could not be seen: then the finding that none is out of them is ``unknown``.
        """
        limit = self.policy.limits[check]
        if limit is None:
            return
        found = [Finding(check, limit.judge(v), msg, tidy(v), unit, limit.warning, limit.critical)
                 for v, msg in readings]  # fmt: skip
        sign = 1 if limit.lower_is_worse else -1
        bad = [one for one in found if one.status in (WARNING, CRITICAL)]
        bad.sort(key=lambda one: (one.status != CRITICAL, sign * float(one.value or 0)))
        yield from bad[:NAMED]
        if len(bad) > NAMED:
            rest = bad[NAMED:]
            yield Finding(check, worst(one.status for one in rest), f"{check}: {len(rest)} more", len(rest), "count")
        blind = [one for one in found if one.status == UNKNOWN]
        yield from blind[:NAMED]
        if hidden:
            yield Finding(check, UNKNOWN, hidden, None, unit, limit.warning, limit.critical)
        elif not bad and not blind:
            values = [float(one.value) for one in found if one.value is not None]
            most = (min(values) if limit.lower_is_worse else max(values)) if values else None
            yield Finding(check, OK, fine, tidy(most), unit, limit.warning, limit.critical)

    def growth(self, name: str, value: Optional[float], age: Optional[float]) -> Optional[Growth]:
        """Return what a counter grew, and keep it for the next run.

        ``age``: seconds since the counter began; None where only the server's statistics say it.
        """
        self.counters[name] = value
        now, previous = self.facts.now, self.policy.previous
        if now is None:
            return None
        earlier = previous.values.get(name) if previous is not None else None
        if age is None and (earlier is None or value is None or value < earlier):
            age = self.facts.start["statistics_age"]  # of other statistics: only where nothing better is known
        return growth(name, value, now, previous, age, "the statistics began")

    def share(self, part: Counter, rest: Counter, age: Optional[float]) -> Share:
        """Return how much of two counters together the first one is, since the last run and since they began."""
        began = age if age is not None else self.facts.start["statistics_age"]
        now = self.facts.now
        times = [
            [self.growth(name, value, age) for name, value in (part, rest)],
            [growth(name, value, now, None, began, "the statistics began") if now else None
             for name, value in (part, rest)],
        ]  # fmt: skip
        return Share(tuple((one, other) for one, other in times if one is not None and other is not None))


def tidy(value: Optional[float]) -> Union[int, float, None]:
    """Return a number as people write it: whole where it is whole, else with three digits that count.

    >>> tidy(3.0), tidy(0.123456), tidy(1234.5678), tidy(None)
    (3, 0.123, 1234.568, None)
    """
    if value is None or isnan(value):
        return None
    return int(value) if float(value).is_integer() else round(float(value), 3)


def hidden_words(facts: Facts, number: int) -> str:
    """Return that some sessions cannot be seen, and how to get to see them; "" when all can."""
    return facts.lacks(f"{count_of(number, 'session')} cannot be seen") if number else ""
