"""Verdicts on security updates: never ok for lack of data, and nothing dangerous is begun."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import PreconditionFailed
from plugins.module_utils._core.security_updates import (
    Change,
    Installation,
    Reboot,
    Room,
    SecurityFacts,
    SecurityPolicy,
    Update,
    check_refusals,
    decide,
    findings,
    newest_kernel,
    sort_out,
)

POLICY = SecurityPolicy(
    apply=True, only=(), exclude=(), max_packages=0, lists_warning=172800, lists_critical=604800, min_free=1000
)
FIX = Update("openssl", "1.0", "1.1", "Debian-Security")
FACTS = SecurityFacts(manager="apt", lists_age=60.0)
CHANGE = Change("openssl", "1.0", "1.1", "Debian-Security:12/stable-security")
INSTALLATION = Installation((FIX,), (CHANGE,), (Room("/usr", 500, 2000),), ("apt-get", "install", "openssl=1.1"))


def verdicts(facts: SecurityFacts) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings(facts, POLICY)}


@pytest.mark.parametrize(
    ("change", "updates", "lists"),
    [
        ({}, "ok", "ok"),
        ({"updates": (FIX,)}, "warning", "ok"),
        ({"lists_age": 200000.0}, "ok", "warning"),
        ({"lists_age": 700000.0}, "unknown", "critical"),
        ({"lists_age": 700000.0, "updates": (FIX,)}, "warning", "critical"),
        ({"lists_age": None}, "unknown", "unknown"),
        ({"has_security_source": False}, "unknown", "unknown"),
        ({"lists_problem": "could not be renewed"}, "unknown", "unknown"),
        ({"lists_problem": "could not be renewed", "updates": (FIX,)}, "warning", "unknown"),
        ({"manager": "dnf", "lists_age": None}, "ok", "ok"),
        ({"manager": "dnf", "lists_age": None, "lists_problem": "no network"}, "unknown", "unknown"),
    ],
)
def test_nothing_pending_is_only_ok_when_the_lists_prove_it(change: dict[str, Any], updates: str, lists: str) -> None:
    found = verdicts(replace(FACTS, **change))
    assert (found["security_updates"], found["package_lists"]) == (updates, lists)


@pytest.mark.parametrize(
    ("change", "check", "status"),
    [
        ({}, "reboot_required", "ok"),
        ({"reboot": Reboot(("kernel",))}, "reboot_required", "warning"),
        ({"reboot": Reboot((), (), "no /proc")}, "reboot_required", "unknown"),
        ({}, "services_to_restart", "ok"),
        ({"services": {"nginx.service": ("/usr/lib/x.so",)}, "unseen_processes": 3}, "services_to_restart", "warning"),
        ({"unseen_processes": 3}, "services_to_restart", "unknown"),
        ({"broken": ("zlib",)}, "package_state", "critical"),
        ({"lock_holder": "process 1 (apt)"}, "package_lock", "warning"),
        ({"updates": (replace(FIX, blocked="held"),)}, "blocked_update", "warning"),
    ],
)
def test_each_reading_has_its_verdict(change: dict[str, Any], check: str, status: str) -> None:
    assert verdicts(replace(FACTS, **change))[check] == status


def test_what_the_policy_leaves_out_is_no_finding_of_its_own() -> None:
    assert "blocked_update" not in verdicts(replace(FACTS, updates=(replace(FIX, blocked="excluded"),)))


@pytest.mark.parametrize(
    ("change", "installation", "policy", "code"),
    [
        ({}, INSTALLATION, {}, None),
        ({"broken": ("zlib",)}, None, {}, "packages_broken"),
        ({"broken": ("zlib",)}, None, {"apply": False}, None),
        ({}, INSTALLATION, {"max_packages": 1}, None),
        ({}, replace(INSTALLATION, changes=(CHANGE, CHANGE)), {"max_packages": 1}, "over_limit"),
        ({}, INSTALLATION, {"min_free": 1501}, "disk_full"),
        ({}, INSTALLATION, {"min_free": 1500}, None),
        ({}, None, {}, None),
    ],
)
def test_what_would_end_badly_is_not_begun(
    change: dict[str, Any], installation: Installation | None, policy: dict[str, Any], code: str | None
) -> None:
    facts, rules = replace(FACTS, **change), replace(POLICY, **policy)
    if code is None:
        check_refusals(facts, installation, rules)
        return
    with pytest.raises(PreconditionFailed) as refused:
        check_refusals(facts, installation, rules)
    assert refused.value.code == code and refused.value.hint


def test_the_plan_is_one_command_and_a_line_for_each_package() -> None:
    new = Change("provider", "", "1.0", "Debian:12/stable")
    facts = replace(FACTS, updates=(FIX, replace(FIX, name="tree", blocked="held")), refresh=("apt-get", "update"))
    decision = decide(facts, replace(INSTALLATION, changes=(CHANGE, new)), POLICY)
    assert [(action.id, action.command) for action in decision.plan] == [
        ("refresh", "apt-get update"),
        ("install", "apt-get install openssl=1.1"),
        ("upgrade:openssl", ""),
        ("add:provider", ""),
    ]
    assert decision.before == {"pending": 2, "versions": {"openssl": "1.0"}}
    assert decision.after == {"pending": 1, "versions": {"openssl": "1.1"}}
    assert [update["state"] for update in decision.extra["updates"]] == ["planned", "blocked"]


def test_without_apply_nothing_is_planned() -> None:
    decision = decide(replace(FACTS, updates=(FIX,)), None, replace(POLICY, apply=False))
    assert decision.plan == () and decision.extra["updates"][0]["state"] == "pending"


NAMES = st.sampled_from(["openssl", "libssl3", "nginx", "postgresql-15", "libc6:i386"])
GLOBS = st.lists(st.sampled_from(["*", "lib*", "nginx", "postgresql*", "x*", "libc6"]), max_size=3)


@given(st.lists(NAMES, unique=True), GLOBS, GLOBS)
def test_only_and_exclude_leave_out_and_never_bring_back(names: list[str], only: list[str], exclude: list[str]) -> None:
    updates = [Update(name, "1", "2", "", "held" if name == "nginx" else "") for name in names]
    sorted_out = sort_out(updates, replace(POLICY, only=tuple(only), exclude=tuple(exclude)))
    assert [update.name for update in sorted_out] == names
    for update in sorted_out:
        if update.name == "nginx":
            assert update.blocked == "held"
        if "*" in exclude:
            assert update.blocked
        if not exclude and (not only or "*" in only) and update.name != "nginx":
            assert not update.blocked


@pytest.mark.parametrize(
    ("running", "installed", "newest"),
    [
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-37-amd64"], "6.1.0-37-amd64"),
        ("6.1.0-37-amd64", ["6.1.0-9-amd64", "6.1.0-37-amd64"], "6.1.0-37-amd64"),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-40-rt-amd64"], "6.1.0-9-amd64"),
        ("6.1.0-9-cloud-amd64", ["6.1.0-37-amd64"], "6.1.0-37-amd64"),
        ("6.8.0-31-generic", ["6.8.0-31-generic", "6.8.0-100-generic"], "6.8.0-100-generic"),
        ("5.14.0-362.el9.x86_64", ["5.14.0-362.el9.x86_64", "5.14.0-427.el9.x86_64"], "5.14.0-427.el9.x86_64"),
        ("6.6.0-custom", [], ""),
    ],
)
def test_the_newest_kernel_is_of_the_running_flavour(running: str, installed: list[str], newest: str) -> None:
    assert newest_kernel(running, installed) == newest
