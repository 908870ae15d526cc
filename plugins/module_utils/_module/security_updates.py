# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""security_updates: options into policy, and the installation with its proof."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Mapping, Optional, Protocol, Sequence

from .._core.errors import InvalidValue, OpsError, PreconditionFailed, VerificationFailed
from .._core.progress import Progress
from .._core.result import DONE, FAILED, SKIPPED, Action, Decision, Outcome, Step, partial_result, render_outcome
from .._core.security_updates import (
    Installation,
    SecurityFacts,
    SecurityPolicy,
    Update,
    check_refusals,
    decide,
    describe,
    findings,
    package_actions,
    reboot_result,
    services_result,
    sort_out,
    unread_finding,
)
from .._core.service_processes import stale_units
from .._core.units import count_of, parse_duration, parse_size
from .._io.security_apt import Apt
from .._io.security_dnf import Dnf
from .._io.security_host import reboot_of
from .._io.service_processes import read_processes
from .run import Operation, Task
from .spec import ArgumentSpec, progress_spec

_ORIGINS = ["debian-security", "*-security"]


class PackageManager(Protocol):
    """What a package manager is asked and told."""

    def read(self, refresh_after: Optional[float]) -> SecurityFacts:
        """Return what is pending."""

    def installed(self) -> dict[str, str]:
        """Return the version of each package that is wholly installed."""

    def kernels(self) -> dict[str, str]:
        """Return the installed kernels, release to version."""

    def prepare(
        self, updates: Sequence[Update], lock_seconds: int
    ) -> tuple[Optional[Installation], tuple[Update, ...]]:
        """Return what installing the updates means, and those that cannot be installed."""

    def refresh(self, argv: Sequence[str], lock_seconds: int) -> None:
        """Renew the package lists."""

    def install(self, argv: Sequence[str], lock_seconds: int, seconds: float) -> None:
        """Install."""

    def close(self) -> None:
        """Give back what is held."""


def security_updates_spec() -> ArgumentSpec:
    """Return the options."""
    names = {"type": "list", "elements": "str", "default": []}
    return ArgumentSpec(
        {
            "manager": {"type": "str", "choices": ["auto", "apt", "dnf"], "default": "auto"},
            "apply": {"type": "bool", "default": False},
            "refresh": {"type": "bool", "default": False},
            "cache_valid_time": {"type": "str", "default": "1h"},
            "only": names,
            "exclude": names,
            "max_packages": {"type": "int", "default": 0},
            "origins": {**names, "default": _ORIGINS},
            "lists_warning_age": {"type": "str", "default": "2d"},
            "lists_critical_age": {"type": "str", "default": "7d"},
            "min_free": {"type": "str", "default": "200MB"},
            "lock_timeout": {"type": "str", "default": "5m"},
            "timeout": {"type": "str", "default": "1h"},
        }
    ).merge(progress_spec())


