"""What an older Redis does not say (counter of saves, keys loaded, ends of keys) is found out in other ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.redis_facts import choose_keys, databases_of, read_keys
from plugins.module_utils._io.redis_save import save
from plugins.module_utils._io.redis_server import RedisServer, RedisTarget
from tests.support.redis_servers import TestRedis, fill, redis_servers

NEWER = ("rdb_saves", "rdb_last_load_keys_loaded", "rdb_last_load_keys_expired")


class OldServer(RedisServer):
    """A real server that answers as Redis 6 does."""

    def info(self, section: str = "everything") -> dict[str, Any]:
        return {name: value for name, value in super().info(section).items() if name not in NEWER}

    def batch(self, commands: list[tuple[Any, ...]], db: int = 0) -> list[Any]:
        if commands and commands[0][0] == "PEXPIRETIME":
            return [redis.exceptions.ResponseError("unknown command") for _unused in commands]
        return super().batch(commands, db)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[TestRedis]:
    with redis_servers(tmp_path) as make:
        server = make()
        fill(server)
        yield server


def test_each_save_is_known_by_its_second(running: TestRedis) -> None:
    with OldServer(RedisTarget(port=running.port)) as server:
        seconds = [save(server, SystemClock(), 30).ended for _unused in range(3)]
    assert sorted(set(seconds)) == seconds


def test_the_end_of_a_key_is_known_by_the_time_that_is_left(running: TestRedis) -> None:
    with OldServer(RedisTarget(port=running.port)) as old, RedisServer(RedisTarget(port=running.port)) as new:
        keys = choose_keys(new, databases_of(new.info()), 1000)
        exact = {one.key: one.expires_at_ms for one in read_keys(new, keys)}
        for one in read_keys(old, keys):
            end = exact[one.key]
            assert (one.expires_at_ms is None) == (end is None)
            assert end is None or abs((one.expires_at_ms or 0) - end) < 2000
