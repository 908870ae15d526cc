# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The lease that keeps two runs from one host: who holds it, until when, and who may take it over."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Mapping, Optional

from .errors import InvalidValue, LockBusy, PreconditionFailed
from .redact import printable
from .result import OK, WARNING, Action, Decision, Finding
from .timestamps import parse_own
from .units import human_duration, rfc3339

ACQUIRED, RENEWED, RELEASED = "acquired", "renewed", "released"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}")
_SHORTEST_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """The process that works under the lease, on the controller: ``run`` is unique to it.

    ``pid`` and ``pid_start`` (clock ticks since boot) say something only on the same ``host`` and ``boot_id`` (the boot
    and the PID namespace).
    """

    run: str
    host: str
    boot_id: str = ""
    pid: Optional[int] = None
    pid_start: Optional[int] = None
    user: str = ""
    runbook: str = ""

    def label(self) -> str:
        """Return the holder for messages: ``weekly-maintenance of ana at ops1, pid 4711``."""
        who = f"{self.runbook or 'a run'} of {self.user or 'somebody'} at {self.host}"
        return printable(who if self.pid is None else f"{who}, pid {self.pid}", 200)


@dataclass(frozen=True)
class Lease:
    """Who holds what since when and until when; times of the host's own clock."""

    name: str
    holder: Holder
    acquired_at: datetime
    expires_at: datetime

    def record(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "name": self.name,
            "holder": asdict(self.holder),
            "acquired_at": rfc3339(self.acquired_at),
            "expires_at": rfc3339(self.expires_at),
        }


@dataclass(frozen=True)
class LeasePolicy:
    """What is wanted. ``dead_runs`` are runs whose process is known to be gone; ``ttl`` in seconds."""

    name: str
    state: str
    me: Holder
    ttl: float
    dead_runs: frozenset[str] = frozenset()


def check_name(name: str) -> str:
    """Return a lock's name when it can be a file's name too.

    Raises:
        InvalidValue: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"name of a lock must be 1 to 100 letters, digits or one of _ . @ -, not {printable(name, 120)!r}",
            hint="begin with a letter or digit",
        )
    return name


def check_ttl(seconds: float) -> float:
    """Return the lease's length.

    Raises:
        InvalidValue: shorter than a minute: it would expire under a run that is alive.
    """
    if seconds < _SHORTEST_SECONDS:
        raise InvalidValue(
            f"ttl must be at least 1m, not {human_duration(seconds)}",
            hint="choose longer than the longest step between two renewals",
        )
    return seconds


def read_record(record: Mapping[str, Any]) -> Lease:
    """Return a stored lease.

    Raises:
        ValueError: this is no record of a lease.
    """
    try:
        holder = {key: record["holder"][key] for key in Holder.__dataclass_fields__}
        return Lease(
            str(record["name"]), Holder(**holder), parse_own(record["acquired_at"]), parse_own(record["expires_at"])
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a lease: {error}") from error


def wanted_lease(policy: LeasePolicy, found: Optional[Lease], now: datetime) -> Optional[Lease]:
    """Return the lease that is to be stored, or None when none is to be left.

    Raises:
        LockBusy: another run's lease has not expired and its process is not known to be dead.
        PreconditionFailed: code ``lock_lost``: the lease to renew is no longer ours.
    """
    ours = found is not None and found.holder.run == policy.me.run
    if policy.state == RELEASED:
        return None if ours else found
    if policy.state == RENEWED and (found is None or not ours):
        raise _lost(policy.name, found)
    if found is not None and not ours and not is_free(found, policy.dead_runs, now):
        raise _busy(found, now)
    expires_at = now.replace(microsecond=0) + timedelta(seconds=policy.ttl)
    if found is not None and ours:
        renew = policy.state == RENEWED or found.expires_at <= now
        return replace(found, expires_at=expires_at) if renew else found
    return Lease(policy.name, policy.me, now.replace(microsecond=0), expires_at)


def is_free(found: Lease, dead_runs: frozenset[str], now: datetime) -> bool:
    """Tell whether another run's lease may be taken over."""
    return found.expires_at <= now or found.holder.run in dead_runs


def decide(policy: LeasePolicy, found: Optional[Lease], now: datetime) -> Decision:
    """Return what is to be done about the lease; raises as wanted_lease does."""
    wanted = wanted_lease(policy, found, now)
    before, after = _shown(found), _shown(wanted)
    verb = _verb(policy, found, wanted)
    msg = _sentence(policy, verb, found, wanted)
    if verb is None:
        return Decision(msg, findings=_findings(policy, found, msg), before=before, after=after)
    reason = f"{policy.me.label()} needs the host for itself"
    if verb == "take over" and found is not None:
        ended = "has expired" if found.expires_at <= now else "belongs to a process that is gone"
        reason = f"the lease of {found.holder.label()} {ended}"
    elif verb == "release":
        reason = "the work is over"
    action = Action(f"{verb.replace(' ', '_')}:{policy.name}", verb, policy.name, reason)
    return Decision(msg, plan=(action,), findings=_findings(policy, found, msg), before=before, after=after)


def _verb(policy: LeasePolicy, found: Optional[Lease], wanted: Optional[Lease]) -> Optional[str]:
    if found == wanted:
        return None
    if wanted is None:
        return "release"
    if found is None:
        return "acquire"
    return "renew" if found.holder.run == policy.me.run else "take over"


def _sentence(policy: LeasePolicy, verb: Optional[str], found: Optional[Lease], wanted: Optional[Lease]) -> str:
    name = policy.name
    if verb == "release":
        return f"lock {name} is released"
    if policy.state == RELEASED:
        return f"lock {name} is not held" if found is None else f"lock {name} is {found.holder.label()}'s, left alone"
    until = f"until {rfc3339(wanted.expires_at)}" if wanted else ""
    if verb == "take over" and found is not None:
        return f"lock {name} is taken over from {found.holder.label()}, held {until}"
    return f"lock {name} is held {until}"


def _findings(policy: LeasePolicy, found: Optional[Lease], msg: str) -> tuple[Finding, ...]:
    taken_over = found is not None and found.holder.run != policy.me.run and policy.state == ACQUIRED
    return (Finding("lock", WARNING if taken_over else OK, msg),)


def _shown(lease: Optional[Lease]) -> dict[str, Any]:
    if lease is None:
        return {"holder": None, "expires_at": None}
    return {"holder": lease.holder.label(), "expires_at": rfc3339(lease.expires_at)}


def _busy(found: Lease, now: datetime) -> LockBusy:
    left = human_duration((found.expires_at - now).total_seconds())
    return LockBusy(
        f"lock {found.name}: {found.holder.label()} has been at work here since {rfc3339(found.acquired_at)}",
        hint=f"wait for that run to end; if it died on another controller, its lease ends by itself in {left}",
        details=found.record(),
    )


def _lost(name: str, found: Optional[Lease]) -> PreconditionFailed:
    now_with = f"it is {found.holder.label()}'s now" if found else "nobody holds it now"
    return PreconditionFailed(
        f"lock {name}: the lease is no longer ours, {now_with}; the run stops before it meets the other one",
        code="lock_lost",
        hint="see whether another run is at work, then run again with a longer ttl",
    )
