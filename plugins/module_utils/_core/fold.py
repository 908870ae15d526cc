# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Many readings of one check as few findings: the bad ones by name, the good ones together."""

from __future__ import annotations

from typing import Iterator, Mapping, Optional, Sequence

from .limits import Limit
from .readings import Judge
from .result import Finding


def fold(
    found: Sequence[Sequence[Finding]], limits: Mapping[str, Optional[Limit]], all_well: Mapping[str, str], noun: str
) -> Iterator[Finding]:
    """Yield the findings of all objects, by check in the order of ``all_well``: what is said when nothing is bad.

    A check may be switched off for all and on for one object: what was found is never left out.
    """
    for check, words in all_well.items():
        same = [finding for own in found for finding in own if finding.check == check]
        if len(same) == 1:
            yield same[0]
        elif same:
            judge = Judge({check: limits.get(check) or Limit()})
            yield from judge.each(check, same, f"{words} at all {len(same)} {noun}")
