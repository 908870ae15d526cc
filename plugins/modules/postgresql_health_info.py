#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_health_info
short_description: Say how a PostgreSQL server and its databases are
version_added: 0.1.0
description:
  - Looks, in one connection and one call, at connections, transactions, locks, replication, slots, ages, statements,
    checkpoints, the archive, autovacuum, sequences, indexes, sizes and more, and judges each reading by its limits.
  - A reading that is out of its limits is a finding, never a failure, and so is a server that does not answer
    (RV(reachable) is false and RV(status) is V(critical)). Only options that mean nothing fail.
  - Each reading is taken by itself. One that fails is V(unknown), and says what is missing; the others are there.
  - What does not apply says nothing, for example the lag of standbys where there is none.
  - Nothing is V(ok) for lack of data. C(cache_hit) (1000 blocks), C(rollbacks) (100 transactions) and C(checkpoints) (5) are
    judged since O(previous) where that is enough, else since the statistics began, and the finding says which. With too few
    since then too they are V(unknown), and so is C(query_mean) when no statement ended. It is judged however few there
    were, because a database that is stuck ends few.
options:
  limits:
    description:
      - From where a reading is a warning or critical, by the name of its check, as C({warning, critical}). A level that
        is not named keeps its default, V(null) is never reached. V(false) leaves the check out.
      - "Sessions: C(connections) (% of C(max_connections), 80/90), C(free_connections) (count left for ordinary roles, 10/3),
        C(reserved_connections) (count, 0/-), C(pool) (% of O(pool_size), 80/95), C(long_transactions) (s, 300/1800),
        C(idle_in_transaction) (s, 300/900), C(lock_waits) (s, 1/60), C(blocked_sessions) (count, 5/20),
        C(prepared_transactions) (s, 300/3600)."
      - "Replication: C(standbys) (how many of O(expected_standbys) are missing, -/1), C(synchronous_standbys) (count, -/0),
        C(replication_lag) (s, 30/300; V(unknown) while a standby is behind and has not told for how long),
        C(replication_lag_bytes) (bytes, 256 MB/2 GB); on a standby C(wal_receiver) (count,
        -/0), C(replay_lag) (s, 30/300), C(replay_paused) (count, 1/-), C(recovery_conflicts) (per hour, 10/-)."
      - "Slots and archive: C(slots_inactive) (count, 1/-), C(slots_retained) (bytes, 2 GB/10 GB), C(slots_lost) (count, -/1),
        C(slots_safe) (bytes until it is lost, 1 GB/256 MB), C(archiver) (s of failing, 1/900; an empty C(archive_command) is
        critical at once, an archive into which nothing went yet is V(unknown)), C(archive_backlog) (files, 16/128)."
      - "Ages: C(xid_age) and C(multixact_age) (% of all ids, 25/50 and 40/60)."
      - "Databases: C(cache_hit) (%, 90/80), C(deadlocks) (per hour, 1/20), C(temp_bytes) (bytes per hour, 2 GB/20 GB),
        C(transactions) (commits per second, none), C(transaction_spike) (times the usual rate, 10/-; with O(previous)),
        C(rollbacks) (%, 10/50), C(database_size) (bytes, none), C(checksum_failures) (count, -/1)."
      - "Statements: C(query_mean) (s over all statements, 0.1/1), C(slow_statements) (s on average each, 1/5)."
      - "Server: C(checkpoints) (% requested, 50/-), C(autovacuum) (1 is on, 0/-), C(autovacuum_workers) (% busy, 100/-),
        C(pending_restart) (settings, 1/-), C(uptime) (s, 900/-), C(slow_log) (s left on past its time, 120/-)."
      - "Connected database: C(autovacuum_overdue) (times what autovacuum waits for, 2/10), C(sequences) (%, 75/90),
        C(invalid_indexes) (count, 1/-)."
      - Of C(free_connections), C(reserved_connections), C(cache_hit), C(synchronous_standbys),
        C(wal_receiver), C(slots_safe), C(autovacuum) and C(uptime) less is worse.
    type: dict
    default: {}
  pool_size:
    description: How many connections the application's pools may open together. Without it C(pool) is not judged.
    type: int
  pool_roles:
    description: The roles that the pools log in as. When empty, every session but the module's own counts.
    type: list
    elements: str
    default: []
  expected_standbys:
    description: How many standbys must stream. Without it their number is not judged.
    type: int
  statements:
    description: How many of the slowest statements are looked at.
    type: int
    default: 10
  statement_calls:
    description: Statements with fewer calls are not looked at.
    type: int
    default: 10
  previous:
    description:
      - The RV(counters) of an earlier run. Counters that only grow are then measured since that run.
      - Without it, and for a counter that began anew meanwhile, they are measured since the statistics began; the
        finding says which.
    type: dict
    default: {}
  queries:
    description:
      - Questions of the inventory, each in a transaction of its own that cannot write, with the role's own C(search_path).
      - A query returns one number, or rows with a column C(value) whose other columns are labels (20 rows at most).
      - No row, no number or an error is V(unknown). More than one statement is refused by the server.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the metric. The check is called C(custom_<name>).
        type: str
        required: true
      query:
        description: One C(SELECT).
        type: str
        required: true
      unit:
        description: Unit of the number.
        type: str
        choices: [count, bytes, seconds, percent, ratio, per_second, per_minute, per_hour]
        default: count
      warning:
        description: From here on it is a warning. Not judged by default.
        type: float
      critical:
        description: From here on it is critical. Not judged by default.
        type: float
      direction:
        description: Whether more is worse or less is.
        type: str
        choices: [higher_is_worse, lower_is_worse]
        default: higher_is_worse
      labels:
        description: Labels that every sample of it gets.
        type: dict
        default: {}
      area:
        description: >-
          What the metric's name starts with, for example V(business) for C(business.<name>). With V(database) it is
          C(database.custom.<name>).
        type: str
        default: database
      timeout:
        description: Longest time of this query, as a duration.
        type: str
        default: 10s
  timeout:
    description: Longest time of everything, as a duration. What is not read by then is V(unknown).
    type: str
    default: 60s
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.postgresql
notes:
  - >-
    Rights: none are needed, and never a superuser. With C(pg_monitor) nothing is hidden but sequences (C(SELECT) or, from
    14 on, C(pg_read_all_data)). What the role cannot see is V(unknown), with the right that is missing.
  - Slow statements need the extension C(pg_stat_statements) in the connected database, in any schema.
  - C(autovacuum_overdue), C(sequences) and C(invalid_indexes) are about the connected database only, and name it. When none
    was named, and the server has others than V(postgres), they are V(unknown) unless something is wrong there; where it
    is meant, set O(login_db=postgres).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Database is healthy
  oncall.runbooks.postgresql_health_info:
    dsn: "{{ database_url }}"
    pool_size: 40
    pool_roles: [app]
    expected_standbys: 1
    limits:
      slots_retained: {warning: 5368709120, critical: 21474836480}
      checksum_failures: false
    previous: "{{ last_health.counters | default({}) }}"
  register: health
  failed_when: health is failed or health.status == 'critical'

