# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask a Redis server how it is: a few PINGs, one INFO, its settings and its slow log."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, TypeVar, Union

from .._core.errors import OpsError, TimedOut
from .._core.readings import Unread
from .._core.redis_facts import RedisFacts, SlowCommand, parse_cluster, parse_slow_log
from .background import Background
from .clock import Clock
from .redis_server import RedisFailed, RedisServer

_SLOW_ENTRIES = 128
_SETTINGS = ("save", "maxclients", "slowlog-log-slower-than")
_REFUSALS = ("insufficient_privilege", "unknown_command")

T = TypeVar("T")


def read_redis(server: RedisServer, clock: Clock, pings: int, seconds: float) -> RedisFacts:
    """Return the facts within ``seconds``, however slowly the answers come; half of them is for the last question."""
    interview = Background(lambda: _Interview(server, clock, clock.monotonic() + seconds / 2).hold(pings))
    try:
        return interview.result(seconds)
    except TimedOut as error:
        label = server.target.label()
        return RedisFacts(label, f"ask redis {label}: {error.message}, its answer never ended", error.code)


class _Interview:
    """The questions to one server."""

    def __init__(self, server: RedisServer, clock: Clock, deadline: float) -> None:
        self._server = server
        self._clock = clock
        self._deadline = deadline
        self._label = server.target.label()
        self._user = server.target.username or "default"

    def hold(self, pings: int) -> RedisFacts:
        """Ask everything; the first answer tells whether there is somebody."""
        try:
            times = self._ping(pings)
            info = self._ask("+info", "INFO", self._server.info)
        except OpsError as error:
            return RedisFacts(self._label, error.words(), error.code)
        in_cluster = isinstance(info, Mapping) and info.get("cluster_enabled") in (1, "1")
        return RedisFacts(
            self._label,
            info=info,
            pings=times,
            settings=self._later("+config|get", "CONFIG", self._settings),
            slow=self._later("+slowlog|get", "SLOWLOG", self._slow_log),
            cluster=self._later("+cluster|info", "CLUSTER", self._cluster) if in_cluster else None,
        )

    def _ping(self, number: int) -> Union[tuple[float, ...], Unread]:
        """Return how long each answer took; the first one, which waits for the connection, does not count."""
        times = []
        for _number in range(number + 1):
            begun = self._clock.monotonic()
            try:
                self._server.call("PING")
            except RedisFailed as error:
                if error.code == "server_loading":
                    return Unread("latency is not known: the server loads its data")
                if error.code in _REFUSALS:
                    return self._refused("+ping", "PING")
                raise
            times.append(self._clock.monotonic() - begun)
            if len(times) > 1 and self._clock.monotonic() >= self._deadline:
                break
        return tuple(times[1:])

    def _ask(self, right: str, command: str, question: Callable[[], T]) -> Union[T, Unread]:
        """Return the answer; Unread when the user may not ask.

        Raises:
            RedisFailed: there is no answer.
        """
        try:
            return question()
        except RedisFailed as error:
            if error.code not in _REFUSALS:
                raise
            return self._refused(right, command) if error.code == _REFUSALS[0] else self._not_offered(command)

    def _later(self, right: str, command: str, question: Callable[[], Optional[T]]) -> Union[T, Unread]:
        """Return the answer to what matters less: Unread also when the server has stopped to answer."""
        if self._clock.monotonic() >= self._deadline:
            return Unread(f"{command} was not asked for: the time is up, give a longer timeout")
        try:
            answer = self._ask(right, command, question)
        except OpsError as error:
            return Unread(error.message)
        return Unread(f"the answer to {command} makes no sense") if answer is None else answer

    def _refused(self, right: str, command: str) -> Unread:
        return Unread(f"user {self._user} may not run {command}: ACL SETUSER {self._user} {right}")

    def _not_offered(self, command: str) -> Unread:
        return Unread(f"the server does not offer {command} (managed, or the command was renamed)")

    def _settings(self) -> Mapping[str, str]:
        return {name: _pairs(self._server.call("CONFIG", "GET", name)).get(name, "") for name in _SETTINGS}

    def _slow_log(self) -> Optional[tuple[SlowCommand, ...]]:
        return parse_slow_log(self._server.call("SLOWLOG", "GET", _SLOW_ENTRIES))

    def _cluster(self) -> Mapping[str, str]:
        return parse_cluster(_text(self._server.call("CLUSTER", "INFO")))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _pairs(answer: Any) -> dict[str, str]:
    texts = [_text(one) for one in answer] if isinstance(answer, list) else []
    return dict(zip(texts[::2], texts[1::2]))