class SecurityUpdates(Operation):
    """Say what is pending from security archives, install it when allowed, and prove that it is installed."""

    def __init__(self, task: Task) -> None:
        self._task = task
        params = task.params
        self._policy = _policy(params)
        valid = parse_duration(params["cache_valid_time"], "cache_valid_time")
        self._refresh_after = valid if params["refresh"] else None
        self._lock_seconds = int(parse_duration(params["lock_timeout"], "lock_timeout"))
        self._seconds = parse_duration(params["timeout"], "timeout")
        self._manager = _manager(task)
        self._installation: Optional[Installation] = None
        self._refresh_argv: Sequence[str] = ()
        self._kept_back: Mapping[str, Update] = {}

    def decide(self) -> Decision:
        """Read, sort out, try the installation without carrying it out, and return the plan."""
        facts = self._facts(self._refresh_after)
        chosen = [update for update in facts.updates if not update.blocked]
        if self._policy.apply and chosen and not facts.broken:
            self._installation, kept_back = self._manager.prepare(chosen, self._lock_seconds)
            self._kept_back = {update.name: update for update in kept_back}
            facts = replace(facts, updates=self._with_kept_back(facts.updates))
        self._refresh_argv = facts.refresh
        check_refusals(facts, self._installation, self._policy)
        return decide(facts, self._installation, self._policy)

    def apply(self, decision: Decision) -> Outcome:
        """Renew the lists, install, and look again: only what dpkg or rpm confirms is done.

        Raises:
            OpsError: a step failed, or the look afterwards; what was done is in ``partial``.
        """
        steps: list[Step] = []
        for action in decision.plan:
            if action.action == "refresh":
                self._carry_out(
                    action, decision, steps, lambda: self._manager.refresh(self._refresh_argv, self._lock_seconds)
                )
            elif action.action == "install":
                self._carry_out(action, decision, steps, self._install)
        now: Optional[Mapping[str, str]] = None
        try:
            now = self._manager.installed()
            steps += self._confirmed(decision, now)
            if all(step.status == DONE for step in steps):
                return self._outcome(tuple(steps), now)
        except OpsError as error:
            error.partial = self._unread(decision, steps, now, error)
            error.message = f"the work is done, but the look afterwards failed: {error.message}"
            raise
        raise self._not_confirmed(decision, steps, now)

    def close(self) -> None:
        """Remove the private package lists."""
        self._manager.close()

    def _facts(self, refresh_after: Optional[float]) -> SecurityFacts:
        facts = self._manager.read(refresh_after)
        processes = read_processes()
        return replace(
            facts,
            updates=self._with_kept_back(sort_out(facts.updates, self._policy)),
            reboot=reboot_of(self._manager.kernels()),
            services=stale_units(processes),
            unseen_processes=sum(process.stale is None for process in processes),
        )

    def _with_kept_back(self, updates: Sequence[Update]) -> tuple[Update, ...]:
        return tuple(self._kept_back.get(update.name, update) for update in updates)

    def _carry_out(self, action: Action, decision: Decision, steps: list[Step], work: Callable[[], None]) -> None:
        began = self._task.clock.monotonic()
        self._show(action)
        try:
            work()
        except OpsError as error:
            took = round(self._task.clock.monotonic() - began, 3)
            steps.append(Step(action.id, FAILED, took, error.message))
            error.partial = self._reached(decision, steps)
            raise
        steps.append(Step(action.id, DONE, round(self._task.clock.monotonic() - began, 3)))

    def _install(self) -> None:
        if self._installation is not None:
            self._manager.install(self._installation.argv, self._lock_seconds, self._seconds)

    def _confirmed(self, decision: Decision, now: Mapping[str, str]) -> list[Step]:
        """Return what became of each package, as the package database has it now."""
        if self._installation is None or not any(action.action == "install" for action in decision.plan):
            return []
        steps = []
        for action, change in zip(package_actions(decision.plan), self._installation.changes):
            there = now.get(change.name, "")
            if there == change.new:
                steps.append(Step(action.id, DONE, 0.0, "the package database confirms it"))
            elif there == change.old:
                steps.append(Step(action.id, SKIPPED, 0.0, "not reached"))
            else:
                steps.append(Step(action.id, FAILED, 0.0, f"now: {there}" if there else "left half installed"))
        return steps

    def _reached(self, decision: Decision, steps: list[Step]) -> dict[str, Any]:
        """Return what was done until a step failed, with what became of the packages as far as that can be read."""
        try:
            now = self._manager.installed()
        except OpsError as error:
            return self._unread(decision, steps, None, error)
        return self._partial(decision, [*steps, *self._confirmed(decision, now)], now)

    def _unread(
        self, decision: Decision, steps: list[Step], now: Optional[Mapping[str, str]], error: OpsError
    ) -> dict[str, Any]:
        """Return what was done when the look afterwards failed; an installation that was begun counts as a change."""
        known = {} if now is None else self._partial(decision, steps, now)
        outcome = Outcome(decision.msg, tuple(steps), (unread_finding(error.message),))
        begun = any(step.status == DONE or step.id == "install" for step in steps)
        return {**render_outcome(decision, outcome), "after": known.get("after", {}), "changed": begun}

    def _partial(self, decision: Decision, steps: list[Step], now: Mapping[str, str]) -> dict[str, Any]:
        versions = {name: now.get(name, "") for name in decision.before["versions"]}
        done = sum(1 for name, target in decision.after["versions"].items() if versions[name] == target)
        after = {"pending": decision.before["pending"] - done, "versions": versions}
        partial = {**partial_result(decision, steps), "after": after}
        touched = {step.id for step in steps if step.status in (DONE, FAILED)} - {"install", "refresh"}
        return {**partial, "changed": partial["changed"] or bool(touched)}

    def _not_confirmed(self, decision: Decision, steps: list[Step], now: Mapping[str, str]) -> OpsError:
        failed = [step.id.partition(":")[2] for step in steps if step.status != DONE]
        return VerificationFailed(
            f"install security updates: {count_of(len(failed), 'package')} not as planned: {', '.join(failed[:5])}",
            code="not_installed",
            hint="run it again and read the findings; something else changed packages at the same time?",
            partial=self._partial(decision, steps, now),
        )

    def _outcome(self, steps: tuple[Step, ...], now: Mapping[str, str]) -> Outcome:
        facts = self._facts(None)
        installed = self._installation.updates if self._installation else ()
        updates = [describe(replace(update, installed=update.target), "installed") for update in installed]
        updates += [describe(update, "pending") for update in facts.updates]
        extra = {
            "updates": updates,
            "reboot": reboot_result(facts.reboot),
            "services": services_result(facts.services),
            "lists_age_seconds": facts.lists_age,
        }
        after = {
            "pending": len(facts.updates),
            "versions": {update.name: now.get(update.name, "") for update in installed},
        }
        done = f"{count_of(len(installed), 'security update')} installed" if installed else "package lists renewed"
        reboot = "; a reboot is required" if facts.reboot.reasons else ""
        msg = f"{done}, {len(facts.updates)} still pending{reboot}"
        return Outcome(msg, steps, findings(facts, self._policy), after, extra)

    def _show(self, action: Action) -> None:
        self._task.progress.show(Progress(action.target, action.action, 0, 1, "steps", 0.0, self._seconds))


