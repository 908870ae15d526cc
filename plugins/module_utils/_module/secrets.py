# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which texts among a module's options must never be shown."""

from __future__ import annotations

import base64
from typing import Any, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

_PASSWORDS = {"login_password", "password", "sslpassword", "token", "repository_password", "escrow_password",
              "redis_password", "bearer_token", "client_secret"}  # fmt: skip
_CONNECTION_STRINGS = {"dsn", "database_url"}
_SECRET_MAPPINGS = {"secret_headers", "secret_query", "repository_environment"}
_LOGINS = (("username", "password"), ("client_id", "client_secret"))


def secrets_of(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every secret text among the options, at any depth.

    A connection string gives its password as it is, decoded and percent-encoded: an error may quote any of them. One
    that cannot be read is a secret as a whole.
    """
    return tuple(dict.fromkeys(secret for secret in _walk(params) if secret))


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _as_sent(value)
        for key, item in value.items():
            if key in _PASSWORDS and isinstance(item, str):
                yield item
            elif key in _CONNECTION_STRINGS and isinstance(item, str):
                yield from _passwords_in(item)
            elif key in _SECRET_MAPPINGS and isinstance(item, Mapping):
                for header in map(str, item.values()):
                    yield from (header, header.rpartition(" ")[2])  # "Bearer x" may be quoted without its scheme
                    yield quote_plus(header)
            else:
                yield from _walk(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _walk(item)


def _as_sent(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield logins as they stand in a header: a server may quote it in its answer."""
    for name, secret in _LOGINS:
        if isinstance(options.get(name), str) and isinstance(options.get(secret), str):
            yield base64.b64encode(f"{options[name]}:{options[secret]}".encode()).decode()


def _passwords_in(dsn: str) -> Iterator[str]:
    try:
        from psycopg2 import ProgrammingError  # late: most modules need no driver
        from psycopg2.extensions import parse_dsn
    except ImportError:
        yield dsn
        return
    try:
        password = parse_dsn(dsn).get("password", "")
    except ProgrammingError:
        yield dsn
        return
    for form in (password, unquote(password), quote(password, safe="")):
        if form:
            yield form
    yield from _encoded_in(dsn, password)


def _encoded_in(dsn: str, password: str) -> Iterator[str]:
    """Yield the spellings in the text itself that decode to the password."""
    for part in dsn.replace("@", "&").replace(":", "&").replace("?", "&").replace("=", "&").split("&"):
        if part != password and unquote(part) == password:
            yield part