- name: What the business sees
  oncall.runbooks.postgresql_health_info:
    dsn: "{{ database_url }}"
    queries:
      - name: signups_today
        query: SELECT count(*) FROM users WHERE created_at >= current_date
        area: business
        warning: 5
        critical: 0
        direction: lower_is_worse
      - name: orders_waiting
        query: SELECT count(*) AS value, country FROM orders WHERE state = 'waiting' GROUP BY country
        warning: 100
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
area:
  description: The area of the readings.
  returned: success
  type: str
  sample: database
samples:
  description: The readings that are kept as history.
  returned: success
  type: list
  elements: dict
  contains:
    metric: {description: Its name., type: str, returned: always, sample: database.connections.used_percent}
    value: {description: The number., type: float, returned: always, sample: 41.0}
    unit: {description: Its unit., type: str, returned: always, sample: percent}
    labels: {description: What it is read of., type: dict, returned: always, sample: {database: shop}}
reachable:
  description: Whether the server answered until the end.
  returned: success
  type: bool
  sample: true
server:
  description: The server. Empty when it could not be read.
  returned: success
  type: dict
  contains:
    version: {description: Its version., type: str, returned: always, sample: '17.5'}
    major: {description: Its major version., type: int, returned: always, sample: 17}
    role: {description: "V(primary) or V(standby).", type: str, returned: always, sample: primary}
    database: {description: The connected database., type: str, returned: always, sample: shop}
    started: {description: Since when it runs., type: str, returned: always, sample: '2026-02-01T04:00:12Z'}
    now: {description: Its clock., type: str, returned: always, sample: '2026-03-01T02:14:07Z'}
    sees_all: {description: Whether the role sees all sessions., type: bool, returned: always, sample: true}
