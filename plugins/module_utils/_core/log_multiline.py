# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which lines belong to the entry before them: stack traces of Python, Java, Node, Go, .NET, and what is indented."""

from __future__ import annotations

import re

MOST_LINES = 200
_CHAINED = (
    b"Caused by:",
    b"Suppressed:",
    b"Traceback (most recent",
    b"During handling of the above exception",
    b"The above exception was the direct cause",
    b"goroutine ",
    b"created by ",
    b"... ",
    b"--- End of",
)
_CLOSERS = (b"}", b"]", b"})", b"},", b"")
_GO_FRAME = re.compile(rb"[\w./*()\-]{1,300}\([^)\n]{0,300}\)$|exit status \d")
_EXCEPTION = re.compile(rb"[A-Za-z_][\w.$]{0,200}(?:Exception|Error)\b(?::|$)")
_STAMPED = re.compile(rb"[\[(<{]|\S{0,40}\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d |\d{4}[-/]")


class Joiner:
    """Decides, line by line after an entry's first one, whether a line still belongs to it."""

    def __init__(self, first: bytes) -> None:
        self._traceback = first.startswith(b"Traceback (most recent")
        self._go = b"panic:" in first[:200] or b"fatal error:" in first[:200]
        self._exception_may_follow = _STAMPED.match(first) is not None
        self._lines = 1

    def takes(self, line: bytes) -> bool:
        """Return whether the line belongs to the entry."""
        self._lines += 1
        if self._lines > MOST_LINES:
            return False
        if line[:1] in (b" ", b"\t"):
            return True
        if line.startswith(_CHAINED):
            self._traceback = self._traceback or line.startswith(b"Traceback")
            return True
        if self._traceback and line.strip():  # the exception itself ends a traceback
            self._traceback = False
            return True
        if line.rstrip() in _CLOSERS:
            return True
        if self._exception_may_follow and self._lines == 2 and _EXCEPTION.match(line):
            return True
        return self._go and _GO_FRAME.match(line) is not None
