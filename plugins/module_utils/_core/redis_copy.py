# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The facts of a Redis copy, and what a restored one must have in common with them.

A running server goes on while it writes its RDB, so that two kinds of facts are kept apart. ``loaded`` was read from
the RDB itself by a throwaway server and must come back exactly. ``observed`` was read from the live server right after
the save: the RDB may differ from it by as many keys as were changed, expired or evicted since, and by no more.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Iterable, Mapping, Optional, Tuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .result import CRITICAL, OK, UNKNOWN, WARNING, Finding
from .sealed import reading_manifest, seal, unseal
from .units import count_of

FORMAT = 1
FORM, RDB_FILE = "rdb", "dump.rdb"
COARSE_TTL_MS = 2000  # before Redis 7.0 a key's end is only known as the time that is left


@dataclass(frozen=True)
class DatabaseState:
    """One numbered database: its keys, and how many of them end by themselves."""

    index: int
    keys: int
    expires: int


@dataclass(frozen=True)
class KeyState:
    """One key. ``key`` is percent-encoded; ``expires_at_ms`` in Unix milliseconds; ``digest`` over the whole value,
    or over its size alone where it is too big to be read."""

    db: int
    key: str
    type: str
    expires_at_ms: Optional[int]
    digest: str

    def raw_key(self) -> bytes:
        """Return the key as Redis knows it."""
        return unquote_to_bytes(self.key)


@dataclass(frozen=True)
class RedisServerState:
    """The server that was copied. ``directory`` and ``filename`` are "" where it does not tell."""

    version: str
    run_id: str
    role: str
    port: int
    directory: str
    filename: str
    used_memory_bytes: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Observed:
    """The live server right after the save. ``changes``: how many keys it may be away from the RDB at most."""

    databases: Tuple[DatabaseState, ...]
    changes: int

    @property
    def keys(self) -> int:
        """Return the keys of all databases."""
        return sum(one.keys for one in self.databases)


@dataclass(frozen=True)
class Loaded:
    """What a server found in the RDB when it loaded it.

    ``keys`` and ``expired`` (not loaded, because their time was over) are None before Redis 7.0. ``digest`` is the
    server's own over every key and value, "" where a key ended before it was made.
    """

    version: str
    keys: Optional[int]
    expired: Optional[int]
    databases: Tuple[DatabaseState, ...]
    sample: Tuple[KeyState, ...]
    digest: str

    @property
    def total(self) -> Optional[int]:
        """Return how many keys the RDB holds."""
        return None if self.keys is None or self.expired is None else self.keys + self.expired


@dataclass(frozen=True)
class Payload:
    """The RDB file: what must be equal byte for byte. ``keys`` as counted by redis-check-rdb."""

    size_bytes: int
    sha256: str
    rdb_version: int
    keys: Optional[int]


@dataclass(frozen=True)
class RedisManifest:
    """All facts of one copy; ``loaded`` None: nobody loaded it when it was made."""

    product: str
    host: str
    name: str
    taken_at: str
    method: str
    server: RedisServerState
    payload: Payload
    observed: Observed
    sample: Tuple[KeyState, ...]
    loaded: Optional[Loaded] = None

    def to_json(self) -> str:
        """Return the text of the manifest file."""
        return seal(asdict(self), FORMAT)


def read_redis_manifest(text: str) -> RedisManifest:
    """Return the facts of a manifest file.

    Raises:
        PreconditionFailed: it is damaged, or of a newer format (code ``manifest_unreadable``).
    """
    with reading_manifest():
        data = unseal(text, FORMAT)
        loaded = data.pop("loaded")
        return RedisManifest(
            **{
                **data,
                "server": RedisServerState(**data["server"]),
                "payload": Payload(**data["payload"]),
                "observed": Observed(_databases(data["observed"]["databases"]), data["observed"]["changes"]),
                "sample": _sample(data["sample"]),
                "loaded": None if loaded is None else Loaded(
                    **{**loaded, "databases": _databases(loaded["databases"]), "sample": _sample(loaded["sample"])}
                ),
            }
        )  # fmt: skip


