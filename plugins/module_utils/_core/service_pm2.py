# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""pm2: what ``pm2 jlist`` says, and the commands for it (tried with pm2 5 to 7)."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any, Sequence

from .errors import CommandFailed, InvalidValue, PreconditionFailed
from .redact import printable
from .service import ACTIVE, FAILED, STARTING, STOPPED, Order, ServiceState
from .units import rfc3339

_NAME = re.compile(r"[^\s/-][^\n\0/]*")
_STATES = {
    "online": ACTIVE,
    "launching": STARTING,
    "stopping": STARTING,
    "waiting restart": STARTING,
    "one-launch-status": STARTING,
    "stopped": STOPPED,
    "errored": FAILED,
}
_ORDER = (FAILED, STOPPED, STARTING, ACTIVE)


def check_name(name: str) -> str:
    """Return the name or number of one application.

    Raises:
        InvalidValue: it would be read as an option, a file or as every application.
    """
    if not _NAME.fullmatch(name) or name.lower() == "all" or name.endswith((".json", ".js", ".yml", ".yaml")):
        raise InvalidValue(
            f"name must be the name or the number of one pm2 application, not {printable(name, 80)!r}",
            hint="name each application: all of them at once is one blast too wide",
        )
    return name


def parse_jlist(text: str) -> list[dict[str, Any]]:
    """Return pm2's processes; lines of advice that pm2 prints around the JSON are passed over.

    Raises:
        CommandFailed: there is no list in it (code ``output_unreadable``).
    """
    for line in text.splitlines():
        if not line.startswith(("[{", "[]")):
            continue
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return value
    raise CommandFailed(
        "read the list of pm2's processes: there is no JSON list in what pm2 jlist printed",
        code="output_unreadable",
        hint="run pm2 jlist by hand as the same user; pm2 update mends a daemon of another version",
    )


def select(processes: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the processes that ``pm2 restart name`` would touch.

    Raises:
        PreconditionFailed: none (unit_missing), or the name is a namespace of others too (ambiguous_name).
    """
    by_number = [process for process in processes if name.isdigit() and process.get("pm_id") == int(name)]
    by_name = [process for process in processes if process.get("name") == name]
    strangers = [
        process
        for process in processes
        if (process.get("pm2_env") or {}).get("namespace") == name and process.get("name") != name
    ]
    if not by_number and not by_name:
        known = ", ".join(sorted({printable(str(process.get("name"))) for process in processes})) or "none"
        raise PreconditionFailed(
            f"look at {printable(name)}: pm2 has no such application",
            code="unit_missing",
            hint=f"applications of this user: {known}; each user has a pm2 of their own (become_user)",
        )
    if by_name and strangers:
        raise PreconditionFailed(
            f"look at {printable(name)}: it is also a pm2 namespace with other applications",
            code="ambiguous_name",
            hint="give the application's number (pm2 list), or rename the namespace",
        )
    return by_number or by_name


def service_state(name: str, processes: Sequence[dict[str, Any]]) -> ServiceState:
    """Return the state of an application: as bad as its worst process. Its environment stays unread: it has secrets."""
    facts = [(process, process.get("pm2_env") or {}) for process in processes]
    states = [_STATES.get(env.get("status", ""), STARTING) for _process, env in facts]
    words = sorted({str(env.get("status")) for _process, env in facts})
    started = [int(env.get("pm_uptime") or 0) for _process, env in facts if env.get("status") == "online"]
    return ServiceState(
        manager="pm2",
        name=name,
        state=min(states, key=_ORDER.index),
        detail=f"{printable(', '.join(words))} ({sum(s == ACTIVE for s in states)} of {len(states)} online)",
        wanted=any(state != STOPPED for state in states),
        since=rfc3339(datetime.fromtimestamp(max(started) / 1000, timezone.utc)) if any(started) else None,
        pids=tuple(int(process.get("pid") or 0) for process, _env in facts if process.get("pid")),
        restarts=sum(int(env.get("restart_time") or 0) for _process, env in facts),
        identity=tuple(f"{p.get('pm_id')}:{p.get('pid')}:{env.get('pm_uptime')}" for p, env in facts),
        looping=any(word in ("errored", "waiting restart") for word in words),
        instances=len(states),
        running=sum(state == ACTIVE for state in states),
    )


def log_paths(processes: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the error logs of an application's processes."""
    paths = [(process.get("pm2_env") or {}).get("pm_err_log_path") for process in processes]
    return tuple(dict.fromkeys(path for path in paths if isinstance(path, str) and path.startswith("/")))


def orders(program: str, name: str, action: str) -> tuple[Order, ...]:
    """Return the command; the application keeps the environment that it was started with."""
    return (Order(action, (program, action, name)),)
