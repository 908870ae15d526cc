#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_backup
short_description: Copy databases into an encrypted repository, with the facts that prove a restore
version_added: 0.1.0
description:
  - Writes each database as one atomic snapshot of a restic repository, dumped by C(pg_dump) of the server's own major or
    a newer one, without compression, so that what did not change since the last copy takes no room.
  - Reads in the very moment that is dumped (an exported snapshot) what a restored database must show again. Rows of
    every table counted, checksums over rows, sequences, definitions, extensions, owners, rights, and the server.
  - Writes a sentinel row right before, so that a restored database says by itself how old its data is.
  - A copy counts only after it was found in the repository's own list and its facts were read back equal. What fails
    leaves no snapshot and nothing in the staging folder; copies that there were are never touched.
  - A database that cannot be copied does not stop the others; the module fails at the end and returns what was done.
options:
  databases:
    description:
      - Names of databases, or patterns such as V(shop_*); V(*) is every database that is no template and accepts
        connections.
      - By default the one that is logged in to.
    type: list
    elements: str
    default: []
  databases_without_copy:
    description:
      - Names of databases, or patterns, that have no copy on purpose. What is copied is said by O(databases) alone.
      - Every other database of the server that O(databases) does not mean is named in a finding that is V(warning)
        (C(databases_without_copy)), so that one that was made later is not forgotten. Templates and databases that
        accept no connections are not meant.
    type: list
    elements: str
    default: [postgres]
  mode:
    description:
      - V(directory) dumps on several connections into O(staging_dir) first; deduplicates best.
      - V(stream) dumps straight into the repository and needs no room.
      - V(auto) takes V(directory) where the estimated dump fits into O(staging_dir) with a margin of a fifth, else
        V(stream). The estimate is the tables without their indexes, and what is stored out of line three times.
    type: str
    choices: [auto, directory, stream]
    default: auto
  staging_dir:
    description: Folder where dumps are put together, one at a time, in a folder of their own that nobody else may read.
    type: path
    default: /var/tmp
  jobs:
    description: Connections that count and dump side by side, 1 to 64. A stream is dumped on one.
    type: int
    default: 2
  client_bin_dirs:
    description: Folders with C(pg_dump) and C(pg_dumpall). When given, no other place is looked at.
    type: list
    elements: path
    default: []
  globals:
    description:
      - What to do about roles, memberships and tablespaces, which belong to no database.
      - V(auto) copies them with each database, without passwords where the role may not read them (managed servers), and
        says in a finding what is left out. V(required) fails then. V(none) leaves them away.
    type: str
    choices: [auto, required, none]
    default: auto
  sentinel:
    description:
      - Write a row into C(oncall_runbooks.backup_sentinel) before the copy; the schema and the table are made when they
        are missing. Where the role may not, the copy is made without it and a finding says so.
    type: bool
    default: true
  sentinel_keep:
    description: How many of these rows are kept, the newest.
    type: int
    default: 1000
  application_version:
    description: Version of the application that uses the databases, kept with the facts.
    type: str
  migration_head_query:
    description:
      - One C(SELECT) that gives one value, the newest migration of the schema; kept with the facts.
      - Names must be written with their schema. It can only read. When it fails, a finding says so.
    type: str
  repository_create:
    description: Make the repository when there is none.
    type: bool
    default: true
  max_duration:
    description: Longest time that one database may take to be counted, and again to be dumped, as a duration.
    type: str
    default: 6h
  checksum_rows:
    description:
      - How many rows from each end of its primary key a checksum covers, of tables larger than 16 MB; of smaller ones it
        covers every row. A large table without a key of a type without collation is only counted.
    type: int
    default: 1000
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: none
    details: Each run is a copy of its own.
