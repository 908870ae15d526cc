#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health_info
short_description: Look at several areas of a host in one trip
version_added: 0.1.0
description:
  - Does what the modules of the areas do, with their options, in one process on the host and side by side. One trip
    instead of six is what makes a daily look at fifty hosts cheap.
  - An area that could not be looked at is V(unknown), and the others are there. Each area has a finding
    C(<area>_readable) that says which of the two it was, so that the journal does not go on saying C(unknown).
  - A bad reading never fails. Only options that mean nothing do, and the message names the area and the option.
options:
  areas:
    description:
      - The areas, each with the options of its module. V(null) leaves an area out.
      - C(availability) as M(oncall.runbooks.http_probe), C(database) as M(oncall.runbooks.postgresql_health_info),
        C(redis) as M(oncall.runbooks.redis_health_info), C(host) as M(oncall.runbooks.host_health_info), C(ingestion) as
        M(oncall.runbooks.ingestion_info), C(external_apis) as M(oncall.runbooks.external_api_probe), C(logs) as
        M(oncall.runbooks.log_errors_info), C(backups) as M(oncall.runbooks.backup_catalog_info), and C(security) as
        M(oncall.runbooks.security_updates), of which only the look is taken.
    type: dict
    required: true
  users:
    description:
      - Users of the operating system as whom areas are looked at, by area, for example C(postgres) for V(database) where the
        database lets C(postgres) in by peer authentication. The other areas are looked at as the user of the task.
      - Needs root.
    type: dict
    default: {}
  validate_only:
    description: Only check the options of all areas, and look at nothing.
    type: bool
    default: false
  hosts:
    description:
      - With O(validate_only), areas of other hosts, by host. Their options are checked before anything is looked at, and
        the message names the host.
    type: dict
    default: {}
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
notes:
  - Rights are those of the areas' modules.
  - The options are kept out of the host's system log, because they hold passwords that the parser cannot know of.
  - >-
    A failure has C(failure.code): V(invalid_value), V(invalid_arguments).
seealso:
  - module: oncall.runbooks.kpi_evaluate
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Database host is well
  oncall.runbooks.health_info:
    areas:
      host: {}
      database:
        login_user: ops
        pool_size: 60
      logs:
        sources:
          - {name: postgresql, paths: [/var/log/postgresql/*.log]}
    users:
      database: postgres
  register: health

- name: Worst areas are shown
  ansible.builtin.debug:
    msg: "{{ health.msg }}"
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
areas:
  description: What each area says, as its own module returns it.
  returned: unless O(validate_only)
  type: dict
  sample:
    host: {area: host, status: warning, msg: "1 warning: /var is 87 % full", findings: [], samples: []}
"""

from ..module_utils._module.health import HealthInfo, health_spec, secrets_in_areas
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return health_spec()


def main() -> None:
    run(argument_spec(), HealthInfo, secrets_in_areas)


if __name__ == "__main__":
    main()
