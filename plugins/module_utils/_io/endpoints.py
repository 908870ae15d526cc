# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask endpoints, many at a time, within one limit of time for all of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Callable, Optional, Sequence, Union
from urllib.parse import urlsplit

from .._core.certificate import CertificateLook
from .._core.endpoint import Attempt, DnsTarget, Endpoint, HttpTarget, Reading, TcpTarget, strangers
from .._core.errors import OpsError
from .._core.http_answer import judge
from .._core.rounds import Rounds
from .background import Background
from .certificate import look_at
from .http_client import HttpClient
from .network import Deadline, NoAnswer, connect_to, resolve

_GRACE = 1.0  # seconds beyond the limit for requests to notice that their time is over

Client = Union[HttpClient, OpsError]  # the latter: why there is none


@dataclass(frozen=True)
class _Seen:
    attempt: Attempt
    certificate: Optional[CertificateLook] = None


class EndpointSurvey:
    """Ask a number of endpoints; ``readings`` can be had while some are still being asked."""

    def __init__(self, endpoints: Sequence[Endpoint], client: Client, monotonic: Callable[[], float]) -> None:
        self._endpoints, self._client, self._monotonic = endpoints, client, monotonic
        self._blocked = [_blocked(one, client) for one in endpoints]
        self._open = [number for number, words in enumerate(self._blocked) if not words]
        self._rounds = Rounds([endpoints[number] for number in self._open])
        self._certificates: dict[int, CertificateLook] = {}
        self._turn = threading.Condition()
        self._bug: Optional[Exception] = None
        self._end = 0.0

    def run(self, workers: int, seconds: float) -> tuple[Reading, ...]:
        """Ask all endpoints with some threads and return what was seen within the time."""
        self._end = self._monotonic() + seconds
        wanted = sum(min(one.requests, one.concurrency) for one in self._endpoints)
        crew = [Background(self._work) for _number in range(max(1, min(workers, wanted)))]
        del crew  # each ends by itself, and none keeps the process alive
        with self._turn:
            self._turn.wait_for(lambda: self._bug or self._rounds.is_over, timeout=seconds + _GRACE)
            self._end = 0.0
            if self._bug is not None:
                raise self._bug
            return tuple(self._reading(number) for number in range(len(self._endpoints)))

    def _work(self) -> None:
        while True:
            number = self._take()
            if number is None:
                return
            endpoint = self._endpoints[self._open[number]]
            try:
                seen = ask(endpoint, self._client, min(endpoint.timeout, self._left()), self._monotonic)
            except Exception as error:  # noqa: BLE001  (a bug must not look like an endpoint that is down)
                with self._turn:
                    self._bug = error
                    self._turn.notify_all()
                return
            self._put(number, seen)

    def _left(self) -> float:
        return max(0.0, self._end - self._monotonic())

    def _take(self) -> Optional[int]:
        with self._turn:
            while True:
                if self._left() <= 0 or self._bug is not None or self._rounds.is_over:
                    self._turn.notify_all()
                    return None
                number = self._rounds.take()
                if number is not None:
                    return number
                self._turn.wait(timeout=self._left())

    def _put(self, number: int, seen: _Seen) -> None:
        with self._turn:
            seconds = self._endpoints[self._open[number]].timeout
            if self._left() > 0 or seen.attempt.answered or seen.attempt.seconds > 0.95 * seconds:
                self._rounds.put(number, seen.attempt)
            else:  # it was cut short by the limit for all, and says nothing
                self._rounds.drop(number)
            known = self._certificates.get(number)
            if seen.certificate is not None and (known is None or known.certificate is None):
                self._certificates[number] = seen.certificate
            self._turn.notify_all()

    def _reading(self, number: int) -> Reading:
        endpoint = self._endpoints[number]
        if self._blocked[number]:
            return Reading(endpoint, blocked=self._blocked[number])
        place = self._open.index(number)
        return Reading(endpoint, self._rounds.attempts(place), self._certificates.get(place))


def _blocked(endpoint: Endpoint, client: Client) -> str:
    """Return why an endpoint cannot be asked from this host, or nothing."""
    target = endpoint.target
    if isinstance(target, DnsTarget) or (isinstance(target, TcpTarget) and not target.tls):
        return ""
    if isinstance(client, OpsError):
        return f"{client.message}: {client.hint}" if client.hint else client.message
    try:
        if isinstance(target, HttpTarget):
            client.prepare(target.request)
        else:
            client.context(target.ca_cert, target.validate_certs)
    except OpsError as error:
        return error.message
    return ""


def ask(endpoint: Endpoint, client: Client, seconds: float, monotonic: Callable[[], float]) -> _Seen:
    """Send one request to an endpoint and judge what comes back."""
    target, began = endpoint.target, monotonic()
    try:
        if isinstance(target, HttpTarget):
            if not isinstance(client, HttpClient):
                raise AssertionError("without a client nothing is asked, see _blocked")
            return _ask_http(target, client, seconds)
        if isinstance(target, TcpTarget):
            return _ask_tcp(target, client, seconds, monotonic)
        return _ask_dns(target, seconds, monotonic)
    except NoAnswer as error:
        attempt = Attempt(monotonic() - began, error.message, answered=False)
        return _Seen(attempt, _distrusted(error, client, seconds - attempt.seconds))


def _distrusted(error: NoAnswer, client: Client, seconds: float) -> Optional[CertificateLook]:
    """Look at a certificate that was refused: why is worth another connection."""
    if error.server is None or not isinstance(client, HttpClient):
        return None
    try:
        return look_at(error.server[2], client.peek(error.server, seconds), error.distrust)
    except NoAnswer as again:
        return CertificateLook(error.server[2], trouble=again.message, distrust=error.distrust)


def _ask_http(target: HttpTarget, client: HttpClient, seconds: float) -> _Seen:
    done = client.ask(target.request, seconds)
    attempt = Attempt(
        done.seconds,
        judge(target.expected, done.answer),
        status=done.answer.status,
        address=done.address,
        phases=done.phases,
    )
    parts = urlsplit(done.url)
    return _Seen(attempt, look_at(parts.hostname or "", done.certificate) if parts.scheme == "https" else None)


def _ask_tcp(target: TcpTarget, client: Client, seconds: float, monotonic: Callable[[], float]) -> _Seen:
    began = monotonic()
    with Deadline(seconds, monotonic) as deadline:
        if target.tls and isinstance(client, HttpClient):
            context = client.context(target.ca_cert, target.validate_certs)
            der, address = client.handshake((target.host, target.port, target.host), context, deadline)
            return _Seen(Attempt(monotonic() - began, address=address), look_at(target.host, der))
        candidates = resolve(target.host, target.port, "any", deadline.left())
        with connect_to(candidates, deadline) as connection:
            address = str(connection.getpeername()[0])
    return _Seen(Attempt(monotonic() - began, address=address))


def _ask_dns(target: DnsTarget, seconds: float, monotonic: Callable[[], float]) -> _Seen:
    began = monotonic()
    found = tuple(str(address[0]) for _family, address in resolve(target.host, 0, target.family, seconds))
    wrong = strangers(found, target.addresses) if target.addresses else ()
    failure = f"resolves to {', '.join(wrong[:5])}, which it must not" if wrong else None
    return _Seen(Attempt(monotonic() - began, failure, address=", ".join(found[:10])))
