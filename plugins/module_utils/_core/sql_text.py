# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""SQL that is shown to people, who will paste it; what we send ourselves is quoted by the driver or the server."""

from __future__ import annotations

from .redact import printable


def identifier(*names: str) -> str:
    """Return a name, or a name with its schema, quoted (PostgreSQL documentation, 4.1.1).

    A control character is shown as an escape, so that such a name names nothing instead of something else.

    >>> identifier("ops"), identifier("my shop", 'a"b')
    ('"ops"', '"my shop"."a""b"')
    """
    return ".".join('"' + printable(name).replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    r"""Return a text quoted (PostgreSQL documentation, 4.1.2.1 and 4.1.2.2).

    >>> literal("1s"), literal("it's"), literal("a\\b")
    ("'1s'", "'it''s'", "E'a\\\\b'")
    """
    shown = printable(text)
    return ("E" if "\\" in shown else "") + "'" + shown.replace("\\", "\\\\").replace("'", "''") + "'"
