#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_preflight_info
short_description: Say whether a PostgreSQL server is fit for work
version_added: 0.1.0
description:
  - Looks, in one connection, whether the server answers, at its version, at whether it is the primary, at what the role
    will not be able to do, at who else is at work, at free connections, at the oldest transaction and at sizes.
  - A reading that is out of its limits is a finding, never a failure, and so is a server that does not answer
    (RV(reachable) is false and RV(status) is V(critical)). The playbook decides. Only options that mean nothing fail.
  - Each reading is taken by itself. One that fails is V(unknown), the others are there.
options:
  expect:
    description: What the server is expected to be. Something else is V(critical), because a standby cannot be maintained.
    type: str
    choices: [primary, standby, any]
    default: primary
  own_runs:
    description:
      - The verdict when another run of this collection holds its lock, in any database of the server.
      - Set V(warning) in runbooks that must start while maintenance is going on.
    type: str
    choices: [warning, critical]
    default: critical
  free_connections_warning:
    description: How many more connections the role could open; this many or fewer are a warning.
    type: int
    default: 10
  free_connections_critical:
    description: How many more connections the role could open; this many or fewer are critical.
    type: int
    default: 3
  transaction_warning:
    description: Age of the oldest transaction of a client that is a warning, as a duration.
    type: str
    default: 1h
  transaction_critical:
    description: Age of the oldest transaction of a client that is critical, as a duration. Not judged by default.
    type: str
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.postgresql
notes:
  - >-
    Rights: none are needed. C(pg_monitor) lets the role see everything; what it cannot see is V(unknown) or in
    RV(cannot).
  - Rights to tables are counted in the connected database only, without the system's own tables.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Database is fit for maintenance
  oncall.runbooks.postgresql_preflight_info:
    dsn: "{{ database_url }}"
  register: database
  failed_when: database is failed or database.status == 'critical'

- name: What the role will not be able to do is shown
  ansible.builtin.debug:
    msg: "{{ item.step }}: {{ item.what }} ({{ item.needs }})"
  loop: "{{ database.cannot }}"
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
reachable:
  description: Whether the server answered until the end.
  returned: success
  type: bool
  sample: true
unreachable:
  description: Why it did not. Empty when it did.
  returned: success
  type: dict
  contains:
    code: {description: The value to branch on., type: str, returned: when it did not answer, sample: authentication_failed}
    msg: {description: What happened., type: str, returned: when it did not answer, sample: 'connect to PostgreSQL at db1:5432: password authentication failed'}
    hint: {description: What to do next., type: str, returned: when it did not answer, sample: check login_user and login_password}
server:
  description: The server. Empty when it could not be read.
  returned: success
  type: dict
  contains:
    version: {description: Its version., type: str, returned: always, sample: '17.5'}
    version_number: {description: Its version as C(server_version_num)., type: int, returned: always, sample: 170005}
    major: {description: Its major version., type: int, returned: always, sample: 17}
    role: {description: "V(primary) or V(standby).", type: str, returned: always, sample: primary}
    started: {description: Since when it runs., type: str, returned: always, sample: '2026-02-01T04:00:12Z'}
    now: {description: Its clock., type: str, returned: always, sample: '2026-03-01T02:14:07Z'}
    database: {description: The connected database., type: str, returned: always, sample: shop}
    system_identifier:
      description: "Tells clusters apart; a standby has its primary's. Empty without the right."
      type: str
      returned: always
      sample: '7710527385654502104'
    data_directory: {description: Where its files are. Empty without the right., type: str, returned: always, sample: /var/lib/postgresql/17/main}
    last_replayed:
      description: >-
        When the last transaction was committed that the server replayed since it started, as a standby or in a
        recovery. V(null) when it replayed none.
      type: str
      returned: always
      sample: '2026-02-01T03:59:58Z'
rights:
  description: What the role may do. Empty when it could not be read.
  returned: success
  type: dict
  contains:
    role: {description: The role., type: str, returned: always, sample: ops}
    superuser: {description: Whether it is a superuser., type: bool, returned: always, sample: false}
    memberships:
      description: Whether it has the rights of each predefined role; V(null) when the server has no such role.
      type: dict
      returned: always
      sample: {pg_monitor: true, pg_signal_backend: true, pg_maintain: false}
    tables: {description: Tables in the connected database., type: int, returned: always, sample: 57}
    maintainable: {description: How many of them it may C(VACUUM) and C(ANALYZE)., type: int, returned: always, sample: 57}
    reindexable: {description: How many of them it may C(REINDEX)., type: int, returned: always, sample: 55}
    readable: {description: How many of them it may C(SELECT) from., type: int, returned: always, sample: 57}
cannot:
  description: What a run will not do for want of a right.
  returned: success
  type: list
  elements: dict
  contains:
    step: {description: "V(maintenance), V(reindex), V(sessions) or V(readings).", type: str, returned: always, sample: sessions}
    what: {description: What will not be done., type: str, returned: always, sample: other roles' sessions are not ended}
    needs: {description: What the role would need., type: str, returned: always, sample: grant pg_signal_backend}
at_work:
  description: Who is at work on the server. Commands in progress, tools by their C(application_name), runs of this collection.
  returned: success
  type: list
  elements: dict
  contains:
    pid: {description: Its process id., type: int, returned: always, sample: 4711}
    activity: {description: What it does., type: str, returned: always, sample: VACUUM}
    detail: {description: "On what and how far, where that can be seen.", type: str, returned: always, sample: 'public.events, scanning heap'}
    role: {description: Its role., type: str, returned: always, sample: ops}
    database: {description: Its database., type: str, returned: always, sample: shop}
    application: {description: Its C(application_name)., type: str, returned: always, sample: pg_dump}
    kind: {description: Its C(backend_type). Empty when hidden., type: str, returned: always, sample: client backend}
    own_run: {description: Whether it holds a lock of this collection., type: bool, returned: always, sample: false}
connections:
  description: Connections to the server. Empty when they could not be read.
  returned: success
  type: dict
  contains:
    max: {description: C(max_connections)., type: int, returned: always, sample: 100}
    reserved: {description: How many are reserved., type: int, returned: always, sample: 3}
    used: {description: "How many are used, this module's own included.", type: int, returned: always, sample: 41}
    free: {description: How many more the role could open., type: int, returned: always, sample: 56}
oldest_transaction:
  description: The client that has had a transaction open for longest. Empty when there is none.
  returned: success
  type: dict
  contains:
    pid: {description: Its process id., type: int, returned: when there is one, sample: 4711}
    role: {description: Its role., type: str, returned: when there is one, sample: app}
    database: {description: Its database., type: str, returned: when there is one, sample: shop}
    application: {description: Its C(application_name)., type: str, returned: when there is one, sample: web}
    state: {description: What it does., type: str, returned: when there is one, sample: idle in transaction}
    seconds: {description: For how long it has been open., type: float, returned: when there is one, sample: 5400.3}
    query: {description: Its current or last statement without literals., type: str, returned: when there is one, sample: "SELECT * FROM stock WHERE id = ?"}
databases:
  description: All databases of the server.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: shop}
    owner: {description: Its owner., type: str, returned: always, sample: app}
    size_bytes: {description: Its size; V(null) when the role may not know it., type: int, returned: always, sample: 651000000}
    connectable: {description: Whether the role may connect to it., type: bool, returned: always, sample: true}
"""

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.postgres_preflight import PostgresPreflight, preflight_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return preflight_spec().merge(postgres_spec())


def main() -> None:
    run(argument_spec(), PostgresPreflight)


if __name__ == "__main__":
    main()
