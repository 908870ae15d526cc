# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What readings of external APIs say: findings, samples, facts, and what the next run must know."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Iterator, Mapping, Optional, Sequence
from urllib.parse import urlsplit

from .breaker import OPEN
from .external_api import RATE_LIMITED, SHARE_USED, ApiReading, is_closed, render_memory
from .fold import fold
from .latency import Latency, in_words, latency_of, latency_samples
from .limits import Limit
from .readings import Judge, Unread
from .redact import printable, redact_text
from .result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding, worst
from .samples import APIS, Sample, render_samples
from .units import count_of, rfc3339
from .verdict import headline

# As for our own endpoints: of the few requests of one look, one failure is a warning and half of them is critical.
DEFAULTS: Mapping[str, Limit] = {
    "api_breaker": Limit(),
    "api_token": Limit(),
    "api_errors": Limit(0.1, 50),
    "api_latency_p95": Limit(3, 5),
    "api_rate_limited": Limit(),
    "api_quota_left": Limit(20, 5, lower_is_worse=True),
}
_ALL_WELL = {
    "api_breaker": "the breaker is closed",
    "api_token": "a token was given",
    "api_errors": "every request was answered as it should be",
    "api_latency_p95": "95 % of the answers came in time",
    "api_rate_limited": "nothing was refused for its rate",
    "api_quota_left": "enough of the quota is left",
}


def report(readings: Sequence[ApiReading], limits: Mapping[str, Optional[Limit]], now: datetime) -> Decision:
    """Return the verdict on all APIs; ``limits`` are those of APIs without their own."""
    found = [tuple(_findings(one)) for one in readings]
    findings = tuple(fold(found, limits, _ALL_WELL, "APIs"))
    extra = {
        "area": APIS,
        "samples": render_samples(sample for one in readings for sample in _samples(one)),
        "apis": [_facts(one, worst(finding.status for finding in own), now) for one, own in zip(readings, found)],
        "breakers": {one.api.name: render_memory(one.api, one.memory, now) for one in readings},
    }
    return Decision(headline(findings), findings=findings, extra=extra)


def _findings(reading: ApiReading) -> Iterator[Finding]:
    judge, name = Judge(reading.api.limits), reading.api.name
    yield from _judge_breaker(judge, reading)
    if reading.blocked:
        yield from judge.unread("api_errors", Unread(f"{name}: {reading.blocked}"))
        return
    if reading.token_failure:
        yield from judge.fixed("api_token", CRITICAL, f"{name}: no token: {reading.token_failure}{_fallback(reading)}")
    elif reading.api.oauth is not None and reading.calls:
        yield from judge.fixed("api_token", OK, f"{name}: a token was given")
    yield from _judge_calls(judge, reading)
    yield from _judge_rate(judge, reading)


def _judge_breaker(judge: Judge, reading: ApiReading) -> Iterator[Finding]:
    breaker, name = reading.memory.breaker, reading.api.name
    if is_closed(reading.memory):
        yield from judge.fixed("api_breaker", OK, f"{name}: breaker closed", breaker.failures, "count")
    elif breaker.state == OPEN and not reading.calls and not reading.token_failure:
        words = f"{name}: no request sent, breaker {reading.withheld}{_fallback(reading)}"
        yield from judge.fixed("api_breaker", CRITICAL, words, breaker.failures, "count")
    elif breaker.state == OPEN:
        words = f"{name}: breaker open after {count_of(breaker.failures, 'failure')} in a row{_fallback(reading)}"
        yield from judge.fixed("api_breaker", CRITICAL, words, breaker.failures, "count")
    else:
        yield from judge.fixed("api_breaker", WARNING, f"{name}: breaker half open, its trial is still to come")


