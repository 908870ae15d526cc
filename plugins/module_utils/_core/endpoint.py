# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Endpoints: what is asked, how often, and which requests make no sense."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from typing import Mapping, Optional, Union

from .certificate import CertificateLook
from .errors import InvalidValue
from .http_answer import Expectation
from .limits import Limit
from .probe import check_headers, check_method, check_url

METHODS = ("GET", "HEAD", "OPTIONS", "POST")
FAMILIES = ("any", "ipv4", "ipv6")


@dataclass(frozen=True)
class HttpRequest:
    """One request. ``resolve`` gives hosts their addresses; ``secret_query`` is added to the address unseen."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Optional[bytes] = field(default=None, repr=False)
    follow_redirects: bool = False
    allow_private: bool = False
    validate_certs: bool = True
    ca_cert: Optional[str] = None
    client_cert: Optional[str] = None
    client_key: Optional[str] = None
    resolve: Mapping[str, str] = field(default_factory=dict)
    use_proxy: bool = False
    body_limit: int = 1024 * 1024


@dataclass(frozen=True)
class HttpTarget:
    """An address that answers, and the answer that is good."""

    request: HttpRequest
    expected: Expectation


@dataclass(frozen=True)
class TcpTarget:
    """A port that accepts connections; with ``tls`` its certificate is looked at."""

    host: str
    port: int
    tls: bool = False
    validate_certs: bool = True
    ca_cert: Optional[str] = None


@dataclass(frozen=True)
class DnsTarget:
    """A name that resolves, if ``addresses`` are given, to none but these."""

    host: str
    family: str = "any"
    addresses: tuple[str, ...] = ()


Target = Union[HttpTarget, TcpTarget, DnsTarget]


@dataclass(frozen=True)
class Endpoint:
    """What is asked ``requests`` times, ``concurrency`` of them at once; ``timeout`` is that of one request."""

    name: str
    kind: str
    target: Target
    timeout: float
    requests: int
    concurrency: int
    limits: Mapping[str, Optional[Limit]]


@dataclass(frozen=True)
class Attempt:
    """One request: how long it took, and why it was not good. ``answered``: an answer came in full, right or wrong."""

    seconds: float
    failure: Optional[str] = None
    answered: bool = True
    status: Optional[int] = None
    address: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """All that was seen of an endpoint; ``blocked`` is why nothing could be asked at all."""

    endpoint: Endpoint
    attempts: tuple[Attempt, ...] = ()
    certificate: Optional[CertificateLook] = None
    blocked: str = ""


def check_request(request: HttpRequest, expected: Expectation) -> HttpRequest:
    """Return the request.

    Raises:
        InvalidValue: it cannot be sent, would show a secret, or cannot give what is expected.
    """
    check_url(request.url)
    check_headers(request.headers)
    check_method(request.method, expected.wants_body)
    for name, value in (*request.headers.items(), *request.secret_headers.items()):
        if not name or not name.isprintable() or ":" in name or " " in name or not value.isprintable():
            raise InvalidValue(f"the header {name!r} cannot be sent", hint="one line of printable characters")
    if request.body is not None and request.method in ("GET", "HEAD"):
        raise InvalidValue(f"a {request.method} has no body", hint="use method: POST")
    if bool(request.client_key) and not request.client_cert:
        raise InvalidValue("client_key is of no use without client_cert")
    if expected.location is not None and request.follow_redirects:
        raise InvalidValue("redirect is where the first answer must lead", hint="leave out follow_redirects")
    for host, address in request.resolve.items():
        check_address(address, f"resolve.{host}")
    return request


def basic(name: str, secret: str) -> str:
    """Return the value of an Authorization header (RFC 7617).

    >>> basic("user", "secret")
    'Basic dXNlcjpzZWNyZXQ='
    """
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def check_address(text: str, option: str) -> str:
    """Return a numeric address.

    Raises:
        InvalidValue: it is none.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidValue(f"{option} must be an IPv4 or IPv6 address, not {text!r}") from error
    return text


def strangers(addresses: tuple[str, ...], expected: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses that are in none of the expected addresses and networks.

    >>> strangers(("192.0.2.7", "198.51.100.1"), ("192.0.2.0/24", "2001:db8::/32"))
    ('198.51.100.1',)
    """
    networks = [ipaddress.ip_network(one, strict=False) for one in expected]
    found = [(one, ipaddress.ip_address(one.partition("%")[0])) for one in addresses]
    return tuple(text for text, ip in found if not any(ip.version == net.version and ip in net for net in networks))


def check_networks(given: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Return addresses and networks.

    Raises:
        InvalidValue: one of them is neither.
    """
    for one in given:
        try:
            ipaddress.ip_network(one, strict=False)
        except ValueError as error:
            raise InvalidValue(f"{option} must hold addresses or networks, not {one!r}") from error
    return given
