# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How a database says what a restore made of it: one line at the end of its comment, which every owner may write."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Collection, Mapping, Optional, Tuple

LOADING, READY, LIVE, KEPT, UNDONE = "loading", "ready", "live", "kept", "undone"
ROLES = (LOADING, READY, LIVE, KEPT, UNDONE)
NAME_BYTES = 63
_SIGN = "[oncall.runbooks restore] "


@dataclass(frozen=True)
class Marker:
    """What a restore made of a database.

    ``loading``: being restored aside, or left so by a dead run. ``ready``: restored aside and verified. ``live``:
    swapped in. ``kept``: what was live before, with its own marker as ``previous``. ``undone``: swapped in and out
    again. ``at`` and ``taken`` (the moment of the data) are RFC 3339. ``number`` counts the swaps of a target, since a
    clock may be set back; 0: of before they were counted.
    """

    role: str
    target: str
    at: str
    snapshot: str
    taken: str
    previous: Optional[Marker] = None
    number: int = 0

    @property
    def order(self) -> Tuple[int, str]:
        """Return what the swaps of a target are sorted by."""
        return self.number, self.at


def with_marker(original: Optional[str], marker: Optional[Marker]) -> Optional[str]:
    """Return a comment with the marker behind the person's own text.

    >>> with_marker("the shop", None)
    'the shop'
    """
    if marker is None:
        return original
    line = _SIGN + json.dumps(asdict(marker), ensure_ascii=True, sort_keys=True)
    return line if original is None else f"{original}\n{line}"


def split_comment(comment: Optional[str]) -> Tuple[Optional[str], Optional[Marker]]:
    """Return the person's own text and the marker; whatever only looks like one stays in the text.

    >>> split_comment("the shop")
    ('the shop', None)
    """
    if comment is None:
        return None, None
    own, sign, line = comment.rpartition(_SIGN)
    if not sign or (own and not own.endswith("\n")):
        return comment, None
    try:
        marker = _read(json.loads(line))
    except (ValueError, TypeError, KeyError):
        return comment, None
    return (own[:-1] if own else None), marker


def _read(data: Mapping[str, Any]) -> Marker:
    if data["role"] not in ROLES or not isinstance(data.get("number", 0), int):
        raise ValueError("no marker of ours")
    previous = data["previous"]
    return Marker(**{**data, "previous": None if previous is None else _read(previous)})


def derived_name(target: str, word: str, used: Collection[str], moment: Optional[datetime] = None) -> str:
    """Return a free name such as ``shop_restored_20260918040000``, cut between characters to what the server keeps.

    The moment is that of the data; where there is none a number makes the difference.

    >>> derived_name("x" * 70, "restored", (), datetime(2026, 9, 18, 4))[-34:]
    'xxxxxxxxxx_restored_20260918040000'
    >>> derived_name("shop", "kept", ("shop_kept_1",))
    'shop_kept_2'
    """
    stem = f"_{word}" if moment is None else f"_{word}_{moment:%Y%m%d%H%M%S}"
    for number in itertools.count(1):
        suffix = stem if number == 1 and moment is not None else f"{stem}_{number}"
        room = NAME_BYTES - len(suffix.encode())
        name = target.encode()[:room].decode("utf-8", "ignore") + suffix
        if name not in used:
            return name
    raise AssertionError("numbers do not end")
