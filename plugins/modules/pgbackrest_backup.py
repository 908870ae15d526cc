#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbackrest_backup
short_description: Make the physical backups that are due
version_added: 0.1.0
description:
  - Reads what pgBackRest has of a stanza in each of its repositories, and makes the backup that is due there by the age of
    those that are there, full, differential or incremental. When nothing is due, nothing is done.
  - Makes the stanza where it is missing. pgBackRest itself sees that WAL arrives before it copies anything, because a
    backup without its WAL is none; that needs its option C(archive-check), which is on by default.
  - A backup counts when pgBackRest lists it afterwards. One repository that fails does not stop the others; the module
    fails at the end then.
  - Configuration, retention and the server's C(archive_command) are those of pgBackRest; see the role
    C(oncall.runbooks.pgbackrest).
options:
  stanza:
    description: The stanza.
    type: str
    required: true
  config:
    description: Configuration file of pgBackRest. By default its own.
    type: path
  pgbackrest_path:
    description: The program to run.
    type: path
    default: pgbackrest
  full_every:
    description:
      - A full backup is due when the newest one began this long ago, as a duration. V(0) makes only the first one.
      - A backup that is due within the last 5 % of its time is made already, so that no run of a schedule is skipped.
    type: str
    default: 7d
  diff_every:
    description: A differential backup is due when the newest full or differential one began this long ago. V(0) for none.
    type: str
    default: 1d
  incr_every:
    description: An incremental backup is due when the newest backup of any type began this long ago. V(0) for none.
    type: str
    default: "0"
  max_duration:
    description: Longest time of one command of pgBackRest, as a duration.
    type: str
    default: 12h
  planned_repositories:
    description:
      - How many repositories O(config) will have, for check mode before it is written. Then the plan is that of a first
        run. It counts for nothing once the file is there.
    type: int
    default: 0
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
requirements:
  - pgBackRest (2.45 or newer) on the host where the module runs
notes:
  - >-
    The module runs pgBackRest as the user that Ansible became, the server's own (often C(postgres)). Nothing is written to
    pgBackRest's log files, so that none of them changes its owner.
  - >-
    A failure has C(failure.code): V(pgbackrest_failed), V(archive_not_set), V(archive_timeout), V(lock_busy),
    V(verification_failed), V(command_missing), V(timed_out), V(stopped), V(invalid_value), V(invalid_arguments).
  - >-
    Values of RV(findings[].check): V(backup_errors), for each backup. A backup with damaged pages (wrong checksums) is
    V(critical) and not a failure of the module, as pgBackRest makes it all the same; V(unknown) is what pgBackRest does
    not tell, as usual without data checksums.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: A full backup each week, a differential one each day, an incremental one each hour
  oncall.runbooks.pgbackrest_backup:
    stanza: shop
    incr_every: 1h
  become: true
  become_user: postgres
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
backups:
  description: The backups that were due.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    repository: {description: Number of the repository., type: int, returned: always, sample: 1}
    type: {description: "V(full), V(diff) or V(incr).", type: str, returned: always, sample: diff}
    reason: {description: Why it was due., type: str, returned: always, sample: "20261114-041229F began 7 days ago, one is due every 7 days"}
    label: {description: Its name; V(null) when it was not made., type: str, returned: always, sample: 20261114-041229F_20261121-041229D}
    start: {description: When it began; V(null) when it was not made., type: str, returned: always, sample: '2026-11-21T04:12:29Z'}
    stop: {description: When it ended; V(null) when it was not made., type: str, returned: always, sample: '2026-11-21T04:14:02Z'}
    size_bytes: {description: Size of the database; V(null) when it was not made., type: int, returned: always, sample: 24326232}
    repository_bytes: {description: What a restore reads from the repository; V(null) where not known., type: int, returned: always, sample: 4497729}
"""

from ..module_utils._module.pgbackrest_backup import PgBackRestBackup, pgbackrest_backup_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return pgbackrest_backup_spec()


def main() -> None:
    run(argument_spec(), PgBackRestBackup)


if __name__ == "__main__":
    main()
