#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_backup_verify
short_description: Restore a copy of a database for real and prove it
version_added: 0.1.0
description:
  - Fetches the newest copy of a database, or any other one, out of the repository, restores it into a server of the same
    major that is made for this and removed afterwards, and compares what comes back with the facts that were taken with
    the copy, in the same moment.
  - Proven are rows and checksums of every table, sequences, extensions, roles, every definition, owners and rights,
    constraints, indexes, and the sentinel row, which says how old the data is. Any error of C(pg_restore) counts.
  - The verdict is written into the repository as a proof of the copy, with its evidence.
  - Says, too, how old the newest copy and the newest proof are, by the rule of M(oncall.runbooks.backup_catalog_info). A
    copy or a proof that is not there, or is too old, is a critical finding, so that a verification that never ran turns
    red by itself. A copy that was found to be bad is no copy, also when an earlier verification had proven it.
  - What cannot be verified for a reason of this host (no room, no server, a missing extension, a locked repository) is
    V(unknown), never V(ok).
options:
  name:
    description: Name of the database.
    type: str
    required: true
  verify:
    description: Restore and prove a copy. V(false) only looks how old copies and proofs are, which is cheap.
    type: bool
    default: true
  write_proof:
    description: Write the verdict into the repository. A verdict V(unknown) is not written, it says nothing.
    type: bool
    default: true
  at:
    description:
      - Verify the newest copy of this moment or before, written C(YYYYMMDD-HHMMSS) (UTC) or as RFC 3339.
      - By default the newest one, also when it is known to be bad.
    type: str
  snapshot:
    description: Verify the copy with this id, or an unambiguous beginning of it.
    type: str
  max_age:
    description: Oldest that the newest copy may be, as a duration. V(0) is without limit.
    type: str
    default: 26h
  max_proof_age:
    description: How long ago a copy of this database may have been proven last, as a duration. V(0) is without limit.
    type: str
    default: 8d
  server_bin_dirs:
    description:
      - Folders with C(postgres) and C(initdb). When given, no other place is looked at.
      - The major of the copy is taken, else the next newer one that is there.
    type: list
    elements: path
    default: []
  client_bin_dirs:
    description: Folders with C(pg_restore). When given, no other place is looked at.
    type: list
    elements: path
    default: []
  run_as:
    description:
      - User that the server runs as when the module runs as root, which PostgreSQL refuses. By default V(postgres), or
        else V(nobody).
    type: str
  work_dir:
    description:
      - Folder below which copy and server live for as long as it takes. It needs room for the copy and for the database.
      - The user of the server must be able to enter it.
    type: path
    default: /var/tmp
  jobs:
    description: How many tables or indexes are loaded and checked at once. By default as many as there are processors.
    type: int
  amcheck:
    description:
      - Whether C(amcheck) looks at every B-tree index and, from 14 on, every table of the restored database.
      - Without the extension on this host that is an V(unknown) finding, and the verdict is that of the other checks.
    type: str
    choices: [auto, none]
    default: auto
  restore_timeout:
    description: Longest time for the load, and for each question afterwards, as a duration.
    type: str
    default: 6h
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: none
    details: Each run restores the copy again and writes a proof of its own.
notes:
  - The server listens on a socket in a folder of mode 0700 and on nothing else, preloads no library, runs no job and keeps
    no subscription. It is stopped and removed at the end, also after the module was killed.
  - Everything is read from the repository itself. What restic keeps in its cache could hide a damage.
  - A copy that does not restore is a finding and not a failure of the module. Branch on RV(verdict).
  - >-
    The module fails with C(failure.code) V(wrong_key), V(repository_missing), V(repository_damaged) (its snapshots cannot
    be listed), V(no_copy) (no such O(snapshot)), V(no_copy_old_enough), V(invalid_value), V(stopped).
  - In check mode the ages are looked at, and the plan is shown; nothing is restored.
  - >-
    Values of RV(findings[].check) about the ages: V(copy_missing), V(backup_age), V(proof_age), V(copy_bad),
    V(clock_skew), V(snapshots_unreadable).
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.repository
  - oncall.runbooks.repository.source
  - oncall.runbooks.progress
requirements:
  - psycopg2 on the host where the module runs
  - server and client programs of PostgreSQL, of the copy's major or newer
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The newest copy of the shop restores, and is whole
  oncall.runbooks.postgresql_backup_verify:
    product: shop
    source_host: db1
    name: app
    repository: /srv/restic
    repository_password_file: /etc/restic/password
  register: verified
  failed_when: verified.verdict != "ok"

- name: A copy of the time before the incident
  oncall.runbooks.postgresql_backup_verify:
    product: shop
    source_host: db1
    name: app
    at: 20260918-040000
    repository: sftp:backup@vault.example:/srv/restic
    repository_password: "{{ vault_restic_password }}"
    jobs: 4

- name: Only how old copies and proofs are
  oncall.runbooks.postgresql_backup_verify:
    product: shop
    source_host: db1
    name: app
    repository: /srv/restic
    repository_password_file: /etc/restic/password
    verify: false
    max_age: 2h
  register: ages
  failed_when: ages.status == "critical"
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
verdict:
  description:
    - V(ok), the copy restores and is what was copied. V(critical), it does not or is not. V(unknown), could not be
      verified.
    - Null when nothing was verified. The age of copies and proofs is in RV(findings).
  returned: success
  type: str
  sample: ok
copy:
  description: The copy that was chosen. Null when there is none.
  returned: success
  type: dict
  sample: {id: 4bb2f5f2, taken_at: '2026-09-18T04:00:00Z', form: directory, size_bytes: 1400000000}
evidence:
  description: What the proof holds, with all findings about the copy. Null when nothing was verified.
  returned: success
  type: dict
  sample: {verdict: ok, tables: 41, rows: 1200000, server_version: '17.6', verified_at: '2026-09-18T05:00:00Z'}
proof:
  description: Id of the snapshot that holds the proof. Null when none was written.
  returned: success
  type: str
  sample: 9d0c1b2a
fetch_seconds:
  description: How long the copy took to come out of the repository. Null when that was not done, as with the others.
  returned: success
  type: float
  sample: 12.1
load_seconds:
  description: How long the server took to start and load it.
  returned: success
  type: float
  sample: 20.3
check_seconds:
  description: How long everything was looked at.
  returned: success
  type: float
  sample: 8.2
seconds:
  description: How long it took together. Fetched and loaded is the measured recovery time of a logical restore.
  returned: success
  type: float
  sample: 42.0
data_age_seconds:
  description: Age of the newest data that came back. What would be lost by restoring this copy now.
  returned: success
  type: float
  sample: 3540.2
data_age_when_copied_seconds:
  description: How old the sentinel row was in the moment whose state the copy holds.
  returned: success
  type: float
  sample: 0.2
"""

from ..module_utils._module.backup_verify import BackupVerify, backup_verify_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return backup_verify_spec()


def main() -> None:
    run(argument_spec(), BackupVerify)


if __name__ == "__main__":
    main()
