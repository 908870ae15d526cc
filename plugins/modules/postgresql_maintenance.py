#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_maintenance
short_description: Vacuum, analyze and freeze the tables that need it
version_added: 0.1.0
description:
  - Reads in one connection per database what each table needs, plans it in order of urgency with the reasons, carries it
    out on several connections within the time that it is given, and proves the result by the server's own counters.
  - The order is wraparound first (with C(FREEZE)), then dead rows, then tables that were only inserted into, then stale
    planner statistics, then partitioned parents, which autovacuum never analyzes; the largest first within each.
  - A table that was skipped for lack of a right or of a lock is never reported as done.
  - Says who holds back the xmin horizon. A vacuum that this makes useless is not repeated for ever.
  - On a standby there is nothing to do; RV(read_only) is true then.
options:
  databases:
    description:
      - Names of databases, or patterns such as V(shop_*); V(*) is every database that is no template and accepts
        connections.
      - By default the one that is logged in to.
    type: list
    elements: str
    default: []
  include:
    description:
      - Only these tables, as patterns of V(schema.table), or of the table's name alone when the pattern has no dot.
      - C(*), C(?) and C([...]) match as in a shell. Names are written as they are, without quotes.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Not these tables, written as in O(include). It wins over O(include).
      - An excluded table that is near wraparound is left alone too, and is a critical finding.
    type: list
    elements: str
    default: []
  system_catalogs:
    description: Look after the system catalogs too, as far as the role may.
    type: bool
    default: true
  all_tables:
    description:
      - Work on every table that is included, whether it needs it or not.
      - A second run then does it all again.
    type: bool
    default: false
  dead_rows_min:
    description:
      - A table is vacuumed when it has more dead rows than this plus O(dead_ratio) of its rows.
      - The table's own C(autovacuum_vacuum_threshold) and C(autovacuum_vacuum_scale_factor) count when they are stricter.
        So it is with the other thresholds.
    type: int
    default: 50
  dead_ratio:
    description: Share of the table's rows, 0 to 1. See O(dead_rows_min).
    type: float
    default: 0.05
  inserted_rows_min:
    description:
      - A table is vacuumed when more rows than this plus O(inserted_ratio) of its rows were inserted since the last
        vacuum, so that its pages become all-visible and are frozen in good time.
    type: int
    default: 1000
  inserted_ratio:
    description: Share of the table's rows. See O(inserted_rows_min).
    type: float
    default: 0.2
  modified_rows_min:
    description:
      - A table is analyzed when more rows than this plus O(modified_ratio) of its rows changed since the last analyze, or
        when it was never analyzed.
    type: int
    default: 50
  modified_ratio:
    description: Share of the table's rows. See O(modified_rows_min).
    type: float
    default: 0.05
  freeze_age:
    description:
      - Age in transactions from which on a table is vacuumed with C(FREEZE).
      - By default three quarters of C(autovacuum_freeze_max_age), the server's or the table's own, so that it happens in
        the maintenance window and not when autovacuum is forced to.
    type: int
  multixact_freeze_age:
    description: The same in multixacts, by default three quarters of C(autovacuum_multixact_freeze_max_age).
    type: int
  partitioned_max_age:
    description:
      - A partitioned parent whose partitions were analyzed after it is analyzed when its own statistics are older than
        this, as a duration.
      - PostgreSQL 13 does not record when that was; there only missing statistics and changes that no analyze has seen
        yet make a parent due.
    type: str
    default: 30d
  analyze_only:
    description: Only bring planner statistics up to date, vacuum nothing.
    type: bool
    default: false
  vacuum_only:
    description: Only vacuum and freeze, analyze nothing.
    type: bool
    default: false
  freeze:
    description: Vacuum with C(FREEZE) whatever is vacuumed. It does not make more tables due.
    type: bool
    default: false
  truncate:
    description:
      - Whether vacuum gives empty pages at the end of a table back to the operating system. That takes an exclusive lock
        for a moment, on standbys too; V(false) is better for tables that are always busy.
      - By default the table's own C(vacuum_truncate) decides, and the server.
    type: bool
  index_cleanup:
    description:
      - Whether vacuum removes dead entries from indexes. V(off) is only for emergencies of wraparound.
      - By default the table's own C(vacuum_index_cleanup) decides, and the server. On 13 V(auto) means the same.
    type: str
    choices: [auto, 'on', 'off']
  parallel:
    description: Workers for the indexes of one table, 0 to 1024; 0 switches them off. By default the server decides.
    type: int
  process_toast:
    description:
      - Whether the table's TOAST table is vacuumed with it. Needs PostgreSQL 14.
      - By default it is, unless it is empty and known to be so since an earlier vacuum.
    type: bool
  buffer_usage_limit:
    description: Size of the ring of buffers, V(0) (no limit) or V(128kB) to V(16GB). Needs PostgreSQL 16.
    type: str
  skip_locked:
    description:
      - Do not wait at all for a table that somebody locks.
      - By default it is waited for as long as O(lock_timeout), O(lock_attempts) times.
    type: bool
    default: false
  overrides:
    description:
      - Other values for single tables. The first entry whose pattern matches a table counts, and only what it gives.
    type: list
    elements: dict
    default: []
    suboptions:
      pattern: {description: "Tables, written as in O(include).", type: str, required: true}
      vacuum: {description: V(false) leaves vacuum and freeze away., type: bool}
      analyze: {description: V(false) leaves analyze away., type: bool}
      dead_rows_min: {description: See O(dead_rows_min)., type: int}
      dead_ratio: {description: See O(dead_ratio)., type: float}
      inserted_rows_min: {description: See O(inserted_rows_min)., type: int}
      inserted_ratio: {description: See O(inserted_ratio)., type: float}
      modified_rows_min: {description: See O(modified_rows_min)., type: int}
      modified_ratio: {description: See O(modified_ratio)., type: float}
      freeze_age: {description: See O(freeze_age)., type: int}
      multixact_freeze_age: {description: See O(multixact_freeze_age)., type: int}
      freeze: {description: See O(freeze)., type: bool}
      truncate: {description: See O(truncate)., type: bool}
      index_cleanup: {description: See O(index_cleanup)., type: str, choices: [auto, 'on', 'off']}
      parallel: {description: See O(parallel)., type: int}
      process_toast: {description: See O(process_toast)., type: bool}
      buffer_usage_limit: {description: See O(buffer_usage_limit)., type: str}
      skip_locked: {description: See O(skip_locked)., type: bool}
  vacuum_cost_delay:
    description: Pause of cost-based delay, as a duration up to V(100ms); V(0) switches it off. By default the server's.
    type: str
  vacuum_cost_limit:
    description: Cost after which a connection pauses, 1 to 10000. By default the server's.
    type: int
  maintenance_work_mem:
    description: Memory for each connection, as a size such as V(256MB). By default the server's.
    type: str
  jobs:
    description:
      - Connections that work side by side, 1 to 64. One more in each database that has work watches over it.
    type: int
    default: 2
  limit:
    description: At most so many tables in one run. The next run goes on with the rest.
    type: int
  budget:
    description:
      - How long the run may take, as a duration.
      - A table is not started when it is estimated to need longer than what is left; the next run goes on with it.
        The estimate is the table's pages by the speed of this run, or the mean of its earlier vacuums when that is longer
        (PostgreSQL 18).
    type: str
  window_end:
    description:
      - When the run has to be over, besides O(budget). V(06:00) is the next such time of the host where the module runs,
        V(06:00Z) of UTC, V(2026-11-22T06:00:00Z) a moment.
      - A time of the day that is more than 12 hours ahead has just passed; then the run fails with V(window_closed).
    type: str
  cancel_at_end:
    description: Cancel what is still running when the time is used up. By default everything that was started is finished.
    type: bool
    default: false
  lock_attempts:
    description: How often a table is tried whose lock is not free, with growing pauses of random length in between.
    type: int
    default: 3
  table_timeout:
    description: Longest time of one statement, as a duration; V(0) is without limit.
    type: str
    default: 24h
  xmin_warning:
    description: Holding back vacuum for longer than this is a warning, as a duration.
    type: str
    default: 1h
  xmin_critical:
    description: Holding back vacuum for longer than this is critical, as a duration.
    type: str
    default: 24h
