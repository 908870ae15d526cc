# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decide which security updates are installed, and say what is left to do."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Iterable, Mapping, Optional, Sequence

from .errors import PreconditionFailed
from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, WARNING, Action, Decision, Finding, threshold_status
from .units import count_of, human_duration, human_size

_EXCLUDED, _NOT_CHOSEN = "excluded", "not among only"


@dataclass(frozen=True)
class Package:
    """An installed package; ``size`` in bytes. ``whole``: it is configured, nothing of it is left half done."""

    name: str
    version: str
    held: bool
    whole: bool
    size: int


@dataclass(frozen=True)
class Update:
    """A security update that is not installed; ``blocked`` says why it cannot be, or nothing."""

    name: str
    installed: str
    target: str
    origin: str
    blocked: str = ""


@dataclass(frozen=True)
class Change:
    """One thing that the package manager would do for the updates; ``old`` is empty for a new package."""

    name: str
    old: str
    new: str
    origin: str


@dataclass(frozen=True)
class Room:
    """A file system that the installation needs; bytes."""

    path: str
    needed: int
    free: int


@dataclass(frozen=True)
class Installation:
    """What installing the chosen updates means; ``argv`` is the command."""

    updates: tuple[Update, ...]
    changes: tuple[Change, ...]
    rooms: tuple[Room, ...]
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Reboot:
    """Whether the host wants a reboot: the reasons that are known, and what could not be looked at."""

    reasons: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True)
class SecurityPolicy:
    """What was asked for; ages in seconds, 0 packages means no limit."""

    apply: bool
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    max_packages: int
    lists_warning: float
    lists_critical: float
    min_free: int


@dataclass(frozen=True)
class SecurityFacts:
    """What was read. ``lists_age`` in seconds, None: unknown. ``lists_problem``: why the lists cannot be relied on."""

    manager: str
    updates: tuple[Update, ...] = ()
    has_security_source: bool = True
    lists_age: Optional[float] = None
    lists_problem: str = ""
    refresh: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    lock_holder: str = ""
    reboot: Reboot = Reboot()
    services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unseen_processes: int = 0


def sort_out(updates: Sequence[Update], policy: SecurityPolicy) -> tuple[Update, ...]:
    """Return the updates, those that the policy leaves out marked as blocked."""
    return tuple(
        update if update.blocked else replace(update, blocked=_left_out(update.name, policy)) for update in updates
    )


def _left_out(name: str, policy: SecurityPolicy) -> str:
    bare = name.partition(":")[0]
    if any(fnmatchcase(bare, pattern) for pattern in policy.exclude):
        return _EXCLUDED
    if policy.only and not any(fnmatchcase(bare, pattern) for pattern in policy.only):
        return _NOT_CHOSEN
    return ""


def check_refusals(facts: SecurityFacts, installation: Optional[Installation], policy: SecurityPolicy) -> None:
    """Refuse an installation that would end badly.

    Raises:
        PreconditionFailed: packages_broken, over_limit or disk_full.
    """
    if not policy.apply:
        return
    if facts.broken:
        raise PreconditionFailed(
            f"install security updates: {count_of(len(facts.broken), 'package')} left half installed before, "
            f"{printable(', '.join(facts.broken[:5]))}",
            code="packages_broken",
            hint="mend it first: dpkg --configure -a, then apt-get --fix-broken install",
            details={"packages": list(facts.broken)},
        )
    if installation is None:
        return
    if policy.max_packages and len(installation.changes) > policy.max_packages:
        raise PreconditionFailed(
            f"install security updates: {count_of(len(installation.changes), 'package')} would change, "
            f"max_packages allows {policy.max_packages}",
            code="over_limit",
            hint="raise max_packages, or take fewer at a time with only",
            details={"packages": [change.name for change in installation.changes]},
        )
    for room in installation.rooms:
        if room.free < room.needed + policy.min_free:
            raise PreconditionFailed(
                f"install security updates: {room.path} has {human_size(room.free)} left, "
                f"{human_size(room.needed)} are needed and {human_size(policy.min_free)} must stay free",
                code="disk_full",
                hint="free space first (apt-get clean, old kernels, the disk-full runbook), or take fewer with only",
                details={"path": room.path, "needed": room.needed, "free": room.free},
            )