def _databases(listed: Iterable[Mapping[str, Any]]) -> Tuple[DatabaseState, ...]:
    return tuple(DatabaseState(**one) for one in listed)


def _sample(listed: Iterable[Mapping[str, Any]]) -> Tuple[KeyState, ...]:
    return tuple(KeyState(**one) for one in listed)


def encode_key(key: bytes) -> str:
    """Return a key as text that any file can hold.

    >>> encode_key(b"user:1\\xff")
    'user:1%FF'
    """
    return quote_from_bytes(key, safe="/:-_.{}@|,")


def digest_value(kind: str, value: Any) -> str:
    """Return a digest of a value that does not depend on the server's version, encoding or hash seed.

    ``value`` is what the driver returns: bytes, lists in their order, sets, mappings and pairs with scores.
    """
    made = hashlib.sha256(kind.encode())
    for part in _parts(value):
        made.update(b"%d:" % len(part))
        made.update(part)
    return made.hexdigest()


def _parts(value: Any) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Mapping):
        yield from _parts(sorted(value.items()))
    elif isinstance(value, (set, frozenset)):
        yield from _parts(sorted(value))
    elif isinstance(value, (list, tuple)):
        yield b"[%d" % len(value)
        for one in value:
            yield from _parts(one)
    else:
        yield repr(value).encode()


def steady(before: Iterable[KeyState], after: Iterable[KeyState]) -> Tuple[KeyState, ...]:
    """Return the keys that were the same before and after the save: they must be so in the RDB too."""
    return tuple(sorted(set(before) & set(after), key=lambda one: (one.db, one.key)))


def judge_against_live(manifest: RedisManifest) -> tuple[Finding, ...]:
    """Compare the RDB that was just taken with the server that it was taken from."""
    observed, loaded = manifest.observed, manifest.loaded
    total = loaded.total if loaded is not None and loaded.total is not None else manifest.payload.keys
    findings = [_count_against_live(total, observed)]
    if loaded is not None:
        known = {(one.db, one.key): one for one in loaded.sample}
        wrong = [one for one in manifest.sample if known.get((one.db, one.key)) not in (None, one)]
        missing = [one for one in manifest.sample if (one.db, one.key) not in known and one.expires_at_ms is None]
        if observed.keys:
            findings.append(_sample_against_live(len(manifest.sample), len(wrong) + len(missing), observed.changes))
    return tuple(findings)


def _count_against_live(total: Optional[int], observed: Observed) -> Finding:
    if total is None:
        return Finding("live_keys", UNKNOWN, "nobody counted the keys of the RDB", warning=observed.keys)
    away = abs(total - observed.keys)
    allowed = f"{observed.changes} changed meanwhile"
    text = f"{count_of(total, 'key')} in the RDB, {observed.keys} in the server afterwards, {allowed}"
    return Finding("live_keys", OK if away <= observed.changes else CRITICAL, text, total, "keys", observed.changes)


def _sample_against_live(compared: int, different: int, changes: int) -> Finding:
    text = f"{compared - different} of {count_of(compared, 'key')} that stood still during the save are in the RDB"
    if not compared:
        return Finding("live_sample", UNKNOWN, "no key stood still during the save", 0, "keys")
    # A key that was changed and changed back looks as if it had stood still: on a busy server only.
    status = OK if not different else WARNING if changes and different < compared else CRITICAL
    return Finding("live_sample", status, text, different, "keys")


def judge(manifest: RedisManifest, now: Loaded, now_ms: int, served: bool = False) -> tuple[Finding, ...]:
    """Compare what was loaded with the facts of the copy; ``served``: clients may have written since."""
    findings = [_judge_total(manifest, now, served), *_judge_lasting(manifest, now, served)]
    findings.append(_judge_sample(manifest, now, now_ms, served))
    if not served:
        findings.extend(_judge_digest(manifest, now))
    return tuple(findings)


