"""systemctl's words, recorded with systemd 252."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed
from plugins.module_utils._core.service_systemd import (
    journal_command,
    orders,
    parse_show,
    refusal,
    show_command,
    unit_name,
)

RECORDED = Path(__file__).resolve().parents[2] / "data" / "systemd"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("active", {"state": "active", "wanted": True, "pids": (328,), "since": "2026-11-21T08:10:29Z", "restarts": 0}),
        ("active", {"can_reload": True, "enabled": "enabled", "detail": "active (running)", "looping": False}),
        ("instance", {"name": "postgresql@15-main.service", "wanted": True, "enabled": "enabled-runtime"}),
        ("failed", {"state": "failed", "wanted": True, "pids": (), "since": None}),
        ("failed", {"detail": "failed (failed), last result exit-code", "looping": False}),
        ("auto_restart", {"state": "failed", "looping": True}),
        ("oneshot", {"state": "active", "identity": (), "wanted": False, "nature": "bare"}),
        ("stand_in", {"state": "active", "detail": "active (exited)", "pids": (), "nature": "stand_in"}),
        ("disabled", {"state": "stopped", "wanted": False, "enabled": "disabled"}),
        ("enabled_stopped", {"state": "stopped", "wanted": True}),
        ("needs_daemon_reload", {"state": "active", "needs_daemon_reload": True, "can_reload": False}),
    ],
)
def test_a_unit_is_read_as_recorded(name: str, expected: dict[str, Any]) -> None:
    state = parse_show(recorded(name))
    assert {key: getattr(state, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "changes", "state", "nature"),
    [
        ("active", {}, "active", "daemon"),
        ("active", {"RemainAfterExit": "yes"}, "active", "daemon"),
        ("active", {"RemainAfterExit": "yes", "SubState": "exited", "MainPID": "0"}, "active", "stand_in"),
        ("enabled_stopped", {}, "stopped", "daemon"),
        ("stand_in", {"ActiveState": "inactive", "SubState": "dead"}, "stopped", "stand_in"),
        ("active", {"Id": "multi-user.target", "SubState": "active"}, "active", "stand_in"),
        ("active", {"Id": "backup.timer", "SubState": "waiting"}, "active", "bare"),
    ],
)
def test_a_unit_lives_by_its_processes_or_only_stands_for_others(
    name: str, changes: dict[str, str], state: str, nature: str
) -> None:
    facts = {**dict(line.split("=", 1) for line in recorded(name).splitlines()), **changes}
    read = parse_show("".join(f"{key}={value}\n" for key, value in facts.items()))
    assert (read.state, read.nature) == (state, nature)


@pytest.mark.parametrize(("name", "code"), [("not_found", "unit_missing"), ("masked", "unit_masked")])
def test_a_unit_that_cannot_run_is_refused(name: str, code: str) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        parse_show(recorded(name))
    assert refused.value.code == code


def test_a_unit_whose_file_is_broken_is_refused() -> None:
    with pytest.raises(PreconditionFailed) as refused:
        parse_show(recorded("active").replace("LoadState=loaded", "LoadState=bad-setting"))
    assert refused.value.code == "unit_broken"


def test_systemd_before_235_does_not_count_restarts() -> None:
    text = "\n".join(line for line in recorded("active").splitlines() if not line.startswith("NRestarts"))
    assert parse_show(text).restarts is None


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        (
            "Failed to restart x.service: Access denied\nSee system logs and 'systemctl status x.service'",
            "insufficient_privilege",
        ),
        ("Failed to restart x.service: Interactive authentication required.", "insufficient_privilege"),
        ("Failed to restart x.service: Unit x.service not found.", "unit_missing"),
        ("Failed to restart x.service: Unit x.service is masked.", "unit_masked"),
        ("System has not been booted with systemd as init system (PID 1). Can't operate.", "manager_unavailable"),
        ("Failed to connect to bus: No medium found", "manager_unavailable"),
        ("Failed to reload x.service: Job type reload is not applicable for unit x.service.", "reload_unsupported"),
        ("x.service: Start request repeated too quickly.", "crash_loop"),
        (
            "Failed to restart x.service: Operation refused, unit x.service may be requested by dependency only",
            "start_refused",
        ),
        (
            "Job for x.service failed because the control process exited with error code.\n"
            'See "systemctl status x.service" and "journalctl -xeu x.service" for details.',
            "service_failed",
        ),
        ("something new", "command_failed"),
    ],
)
def test_what_systemctl_says_has_a_stable_code(stderr: str, code: str) -> None:
    assert refusal(stderr).code == code


@pytest.mark.parametrize("name", ["", "nginx*", "--force", "a b", "a;b", "x" * 256, "/etc/passwd", "a\nb", "[n]ginx"])
def test_what_names_no_single_unit_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        unit_name(name)


@pytest.mark.parametrize(
    ("name", "unit"), [("nginx", "nginx.service"), ("backup.timer", "backup.timer"), ("a@b\\x2dc", "a@b\\x2dc.service")]
)
def test_a_name_gets_its_suffix(name: str, unit: str) -> None:
    assert unit_name(name) == unit


def test_commands_are_exact() -> None:
    assert show_command("x.service", "user")[:4] == ("systemctl", "--user", "--no-ask-password", "show")
    assert journal_command("x.service", "system", 20, 5) == (
        *("journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=20", "--since=@5", "--unit", "x.service"),
    )
    assert [order.argv for order in orders(parse_show(recorded("active")), "reload", "system")] == [
        ("systemctl", "--no-ask-password", "reload", "--", "nginx.service")
    ]
    assert [order.argv for order in orders(parse_show(recorded("needs_daemon_reload")), "restart", "system")] == [
        ("systemctl", "--no-ask-password", "daemon-reload"),
        ("systemctl", "--no-ask-password", "restart", "--", "good.service"),
    ]