attributes:
  idempotent:
    description: A second run finds nothing to do, unless O(all_tables) is set or the tables changed meanwhile.
    support: partial
notes:
  - One run at a time works in a database, of this module or of M(oncall.runbooks.postgresql_reindex); another one fails
    with C(failure.code) V(lock_busy). A run that loses the session which keeps others out begins nothing more, and
    fails with what was done (V(server_gone), V(lock_lost)).
  - Rights needed are those of the server. Up to 16 the owner of the table or of the database, or a superuser; from 17 on
    also V(MAINTAIN) on the table or membership in V(pg_maintain). Tables that the role may not maintain are reported one by
    one with V(insufficient_privilege). Without V(pg_read_all_stats) the queries of other roles' sessions in
    RV(xmin_holders) are hidden, and for how long they hold back vacuum; then the finding V(xmin_horizon) is V(unknown).
  - Small tables that are treated alike share a statement, which skips locked tables; those are tried again alone. The
    plan shows each command as for the table alone. On 16 and newer the statistics of the database are updated once, at
    the end, by C(VACUUM (ONLY_DATABASE_STATS)).
  - When the run is killed, the server ends its statements within a second on 14 and newer (C(client_connection_check_interval)).
    A statement that a dead run left behind is a finding, and its table is left alone.
  - >-
    Further values of C(failure.code): V(window_closed), V(not_supported), V(interrupted), V(data_corrupted),
    V(object_missing), V(cancelled). A failure half way keeps what was done.
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.postgresql
  - oncall.runbooks.progress
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Tables that need it are vacuumed and analyzed within one hour
  oncall.runbooks.postgresql_maintenance:
    dsn: "{{ database_url }}"
    jobs: 4
    budget: 1h

