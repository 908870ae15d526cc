"""When a service is due, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed
from plugins.module_utils._core.service import (
    Order,
    ServiceFacts,
    ServicePolicy,
    ServiceState,
    check_proof,
    check_refusals,
    decide,
    facts_of,
    is_due,
    needs,
)
from plugins.module_utils._core.service_processes import Process

RUNNING = ServiceState(
    "systemd", "shop.service", "active", "active (running)", True, "enabled", pids=(100,), restarts=2
)
FAILED = replace(RUNNING, state="failed", detail="failed (failed)", pids=())
STOPPED = replace(RUNNING, state="stopped", detail="inactive (dead)", pids=())
STAND_IN = replace(RUNNING, detail="active (exited)", pids=(), nature="stand_in")
DISABLED = replace(STOPPED, wanted=False, enabled="disabled")
NEEDED = ServicePolicy("restart", "needed", False)
ALWAYS = ServicePolicy("restart", "always", False)
ORDERS = (Order("restart", ("systemctl", "restart", "--", "shop.service")),)
STALE = ("/usr/lib/libssl.so.3", "/usr/lib/libz.so.1", "/usr/lib/libc.so.6", "/usr/sbin/shop")


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        (ServiceFacts(RUNNING), []),
        (ServiceFacts(FAILED), ["it has failed: failed (failed)"]),
        (ServiceFacts(STOPPED), ["it should run but is stopped: inactive (dead)"]),
        (ServiceFacts(DISABLED), []),
        (ServiceFacts(replace(FAILED, wanted=False)), []),
        (
            ServiceFacts(replace(RUNNING, needs_daemon_reload=True)),
            ["its unit file changed on disk after it was loaded"],
        ),
        (ServiceFacts(RUNNING, STALE[:1]), ["it still runs 1 replaced file: /usr/lib/libssl.so.3"]),
        (
            ServiceFacts(RUNNING, STALE),
            ["it still runs 4 replaced files: /usr/lib/libssl.so.3, /usr/lib/libz.so.1, /usr/lib/libc.so.6 and 1 more"],
        ),
        (ServiceFacts(RUNNING, (), unseen=3), []),
    ],
)
def test_each_need_has_its_reason(facts: ServiceFacts, reasons: list[str]) -> None:
    assert list(needs(facts)) == reasons
    assert is_due(facts, NEEDED) == bool(reasons)
    assert is_due(facts, ALWAYS)


@pytest.mark.parametrize(
    ("service", "policy", "code"),
    [
        (DISABLED, ALWAYS, "not_running"),
        (DISABLED, ServicePolicy("restart", "always", True), None),
        (STOPPED, ALWAYS, None),
        (FAILED, ALWAYS, None),
        (RUNNING, ALWAYS, None),
        (STOPPED, ServicePolicy("reload", "always", True), "not_running"),
        (FAILED, ServicePolicy("reload", "always", False), "not_running"),
        (replace(RUNNING, can_reload=False), ServicePolicy("reload", "always", False), "reload_unsupported"),
        (RUNNING, ServicePolicy("reload", "always", False), None),
    ],
)
def test_what_would_do_harm_is_refused(service: ServiceState, policy: ServicePolicy, code: str | None) -> None:
    if code is None:
        check_refusals(ServiceFacts(service), policy)
        return
    with pytest.raises(PreconditionFailed) as refused:
        check_refusals(ServiceFacts(service), policy)
    assert refused.value.code == code
    assert refused.value.hint


def test_the_plan_shows_the_exact_command_and_the_proof() -> None:
    decision = decide(ServiceFacts(RUNNING), ALWAYS, ORDERS, "ready when ...", "GET http://127.0.0.1/health")
    assert [(action.id, action.command) for action in decision.plan] == [
        ("restart:shop.service", "systemctl restart -- shop.service"),
        ("verify:shop.service", "GET http://127.0.0.1/health"),
    ]
    assert decision.before["pids"] == [100] and decision.before["restarts"] == 2
    assert decision.after == {**decision.before, "detail": None, "since": None, "pids": [], "restarts": None}


def test_a_reload_predicts_the_same_process() -> None:
    decision = decide(ServiceFacts(RUNNING), ServicePolicy("reload", "always", False), ORDERS, "", "")
    assert decision.after == decision.before


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (ServiceFacts(RUNNING), "ok"),
        (ServiceFacts(RUNNING, unseen=2), "unknown"),
        (ServiceFacts(RUNNING, STALE, unseen=2), "warning"),
        (ServiceFacts(STAND_IN, alive=False), "unknown"),
        (ServiceFacts(STAND_IN), "ok"),
        (ServiceFacts(replace(RUNNING, pids=()), alive=False), "unknown"),
        (ServiceFacts(replace(RUNNING, pids=(), nature="bare"), alive=False), "ok"),
    ],
)
def test_what_could_not_be_looked_at_is_unknown_and_never_ok(facts: ServiceFacts, status: str) -> None:
    decision = decide(facts, NEEDED, ORDERS, "", "")
    assert {finding.check: finding.status for finding in decision.findings} == {
        "service_state": "ok",
        "restart_needed": status,
    }
    assert bool(decision.plan) == (status == "warning")
    assert ("unknown" in decision.msg) == (status == "unknown")


OTHER = Process(7, 1, "other", "other.service", STALE)


@pytest.mark.parametrize(
    ("service", "processes", "expected"),
    [
        (RUNNING, [Process(100, 1, "shop", "shop.service", STALE[:1]), OTHER], (STALE[:1], 0, True)),
        (RUNNING, [Process(100, 1, "shop"), Process(101, 1, "worker", "shop.service", None)], ((), 1, True)),
        (RUNNING, [OTHER], ((), 1, True)),
        (STAND_IN, [Process(101, 1, "worker", "shop.service", STALE[:1])], (STALE[:1], 0, True)),
        (STAND_IN, [OTHER], ((), 0, False)),
    ],
    ids=["its own", "may not be looked at", "nobody sees it", "left in its control group", "none"],
)
def test_the_processes_tell_what_a_service_runs(
    service: ServiceState, processes: list[Process], expected: tuple[tuple[str, ...], int, bool]
) -> None:
    facts = facts_of(service, processes, "shop.service")
    assert (facts.stale, facts.unseen, facts.alive) == expected


@pytest.mark.parametrize(
    ("facts", "probes", "refused"),
    [
        (ServiceFacts(STAND_IN, alive=False), 0, True),
        (ServiceFacts(STAND_IN, alive=False), 1, False),
        (ServiceFacts(STAND_IN), 0, False),
        (ServiceFacts(replace(STAND_IN, state="stopped"), alive=False), 0, True),
        (ServiceFacts(STOPPED, alive=False), 0, False),
        (ServiceFacts(replace(STOPPED, nature="bare"), alive=False), 0, False),
    ],
)
def test_a_stand_in_is_not_proved_ready_by_its_own_state(facts: ServiceFacts, probes: int, refused: bool) -> None:
    if not refused:
        check_proof(facts, probes)
        return
    with pytest.raises(InvalidValue) as error:
        check_proof(facts, probes)
    assert error.value.hint and "probe" in error.value.hint
