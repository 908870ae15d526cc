#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_retention
short_description: Remove the copies that a policy no longer needs, never the last good ones
version_added: 0.1.0
description:
  - Keeps the newest good copy of each of the last hours, days, weeks and months, counted for each source by itself and
    in UTC. Periods without a good copy do not count, so that a source that is copied no more does not lose what it has.
  - A copy is good unless a verification found out that it does not restore. Bad copies never take the place of a good
    one; they are removed only when there is a newer good one and O(keep_bad) is over.
  - Whatever the policy says, these stay. The newest copy of a source, its newest good copy, its last O(keep_proven)
    copies that were proven to restore, everything from O(protect_newer_than) on, snapshots that others have written,
    and copies of other products.
  - Where every copy of a source is bad, none of them is removed, and that is a critical finding.
  - Proofs go with the copy that they are about.
  - Afterwards the repository is listed again. It is done when exactly the planned snapshots are gone.
  - Needs no journal and no controller. All of it is read from the repository.
options:
  products:
    description: Products whose copies may be removed.
    type: list
    elements: str
    required: true
  source_hosts:
    description: Only copies of these hosts, by their inventory names. Without any, of all hosts.
    type: list
    elements: str
    default: []
  keep_hourly:
    description: Number of hours that keep their newest good copy.
    type: int
    default: 24
  keep_daily:
    description: Number of days.
    type: int
    default: 30
  keep_weekly:
    description: Number of weeks (ISO 8601).
    type: int
    default: 0
  keep_monthly:
    description: Number of months.
    type: int
    default: 0
  keep_within:
    description: Keep every good copy that was taken so long before the newest good one of its source, as a duration.
    type: str
    default: "0"
  keep_proven:
    description: Number of proven copies of each source that stay however old they are. At least 1.
    type: int
    default: 2
  keep_bad:
    description: For how long a copy that does not restore is kept to find out why, as a duration.
    type: str
    default: 7d
  protect_newer_than:
    description:
      - Nothing that was taken at this moment or later is removed, RFC 3339 with time zone or V(YYYYMMDD-HHMMSS) in UTC.
        For example the start of a backup that is still running.
    type: str
  max_removals:
    description: How many copies one run may remove, as a number or a share of the products' copies (V(50%)).
    type: str
    default: 50%
  confirm:
    description: Remove more than O(max_removals) all the same. Must be the value of O(repository).
    type: str
  prune:
    description:
      - Whether the room of what was removed is given back at once. Without it the data stays until a later C(restic prune).
    type: bool
    default: true
  prune_timeout:
    description: Longest time for that, as a duration.
    type: str
    default: 2h
  clock_tolerance:
    description: How far the clock of a source may be ahead of this host's, as a duration.
    type: str
    default: 5m
  allow_clock_skew:
    description: Go on although there are copies from the future. A clock that jumped may make the wrong copies look old.
    type: bool
    default: false
notes:
  - >-
    Before it removes something, it removes the locks of runs that died. A living run, also one that fetches a copy, fails
    the module with V(repository_locked).
  - >-
    A failure has C(failure.code), besides those of the repository: V(clock_skew), V(blast_cap_exceeded),
    V(confirmation_missing), V(verification_failed), V(stopped), V(invalid_value), V(invalid_arguments).
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.repository
seealso:
  - module: oncall.runbooks.backup_catalog_info
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: A day of hourly copies, a month of daily ones, a year of monthly ones
  oncall.runbooks.backup_retention:
    repository: sftp:backup@vault.shop.example:/srv/restic/shop
    repository_password: "{{ vault_repository_password }}"
    products: [shop]
    keep_hourly: 24
    keep_daily: 30
    keep_monthly: 12
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
kept:
  description: The copies of the products that stay, the oldest first, each with the first reason that was found.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: The snapshot., type: str, returned: always, sample: 3b1f0a9cbd0c8b7f6f0d8d7f7a1f4f7c5a6f3c0c2b9f0f6f7f4b1d2e3c4a5b6c}
    product: {description: Product., type: str, returned: always, sample: shop}
    host: {description: Inventory name of the source., type: str, returned: always, sample: db1}
    kind: {description: "V(postgresql), V(redis) or V(config).", type: str, returned: always, sample: postgresql}
    name: {description: For example of the database., type: str, returned: always, sample: app}
    taken: {description: The moment whose state it holds., type: str, returned: always, sample: "2026-09-18T04:00:00Z"}
    reason: {description: Why it stays., type: str, returned: always, sample: newest of the day 2026-09-18}
"""

from ..module_utils._module.backup_retention import Retention, retention_spec
from ..module_utils._module.repository import repository_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return repository_spec().merge(retention_spec())


def main() -> None:
    run(argument_spec(), Retention)


if __name__ == "__main__":
    main()