notes:
  - >-
    The role must be able to read everything: membership in C(pg_read_all_data) (14 and newer) and C(BYPASSRLS) where
    there are row policies, or the owner. All that it may not read is named before anything is dumped. Large objects need
    their owner or a grant of their own.
  - Settings of the database and rights on the database itself are in the dump, but come back only with
    C(pg_restore --create). On a standby the rows of tables that are not logged are not in it.
  - In check mode neither a repository nor a sentinel is made.
  - >-
    Further values of C(failure.code): V(client_too_old), V(not_enough_space), V(disk_full), V(lock_busy), V(killed),
    V(dump_failed), V(recovery_conflict), V(server_gone), V(lock_timeout), V(database_missing), V(limit_reached),
    V(no_workspace), V(stopped), V(verification_failed).
  - >-
    After the module itself was killed, C(pg_dump) and restic end with it (Linux); the next run clears the staging folder.
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.postgresql
  - oncall.runbooks.progress
  - oncall.runbooks.repository
  - oncall.runbooks.repository.source
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The shop's database is in the repository
  oncall.runbooks.postgresql_backup:
    dsn: "{{ database_url }}"
    product: shop
    source_host: "{{ inventory_hostname }}"
    repository: sftp:backup@vault.example:/srv/restic
    repository_password: "{{ vault_repository_password }}"
    application_version: "{{ shop_version }}"
    migration_head_query: SELECT max(version) FROM public.schema_migrations

- name: Every database of the server, on its own host
  oncall.runbooks.postgresql_backup:
    login_unix_socket: /var/run/postgresql
    login_user: postgres
    databases: ["*"]
    product: shop
    source_host: db1
    repository: s3:https://s3.example/shop-backups
    repository_password_file: /etc/oncall/repository.key
    repository_environment:
      AWS_ACCESS_KEY_ID: "{{ vault_s3_key_id }}"
      AWS_SECRET_ACCESS_KEY: "{{ vault_s3_secret }}"
    staging_dir: /srv/staging
    jobs: 4
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
copies:
  description: Every database that was asked for, with its copy.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    database: {description: Its name., type: str, returned: always, sample: shop}
    status: {description: "V(planned), V(done), V(failed) or V(skipped).", type: str, returned: always, sample: done}
    code: {description: Why it failed. Empty otherwise., type: str, returned: always, sample: ''}
    form: {description: "V(directory) or V(stream).", type: str, returned: always, sample: directory}
    estimate_bytes: {description: How large its dump was estimated to be., type: int, returned: always, sample: 681574400}
    database_bytes: {description: How large the database is on the server., type: int, returned: always, sample: 1181116006}
    snapshot:
      description: Full id of the snapshot. Null where there is none, as the values below.
      type: str
      returned: always
      sample: 5c0e2a1f9d1c7b6a4e3f2d1c0b9a88776655443322110fedcba9876543210abc
    taken_at: {description: "The moment whose state it holds, by the server's clock.", type: str, returned: always, sample: '2026-11-21T02:00:04Z'}
    size_bytes: {description: Size of the dump., type: int, returned: always, sample: 640234234}
    added_bytes: {description: "How much was new to the repository, before it compressed it.", type: int, returned: always, sample: 12345678}
    seconds: {description: How long it took., type: float, returned: always, sample: 14.2}
    tables: {description: How many tables it has., type: int, returned: always, sample: 57}
    rows: {description: How many rows they have together., type: int, returned: always, sample: 3912345}
    sentinel:
      description: When the sentinel row was written. Null where there is none.
      type: str
      returned: always
      sample: '2026-11-21T02:00:03.912345Z'
"""

from ..module_utils._module.backup import Backup
from ..module_utils._module.backup_options import backup_spec
from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.repository import repository_spec, source_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec, progress_spec


def argument_spec() -> ArgumentSpec:
    where = repository_spec().merge(source_spec(name=False))
    return backup_spec().merge(postgres_spec()).merge(where).merge(progress_spec())


def main() -> None:
    run(argument_spec(), Backup)


if __name__ == "__main__":
    main()
