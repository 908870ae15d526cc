# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The ``probes`` option of every module that asks whether a service answers."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from .._core.errors import InvalidValue
from .._core.probe import CommandProbe, HttpProbe, Probe, SqlProbe, TcpProbe, check_headers, check_http
from .._core.redact import printable
from .postgres import postgres_spec, postgres_target
from .ranges import bounded, positive_duration
from .spec import ArgumentSpec


def probes_spec() -> ArgumentSpec:
    """Return the option ``probes``."""
    options = {
        "name": {"type": "str"},
        "type": {"type": "str", "required": True, "choices": ["http", "tcp", "sql", "command"]},
        "timeout": {"type": "str", "default": "5s"},
        "url": {"type": "str"},
        "method": {"type": "str", "choices": ["GET", "HEAD"], "default": "GET"},
        "headers": {"type": "dict", "default": {}},
        "secret_headers": {"type": "dict", "no_log": True, "default": {}},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "contains": {"type": "str"},
        "json": {"type": "dict", "default": {}},
        "follow_redirects": {"type": "bool", "default": False},
        "validate_certs": {"type": "bool", "default": True},
        "ca_cert": {"type": "path"},
        "host": {"type": "str", "default": "127.0.0.1"},
        "port": {"type": "int"},
        "dsn": {"type": "str", "no_log": True},
        "query": {"type": "str", "default": "SELECT 1"},
        "expect": {"type": "str"},
        "argv": {"type": "list", "elements": "str"},
    }
    required = [("type", "http", ["url"]), ("type", "tcp", ["port"]), ("type", "sql", ["dsn"])]
    required.append(("type", "command", ["argv"]))
    probes = {"type": "list", "elements": "dict", "default": [], "options": options, "required_if": required}
    return ArgumentSpec({"probes": probes})


def probes_from(params: Mapping[str, Any], module_name: str) -> tuple[Probe, ...]:
    """Return the probes that were asked for.

    Raises:
        InvalidValue: one of them cannot work; the message says which.
    """
    found = []
    for number, given in enumerate(params["probes"], 1):
        name = printable(given["name"] or f"{given['type']} {number}", 80)
        try:
            found.append(_BY_TYPE[given["type"]](name, given, module_name))
        except InvalidValue as error:
            raise InvalidValue(f"probe {name}: {error.message}", hint=error.hint) from error
    return tuple(found)


def _http(name: str, given: Mapping[str, Any], _module_name: str) -> Probe:
    check_headers(given["headers"])
    return check_http(
        HttpProbe(
            name=name,
            url=given["url"],
            timeout=positive_duration(given, "timeout"),
            method=given["method"],
            headers={key: str(value) for key, value in given["headers"].items()},
            secret_headers={key: str(value) for key, value in given["secret_headers"].items()},
            statuses=tuple(given["status"]),
            contains=given["contains"],
            equals=given["json"],
            follow_redirects=given["follow_redirects"],
            validate_certs=given["validate_certs"],
            ca_cert=given["ca_cert"],
        )
    )


def _tcp(name: str, given: Mapping[str, Any], _module_name: str) -> Probe:
    return TcpProbe(name, given["host"], bounded(given, "port", 1, 65535), positive_duration(given, "timeout"))


def _sql(name: str, given: Mapping[str, Any], module_name: str) -> Probe:
    options = {key: option.get("default") for key, option in postgres_spec().options.items()}
    target = postgres_target({**options, "dsn": given["dsn"]}, module_name)
    return SqlProbe(name, target, given["query"], given["expect"], positive_duration(given, "timeout"))


def _command(name: str, given: Mapping[str, Any], _module_name: str) -> Probe:
    if not given["argv"] or not given["argv"][0]:
        raise InvalidValue("argv must name a program", hint="for example argv: [redis-cli, ping]")
    return CommandProbe(name, tuple(given["argv"]), positive_duration(given, "timeout"))


_BY_TYPE: Mapping[str, Callable[[str, Mapping[str, Any], str], Probe]] = {
    "http": _http,
    "tcp": _tcp,
    "sql": _sql,
    "command": _command,
}
