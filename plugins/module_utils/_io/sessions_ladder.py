# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""End sessions: cancel, wait, terminate, wait until they are gone; never without looking again first."""

from __future__ import annotations

import contextlib
from typing import Callable, Iterable

from .._core.errors import DatabaseFailed, TimedOut
from .._core.sessions import Rights
from .._core.sessions_choice import Choice, needed_right
from .._core.sessions_decide import (
    CANCELLED,
    LEFT,
    NOT_ALLOWED,
    STILL_RUNNING,
    STILL_THERE,
    TERMINATED,
    UNVERIFIED,
    Ending,
)
from .._core.sessions_policy import CANCEL, TERMINATE, Policy
from .clock import Clock, wait_until
from .sessions import SessionPort


class Ladder:
    """Ends the planned sessions together: all cancels, one wait, the terminations that are still needed, one wait.

    ``endings()`` tells at any time what became of the sessions, also after a failure half way.
    """

    def __init__(self, port: SessionPort, clock: Clock, policy: Policy, rights: Rights) -> None:
        self._port = port
        self._clock = clock
        self._policy = policy
        self._rights = rights
        self._signalled: dict[str, tuple[Choice, float]] = {}
        self._endings: dict[str, Ending] = {}

    def climb(self, choices: Iterable[Choice]) -> None:
        """Carry out the plan.

        Raises:
            DatabaseFailed: the server was lost on the way; ``endings()`` tells what was done until then.
        """
        choices = list(choices)
        self._cancel([choice for choice in choices if CANCEL in choice.rungs])
        self._terminate([choice for choice in choices if choice.id not in self._endings])

    def endings(self) -> tuple[Ending, ...]:
        """Return what became of each session so far; one that was signalled and not seen to end is ``unverified``."""
        for choice, _moment in self._signalled.values():
            if choice.id not in self._endings:
                self._end(choice, UNVERIFIED, "it was signalled, but its end was not seen")
        return tuple(self._endings.values())

    def _cancel(self, choices: list[Choice]) -> None:
        sent = [choice for choice in choices if self._signal(CANCEL, choice)]
        obstinate = self._watch(sent, self._is_over, CANCELLED, "its statement ended", self._policy.grace)
        for choice in obstinate:
            if TERMINATE not in choice.rungs:
                self._end(choice, STILL_RUNNING, f"no effect {self._policy.grace:g} s after pg_cancel_backend")

    def _terminate(self, choices: list[Choice]) -> None:
        sent = [choice for choice in choices if self._signal(TERMINATE, choice)]
        seconds = self._policy.terminate_timeout
        for choice in self._watch(sent, self._is_gone, TERMINATED, "its process is gone", seconds):
            self._end(choice, STILL_THERE, f"its process is there {seconds:g} s after pg_terminate_backend")

    def _signal(self, how: str, choice: Choice) -> bool:
        """Send a signal; when it was not sent, record why, unless the next rung is still to be tried."""
        try:
            sent = self._port.signal(how, choice.session, choice.rule)
        except DatabaseFailed as error:
            if error.code != "insufficient_privilege":
                raise
            self._end(choice, NOT_ALLOWED, needed_right(choice.session, self._rights))
            return False
        if sent:
            self._signalled.setdefault(choice.id, (choice, self._clock.monotonic()))
        elif how == choice.rungs[-1]:
            self._end_unsent(choice)
        return sent

    def _end_unsent(self, choice: Choice) -> None:
        if choice.id in self._signalled:
            self._end(choice, CANCELLED, "its statement ended")
            return
        state = self._port.state(choice.session)
        self._end(choice, LEFT, "it had left by itself" if state is None else f"it went on by itself, now {state}")

    def _watch(
        self, sent: list[Choice], has_ended: Callable[[Choice], bool], outcome: str, detail: str, seconds: float
    ) -> list[Choice]:
        """Wait for sessions to end, record each that does, and return the ones that did not."""
        waiting = list(sent)

        def all_ended() -> bool:
            for choice in [choice for choice in waiting if has_ended(choice)]:
                self._end(choice, outcome, detail)
                waiting.remove(choice)
            return not waiting

        with contextlib.suppress(TimedOut):
            wait_until(all_ended, "sessions to end", seconds, self._clock)
        return waiting

    def _is_over(self, choice: Choice) -> bool:
        return not self._port.holds(choice.session, choice.rule)

    def _is_gone(self, choice: Choice) -> bool:
        return self._port.state(choice.session) is None

    def _end(self, choice: Choice, outcome: str, detail: str) -> None:
        now = self._clock.monotonic()
        began = self._signalled.get(choice.id, (choice, now))[1]
        self._endings[choice.id] = Ending(choice, outcome, detail, now - began)