- name: Every database of the server, until six in the morning, with a light hand
  oncall.runbooks.postgresql_maintenance:
    login_host: db.example
    login_user: ops
    databases: ["*"]
    window_end: "06:00Z"
    vacuum_cost_delay: 2ms
    exclude: ["audit.*"]
    overrides:
      - pattern: public.events
        dead_ratio: 0.01
        truncate: false

- name: After a restore the planner needs statistics
  oncall.runbooks.postgresql_maintenance:
    login_db: shop
    analyze_only: true
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
tables:
  description: Every table that needs work, also one that does not get it, with its numbers before and after.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    database: {description: Its database., type: str, returned: always, sample: shop}
    table: {description: "Its name, quoted where SQL needs it.", type: str, returned: always, sample: public.events}
    kind: {description: "V(table), V(materialized view) or V(partitioned table).", type: str, returned: always, sample: table}
    status: {description: "V(planned), V(done), V(skipped) or V(failed).", type: str, returned: always, sample: skipped}
    code:
      description: >-
        Why it was not done: V(insufficient_privilege), V(lock_timeout), V(no_time_left), V(xmin_horizon),
        V(already_running), V(excluded), V(limit_reached), V(stopped),
        V(not_confirmed) and others; the code of the failure when that ended the run before. Empty otherwise.
      type: str
      returned: always
      sample: lock_timeout
    action: {description: "V(freeze), V(vacuum) or V(analyze).", type: str, returned: always, sample: vacuum}
    reason: {description: "Why it needs work, and why it does not get it.", type: str, returned: always, sample: 31% dead (1.2 million of 3.9 million rows)}
    estimate_seconds: {description: What it is estimated to take. Null when nothing is done., type: float, returned: always, sample: 12.5}
    before:
      description: Rows and ages as the server counts and estimates them; V(size_bytes) with indexes and TOAST, measured for
        the 200 largest.
      type: dict
      returned: always
      sample:
        live_rows: 2700000
        dead_rows: 1200000
        size_bytes: 681574400
        xid_age: 1200000
        last_vacuum: '2026-11-14T02:10:00Z'
        last_analyze: '2026-11-14T02:10:05Z'
    after:
      description: The same afterwards. Null in check mode, and when it could not be read again.
      type: dict
      returned: always
      sample:
        live_rows: 2700000
        dead_rows: 0
        size_bytes: 681574400
        xid_age: 40
        last_vacuum: '2026-11-21T02:00:12Z'
        last_analyze: '2026-11-21T02:00:13Z'
xmin_holders:
  description: Who holds back the oldest transaction whose dead rows must stay, the oldest first, as found before the work.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    kind: {description: "V(session), V(prepared), V(slot) or V(standby).", type: str, returned: always, sample: session}
    name:
      description: "Process, role and application; or the name of the transaction, slot or standby."
      type: str
      returned: always
      sample: "pid 4711 (reports, metabase)"
    database: {description: Its database. Null when it counts for all of them., type: str, returned: always, sample: shop}
    age_transactions: {description: How many transactions have begun since., type: int, returned: always, sample: 250000}
    held_seconds: {description: For how long. Null when it cannot be known., type: float, returned: always, sample: 5400.0}
    since: {description: Since when. Null when it cannot be known., type: str, returned: always, sample: '2026-11-21T00:30:00Z'}
    catalog_only: {description: Whether only system catalogs are held back., type: bool, returned: always, sample: false}
    detail: {description: "The query without its values, or what ends it.", type: str, returned: always, sample: "SELECT * FROM orders WHERE id = ?"}
estimate_seconds:
  description: What the whole plan is estimated to take on one connection.
  returned: success, and after a failure half way
  type: float
  sample: 310.5
read_only:
  description: Whether the server is a standby, which has nothing to maintain.
  returned: success
  type: bool
  sample: false
"""

from ..module_utils._module.maintenance import Maintenance
from ..module_utils._module.maintenance_options import maintenance_spec
from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec, progress_spec


def argument_spec() -> ArgumentSpec:
    return maintenance_spec().merge(postgres_spec()).merge(progress_spec())


def main() -> None:
    run(argument_spec(), Maintenance)


if __name__ == "__main__":
    main()
