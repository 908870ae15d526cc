# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""service_restart: options into policy, and the restart with its proof."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping, Optional

from .._core import service_pm2, service_systemd
from .._core.errors import InvalidValue, OpsError, VerificationFailed
from .._core.probe import describe
from .._core.progress import Progress
from .._core.redact import printable
from .._core.result import DONE, FAILED, OK, Decision, Finding, Outcome, Step, partial_result
from .._core.service import (
    ACTIVE,
    RESTART,
    STARTING,
    Order,
    ServiceFacts,
    ServicePolicy,
    ServiceState,
    check_proof,
    check_refusals,
    decide,
    facts_of,
    is_due,
    need_findings,
)
from .._core.service_watch import NOT_READY, READY, WAITING, Gate, Reading, Watch, advance, begin, look
from .._core.units import count_of, human_duration, parse_duration
from .._io.probe import ProbeFailure, run_probes
from .._io.service_manager import CommandPair, Pm2, ServiceManager, Systemd, check_config
from .._io.service_processes import read_processes
from .probe import probes_from, probes_spec
from .run import Operation, Task
from .spec import ArgumentSpec, progress_spec

_COMMANDS = ("status", "restart", "stop", "start", "reload")
_LAST_POLL_SECONDS = 0.1  # for the poll that begins when the deadline has come


def service_restart_spec() -> ArgumentSpec:
    """Return the options."""
    argv = {"type": "list", "elements": "str"}
    own = ArgumentSpec(
        {
            "name": {"type": "str", "required": True},
            "manager": {"type": "str", "choices": ["systemd", "pm2", "command"], "default": "systemd"},
            "action": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
            "condition": {"type": "str", "choices": ["always", "needed"], "default": "always"},
            "start_stopped": {"type": "bool", "default": False},
            "scope": {"type": "str", "choices": ["system", "user"], "default": "system"},
            "pm2_executable": {"type": "str", "default": "pm2"},
            "pm2_home": {"type": "path", "default": "~/.pm2"},
            "commands": {
                "type": "dict",
                "options": {**{name: argv for name in _COMMANDS}, "pid_file": {"type": "path"}},
            },
            "config_check": argv,
            "successes": {"type": "int", "default": 3},
            "interval": {"type": "str", "default": "1s"},
            "deadline": {"type": "str", "default": "60s"},
            "command_timeout": {"type": "str", "default": "2m"},
            "log_lines": {"type": "int", "default": 20},
        },
        required_if=(("manager", "command", ("commands",)),),
    )
    return own.merge(probes_spec()).merge(progress_spec())


