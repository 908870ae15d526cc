#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_info
short_description: Read the journal, with its runs, findings, samples, drills and incidents
version_added: 0.1.0
description:
  - Runs on the controller, where the journal is kept or reached from. Delegate it to localhost.
  - A journal that cannot be read, or that nobody has written to yet, is V(unknown) and no failure. Runs that were begun
    and never closed are a finding.
  - All times are seconds of the Unix epoch.
options:
  query:
    description:
      - What is asked for.
      - V(last_runs) is for each runbook the newest run that ended, the newest that came to its own end, and the newest
        that went well. The last two are runs without C(--limit) and C(--tags).
      - V(latest_findings) is the newest reading of each host, area and check.
      - V(samples) are single readings, V(days) what is kept of each day, both of the series with O(metric).
      - V(states) is what modules left for their next run.
    type: str
    choices: [days, drills, findings, incidents, last_runs, latest_findings, runs, samples, states, steps]
    default: runs
  since:
    description: How far to look back, as a duration.
    type: str
    default: 7d
  runbook:
    description: Only runs of this runbook.
    type: str
  run_id:
    description: Only steps or findings of this run, of any age.
    type: str
  host:
    description: Only of this host.
    type: str
  metric:
    description: Name of the metric, with C(*) for any text. Needed for V(samples) and V(days).
    type: str
  limit:
    description: How many rows to return at most.
    type: int
    default: 100
requirements:
  - sqlalchemy, and psycopg2 for PostgreSQL, for the Python on the controller
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.journal
notes:
  - >-
    A failure has C(failure.code): V(invalid_value), V(invalid_arguments).
seealso:
  - module: oncall.runbooks.journal_record
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Which runs went wrong this month
  oncall.runbooks.journal_info:
    query: runs
    since: 30d
  register: journal
  delegate_to: localhost
  run_once: true

- name: How full the disks were
  oncall.runbooks.journal_info:
    query: days
    metric: host.disk.used_percent
    since: 365d
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
# begin: results of every module (written by tools/stamp_returns.py)
msg:
  description: One line for the person who reads it at 3 a.m.
  returned: always
  type: str
  sample: 41 tables vacuumed, 2 skipped (locked), 12.0 GB of 60.0 GB dead space freed
plan:
  description: What is to be done, in order. The same in check mode and in a real run.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Names the action in RV(plan) and RV(steps)., type: str, returned: always, sample: vacuum:shop:public.events}
    action: {description: What is done., type: str, returned: always, sample: vacuum}
    target: {description: What it is done to., type: str, returned: always, sample: shop public.events}
    reason: {description: Why., type: str, returned: always, sample: 31 % dead (1.2 million of 3.9 million rows)}
    command: {description: The exact statement or command., type: str, returned: always, sample: VACUUM (ANALYZE) public.events}
steps:
  description: What became of each action of the plan. Empty in check mode.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    id: {description: "The action's RV(plan[].id).", type: str, returned: always, sample: vacuum:shop:public.events}
    status: {description: "V(done), V(skipped) or V(failed).", type: str, returned: always, sample: done}
    duration_seconds: {description: How long it took., type: float, returned: always, sample: 12.4}
    detail: {description: "What happened, or why not.", type: str, returned: always, sample: lock not available}
findings:
  description: Readings against their limits.
  returned: success
  type: list
  elements: dict
  contains:
    check: {description: What was looked at., type: str, returned: always, sample: xmin_horizon}
    status: {description: "V(ok), V(warning), V(critical), or V(unknown) when it could not be looked at.", type: str, returned: always, sample: warning}
    value: {description: The reading., type: raw, returned: always, sample: 5400}
    unit: {description: Its unit., type: str, returned: always, sample: s}
    warning: {description: Limit of V(warning)., type: raw, returned: always, sample: 3600}
    critical: {description: Limit of V(critical)., type: raw, returned: always, sample: 86400}
    msg: {description: The reading in words., type: str, returned: always, sample: pid 4711 (reports) has held back vacuum for 1 h 30 min}
status:
  description: "The worst finding: V(ok), V(unknown), V(warning) or V(critical)."
  returned: success
  type: str
  sample: warning
before:
  description: What was true before; the diff is made from RV(before) and RV(after).
  returned: success
  type: dict
  sample: {dead_rows: 1200000}
after:
  description: What is true afterwards. Predicted in check mode, read again in a real run.
  returned: success
  type: dict
  sample: {dead_rows: 0}
failure:
  description: Why the module failed.
  returned: failure
  type: dict
  contains:
    code: {description: Stable; the value to branch on., type: str, returned: always, sample: lock_busy}
    hint: {description: What to do next., type: str, returned: always, sample: wait for the other run}
    details: {description: "Further facts, if there are any.", type: dict, returned: always, sample: {sqlstate: 55P03}}
# end: results of every module
rows:
  description:
    - What was found. Each row has the columns of the journal; V(incidents) have their C(events), and series their
      C(samples) or C(days).
  returned: success
  type: list
  elements: dict
  sample: [{"runbook": "daily-operations", "started_at": 1795271781.6, "status": "warning", "msg": "1 warning"}]
lines:
  description: RV(rows) as a table for people, with times in UTC.
  returned: success
  type: list
  elements: str
  sample: ["BEGAN             TOOK    RUNBOOK", "2026-11-21 14:36  1.2 s   backup"]
journal:
  description: Where it was read, without password.
  returned: success
  type: str
  sample: postgresql://ops@db1:5432/journal
"""

from ..module_utils._module.journal import JournalInfo, journal_info_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return journal_info_spec()


def main() -> None:
    run(argument_spec(), JournalInfo)


if __name__ == "__main__":
    main()
