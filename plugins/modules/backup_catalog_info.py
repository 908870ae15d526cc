#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_catalog_info
short_description: Say what copies a repository holds, how old they are, and which of them are proven to restore
version_added: 0.1.0
description:
  - Reads the repository and nothing else. It works when the journal and the controller are lost.
  - The newest good copy of a source older than O(max_age) is critical, and so is a newest proof older than
    O(max_proof_age). A verification that never ran makes the backup critical by itself.
  - A copy is good unless a verification found out that it does not restore.
  - Never locks the repository, except for O(check).
  - A repository that does not answer is a finding with status V(unknown), one that is damaged a critical one. What can
    only be a mistake in the options (wrong key, wrong place, no restic) fails the module.
options:
  judge:
    description: Whether the copies are judged, or only listed.
    type: bool
    default: true
  products:
    description: Only sources of these products are judged. Without any, all.
    type: list
    elements: str
    default: []
  expected:
    description:
      - Sources that must have a copy. One without any is critical.
      - When it is given, these sources are judged and no others. Without it, all that are in the repository.
      - When there is nothing to judge at all, as in an empty repository, that is critical too (V(copy_missing)).
    type: list
    elements: dict
    default: []
    suboptions:
      product:
        description: Name of the product.
        type: str
        required: true
      host:
        description: Inventory name of the host whose copy it is.
        type: str
        required: true
      kind:
        description: What it is a copy of.
        type: str
        required: true
        choices: [postgresql, redis, config]
      name:
        description: Name, for example of the database.
        type: str
        required: true
      max_age:
        description: Limit for this source instead of O(max_age).
        type: str
      max_proof_age:
        description: Limit for this source instead of O(max_proof_age).
        type: str
  max_age:
    description: How old the newest good copy may be, as a duration. V(0) is no limit.
    type: str
    default: 26h
  max_proof_age:
    description: How long ago a copy must have been proven to restore, as a duration. V(0) is no limit.
    type: str
    default: 8d
  known_copies:
    description:
      - Ids of copies that were there before. A source without any other copy is critical (V(no_new_copy)).
      - It shows that a backup run has written something, without trusting any clock. Take it from RV(copies) of a look
        before the run. Without it nothing is asked.
    type: list
    elements: str
  clock_tolerance:
    description: How far the clock of a source may be ahead of this host's before it is a warning, as a duration.
    type: str
    default: 5m
  facts:
    description: Read the facts of the newest good copy of each source too. Takes about a second for each.
    type: bool
    default: false
  stored:
    description: Measure what the repository stores. Has to walk through all of it.
    type: bool
    default: false
  check:
    description:
      - V(none), V(structure) to have restic check that everything is there, or a share of the data to read besides,
        as V(10%). V(100%) reads all of it.
      - It needs the repository for itself. While another run is at work the finding is V(unknown).
    type: str
    default: none
notes:
  - >-
    A failure has C(failure.code): V(wrong_key), V(repository_missing), V(command_missing), V(insufficient_privilege),
    V(restic_failed), V(invalid_value), V(invalid_arguments).
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.info
  - oncall.runbooks.repository
seealso:
  - module: oncall.runbooks.backup_retention
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The database is copied every hour and proven every week
  oncall.runbooks.backup_catalog_info:
    repository: sftp:backup@vault.shop.example:/srv/restic/shop
    repository_password: "{{ vault_repository_password }}"
    expected:
      - {product: shop, host: db1, kind: postgresql, name: shop, max_age: 90m}
      - {product: shop, host: app1, kind: config, name: app}
    facts: true
    check: 5%
  register: backups
  failed_when: backups is failed or backups.status in ['critical', 'unknown']
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
sources:
  description: The sources that were judged.
  returned: success
  type: list
  elements: dict
  contains:
    product: {description: Product., type: str, returned: always, sample: shop}
    host: {description: Inventory name of the host., type: str, returned: always, sample: db1}
    kind: {description: "V(postgresql), V(redis) or V(config).", type: str, returned: always, sample: postgresql}
    name: {description: For example of the database., type: str, returned: always, sample: shop}
    status: {description: Its worst finding., type: str, returned: always, sample: ok}
    copies: {description: How many there are., type: int, returned: always, sample: 31}
    newest: {description: "Snapshot of the newest good copy, or null.", type: str, returned: always, sample: 3b1f0a9cbd0c8b7f}
    newest_taken: {description: The moment whose state it holds., type: str, returned: always, sample: "2026-09-18T04:00:00Z"}
    newest_verdict: {description: "V(proven) or V(unproven).", type: str, returned: always, sample: proven}
    age_seconds: {description: Its age., type: float, returned: always, sample: 1800.0}
    proven: {description: "Snapshot of the copy that was proven last, or null.", type: str, returned: always, sample: 3b1f0a9cbd0c8b7f}
    proven_at: {description: When that was., type: str, returned: always, sample: "2026-09-18T04:20:00Z"}
    proof_age_seconds: {description: How long ago that was., type: float, returned: always, sample: 600.0}
    facts:
      description: "What its manifest says, lists as their lengths; null without O(facts)."
      type: dict
      returned: always
      sample: {database: shop, tables: 41, rows: 1200000, server: {major: 18}}
copies:
  description: All copies of the repository, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: The snapshot., type: str, returned: always, sample: 3b1f0a9cbd0c8b7f}
    product: {description: Product., type: str, returned: always, sample: shop}
    host: {description: Inventory name of the host., type: str, returned: always, sample: db1}
    kind: {description: "V(postgresql), V(redis) or V(config).", type: str, returned: always, sample: postgresql}
    name: {description: For example of the database., type: str, returned: always, sample: shop}
    taken: {description: The moment whose state it holds., type: str, returned: always, sample: "2026-09-18T04:00:00Z"}
    age_seconds: {description: Its age., type: float, returned: always, sample: 1800.0}
    form: {description: How the payload lies in it., type: str, returned: always, sample: directory}
    server: {description: System identifier of the source., type: str, returned: always, sample: "7412345678901234567"}
    size_bytes: {description: "Size of the payload before deduplication, null when it is not known.", type: int, returned: always, sample: 1503238553}
    verdict: {description: "V(proven), V(bad) or V(unproven).", type: str, returned: always, sample: proven}
    proof: {description: "Snapshot of the proof, or null.", type: str, returned: always, sample: 77aa0a9cbd0c8b7f}
    proof_at: {description: When it was made., type: str, returned: always, sample: "2026-09-18T04:20:00Z"}
strangers:
  description: Snapshots in the repository that are neither copies nor proofs of ours.
  returned: success
  type: list
  elements: str
  sample: []
orphaned_proofs:
  description: Proofs whose copy is gone.
  returned: success
  type: list
  elements: str
  sample: []
stored_bytes:
  description: What all snapshots take together. Null without O(stored).
  returned: success
  type: int
  sample: 524288000
"""

from ..module_utils._module.backup_catalog import CatalogInfo, catalog_spec
from ..module_utils._module.repository import repository_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return repository_spec().merge(catalog_spec())


def main() -> None:
    run(argument_spec(), CatalogInfo)


if __name__ == "__main__":
    main()