def _judge_total(manifest: RedisManifest, now: Loaded, served: bool) -> Finding:
    then = manifest.loaded
    expected = then.total if then is not None and then.total is not None else manifest.payload.keys
    if now.total is None:
        return Finding("keys", UNKNOWN, "this server does not say how many keys it loaded (it does from 7.0 on)")
    expired = f" ({now.expired} of them over)" if now.expired else ""
    if expected is None:
        low, high = (
            manifest.observed.keys - manifest.observed.changes,
            manifest.observed.keys + manifest.observed.changes,
        )
        text = f"{count_of(now.total, 'key')} loaded{expired}, {low} to {high} expected"
        return Finding("keys", OK if low <= now.total <= high else CRITICAL, text, now.total, "keys")
    text = f"{count_of(now.total, 'key')} loaded{expired}, {expected} expected"
    return Finding("keys", OK if now.total == expected else CRITICAL, text, now.total, "keys")


def _judge_lasting(manifest: RedisManifest, now: Loaded, served: bool) -> tuple[Finding, ...]:
    """Keys without an end cannot go away by themselves: database by database they are as many as they were."""
    if manifest.loaded is None:
        return ()
    then = {one.index: one.keys - one.expires for one in manifest.loaded.databases}
    have = {one.index: one.keys - one.expires for one in now.databases}
    wrong = [index for index in sorted(then.keys() | have.keys()) if then.get(index, 0) != have.get(index, 0)]
    if not wrong:
        text = f"keys without an end are equal in {count_of(len(then), 'database')}"
        return (Finding("lasting_keys", OK, text, sum(have.values()), "keys"),)
    status = WARNING if served else CRITICAL
    return tuple(
        Finding(
            "lasting_keys",
            status,
            f"database {index}: {have.get(index, 0)} keys without an end, {then.get(index, 0)} expected",
            have.get(index, 0),
            "keys",
        )
        for index in wrong
    )


def _judge_sample(manifest: RedisManifest, now: Loaded, now_ms: int, served: bool) -> Finding:
    exact = manifest.loaded is not None
    expected = manifest.loaded.sample if manifest.loaded is not None else manifest.sample
    lasting = [one for one in expected if one.expires_at_ms is None or one.expires_at_ms > now_ms + COARSE_TTL_MS]
    known = {(one.db, one.key): one for one in now.sample}
    coarse = COARSE_TTL_MS if min(_major(manifest.server.version), _major(now.version)) < 7 else 0
    wrong = [one for one in lasting if not _same(one, known.get((one.db, one.key)), coarse)]
    over = f", {len(expected) - len(lasting)} over meanwhile" if len(lasting) < len(expected) else ""
    text = f"{len(lasting) - len(wrong)} of {count_of(len(lasting), 'sampled key')} equal in type, value and end{over}"
    all_wrong = bool(wrong) and len(wrong) == len(lasting)
    status = OK if not wrong else CRITICAL if all_wrong or (exact and not served) else WARNING
    return Finding("sample", status, text, len(wrong), "keys")


def _same(then: KeyState, now: Optional[KeyState], tolerance_ms: int) -> bool:
    if now is None or (then.type, then.digest) != (now.type, now.digest):
        return False
    if then.expires_at_ms is None or now.expires_at_ms is None:
        return then.expires_at_ms == now.expires_at_ms
    return abs(then.expires_at_ms - now.expires_at_ms) <= tolerance_ms


def _judge_digest(manifest: RedisManifest, now: Loaded) -> tuple[Finding, ...]:
    """Compare everything at once, where that means something: same release, and no key ended in between."""
    then = manifest.loaded
    if then is None or not then.digest or not now.digest:
        return ()
    if then.version.split(".")[:2] != now.version.split(".")[:2] or then.expired != now.expired:
        return ()
    same = then.digest == now.digest
    text = "the digest over every key and value is " + ("equal" if same else "another one")
    return (Finding("digest", OK if same else CRITICAL, text, now.digest),)


def _major(version: str) -> int:
    first = version.split(".", 1)[0]
    return int(first) if first.isdigit() else 0
