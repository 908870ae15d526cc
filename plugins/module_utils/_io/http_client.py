# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask over HTTP what may be hostile: every answer is bounded in time and size, and secrets stay with their origin."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Mapping, Optional
from urllib.parse import urlencode, urljoin, urlsplit

from .._core.endpoint import HttpRequest
from .._core.errors import InvalidValue, OpsError, PreconditionFailed
from .._core.http_address import kind_of, may_lead_to
from .._core.http_answer import MOVED, Answer
from .._core.probe import check_url
from .._core.redact import printable, redact_text
from .certificate import tls_context
from .http_adapter import ERRORS, Trip, TripAdapter, environment_proxies, is_there, prepared
from .network import Deadline, NoAnswer, connect_to, origin_of, resolve, root_of, words_of

_REDIRECTS = 5
_PIECE = 65536
_HEADERS, _HEADER_LENGTH = 100, 1000


@dataclass(frozen=True)
class Exchange:
    """An answer and how it came; ``phases`` are seconds of the last hop, ``seconds`` those of all together."""

    answer: Answer
    url: str
    seconds: float
    address: str
    phases: Mapping[str, float] = field(default_factory=dict)
    certificate: Optional[bytes] = None


class HttpClient:
    """Sends requests, each on a connection of its own; may be used by many threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        if not is_there():
            raise PreconditionFailed(
                "the Python package requests (2.32 or newer, with urllib3 2) is missing on this host",
                hint="install it with pip, or ask from the controller",
                code="driver_missing",
            )
        self._monotonic = monotonic
        self._contexts: dict[tuple[Any, ...], ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def context(self, *options: Any) -> ssl.SSLContext:
        """Return the TLS context for these options (see ``tls_context``); reading all authorities takes its time.

        Raises:
            PreconditionFailed: a file cannot be used.
        """
        with self._lock:
            if options not in self._contexts:
                self._contexts[options] = tls_context(*options)
            return self._contexts[options]

    def prepare(self, request: HttpRequest) -> None:
        """Read the files that a request needs.

        Raises:
            PreconditionFailed: one of them cannot be used.
        """
        self.context(request.ca_cert, request.validate_certs, request.client_cert, request.client_key)

    def ask(self, request: HttpRequest, seconds: float) -> Exchange:
        """Return the answer, after redirects if they are wanted.

        Raises:
            NoAnswer: none came within ``seconds``, it broke off, or a redirect leads where it must not.
        """
        began = self._monotonic()
        with Deadline(seconds, self._monotonic) as deadline:
            hop = _Hop(request, urlsplit(request.url).geturl(), with_secrets=True)
            for _number in range(_REDIRECTS + 1):
                exchange = self._send(hop, deadline)
                if not (request.follow_redirects and exchange.answer.status in MOVED and exchange.answer.location):
                    return replace(exchange, seconds=self._monotonic() - began)
                hop = hop.moved(exchange)
            raise NoAnswer(f"more than {_REDIRECTS} redirects")

    def peek(self, server: tuple[str, int, str], seconds: float) -> Optional[bytes]:
        """Return the certificate that a server (address, port, name) shows, trusted or not; nothing is sent to it.

        Raises:
            NoAnswer: there is no connection.
        """
        with Deadline(seconds, self._monotonic) as deadline:
            return self.handshake(server, self.context(None, False), deadline)[0]

    def handshake(
        self, server: tuple[str, int, str], context: ssl.SSLContext, deadline: Deadline
    ) -> tuple[Optional[bytes], str]:
        """Return the certificate and the address of a server after a TLS handshake.

        Raises:
            NoAnswer: there is no connection, or the handshake fails.
        """
        where, port, name = server
        candidates = resolve(where, port, "any", deadline.left())
        with connect_to(candidates, deadline) as plain:
            address = str(plain.getpeername()[0])
            try:
                with context.wrap_socket(plain, server_hostname=name) as connection:
                    return connection.getpeercert(binary_form=True), address
            except (OSError, ValueError) as error:
                raise _explained(error, deadline, (address, port, name)) from error

    def _send(self, hop: _Hop, deadline: Deadline) -> Exchange:
        trip = Trip(deadline, self._monotonic, hop.refusal, hop.request.resolve)
        began = self._monotonic()
        context = self.context(*hop.tls()) if hop.url.startswith("https:") else None
        adapter = TripAdapter(trip, context)
        try:
            response = adapter.send(
                hop.prepared(),
                stream=True,
                timeout=deadline.left(),
                verify=hop.request.validate_certs,
                proxies=hop.proxies(),
            )
            trip.phases["first_byte"] = self._monotonic() - began
            answer = _read(response, hop.url, hop.request.body_limit)
            deadline.left()
        except OpsError:
            raise
        except ERRORS as error:
            raise _explained(error, deadline, hop.server(trip)) from error
        finally:
            adapter.close()
        seconds = self._monotonic() - began
        trip.phases["total"] = seconds
        return Exchange(answer, hop.url, seconds, trip.address, trip.phases, trip.certificate)


@dataclass(frozen=True)
class _Hop:
    """One request on the way; only the first one's origin gets secrets."""

    request: HttpRequest
    url: str
    with_secrets: bool
    origin: Optional[str] = None  # address of the first hop; None: this is the first, it may be anywhere

    def tls(self) -> tuple[Any, ...]:
        """Return the options of the TLS context; a client certificate is a secret too."""
        request = self.request
        client = (request.client_cert, request.client_key) if self.with_secrets else (None, None)
        return (request.ca_cert, request.validate_certs, *client)

    def prepared(self) -> Any:
        """Return the request as requests sends it, without what a session would add (.netrc, cookies)."""
        request, url = self.request, self.url
        headers = {"User-Agent": "oncall.runbooks", "Accept-Encoding": "gzip", "Accept": "*/*", "Connection": "close"}
        given = {**request.headers, **(request.secret_headers if self.with_secrets else {})}
        headers = {name: value for name, value in headers.items() if name.lower() not in map(str.lower, given)}
        if self.origin is None and request.secret_query:
            url += ("&" if urlsplit(url).query else "?") + urlencode(request.secret_query)
        return prepared(request.method, url, {**headers, **given}, request.body)

    def proxies(self) -> dict[str, str]:
        """Return the proxies of the environment, if they are wanted."""
        if not self.request.use_proxy:
            return {}
        return environment_proxies(self.url)

    def refusal(self, address: str) -> Optional[str]:
        """Return why an address must not be connected to, or None."""
        if self.origin in (None, address) or self.request.allow_private:
            return None
        if urlsplit(self.url).hostname in self.request.resolve or may_lead_to(kind_of(address), kind_of(self.origin)):
            return None
        return f"a redirect to {_shown(self.url)} leads to {address}, which is {kind_of(address)} (allow_private)"

    def server(self, trip: Trip) -> Optional[tuple[str, int, str]]:
        """Return whom the trip reached; behind a proxy that is not known."""
        parts = urlsplit(self.url)
        return None if self.proxies() or not trip.address else (trip.address, parts.port or 443, parts.hostname or "")

    def moved(self, exchange: Exchange) -> _Hop:
        """Return the next hop.

        Raises:
            NoAnswer: the redirect leads where it must not.
        """
        answer = exchange.answer
        try:
            url = check_url(urljoin(self.url, answer.location).partition("#")[0])
        except InvalidValue as error:
            raise NoAnswer(f"a redirect leads to no usable address: {error.message}") from error
        keeps_method = answer.status in (307, 308) or self.request.method in ("GET", "HEAD")
        stays = origin_of(url) == origin_of(self.url)
        if keeps_method and self.request.body is not None and not stays:
            raise NoAnswer(f"a redirect would take the body of the request to {_shown(url)}")
        request = self.request if keeps_method else replace(self.request, method="GET", body=None)
        if not stays:
            kept = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            request = replace(request, headers=kept)
        origin = self.origin or exchange.address
        hop = _Hop(request, url, self.with_secrets and stays, origin)
        if hop.proxies() and not stays and not request.allow_private:
            raise NoAnswer(f"a redirect to {_shown(url)} cannot be checked through a proxy (allow_private)")
        return hop


