# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decide whether a service is to be restarted, and refuse what would do harm."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Iterable, Optional

from .errors import InvalidValue, PreconditionFailed
from .result import CRITICAL, OK, UNKNOWN, WARNING, Action, Decision, Finding
from .service_processes import Process, family, merged_stale
from .units import count_of

ACTIVE, STARTING, STOPPED, FAILED = "active", "starting", "stopped", "failed"
DAEMON, STAND_IN, BARE = "daemon", "stand_in", "bare"

RESTART, RELOAD = "restart", "reload"


@dataclass(frozen=True)
class ServiceState:
    """What a service manager says about one service.

    ``wanted``: it should run (enabled, or not stopped on purpose). ``restarts``: how often the manager has restarted it
    by itself, None when the manager does not count. ``identity`` changes whenever the service is started anew.
    ``since`` is RFC 3339. ``looping``: it died, and the manager will start it again or has given up doing so.
    ``nature``: a daemon lives by its processes, a stand-in is active without any and stands for other units, and what
    is bare has none to have (a timer, a oneshot that ended).
    """

    manager: str
    name: str
    state: str
    detail: str
    wanted: bool
    enabled: Optional[str] = None
    since: Optional[str] = None
    pids: tuple[int, ...] = ()
    restarts: Optional[int] = None
    identity: tuple[str, ...] = ()
    needs_daemon_reload: bool = False
    can_reload: bool = True
    looping: bool = False
    nature: str = DAEMON
    instances: int = 1
    running: int = 1

    def summary(self) -> dict[str, Any]:
        """Return what the result's before and after show."""
        return {
            "state": self.state,
            "detail": self.detail,
            "since": self.since,
            "pids": list(self.pids),
            "restarts": self.restarts,
            "enabled": self.enabled,
        }


@dataclass(frozen=True)
class ServicePolicy:
    """What was asked for. ``condition`` is always or needed."""

    action: str
    condition: str
    start_stopped: bool


@dataclass(frozen=True)
class ServiceFacts:
    """The service, the replaced files that it still runs, and how many of its processes we may not look at.

    ``alive``: a process of it is known.
    """

    service: ServiceState
    stale: tuple[str, ...] = ()
    unseen: int = 0
    alive: bool = True

    @property
    def hollow(self) -> bool:
        """Tell whether it is active although no process of it is known: nobody can tell what it runs."""
        return self.service.state == ACTIVE and self.service.nature != BARE and not self.alive


@dataclass(frozen=True)
class Order:
    """One command for the service manager."""

    action: str
    argv: tuple[str, ...]
    reason: str = ""


def facts_of(service: ServiceState, processes: Iterable[Process], unit: Optional[str]) -> ServiceFacts:
    """Return what the processes of the host tell about a service; ``unit`` is the one whose control group is its own.

    A process that the manager names and nobody sees (another PID namespace, hidepid) is one we may not look at.
    """
    found = family(processes, service.pids, unit)
    hidden = set(service.pids) - {process.pid for process in found}
    unseen = len(hidden) + sum(process.stale is None for process in found)
    return ServiceFacts(service, merged_stale(found), unseen, bool(found or hidden))


def needs(facts: ServiceFacts) -> tuple[str, ...]:
    """Return why the service needs a restart; nothing when no reason is known."""
    service, reasons = facts.service, []
    if service.state == FAILED and service.wanted:
        reasons.append(f"it has failed: {service.detail}")
    if service.state == STOPPED and service.wanted:
        reasons.append(f"it should run but is stopped: {service.detail}")
    if service.needs_daemon_reload:
        reasons.append("its unit file changed on disk after it was loaded")
    if facts.stale:
        shown = ", ".join(facts.stale[:3]) + (f" and {len(facts.stale) - 3} more" if len(facts.stale) > 3 else "")
        reasons.append(f"it still runs {count_of(len(facts.stale), 'replaced file')}: {shown}")
    return tuple(reasons)


def is_due(facts: ServiceFacts, policy: ServicePolicy) -> bool:
    """Tell whether anything is to be done."""
    return policy.condition == "always" or bool(needs(facts))


