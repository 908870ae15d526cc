# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One long statement in a session of its own, watched from another one: it never waits longer than allowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Callable, Optional

from .._core.errors import DatabaseFailed
from .._core.reindex_watch import Patience, Sighting
from .clock import Clock
from .postgres import Database
from .reindex_control import Control

_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_BETWEEN_FIRST_LOOKS = 0.005  # until the new index is seen: it has to be written down as soon as it exists


@dataclass(frozen=True)
class Ended:
    """How a statement ended. ``given_up``: why it was cancelled by us; ``waited``: seconds spent waiting for others."""

    error: Optional[DatabaseFailed] = None
    given_up: Optional[str] = None
    blockers: tuple[int, ...] = ()
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def code(self) -> str:
        """Return the stable word for the end: empty when all went well."""
        if self.error is None:
            return ""
        return self.given_up if self.given_up and self.error.code == "cancelled" else self.error.code


def run_watched(
    session: Database,
    text: str,
    control: Control,
    clock: Clock,
    patience: Patience,
    look: Callable[[Sighting], bool],
    end_now: Callable[[], Optional[str]],
) -> Ended:
    """Run a statement to its end, or cancel it.

    ``look`` is told every sighting and returns True while it wants to look closely; ``end_now`` may name a reason to
    stop. The session's own lock_timeout is only the last resort, for a client that has died.

    Raises:
        DatabaseFailed: the watching session was lost.
    """
    start = last = clock.monotonic()
    given_up: Optional[str] = None
    with ThreadPoolExecutor(1, "reindex-statement") as one:
        running = one.submit(session.execute, text)
        try:
            pause = _SECONDS_BETWEEN_FIRST_LOOKS
            while not wait([running], pause).done:
                sighting, now = control.sight(session.reported_pid), clock.monotonic()
                pause = _SECONDS_BETWEEN_FIRST_LOOKS if look(sighting) else _SECONDS_BETWEEN_LOOKS
                reason = patience.exhausted(sighting, now - last) or end_now()
                last = now
                if reason and given_up is None:
                    given_up = reason
                    session.cancel()
        finally:
            if not running.done():  # the watch has broken off: never leave a statement behind
                session.cancel()
    error = running.exception()
    if error is not None and not isinstance(error, DatabaseFailed):
        raise error
    waited = patience.waited_for_others + patience.waited_for_lock
    return Ended(error, given_up, patience.blockers, clock.monotonic() - start, waited)
