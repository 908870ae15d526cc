"""service_restart against a scripted systemd: every call, in order, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.errors import OpsError, TimedOut
from plugins.module_utils._core.result import Outcome
from plugins.module_utils._core.service_processes import Process
from plugins.module_utils._core.service_systemd import journal_command, show_command
from plugins.module_utils._io.progress import ProgressFile
from plugins.module_utils._module import service
from plugins.module_utils._module.run import Task
from plugins.module_utils._module.service import ServiceRestart, service_restart_spec
from tests.support.dialogue import Dialogue, FakeClock, Line, option_defaults

RECORDED = Path(__file__).resolve().parents[2] / "data" / "systemd"
SHOW = show_command("nginx.service", "system")
RESTART = ["systemctl", "--no-ask-password", "restart", "--", "nginx.service"]
STARTED = 1772337600  # the fake clock's epoch seconds, 2026-03-01T04:00:00Z
JOURNAL = journal_command("nginx.service", "system", 20, STARTED - 1)


def unit(name: str = "active", **changes: Any) -> str:
    """Return what systemctl show prints for nginx."""
    facts = dict(line.split("=", 1) for line in (RECORDED / f"{name}.txt").read_text().splitlines())
    facts.update({"Id": "nginx.service", "MainPID": "4194399", "UnitFileState": "enabled", **changes})
    return "".join(f"{key}={value}\n" for key, value in facts.items())


OLD = unit()
NEW = unit(InvocationID="new", ActiveEnterTimestampMonotonic="9", MainPID="4194400")


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """The processes of the host: those of the test, and nothing of /proc."""
    there = [Process(4194399, 1, "nginx", "nginx.service"), Process(4194400, 1, "nginx", "nginx.service")]
    monkeypatch.setattr(service, "read_processes", lambda: tuple(there))
    return there


def looks(*texts: str) -> list[Line]:
    return [Line(SHOW, text) for text in texts]


def operation(script: list[Line], **given: Any) -> tuple[ServiceRestart, Dialogue]:
    commands, clock = Dialogue(script), FakeClock()
    params = option_defaults(service_restart_spec().options, {"name": "nginx", **given})
    return ServiceRestart(Task(params, clock, commands, ProgressFile(None, clock.monotonic))), commands


def carried_out(script: list[Line], **given: Any) -> Outcome:
    restart, commands = operation(script, **given)
    outcome = restart.apply(restart.decide())
    commands.assert_over()
    return outcome


def failed(script: list[Line], **given: Any) -> OpsError:
    restart, commands = operation(script, **given)
    with pytest.raises(OpsError) as error:
        restart.apply(restart.decide())
    commands.assert_over()
    return error.value


def test_a_restart_is_one_command_a_look_and_three_good_polls() -> None:
    outcome = carried_out([*looks(OLD), Line(RESTART), *looks(NEW), *looks(NEW, NEW, NEW), *looks(NEW)])
    assert [step.status for step in outcome.steps] == ["done", "done"]
    assert outcome.after["pids"] == [4194400]
    assert "pid 4194399, now: active (running), pid 4194400" in outcome.msg


def test_the_configuration_is_checked_between_looking_and_acting() -> None:
    check = Line(["nginx", "-t"])
    carried_out([*looks(OLD), check, Line(RESTART), *looks(NEW, NEW, NEW, NEW, NEW)], config_check=["nginx", "-t"])
    error = failed([*looks(OLD), Line(["nginx", "-t"], rc=1, stderr="line 7\n")], config_check=["nginx", "-t"])
    assert error.code == "config_invalid" and error.partial == {}


def test_a_changed_unit_file_is_loaded_first() -> None:
    reload = Line(["systemctl", "--no-ask-password", "daemon-reload"])
    changed = unit(NeedDaemonReload="yes")
    outcome = carried_out([*looks(changed), reload, Line(RESTART), *looks(NEW, NEW, NEW, NEW, NEW)], condition="needed")
    assert [step.id for step in outcome.steps] == [
        "daemon-reload:nginx.service",
        "restart:nginx.service",
        "verify:nginx.service",
    ]


@pytest.mark.parametrize(
    ("polls", "code"),
    [
        ([unit("failed")], "service_failed"),
        ([NEW, unit("auto_restart")], "crash_loop"),
        ([NEW, unit(NRestarts="1", InvocationID="third")], "crash_loop"),
        ([NEW, unit(InvocationID="third")], "restarted_meanwhile"),
        ([unit(ActiveState="activating", SubState="start")] * 62, "not_ready"),
    ],
)
def test_what_systemd_calls_a_success_may_be_none(polls: list[str], code: str) -> None:
    journal = Line(JOURNAL, "starting\npassword=hunter2 is wrong\x1b[31m\n")
    error = failed([*looks(OLD), Line(RESTART), *looks(*polls), *looks(polls[-1]), journal])
    assert error.code == code
    assert error.details["journal"] == ["starting", "password=******** is wrong\\x1b[31m"]
    assert error.partial["changed"] and error.partial["before"]["pids"] == [4194399]
    assert [step["status"] for step in error.partial["steps"]] == ["done", "failed"]


@pytest.mark.parametrize(
    ("before", "counts"),
    [(OLD, "01"), (unit(NRestarts="1"), "01"), (unit("auto_restart", NRestarts="1"), "12"), (unit(NRestarts=""), "..")],
    ids=["never crashed", "crashed before", "was waiting for its restart", "systemd does not count"],
)
def test_what_dies_while_the_first_probe_waits_for_it_is_noticed(before: str, counts: str) -> None:
    hangs = Line(CURL, raises=TimedOut("no answer within 5 s"))
    new, third = (
        unit(NRestarts=count.strip("."), InvocationID=life)
        for count, life in zip(counts, ("new", "third"), strict=True)
    )
    script = [*looks(before), Line(RESTART), *looks(new), hangs, *looks(third), *looks(third), Line(JOURNAL, "died\n")]
    error = failed(script, probes=[probe()])
    assert error.code == ("restarted_meanwhile" if counts == ".." else "crash_loop")
    assert error.details["probes"][0]["polls"] == 1


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("Failed to restart nginx.service: Access denied", "insufficient_privilege"),
        ("Failed to restart nginx.service: Unit nginx.service is masked.", "unit_masked"),
        ("Job for nginx.service failed because the control process exited with error code.", "service_failed"),
    ],
)
def test_a_command_that_fails_has_a_stable_code(stderr: str, code: str) -> None:
    denied = Line(JOURNAL, rc=1, stderr="No journal files were opened due to insufficient permissions.")
    error = failed([*looks(OLD), Line(RESTART, rc=1, stderr=stderr), *looks(OLD), denied])
    assert error.code == code
    assert not error.partial["changed"], "the same process runs as before"
    assert "could not be read" in error.details["journal"][0]


def test_a_failed_restart_that_cost_the_old_process_is_a_change() -> None:
    stderr = "Job for nginx.service failed because the control process exited with error code."
    error = failed([*looks(OLD), Line(RESTART, rc=1, stderr=stderr), *looks(unit("failed")), Line(JOURNAL, "no\n")])
    assert error.partial["changed"] and error.partial["after"]["state"] == "failed"


def test_a_look_that_fails_after_the_proof_loses_nothing_of_what_was_done() -> None:
    lost = Line(SHOW, rc=1, stderr="Failed to connect to bus: Connection refused\n")
    script = [*looks(OLD), Line(RESTART), *looks(NEW, NEW, NEW, NEW), lost, *looks(NEW), Line(JOURNAL, "")]
    error = failed(script)
    assert error.code == "manager_unavailable" and error.partial["changed"]
    assert [step["status"] for step in error.partial["steps"]] == ["done", "failed"]


def test_a_host_without_systemd_is_told_from_a_missing_unit() -> None:
    words = "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
    assert failed([Line(SHOW, rc=1, stderr=words)]).code == "manager_unavailable"
    assert failed(looks((RECORDED / "not_found.txt").read_text())).code == "unit_missing"


def test_a_stopped_and_disabled_unit_is_left_alone() -> None:
    stopped = unit("disabled", UnitFileState="disabled", MainPID="0")
    assert failed(looks(stopped)).code == "not_running"
    carried_out([*looks(stopped), Line(RESTART), *looks(NEW, NEW, NEW, NEW, NEW)], start_stopped=True)


CURL = ["curl", "localhost"]
REMAINS = unit("stand_in", MainPID="0")


def probe() -> dict[str, Any]:
    return option_defaults(service_restart_spec().options["probes"]["options"], {"type": "command", "argv": CURL})


@pytest.mark.parametrize(
    "before", [REMAINS, unit("stand_in", MainPID="0", ActiveState="inactive", SubState="dead")], ids=["on", "off"]
)
def test_a_unit_without_a_process_is_not_restarted_without_a_probe(processes: list[Process], before: str) -> None:
    processes.clear()
    error = failed(looks(before), condition="always")
    assert error.code == "invalid_value" and "postgresql@15-main" in (error.hint or "")
    polls = [line for _poll in range(3) for line in (Line(CURL), *looks(REMAINS))]
    carried_out([*looks(before), Line(RESTART), *looks(REMAINS), *polls, *looks(REMAINS)], probes=[probe()])


def test_nobody_knows_whether_a_unit_without_a_process_needs_a_restart(processes: list[Process]) -> None:
    processes.clear()
    decision = operation(looks(REMAINS), condition="needed")[0].decide()
    assert decision.plan == () and "unknown" in decision.msg
    assert [finding.status for finding in decision.findings] == ["ok", "unknown"]


def test_what_is_left_in_the_control_group_is_looked_at_and_must_come_back(processes: list[Process]) -> None:
    processes[:] = [Process(50, 1, "worker", "nginx.service", ("/usr/lib/libssl.so.3",))]
    restart, commands = operation(
        [*looks(REMAINS), Line(RESTART), *looks(*[REMAINS] * 6), Line(JOURNAL, "")], condition="needed"
    )
    decision = restart.decide()
    assert decision.extra["restart_reasons"] == ["it still runs 1 replaced file: /usr/lib/libssl.so.3"]
    processes.clear()
    with pytest.raises(OpsError) as error:
        restart.apply(decision)
    commands.assert_over()
    assert error.value.code == "invalid_value" and error.value.partial["changed"]
    assert [step["status"] for step in error.value.partial["steps"]] == ["done", "failed"]


def test_nothing_is_given_an_order_when_nothing_is_needed() -> None:
    restart, commands = operation(looks(OLD), condition="needed", config_check=["nginx", "-t"])
    assert restart.decide().plan == ()
    commands.assert_over()


def test_times_are_asked_for_in_utc() -> None:
    restart, commands = operation(looks(OLD))
    restart.decide()
    assert commands.environments == [{"TZ": "UTC"}]
