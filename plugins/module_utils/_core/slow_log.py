# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Slow-query logging for a bounded time: what is noted about it, what is decided, and what is true afterwards."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Mapping, Optional

from .redact import printable

SERVER, DATABASE, ROLE = "server", "database", "role"
SETTING = "log_min_duration_statement"
_MARKER = re.compile(r"\n?\[oncall\.runbooks slow_log (\{[^\n]*\})\]")


@dataclass(frozen=True)
class Marker:
    """What was turned on: noted as a line of a database's comment, where every role can read it.

    ``until`` and ``since`` in seconds of the Unix epoch on the server's clock, ``threshold`` in milliseconds,
    ``previous`` the stored value before (None: there was none), ``token`` tells one run from the next.
    """

    scope: str
    name: str
    threshold: int
    previous: Optional[str]
    since: float
    until: float
    token: str

    def words(self) -> str:
        """Return what is logged, for people."""
        return "the whole server" if self.scope == SERVER else f"{self.scope} {printable(self.name, 63)}"


def read_markers(comment: Optional[str]) -> tuple[Marker, ...]:
    """Return the markers in a comment; what is no marker, or a broken one, is left alone.

    >>> read_markers("our shop")
    ()
    """
    found = []
    for text in _MARKER.findall(comment or ""):
        try:
            raw = json.loads(text)
            found.append(_read(raw))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def _read(raw: Mapping[str, Any]) -> Marker:
    previous = raw["previous"]
    return Marker(
        scope={SERVER: SERVER, DATABASE: DATABASE, ROLE: ROLE}[raw["scope"]],
        name=str(raw["name"]),
        threshold=int(raw["threshold"]),
        previous=None if previous is None else str(previous),
        since=float(raw["since"]),
        until=float(raw["until"]),
        token=str(raw["token"]),
    )


def with_marker(comment: Optional[str], marker: Marker) -> str:
    """Return the comment with this marker instead of an earlier one of the same scope and name."""
    kept = without_marker(comment, marker.scope, marker.name) or ""
    line = f"[oncall.runbooks slow_log {json.dumps(asdict(marker), sort_keys=True)}]"
    return f"{kept}\n{line}"


def without_marker(comment: Optional[str], scope: str, name: str) -> Optional[str]:
    """Return the comment without the marker, exactly as people wrote it; None when nothing is left.

    >>> marker = Marker("server", "", 250, None, 0.0, 900.0, "a")
    >>> without_marker(with_marker("our shop", marker), "server", "")
    'our shop'
    """

    def drop(match: re.Match[str]) -> str:
        mine = read_markers(match.group(0))
        return "" if mine and (mine[0].scope, mine[0].name) == (scope, name) else match.group(0)

    return _MARKER.sub(drop, comment or "") or None