counters:
  description: Counters that only grow, by name, with the moment C(at). Give them to the next run as O(previous).
  returned: success
  type: dict
  sample: {at: '2026-03-01T02:14:07Z', deadlocks/shop: 3, temp_bytes/shop: 1048576}
statements:
  description: The statements with the longest mean time, since the extension's statistics began.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Its C(queryid). Empty when hidden., type: str, returned: always, sample: '-7510219383512345678'}
    query: {description: Its shape without literals., type: str, returned: always, sample: "SELECT * FROM stock WHERE id = ?"}
    database: {description: Its database., type: str, returned: always, sample: shop}
    role: {description: Its role., type: str, returned: always, sample: app}
    calls: {description: How often it ran., type: int, returned: always, sample: 1200}
    rows: {description: How many rows it returned or changed., type: int, returned: always, sample: 1200}
    mean_seconds: {description: How long it took on average., type: float, returned: always, sample: 0.42}
    total_seconds: {description: How long it took in all., type: float, returned: always, sample: 504.0}
    blocks_read: {description: Blocks that were not in the cache., type: int, returned: always, sample: 90000}
databases:
  description: The databases, the largest first.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: shop}
    size_bytes: {description: Its size; V(null) when the role may not know it., type: int, returned: always, sample: 651000000}
standbys:
  description: Who receives WAL from this server.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its C(application_name)., type: str, returned: always, sample: db2}
    client: {description: Its address., type: str, returned: always, sample: 10.0.0.12}
    kind: {description: "V(physical) or V(logical).", type: str, returned: always, sample: physical}
    state: {description: Its state. Empty when hidden., type: str, returned: always, sample: streaming}
    sync_state: {description: Whether commits wait for it. Empty when hidden., type: str, returned: always, sample: async}
    lag_seconds: {description: How far behind it is; V(null) when it is idle or hidden., type: float, returned: always, sample: 0.2}
    lag_bytes: {description: How far behind it is; V(null) when hidden., type: float, returned: always, sample: 1024}
slots:
  description: The replication slots.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: db2}
    kind: {description: "V(physical) or V(logical).", type: str, returned: always, sample: physical}
    active: {description: Whether somebody uses it., type: bool, returned: always, sample: true}
    wal_status: {description: As in C(pg_replication_slots). Empty when it holds back nothing., type: str, returned: always, sample: reserved}
    retained_bytes: {description: How much WAL it holds back., type: float, returned: always, sample: 16777216}
    safe_bytes: {description: How much more may be written before it is lost; V(null) without a bound., type: float, returned: always, sample: 1073741824}
"""

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.postgres_health import PostgresHealth, postgres_health_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return postgres_health_spec().merge(postgres_spec())


def main() -> None:
    run(argument_spec(), PostgresHealth)


if __name__ == "__main__":
    main()