def _policy(params: Mapping[str, Any]) -> SecurityPolicy:
    policy = SecurityPolicy(
        apply=params["apply"],
        only=tuple(params["only"]),
        exclude=tuple(params["exclude"]),
        max_packages=params["max_packages"],
        lists_warning=parse_duration(params["lists_warning_age"], "lists_warning_age"),
        lists_critical=parse_duration(params["lists_critical_age"], "lists_critical_age"),
        min_free=parse_size(params["min_free"], "min_free"),
    )
    if policy.max_packages < 0:
        raise InvalidValue("max_packages must be 0 (no limit) or more")
    if policy.lists_warning > policy.lists_critical:
        raise InvalidValue("lists_warning_age must not be more than lists_critical_age")
    if not params["origins"]:
        raise InvalidValue(
            "origins must name a security archive", hint="leave it out for the archives of Debian and Ubuntu"
        )
    return policy


def _manager(task: Task) -> PackageManager:
    wanted = task.params["manager"]
    for name, program in (("apt", "apt-get"), ("dnf", "dnf")):
        if wanted == name or (wanted == "auto" and task.commands.find(program)):
            if name == "apt":
                return Apt(task.commands, task.clock, task.params["origins"])
            return Dnf(task.commands, task.clock)
    raise PreconditionFailed(
        "look for security updates: neither apt-get nor dnf is there",
        code="command_missing",
        hint="this host's package manager is not supported; leave it out of the play",
    )