def decide(facts: SecurityFacts, installation: Optional[Installation], policy: SecurityPolicy) -> Decision:
    """Return the plan and the verdicts; without ``installation`` nothing is to be installed."""
    chosen = installation.updates if installation and policy.apply else ()
    plan = [*_refresh_plan(facts)]
    if installation is not None and chosen:
        plan += _install_plan(facts.manager, installation)
    left = len(facts.updates) - len(chosen)
    before = {"pending": len(facts.updates), "versions": {update.name: update.installed for update in chosen}}
    after = {"pending": left, "versions": {update.name: update.target for update in chosen}}
    extra = {
        "manager": facts.manager,
        "updates": [describe(update, "planned" if update in chosen else "pending") for update in facts.updates],
        "reboot": reboot_result(facts.reboot),
        "services": services_result(facts.services),
        "lists_age_seconds": facts.lists_age,
    }
    return Decision(_words(facts, chosen), tuple(plan), findings(facts, policy), before, after, extra)


def _words(facts: SecurityFacts, chosen: Sequence[Update]) -> str:
    total = count_of(len(facts.updates), "security update")
    if not facts.updates:
        total = "unknown whether security updates are pending" if untrusted(facts) else "no security update is pending"
        return f"{total}{'; a reboot is required' if facts.reboot.reasons else ''}"
    blocked = sum(1 for update in facts.updates if update.blocked)
    rest = f", {blocked} not to be installed (see findings)" if blocked else ""
    return f"{total} pending, {len(chosen)} planned{rest}{'; a reboot is required' if facts.reboot.reasons else ''}"


def _refresh_plan(facts: SecurityFacts) -> list[Action]:
    if not facts.refresh:
        return []
    age = "never read" if facts.lists_age is None else f"{human_duration(facts.lists_age)} old"
    return [Action("refresh", "refresh", "package lists", age, shlex.join(facts.refresh))]


def _install_plan(manager: str, installation: Installation) -> list[Action]:
    """Return the one transaction with its command, then what it does to each package."""
    count = count_of(len(installation.updates), "security update")
    fixes = {update.name: update for update in installation.updates}
    actions = [Action("install", "install", manager, count, shlex.join(installation.argv))]
    for change in installation.changes:
        fix = fixes.get(change.name)
        reason = f"security update from {fix.origin}" if fix else f"needed by the others, from {change.origin}"
        verb = "upgrade" if change.old else "add"
        target = f"{change.name} {change.old} -> {change.new}" if change.old else f"{change.name} {change.new}"
        actions.append(Action(f"{verb}:{change.name}", verb, target, reason))
    return actions


def package_actions(plan: Iterable[Action]) -> list[Action]:
    """Return the actions that stand for one package each, in the order of the installation's changes."""
    return [action for action in plan if action.action in ("upgrade", "add")]


def describe(update: Update, state: str) -> dict[str, Any]:
    """Return an update for the result."""
    return {
        "name": update.name,
        "installed": update.installed,
        "target": update.target,
        "origin": update.origin,
        "state": "blocked" if update.blocked else state,
        "reason": update.blocked,
    }


def untrusted(facts: SecurityFacts) -> str:
    """Return why "nothing is pending" would prove nothing, or nothing."""
    if not facts.has_security_source:
        return "no security archive is among the package sources"
    return facts.lists_problem


def findings(facts: SecurityFacts, policy: SecurityPolicy) -> tuple[Finding, ...]:
    """Return the verdicts on updates, lists, packages, locks, services and reboot."""
    found = [_updates_finding(facts, policy), _lists_finding(facts, policy)]
    found += [
        Finding(
            "blocked_update",
            WARNING,
            f"{update.name} {update.installed} -> {update.target}: {update.blocked}",
            update.name,
        )
        for update in facts.updates
        if update.blocked and update.blocked not in (_EXCLUDED, _NOT_CHOSEN)
    ]
    if facts.broken:
        names = printable(", ".join(facts.broken[:5]))
        found.append(Finding("package_state", CRITICAL, f"left half installed: {names}", len(facts.broken), "packages"))
    if facts.lock_holder:
        found.append(Finding("package_lock", WARNING, f"the package manager is in use by {facts.lock_holder}"))
    return (*found, reboot_finding(facts.reboot), services_finding(facts.services, facts.unseen_processes))


