#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_reindex
short_description: Rebuild bloated and invalid indexes, without blocking anybody
version_added: 0.1.0
description:
  - Looks at the indexes of PostgreSQL databases, rebuilds those that are bloated or invalid, the greatest waste first,
    and proves each result in the catalog. Indexes are only ever rebuilt with C(REINDEX INDEX CONCURRENTLY).
  - Nothing that users made is ever dropped. Unused, duplicate and overlapping indexes, and what other people's
    interrupted rebuilds left behind, are findings that carry the statement a person could run.
  - A rebuild is verified by what stands afterwards, a valid index under the old name and its size, not by the absence
    of an error. An index that did not get smaller is reported as such.
  - Sequences that are near their end are findings too.
options:
  databases:
    description:
      - Databases to look at, as names or glob patterns. By default the one that is logged in to.
      - Patterns never mean template databases or such that allow no connections.
    type: list
    elements: str
    default: []
  include:
    description:
      - Only these indexes, as glob patterns. With a dot they are compared with C(schema.table) and C(schema.index), without
        a dot with the names of table and index alone. The index of a TOAST table goes by its owner's name too.
    type: list
    elements: str
    default: []
  exclude:
    description: All but these indexes, as glob patterns in the manner of O(include). They win over O(include).
    type: list
    elements: str
    default: []
  bloat_method:
    description:
      - >-
        V(estimate) computes from the planner's statistics how large each B-tree would be if it were built now, and costs
        no more than a few catalog queries. Where the statistics leave room (keys of several columns, values that are
        compressed), it takes the larger size, so that it misses bloat rather than finding some where there is none.
        An index whose statistics the role may not read is V(unknown) in the findings, not V(ok).
      - >-
        V(pgstattuple) reads each index of some size to its end with C(pgstatindex(\)) of the extension pgstattuple, for
        no longer than O(statement_timeout) each, and needs C(pg_stat_scan_tables).
    type: str
    choices: [estimate, pgstattuple]
    default: estimate
  bloat_ratio:
    description: An index is bloated from this share of waste on (0.4 is 40 %), if O(min_wasted) is reached too.
    type: float
    default: 0.4
  min_wasted:
    description: An index is bloated from this much waste on, if O(bloat_ratio) is reached too.
    type: str
    default: 16MB
  min_index_size:
    description: Smaller indexes are not judged.
    type: str
    default: 10MB
  rebuild_invalid:
    description: Rebuild invalid indexes, which are kept up to date but cannot be used by any query.
    type: bool
    default: true
  drop_leftovers:
    description: Drop what interrupted rebuilds of this module left behind, and nothing else. See the notes.
    type: bool
    default: true
  unused_after:
    description:
      - An index without a single scan is called unused when scans have been counted for this long, as a duration.
      - Indexes that are unique, belong to a constraint or a replica identity, or that the table is clustered on, are never
        called unused.
    type: str
    default: 30d
  sequence_warning:
    description: A sequence of which this much is used, in percent, is a warning. A column of type integer ends at its own limit.
    type: float
    default: 75
  sequence_critical:
    description: A sequence of which this much is used, in percent, is critical.
    type: float
    default: 90
  max_wait:
    description:
      - How long one rebuild may wait in all for other transactions, as a duration.
      - A concurrent rebuild waits for every older snapshot in the database, on whatever table, and for every transaction
        that has locked its table. When this is used up it is cancelled, cleaned up, and reported with the pids.
      - When such a transaction is already older than this, or is a prepared one that holds the table, the rebuild is not
        begun at all.
    type: str
    default: 10m
  lock_attempts:
    description:
      - How often a rebuild is tried when its table's lock cannot be had within O(lock_timeout). The pauses between grow, and
        are jittered. What a failed try left behind is dropped before the next.
    type: int
    default: 3
  jobs:
    description:
      - How many indexes are rebuilt side by side, each in a connection of its own. One more connection for each database holds
        the lock, keeps the records and watches. Indexes of one table are never rebuilt side by side.
    type: int
    default: 1
  limit:
    description: Rebuild at most this many indexes in one run.
    type: int
  budget:
    description:
      - Time for the whole run, as a duration. A rebuild that will not end in time is not begun, by the sizes of index and
        table and the speed measured so far (50 MB/s are assumed at first). The next run goes on with what is left.
    type: str
  window_end:
    description:
      - End of the maintenance window. V(06:00) is the next such time of the host, V(06:00Z) of UTC; or an RFC 3339 time
        such as V(2026-11-22T06:00:00Z).
      - With O(budget) the shorter of both counts.
    type: str
  cancel_at_end:
    description: Cancel what still runs when the time is used up. Otherwise it is left to end by itself.
    type: bool
    default: false
  maintenance_work_mem:
    description: Memory for each sort, for example V(1GB). By default what the server is set to.
    type: str
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.postgresql
  - oncall.runbooks.progress
