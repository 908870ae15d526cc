# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Probes: what to ask a service, and whether its answer is the right one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Union
from urllib.parse import urlsplit

from .errors import InvalidValue
from .redact import printable, redact_text

_SECRET_HEADERS = ("authorization", "cookie", "token", "secret", "api-key", "apikey", "password")
_MISSING = object()


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


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP; the body may be cut."""

    status: int
    body: bytes = b""
    location: str = ""


def check_http(probe: HttpProbe) -> HttpProbe:
    """Return the probe.

    Raises:
        InvalidValue: no http(s) address, a password in it, a HEAD that wants a body, or a secret among plain headers.
    """
    try:
        parts = urlsplit(probe.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(not c.isprintable() or c == " " for c in probe.url):
        raise InvalidValue(
            f"url must be an http or https address, not {redact_text(printable(probe.url, 100))!r}",
            hint="for example http://127.0.0.1:3000/health",
        )
    if parts.username or parts.password:
        raise InvalidValue(
            "url must not hold a user or a password: it is shown in the plan", hint="use secret_headers: Authorization"
        )
    if probe.method == "HEAD" and probe.wants_body:
        raise InvalidValue("an answer to HEAD has no body to look into", hint="use method: GET")
    return probe


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
    """Return why the answer is not good, or None. A 200 with the wrong body is a lie that must not pass."""
    if answer.status not in probe.statuses:
        wanted = " or ".join(str(status) for status in probe.statuses)
        return f"status {answer.status}, not {wanted}" + (
            f", to {printable(answer.location, 100)}" * bool(answer.location)
        )
    text = answer.body.decode("utf-8", "replace")
    if probe.contains is not None and probe.contains not in text:
        return f"status {answer.status}, but the body does not contain {printable(probe.contains, 80)!r}"
    if not probe.equals:
        return None
    try:
        body = json.loads(text)
    except ValueError:
        return f"status {answer.status}, but the body is no JSON"
    wrong = [_difference(body, path, value) for path, value in probe.equals.items()]
    return "; ".join(text for text in wrong if text) or None


def _difference(body: Any, path: str, wanted: Any) -> str:
    value = value_at(body, path)
    if value is _MISSING:
        return f"the body has no {printable(path, 60)}"
    if value == wanted and isinstance(value, bool) == isinstance(wanted, bool):
        return ""
    found, expected = (printable(json.dumps(item, default=str), 80) for item in (value, wanted))
    return f"{printable(path, 60)} is {found}, not {expected}"


def value_at(body: Any, path: str) -> Any:
    """Return the value at a dotted path; numbers count the items of a list.

    >>> value_at({"db": [{"ok": True}]}, "db.0.ok")
    True
    """
    for key in path.split("."):
        if isinstance(body, dict) and key in body:
            body = body[key]
        elif isinstance(body, list) and key.isdigit() and int(key) < len(body):
            body = body[int(key)]
        else:
            return _MISSING
    return body


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
