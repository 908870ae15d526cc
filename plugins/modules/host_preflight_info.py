#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preflight_info
short_description: Say whether a host is fit for work
version_added: 0.1.0
description:
  - Looks at the room on the file systems (bytes and inodes), at programs and rights that the work will need, and at the
    load, in one go.
  - A reading that is out of its limits is a finding, never a failure. The playbook decides.
options:
  paths:
    description: Paths whose file systems are looked at.
    type: list
    elements: path
    default: [/]
  disk_warning_percent:
    description: Use from which a file system is V(warning), in percent as C(df) shows it.
    type: float
    default: 85
  disk_critical_percent:
    description: Use from which a file system is V(critical), in percent.
    type: float
    default: 95
  inodes_warning_percent:
    description: Use of inodes from which a file system is V(warning), in percent.
    type: float
    default: 85
  inodes_critical_percent:
    description: Use of inodes from which a file system is V(critical), in percent.
    type: float
    default: 95
  free_minimum:
    description: Room that must be left on every file system, as a size (V(2GB)). Less is V(critical).
    type: str
    default: "0"
  commands:
    description: Programs that must be there.
    type: list
    elements: str
    default: []
  writable:
    description: Files and folders that the module's user must be allowed to write to.
    type: list
    elements: path
    default: []
  load_warning:
    description: One-minute load per processor from which the host is V(warning). Not judged by default.
    type: float
  load_critical:
    description: One-minute load per processor from which the host is V(critical). Not judged by default.
    type: float
notes:
  - "A failure has C(failure.code): V(invalid_value), V(invalid_arguments)."
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Host has room and tools for the work
  oncall.runbooks.host_preflight_info:
    paths: [/, /var/log, /var/lib/postgresql]
    free_minimum: 2GB
    commands: [logrotate]
    writable: [/var/log]
  register: host
  failed_when: host.status == 'critical'
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
host:
  description: What was read.
  returned: success
  type: dict
  contains:
    release: {description: Name of the operating system., type: str, returned: always, sample: Debian GNU/Linux 12 (bookworm)}
    kernel: {description: Release of the kernel., type: str, returned: always, sample: 6.1.0-28-amd64}
    python: {description: Version of the Python that ran the module., type: str, returned: always, sample: 3.11.2}
    user: {description: User that ran the module., type: str, returned: always, sample: root}
    uptime_seconds: {description: Time since boot., type: float, returned: always, sample: 864000.5}
    load_per_cpu: {description: One-minute load divided by the processors., type: float, returned: always, sample: 0.2}
    disks:
      description: The file systems.
      type: list
      elements: dict
      returned: always
      contains:
        path: {description: The path that was asked for., type: str, returned: always, sample: /var/log}
        total_bytes: {description: Size., type: int, returned: always, sample: 21474836480}
        used_bytes: {description: Used., type: int, returned: always, sample: 10737418240}
        free_bytes: {description: Free for ordinary users., type: int, returned: always, sample: 9663676416}
        used_percent: {description: Use as C(df) shows it., type: float, returned: always, sample: 52.6}
        inodes_total: {description: Inodes., type: int, returned: always, sample: 1310720}
        inodes_free: {description: Free inodes., type: int, returned: always, sample: 1200000}
        inodes_used_percent: {description: Use of inodes., type: float, returned: always, sample: 8.4}
        read_only: {description: Whether it is mounted read-only., type: bool, returned: always, sample: false}
        error: {description: Why it could not be read., type: str, returned: always, sample: ""}
"""

from ..module_utils._module.host_preflight import HostPreflight
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return ArgumentSpec(
        {
            "paths": {"type": "list", "elements": "path", "default": ["/"]},
            "disk_warning_percent": {"type": "float", "default": 85.0},
            "disk_critical_percent": {"type": "float", "default": 95.0},
            "inodes_warning_percent": {"type": "float", "default": 85.0},
            "inodes_critical_percent": {"type": "float", "default": 95.0},
            "free_minimum": {"type": "str", "default": "0"},
            "commands": {"type": "list", "elements": "str", "default": []},
            "writable": {"type": "list", "elements": "path", "default": []},
            "load_warning": {"type": "float"},
            "load_critical": {"type": "float"},
        }
    )


def main() -> None:
    run(argument_spec(), HostPreflight)


if __name__ == "__main__":
    main()
