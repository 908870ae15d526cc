# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The port to a Redis server: redis-py, with every failure as an error with a stable code."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Optional

from .._core.errors import OpsError, PreconditionFailed
from .._core.redact import printable

DEFAULT_PORT = 6379


class RedisFailed(OpsError):
    """The server refused a connection or a command."""

    default_code = "redis_failed"


@dataclass(frozen=True)
class RedisTarget:
    """Where and how to connect: never print ``password``. ``timeout`` in seconds, of one command.

    ``client_name`` is what the server shows for us; "" needs no right to set it.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    unix_socket: str = ""
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_cert: str = ""
    timeout: float = 30.0
    client_name: str = "oncall.runbooks"

    def label(self) -> str:
        """Return the target for messages."""
        return self.unix_socket or f"{self.host}:{self.port}"

    def is_near(self) -> bool:
        """Tell whether the server may be on this very host."""
        return bool(self.unix_socket) or self.host in ("localhost", "::1") or self.host.startswith("127.")


class RedisServer:
    """One server. It connects with the first command; each numbered database has a connection of its own."""

    def __init__(self, target: RedisTarget) -> None:
        self.target = target
        self._clients: dict[int, Any] = {}
        self._config_refused = False

    def info(self, section: str = "everything") -> Mapping[str, Any]:
        """Return the server's facts by their own names; one call is one instant."""
        answer: Mapping[str, Any] = self.call("INFO", section)
        return answer

    def call(self, *arguments: Any, db: int = 0) -> Any:
        """Carry out one command.

        Raises:
            RedisFailed: with a stable code.
        """
        with self._failing(str(arguments[0])):
            return self.client(db).execute_command(*arguments)

    def batch(self, commands: list[tuple[Any, ...]], db: int = 0) -> list[Any]:
        """Carry out many commands in one round trip; the answer of one that failed is its exception."""
        if not commands:
            return []
        with self._failing(str(commands[0][0])):
            pipeline = self.client(db).pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            return answers

    def scan(self, cursor: int, count: int, db: int) -> tuple[int, list[bytes]]:
        """Return the next cursor and some keys."""
        after, keys = self.call("SCAN", cursor, "COUNT", count, db=db)
        return int(after), list(keys)

    def setting(self, name: str) -> Optional[str]:
        """Return a setting, None where the server does not have it or does not tell (managed servers)."""
        if self._config_refused:
            return None
        try:
            answer = self.call("CONFIG", "GET", name)
        except RedisFailed as error:
            if error.code not in ("insufficient_privilege", "unknown_command"):
                raise
            self._config_refused = True
            return None
        texts = [_text(one) for one in answer]
        return dict(zip(texts[::2], texts[1::2])).get(name)

    def now_ms(self) -> int:
        """Return the server's own clock in Unix milliseconds."""
        seconds, micros = self.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def client(self, db: int = 0) -> Any:
        """Return the driver's client for a numbered database."""
        if db not in self._clients:
            self._clients[db] = _make_client(self.target, db)
        return self._clients[db]

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            with contextlib.suppress(OSError):
                client.close()
        self._clients.clear()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        exceptions = _driver().exceptions
        try:
            yield
        except exceptions.RedisError as error:
            self.close()  # what is half read must not be the next command's answer
            code, hint = _meaning(error, exceptions)
            raise RedisFailed(
                f"{what} on redis {self.target.label()}: {printable(str(error), 300)}", code=code, hint=hint
            ) from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:  # the driver could not read the answer
            self.close()
            raise RedisFailed(
                f"{what} on redis {self.target.label()}: the answer makes no sense", hint="is it a Redis server?"
            ) from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _meaning(error: Exception, exceptions: Any) -> tuple[str, str]:
    """Return a stable code and what to do next."""
    text = str(error)
    if isinstance(error, exceptions.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return "authentication_failed", "check redis_username and redis_password"
    if isinstance(error, (exceptions.NoPermissionError,)) or text.startswith("NOPERM"):
        return "insufficient_privilege", "give the user the right to this command (ACL SETUSER)"
    if isinstance(error, exceptions.BusyLoadingError) or text.startswith("LOADING"):
        return "server_loading", "wait until the server has loaded its data"
    if isinstance(error, exceptions.TimeoutError):
        return "timed_out", "the server is stuck or too busy; choose a longer redis_timeout"
    if isinstance(error, exceptions.ConnectionError):
        return "connection_failed", "check address, TLS, and that the server runs"
    if text.lower().startswith("unknown command") or text.lower().startswith("unknown subcommand"):
        return "unknown_command", "the server is too old, or its commands were renamed"
    return "redis_failed", "read the server's answer"


def _driver() -> Any:
    """Return redis-py.

    Raises:
        PreconditionFailed: it is not installed (code ``driver_missing``).
    """
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ImportError as error:
        raise PreconditionFailed(
            f"redis-py cannot be imported on this host: {error}",
            code="driver_missing",
            hint="install the package python3-redis, or redis with pip, for the interpreter that runs the modules",
        ) from error
    return redis


def _make_client(target: RedisTarget, db: int) -> Any:
    redis = _driver()
    options: dict[str, Any] = {
        "db": db,
        "username": target.username or None,
        "password": target.password or None,
        "socket_timeout": target.timeout,
        "socket_connect_timeout": min(target.timeout, 10.0),
        "retry": redis.retry.Retry(
            redis.backoff.NoBackoff(), 0
        ),  # a command that was sent twice could be carried out twice
        "client_name": target.client_name or None,
    }
    if int(redis.__version__.split(".")[0]) >= 5:
        options["protocol"] = 2  # answers in the same form whatever the driver's release: digests are made of them
    if target.unix_socket:
        return redis.Redis(unix_socket_path=target.unix_socket, **options)
    if target.tls:
        options.update(ssl=True, ssl_ca_certs=target.ca_cert or None)
    return redis.Redis(host=target.host, port=target.port, **options)
