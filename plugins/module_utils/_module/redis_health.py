# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""redis_health_info: options to limits, one look, verdicts."""

from __future__ import annotations

from dataclasses import replace

from .._core.counters import read_previous
from .._core.errors import InvalidValue
from .._core.redis_health import Expected, Moment, decide, read_redis_limits
from .._core.result import Decision
from .._io.redis_health import read_redis
from .._io.redis_server import RedisServer
from .info import InfoOperation
from .ranges import bounded, positive_duration
from .redis_options import redis_spec, redis_target
from .run import Task
from .spec import ArgumentSpec


def redis_health_spec() -> ArgumentSpec:
    """Return the options of a look at a Redis server."""
    return ArgumentSpec(
        {
            "expected_role": {"type": "str", "choices": ["any", "master", "replica"], "default": "any"},
            "expected_replicas": {"type": "int"},
            "pings": {"type": "int", "default": 10},
            "timeout": {"type": "str", "default": "20s"},
            "previous": {"type": "dict", "default": {}},
            "limits": {"type": "dict", "default": {}},
        }
    ).merge(redis_spec())


class RedisHealth(InfoOperation):
    """Look whether a Redis server is well."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._clock = task.clock
        self._limits = read_redis_limits(params["limits"])
        self._previous = read_previous(params["previous"])
        role, replicas = params["expected_role"], params["expected_replicas"]
        self._pings = bounded(params, "pings", 1, 1000)
        timeout = positive_duration(params, "timeout")
        if replicas is not None and replicas < 0:
            raise InvalidValue("expected_replicas must not be negative")
        self._expected = Expected("" if role == "any" else role, replicas)
        self._timeout = timeout
        target = redis_target(params)
        self._server = RedisServer(replace(target, timeout=min(target.timeout, timeout / 2), client_name=""))

    def decide(self) -> Decision:
        """Read the server against its limits."""
        facts = read_redis(self._server, self._clock, self._pings, self._timeout)
        return decide(facts, self._limits, self._expected, Moment(self._clock.now(), self._previous))

    def close(self) -> None:
        """Close the connection."""
        self._server.close()
