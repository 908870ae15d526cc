# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How bad a log line is: by its level where it has one, by its words where it has none."""

from __future__ import annotations

import re
from typing import Any, Optional

from .number import parse_number

CRITICAL, ERROR, WARNING, INFO = "critical", "error", "warning", "info"
ERRORS = (CRITICAL, ERROR)

_NAMES = {
    **dict.fromkeys(("emerg", "emergency", "alert", "crit", "critical", "fatal", "panic", "f"), CRITICAL),
    **dict.fromkeys(("severe", "error", "err", "e"), ERROR),
    **dict.fromkeys(("warn", "warning", "w"), WARNING),
    **dict.fromkeys(
        ("notice", "info", "log", "statement", "detail", "hint", "context", "query", "location", "debug", "trace",
         "verbose", "fine", "finer", "finest", "config", "silly", "http", "i", "d"), INFO
    ),
}  # fmt: skip
_WORDS = (
    "emergency|emerg|alert|critical|crit|fatal|panic|severe|error|err|warning|warn|notice|info|statement|detail|hint"
    "|context|query|location|log|debug|trace|verbose"
)
_HEAD = 300  # characters in which a line says its level
# A level is a word in capitals, in brackets, after "level=", or before a colon; in running text it is only a word.
_MARKED = re.compile(
    rf"(?<![\w/.-])(?:(?P<capitals>{_WORDS.upper()})\d?(?![\w/=-])"
    rf"|\[(?P<bracket>(?i:{_WORDS}))\d?\]"
    rf"|(?i:level|lvl|severity|loglevel)['\"]?[=:] ?['\"]?(?P<key>(?i:{_WORDS}))\b"
    rf"|(?P<colon>(?i:{_WORDS}))\d?: )"
)
_GLOG = re.compile(r"(?P<letter>[EFWI])\d{4} \d\d:")
_PRIORITY = re.compile(r"<(?P<number>\d{1,3})>")
_TROUBLE = re.compile(
    r"(?<![\w/.-])(?:\w{0,60}errors?|fatal|panic|\w{0,60}exception|traceback|segfault|uncaught|unhandled|out of memory"
    r"|oom-killer)\b(?![/-]|\.\w)",
    re.IGNORECASE,
)
_NO_TROUBLE = re.compile(
    r"\b(?:no|0|zero|without)\s(?:\w{1,40}\s)?(?:errors?|exceptions?)\b"
    r"|\b\w{0,60}(?:errors?|exceptions?)\b['\"]?\s?[=:]\s?['\"]?(?:0\b|null|none|nil|false|undefined|\[\]|''|\"\")",
    re.IGNORECASE,
)


def level_of_line(line: str) -> Optional[str]:
    """Return the level of a line; None when nothing in it says one.

    >>> level_of_line("2026-11-21 14:00:00 INFO 3 ERROR rows skipped"), level_of_line("app: no errors found")
    ('info', None)
    >>> level_of_line("2026/11/21 14:00:00 [error] 7#7: *1 refused"), level_of_line("TypeError: x is undefined")
    ('error', 'error')
    """
    head = line[:_HEAD]
    priority = _PRIORITY.match(head)
    if priority:
        return level_of_priority(int(priority["number"]) % 8)
    glog = _GLOG.match(head)
    if glog:
        return _NAMES[glog["letter"].lower()]
    marked = _MARKED.search(head)
    if marked:
        return _NAMES[marked[str(marked.lastgroup)].lower()]
    return ERROR if _TROUBLE.search(_NO_TROUBLE.sub(" ", head)) else None


def level_of_value(value: Any) -> Optional[str]:
    """Return the level of a structured entry: a name, or a number as pino and bunyan (10 to 60) or syslog (0 to 7).

    >>> level_of_value("Warning"), level_of_value(50), level_of_value("60"), level_of_value(3)
    ('warning', 'error', 'critical', 'error')
    """
    if isinstance(value, str) and not value.strip().isdigit():
        return _NAMES.get(value.strip().lower())
    number = parse_number(value)
    if number is None:
        return None
    if number < 8:
        return level_of_priority(int(number))
    names = ((60, CRITICAL), (50, ERROR), (40, WARNING))
    return next((name for least, name in names if number >= least), INFO)


def level_of_priority(number: int) -> str:
    """Return the level of a syslog priority (RFC 5424, 6.2.1)."""
    if number <= 2:
        return CRITICAL
    return {3: ERROR, 4: WARNING}.get(number, INFO)
