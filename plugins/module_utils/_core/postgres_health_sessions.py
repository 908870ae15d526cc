# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Sessions: connections, transactions that stay open, and who blocks whom."""

from __future__ import annotations

from typing import Iterator, Optional

from .postgres_health_facts import Judge, Said, hidden_words
from .samples import Sample
from .sessions import CLIENT, IN_TRANSACTION, Activity, Session, blocking_trees
from .units import count_of, human_duration


def look_at_connections(judge: Judge) -> Iterator[Said]:
    """Yield how full the server and the pool are."""
    activity = _activity(judge)
    used, most = len(activity.connections), activity.max_connections
    percent = 100.0 * used / most
    words = f"{used} of {most} connections used ({percent:.0f} %)"
    yield Sample("database.connections.used", used, "count")
    yield Sample("database.connections.used_percent", percent, "percent")
    yield from judge.one("connections", percent, "%", words)
    free = max(0, most - activity.reserved - used)
    words = f"{count_of(free, 'connection')} free for ordinary roles ({used} of {most} used)"
    yield from judge.one("free_connections", free, "count", words)
    reserved = f"{activity.reserved} of {most} connections are reserved"
    none = "no connection is reserved: when all are used, nobody gets in to help; set superuser_reserved_connections"
    yield from judge.one("reserved_connections", activity.reserved, "count", reserved if activity.reserved else none)
    yield from _pool(judge, activity)


def _pool(judge: Judge, activity: Activity) -> Iterator[Said]:
    size, roles = judge.policy.pool_size, judge.policy.pool_roles
    if size is None:
        return
    mine = [s for s in activity.connections if not s.own and (not roles or s.role in roles)]
    percent = 100.0 * len(mine) / size
    who = f" by {', '.join(roles)}" if roles else ""
    yield Sample("database.pool.used_percent", percent, "percent")
    words = f"{len(mine)} of the pool's {count_of(size, 'connection')} used{who} ({percent:.0f} %)"
    yield from judge.one("pool", percent, "%", words)


def look_at_transactions(judge: Judge) -> Iterator[Said]:
    """Yield transactions that have been open for long, and those among them in which nothing happens."""
    clients = [s for s in _activity(judge).sessions if s.kind == CLIENT and not s.own]
    idle = [s for s in clients if s.state in IN_TRANSACTION]
    working = [s for s in clients if s.ages.transaction is not None and s.state not in IN_TRANSACTION]
    yield from _open(judge, "long_transactions", [(s.ages.transaction, s) for s in working])
    yield from _open(judge, "idle_in_transaction", [(s.ages.state, s) for s in idle])


_OPEN = {
    "long_transactions": ("has had a transaction open for", "no transaction has been open for long"),
    "idle_in_transaction": ("has been idle in a transaction for", "nobody is idle in a transaction for long"),
}


def _open(judge: Judge, check: str, ages: list[tuple[Optional[float], Session]]) -> Iterator[Said]:
    lasting, fine = _OPEN[check]
    readings = [
        (age, f"{s.label()} {lasting} {human_duration(age)}: {s.shown_query()}") for age, s in ages if age is not None
    ]
    oldest = max((age for age, _text in readings), default=0.0)
    yield Sample(f"database.{check}.oldest", oldest, "seconds")
    hidden = hidden_words(judge.facts, _hidden(_activity(judge)))
    yield from judge.many(check, readings or [(0.0, fine)], "s", fine, hidden)


def _hidden(activity: Activity) -> int:
    return sum(1 for session in activity.connections if session.hidden)


def look_at_locks(judge: Judge) -> Iterator[Said]:
    """Yield who blocks others: the root, not its victims."""
    activity = _activity(judge)
    trees, sessions = blocking_trees(activity.sessions), activity.by_pid()
    readings: list[tuple[Optional[float], str]] = []
    for root, tree in trees.items():
        session = sessions.get(root)
        who = "a prepared transaction" if root == 0 else session.label() if session else f"pid {root}"
        doing = f": {session.shown_query()}" if session else ""
        readings.append((tree.longest, f"{who} {tree.summary()}{doing}"))
    waiting = sum(len(tree.blocked) for tree in trees.values())
    yield Sample("database.blocked_sessions", waiting, "count")
    yield Sample("database.lock_wait", max((seconds or 0.0 for seconds, _text in readings), default=0.0), "seconds")
    yield from judge.many("lock_waits", readings or [(0.0, "")], "s", "nobody waits for a lock for long")
    yield from judge.one(
        "blocked_sessions",
        waiting,
        "count",
        f"{count_of(waiting, 'session')} blocked" if waiting else "nobody is blocked",
    )


def _activity(judge: Judge) -> Activity:
    if judge.facts.activity is None:
        raise AssertionError("a reading that failed never gets here")
    return judge.facts.activity
