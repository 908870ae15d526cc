# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is returned about a Redis server: samples for its history, and the facts themselves."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional

from .counters import Growth
from .number import parse_number
from .readings import NAMED
from .redis_durability import REPLICA, label_of, replicas_in
from .redis_facts import RedisFacts, databases_in
from .samples import Sample

_DATABASES = 16


def samples_of(facts: RedisFacts, counted: Mapping[str, Optional[Growth]]) -> Iterator[Sample]:
    """Yield what is kept as history."""
    labels = {"server": facts.server}
    for metric, name, unit in (
        ("redis.memory.used", "used_memory", "bytes"),
        ("redis.memory.rss", "used_memory_rss", "bytes"),
        ("redis.clients", "connected_clients", "count"),
        ("redis.commands", "instantaneous_ops_per_sec", "per_second"),
    ):
        number = facts.number(name)
        if number is not None:
            yield Sample(metric, number, unit, labels)
    for metric, used, limit in (
        ("redis.memory.used_percent", facts.number("used_memory"), facts.number("maxmemory")),
        ("redis.clients.used_percent", facts.number("connected_clients"), facts.number("maxclients")),
    ):
        if used is not None and limit:
            yield Sample(metric, round(100 * used / limit, 3), "percent", labels)
    yield from _of_counts(counted, labels)
    if isinstance(facts.pings, tuple):
        yield Sample("redis.latency.worst", round(max(facts.pings), 6), "seconds", labels)
    if isinstance(facts.info, Mapping):
        for index, keys, _expires in databases_in(facts.info)[:_DATABASES]:
            yield Sample("redis.keys", keys, "count", {**labels, "database": str(index)})
        for replica in replicas_in(facts.info)[:NAMED]:
            lag = parse_number(replica.get("lag"))
            if lag is not None:
                yield Sample(
                    "redis.replication.lag", max(0.0, lag), "seconds", {**labels, "replica": label_of(replica)}
                )


def _of_counts(counted: Mapping[str, Optional[Growth]], labels: Mapping[str, str]) -> Iterator[Sample]:
    evicted, hits, misses = (counted[name] for name in ("evicted_keys", "keyspace_hits", "keyspace_misses"))
    if evicted is not None:
        yield Sample("redis.evictions", round(evicted.per(60), 4), "per_minute", labels)
    if hits is not None and misses is not None and hits.count + misses.count > 0:
        percent = 100 * hits.count / (hits.count + misses.count)
        yield Sample("redis.hit_ratio", round(percent, 3), "percent", labels)


def render_redis(facts: RedisFacts) -> dict[str, Any]:
    """Return the facts for who wants to know more; null is what could not be read."""
    info = facts.info if isinstance(facts.info, Mapping) else {}
    slow = sorted(facts.slow, key=lambda one: -one.seconds)[:NAMED] if isinstance(facts.slow, tuple) else []
    role = facts.text("role")
    return {
        "server": facts.server,
        "version": facts.text("redis_version") or None,
        "role": (REPLICA if role == "slave" else role) or None,
        "uptime_seconds": facts.number("uptime_in_seconds"),
        "used_memory_bytes": facts.number("used_memory"),
        "maxmemory_bytes": facts.number("maxmemory"),
        "maxmemory_policy": facts.text("maxmemory_policy") or None,
        "connected_clients": facts.number("connected_clients"),
        "databases": [{"database": db, "keys": keys, "expires": expires} for db, keys, expires in databases_in(info)],
        "replicas": [_render_replica(one, facts.number("master_repl_offset")) for one in replicas_in(info)[:NAMED]],
        "slow_commands": [{"command": one.shape, "seconds": one.seconds} for one in slow],
    }


def _render_replica(replica: Mapping[str, Any], here: Optional[float]) -> dict[str, Any]:
    offset = parse_number(replica.get("offset"))
    return {
        "address": label_of(replica),
        "state": str(replica.get("state", ""))[:40],
        "lag_seconds": parse_number(replica.get("lag")),
        "lag_bytes": max(0.0, here - offset) if here is not None and offset is not None else None,
    }
