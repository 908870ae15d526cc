# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which files of a directory are rotated generations of a log."""

from __future__ import annotations

import re
from typing import Iterable

_SUFFIX = r"[.-]\d[\dTZ_:-]{0,24}(?:\.\d{1,6})?(?:\.(?P<packed>gz|xz|bz2|zst|Z))?"


def generations(name: str, names: Iterable[str]) -> list[str]:
    """Return the names of a log's generations: ``app.log.1``, ``app.log-20261121.gz``, ``app-20261121.log``.

    >>> generations("app.log", ["app.log", "app.log.1", "app.log.2.gz", "app-20261121.log", "app.log.bak"])
    ['app-20261121.log', 'app.log.1', 'app.log.2.gz']
    """
    stem, dot, extension = name.rpartition(".")
    shapes = re.escape(name) + _SUFFIX
    if stem:
        dated = r"-\d{8}[\dTZ_-]{0,16}"
        shapes += rf"|{re.escape(stem)}{dated}{re.escape(dot + extension)}(?:\.(?:gz|xz|bz2|zst|Z))?"
    pattern = re.compile(f"(?:{shapes})")
    return sorted(other for other in names if other != name and pattern.fullmatch(other))


def is_packed(name: str) -> bool:
    """Tell whether a generation is compressed."""
    return name.endswith((".gz", ".xz", ".bz2", ".zst", ".Z"))


def live_only(names: Iterable[str]) -> list[str]:
    """Return the names that are no generation of another one and not compressed.

    >>> live_only(["app.log", "app.log.1", "app.log.2.gz", "other.log"])
    ['app.log', 'other.log']
    """
    all_names = sorted(set(names))
    rotated = {one for name in all_names for one in generations(name, all_names)}
    return [name for name in all_names if name not in rotated and not is_packed(name)]
