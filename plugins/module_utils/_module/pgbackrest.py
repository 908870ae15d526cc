# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""pgbackrest_info: options to limits, readings to the result."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .._core.errors import InvalidValue
from .._core.pgbackrest import Backup, Facts, Limits, Stanza, findings
from .._core.result import CRITICAL, Decision
from .._core.units import count_of, parse_duration, parse_size, rfc3339
from .._io.pgbackrest import PgBackRest, read_facts
from .info import InfoOperation
from .postgres import postgres_target
from .run import Task
from .spec import ArgumentSpec


def pgbackrest_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "stanza": {"type": "str"},
            "config": {"type": "path"},
            "pgbackrest_path": {"type": "path", "default": "pgbackrest"},
            "max_age": {"type": "str", "default": "26h"},
            "max_full_age": {"type": "str", "default": "8d"},
            "check": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": False},
            "command_timeout": {"type": "str", "default": "2h"},
            "archiver": {"type": "bool", "default": False},
            "archive_lag_warning": {"type": "str", "default": "64MB"},
            "archive_lag_critical": {"type": "str", "default": "1GB"},
        }
    )


class PgBackRestInfo(InfoOperation):
    """Look whether physical backups are there, fresh and whole."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._limits = Limits(
            max_age=parse_duration(params["max_age"], "max_age"),
            max_full_age=parse_duration(params["max_full_age"], "max_full_age"),
            lag_warning=parse_size(params["archive_lag_warning"], "archive_lag_warning"),
            lag_critical=parse_size(params["archive_lag_critical"], "archive_lag_critical"),
        )
        if self._limits.lag_critical < self._limits.lag_warning:
            raise InvalidValue("archive_lag_critical is below archive_lag_warning", hint="the warning comes first")
        timeout = parse_duration(params["command_timeout"], "command_timeout")
        self._tool = PgBackRest(params["pgbackrest_path"], params["config"], timeout)

    def decide(self) -> Decision:
        """Read everything against its limits."""
        params = self._task.params
        archiver = (lambda: postgres_target(params, "pgbackrest_info")) if params["archiver"] else None
        facts = read_facts(self._tool, params["stanza"], params["check"], params["verify"], archiver)
        found = findings(facts, self._limits, self._task.clock.now())
        bad = [finding for finding in found if finding.status == CRITICAL]
        backups = sum(len(stanza.backups) for stanza in facts.stanzas)
        summary = f"{count_of(len(facts.stanzas), 'stanza')}, {count_of(backups, 'backup')}"
        return Decision(
            msg=f"{summary}; critical: {bad[0].msg}" if bad else summary,
            findings=found,
            extra={"stanzas": [_stanza(one) for one in facts.stanzas], "archiver_state": _archiver(facts)},
        )


def _stanza(stanza: Stanza) -> dict[str, Any]:
    return {
        "name": stanza.name,
        "repositories": [asdict(one) for one in stanza.repositories],
        "backups": [_backup(one) for one in stanza.backups],
        "archives": [asdict(one) for one in stanza.archives],
        "systems": list(stanza.systems),
    }


def _backup(backup: Backup) -> dict[str, Any]:
    return {**asdict(backup), "start": rfc3339(backup.start), "stop": rfc3339(backup.stop)}


def _archiver(facts: Facts) -> dict[str, Any]:
    if facts.archiver is None:
        return {}
    state = asdict(facts.archiver)
    moments = ("last_archived_at", "last_failed_at")
    return {**state, **{key: None if state[key] is None else rfc3339(state[key]) for key in moments}}
