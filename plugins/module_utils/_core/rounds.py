# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Whose turn it is: each endpoint is asked once before any is asked twice, and what is silent is given up early."""

from __future__ import annotations

from typing import Optional, Sequence

from .endpoint import Attempt, Endpoint

SILENT = 2  # requests without any answer, in a row, after which the rest would only take time


class Rounds:
    """Requests that are still to be sent. Not safe for threads by itself."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._asked = [0] * len(endpoints)
        self._running = [0] * len(endpoints)
        self._silent = [0] * len(endpoints)
        self._attempts: list[list[Attempt]] = [[] for _one in endpoints]

    def take(self) -> Optional[int]:
        """Return the number of the endpoint to ask now, the least asked first; None when none may be."""
        ready = [number for number in range(len(self._endpoints)) if self._may_be_asked(number)]
        if not ready:
            return None
        number = min(ready, key=lambda one: self._asked[one])
        self._asked[number] += 1
        self._running[number] += 1
        return number

    def put(self, number: int, attempt: Attempt) -> None:
        """Note what came of a request."""
        self._running[number] -= 1
        self._silent[number] = 0 if attempt.answered else self._silent[number] + 1
        self._attempts[number].append(attempt)

    def drop(self, number: int) -> None:
        """Take back a request that says nothing about the endpoint."""
        self._running[number] -= 1
        self._asked[number] -= 1

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is under way or to be asked any more."""
        return not any(self._running) and not any(map(self._is_wanted, range(len(self._endpoints))))

    def attempts(self, number: int) -> tuple[Attempt, ...]:
        """Return what came of an endpoint's requests so far."""
        return tuple(self._attempts[number])

    def _is_wanted(self, number: int) -> bool:
        return self._asked[number] < self._endpoints[number].requests and self._silent[number] < SILENT

    def _may_be_asked(self, number: int) -> bool:
        return self._is_wanted(number) and self._running[number] < self._endpoints[number].concurrency
