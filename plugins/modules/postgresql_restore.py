#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore
short_description: Restore a database aside, verify it, swap it in by rename, and swap it back
version_added: 0.1.0
description:
  - Takes the newest copy that is not known to be bad, at or before a time, and restores it B(aside), into a new database
    of the same server. Until that one has proven to be what was copied (rows, checksums, sequences, definitions, owners,
    rights, indexes), the live database is not touched; when anything fails it goes on as if nothing had happened.
  - Then both are renamed in one transaction, in which no session can start and those that are left are ended. It happens
    as a whole or not at all, also when this run, the connection or the server dies in the middle of it. The old database
    is kept, and O(state=undone) swaps it back within a second.
  - Connection limit, rights, settings (of the database and of roles in it), owner, tablespace and comment of the live
    database are given to the restored one. When there is no live database, it gets those that the copied one had.
  - Says beforehand, in check mode too, what will be lost (RV(loss)), counted in the live database while it can still be
    reached.
  - A database says in the last line of its comment what a restore made of it. What a dead run left behind is known by
    that, and is dropped by the next one.
options:
  state:
    description:
      - V(restored) restores a copy and swaps it in.
      - V(undone) swaps the database back in that the newest restore replaced; the restored one is kept too.
      - V(cleaned) drops what earlier restores left, when it is older than O(keep).
    type: str
    choices: [restored, undone, cleaned]
    default: restored
  database:
    description: Name of the database in the repository.
    type: str
    required: true
  target:
    description: Name of the database on the server, when that is another one. It may be missing; then it is made.
    type: str
  repository:
    description: Where the restic repository is. Needed to restore.
    required: false
  product:
    description: Name of the product that the copy belongs to. Needed to restore.
    type: str
  source_host:
    description: Inventory name of the host whose copy it is. Needed to restore.
    type: str
  at:
    description:
      - Take the newest copy of this moment or before, V(20260918-040000) (UTC) or RFC 3339 with a time zone.
      - By default the newest one.
    type: str
  snapshot:
    description: Take this copy, by its id or the beginning of it, even when it was found to be bad.
    type: str
  confirm:
    description:
      - The name of the database on the server. Without it nothing is swapped, undone or dropped; check mode shows the
        plan all the same.
    type: str
  fingerprint:
    description:
      - What the server must be, as its system identifier, or as a mapping with C(system_identifier) and C(database).
      - The copy's own server is compared in any case, see O(allow_other_server).
    type: raw
  allow_other_server:
    description: Restore a copy that is of another server than this one.
    type: bool
    default: false
  create_roles:
    description:
      - Make the roles that the copy needs and the server has not, as the copy's globals have them, with the groups that
        they belong to. Roles that are there stay as they are. It takes the right to make roles.
      - On managed servers the globals may hold no passwords; then the new roles have none.
    type: bool
    default: false
  swap:
    description:
      - With V(false) the copy is restored aside and verified, and nothing else (RV(aside)). A later run with V(true) and
        the same copy verifies it again and swaps it in. So it is after a swap that failed, too.
    type: bool
    default: true
  force:
    description:
      - Restore a copy that was already swapped in, once more. Without it that is left alone, since nobody can tell what
        was written meanwhile.
      - With O(state=undone), go back one restore further after an undoing.
    type: bool
    default: false
  writers:
    description:
      - V(fence) ends the sessions in the database at the moment of the swap and holds new ones off until it is done.
      - V(refuse) fails when there are any.
    type: str
    choices: [fence, refuse]
    default: fence
  jobs:
    description:
      - Connections that load and verify side by side, 1 to 64.
      - On partitioned tables with foreign keys, jobs of pg_restore can deadlock with one another. What failed is done
        once more, one after the other. Where the server's messages are not in English the restore ends with
        V(load_failed) instead, the live database is not touched, and V(1) is the way.
    type: int
    default: 2
  tablespaces:
    description:
      - Put tables and indexes into the tablespaces where they were. These must be on the server, which is looked at
        before anything is made.
      - With V(false) all of it goes into the tablespace of the live database, or into C(pg_default) when there is none.
    type: bool
    default: true
  keep:
    description: How old, as a duration, what O(state=cleaned) drops must be.
    type: str
    default: 7d
  keep_last:
    description: Let O(state=cleaned) spare the database that an undoing would swap back, however old it is.
    type: bool
    default: true
  loss_time:
    description: How long counting the live database's rows may take, as a duration. Tables that are left are not counted.
    type: str
    default: 2min
  max_time:
    description: How long all of it may take, as a duration. Then it is given up, and the live database goes on.
    type: str
    default: 12h
  maintenance_db:
    description: Database to log in to meanwhile; it must be another one than the target.
    type: str
    default: postgres
  client_bin_dirs:
    description: Folders with C(pg_restore), looked at instead of the usual ones.
    type: list
    elements: path
    default: []
  work_dir:
    description: Folder where the copy lies while it is loaded. The system's temporary folder by default.
    type: path
attributes:
  idempotent:
    description: A second run finds the copy restored already (or undone already) and does nothing, unless O(force) is set.
    support: partial
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.postgresql
  - oncall.runbooks.repository
  - oncall.runbooks.progress
requirements:
  - C(pg_restore) of the server's major or newer, and not older than the C(pg_dump) that wrote the copy
