# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""APIs of others: what is asked of them, what is remembered from run to run, and when they must be left alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Mapping, Optional

from .breaker import HALF_OPEN, OPEN, STATES, Breaker, BreakerPolicy, allowed, at, trial_at
from .endpoint import HttpRequest
from .errors import InvalidValue
from .http_answer import Expectation
from .limits import Limit
from .quota import Quota, RateLimit, ceiling, still_counting
from .timestamps import parse_timestamp
from .units import count_of, rfc3339

ASK, BREAKER_OPEN, RATE_LIMITED, SHARE_USED = "ask", "breaker_open", "rate_limited", "share_used"

_SENT_MOST = 100_000


@dataclass(frozen=True)
class OAuth:
    """A client that gets its own tokens (RFC 6749, 4.4)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    in_body: bool = False


@dataclass(frozen=True)
class Api:
    """What is asked of one API; ``share`` is the percentage of its quota that may be used for it."""

    name: str
    request: HttpRequest
    expected: Expectation
    timeout: float
    requests: int
    rates: tuple[RateLimit, ...]
    share: float
    quota_names: Mapping[str, str]
    policy: BreakerPolicy
    retry_most: float
    limits: Mapping[str, Optional[Limit]]
    oauth: Optional[OAuth] = None
    fallback: str = ""


@dataclass(frozen=True)
class Memory:
    """What one run tells the next: the breaker, until when to keep quiet, and our requests that still count."""

    breaker: Breaker = field(default_factory=Breaker)
    retry_at: Optional[datetime] = None
    sent: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Call:
    """One request. ``limited``: it was refused because of the quota, which is no fault of the API."""

    seconds: float
    failure: Optional[str] = None
    answered: bool = True
    limited: bool = False


@dataclass(frozen=True)
class ApiReading:
    """What was seen of an API; ``withheld`` is why not all requests were sent, and ``reason`` its kind."""

    api: Api
    memory: Memory
    calls: tuple[Call, ...] = ()
    quota: Quota = field(default_factory=Quota)
    reason: str = ASK
    withheld: str = ""
    token_failure: str = ""
    blocked: str = ""


@dataclass(frozen=True)
class Permission:
    """How many requests may be sent now, and why not more."""

    requests: int
    reason: str = ASK
    words: str = ""


def permit(api: Api, memory: Memory, now: datetime) -> Permission:
    """Return how many requests may be sent: what the server asked for comes first, then the breaker, then our share."""
    if memory.retry_at is not None and now < memory.retry_at:
        return Permission(0, RATE_LIMITED, f"no request before {rfc3339(memory.retry_at)}, as the server asked")
    breaker = at(memory.breaker, api.policy, now)
    trial = trial_at(breaker, api.policy, now)
    if trial is not None:
        since = f" since {rfc3339(breaker.since)}" if breaker.since else ""
        words = f"open{since} after {count_of(breaker.failures, 'failure')} in a row, next trial at {rfc3339(trial)}"
        return Permission(0, BREAKER_OPEN, words)
    most = ceiling(api.rates, api.share, memory.sent, now)
    if most == 0:
        return Permission(0, SHARE_USED, _share_words(api, memory, now))
    wanted = min(api.requests, allowed(breaker) or api.requests)
    if most is not None and most < wanted:
        return Permission(
            most, SHARE_USED, f"{most} of {wanted} requests: more are not within {api.share:g} % of the quota"
        )
    return Permission(wanted)


def _share_words(api: Api, memory: Memory, now: datetime) -> str:
    if ceiling(api.rates, api.share, (), now) == 0:
        return f"{api.share:g} % of its quota is less than one request: raise max_quota_share"
    sent = len(still_counting(memory.sent, api.rates, now))
    return f"{count_of(sent, 'request')} of earlier runs used up {api.share:g} % of the quota (max_quota_share)"


def read_memory(raw: Any, option: str) -> Memory:
    """Return what the last run remembered.

    Raises:
        InvalidValue: it is not what a run returns.
    """
    if not isinstance(raw, Mapping):
        raise InvalidValue(f"{option} must be what the last run returned as breakers, not {raw!r}")
    state, failures = raw.get("state", "closed"), raw.get("failures", 0)
    if state not in STATES or not str(failures).isdecimal():
        raise InvalidValue(f"{option}: state must be one of {', '.join(STATES)} and failures a number")
    breaker = Breaker(str(state), int(failures), _moment(raw, "since", option), _moment(raw, "opened", option))
    return Memory(breaker, _moment(raw, "retry_at", option), _sent(raw.get("sent") or {}, option))


def _sent(raw: Any, option: str) -> tuple[datetime, ...]:
    counts = raw.values() if isinstance(raw, Mapping) else (None,)
    if not all(str(count).isdecimal() for count in counts) or sum(map(int, counts)) > _SENT_MOST:
        raise InvalidValue(f"{option}.sent must map moments to numbers of requests")
    moments = [(_moment({"sent": text}, "sent", option), int(count)) for text, count in raw.items()]
    return tuple(moment for moment, count in moments if moment is not None for _one in range(count))


def _moment(raw: Mapping[str, Any], key: str, option: str) -> Optional[datetime]:
    text = raw.get(key)
    if text in (None, ""):
        return None
    moment = parse_timestamp(str(text), timezone.utc)
    if moment is None:
        raise InvalidValue(f"{option}.{key} must be a moment as 2026-09-18T04:00:00Z, not {text!r}")
    return moment


def render_memory(api: Api, memory: Memory, now: datetime) -> dict[str, Any]:
    """Return what this run tells the next; read back by ``read_memory``."""
    breaker = memory.breaker
    counting = still_counting(memory.sent, api.rates, now)
    return {
        "state": breaker.state,
        "failures": breaker.failures,
        "since": _text(breaker.since),
        "opened": _text(breaker.opened),
        "trial_at": _text(trial_at(breaker, api.policy, now)),
        "retry_at": _text(_whole(memory.retry_at) if memory.retry_at and memory.retry_at > now else None),
        "sent": dict(Counter(rfc3339(moment) for moment in counting)),
    }


def _text(moment: Optional[datetime]) -> Optional[str]:
    return None if moment is None else rfc3339(moment)


def _whole(moment: datetime) -> datetime:
    """Return the next whole second: written without fractions, the moment must not become an earlier one."""
    return moment.replace(microsecond=0) + timedelta(seconds=1) if moment.microsecond else moment


def is_closed(memory: Memory) -> bool:
    """Tell whether the breaker lets everything pass."""
    return memory.breaker.state not in (OPEN, HALF_OPEN)
