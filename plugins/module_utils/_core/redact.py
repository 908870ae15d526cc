# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Keep secrets and customers' data out of everything that is printed or stored."""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping

MASK = "********"

_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^@\s/]+(?=@)", re.IGNORECASE)
_KEY_VALUE = re.compile(
    r"(?P<key>\b(?:password|passwd|passfile|pwd|secret|token|api[-_]?key|authorization)\b['\"]?\s*[=:]\s*)"
    r"(?:'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|(?:bearer |basic )?[^\s,;&)]+)",
    re.IGNORECASE,
)
_SUSPICIOUS = re.compile(r"://|pass|pwd|secret|token|api|authorization", re.IGNORECASE)
_SQL_PASSWORD = re.compile(r"(?P<key>\bpassword\s+)(?:[eE]?'(?:[^'\\]|\\.|'')*'|\$(\w*)\$.*?\$\2\$)", re.IGNORECASE)
_DOLLAR_QUOTED = re.compile(r"\$(\w*)\$.*?(?:\$\1\$|\Z)", re.DOTALL)
_QUOTED = re.compile(r"[eE]?'(?:[^'\\]|\\.|'')*(?:'|\Z)", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w$.\"])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?\b", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|--[^\n]*", re.DOTALL)


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask known secrets, passwords in URLs and ``key=value`` secrets in free text.

    >>> redact_text("connect to postgresql://app:s3cret@db/shop failed: password=x")
    'connect to postgresql://app:********@db/shop failed: password=********'
    """
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, MASK)
    if not _SUSPICIOUS.search(text):  # what all three patterns have in common: results hold thousands of short texts
        return text
    text = _URL_PASSWORD.sub(lambda m: m["head"] + MASK, text)
    text = _SQL_PASSWORD.sub(lambda m: m["key"] + MASK, text)
    return _KEY_VALUE.sub(lambda m: m["key"] + MASK, text)


def redact_query(query: str, limit: int = 300) -> str:
    """Return a query's shape without its literals: they are customers' data and sometimes passwords.

    ``limit`` is in characters.

    >>> redact_query("SELECT * FROM users WHERE mail = 'a@b.example' AND id = 42  -- hi")
    'SELECT * FROM users WHERE mail = ? AND id = ?'
    """
    for pattern in (_COMMENT, _DOLLAR_QUOTED, _QUOTED, _NUMBER):
        query = pattern.sub(" " if pattern is _COMMENT else "?", query)
    shape = " ".join(query.split())
    return shape if len(shape) <= limit else shape[: limit - 1] + "…"


def redact_value(value: Any, secrets: Iterable[str]) -> Any:
    """Mask secrets in every string of a nested result, keys too."""
    return _redact_value(value, tuple(secrets), {})


def _redact_value(value: Any, secrets: tuple[str, ...], seen: dict[str, str]) -> Any:
    if isinstance(value, str):
        if value not in seen:
            seen[value] = redact_text(value, secrets)
        return seen[value]
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, dict):
        return {_redact_value(key, secrets, seen): _redact_value(item, secrets, seen) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redact_value(item, secrets, seen) for item in value]
    return _redact_value(dict(value), secrets, seen) if isinstance(value, Mapping) else value


def printable(text: str, limit: int = 500) -> str:
    """Return text without control characters and terminal escapes, cut to ``limit`` characters.

    >>> printable("a\\x1b[31mb\\nc")
    'a\\\\x1b[31mb\\\\nc'
    """
    safe = (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