notes:
  - >-
    Rights needed: the owner of the database with C(CREATEDB) can do all of it, as far as the copy has nothing that only a
    superuser can make (event triggers, untrusted extensions, other owners). Sessions of other roles can be ended with
    C(pg_signal_backend); those of superusers only by superusers.
  - Who connects during the swap waits, and is told that the database was just renamed; the next attempt succeeds.
  - The kept database does not let anybody in (C(ALLOW_CONNECTIONS false)). Logical replication slots stay with it.
    Subscriptions are not restored.
  - Settings whose names PostgreSQL does not know (C(app.key)) can only be given by a superuser; what could not be carried
    over is a finding, without its value.
  - After a swap the database is looked at under its name. When it lets nobody in (connections are used up), the swap is
    done all the same, and a finding (C(answer), V(unknown)) says that nobody could look.
  - C(lock_timeout) and C(statement_timeout) hold for everything but loading, C(ANALYZE) and verifying.
  - >-
    Further values of C(failure.code): V(no_copy), V(no_copy_old_enough), V(no_good_copy), V(manifest_unreadable),
    V(incomplete), V(client_too_old), V(server_too_old), V(not_enough_space), V(role_missing), V(extension_missing),
    V(tablespace_missing), V(is_standby), V(fingerprint_mismatch), V(confirmation_missing), V(target_in_use),
    V(changed_meanwhile), V(load_failed), V(verification_failed), V(no_kept_database), V(stopped), V(timed_out).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The shop is as it was at four in the morning
  oncall.runbooks.postgresql_restore:
    repository: sftp:backup@vault.example:/srv/backups
    repository_password_file: /etc/oncall/repository.key
    product: shop
    source_host: db1
    database: shop
    at: "2026-09-18T04:00:00Z"
    confirm: shop
    login_user: shop_owner
    login_password: "{{ shop_owner_password }}"

- name: Look at yesterday's data beside the live database
  oncall.runbooks.postgresql_restore:
    repository: /srv/backups
    repository_password_file: /etc/oncall/repository.key
    product: shop
    source_host: db1
    database: shop
    at: "20260917-230000"
    swap: false

- name: That was wrong, back to what was live before
  oncall.runbooks.postgresql_restore:
    state: undone
    database: shop
    confirm: shop

- name: Old databases give their room back after two weeks
  oncall.runbooks.postgresql_restore:
    state: cleaned
    database: shop
    keep: 14d
    confirm: shop
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
copy:
  description: The copy that was chosen.
  returned: with O(state=restored)
  type: dict
  contains:
    id: {description: Its id in the repository., type: str, returned: always, sample: 3f1c…}
    taken: {description: The moment whose state it holds., type: str, returned: always, sample: '2026-09-18T04:00:00Z'}
    form: {description: "V(directory) or V(stream).", type: str, returned: always, sample: directory}
    server: {description: System identifier of its server; empty when it could not be read., type: str, returned: always, sample: '7710527294059581742'}
    size_bytes: {description: Size of the dump., type: int, returned: always, sample: 651000000}
database:
  description: Name of the database on the server.
  returned: with O(state=restored)
  type: str
  sample: shop
loss:
  description: What the live database had and the copy has not. Empty when there is nothing to do.
  returned: with O(state=restored)
  type: dict
  contains:
    seconds: {description: Age of the copy's data., type: float, returned: always, sample: 2143.7}
    measured: {description: Whether the live database could be counted., type: bool, returned: always, sample: true}
    reason: {description: Why not., type: str, returned: always, sample: ''}
    rows: {description: How many rows more there are in tables that have more. Rows changed in place do not show., type: int, returned: always, sample: 12}
    tables:
      description: Tables whose numbers of rows differ.
      type: list
      elements: dict
      returned: always
      sample: [{schema: public, name: orders, rows_now: 1012, rows_in_copy: 1000, difference: 12}]
    not_counted: {description: Tables for which there was no time or no right., type: int, returned: always, sample: 0}
    newest_sentinel: {description: Stamp of the newest copy's sentinel row in the live database., type: str, returned: always, sample: '2026-09-18T05:00:00Z'}
aside:
  description: Name of the database that is restored to until the swap.
  returned: with O(state=restored)
  type: str
  sample: shop_restored_20260918040000
kept:
  description: Name of the database that was live before. Empty when nothing was swapped.
  returned: with O(state=restored) and O(state=undone)
  type: str
  sample: shop_kept_1
undo:
  description: The options that swap it back.
  returned: with O(state=restored)
  type: str
  sample: state=undone database=shop confirm=shop
seconds:
  description: "How long each part took: C(fetch), C(create), C(load), C(analyze), C(verify), C(outage)."
  returned: with O(state=restored)
  type: dict
  sample: {fetch: 3.1, create: 0.2, load: 30.5, analyze: 2.0, verify: 4.4, outage: 0.1}
outage_seconds:
  description: For how long nobody could connect.
  returned: with O(state=restored) and O(state=undone)
  type: float
  sample: 0.1
rto_seconds:
  description: How long all of it took. V(null) when nothing was swapped.
  returned: with O(state=restored)
  type: float
  sample: 41.3
rpo_seconds:
  description: How old the data was when it became live again. V(null) when nothing was swapped.
  returned: with O(state=restored)
  type: float
  sample: 2143.7
freed_bytes:
  description: Size of what was dropped.
  returned: with O(state=cleaned)
  type: int
  sample: 651000000
"""

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.restore import PostgresRestore
from ..module_utils._module.restore_options import restore_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec, progress_spec


def argument_spec() -> ArgumentSpec:
    return restore_spec().merge(postgres_spec()).merge(progress_spec())


def main() -> None:
    run(argument_spec(), PostgresRestore)


if __name__ == "__main__":
    main()
