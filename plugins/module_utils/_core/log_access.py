# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Access logs of nginx: requests, their failures by minute, their times; aggregated block by block."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from http import HTTPStatus
from typing import Iterator, Optional

from .log_levels import ERROR
from .log_lines import Entry
from .timestamps import find_timestamp

_MOST_MINUTES = 7 * 1440
# Anchored at the line's beginning: what a client writes into its request or its name cannot pass for a line.
_HEAD = rb"^[^\[\n]*\["
_REQUEST = rb"[^\"\\\n]*(?:\\.[^\"\\\n]*)*"
# To the line's end: a search that goes on in the middle of a line would try each of its characters.
_LINE = re.compile(
    _HEAD + rb"(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):\d\d ([+-]\d{4})\] \"" + _REQUEST + rb"\" (\d{3}) [^\n]*\n?",
    re.MULTILINE,
)
_FAILED = re.compile(_HEAD + rb"([^\]\n]{1,40})\] \"(" + _REQUEST + rb")\" (5\d\d) ")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}  # words tell kinds apart, numbers are masked
_SERVER_ERROR = b'" 5'
_SECONDS = re.compile(rb"\d{1,5}\.\d{3}")
_NAMES = (b"rt=", b"request_time=", b'"request_time":')
_GROWTH = math.log(1.02)  # a bucket is 2 % wide, so that a percentile is off by 1 % at most


class Times:
    """Durations in buckets that grow by 2 %: percentiles in a few kilobytes, however many there are."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration, down to a millisecond."""
        self._buckets[round(math.log(max(seconds, 0.001) / 0.001) / _GROWTH)] += times
        self.count += times

    def percentile(self, share: float) -> Optional[float]:
        """Return the duration that so large a share (0 to 1) does not exceed; None when there is none."""
        rank, seen = math.ceil(share * self.count), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return round(0.001 * math.exp(bucket * _GROWTH), 6)
        return None


@dataclass(frozen=True)
class Worst:
    """The five minutes with the largest share of failed requests, in percent."""

    start: datetime
    requests: int
    percent: float


class Access:
    """Requests of one source by minute (UTC)."""

    def __init__(self, zone: tzinfo, now: datetime, since: Optional[datetime] = None) -> None:
        self._zone, self._now = zone, now
        self._since = since
        self._minutes: dict[datetime, list[int]] = {}
        self._moments: dict[tuple[bytes, bytes], Optional[datetime]] = {}
        self.times = Times()
        self.requests = 0
        self.failed = 0

    @property
    def first(self) -> Optional[datetime]:
        """The first minute with a request."""
        return min(self._minutes, default=None)

    def feed(self, block: bytes) -> int:
        """Count the requests in some whole lines and return how many there are, counted or too old."""
        seen = Counter(_LINE.findall(block))
        for (minute, offset, status), times in seen.items():
            moment = self._moment(minute, offset)
            if moment is not None and (self._since is None or moment >= self._since):
                self._count(moment, int(status) >= 500, times)
        for text, times in _durations(block).items():
            self.times.add(float(text), times)
        return sum(seen.values())

    def _count(self, moment: datetime, failed: bool, times: int) -> None:
        counts = self._minutes.get(moment)
        if counts is None:
            if len(self._minutes) >= _MOST_MINUTES:
                del self._minutes[min(self._minutes)]
            counts = self._minutes[moment] = [0, 0]
        counts[0] += times
        self.requests += times
        if failed:
            counts[1] += times
            self.failed += times

    def failures(self, block: bytes) -> Iterator[Entry]:
        """Yield the failed requests in some whole lines: ``502 Bad Gateway GET /orders/7``, without the query."""
        position = block.find(_SERVER_ERROR)
        while position >= 0:
            end = block.find(b"\n", position) + 1 or len(block)
            match = _FAILED.match(block[block.rfind(b"\n", 0, position) + 1 : end])
            if match:
                when, request, status = (part.decode("utf-8", "replace") for part in match.groups())
                at = find_timestamp(when, self._zone, self._now)
                if self._since is None or at is None or at >= self._since:
                    target = " ".join(part.partition("?")[0] for part in request.split(" ")[:2])
                    yield Entry(ERROR, f"{status} {_PHRASES.get(int(status), '')} {target}", at)
            position = block.find(_SERVER_ERROR, end)

    def _moment(self, minute: bytes, offset: bytes) -> Optional[datetime]:
        key = (minute, offset)
        if key not in self._moments:
            if len(self._moments) > _MOST_MINUTES:
                self._moments.clear()
            text = f"{minute.decode('ascii')}:00 {offset.decode('ascii')}"
            self._moments[key] = find_timestamp(text, timezone.utc, self._now)
        return self._moments[key]

    def worst(self, least: int) -> Optional[Worst]:
        """Return the worst five minutes among those with at least so many requests; None when there are none."""
        found: Optional[Worst] = None
        for start in sorted(self._minutes):
            spans = [self._minutes.get(start + timedelta(minutes=at), (0, 0)) for at in range(5)]
            requests = sum(span[0] for span in spans)
            percent = 100 * sum(span[1] for span in spans) / requests
            if requests >= least and (found is None or percent > found.percent):
                found = Worst(start, requests, percent)
        return found


def _durations(block: bytes) -> Counter[bytes]:
    """Return the request times in some lines: named rt or request_time, else the last thing on the line."""
    name = next((one for one in _NAMES if one in block), None)
    if name is not None:
        texts = Counter(piece[:10].lstrip(b'" ') for piece in block.split(name)[1:])
    else:
        texts = Counter(line.rpartition(b" ")[2].strip(b'"\r') for line in block.splitlines())
    found: Counter[bytes] = Counter()
    for text, times in texts.items():
        match = _SECONDS.match(text) if name is not None else _SECONDS.fullmatch(text)
        if match:
            found[match[0]] += times
    return found
