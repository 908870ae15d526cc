# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the facts of a Redis server: who it is, what is in it, and a sample of keys with their values' digests."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional

from .._core.redis_copy import DatabaseState, KeyState, Loaded, RedisServerState, digest_value, encode_key
from .redis_server import RedisFailed, RedisServer

_SETTINGS = ("save", "appendonly", "maxmemory", "maxmemory-policy", "databases", "rdbchecksum")
_LARGEST_STRING = 1 << 20
_LARGEST_COLLECTION = 5000
_SCAN_ROUNDS = 50
_READ: Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    # type: how to ask for its size, and for the whole of it; {} is the key
    "string": (("STRLEN",), ("GET",)),
    "list": (("LLEN",), ("LRANGE", 0, -1)),
    "set": (("SCARD",), ("SMEMBERS",)),
    "zset": (("ZCARD",), ("ZRANGE", 0, -1, "WITHSCORES")),
    "hash": (("HLEN",), ("HGETALL",)),
    "stream": (("XLEN",), ("XRANGE", "-", "+")),
}


def read_server(server: RedisServer, info: Mapping[str, Any]) -> RedisServerState:
    """Return who the server is."""
    settings = {name: value for name in _SETTINGS if (value := server.setting(name)) is not None}
    return RedisServerState(
        version=str(info.get("redis_version", "")),
        run_id=str(info.get("run_id", "")),
        role=str(info.get("role", "")),
        port=int(info.get("tcp_port", 0)),
        directory=server.setting("dir") or "",
        filename=server.setting("dbfilename") or "",
        used_memory_bytes=int(info.get("used_memory", 0)),
        settings=settings,
    )


def databases_of(info: Mapping[str, Any]) -> tuple[DatabaseState, ...]:
    """Return the numbered databases that hold a key."""
    found = [
        DatabaseState(int(name[2:]), int(value["keys"]), int(value["expires"]))
        for name, value in info.items()
        if name.startswith("db") and name[2:].isdigit() and isinstance(value, dict)
    ]
    return tuple(sorted(found, key=lambda one: one.index))


def choose_keys(server: RedisServer, databases: Iterable[DatabaseState], limit: int) -> list[tuple[int, bytes]]:
    """Return up to ``limit`` keys of each database, as the server's hash (other at each start) puts them."""
    chosen: list[tuple[int, bytes]] = []
    for database in databases:
        keys: dict[bytes, None] = {}
        cursor, rounds = 0, 0
        while len(keys) < limit and rounds < _SCAN_ROUNDS:
            cursor, found = server.scan(cursor, max(limit, 10), database.index)
            keys.update(dict.fromkeys(found))
            rounds += 1
            if cursor == 0:
                break
        chosen.extend((database.index, key) for key in list(keys)[:limit])
    return chosen


def read_keys(server: RedisServer, chosen: Iterable[tuple[int, bytes]]) -> tuple[KeyState, ...]:
    """Return type, end and digest of some keys; one that is not there (any more) is left out."""
    by_database: dict[int, list[bytes]] = {}
    for index, key in chosen:
        by_database.setdefault(index, []).append(key)
    return tuple(state for index, keys in sorted(by_database.items()) for state in _read_in(server, index, keys))


def _read_in(server: RedisServer, index: int, keys: list[bytes]) -> list[KeyState]:
    kinds = [_plain(answer) for answer in server.batch([("TYPE", key) for key in keys], db=index)]
    present = [(key, kind) for key, kind in zip(keys, kinds) if kind != "none"]
    ends = _read_ends(server, index, [key for key, _kind in present])
    digests = _read_digests(server, index, present)
    return [
        KeyState(index, encode_key(key), kind, end, digest)
        for (key, kind), end, digest in zip(present, ends, digests)
        if end != -2 and digest is not None
    ]


def _read_ends(server: RedisServer, index: int, keys: list[bytes]) -> list[Optional[int]]:
    """Return each key's end in Unix milliseconds, None without one, -2 where the key is gone."""
    exact = server.batch([("PEXPIRETIME", key) for key in keys], db=index)
    if any(isinstance(answer, Exception) for answer in exact):  # before 7.0: only the time that is left
        now = server.now_ms()
        left = server.batch([("PTTL", key) for key in keys], db=index)
        exact = [now + int(answer) if int(answer) >= 0 else int(answer) for answer in left]
    return [None if int(answer) == -1 else int(answer) for answer in exact]


def _read_digests(server: RedisServer, index: int, keys: list[tuple[bytes, str]]) -> list[Optional[str]]:
    known = [(key, kind) for key, kind in keys if kind in _READ]
    sizes = server.batch([(_READ[kind][0][0], key) for key, kind in known], db=index)
    size_of = dict(zip((key for key, _kind in known), sizes))
    small = [(key, kind) for key, kind in known if _is_small(kind, size_of[key])]
    values = dict(
        zip(
            (key for key, _kind in small),
            server.batch([(_READ[kind][1][0], key, *_READ[kind][1][1:]) for key, kind in small], db=index),
        )
    )
    return [_digest(key, kind, size_of, values) for key, kind in keys]


def _is_small(kind: str, size: Any) -> bool:
    return isinstance(size, int) and size <= (_LARGEST_STRING if kind == "string" else _LARGEST_COLLECTION)


def _digest(key: bytes, kind: str, sizes: Mapping[bytes, Any], values: Mapping[bytes, Any]) -> Optional[str]:
    """Return the digest; None where the key changed its type or went away between two questions."""
    if key in values:
        value = values[key]
        return None if isinstance(value, Exception) or value is None else digest_value(kind, value)
    size = sizes.get(key, "")
    return None if isinstance(size, Exception) else f"size:{size}"


def _plain(answer: Any) -> str:
    return answer.decode("ascii", "replace") if isinstance(answer, bytes) else str(answer)


def read_loaded(server: RedisServer, chosen: Optional[Iterable[tuple[int, bytes]]], limit: int) -> Loaded:
    """Return what a throwaway server found in an RDB; ``chosen`` keys, and up to ``limit`` more of each database."""
    info = server.info()
    databases = databases_of(info)
    keys = dict.fromkeys([*(chosen or ()), *choose_keys(server, databases, limit)])
    digest = _whole_digest(server, info)
    return loaded_from(info, read_keys(server, keys), digest)


def loaded_from(info: Mapping[str, Any], sample: tuple[KeyState, ...], digest: str = "") -> Loaded:
    """Return what a server says that it loaded."""
    keys, expired = info.get("rdb_last_load_keys_loaded"), info.get("rdb_last_load_keys_expired")
    return Loaded(
        version=str(info.get("redis_version", "")),
        keys=None if keys is None else int(keys),
        expired=None if expired is None else int(expired),
        databases=databases_of(info),
        sample=sample,
        digest=digest,
    )


def _whole_digest(server: RedisServer, info: Mapping[str, Any]) -> str:
    """Return the server's digest over everything; "" when a key has ended since it was loaded, or none can be had."""
    try:
        digest = _plain(server.call("DEBUG", "DIGEST"))
    except RedisFailed as error:
        if error.code in ("redis_failed", "unknown_command", "insufficient_privilege"):
            return ""
        raise
    held = sum(one.keys for one in databases_of(server.info("keyspace")))
    return digest if held == info.get("rdb_last_load_keys_loaded", held) else ""
