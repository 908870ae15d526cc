#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: runbook_lock
short_description: Keep a second run away from a host for as long as the first one works
version_added: 0.1.0
description:
  - Takes a lease in a file on the host. It names its holder, and it ends by itself, so that a run that died does not
    block the next one for ever.
  - A lease of another run is taken over only when it has expired, or when its holder was a process of the same
    controller (same host name, boot and PID namespace) that is gone. A lease of another controller is never broken before it
    expires.
  - All times are those of the host's own clock.
options:
  name:
    description: Name of the lock. Runs that must not meet use the same one.
    type: str
    required: true
  state:
    description:
      - V(acquired) takes the lease; when this run holds it already, nothing is to be done.
      - V(renewed) prolongs it, and fails when it is no longer ours.
      - V(released) gives it back. The lease of another run is left alone.
    type: str
    choices: [acquired, renewed, released]
    default: acquired
  ttl:
    description:
      - How long the lease lasts from now, as a duration of at least one minute.
      - Choose longer than the longest step between two renewals.
    type: str
    default: 2h
  directory:
    description:
      - Folder of the leases. It must belong to the user and be closed to writing by others.
      - The default is C(/run/oncall-runbooks) for root and C(~/.local/state/oncall-runbooks) for others.
    type: path
  holder:
    description: The run that holds the lease. The action plugin fills it in; leave it out in a playbook.
    type: dict
    suboptions:
      run: {description: Unique name of the run., type: str, required: true}
      host: {description: Host name of the controller., type: str, required: true}
      boot_id: {description: Boot and PID namespace of the controller., type: str, default: ""}
      pid: {description: Process on the controller., type: int}
      pid_start: {description: "When that process started, in clock ticks since boot.", type: int}
      user: {description: Who started the run., type: str, default: ""}
      runbook: {description: What is run., type: str, default: ""}
  dead_runs:
    description: Runs whose process is known to be gone. The action plugin finds out; leave it alone.
    type: list
    elements: str
    default: []
notes:
  - >-
    A failure has C(failure.code): V(lock_busy) with the holder in C(failure.details), V(lock_lost),
    V(insecure_directory), V(lease_unreadable), V(lease_not_kept), V(denied), V(disk_full), V(read_only), V(timed_out),
    V(invalid_value), V(invalid_arguments).
  - Two users have two folders. What happens inside a database is kept apart by advisory locks as well.
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Nobody else is at work
  oncall.runbooks.runbook_lock:
    name: maintenance
    ttl: 2h

- name: The lock lasts for the next step
  oncall.runbooks.runbook_lock:
    name: maintenance
    state: renewed

- name: Others may work again
  oncall.runbooks.runbook_lock:
    name: maintenance
    state: released
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

from ..module_utils._module.lease import RunbookLock, lease_spec
from ..module_utils._module.run import run


def main() -> None:
    run(lease_spec(), RunbookLock)


if __name__ == "__main__":
    main()
