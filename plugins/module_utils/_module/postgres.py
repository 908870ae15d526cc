# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The connection options of every PostgreSQL module (names as in community.postgresql) and what they mean."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.errors import InvalidValue
from .._core.units import parse_duration
from .._io.postgres import Target
from .spec import ArgumentSpec

_LIBPQ_NAMES = {
    "login_host": "host",
    "login_port": "port",
    "login_user": "user",
    "login_password": "password",
    "login_db": "dbname",
    "ssl_mode": "sslmode",
    "ca_cert": "sslrootcert",
    "ssl_cert": "sslcert",
    "ssl_key": "sslkey",
    "service": "service",
}
_SSL_MODES = ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"]


def postgres_spec() -> ArgumentSpec:
    """Return the connection options; ``dsn`` or ``service`` stand for all the others."""
    return ArgumentSpec(
        {
            "dsn": {"type": "str", "no_log": True, "aliases": ["database_url"]},
            "service": {"type": "str"},
            "login_host": {"type": "str", "aliases": ["host"]},
            "login_unix_socket": {"type": "path", "aliases": ["unix_socket"]},
            "login_port": {"type": "int", "aliases": ["port"]},
            "login_user": {"type": "str", "aliases": ["login"]},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "str"},
            "ssl_mode": {"type": "str", "choices": _SSL_MODES},
            "ca_cert": {"type": "path", "aliases": ["ssl_rootcert"]},
            "ssl_cert": {"type": "path"},
            "ssl_key": {"type": "path", "no_log": False},
            "connect_params": {"type": "dict", "default": {}},
            "session_role": {"type": "str"},
            "allow_pooler": {"type": "bool", "default": False},
            "lock_timeout": {"type": "str", "default": "5s"},
            "statement_timeout": {"type": "str", "default": "60s"},
        },
        mutually_exclusive=(
            ("dsn", "service"),
            ("dsn", "login_host"),
            ("dsn", "login_unix_socket"),
            ("login_host", "login_unix_socket"),
        ),
    )


def postgres_target(params: Mapping[str, Any], module_name: str) -> Target:
    """Return where and how to connect.

    Raises:
        InvalidValue: the DSN or a duration cannot be read; the DSN itself is never shown.
    """
    parameters = {libpq: params[name] for name, libpq in _LIBPQ_NAMES.items() if params[name] is not None}
    if params["login_unix_socket"]:
        parameters["host"] = params["login_unix_socket"]
    if params["dsn"]:
        parameters = {**_parse_dsn(params["dsn"]), **parameters}
    parameters.update(params["connect_params"])
    by_default = "service" not in parameters and "dbname" not in parameters
    if by_default:
        parameters["dbname"] = "postgres"
    return Target(
        parameters=parameters,
        application_name=f"oncall.runbooks {module_name}",
        lock_timeout=parse_duration(params["lock_timeout"], "lock_timeout"),
        statement_timeout=parse_duration(params["statement_timeout"], "statement_timeout"),
        session_role=params["session_role"],
        allow_pooler=params["allow_pooler"],
        by_default=by_default,
    )


def _parse_dsn(dsn: str) -> dict[str, str]:
    from psycopg2 import ProgrammingError  # late: the driver may be missing, and connect() says so better
    from psycopg2.extensions import parse_dsn

    try:
        return dict(parse_dsn(dsn))
    except ProgrammingError as error:
        raise InvalidValue(
            "dsn is no connection string",
            hint="write postgresql://user:password@host:5432/database?sslmode=require, or key=value pairs; "
            "percent-encode special characters of the password",
        ) from error