notes:
  - One run at a time works in a database, of this module or of M(oncall.runbooks.postgresql_maintenance); another one fails
    with C(failure.code) V(lock_busy). A run that loses the session which keeps others out begins nothing more, and
    fails with what was done (V(server_gone)).
  - >-
    The estimate: a B-tree entry takes 8 bytes (16 with a null) and its columns, each aligned to its type and the whole to
    8 bytes, plus a 4-byte pointer; equal keys share one entry of up to 808 bytes with 6 bytes a row, where the index allows
    deduplication; a leaf page keeps 8148 bytes of it up to the fillfactor, an inner page up to 70 %. Widths, nulls, numbers of
    different values and the shares of common ones are those of C(pg_stats), rows the highest of the counts that the server
    has. Source: PostgreSQL documentation, "Database Page Layout" and "B-Tree Indexes", and nbtree's index build. On real
    servers it was within 7 % below and 25 % above fresh indexes, except for columns whose values go together, compressible
    values and type C(name), where it takes too much and so may miss bloat.
  - >-
    Rights: to own the index, through membership too, or MAINTAIN on the table or C(pg_maintain) (17 and newer), and USAGE on
    its schema. A TOAST table's index takes a superuser. Statistics: SELECT on the columns, or C(pg_read_all_data). Other
    sessions: C(pg_read_all_stats). What the role may not do is passed over with the reason, index by index.
  - >-
    A role that can become the owner (a superuser, or a member) does so before each rebuild, so that a function in an index
    never runs with more rights than the table's owner has. The search path is empty throughout, so a function in an index
    that relies on it fails, as it does with C(pg_restore) and in 17 and newer.
  - >-
    Leftovers: before each rebuild a record is written into the database itself, as the comment of an empty large object
    that belongs to the role, and the new index is added to it as soon as it appears. So the next run knows exactly what an
    interrupted one left, also when the host that ran it is gone, after a crash and after a failover. It takes no right
    but to call C(lo_create(\)), which everybody has by default, and only records of the same role are believed.
    C(\lo_list) shows records that are still open; they are removed with the leftover, or when nothing was left (V(forget) in
    the plan). An invalid index without a record is never dropped, whatever its name. If a run died in the very moment in
    which the new index appeared, it is the first one that appeared on the table since the rebuild began, with the name
    that the server gives and the same definition.
  - >-
    Where a rebuilt index still looks bloated to the estimate, its true size is recorded in the same way, and it is
    judged against that from then on. A second run does not rebuild it again.
  - >-
    When the module is killed, the server ends its rebuild within seconds (14 and newer, where the platform can tell); on 13
    the rebuild goes on to its end.
  - A rebuild needs about as much free space as the index takes. Where the server's disk can be seen from the host on which the
    module runs, an index that does not fit is passed over.
  - System catalogs and exclusion constraints cannot be rebuilt concurrently and are passed over. Partitioned indexes are
    rebuilt part by part. Indexes on temporary tables are not looked at.
  - On a standby nothing is rebuilt, and RV(msg) says so; the findings are returned all the same.
  - >-
    Further values of C(failure.code): V(unsafe_server_version) (14.0 to 14.3, which can corrupt an index that is rebuilt
    concurrently), V(extension_missing), V(database_missing), V(window_closed), V(interrupted) (stopped by a signal;
    cleaned up), V(duplicate_key) (a unique index cannot be built). After a failure half way all that was done is in
    the result.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Bloated and invalid indexes of the product are rebuilt at night
  oncall.runbooks.postgresql_reindex:
    dsn: "{{ database_url }}"
    window_end: "05:00Z"

