# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""systemd: what ``systemctl show`` says, and the commands for it (systemctl(1), org.freedesktop.systemd1(5))."""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple, Optional

from .errors import CommandFailed, InvalidValue, PreconditionFailed
from .redact import printable
from .service import ACTIVE, BARE, DAEMON, FAILED, STAND_IN, STARTING, STOPPED, Order, ServiceState

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "InvocationID",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "NeedDaemonReload",
    "CanReload",
    "Type",
    "RemainAfterExit",
    "Result",
)
_NAME = re.compile(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.\d+)? UTC")
_SUFFIXES = (".service", ".socket", ".timer", ".target", ".path", ".mount", ".automount", ".swap", ".scope", ".slice")
_STATES = {
    "active": ACTIVE,
    "inactive": STOPPED,
    "failed": FAILED,
    "activating": STARTING,
    "reloading": STARTING,
    "refreshing": STARTING,
    "deactivating": STARTING,
    "maintenance": STARTING,
}
_OFF = ("disabled", "masked", "masked-runtime", "")


class Refusal(NamedTuple):
    """A stable failure code and the next thing to do."""

    code: str
    hint: str


_REFUSALS = (
    (
        ("access denied", "interactive authentication required", "permission denied", "not permitted"),
        Refusal("insufficient_privilege", "run it as root (become: true), or grant it by a polkit rule"),
    ),
    (
        ("not been booted with systemd", "failed to connect to bus", "failed to connect to system scope bus"),
        Refusal("manager_unavailable", "systemd does not run on this host, or not for this user: choose manager"),
    ),
    (("not found", "not loaded"), Refusal("unit_missing", "check the name: systemctl list-unit-files")),
    (("is masked",), Refusal("unit_masked", "systemctl unmask it first, if it really should run")),
    (
        ("is not applicable", "does not support reload"),
        Refusal("reload_unsupported", "use action: restart"),
    ),
    (
        ("repeated too quickly", "start-limit-hit", "start of the service was attempted too often"),
        Refusal("crash_loop", "read details.journal; systemctl reset-failed when the cause is mended"),
    ),
    (("operation refused",), Refusal("start_refused", "the unit forbids being started or stopped by hand")),
    (("failed because", 'see "systemctl status'), Refusal("service_failed", "read details.journal for the cause")),
)


def unit_name(name: str) -> str:
    """Return the full name of one unit.

    Raises:
        InvalidValue: no unit can be called so; patterns would match several.

    >>> unit_name("nginx"), unit_name("postgresql@15-main.service")
    ('nginx.service', 'postgresql@15-main.service')
    """
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise InvalidValue(
            f"name must be the name of one systemd unit, not {printable(name, 80)!r}",
            hint="patterns are refused: name each unit",
        )
    return name if name.endswith(_SUFFIXES) else f"{name}.service"


def systemctl(scope: str, *words: str) -> tuple[str, ...]:
    """Return a call of systemctl that never asks for a password."""
    return ("systemctl", *(("--user",) if scope == "user" else ()), "--no-ask-password", *words)


def show_command(unit: str, scope: str) -> tuple[str, ...]:
    """Return the command that reads a unit; run it with TZ=UTC."""
    return systemctl(scope, "show", f"--property={','.join(PROPERTIES)}", "--", unit)


def journal_command(unit: str, scope: str, lines: int, since: int) -> tuple[str, ...]:
    """Return the command that reads a unit's newest log lines; ``since`` in seconds of the Unix epoch."""
    which = "--user-unit" if scope == "user" else "--unit"
    return ("journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", f"--since=@{since}", which, unit)


def orders(service: ServiceState, action: str, scope: str) -> tuple[Order, ...]:
    """Return the commands of a restart or reload; a unit file that changed is loaded first."""
    fresh = Order("daemon-reload", systemctl(scope, "daemon-reload"), "the unit file changed after it was loaded")
    act = Order(action, systemctl(scope, action, "--", service.name))
    return (fresh, act) if service.needs_daemon_reload else (act,)


def parse_show(text: str) -> ServiceState:
    """Return the state that ``systemctl show`` printed.

    Raises:
        PreconditionFailed: unit_missing, unit_masked, or unit_broken (its file cannot be loaded).
    """
    facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    name, load = facts.get("Id", ""), facts.get("LoadState", "")
    _check_loaded(name, load)
    state = _STATES.get(facts["ActiveState"], STOPPED)
    detail = f"{facts['ActiveState']} ({facts['SubState']})"
    well = facts.get("Result", "success") == "success"
    looping = facts["SubState"].startswith("auto-restart")
    nature = _nature(facts, name)
    oneshot_done = nature == BARE and facts.get("Type") == "oneshot" and facts["ActiveState"] == "inactive" and well
    if oneshot_done:
        state, detail = ACTIVE, f"{detail}, a oneshot that ended well"
    elif not well:
        detail += f", last result {facts['Result']}"
    if looping:
        state = FAILED
    pid = int(facts.get("MainPID") or 0)
    enabled = facts.get("UnitFileState", "")
    return ServiceState(
        manager="systemd",
        name=name,
        state=state,
        detail=detail,
        wanted=enabled not in (*_OFF, "static") or (enabled == "static" and state == FAILED),
        enabled=enabled,
        since=_since(facts.get("ActiveEnterTimestamp", "")) if state == ACTIVE else None,
        pids=(pid,) if pid else (),
        restarts=int(facts["NRestarts"]) if facts.get("NRestarts") else None,
        identity=() if oneshot_done else _identity(facts, pid),
        needs_daemon_reload=facts.get("NeedDaemonReload") == "yes",
        can_reload=facts.get("CanReload") == "yes",
        looping=looping,
        nature=nature,
        running=int(state == ACTIVE),
    )


def refusal(stderr: str) -> Refusal:
    """Return what systemctl's words mean.

    >>> refusal("Failed to restart x.service: Access denied").code
    'insufficient_privilege'
    """
    low = stderr.lower()
    for words, meaning in _REFUSALS:
        if any(word in low for word in words):
            return meaning
    return Refusal(CommandFailed.default_code, "read systemctl's words")


def _check_loaded(name: str, load: str) -> None:
    if load == "loaded":
        return
    codes = {"not-found": "unit_missing", "masked": "unit_masked"}
    hints = {
        "not-found": "check the name: systemctl list-unit-files; is the package installed on this host?",
        "masked": "somebody forbade it to run: systemctl unmask it first, if it really should run",
    }
    raise PreconditionFailed(
        f"look at {printable(name)}: systemd says {load or 'nothing'}",
        code=codes.get(load, "unit_broken"),
        hint=hints.get(load, "read systemctl status and systemd-analyze verify"),
    )


def _nature(facts: Mapping[str, str], name: str) -> str:
    """Return what a unit lives by; active (exited) is what is left of one whose last process ended well."""
    oneshot, remains = facts.get("Type") == "oneshot", facts.get("RemainAfterExit") == "yes"
    if name.endswith(".target") or facts["SubState"] == "exited" or (oneshot and remains):
        return STAND_IN
    return BARE if oneshot or not name.endswith((".service", ".scope", ".slice")) else DAEMON


def _identity(facts: dict[str, str], pid: int) -> tuple[str, ...]:
    return (facts.get("InvocationID", ""), facts.get("ActiveEnterTimestampMonotonic", ""), str(pid))


def _since(stamp: str) -> Optional[str]:
    match = _STAMP.search(stamp)
    return f"{match[1]}T{match[2]}Z" if match else None
