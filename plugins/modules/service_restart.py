#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_restart
short_description: Restart a service and prove that it is ready and stays up
version_added: 0.1.0
description:
  - Restarts or reloads one service of systemd, of pm2, or one that is known by its own commands.
  - It is done when all probes passed O(successes) times in a row within O(deadline), and the service was not restarted by
    itself since the command ended. A service that dies at once, also while the first probe waits for it, a crash loop,
    and one that answers wrongly all fail.
  - The configuration is checked before (O(config_check)). A service whose configuration is wrong is left alone.
  - With O(condition=needed) it acts only on a service that has failed, is stopped although it should run, whose unit file
    changed on disk, or that still runs programs or libraries that an update has replaced. A second run finds nothing to do.
  - A unit file that changed on disk is loaded first (C(systemctl daemon-reload)).
  - A unit that is active without a process of its own, as C(postgresql.service) of Debian or a target, proves nothing of
    what it stands for. Give it a probe, or name the unit that has the processes (C(postgresql@15-main)). Without that it
    is refused (V(invalid_value)).
options:
  name:
    description:
      - Unit of systemd (V(.service) is added), or name or number of one application of pm2. Patterns and V(all) are refused.
      - With O(manager=command) it is only the name in messages.
    type: str
    required: true
  manager:
    description:
      - Who runs the service. pm2 belongs to a user. Become that user.
    type: str
    choices: [systemd, pm2, command]
    default: systemd
  action:
    description:
      - What is done. A reload of a unit of systemd must keep its main process.
    type: str
    choices: [restart, reload]
    default: restart
  condition:
    description:
      - V(needed) acts only when there is a reason (see above). What may not be looked at (processes of other users) is
        V(unknown) in RV(status), never V(ok). So is a service of which no process is known.
      - Programs whose code is not mapped into memory (the sources of Node, Python, PHP) cannot be told to be stale.
    type: str
    choices: [always, needed]
    default: always
  start_stopped:
    description:
      - Start a service that does not run and of which nothing says that it should (disabled, or stopped by hand in pm2).
      - By default that is refused, because somebody may have stopped it on purpose.
    type: bool
    default: false
  scope:
    description: Whose systemd. V(user) is the one of the module's user.
    type: str
    choices: [system, user]
    default: system
  pm2_executable:
    description: The program pm2, when it is not in C(PATH).
    type: str
    default: pm2
  pm2_home:
    description: Folder of the pm2 daemon.
    type: path
    default: ~/.pm2
  commands:
    description:
      - The service's own commands, for O(manager=command). Each is a list of words; no shell is in between.
      - They may leave a daemon behind. What they print is not waited for.
    type: dict
    suboptions:
      status:
        description: Exits with 0 when the service runs.
        type: list
        elements: str
      restart:
        description: Restarts it. Without it O(commands.stop) and then O(commands.start) are used.
        type: list
        elements: str
      stop:
        description: Stops it.
        type: list
        elements: str
      start:
        description: Starts it.
        type: list
        elements: str
      reload:
        description: Makes it read its configuration again.
        type: list
        elements: str
      pid_file:
        description: File with the number of its main process, by which a restart by itself is noticed.
        type: path
  config_check:
    description:
      - Command that checks the service's configuration and exits with 0 when it is right, for example V([nginx, -t]).
      - It is run in check mode too. It must not change anything.
    type: list
    elements: str
  successes:
    description: Polls in a row that must be good. At least 3 without a probe.
    type: int
    default: 3
  interval:
    description: Time between two polls, as a duration.
    type: str
    default: 1s
  deadline:
    description: Time after the command within which the service must be ready, as a duration.
    type: str
    default: 60s
  command_timeout:
    description: Longest time of each command (O(config_check), restart, stop, start), as a duration.
    type: str
    default: 2m
  log_lines:
    description: Lines of the service's log in RV(failure.details) after a failure.
    type: int
    default: 20
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.probes
  - oncall.runbooks.progress
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: partial
    details: With O(condition=needed). O(condition=always) restarts each time.
notes:
  - Across hosts use C(serial=1) and C(any_errors_fatal=true) in the play. A host that does not come back stops the rest.
  - A unit of the system wants root or a polkit rule. Looking into other users' processes wants root.
  - In check mode RV(after) cannot know the new process, so C(pids), C(since), C(detail) and C(restarts) are empty.
  - >-
    A failure has C(failure.code): V(config_invalid), V(crash_loop), V(service_failed), V(not_ready),
    V(restarted_meanwhile), V(not_running), V(unit_missing), V(unit_masked), V(unit_broken), V(start_refused),
    V(reload_unsupported), V(ambiguous_name), V(output_unreadable), V(manager_unavailable), V(insufficient_privilege),
    V(command_missing), V(command_failed), V(timed_out), V(invalid_value), V(invalid_arguments).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The proxy runs with the new configuration
  oncall.runbooks.service_restart:
    name: nginx
    action: reload
    config_check: [nginx, -t]
    probes:
      - type: http
        url: http://127.0.0.1/health
        headers:
          Host: shop.example

- name: The application runs the new version
  oncall.runbooks.service_restart:
    name: shop
    manager: pm2
    probes:
      - type: http
        url: http://127.0.0.1:3000/health
        json:
          version: 2.4.1
          database: true
        secret_headers:
          Authorization: "Bearer {{ vault_health_token }}"
  become: true
  become_user: shop

- name: Services with replaced libraries are restarted, one host after the other
  hosts: app
  serial: 1
  any_errors_fatal: true
  become: true
  tasks:
    - name: Worker runs the libraries that are installed
      oncall.runbooks.service_restart:
        name: worker
        condition: needed
        probes:
          - type: sql
            dsn: "{{ worker_database_url }}"
            query: SELECT count(*) > 0 FROM workers WHERE seen > now() - interval '1 minute'
            expect: "true"
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
restart_reasons:
  description: Why the service needs a restart. Empty when nothing asks for one.
  returned: success, and after a failure half way
  type: list
  elements: str
  sample: ["it still runs 1 replaced file: /usr/lib/x86_64-linux-gnu/libssl.so.3"]
ready_after_seconds:
  description: From the end of the command to the last good poll. Null when it did not get ready.
  returned: when something was done
  type: float
  sample: 4.1
probes:
  description: How each probe fared.
  returned: when something was done
  type: list
  elements: dict
  contains:
    name: {description: The probe., type: str, returned: always, sample: http 1}
    polls: {description: How often it was asked., type: int, returned: always, sample: 5}
    failed: {description: How often it failed., type: int, returned: always, sample: 2}
    last_error:
      description: Why it failed the last time. A poll that the deadline cut short says nothing new.
      type: str
      returned: always
      sample: Connection refused
"""

from ..module_utils._module.run import run
from ..module_utils._module.service import ServiceRestart, service_restart_spec
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return service_restart_spec()


def main() -> None:
    run(argument_spec(), ServiceRestart)


if __name__ == "__main__":
    main()
