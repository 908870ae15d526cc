# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the moments that databases and logs write, in the few forms that they come in."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Optional

_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
)}  # fmt: skip
_ZONE = r"(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
_ISO = re.compile(
    r"(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)? ?" + _ZONE,
    re.ASCII,
)
_COMMON_LOG = re.compile(
    r"(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) ?"
    + _ZONE,
    re.ASCII,
)
_SYSLOG = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)", re.ASCII
)
_FRACTION = re.compile(r"(?<=:\d\d)\.(\d{1,6})\d*", re.ASCII)
_MILLISECONDS_FROM = 1e11  # 5138 as seconds, 1973 as milliseconds


def parse_timestamp(text: str, zone: tzinfo) -> Optional[datetime]:
    """Return the moment of a whole text as ISO 8601 or PostgreSQL write it, in UTC; None when it is none.

    A date alone is none: it would be up to a day off. Without an offset of its own it is a time in ``zone``.

    >>> parse_timestamp("2026-11-21 14:00:00.5+02", timezone.utc).isoformat()
    '2026-11-21T12:00:00.500000+00:00'
    >>> parse_timestamp("2026-11-21", timezone.utc) is None
    True
    """
    match = _ISO.fullmatch(text.strip())
    return _moment(match, zone) if match else None


def parse_rfc3339(text: object) -> Optional[datetime]:
    """Return the moment that a person or a program wrote as RFC 3339, in UTC; None when it is none.

    One without a time zone is none: it could be a day off. The fraction may have any number of digits, as Go writes it.

    >>> parse_rfc3339("2026-11-21T11:55:18.014731586+01:00").isoformat()
    '2026-11-21T10:55:18.014731+00:00'
    >>> parse_rfc3339("2026-11-21T11:55:18"), parse_rfc3339("soon"), parse_rfc3339(None)
    (None, None, None)
    """
    full = _FRACTION.sub(lambda match: "." + match[1].ljust(6, "0"), str(text))
    try:
        moment = datetime.fromisoformat(full[:-1] + "+00:00" if full.endswith(("Z", "z")) else full)
        return None if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def parse_own(text: str) -> datetime:
    """Return the moment that this collection itself wrote down, as ``units.rfc3339`` writes it or with a fraction.

    Raises:
        ValueError: it is written differently, so it is not ours.
    """
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc)


def find_timestamp(head: str, zone: tzinfo, now: datetime) -> Optional[datetime]:
    """Return the first moment in the head of a log line, in UTC; None when there is none.

    Syslog writes no year: it is the latest year in which the moment is not in the future.

    >>> find_timestamp("[21/Nov/2026:14:00:00 +0000] x", timezone.utc, datetime(2026, 11, 22)).hour
    14
    """
    for pattern in (_ISO, _COMMON_LOG):
        match = pattern.search(head)
        if match:
            return _moment(match, zone)
    match = _SYSLOG.search(head)
    return _without_year(match, zone, now) if match else None


def from_epoch(number: float) -> Optional[datetime]:
    """Return the moment of seconds or milliseconds since 1970; None when no calendar has it."""
    try:
        seconds = number / 1000 if abs(number) >= _MILLISECONDS_FROM else number
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _moment(match: re.Match[str], zone: tzinfo) -> Optional[datetime]:
    month = match["month"]
    fraction = (match.groupdict().get("fraction") or "")[:6].ljust(6, "0")
    try:
        local = datetime(
            int(match["year"]),
            int(month) if month.isdigit() else _MONTHS.get(month, 0),
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(int(match["second"] or 0), 59),  # a leap second
            int(fraction),
            tzinfo=_offset(match["zone"], zone),
        )
        return local.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _offset(text: Optional[str], zone: tzinfo) -> tzinfo:
    if text is None:
        return zone
    if not text[1:2].isdigit():
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _without_year(match: re.Match[str], zone: tzinfo, now: datetime) -> Optional[datetime]:
    local_now = now.astimezone(zone)
    for year in range(local_now.year + 1, local_now.year - 5, -1):  # 29 February is not in every year
        try:
            moment = datetime(
                year,
                _MONTHS.get(match["month"], 0),
                int(match["day"]),
                int(match["hour"]),
                int(match["minute"]),
                min(int(match["second"]), 59),
                tzinfo=zone,
            )
        except ValueError:
            continue
        if moment <= local_now + timedelta(days=1):
            return moment.astimezone(timezone.utc)
    return None
