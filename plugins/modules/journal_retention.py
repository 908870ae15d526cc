#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_retention
short_description: Remove from the journal what is older than it has to be
version_added: 0.1.0
description:
  - Runs on the controller, where the journal is kept or reached from. Delegate it to localhost.
  - Single samples go first, and what is kept of each day (count, minimum, maximum, mean, last value) stays for long. So do
    findings that were not ok, as long as their run. Drills and incidents are never removed.
  - Works in short transactions, so that runs that write at the same time are not kept waiting.
  - The callback P(oncall.runbooks.journal#callback) does the same once a day, at the end of a run.
options:
  keep_samples:
    description: For how many days single samples are kept, and findings that were ok.
    type: int
    default: 35
  keep_runs:
    description: For how many days runs are kept, with their steps and all other findings.
    type: int
    default: 400
  keep_days:
    description: For how many days what is left of each day is kept.
    type: int
    default: 1100
requirements:
  - sqlalchemy, and psycopg2 for PostgreSQL, for the Python on the controller
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.journal
notes:
  - >-
    A failure has C(failure.code): V(journal_unreachable), V(journal_newer), V(journal_older), V(journal_corrupt),
    V(journal_read_only), V(journal_denied), V(journal_busy), V(journal_disk_full), V(library_missing),
    V(invalid_value), V(invalid_arguments).
seealso:
  - module: oncall.runbooks.journal_info
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Journal holds three months of single samples
  oncall.runbooks.journal_retention:
    keep_samples: 90
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
"""

from ..module_utils._module.journal_retention import JournalRetention, journal_retention_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return journal_retention_spec()


def main() -> None:
    run(argument_spec(), JournalRetention)


if __name__ == "__main__":
    main()
