"""What the faults of Redis have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.redis_copies import back_up
from tests.support.redis_servers import TestRedis, fill, redis_servers
from tests.support.repositories import TestRepository, make_repository


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[Callable[..., TestRedis]]:
    with redis_servers(tmp_path / "servers") as make:
        yield make


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def redis(repository: TestRepository, make_redis: Callable[..., TestRedis]) -> TestRedis:
    """A server with one good copy."""
    server = make_redis(save="3600 1")
    fill(server)
    back_up(repository, server)
    return server