def _judge_calls(judge: Judge, reading: ApiReading) -> Iterator[Finding]:
    name, counted = reading.api.name, _counted(reading)
    if counted:
        failed = [call.failure for call in counted if call.failure]
        words = f"{name}: {count_of(len(counted), 'request')} answered as it should be"
        if failed:
            (failure, _times), *_others = Counter(failed).most_common()
            words = (
                f"{name}: {len(failed)} of {count_of(len(counted), 'request')} failed: {failure}{_fallback(reading)}"
            )
        yield from judge.reading("api_errors", _error_percent(reading), "%", words)
    elif reading.reason == SHARE_USED and not reading.calls:
        yield from judge.unread("api_errors", Unread(f"{name}: not asked: {reading.withheld}"))
    elif not reading.calls and not reading.withheld and not reading.token_failure:
        yield from judge.unread("api_errors", Unread(f"{name}: there was no time left to ask; raise timeout"))
    latency = _latency(reading)
    if latency.p95 is not None:
        words = f"{name}: {in_words(latency, 'p95', latency.p95)}"
        yield from judge.reading("api_latency_p95", latency.p95, "s", words)


def _judge_rate(judge: Judge, reading: ApiReading) -> Iterator[Finding]:
    name, limited = reading.api.name, sum(1 for call in reading.calls if call.limited)
    if limited or reading.reason == RATE_LIMITED:
        until = reading.memory.retry_at
        words = (
            f"{name}: rate limited" + (f", no request before {rfc3339(until)}" if until else "") + _fallback(reading)
        )
        yield from judge.fixed("api_rate_limited", WARNING, words, limited, "count")
    elif reading.calls:
        yield from judge.fixed("api_rate_limited", OK, f"{name}: nothing was refused for its rate", 0, "count")
    quota = reading.quota
    if quota.left_percent is not None:
        reset = f", reset at {rfc3339(quota.reset_at)}" if quota.reset_at else ""
        words = f"{name}: {quota.remaining:g} of {quota.limit:g} requests of the quota are left{reset}"
        yield from judge.reading("api_quota_left", quota.left_percent, "%", words)


def _fallback(reading: ApiReading) -> str:
    return f"; meanwhile: {printable(reading.api.fallback, 200)}" if reading.api.fallback else ""


def _counted(reading: ApiReading) -> list[Any]:
    return [call for call in reading.calls if not call.limited]


def _error_percent(reading: ApiReading) -> float:
    counted = _counted(reading)
    return 100 * sum(1 for call in counted if call.failure) / len(counted)


def _latency(reading: ApiReading) -> Latency:
    return latency_of([call.seconds for call in reading.calls if call.answered and not call.limited])


def _samples(reading: ApiReading) -> Iterator[Sample]:
    labels = {"api": reading.api.name}
    if not reading.blocked:
        yield Sample("external_apis.breaker_open", float(not is_closed(reading.memory)), "count", labels)
    if reading.calls:
        yield Sample("external_apis.rate_limited", sum(call.limited for call in reading.calls), "count", labels)
    if _counted(reading):
        yield Sample("external_apis.error_percent", _error_percent(reading), "percent", labels)
    yield from latency_samples("external_apis", _latency(reading), labels)
    if reading.quota.left_percent is not None:
        yield Sample("external_apis.quota.left_percent", reading.quota.left_percent, "percent", labels)


def _facts(reading: ApiReading, status: str, now: datetime) -> dict[str, Any]:
    memory, quota = render_memory(reading.api, reading.memory, now), reading.quota
    failures = Counter(call.failure for call in reading.calls if call.failure)
    url = urlsplit(reading.api.request.url)._replace(query="", fragment="").geturl()
    return {
        "name": reading.api.name,
        "target": redact_text(f"{reading.api.request.method} {printable(url, 200)}"),
        "status": status if reading.calls or status != OK else UNKNOWN,
        "asked": len(reading.calls),
        "failed": sum(failures.values()),
        "error_percent": round(_error_percent(reading), 4) if _counted(reading) else None,
        "rate_limited": sum(call.limited for call in reading.calls),
        "latency": _latency(reading).facts(),
        "quota": {
            "limit": quota.limit,
            "remaining": quota.remaining,
            "left_percent": None if quota.left_percent is None else round(quota.left_percent, 2),
            "reset_at": rfc3339(quota.reset_at) if quota.reset_at else None,
        },
        "retry_at": memory["retry_at"],
        "breaker": memory["state"],
        "withheld": reading.withheld or reading.blocked or None,
        "failures": [{"failure": text, "count": count} for text, count in failures.most_common(5)],
        "fallback": reading.api.fallback or None,
    }
