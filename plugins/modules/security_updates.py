#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: security_updates
short_description: Say which security updates are pending, and install them when allowed
version_added: 0.1.0
description:
  - Says which installed packages have a fix in a security archive (O(origins)). A fix that a point release has overtaken,
    a held or a pinned package are pending all the same.
  - With O(apply) it installs exactly these versions in one transaction, removes nothing, keeps configuration files, and
    asks the package database afterwards what really is installed. When that look fails, the module fails, with what was
    done in RV(steps) and RV(status) V(unknown).
  - Reports whether a reboot is required and which services still run replaced files.
  - Nothing to report without data is V(unknown), never V(ok). That is so without a security archive among the sources,
    with lists that could not be renewed, and with lists older than O(lists_critical_age).
options:
  manager:
    description: Package manager. V(auto) takes the one that is there.
    type: str
    choices: [auto, apt, dnf]
    default: auto
  apply:
    description: Install what is pending. By default it is only reported.
    type: bool
    default: false
  refresh:
    description:
      - Renew package lists older than O(cache_valid_time). Lists that cannot be renewed make the result V(unknown).
      - Check mode, and the planning of a real run, use a private copy that is renewed and thrown away.
      - dnf renews its lists by itself when they have expired. V(true) makes it do so at once, in check mode too.
    type: bool
    default: false
  cache_valid_time:
    description: Age up to which package lists are not renewed, as a duration.
    type: str
    default: 1h
  only:
    description: Names or shell patterns of the packages to install. All by default.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Names or shell patterns of packages to leave alone, for example V(postgresql*). It wins over O(only).
      - Many packages restart their own services when they are installed, a database server among them.
    type: list
    elements: str
    default: []
  max_packages:
    description: Refuse when more packages than this would change, those that come along included. 0 is no limit.
    type: int
    default: 0
  origins:
    description: Names or shell patterns of the label, suite, codename or origin of security archives (apt).
    type: list
    elements: str
    default: [debian-security, "*-security"]
  lists_warning_age:
    description: Age of the security archive's lists from which they are V(warning), as a duration.
    type: str
    default: 2d
  lists_critical_age:
    description: Age from which they are V(critical) and prove nothing any more, as a duration.
    type: str
    default: 7d
  min_free:
    description: Room that must be left on each file system after downloading and unpacking, as a size (apt).
    type: str
    default: 200MB
  lock_timeout:
    description: Longest wait for another run of the package manager, as a duration.
    type: str
    default: 5m
  timeout:
    description: Longest time of the installation, as a duration. Then it is killed, which may leave packages half installed.
    type: str
    default: 1h
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.progress
notes:
  - Tested with real apt and dpkg on Debian. Reading dnf is tested against recorded output of dnf 4.14 only. It has not been
    tried on real RHEL hosts.
  - Only O(apply) and O(refresh) want root. Looking into other users' processes wants root too.
  - Services are not restarted (M(oncall.runbooks.service_restart) does that with a proof), except by their own packages.
    The hook of needrestart is switched off.
  - >-
    A failure has C(failure.code): V(packages_broken), V(packages_failed), V(not_installed), V(unmet_dependencies),
    V(over_limit), V(disk_full), V(download_failed), V(lock_busy), V(insufficient_privilege), V(command_missing),
    V(command_failed), V(output_unreadable), V(timed_out), V(invalid_value), V(invalid_arguments).
seealso:
  - module: oncall.runbooks.service_restart
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Pending security updates are known
  oncall.runbooks.security_updates:
    refresh: true
  become: true
  register: security

- name: Security updates are installed, the database server's excepted
  oncall.runbooks.security_updates:
    apply: true
    refresh: true
    exclude: [postgresql*]
    max_packages: 60
  become: true
  register: security

- name: Services run what is installed
  oncall.runbooks.service_restart:
    name: "{{ item.name }}"
    condition: needed
  become: true
  loop: "{{ security.services | rejectattr('name', 'match', '\\[|user@') }}"
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
manager:
  description: The package manager.
  returned: success, and after a failure half way
  type: str
  sample: apt
updates:
  description: The security updates, installed and pending.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    name: {description: "Package, with the architecture if it is a foreign one (apt) or always (dnf).", type: str, returned: always, sample: openssl}
    installed: {description: Version that is installed., type: str, returned: always, sample: 3.0.15-1~deb12u1}
    target: {description: Newest version in the security archive., type: str, returned: always, sample: 3.0.16-1~deb12u1}
    origin: {description: The archive or the advisory., type: str, returned: always, sample: Debian-Security}
    state: {description: "V(pending), V(planned), V(installed) or V(blocked).", type: str, returned: always, sample: planned}
    reason: {description: Why it is blocked., type: str, returned: always, sample: held}
reboot:
  description: Whether the host wants a reboot.
  returned: success, and after a failure half way
  type: dict
  contains:
    required: {description: Whether a reason is known., type: bool, returned: always, sample: true}
    reasons: {description: The reasons., type: list, elements: str, returned: always, sample: ["kernel 6.1.0-28-amd64 runs, 6.1.0-37-amd64 is installed"]}
    packages: {description: Packages that asked for it., type: list, elements: str, returned: always, sample: [linux-image-6.1.0-37-amd64]}
services:
  description: Services that still run replaced files. Processes outside every service are in brackets.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    name: {description: The unit., type: str, returned: always, sample: nginx.service}
    files: {description: The replaced files., type: list, elements: str, returned: always, sample: [/usr/lib/x86_64-linux-gnu/libssl.so.3]}
lists_age_seconds:
  description: Time since the security archive last gave a good answer to apt. Null when that is not known.
  returned: success, and after a failure half way
  type: float
  sample: 1800.4
"""

from ..module_utils._module.run import run
from ..module_utils._module.security_updates import SecurityUpdates, security_updates_spec
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return security_updates_spec()


def main() -> None:
    run(argument_spec(), SecurityUpdates)


if __name__ == "__main__":
    main()
