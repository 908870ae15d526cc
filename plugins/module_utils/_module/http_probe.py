# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""http_probe: the endpoints of the inventory to requests and limits."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.endpoint import FAMILIES, DnsTarget, Endpoint, HttpTarget, Target, TcpTarget, check_networks
from .._core.endpoint_report import DEFAULTS, report
from .._core.limits import merged_limits, read_limits
from .._core.redact import printable
from .._core.result import Decision
from .._io.endpoints import EndpointSurvey
from .http_options import (
    each_by_name,
    expectation_from,
    expectation_options,
    open_client,
    request_from,
    request_options,
)
from .info import InfoOperation
from .ranges import bounded, positive_duration
from .run import Task
from .spec import ArgumentSpec


def http_probe_spec() -> ArgumentSpec:
    """Return the module's options."""
    endpoint = {
        "name": {"type": "str"},
        "kind": {"type": "str", "choices": list(_TARGETS), "default": "http"},
        **request_options(),
        **expectation_options(),
        "follow_redirects": {"type": "bool", "default": False},
        "allow_private": {"type": "bool", "default": False},
        "redirect": {"type": "str"},
        "host": {"type": "str"},
        "port": {"type": "int"},
        "tls": {"type": "bool", "default": False},
        "family": {"type": "str", "choices": list(FAMILIES), "default": "any"},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "requests": {"type": "int", "default": 5},
        "concurrency": {"type": "int", "default": 1},
        "limits": {"type": "dict", "default": {}},
    }
    required = [("kind", "http", ["url"]), ("kind", "tcp", ["host", "port"]), ("kind", "dns", ["host"])]
    endpoints = {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": endpoint,
        "required_if": required,
    }
    return ArgumentSpec(
        {
            "endpoints": endpoints,
            "timeout": {"type": "str", "default": "60s"},
            "workers": {"type": "int", "default": 8},
            "limits": {"type": "dict", "default": {}},
        }
    )


class HttpProbe(InfoOperation):
    """Ask endpoints as their users do."""

    def __init__(self, task: Task) -> None:
        self._clock, params = task.clock, task.params
        self._limits = read_limits(params["limits"], DEFAULTS)
        self._endpoints = endpoints_from(params["endpoints"], params["limits"])
        self._seconds = positive_duration(params, "timeout")
        self._workers = bounded(params, "workers", 1, 64)

    def decide(self) -> Decision:
        """Ask, and judge what came back."""
        survey = EndpointSurvey(self._endpoints, open_client(self._clock), self._clock.monotonic)
        return report(survey.run(self._workers, self._seconds), self._limits, self._clock.now())


def endpoints_from(given: list[Mapping[str, Any]], limits: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    """Return the endpoints that were asked for.

    Raises:
        InvalidValue: one of them cannot work; the message says which.
    """
    names = [printable(one["name"] or one["url"] or one["host"] or "", 100).partition("?")[0] for one in given]
    return each_by_name("endpoint", names, given, lambda name, one: _endpoint(name, one, limits))


def _endpoint(name: str, given: Mapping[str, Any], limits: Mapping[str, Any]) -> Endpoint:
    requests = bounded(given, "requests", 1, 1000)
    return Endpoint(
        name=name,
        kind=given["kind"],
        target=_TARGETS[given["kind"]](given),
        timeout=positive_duration(given, "timeout"),
        requests=requests,
        concurrency=bounded(given, "concurrency", 1, 64),
        limits=merged_limits(given["limits"], limits, DEFAULTS),
    )


def _http(given: Mapping[str, Any]) -> Target:
    expected = expectation_from(given)
    return HttpTarget(request_from(given, expected), expected)


def _tcp(given: Mapping[str, Any]) -> Target:
    port = bounded(given, "port", 1, 65535)
    return TcpTarget(given["host"], port, given["tls"], given["validate_certs"], given["ca_cert"])


def _dns(given: Mapping[str, Any]) -> Target:
    return DnsTarget(given["host"], given["family"], check_networks(tuple(given["addresses"]), "addresses"))


_TARGETS = {"http": _http, "tcp": _tcp, "dns": _dns}