def _shown(url: str) -> str:
    return redact_text(printable(url, 100))


def _read(response: Any, url: str, limit: int) -> Answer:
    """Read to the end, or to the limit; an answer that breaks off is no answer."""
    body, raw = b"", response.raw
    while len(body) <= limit:
        piece = raw.read(min(_PIECE, limit + 1 - len(body)), decode_content=False)
        if not piece:
            break
        body += piece
    headers = {
        name.lower(): printable(value, _HEADER_LENGTH) for name, value in list(response.headers.items())[:_HEADERS]
    }
    location = response.headers.get("Location", "")
    where = urljoin(url, location) if location else ""
    return Answer(int(response.status_code), body[:limit], where, headers, len(body) > limit)


def _explained(error: Exception, deadline: Deadline, server: Optional[tuple[str, int, str]]) -> NoAnswer:
    """Return what happened in one line: time over, certificate not trusted, or the deepest error."""
    root = root_of(error)
    if isinstance(root, NoAnswer):
        return root
    if isinstance(root, ssl.SSLCertVerificationError):
        reason = printable(root.verify_message, 150)
        return NoAnswer(f"the certificate is not trusted: {reason}", distrust=reason, server=server)
    try:
        deadline.left()
    except NoAnswer as over:
        return over
    return NoAnswer(words_of(root))
