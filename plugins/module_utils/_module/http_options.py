# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of modules that send HTTP requests: what is sent, and which answer is good."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence, TypeVar, Union

from .._core.endpoint import METHODS, HttpRequest, basic, check_request
from .._core.errors import InvalidValue, OpsError
from .._core.http_answer import MOVED, OPERATORS, Expectation, parse_assertion, parse_statuses
from .._core.units import parse_size
from .._io.clock import Clock
from .._io.http_client import HttpClient

T = TypeVar("T")


def request_options() -> dict[str, Any]:
    """Return the options of one request."""
    return {
        "url": {"type": "str"},
        "method": {"type": "str", "choices": list(METHODS), "default": "GET"},
        "headers": {"type": "dict", "default": {}},
        "secret_headers": {"type": "dict", "no_log": True, "default": {}},
        "secret_query": {"type": "dict", "no_log": True, "default": {}},
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "bearer_token": {"type": "str", "no_log": True},
        "body": {"type": "str"},
        "timeout": {"type": "str", "default": "10s"},
        "validate_certs": {"type": "bool", "default": True},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path"},
        "resolve": {"type": "dict", "default": {}},
        "use_proxy": {"type": "bool", "default": False},
        "body_limit": {"type": "str", "default": "1MB"},
    }


def expectation_options() -> dict[str, Any]:
    """Return the options of the answer that is good."""
    assertion = {
        "path": {"type": "str", "required": True},
        "op": {"type": "str", "choices": list(OPERATORS), "default": "eq"},
        "value": {"type": "raw"},
    }
    return {
        "status": {"type": "list", "elements": "str"},
        "contains": {"type": "list", "elements": "str", "default": []},
        "absent": {"type": "list", "elements": "str", "default": []},
        "json": {"type": "list", "elements": "dict", "default": [], "options": assertion},
    }


def open_client(clock: Clock) -> Union[HttpClient, OpsError]:
    """Return a client, or why this host has none: that is a reading of everything that was to be asked."""
    try:
        return HttpClient(clock.monotonic)
    except OpsError as error:
        return error


def each_by_name(
    what: str, names: Sequence[str], given: Sequence[Mapping[str, Any]], read: Callable[[str, Mapping[str, Any]], T]
) -> tuple[T, ...]:
    """Return what each entry of a list means; ``what`` is what one is called, and with an s the option.

    Raises:
        InvalidValue: there is none, two have the same name, or one cannot work; the message says which.
    """
    if not given:
        raise InvalidValue(f"{what}s names nothing to ask", hint="nothing is well for lack of data")
    found: dict[str, T] = {}
    for number, (name, one) in enumerate(zip(names, given), 1):
        try:
            if name in found:
                raise InvalidValue("there are two of this name", hint="names tell readings apart")
            found[name] = read(name, one)
        except InvalidValue as error:
            raise InvalidValue(f"{what} {number} ({name}): {error.message}", hint=error.hint) from error
    return tuple(found.values())


def request_from(given: Mapping[str, Any], expected: Expectation) -> HttpRequest:
    """Return the request that was asked for.

    Raises:
        InvalidValue: it cannot be sent.
    """
    limit = parse_size(given["body_limit"], "body_limit")
    if not 0 < limit <= 64 * 1024**2:
        raise InvalidValue(f"body_limit must be between 1 B and 64 MB, not {given['body_limit']}")
    request = HttpRequest(
        url=given["url"],
        method=given["method"],
        headers=_texts(given["headers"]),
        secret_headers={**_texts(given["secret_headers"]), **_login(given)},
        secret_query=_texts(given["secret_query"]),
        body=None if given["body"] is None else given["body"].encode(),
        follow_redirects=bool(given.get("follow_redirects")),
        allow_private=bool(given.get("allow_private")),
        validate_certs=given["validate_certs"],
        ca_cert=given["ca_cert"],
        client_cert=given["client_cert"],
        client_key=given["client_key"],
        resolve={name.lower(): address for name, address in _texts(given["resolve"]).items()},
        use_proxy=given["use_proxy"],
        body_limit=limit,
    )
    return check_request(request, expected)


def expectation_from(given: Mapping[str, Any]) -> Expectation:
    """Return the answer that counts as good; a redirect that is expected has a status of its own by default.

    Raises:
        InvalidValue: a status or an assertion means nothing.
    """
    location = given.get("redirect")
    statuses = given["status"] or (list(MOVED) if location is not None else [200])
    return Expectation(
        statuses=parse_statuses(statuses, "status"),
        contains=tuple(given["contains"]),
        absent=tuple(given["absent"]),
        assertions=tuple(parse_assertion(one["path"], one["op"], one["value"]) for one in given["json"]),
        location=location,
    )


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in given.items()}


def _login(given: Mapping[str, Any]) -> dict[str, str]:
    if (given["username"] is None) != (given["password"] is None):
        raise InvalidValue("username and password belong together")
    if given["bearer_token"] is not None and given["username"] is not None:
        raise InvalidValue("bearer_token and username exclude each other: one header holds either")
    if given["bearer_token"] is not None:
        return {"Authorization": f"Bearer {given['bearer_token']}"}
    return {} if given["username"] is None else {"Authorization": basic(given["username"], given["password"])}
