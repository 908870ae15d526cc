#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbackrest_info
short_description: Say whether physical backups are there, fresh and whole
version_added: 0.1.0
description:
  - Reads what pgBackRest knows of its stanzas in every repository, and judges the age of the newest backup and of the
    newest full one, backups with damaged pages, and whether the archive has the WAL that the newest backup needs.
  - On request it lets pgBackRest check that WAL arrives (O(check)), verifies every file of the repositories (O(verify)),
    and asks the server whether its archiver works (O(archiver)).
  - C(pgbackrest verify) ends with exit status 0 although it found damage. Its text is read instead, and silence is
    V(unknown).
  - A reading that is out of its limits is a finding, never a failure. What could not be looked at is V(unknown). Only
    options that mean nothing fail.
options:
  stanza:
    description: Only this stanza. By default every one that pgBackRest finds.
    type: str
  config:
    description: Configuration file of pgBackRest. By default its own.
    type: path
  pgbackrest_path:
    description: The program to run.
    type: path
    default: pgbackrest
  max_age:
    description: The newest backup of any type is critical when it is older than this, as a duration.
    type: str
    default: 26h
  max_full_age:
    description: The newest full backup is critical when it is older than this, as a duration.
    type: str
    default: 8d
  check:
    description:
      - Run C(pgbackrest check) on every stanza. The server finishes its WAL segment for that, in check mode too, and
        pgBackRest has to be able to log in to it.
    type: bool
    default: false
  verify:
    description: Run C(pgbackrest verify) on every stanza and repository. It reads all of the repository.
    type: bool
    default: false
  command_timeout:
    description: Longest time of one C(check) or C(verify), as a duration. One that takes longer is V(unknown).
    type: str
    default: 2h
  archiver:
    description: Log in to the server with the connection options and read how its archiver is.
    type: bool
    default: false
  archive_lag_warning:
    description: So much finished WAL that waits for the archive is a warning, as a size.
    type: str
    default: 64MB
  archive_lag_critical:
    description: So much finished WAL that waits for the archive is critical, as a size.
    type: str
    default: 1GB
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.postgresql
requirements:
  - pgBackRest (2.45 or newer) on the host where the module runs
notes:
  - >-
    The module runs pgBackRest as the user that Ansible became, which must be able to read the configuration and the
    repository. Nothing is written to pgBackRest's log files, so that none of them changes its owner.
  - >-
    Values of RV(findings[].check): V(info), V(repository), V(backup_age), V(full_backup_age), V(backup_errors),
    V(archive), V(archiver), V(archive_lag), V(stanza_database), V(check), V(verify).
  - When pgBackRest could not be run, RV(findings[].value) says why, for example V(command_missing) or V(timed_out).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Physical backups are fresh and WAL arrives
  oncall.runbooks.pgbackrest_info:
    stanza: shop
    archiver: true
    check: true
  become: true
  become_user: postgres
  register: physical
  failed_when: physical is failed or physical.status != 'ok'

- name: Every file of the repositories is read once a week
  oncall.runbooks.pgbackrest_info:
    verify: true
    command_timeout: 6h
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
stanzas:
  description: What pgBackRest knows. Empty when it could not be asked.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Name of the stanza., type: str, returned: always, sample: shop}
    repositories:
      description: The state of the stanza in each repository.
      returned: always
      type: list
      elements: dict
      contains:
        key: {description: Number of the repository., type: int, returned: always, sample: 1}
        code: {description: pgBackRest's code; 0 is fine., type: int, returned: always, sample: 0}
        message: {description: pgBackRest's words., type: str, returned: always, sample: ok}
    backups:
      description: Every backup, the oldest first.
      returned: always
      type: list
      elements: dict
      contains:
        label: {description: Its name., type: str, returned: always, sample: 20261121-041229F}
        type: {description: "V(full), V(diff) or V(incr).", type: str, returned: always, sample: full}
        repository: {description: Number of its repository., type: int, returned: always, sample: 1}
        database: {description: Which database of the stanza's history it is of., type: int, returned: always, sample: 1}
        system: {description: System identifier of that database., type: str, returned: always, sample: '7710527294059581742'}
        start: {description: When it began., type: str, returned: always, sample: '2026-11-21T04:12:29Z'}
        stop: {description: When it ended., type: str, returned: always, sample: '2026-11-21T04:14:02Z'}
        size_bytes: {description: Size of the database., type: int, returned: always, sample: 24326232}
        repository_bytes: {description: What a restore reads from the repository; V(null) where not known., type: int, returned: always, sample: 4497729}
        wal_start: {description: The first WAL segment that it needs., type: str, returned: always, sample: '000000010000000000000003'}
        wal_stop: {description: The last WAL segment that it needs., type: str, returned: always, sample: '000000010000000000000004'}
        error: {description: Whether pages had wrong checksums; V(null) where this version does not say., type: bool, returned: always, sample: false}
    archives:
      description: The WAL in each repository.
      returned: always
      type: list
      elements: dict
      contains:
        repository: {description: Number of the repository., type: int, returned: always, sample: 1}
        database: {description: Which database of the stanza's history it is of., type: int, returned: always, sample: 1}
        minimum: {description: The first segment., type: str, returned: always, sample: '000000010000000000000001'}
        maximum: {description: The last segment., type: str, returned: always, sample: '000000010000000000000006'}
    systems: {description: "System identifiers of its servers, the newest last.", type: list, elements: str, returned: always, sample: ['7710527294059581742']}
archiver_state:
  description: What the server says about its archiver. Empty when it was not asked, or did not answer.
  returned: success
  type: dict
  contains:
    last_archived: {description: The last file that was archived., type: str, returned: when it answered, sample: '000000010000000000000006'}
    last_archived_at: {description: When that was., type: str, returned: when it answered, sample: '2026-11-21T04:14:02Z'}
    last_failed: {description: The last file that could not be archived., type: str, returned: when it answered, sample: null}
    last_failed_at: {description: When that was., type: str, returned: when it answered, sample: null}
    current: {description: The segment that is written to; V(null) on a standby., type: str, returned: when it answered, sample: '000000010000000000000007'}
    segment_bytes: {description: Size of a segment., type: int, returned: when it answered, sample: 16777216}
    archive_mode: {description: The server's setting., type: str, returned: when it answered, sample: 'on'}
    in_recovery: {description: Whether it is a standby., type: bool, returned: when it answered, sample: false}
    system_identifier: {description: The server's identity., type: str, returned: when it answered, sample: '7710527294059581742'}
"""

from ..module_utils._module.pgbackrest import PgBackRestInfo, pgbackrest_spec
from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return pgbackrest_spec().merge(postgres_spec())


def main() -> None:
    run(argument_spec(), PgBackRestInfo)


if __name__ == "__main__":
    main()