class ServiceRestart(Operation):
    """Restart or reload one service when it is due, and prove that it is ready and stays up."""

    def __init__(self, task: Task) -> None:
        self._task = task
        params = task.params
        self._gate = _gate(params)
        self._policy = ServicePolicy(params["action"], params["condition"], params["start_stopped"])
        self._command_timeout = parse_duration(params["command_timeout"], "command_timeout")
        self._probes = probes_from(params, "service_restart")
        self._manager = _manager(task)
        self._tally = {probe.name: _Tally() for probe in self._probes}
        if len(self._tally) != len(self._probes):
            raise InvalidValue("two probes have the same name", hint="give each probe a name of its own")
        self._before: ServiceState
        self._after: ServiceFacts
        self._orders: Mapping[str, Order] = {}

    def decide(self) -> Decision:
        """Look at the service, refuse what would do harm, check its configuration, and return the plan."""
        facts = self._facts()
        self._before = facts.service
        due = is_due(facts, self._policy)
        if due:
            check_refusals(facts, self._policy)
            check_proof(facts, len(self._probes))
            if self._task.params["config_check"]:
                check_config(self._task.params["config_check"], self._task.commands, self._command_timeout)
        orders = self._manager.orders(facts.service, self._policy.action)
        proof = "; ".join(describe(probe) for probe in self._probes) or "state of the service"
        decision = decide(facts, self._policy, orders, self._gate.words(len(self._probes)), proof)
        self._orders = {action.id: order for action, order in zip(decision.plan, orders)}
        return decision

    def apply(self, decision: Decision) -> Outcome:
        """Give the commands, then watch the service until it is ready or broken."""
        started = int(self._task.clock.now().timestamp())
        steps: list[Step] = []
        for action in decision.plan[:-1]:
            began = self._task.clock.monotonic()
            try:
                self._manager.carry_out(self._orders[action.id], self._command_timeout)
            except OpsError as error:
                steps.append(Step(action.id, FAILED, self._since(began), error.message))
                raise self._with_what_happened(error, decision, steps, started) from error
            steps.append(Step(action.id, DONE, self._since(began)))
        began = self._task.clock.monotonic()
        verify = decision.plan[-1].id
        try:
            watch = self._watch(began)
            if watch.verdict == READY:
                self._after = self._facts()
                check_proof(self._after, len(self._probes))
        except OpsError as error:
            steps.append(Step(verify, FAILED, self._since(began), error.message))
            raise self._with_what_happened(error, decision, steps, started) from error
        took = self._since(began)
        if watch.verdict != READY:
            steps.append(Step(verify, FAILED, took, watch.reason))
            raise self._with_what_happened(self._not_ready(watch, took), decision, steps, started)
        steps.append(Step(verify, DONE, took, f"{watch.polls} polls"))
        return self._outcome(tuple(steps), took)

    def _facts(self) -> ServiceFacts:
        service, params = self._manager.read(), self._task.params
        of_system = params["manager"] == "systemd" and params["scope"] == "system"
        unit = service.name if of_system and service.state in (ACTIVE, STARTING) else None
        processes = read_processes() if service.pids or unit else ()
        return facts_of(service, processes, unit)

    def _watch(self, began: float) -> Watch:
        """Poll until there is a verdict; a poll that hangs counts against the deadline like any other.

        The service is looked at before the first probe is asked: what dies while a probe waits for it must be noticed.
        """
        watch = look(begin(self._before, self._policy.action), self._manager.read())
        clock, gate = self._task.clock, self._gate
        while watch.verdict == WAITING:
            polled = clock.monotonic()
            failures = self._ask(began)
            reading = Reading(self._since(began), self._manager.read(), failures)
            watch = advance(watch, reading, gate)
            self._show(watch, self._since(began))
            if watch.verdict == WAITING:
                clock.sleep(max(0.0, min(gate.interval - self._since(polled), gate.deadline - self._since(began))))
        return watch

    def _ask(self, began: float) -> tuple[str, ...]:
        """Ask all probes in the time that is left, and return why each failed."""
        left = max(_LAST_POLL_SECONDS, self._gate.deadline - self._since(began))
        failures = []
        answers = run_probes(self._probes, self._task.commands, left, self._task.clock.monotonic)
        for probe, failure in zip(self._probes, answers):
            words = self._tally[probe.name].count(failure)
            if words is not None:
                failures.append(f"{probe.name}: {words}")
        return tuple(failures)

    def _show(self, watch: Watch, elapsed: float) -> None:
        gate, name = self._gate, self._task.params["name"]
        activity = "proved" if watch.passed else f"waits ({watch.reason})"
        self._task.progress.show(
            Progress(printable(name, 80), activity, watch.passed, gate.successes, "good polls", elapsed, gate.deadline)
        )

    def _not_ready(self, watch: Watch, took: float) -> OpsError:
        attempt = f"{self._policy.action} {printable(self._task.params['name'])}"
        hints = {
            "not_ready": "read details.journal and the last error of the probe; the service was left as it is",
            "restarted_meanwhile": "somebody else, or the service itself, started it anew: run again when it is quiet",
        }
        outcome = "not ready" if watch.verdict == NOT_READY else "did not stay up"
        return VerificationFailed(
            f"{attempt}: {outcome} after {human_duration(took)} and {count_of(watch.polls, 'poll')}: {watch.reason}",
            code=watch.verdict,
            hint=hints.get(watch.verdict, "read details.journal for the cause; the service was left as it is"),
        )

    def _with_what_happened(self, error: OpsError, decision: Decision, steps: list[Step], started: int) -> OpsError:
        """Return the failure with the service as it is now, its log and what was done, so that nothing is lost."""
        after = dict(decision.before)
        try:
            after = self._manager.read().summary()
            log = self._manager.log(self._task.params["log_lines"], started - 1)
        except OpsError as failure:
            log = [f"the service could not be looked at again: {failure.message}"]
        partial = {**partial_result(decision, steps), **self._extra(), "after": after}
        partial["changed"] = partial["changed"] or after != decision.before
        error.partial = {**partial, "msg": error.message}
        error.details = {**error.details, "service": after, "journal": log, "probes": self._extra()["probes"]}
        return error

    def _outcome(self, steps: tuple[Step, ...], took: float) -> Outcome:
        facts, service = self._after, self._after.service
        if self._policy.action == RESTART:
            facts = replace(facts, unseen=0)  # all its processes are new: they run what is installed
        ready = Finding("service_ready", OK, f"{service.name} was proved ready in {human_duration(took)}", took, "s")
        msg = (
            f"{service.name}: {self._policy.action} done, ready after {human_duration(took)}; "
            f"before: {self._before.detail}{_pids(self._before)}, now: {service.detail}{_pids(service)}"
        )
        return Outcome(msg, steps, (ready, *need_findings(facts, self._policy)), service.summary(), self._extra(took))

    def _extra(self, took: Optional[float] = None) -> dict[str, Any]:
        probes = [{"name": probe.name, **self._tally[probe.name].result()} for probe in self._probes]
        return {"ready_after_seconds": took, "probes": probes}

    def _since(self, moment: float) -> float:
        return round(self._task.clock.monotonic() - moment, 3)


