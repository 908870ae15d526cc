# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Quotas of other people's APIs: what their headers say, and how much of them a look may use."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Mapping, Optional, Sequence

from .timestamps import from_epoch, parse_timestamp

WINDOWS = {"per_second": 1.0, "per_minute": 60.0, "per_hour": 3600.0, "per_day": 86400.0}
PARTS = ("limit", "remaining", "reset")

_EPOCH_FROM = 1e9  # as seconds from now that would be thirty years
_FAMILIES: tuple[Mapping[str, str], ...] = (
    {"limit": "x-ratelimit-limit", "remaining": "x-ratelimit-remaining", "reset": "x-ratelimit-reset"},
    {"limit": "x-rate-limit-limit", "remaining": "x-rate-limit-remaining", "reset": "x-rate-limit-reset"},
    # draft-ietf-httpapi-ratelimit-headers up to 07
    {"limit": "ratelimit-limit", "remaining": "ratelimit-remaining", "reset": "ratelimit-reset"},
    # Ticketmaster
    {"limit": "rate-limit", "remaining": "rate-limit-available", "reset": "rate-limit-reset"},
)
_DRAFT_ITEM = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<token>[\w*.-]+))(?P<parameters>(?:\s*;\s*[\w-]+=[^;,]*)*)')
_PARAMETER = re.compile(r"\s*;\s*([\w-]+)=([^;,]*)")


@dataclass(frozen=True)
class RateLimit:
    """How many requests the vendor allows within so many seconds."""

    requests: int
    seconds: float


@dataclass(frozen=True)
class Quota:
    """What an answer says about the quota; None is what it does not say."""

    limit: Optional[float] = None
    remaining: Optional[float] = None
    reset_at: Optional[datetime] = None

    @property
    def left_percent(self) -> Optional[float]:
        """Return how much of it is left."""
        if self.limit is None or self.remaining is None or self.limit <= 0:
            return None
        return max(0.0, min(100.0, 100 * self.remaining / self.limit))


def read_quota(
    headers: Mapping[str, str], names: Mapping[str, str], known: Sequence[RateLimit], now: datetime
) -> Quota:
    """Return the quota that the headers (lower-case names) tell of.

    ``names`` are the inventory's own names of the parts; without any the usual families are tried. Without a limit in
    the headers, the only known rate limit stands for it.
    """
    given = {part: name.lower() for part, name in names.items() if name}
    families = (given,) if given else _FAMILIES
    found = next((family for family in families if any(name in headers for name in family.values())), None)
    if found is None:
        quota = Quota() if given else _draft_quota(headers, now)
    else:
        texts = {part: headers.get(name, "") for part, name in found.items()}
        reset = read_reset(texts.get("reset", ""), now)
        quota = Quota(_number(texts.get("limit", "")), _number(texts.get("remaining", "")), reset)
    if quota.limit is None and quota.remaining is not None and len(known) == 1:
        return Quota(float(known[0].requests), quota.remaining, quota.reset_at)
    return quota


def _draft_quota(headers: Mapping[str, str], now: datetime) -> Quota:
    """Read ``RateLimit: "name";r=50;t=30`` and ``RateLimit-Policy: "name";q=100;w=60`` (the draft from 08 on)."""
    policies = {name: parameters.get("q") for name, parameters in _items(headers.get("ratelimit-policy", ""))}
    quotas = [
        Quota(
            _number(policies.get(name) or ""),
            _number(parameters.get("r", "")),
            read_reset(parameters.get("t", ""), now),
        )
        for name, parameters in _items(headers.get("ratelimit", ""))
    ]
    return min(
        quotas, key=lambda one: (one.left_percent is None, one.left_percent, one.remaining or 0), default=Quota()
    )


def _items(text: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for match in _DRAFT_ITEM.finditer(text):
        parameters = {key: value.strip() for key, value in _PARAMETER.findall(match["parameters"])}
        found.append((match["quoted"] or match["token"] or "", parameters))
    return found


def _number(text: str) -> Optional[float]:
    """Return the first number of ``100``, ``100;w=60`` or ``100, 100;w=60``."""
    match = re.match(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(?:[,;]|$)", text)
    return float(match[1]) if match else None


def read_reset(text: str, now: datetime) -> Optional[datetime]:
    """Return the moment that seconds, a time stamp in seconds or milliseconds, or a date stand for; None if none.

    >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> [read_reset(text, now).isoformat() for text in ("60", "1767225660", "1767225660000", "2026-01-01T00:01:00Z")]
    ['2026-01-01T00:01:00+00:00', '2026-01-01T00:01:00+00:00', '2026-01-01T00:01:00+00:00', \
'2026-01-01T00:01:00+00:00']
    """
    number = _number(text)
    if number is None:
        return parse_timestamp(text, timezone.utc) or http_date(text)
    return from_epoch(number) if number >= _EPOCH_FROM else now + timedelta(seconds=number)


def http_date(text: str) -> Optional[datetime]:
    """Return the moment of a date as HTTP writes it (RFC 9110, 5.6.7); None if it is none."""
    try:
        moment = parsedate_to_datetime(text.strip())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def retry_at(text: str, now: datetime, otherwise: float, most: float) -> datetime:
    """Return when a server wants to be asked again (Retry-After: seconds or a date).

    ``otherwise`` stands for what cannot be read or lies in the past, and ``most`` is the longest wait in seconds that
    is believed.

    >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> waits = ("120", "Thu, 01 Jan 2026 00:05:00 GMT", "soon", "-5", "99999999999999")
    >>> [(retry_at(text, now, 60, 86400) - now).total_seconds() for text in waits]
    [120.0, 300.0, 60.0, 60.0, 86400.0]
    """
    digits = text.strip()
    if digits.isascii() and digits.isdigit():
        seconds = float(digits[:15])
    else:
        moment = http_date(digits)
        seconds = -1.0 if moment is None else (moment - now).total_seconds()
    return now + timedelta(seconds=min(most, seconds if seconds >= 0 else otherwise))


def spacing(limits: Sequence[RateLimit]) -> float:
    """Return the seconds between requests at which no limit would ever be reached; of a day's limit only its share
    counts (see ``ceiling``): nobody spreads three requests over a day.

    >>> spacing([RateLimit(5, 1), RateLimit(100, 60), RateLimit(5000, 86400)])
    0.6
    """
    return max((limit.seconds / limit.requests for limit in limits if limit.seconds <= 60), default=0.0)


def ceiling(limits: Sequence[RateLimit], share: float, recent: Sequence[datetime], now: datetime) -> Optional[int]:
    """Return how many requests may be sent now, so that ours are never more than ``share`` percent of any limit.

    ``recent`` are the moments of our earlier requests. None is any number: no limit is known. A limit by the second is
    kept by ``spacing`` alone.
    """
    left = []
    for limit in limits:
        if limit.seconds >= 60:
            begin = now - timedelta(seconds=limit.seconds)
            used = sum(1 for moment in recent if begin < moment <= now)
            left.append(max(0, math.floor(limit.requests * share / 100) - used))
    return min(left, default=None)


def still_counting(recent: Sequence[datetime], limits: Sequence[RateLimit], now: datetime) -> tuple[datetime, ...]:
    """Return those of our requests that still count against a limit; a moment in the future is none of ours."""
    longest = max((limit.seconds for limit in limits), default=0.0)
    return tuple(one for one in recent if now - timedelta(seconds=longest) < one <= now)