def unread_finding(reason: str) -> Finding:
    """Return the verdict when nobody could look after the work."""
    return Finding("security_updates", UNKNOWN, f"not read again after the work: {reason}")


def _updates_finding(facts: SecurityFacts, policy: SecurityPolicy) -> Finding:
    count = len(facts.updates)
    if count:
        names = ", ".join(update.name for update in facts.updates[:5]) + (", ..." if count > 5 else "")
        text = f"{count_of(count, 'security update')} pending: {names}"
        return Finding("security_updates", WARNING, text, count, "packages", 1)
    problem = untrusted(facts)
    if not problem and facts.manager == "apt" and _lists_status(facts, policy) in (CRITICAL, UNKNOWN):
        problem = "the package lists are too old to tell"
    if problem:
        return Finding("security_updates", UNKNOWN, f"unknown whether security updates are pending: {problem}")
    return Finding("security_updates", OK, "no security update is pending", 0, "packages", 1)


def _lists_status(facts: SecurityFacts, policy: SecurityPolicy) -> str:
    return threshold_status(facts.lists_age, policy.lists_warning, policy.lists_critical)


def _lists_finding(facts: SecurityFacts, policy: SecurityPolicy) -> Finding:
    if facts.lists_problem or not facts.has_security_source:
        return Finding("package_lists", UNKNOWN, untrusted(facts), facts.lists_age, "s")
    if facts.manager != "apt":
        return Finding("package_lists", OK, f"{facts.manager} renewed its lists as far as they were out of date")
    if facts.lists_age is None:
        return Finding("package_lists", UNKNOWN, "the package lists of the security archive were never read")
    text = f"the lists of the security archive were read {human_duration(facts.lists_age)} ago"
    limits = (policy.lists_warning, policy.lists_critical)
    return Finding("package_lists", _lists_status(facts, policy), text, round(facts.lists_age), "s", *limits)


def reboot_finding(reboot: Reboot) -> Finding:
    """Return the verdict on the reboot."""
    if reboot.reasons:
        return Finding("reboot_required", WARNING, f"a reboot is required: {'; '.join(reboot.reasons)}", True)
    if reboot.unknown:
        return Finding("reboot_required", UNKNOWN, f"unknown whether a reboot is required: {reboot.unknown}")
    return Finding("reboot_required", OK, "no reboot is required", False)


def reboot_result(reboot: Reboot) -> dict[str, Any]:
    """Return the reboot for the result."""
    return {"required": bool(reboot.reasons), "reasons": list(reboot.reasons), "packages": list(reboot.packages)}


def services_finding(services: Mapping[str, tuple[str, ...]], unseen: int) -> Finding:
    """Return the verdict on services that still run replaced files."""
    if services:
        text = f"{count_of(len(services), 'service')} still run replaced files: {', '.join(services)}"
        return Finding("services_to_restart", WARNING, text, len(services), "services", 1)
    if unseen:
        text = f"{count_of(unseen, 'process', 'processes')} could not be looked at; that wants root with CAP_SYS_PTRACE"
        return Finding("services_to_restart", UNKNOWN, text)
    return Finding("services_to_restart", OK, "no service runs replaced files", 0, "services", 1)


def services_result(services: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return the services for the result."""
    return [{"name": name, "files": list(files)} for name, files in services.items()]


def newest_kernel(running: str, installed: Iterable[str]) -> str:
    """Return the newest installed kernel of the running one's flavour, or of any when there is none of it.

    >>> newest_kernel("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-37-amd64", "6.1.0-40-rt-amd64"])
    '6.1.0-37-amd64'
    """
    kernels = list(installed)
    same = [kernel for kernel in kernels if _flavour(kernel) == _flavour(running)]
    return max(same or kernels, key=_release_key, default="")


def _flavour(release: str) -> str:
    return "-".join(part for part in release.split("-")[1:] if not part[:1].isdigit())


def _release_key(release: str) -> list[tuple[int, str]]:
    parts = "".join(c if c.isalnum() else " " for c in release).split()
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