def check_refusals(facts: ServiceFacts, policy: ServicePolicy) -> None:
    """Refuse what would do harm or cannot work.

    Raises:
        PreconditionFailed: not_running or reload_unsupported.
    """
    service = facts.service
    if policy.action == RELOAD and service.state in (STOPPED, FAILED):
        raise PreconditionFailed(
            f"reload {service.name}: it does not run ({service.detail})",
            code="not_running",
            hint="use action: restart",
        )
    if policy.action == RELOAD and not service.can_reload:
        raise PreconditionFailed(
            f"reload {service.name}: it has no reload command", code="reload_unsupported", hint="use action: restart"
        )
    if service.state in (STOPPED, FAILED) and not service.wanted and not policy.start_stopped:
        raise PreconditionFailed(
            f"restart {service.name}: it does not run ({service.detail}) and nothing says that it should",
            code="not_running",
            hint="somebody may have stopped it on purpose; set start_stopped: true to start it all the same",
        )


def check_proof(facts: ServiceFacts, probes: int) -> None:
    """Refuse to call a stand-in ready by its state alone: it is active whatever becomes of what it stands for.

    Raises:
        InvalidValue: it has no process, and there is no probe.
    """
    service = facts.service
    if service.nature == STAND_IN and not facts.alive and not probes:
        raise InvalidValue(
            f"{service.name} has no process of its own ({service.detail}): its state does not prove that it is ready",
            hint="give a probe of what it stands for, or name the unit that has the processes (postgresql@15-main)",
        )


def need_finding(facts: ServiceFacts) -> Finding:
    """Return whether a restart is needed; processes that could not be looked at make a no uncertain."""
    reasons = needs(facts)
    if reasons:
        return Finding(
            "restart_needed", WARNING, f"{facts.service.name}: {'; '.join(reasons)}", len(reasons), "reasons"
        )
    if facts.hollow:
        text = f"{facts.service.name}: no process of it is known, so what it runs could not be looked at"
        advice = "give commands.pid_file" if facts.service.manager == "command" else "name the unit that has them"
        return Finding("restart_needed", UNKNOWN, f"{text}; {advice}")
    if facts.unseen:
        text = f"{count_of(facts.unseen, 'process', 'processes')} of another user could not be looked at"
        return Finding("restart_needed", UNKNOWN, f"{facts.service.name}: {text}; that wants root with CAP_SYS_PTRACE")
    return Finding("restart_needed", OK, f"{facts.service.name}: nothing asks for a restart", 0, "reasons")


def need_findings(facts: ServiceFacts, policy: ServicePolicy) -> tuple[Finding, ...]:
    """Return the verdict on the need; when it was not asked for, only a need that is known."""
    if policy.condition == "always" and not needs(facts):
        return ()
    return (need_finding(facts),)


def state_finding(service: ServiceState) -> Finding:
    """Return the verdict on the service as it is."""
    if service.state == ACTIVE:
        return Finding("service_state", OK, f"{service.name} is {service.detail}", service.state)
    status = CRITICAL if service.wanted else WARNING
    return Finding("service_state", status, f"{service.name} is {service.detail}", service.state)


def decide(facts: ServiceFacts, policy: ServicePolicy, orders: tuple[Order, ...], gate: str, proof: str) -> Decision:
    """Return the plan: the manager's commands, then the proof that the service is ready.

    ``gate`` says when it is ready, ``proof`` what is looked at.
    """
    service = facts.service
    findings = (state_finding(service), *need_findings(facts, policy))
    extra = {"restart_reasons": list(needs(facts))}
    before = service.summary()
    if not is_due(facts, policy):
        msg = f"{service.name} needs no {policy.action}: {service.detail}"
        if facts.hollow or facts.unseen:
            msg = f"{service.name}: unknown whether it needs a {policy.action}; {service.detail}"
        return Decision(msg, findings=findings, before=before, after=before, extra=extra)
    why = "; ".join(needs(facts)) or "asked for"
    target = f"{service.name} ({service.manager})"
    plan = tuple(
        Action(f"{order.action}:{service.name}", order.action, target, order.reason or why, shlex.join(order.argv))
        for order in orders
    )
    verify = Action(f"verify:{service.name}", "verify", target, gate, proof)
    msg = f"{service.name}: {policy.action} planned ({why}); now {service.detail}"
    return Decision(msg, (*plan, verify), findings, before, predicted(service, policy.action), extra)


def predicted(service: ServiceState, action: str) -> dict[str, Any]:
    """Return the state that the plan leads to; ids and times of a new start are not known before."""
    if action == RELOAD:
        return {**service.summary(), "state": ACTIVE}
    return {**service.summary(), "state": ACTIVE, "detail": None, "since": None, "pids": [], "restarts": None}
