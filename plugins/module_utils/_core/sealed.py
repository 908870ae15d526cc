# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Files of facts that lie beside a copy or a restore: JSON that says in which format it is."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Iterator, Mapping, Optional

from .errors import PreconditionFailed
from .redact import printable


def seal(facts: Mapping[str, Any], form: int, *, any_bytes: bool = False) -> str:
    """Return the text of the file; with ``any_bytes`` names that are no UTF-8 keep their bytes as escapes."""
    return json.dumps({"format": form, **facts}, ensure_ascii=any_bytes, indent=1, sort_keys=True) + "\n"


def unseal(text: str, form: int) -> dict[str, Any]:
    """Return the facts of a file, without its format.

    Raises:
        ValueError: it is no such file, or of another format.
    """
    facts = json.loads(text)
    if not isinstance(facts, dict) or facts.pop("format", None) != form:
        raise ValueError("another format")
    return facts


def next_id(now: datetime, newest: Optional[str]) -> str:
    """Return the id of a new record: its moment, or what sorts right behind the newest one when a clock was set back.

    >>> next_id(datetime(2026, 9, 18, 4), "20260918-043000-000000")
    '20260918-043000-000000.1'
    """
    stamp = now.strftime("%Y%m%d-%H%M%S-%f")
    return stamp if newest is None or stamp > newest else f"{newest}.1"


@contextmanager
def reading_manifest() -> Iterator[None]:
    """Read the facts of a copy in it.

    Raises:
        PreconditionFailed: they are damaged, or of a newer format (code ``manifest_unreadable``).
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PreconditionFailed(
            f"the facts of the copy cannot be read: {printable(str(error))}",
            code="manifest_unreadable",
            hint="the copy is of a newer version of this collection, or damaged; choose another one",
        ) from error
