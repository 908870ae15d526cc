# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Is this Redis well: memory, clients, latency, persistence and replication against their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Iterator, Mapping, Optional

from .counters import Growth, Previous, growth, render_counters
from .errors import InvalidValue
from .limits import Limit, read_limits
from .readings import Judge, Unread
from .redis_durability import persistence_findings, replication_findings
from .redis_facts import RedisFacts, SlowCommand, databases_in
from .redis_report import render_redis, samples_of
from .result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding
from .samples import REDIS, render_samples
from .units import count_of, human_duration, human_size
from .verdict import headline

_MIB = 1024**2
_NO_LEVEL = Limit()

# Memory, clients and the hit ratio as the handbooks have them; the others are our own.
LIMITS: Mapping[str, Limit] = {
    "reachable": _NO_LEVEL,
    "loading": _NO_LEVEL,
    "latency": Limit(0.05, 0.5),
    "memory": Limit(80, 90),
    "memory_host": Limit(80, 90),
    "fragmentation": Limit(1.5, 3),
    "evictions": Limit(60, None),
    "clients": Limit(80, 90),
    "rejected_connections": Limit(1, 60),
    "blocked_clients": Limit(100, None),
    "hit_ratio": Limit(80, None, lower_is_worse=True),
    "last_save": _NO_LEVEL,
    "save_age": Limit(7200, 86400),
    "append_only_file": _NO_LEVEL,
    "role": _NO_LEVEL,
    "replicas": _NO_LEVEL,
    "replication_link": _NO_LEVEL,
    "replication_lag": Limit(10, 60),
    "replication_lag_bytes": Limit(10 * _MIB, 100 * _MIB),
    "slow_log": Limit(10, None),
    "slowest_command": Limit(1, 10),
    "cluster": _NO_LEVEL,
    "uptime": Limit(3600, None, lower_is_worse=True),
}
# What is only read when it is asked for, or when the server is of that kind.
_OPTIONAL = frozenset({"role", "replicas", "replication_link", "replication_lag", "replication_lag_bytes", "cluster"})
_OPTIONAL_TOO = frozenset({"hit_ratio"})
COUNTED = ("evicted_keys", "rejected_connections", "keyspace_hits", "keyspace_misses")
_SMALL = 64 * _MIB  # below it the allocator's own rooms outweigh the data
_FEW_LOOKUPS = 1000
_RECENT = 3600.0


@dataclass(frozen=True)
class Expected:
    """What the inventory says about the server: its role ("" for any) and how many replicas it should have."""

    role: str = ""
    replicas: Optional[int] = None


@dataclass(frozen=True)
class Moment:
    """The time of the readings and the counters of the run before."""

    now: datetime
    previous: Optional[Previous] = None


def read_redis_limits(raw: Mapping[str, Any]) -> dict[str, Optional[Limit]]:
    """Return the limits.

    Raises:
        InvalidValue: they make no sense, or a level is given to a check that has none.
    """
    for name, value in raw.items():
        if LIMITS.get(name) == _NO_LEVEL and isinstance(value, Mapping):
            raise InvalidValue(f"limits.{name} has no levels: false switches the check off, else leave it out")
    return read_limits(raw, LIMITS)


def decide(facts: RedisFacts, limits: Mapping[str, Optional[Limit]], expected: Expected, moment: Moment) -> Decision:
    """Return the readings against their limits; nothing is ever planned."""
    judge = Judge(limits)
    findings = tuple(_unreachable(facts, judge) if facts.code else _findings(facts, judge, expected, moment))
    extra = {
        "area": REDIS,
        "samples": render_samples(samples_of(facts, _counted(facts, moment))),
        "counters": render_counters(moment.now, _counters(facts)),
        "redis": render_redis(facts),
    }
    return Decision(headline(findings), findings=findings, extra=extra)


def _counters(facts: RedisFacts) -> dict[str, Optional[float]]:
    newest = max((one.id for one in facts.slow), default=-1) if isinstance(facts.slow, tuple) else None
    return {**{name: facts.number(name) for name in COUNTED}, "slow_log_id": newest}


def _counted(facts: RedisFacts, moment: Moment) -> dict[str, Optional[Growth]]:
    uptime = facts.number("uptime_in_seconds")
    age = None if uptime is None else max(1.0, uptime)  # in its first second it says 0
    return {name: growth(name, facts.number(name), moment.now, moment.previous, age, "its start") for name in COUNTED}


