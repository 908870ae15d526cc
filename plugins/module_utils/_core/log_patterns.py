# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Log messages of one kind have one pattern: what differs from one to the next is masked."""

from __future__ import annotations

import hashlib
import re

from .redact import MASK, printable, redact_text

PATTERN_CHARACTERS = 300
EXAMPLE_CHARACTERS = 500
_LOOKED_AT = 2000  # characters of a message; the rest tells no kinds apart

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)?|[@-_])")
# In this order: what is more particular comes first. All repetitions are bounded or possessive by what follows them.
_VARYING = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
    r"|(?P<time>\b\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?)?"
    r"|\b\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?"
    r"|\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\b|\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)"
    r"|(?P<mail>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"
    r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d{1,5}\b)?|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){2,7}:?[0-9a-fA-F]{0,4}(?![\w:])"
    r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){1,7}(?::[0-9a-fA-F]{1,4}){1,6}(?![\w:])|(?<![\w:])::1(?![\w:]))"
    r"|(?P<text>\"[^\"\n]{0,500}\"|(?<!\w)'[^'\n]{0,500}(?:''[^'\n]{0,500}){0,20}'(?!\w)|`[^`\n]{0,500}`)"
    r"|(?P<hex>\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]{0,40}\d)(?=\d{0,40}[a-fA-F])[0-9a-fA-F]{8,}\b)"
    r"|(?P<id>\b(?=[A-Za-z_-]{0,64}\d)[A-Za-z0-9_-]{24,}\b)"
    r"|(?P<n>\d+(?:[.,]\d+)*)"
)
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|\bAKIA[0-9A-Z]{16}\b|\b(?:sk|pk|rk)_live_\w{8,}")
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_LEADING_TIME = re.compile(r"^(?:[\[(]?<time>[\])]?[ :,|-]*)+")


def plain(text: str) -> str:
    """Return text without the terminal's escape sequences.

    >>> plain("\\x1b[31mred\\x1b[0m")
    'red'
    """
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def pattern_of(message: str) -> str:
    """Return the pattern of a message, in one line and at most PATTERN_CHARACTERS long.

    >>> pattern_of("2026-11-21 14:00:00.123 order 47 of 10.0.0.7: no user 'a' (7f9c24e8-3b12-4fef-91e0-56ec1b5f2c3a)")
    'order <n> of <ip>: no user <text> (<uuid>)'
    >>> pattern_of("GET /api/orders/4711/items failed") == pattern_of("GET /api/orders/12/items failed")
    True
    """
    masked = _VARYING.sub(lambda match: f"<{match.lastgroup}>", plain(message[:_LOOKED_AT]))
    masked = _LEADING_TIME.sub("", " ".join(masked.split()))
    return printable(masked, PATTERN_CHARACTERS)


def group_id(source: str, pattern: str) -> str:
    """Return the short name of a group: the same in every run."""
    return hashlib.sha256(f"{source}\0{pattern}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


def example_of(text: str) -> str:
    """Return a message fit to be shown: no secrets, no addresses of people, no control characters."""
    shown = redact_text(plain(text[: 2 * _LOOKED_AT]))
    shown = _MAIL.sub("<mail>", _TOKEN.sub(MASK, shown))
    return printable(shown, EXAMPLE_CHARACTERS)
