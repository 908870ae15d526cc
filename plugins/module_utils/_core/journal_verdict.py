# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The verdict of a run, from what its tasks found and whether they failed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping

from .journal import FAILED, REPORT, FindingRow, Run
from .journal_map import Records
from .redact import printable
from .result import CRITICAL, Finding, worst
from .verdict import headline

_Key = tuple[str, str, str]
_MSG_LIMIT = 600
_NAMED = 3
_WORDS = ("assert", "fail")  # how a playbook says what it makes of earlier results


@dataclass(frozen=True)
class Tally:
    """What a run has come to so far: the newest readings of each host, area and check, and the first failures."""

    newest: Mapping[_Key, tuple[FindingRow, ...]] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    def with_records(self, records: Records) -> Tally:
        """Return it with those of one result; its readings stand for earlier ones of the same check.

        What a report says is about all runs, no verdict of the one that wrote it: a backup that went well would not
        count as good while anything else is critical, even that it is late.
        """
        found: dict[_Key, list[FindingRow]] = {}
        for row in records.findings:
            if row.area == REPORT:
                continue
            found.setdefault((row.host, row.area, row.check_name), []).append(row)
        failures = [f"{step.host}: {step.detail}" for step in records.steps if step.code and step.action not in _WORDS]
        if not found and not failures:
            return self
        newest = {**self.newest, **{key: tuple(rows) for key, rows in found.items()}}
        return Tally(newest, (*self.failures, *failures)[:_NAMED])

    def findings(self) -> tuple[FindingRow, ...]:
        """Return all newest readings."""
        return tuple(row for rows in self.newest.values() for row in rows)


def closed(run: Run, tally: Tally, failed: bool) -> Run:
    """Return the run with its verdict; ``failed`` when it ended with a failure on any host.

    A run that failed only because its own last word on a critical reading made it so is critical, not failed.
    """
    findings = tally.findings()
    status = worst(row.status for row in findings)
    line = headline(Finding(row.check_name, row.status, f"{row.host}: {row.msg}") for row in findings)
    if failed and (tally.failures or status != CRITICAL):
        status = FAILED
        line = f"failed: {'; '.join(tally.failures) or 'the playbook said so'}; {line}"
    return replace(run, status=status, msg=printable(line, _MSG_LIMIT))