class _Tally:
    """How one probe fared over all polls."""

    def __init__(self) -> None:
        self._polls, self._failed, self._last, self._failing = 0, 0, "", False

    def count(self, failure: Optional[ProbeFailure]) -> Optional[str]:
        """Take one answer into account and return why it is none, if so.

        A poll that the deadline cut short says nothing new: what the poll before it said is the reason.
        """
        self._polls += 1
        self._failed += failure is not None
        if failure is not None and not (failure.cut_short and self._failing):
            self._last = failure.words
        self._failing = failure is not None
        return self._last if self._failing else None

    def result(self) -> dict[str, Any]:
        """Return the counts and the last failure."""
        return {"polls": self._polls, "failed": self._failed, "last_error": self._last}


def _pids(service: ServiceState) -> str:
    return f", pid {', '.join(str(pid) for pid in service.pids)}" if service.pids else ""


def _gate(params: Mapping[str, Any]) -> Gate:
    gate = Gate(
        params["successes"],
        parse_duration(params["interval"], "interval"),
        parse_duration(params["deadline"], "deadline"),
    )
    if gate.successes < 1 or gate.interval <= 0 or params["log_lines"] < 1:
        raise InvalidValue("successes, interval and log_lines must be more than 0")
    if not params["probes"] and gate.successes < 3:
        raise InvalidValue(
            "without a probe the state must hold for 3 polls at least", hint="set successes: 3, or give a probe"
        )
    if (gate.successes - 1) * gate.interval >= gate.deadline:
        raise InvalidValue(
            f"{gate.successes} polls, {human_duration(gate.interval)} apart, cannot fit into a deadline of "
            f"{human_duration(gate.deadline)}",
            hint="raise deadline, or lower successes or interval",
        )
    return gate


def _manager(task: Task) -> ServiceManager:
    params, commands = task.params, task.commands
    if params["manager"] == "systemd":
        return Systemd(service_systemd.unit_name(params["name"]), params["scope"], commands)
    if params["manager"] == "pm2":
        home = Path(params["pm2_home"]).expanduser()
        return Pm2(service_pm2.check_name(params["name"]), params["pm2_executable"], home, commands)
    return _command_pair(task)


def _command_pair(task: Task) -> CommandPair:
    params, given = task.params, task.params["commands"]
    if not given:
        raise InvalidValue(
            "commands is empty", hint="say how to restart the service: commands: restart, or stop and start"
        )
    argvs = {name: tuple(given[name]) for name in _COMMANDS if given[name]}
    restart: tuple[Order, ...] = ()
    if "restart" in argvs:
        restart = (Order("restart", argvs["restart"]),)
    elif "stop" in argvs and "start" in argvs:
        restart = (Order("stop", argvs["stop"]), Order("start", argvs["start"]))
    by_action = {"restart": restart} if restart else {}
    if "reload" in argvs:
        by_action["reload"] = (Order("reload", argvs["reload"]),)
    if params["action"] not in by_action:
        needed = "restart, or stop and start" if params["action"] == "restart" else "reload"
        raise InvalidValue(f"commands must say how to {params['action']}", hint=f"give commands: {needed}")
    pid_file = Path(given["pid_file"]) if given["pid_file"] else None
    if not (pid_file or "status" in argvs or params["probes"]):
        raise InvalidValue(
            "nothing tells whether the service runs", hint="give commands.status, commands.pid_file or a probe"
        )
    return CommandPair(printable(params["name"]), task.commands, argvs.get("status", ()), pid_file, by_action)
