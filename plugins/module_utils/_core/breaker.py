# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""A circuit breaker as a state machine without a clock: its state is given back by each run and to the next.

Closed: requests are sent. After a number of failures in a row it opens: none is sent until the cooldown is over. Then
it is half open: one trial is sent, which closes it or opens it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Optional

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
STATES = (CLOSED, OPEN, HALF_OPEN)


@dataclass(frozen=True)
class BreakerPolicy:
    """After how many failures in a row it opens, and for how many seconds."""

    failures: int = 3
    cooldown: float = 300.0


@dataclass(frozen=True)
class Breaker:
    """The state: ``failures`` in a row, ``since`` when it is in this state (None: always), ``opened`` the last time."""

    state: str = CLOSED
    failures: int = 0
    since: Optional[datetime] = None
    opened: Optional[datetime] = None


def at(breaker: Breaker, policy: BreakerPolicy, now: datetime) -> Breaker:
    """Return the breaker as it is now: an open one whose cooldown is over is half open."""
    trial = trial_at(breaker, policy, now)
    if breaker.state == OPEN and (trial is None or now >= trial):
        return replace(breaker, state=HALF_OPEN, since=now)
    return breaker


def trial_at(breaker: Breaker, policy: BreakerPolicy, now: datetime) -> Optional[datetime]:
    """Return when an open breaker lets a trial pass, None when it lets all pass.

    A clock that was set back does not keep it open for longer than its cooldown.
    """
    if breaker.state != OPEN:
        return None
    opened = breaker.opened if breaker.opened is not None and breaker.opened <= now else now
    return opened + timedelta(seconds=policy.cooldown)


def allowed(breaker: Breaker) -> Optional[int]:
    """Return how many requests may be sent now; None is any number."""
    return {CLOSED: None, HALF_OPEN: 1}.get(breaker.state, 0)


def record(breaker: Breaker, policy: BreakerPolicy, succeeded: bool, now: datetime) -> Breaker:
    """Return the breaker after a request.

    >>> from datetime import datetime
    >>> now, policy = datetime(2026, 1, 1), BreakerPolicy(failures=2, cooldown=60)
    >>> once = record(Breaker(), policy, False, now)
    >>> twice = record(once, policy, False, now)
    >>> once.state, twice.state, record(at(twice, policy, now + timedelta(seconds=60)), policy, True, now).state
    ('closed', 'open', 'closed')
    """
    if succeeded:
        return Breaker(CLOSED, 0, breaker.since if breaker.state == CLOSED else now, breaker.opened)
    failures = breaker.failures + 1
    if breaker.state == CLOSED and failures < policy.failures:
        return replace(breaker, failures=failures)
    since = breaker.since if breaker.state == OPEN else now
    return Breaker(OPEN, failures, since, now)