- name: One schema in every database is looked at to the last page, one hour at most
  oncall.runbooks.postgresql_reindex:
    login_host: db1
    databases: ["shop_*"]
    include: ["app.*"]
    bloat_method: pgstattuple
    bloat_ratio: 0.3
    budget: 1h
    jobs: 2

- name: What would be done is shown, with the advice about unused and duplicate indexes
  oncall.runbooks.postgresql_reindex:
    service: shop
    unused_after: 60d
  check_mode: true
  register: indexes
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
indexes:
  description: The indexes of RV(plan), in its order.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    database: {description: Its database., type: str, returned: always, sample: shop}
    index: {description: "Its name, quoted.", type: str, returned: always, sample: app.orders_customer_idx}
    table: {description: "Its table, quoted. Of a TOAST index the table that the values belong to.", type: str, returned: always, sample: app.orders}
    state: {description: "Why: V(bloated), V(invalid), or V(leftover) of an interrupted rebuild of this module.", type: str, returned: always, sample: bloated}
    bytes_before: {description: Its size., type: int, returned: always, sample: 1288490188}
    bytes_expected: {description: "Size of a fresh index, estimated or measured. 0 for a leftover.", type: int, returned: always, sample: 462000128}
    bytes_after: {description: "Its size afterwards. V(null) in check mode, and when it was not done.", type: int, returned: always, sample: 459276288}
    role:
      description: "The role that is assumed for the work. V(null) when it is done as the role that logged in."
      type: str
      returned: always
      sample: app_owner
passed_over:
  description: Indexes that need work and do not get it.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    database: {description: Its database., type: str, returned: always, sample: shop}
    index: {description: "Its name, quoted.", type: str, returned: always, sample: app.booking_excl}
    table: {description: "Its table, quoted.", type: str, returned: always, sample: app.booking}
    state: {description: "V(bloated), V(invalid) or V(leftover).", type: str, returned: always, sample: bloated}
    bytes: {description: Its size., type: int, returned: always, sample: 73400320}
    wasted_bytes: {description: What a rebuild would free., type: int, returned: always, sample: 51380224}
    code:
      description:
        - V(insufficient_privilege), V(not_supported), V(excluded), V(already_running), V(old_transaction), V(disk_full),
          V(read_only) or V(limit_reached).
      type: str
      returned: always
      sample: not_supported
    reason: {description: The same in words., type: str, returned: always, sample: the index of an exclusion constraint cannot be rebuilt CONCURRENTLY}
wasted_bytes:
  description: What the indexes of RV(plan) waste in all.
  returned: success, and after a failure half way
  type: int
  sample: 826490060
freed_bytes:
  description: What was freed. 0 in check mode.
  returned: success, and after a failure half way
  type: int
  sample: 829214060
space_needed_bytes:
  description: Free space that the largest rebuild of RV(plan) needs meanwhile.
  returned: success, and after a failure half way
  type: int
  sample: 1288490188
estimate_seconds:
  description: How long the plan is estimated to take on one connection.
  returned: success, and after a failure half way
  type: float
  sample: 95.5
"""

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.reindex import Reindex
from ..module_utils._module.reindex_options import reindex_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec, progress_spec


def argument_spec() -> ArgumentSpec:
    return reindex_spec().merge(postgres_spec()).merge(progress_spec())


def main() -> None:
    run(argument_spec(), Reindex)


if __name__ == "__main__":
    main()
