# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Judge a service after its restart: ready, not yet, or broken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Container, Optional

from .service import ACTIVE, FAILED, RELOAD, STOPPED, ServiceState
from .units import count_of, human_duration

WAITING, READY = "waiting", "ready"
CRASH_LOOP, SERVICE_FAILED, RESTARTED_MEANWHILE, NOT_READY = (
    "crash_loop",
    "service_failed",
    "restarted_meanwhile",
    "not_ready",
)


@dataclass(frozen=True)
class Gate:
    """When a service is ready: ``successes`` good polls in a row, ``interval`` apart, within ``deadline`` (seconds)."""

    successes: int
    interval: float
    deadline: float

    def words(self, probes: int) -> str:
        """Return the gate for people."""
        what = count_of(probes, "probe") if probes else "state"
        return (
            f"ready when the {what} held {count_of(self.successes, 'time')} in a row, {human_duration(self.interval)} "
            f"apart, within {human_duration(self.deadline)}, without a restart by itself"
        )


@dataclass(frozen=True)
class Reading:
    """One poll: seconds since the command ended, the service, and what each failed probe said."""

    at: float
    service: ServiceState
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watch:
    """What the polls so far amount to. ``identity`` is what must stay, None until the service was seen active."""

    allowed_restarts: Optional[Container[int]]
    identity: Optional[tuple[str, ...]] = None
    passed: int = 0
    polls: int = 0
    verdict: str = WAITING
    reason: str = "it was not looked at yet"


def begin(before: ServiceState, action: str) -> Watch:
    """Return what a service may look like after a command that was given in the state ``before``.

    systemd counts anew from 0 after a restart by hand, but goes on counting when the unit was waiting for its automatic
    restart (tried with 252). So the crashes of before excuse none after it, unless it was waiting. pm2 counts a restart
    by hand too, for each process that was running (tried with 7.0). A reload of a systemd unit keeps the main process.
    """
    keeps = action == RELOAD and before.manager == "systemd"
    if before.restarts is None:
        return Watch(None, before.identity if keeps else None)
    if before.manager == "pm2":
        lowest = before.restarts + before.running
        return Watch(range(lowest, before.restarts + before.instances + 1))
    if keeps:
        return Watch((before.restarts,), before.identity)
    return Watch((0, before.restarts) if before.looping else (0,))


def look(watch: Watch, service: ServiceState) -> Watch:
    """Return the watch after a look without a question to a probe: from now on the service must stay what it is."""
    broken = _broken(watch, service)
    if broken is not None:
        return replace(watch, verdict=broken[0], reason=broken[1])
    if service.state != ACTIVE or watch.identity is not None:
        return watch
    allowed = None if service.restarts is None else (service.restarts,)
    return replace(watch, allowed_restarts=allowed, identity=service.identity)


def advance(watch: Watch, reading: Reading, gate: Gate) -> Watch:
    """Return the watch after one more poll."""
    service = reading.service
    watch = replace(look(watch, service), polls=watch.polls + 1)
    if watch.verdict != WAITING:
        return watch
    good = service.state == ACTIVE and not reading.failures
    passed = watch.passed + 1 if good else 0
    reason = "; ".join(reading.failures) or f"it is {service.detail}"
    verdict = READY if passed >= gate.successes else WAITING
    if verdict == WAITING and reading.at >= gate.deadline:
        verdict = NOT_READY
    return replace(watch, passed=passed, verdict=verdict, reason=reason)


def _broken(watch: Watch, service: ServiceState) -> Optional[tuple[str, str]]:
    """Return the code and the reason when the service cannot get ready any more."""
    counts = watch.allowed_restarts
    if counts is not None and service.restarts is not None and service.restarts not in counts:
        return CRASH_LOOP, f"it was restarted by {service.manager} meanwhile and is {service.detail}"
    if service.looping:
        return CRASH_LOOP, f"it died and is {service.detail}"
    if service.state == FAILED:
        return SERVICE_FAILED, f"it is {service.detail}"
    seen = watch.identity is not None
    if service.state == STOPPED and (seen or service.manager != "command"):
        return SERVICE_FAILED, f"it stopped: {service.detail}"
    if service.state == ACTIVE and seen and service.identity != watch.identity:
        if service.manager == "systemd":
            return RESTARTED_MEANWHILE, "its main process changed although systemd did not restart it by itself"
        return CRASH_LOOP, f"its process changed meanwhile; it is {service.detail}"
    return None