def _unreachable(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    """Yield what is said when there is no answer: the others are not known, and must not look as they did before."""
    status = UNKNOWN if facts.code == "driver_missing" else CRITICAL
    yield from judge.fixed("reachable", status, facts.unreachable)
    for check in LIMITS:
        if check != "reachable" and check not in _OPTIONAL and check not in _OPTIONAL_TOO:
            yield from judge.unread(check, Unread(f"{check} is not known: {facts.server} could not be asked"))


def _findings(facts: RedisFacts, judge: Judge, expected: Expected, moment: Moment) -> Iterator[Finding]:
    yield from judge.fixed("reachable", OK, f"{facts.server} answers")
    yield from _loading(facts, judge)
    yield from _latency(facts, judge)
    yield from _memory(facts, judge)
    yield from _fragmentation(facts, judge)
    yield from _clients(facts, judge)
    yield from _counts(facts, judge, _counted(facts, moment))
    yield from persistence_findings(facts, judge, moment.now)
    yield from replication_findings(facts, judge, expected.role, expected.replicas)
    yield from _slow_log(facts, judge, moment)
    yield from _cluster(facts, judge)
    uptime = facts.number("uptime_in_seconds")
    if uptime is None:
        yield from judge.unread("uptime", facts.missing("uptime_in_seconds"))
    else:
        yield from judge.reading("uptime", uptime, "s", f"{facts.server} was started {human_duration(uptime)} ago")


def _loading(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    loading = facts.number("loading")
    if loading is None:
        yield from judge.unread("loading", facts.missing("loading"))
    elif loading:
        done, left = facts.number("loading_loaded_perc") or 0, facts.number("loading_eta_seconds") or 0
        text = f"{facts.server} loads its data and serves nobody: {done:.0f} % done, about {human_duration(left)} left"
        yield from judge.fixed("loading", CRITICAL, text, done, "%")
    else:
        yield from judge.fixed("loading", OK, "its data is loaded")


def percentile(values: tuple[float, ...], share: float) -> float:
    """Return the nearest-rank percentile: a value that was really seen.

    >>> percentile((3.0, 1.0, 2.0), 0.95), percentile((3.0, 1.0, 2.0), 0.5)
    (3.0, 2.0)
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _latency(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    if isinstance(facts.pings, Unread):
        yield from judge.unread("latency", facts.pings)
        return
    high, middle = percentile(facts.pings, 0.95), percentile(facts.pings, 0.5)
    text = (
        f"PING answered in {high * 1000:.1f} ms (95th percentile of {len(facts.pings)}, median {middle * 1000:.1f} ms)"
    )
    yield from judge.reading("latency", high, "s", text)


def _memory(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    used, maximum = facts.number("used_memory"), facts.number("maxmemory")
    if used is None or maximum is None:
        yield from judge.unread("memory", facts.missing("used_memory", "maxmemory"))
    elif maximum <= 0:
        yield from judge.fixed("memory", OK, f"{human_size(used)} used, no maxmemory is set: see memory_host")
    else:
        yield from _of_maximum(facts, judge, 100 * used / maximum, maximum)
    rss, total = facts.number("used_memory_rss"), facts.number("total_system_memory")
    if rss is None or not total:
        yield from judge.unread("memory_host", facts.missing("used_memory_rss", "total_system_memory"))
    else:
        text = f"redis holds {human_size(rss)}, {100 * rss / total:.0f} % of its host's memory"
        yield from judge.reading("memory_host", 100 * rss / total, "%", text)


def _of_maximum(facts: RedisFacts, judge: Judge, percent: float, maximum: float) -> Iterator[Finding]:
    policy = facts.text("maxmemory_policy")
    text = f"memory {percent:.0f} % of maxmemory ({human_size(maximum)}), {policy or 'policy not known'}"
    if _evicts(facts, policy):
        yield from judge.fixed(
            "memory", OK, f"{text}: a full cache is as it should be, see evictions", round(percent, 2), "%"
        )
        return
    refused = ": writes are refused when it is full" if percent < 100 else ": writes are refused"
    yield from judge.reading("memory", percent, "%", text + refused)


def _evicts(facts: RedisFacts, policy: str) -> bool:
    """Tell whether memory can be had by throwing keys out; volatile policies need keys that have an end."""
    with_end = (
        sum(expires for _db, _keys, expires in databases_in(facts.info)) if isinstance(facts.info, Mapping) else 0
    )
    return policy.startswith("allkeys-") or (policy.startswith("volatile-") and with_end > 0)


def _fragmentation(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    ratio, used = facts.number("mem_fragmentation_ratio"), facts.number("used_memory")
    if ratio is None or used is None:
        yield from judge.unread("fragmentation", facts.missing("mem_fragmentation_ratio"))
    elif used < _SMALL:
        text = f"{human_size(used)} used: too little for a fragmentation that means something"
        yield from judge.fixed("fragmentation", OK, text, ratio, "ratio")
    else:
        text = f"redis holds {ratio:.2f} times the memory of its data: consider CONFIG SET activedefrag yes"
        text = text if ratio >= 1.5 else text.partition(":")[0]
        yield from judge.reading("fragmentation", ratio, "ratio", text)


def _clients(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    number, blocked = facts.number("connected_clients"), facts.number("blocked_clients")
    maximum = facts.number("maxclients") or _setting(facts, "maxclients")
    if number is None or not maximum:
        missing = facts.missing("connected_clients", "maxclients")
        denied = isinstance(facts.info, Mapping) and isinstance(facts.settings, Unread)
        yield from judge.unread("clients", facts.settings if denied and isinstance(facts.settings, Unread) else missing)
    else:
        text = f"{number:.0f} of {maximum:.0f} clients connected"
        yield from judge.reading("clients", 100 * number / maximum, "%", text)
    if blocked is None:
        yield from judge.unread("blocked_clients", facts.missing("blocked_clients"))
    else:
        text = f"{count_of(int(blocked), 'client waits', 'clients wait')} in a blocking command"
        yield from judge.reading("blocked_clients", blocked, "count", text)


def _setting(facts: RedisFacts, name: str) -> Optional[float]:
    text = facts.settings.get(name, "") if isinstance(facts.settings, Mapping) else ""
    return float(text) if text.isascii() and text.lstrip("-").isdigit() else None


def _counts(facts: RedisFacts, judge: Judge, counted: Mapping[str, Optional[Growth]]) -> Iterator[Finding]:
    evicted, rejected = counted["evicted_keys"], counted["rejected_connections"]
    if evicted is None:
        yield from judge.unread("evictions", facts.missing("evicted_keys"))
    else:
        text = f"{count_of(int(evicted.count), 'key')} evicted since {evicted.since}: {evicted.per(60):.3g} a minute"
        yield from judge.reading("evictions", evicted.per(60), "per_minute", text)
    if rejected is None:
        yield from judge.unread("rejected_connections", facts.missing("rejected_connections"))
    else:
        number = count_of(int(rejected.count), "connection")
        text = f"{number} rejected since {rejected.since}: {rejected.per(3600):.3g} an hour"
        yield from judge.reading("rejected_connections", rejected.per(3600), "per_hour", text)
    hits, misses = counted["keyspace_hits"], counted["keyspace_misses"]
    if hits is None or misses is None:
        yield from judge.unread("hit_ratio", facts.missing("keyspace_hits", "keyspace_misses"))
    elif hits.count + misses.count >= _FEW_LOOKUPS:
        lookups = hits.count + misses.count
        percent = 100 * hits.count / lookups
        text = f"{percent:.1f} % of {lookups:.0f} lookups found their key since {hits.since}"
        yield from judge.reading("hit_ratio", percent, "%", text)


def _slow_log(facts: RedisFacts, judge: Judge, moment: Moment) -> Iterator[Finding]:
    slower_than = _setting(facts, "slowlog-log-slower-than")
    if isinstance(facts.slow, Unread):
        yield from _no_slow_log(facts.slow, judge)
        return
    if slower_than is not None and slower_than < 0:
        off = "the slow log is switched off: CONFIG SET slowlog-log-slower-than 10000"
        yield from _no_slow_log(Unread(off), judge)
        return
    new, since = _new_entries(facts, facts.slow, moment)
    slowest = max(new, key=lambda one: one.seconds, default=None)
    at_least = "at least " if new and len(new) == len(facts.slow) else ""
    worst = f", the slowest {slowest.shape} with {human_duration(slowest.seconds)}" if slowest else ""
    text = f"{at_least}{count_of(len(new), 'slow command')} since {since}{worst}"
    yield from judge.reading("slow_log", len(new), "count", text)
    text = f"no slow command since {since}"
    if slowest is not None:
        text = f"{slowest.shape} took {human_duration(slowest.seconds)} and held up everybody else"
    yield from judge.reading("slowest_command", slowest.seconds if slowest else 0.0, "s", text)


def _no_slow_log(fact: Unread, judge: Judge) -> Iterator[Finding]:
    for check in ("slow_log", "slowest_command"):
        yield from judge.unread(check, fact)


def _new_entries(facts: RedisFacts, entries: tuple[SlowCommand, ...], moment: Moment) -> tuple[list[SlowCommand], str]:
    """Return what was logged since the last run; without one, in the last hour. The numbers begin anew at a start."""
    last = moment.previous.values.get("slow_log_id") if moment.previous is not None else None
    if last is not None and moment.previous is not None:
        elapsed = (moment.now - moment.previous.at).total_seconds()
        uptime = facts.number("uptime_in_seconds")
        if uptime is None or uptime >= elapsed:
            return [one for one in entries if one.id > last], "the last run"
        return list(entries), "its start"
    return [one for one in entries if one.at >= _server_time(facts, moment) - _RECENT], "an hour ago"


def _server_time(facts: RedisFacts, moment: Moment) -> float:
    micros = facts.number("server_time_usec")
    return micros / 1e6 if micros else moment.now.timestamp()


def _cluster(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    if facts.cluster is None:
        return
    if isinstance(facts.cluster, Unread):
        yield from judge.unread("cluster", facts.cluster)
        return
    state, assigned = facts.cluster.get("cluster_state", ""), facts.cluster.get("cluster_slots_assigned", "?")
    failing = {name: facts.cluster.get(f"cluster_slots_{name}", "0") for name in ("pfail", "fail")}
    suspect = any(number not in ("0", "") for number in failing.values())
    status = CRITICAL if state != "ok" else WARNING if suspect else OK
    text = f"cluster is {state or 'in no known state'}, {assigned} of 16384 slots assigned"
    yield from judge.fixed("cluster", status, f"{text}, {failing['fail']} failed, {failing['pfail']} suspected")
