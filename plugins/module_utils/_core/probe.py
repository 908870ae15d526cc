# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Probes: what to ask a service, and whether its answer is the right one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Union
from urllib.parse import urlsplit

from .errors import InvalidValue
from .http_answer import Answer, Assertion, Expectation, judge
from .redact import printable, redact_text

_SECRET_HEADERS = ("authorization", "cookie", "token", "secret", "api-key", "apikey", "password")


@dataclass(frozen=True)
class HttpProbe:
    """A request and the answer that counts as good. ``equals`` maps a path into the JSON body to its value."""

    name: str
    url: str
    timeout: float
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    statuses: tuple[int, ...] = (200,)
    contains: Optional[str] = None
    equals: Mapping[str, Any] = field(default_factory=dict)
    follow_redirects: bool = False
    validate_certs: bool = True
    ca_cert: Optional[str] = None

    @property
    def wants_body(self) -> bool:
        """Tell whether the body matters."""
        return self.contains is not None or bool(self.equals)


@dataclass(frozen=True)
class TcpProbe:
    """A port that accepts connections."""

    name: str
    host: str
    port: int
    timeout: float


@dataclass(frozen=True)
class SqlProbe:
    """A query whose first value is looked at; ``target`` is the connection, never shown."""

    name: str
    target: Any
    query: str
    expect: Optional[str]
    timeout: float


@dataclass(frozen=True)
class CommandProbe:
    """A command that exits with 0."""

    name: str
    argv: tuple[str, ...]
    timeout: float


Probe = Union[HttpProbe, TcpProbe, SqlProbe, CommandProbe]


def check_http(probe: HttpProbe) -> HttpProbe:
    """Return the probe.

    Raises:
        InvalidValue: no http(s) address, a password in it, or a HEAD that wants a body.
    """
    check_url(probe.url)
    check_method(probe.method, probe.wants_body)
    return probe


def check_method(method: str, wants_body: bool) -> None:
    """Refuse to look into what does not come.

    Raises:
        InvalidValue: a HEAD that wants a body.
    """
    if method == "HEAD" and wants_body:
        raise InvalidValue("an answer to HEAD has no body to look into", hint="use method: GET")


def check_url(url: str) -> str:
    """Return the address.

    Raises:
        InvalidValue: no http(s) address, or a password in it.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(not c.isprintable() or c == " " for c in url):
        raise InvalidValue(
            f"url must be an http or https address, not {redact_text(printable(url, 100))!r}",
            hint="for example http://127.0.0.1:3000/health",
        )
    if parts.username or parts.password:
        raise InvalidValue(
            "url must not hold a user or a password: it is shown in the plan", hint="use secret_headers: Authorization"
        )
    return url


def check_headers(headers: Mapping[str, Any]) -> None:
    """Refuse secrets among the headers that are shown.

    Raises:
        InvalidValue: a header's name says that its value is a secret.
    """
    for name in headers:
        if any(word in name.lower() for word in _SECRET_HEADERS):
            raise InvalidValue(
                f"the header {printable(name, 60)} holds a secret", hint="give it in secret_headers, which is not shown"
            )


def judge_http(probe: HttpProbe, answer: Answer) -> Optional[str]:
    """Return why the answer is not good, or None."""
    expected = Expectation(
        statuses=tuple((status, status) for status in probe.statuses),
        contains=() if probe.contains is None else (probe.contains,),
        assertions=tuple(Assertion(path, "eq", value) for path, value in probe.equals.items()),
    )
    return judge(expected, answer)


def judge_value(value: Any, expect: Optional[str]) -> Optional[str]:
    """Return why a query's first value is not the expected one, or None; both are compared as text.

    >>> judge_value(True, "true"), judge_value(3, "4")
    (None, 'the value is 3, not 4')
    """
    if expect is None:
        return None
    found, wanted = (text.lower() if text in ("True", "False") else text for text in (str(value), expect))
    if found == wanted:
        return None
    return f"the value is {printable(found, 80)}, not {printable(wanted, 80)}"


def describe(probe: Probe) -> str:
    """Return a probe for the plan, without any secret."""
    if isinstance(probe, HttpProbe):
        return redact_text(f"{probe.method} {printable(probe.url, 200)}")
    if isinstance(probe, TcpProbe):
        return f"connect {printable(probe.host, 100)}:{probe.port}"
    if isinstance(probe, SqlProbe):
        return f"sql {printable(probe.query, 120)}"
    return redact_text(printable(" ".join(probe.argv), 200))
