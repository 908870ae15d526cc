#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_repository
short_description: See that there is a repository for backups, and that the key put aside opens it
version_added: 0.1.0
description:
  - Opens the repository with its own key, and with a second one that is kept elsewhere (escrow), every time it runs. A
    key that was never tried is none.
  - Makes the repository and the second key where they are missing, only when O(create) allows it.
  - An escrow key that does not open the repository is a critical finding.
options:
  create:
    description:
      - Make what is missing, the repository and the escrow key. Meant for the first time only. When it stays on, a disk
        that is not mounted gets a new and empty repository.
    type: bool
    default: false
  escrow_password:
    description:
      - Password of the second key. Without it none is tried. It must be another one than the repository's, and should be
        kept where the loss of the first cannot reach it.
      - Restic reads it from a file that only its user may read, and that is gone afterwards.
    type: str
notes:
  - >-
    A failure has C(failure.code), besides those of the repository: V(verification_failed), V(invalid_value),
    V(invalid_arguments).
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.repository
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Both keys open the repository
  oncall.runbooks.backup_repository:
    repository: s3:https://s3.eu-central-1.shop.example/backups
    repository_password: "{{ vault_repository_password }}"
    repository_environment:
      AWS_ACCESS_KEY_ID: "{{ vault_backup_key_id }}"
      AWS_SECRET_ACCESS_KEY: "{{ vault_backup_key }}"
    escrow_password: "{{ vault_repository_escrow_password }}"
  register: repository
  failed_when: repository is failed or repository.status == 'critical'
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
"""

from ..module_utils._module.backup_repository import RepositorySetup, repository_setup_spec
from ..module_utils._module.repository import repository_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return repository_spec().merge(repository_setup_spec())


def main() -> None:
    run(argument_spec(), RepositorySetup)


if __name__ == "__main__":
    main()
