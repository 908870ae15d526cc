# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Connections that end in time: names resolved, addresses checked before they are connected to, and a watch on each."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from functools import partial
from typing import Any, Callable, Iterator, Optional
from urllib.parse import urlsplit

from .._core.errors import OpsError, TimedOut
from .._core.redact import printable, redact_text
from .background import Background

_FAMILIES = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class NoAnswer(OpsError):
    """Nothing came back that could be judged.

    ``distrust`` is why the certificate of ``server`` (address, port, host name) was refused.
    """

    default_code = "no_answer"

    def __init__(self, message: str, *, distrust: str = "", server: Optional[tuple[str, int, str]] = None) -> None:
        super().__init__(message)
        self.distrust, self.server = distrust, server


class Deadline:
    """An end for everything that happens on one socket, however slowly it keeps coming: the socket is shut down."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self.seconds = max(0.0, seconds)
        self._monotonic = monotonic
        self._end = monotonic() + self.seconds
        self._watched: Optional[socket.socket] = None
        self._lock = threading.Lock()
        self._is_cut = False
        self._timer = threading.Timer(self.seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        self._release()

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            NoAnswer: there are none.
        """
        seconds = self._end - self._monotonic()
        if self._is_cut or seconds <= 0:
            raise NoAnswer(self.words())
        return seconds

    def words(self) -> str:
        """Return what is said when the time is over."""
        return f"no answer within {self.seconds:.1f} s"

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection down when the time is over, and no other any more.

        A duplicate is kept, because TLS takes the socket itself apart.
        """
        self._release()
        with self._lock:
            self._watched = connection.dup()
        self.left()

    def _release(self) -> None:
        with self._lock:
            watched, self._watched = self._watched, None
        if watched is not None:
            watched.close()

    def _cut(self) -> None:
        with self._lock:
            self._is_cut = True
            if self._watched is not None:
                with contextlib.suppress(OSError):  # closed by the other side
                    self._watched.shutdown(socket.SHUT_RDWR)


def resolve(host: str, port: int, family: str, seconds: float) -> tuple[tuple[Any, Any], ...]:
    """Return the socket family and address of each address of a host, in the order of the system's preference.

    Raises:
        NoAnswer: there is no such name, or no answer within ``seconds``.
    """
    bare = host.strip("[]")
    look = partial(socket.getaddrinfo, bare, port, _FAMILIES[family], socket.SOCK_STREAM)
    try:
        found = Background(look).result(seconds)
    except TimedOut:
        raise NoAnswer(f"the name {printable(bare, 80)} was not resolved within {seconds:.1f} s") from None
    except (OSError, UnicodeError) as error:
        raise NoAnswer(f"the name {printable(bare, 80)} does not resolve: {words_of(error)}") from error
    return tuple(dict.fromkeys((family_, address) for family_, _type, _protocol, _name, address in found))


def connect_to(candidates: tuple[tuple[Any, Any], ...], deadline: Deadline) -> socket.socket:
    """Return a connection to the first address that accepts one; each gets its share of the time.

    Raises:
        NoAnswer: none does.
    """
    reason = ""
    for number, (family, address) in enumerate(candidates):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(deadline.left() / (len(candidates) - number))
            connection.connect(address)
            connection.settimeout(deadline.left())
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            deadline.watch(connection)
        except (OSError, NoAnswer) as error:
            connection.close()
            reason = f"{address[0]} port {address[1]}: {words_of(error)}"
        else:
            return connection
    raise NoAnswer(f"no connection to {reason}")


def origin_of(url: str) -> tuple[str, Optional[str], int]:
    """Return whom secrets for an address may be sent to: scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def words_of(error: BaseException) -> str:
    """Return one line for an error, without secrets and control characters."""
    if isinstance(error, OpsError):
        return error.message
    if isinstance(error, socket.timeout):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redact_text(printable(str(text), 200))


def root_of(error: BaseException) -> BaseException:
    """Return the deepest error that says what happened: libraries wrap it in words with the whole address."""
    deepest = error
    for one in _chain(error, set()):
        if isinstance(one, (OpsError, OSError, http.client.HTTPException, ValueError)):
            deepest = one
    return deepest


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    if isinstance(error, OpsError):
        return
    inner = [getattr(error, "reason", None), *error.args, error.__cause__]
    if not isinstance(error, http.client.HTTPException):  # behind "bad status line" is only how its number was read
        inner.append(error.__context__)
    for one in inner:
        if isinstance(one, BaseException):
            yield from _chain(one, seen)
