# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""external_api_probe: the APIs of the inventory to requests, quotas and breakers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional

from .._core.breaker import BreakerPolicy
from .._core.errors import InvalidValue
from .._core.external_api import Api, Memory, OAuth, read_memory
from .._core.external_api_report import DEFAULTS, report
from .._core.limits import merged_limits, read_limits
from .._core.probe import check_url
from .._core.quota import PARTS, WINDOWS, RateLimit
from .._core.redact import printable
from .._core.result import Decision
from .._io.external_api import ask_all
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


def external_api_probe_spec() -> ArgumentSpec:
    """Return the module's options."""
    oauth = {
        "token_url": {"type": "str", "required": True, "no_log": False},
        "client_id": {"type": "str", "required": True},
        "client_secret": {"type": "str", "required": True, "no_log": True},
        "scope": {"type": "str", "default": ""},
        "credentials": {"type": "str", "choices": ["header", "body"], "default": "header"},
    }
    breaker = {"failures": {"type": "int", "default": 3}, "cooldown": {"type": "str", "default": "5m"}}
    api = {
        **request_options(),
        **expectation_options(),
        "name": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "requests": {"type": "int", "default": 3},
        "rate_limit": {"type": "dict", "default": {}, "options": {window: {"type": "int"} for window in WINDOWS}},
        "max_quota_share": {"type": "float", "default": 5.0},
        "quota_headers": {"type": "dict", "default": {}, "options": {part: {"type": "str"} for part in PARTS}},
        "max_retry_after": {"type": "str", "default": "1d"},
        "breaker": {"type": "dict", "default": {}, "options": breaker, "apply_defaults": True},
        "oauth": {"type": "dict", "options": oauth},
        "fallback": {"type": "str", "default": ""},
        "limits": {"type": "dict", "default": {}},
    }
    return ArgumentSpec(
        {
            "apis": {"type": "list", "elements": "dict", "required": True, "options": api},
            "previous": {"type": "dict", "default": {}},
            "timeout": {"type": "str", "default": "60s"},
            "limits": {"type": "dict", "default": {}},
        }
    )


class ExternalApiProbe(InfoOperation):
    """Ask the APIs of others as they allow it."""

    def __init__(self, task: Task) -> None:
        self._clock, params = task.clock, task.params
        self._limits = read_limits(params["limits"], DEFAULTS)
        self._apis = apis_from(params["apis"], params["limits"])
        self._memories = [_memory(api.name, params["previous"]) for api in self._apis]
        self._seconds = positive_duration(params, "timeout")

    def decide(self) -> Decision:
        """Ask, and judge what came back."""
        client = open_client(self._clock)
        readings = ask_all(self._apis, self._memories, client, self._clock, self._seconds)
        return report(readings, self._limits, self._clock.now())


def apis_from(given: list[Mapping[str, Any]], limits: Mapping[str, Any]) -> tuple[Api, ...]:
    """Return the APIs that were asked for.

    Raises:
        InvalidValue: one of them cannot work; the message says which.
    """
    names = [printable(one["name"], 100) for one in given]
    return each_by_name("api", names, given, lambda name, one: _api(name, one, limits))


def _api(name: str, given: Mapping[str, Any], limits: Mapping[str, Any]) -> Api:
    expected = expectation_from(given)
    share = given["max_quota_share"]
    if not 0 < share <= 100:
        raise InvalidValue(f"max_quota_share must be more than 0 and at most 100 %, not {share:g}")
    oauth = _oauth(given["oauth"])
    if oauth is not None and (given["bearer_token"] is not None or given["username"] is not None):
        raise InvalidValue("bearer_token and username exclude oauth")
    breaker = given["breaker"]
    return Api(
        name=name,
        request=replace(request_from(given, expected), follow_redirects=False),
        expected=expected,
        timeout=positive_duration(given, "timeout"),
        requests=bounded(given, "requests", 1, 100),
        rates=_rates(given["rate_limit"]),
        share=share,
        quota_names={part: text for part, text in given["quota_headers"].items() if text},
        policy=BreakerPolicy(bounded(breaker, "failures", 1, 1000), positive_duration(breaker, "cooldown")),
        retry_most=positive_duration(given, "max_retry_after"),
        limits=merged_limits(given["limits"], limits, DEFAULTS),
        oauth=oauth,
        fallback=given["fallback"],
    )


def _rates(given: Mapping[str, Any]) -> tuple[RateLimit, ...]:
    for window, number in given.items():
        if number is not None and number < 1:
            raise InvalidValue(f"rate_limit.{window} must be at least 1, not {number}")
    return tuple(RateLimit(number, WINDOWS[window]) for window, number in given.items() if number is not None)


def _oauth(given: Optional[Mapping[str, Any]]) -> Optional[OAuth]:
    if given is None:
        return None
    return OAuth(
        token_url=check_url(given["token_url"]),
        client_id=given["client_id"],
        client_secret=given["client_secret"],
        scope=given["scope"],
        in_body=given["credentials"] == "body",
    )


def _memory(name: str, previous: Mapping[str, Any]) -> Memory:
    return read_memory(previous[name], f"previous.{name}") if previous.get(name) is not None else Memory()
