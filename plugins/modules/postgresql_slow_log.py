#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_slow_log
short_description: Log slow statements for a bounded time
version_added: 0.1.0
description:
  - Turns C(log_min_duration_statement) on, and leaves a process behind on the host where the module runs that puts back
    exactly what was there before when O(duration) is over, also when the module, the playbook or the controller was
    killed meanwhile.
  - What is on is noted first, as one line of the comment of the connected database, where every role can read it. The
    line is gone when it is off, and the rest of the comment is as it was.
  - Running it again while it is on changes nothing, with O(extend) it moves the end. O(state=absent) turns it off at once.
  - Whatever of ours is on past its time is turned off by any later run, and M(oncall.runbooks.postgresql_health_info)
    reports it (check C(slow_log)).
options:
  state:
    description: Whether slow statements are to be logged.
    type: str
    choices: [present, absent]
    default: present
  scope:
    description:
      - V(server) sets it for the whole server with C(ALTER SYSTEM) and a reload; sessions that are open follow at once.
      - V(database) sets it for the connected database, V(role) for O(role). Only sessions that begin later follow, and they
        keep it until they end, also when it is turned off before; RV(findings) counts those that are open.
      - By default V(server) with O(state=present), and everything of ours with O(state=absent).
    type: str
    choices: [server, database, role]
  role:
    description: The role, for O(scope=role).
    type: str
  threshold:
    description: Statements that take this long or longer are logged, as a duration. V(0) logs every statement.
    type: str
    default: 250ms
  duration:
    description: For how long, as a duration, at most one day. It counts from the moment it is turned on.
    type: str
    default: 15m
  extend:
    description:
      - While it is on, let O(duration) begin anew now, if that ends later, and change O(threshold).
      - Without it, another O(threshold) fails with V(already_on).
    type: bool
    default: false
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.postgresql
notes:
  - >-
    Rights: own the connected database (for the note), and be allowed to set it. A superuser is. Others need, from 15 on,
    C(GRANT SET ON PARAMETER log_min_duration_statement), and for O(scope=server) also C(ALTER SYSTEM) on it,
    C(EXECUTE) on C(pg_reload_conf()) and C(pg_read_all_settings). Managed servers often let the owner set it for a
    database or a role.
  - When the database server is restarted or crashes, the logging stays on, because it is stored there, and the process that
    turns it off does not notice; it holds no session until the time is over, and tries again for a day if it cannot connect.
  - When the host of the process is shut down in order (SIGTERM), it turns the logging off before it ends. The same happens
    when a systemd unit in which the module ran is stopped.
  - When that host dies, or the process is killed (SIGKILL), the logging stays on past its time, and the note too. The next
    run of this module, with any state, turns it off; until then the health check warns.
  - The process keeps the connection's password in its memory, and nowhere else.
  - When somebody changed the value meanwhile, it is left as it is and only the note is taken away.
  - Logged statements hold their literals. They are your customers' data.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Slow statements are logged for half an hour
  oncall.runbooks.postgresql_slow_log:
    dsn: "{{ database_url }}"
    threshold: 500ms
    duration: 30m

- name: Only those of one database, where there is no superuser
  oncall.runbooks.postgresql_slow_log:
    dsn: "{{ database_url }}"
    scope: database

- name: Slow-query logging is off
  oncall.runbooks.postgresql_slow_log:
    dsn: "{{ database_url }}"
    state: absent
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
logging:
  description: Whether slow statements are logged by us. Predicted in check mode.
  returned: success
  type: bool
  sample: true
until:
  description: When it is turned off, on the server's clock. Empty when nothing of ours is on.
  returned: success
  type: str
  sample: '2026-03-01T02:44:07Z'
threshold_ms:
  description: The threshold that was asked for, in milliseconds.
  returned: success
  type: int
  sample: 250
"""

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.run import run
from ..module_utils._module.slow_log import PostgresSlowLog, slow_log_spec
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return slow_log_spec().merge(postgres_spec())


def main() -> None:
    run(argument_spec(), PostgresSlowLog)


if __name__ == "__main__":
    main()
