#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_health_info
short_description: Say whether a host is well
version_added: 0.1.0
description:
  - Looks at processors, memory, swap, file systems, kernel tables, failed units, the clock and what waits for a reboot, in
    one go and in little more than O(window).
  - A reading that is out of its limits is a finding, never a failure. What could not be looked at is V(unknown), and its
    message says how to get it. The playbook decides.
  - "The checks, their units, and their limits (warning, critical):"
  - "C(cpu) (%, 70, 90), busy time of all processors over O(window), without what this module itself uses. C(cpu_steal)
    (%, 10, 25), time the hypervisor gave to others. C(cpu_iowait) (%, 30, 60). C(load) (ratio, 2, 4), load average of five
    minutes for each processor."
  - "C(pressure_cpu) (%, 60, 90), C(pressure_memory) (%, 10, 30) and C(pressure_io) (%, 40, 80), share of the last minute in
    which some task waited for the resource. Only where the kernel has pressure stall information."
  - "C(memory) (%, 80, 90), what is not available to another program (C(MemAvailable)). In a container whose own limit is
    lower than the host's memory, of that limit. C(swap) (%, 50, 80)."
  - "C(oom_kills) (count, 1, none), processes killed for want of memory since O(previous). Without it, how many there were in
    a day on average since the boot."
  - "C(disk) (%, 85, 95) and C(inodes) (%, 85, 95), of each real file system once. Pseudo file systems, further mounts of the
    same one, and those mounted read-only on purpose are left out. One that does not answer within O(mount_timeout) is
    V(unknown)."
  - "C(days_to_full) (days, 14, 3, lower is worse), when each file system is full if it grows on as since a point that is at
    least six hours old. However often one looks, RV(counters) hands such a point on from run to run in O(previous). Until
    there is one, in the first six hours, nothing is said. M(oncall.runbooks.capacity_forecast) makes better forecasts of
    the history."
  - "C(read_only) (count, none, 1), file systems that the kernel has made read-only, or that are read-only against fstab."
  - "C(deleted_files) (bytes, 1 GiB, 10 GiB), room held by files that were deleted while a process has them open. Without the
    right to look at all processes V(unknown), unless what can be seen is already too much."
  - "C(failed_units) (count, 1, none), units that systemd has given up."
  - "C(time_sync) (s, 1, none), how far the clock may be off. One that is not synchronised counts as 16 s."
  - "C(clock_skew) (s, 5, 30), difference to O(controller_time). Only where that is given."
  - "C(reboot_pending) (count, 1, none), a package asked for it, or a newer kernel is installed than the one that runs. On
    RHEL also what C(needs-restarting -r) says."
  - "C(uptime) (s, 3600, none, lower is worse), time since the boot."
  - "C(open_files) (%, 80, 90), C(threads) (%, 80, 90) and C(conntrack) (%, 80, 90), of what the kernel allows. C(zombies)
    (count, 10, 100)."
  - "C(network_errors) (%, 0.1, 1), share of the packets of an interface with errors since O(previous), or since the boot. Fewer
    than ten errors are not judged."
options:
  window:
    description: How long the processors are watched, as a duration.
    type: str
    default: 1s
  mount_timeout:
    description: How long a file system may take to answer, as a duration. All are asked at once.
    type: str
    default: 3s
  timeout:
    description: How long everything together may take, as a duration. What is not there by then is V(unknown).
    type: str
    default: 30s
  exclude_mounts:
    description: Patterns of mount points that are left out, as of a shell. C(*) also stands for slashes.
    type: list
    elements: str
    default:
      - /run/user/*
      - /run/credentials/*
      - /run/netns*
      - /run/.containerenv
      - /run/secrets
      - /etc/host*
      - /etc/resolv.conf
      - /snap/*
      - /var/lib/containers/*
      - /var/lib/docker/*
      - /var/lib/kubelet/*
  controller_time:
    description:
      - The controller's clock, as RFC 3339 or in seconds of the Unix epoch. With it the host's clock is compared.
      - The time that the task needs to start is part of the difference.
    type: str
  previous:
    description: What the run before returned as RV(counters). Counters that only grow are measured from there.
    type: dict
    default: {}
  limits:
    description:
      - Limits of checks, each as V(warning) and V(critical), by the checks' names. A level that is null is never reached.
      - V(false) in the place of the limits switches a check off.
    type: dict
    default: {}
notes:
  - "A failure has C(failure.code): V(invalid_value), V(invalid_arguments)."
  - Become root to see the deleted files that other users' processes hold.
  - Inside a container memory, C(oom_kills) and C(threads) are the container's own where it has limits. Processors, load and
    C(uptime) are its host's, and a quota of processors is not considered.
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.info
seealso:
  - module: oncall.runbooks.host_preflight_info
    description: Whether a host is fit for work that is about to begin.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Host is looked at
  oncall.runbooks.host_health_info:
    window: 5s
    controller_time: "{{ now().timestamp() }}"
  become: true
  register: host
  failed_when: host.status == 'critical'

- name: Host is compared with an hour ago, with limits of its own
  oncall.runbooks.host_health_info:
    previous: "{{ last_hour.counters }}"
    limits:
      disk: {warning: 70, critical: 80}
      load: {critical: null}
      uptime: false
  become: true
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
area:
  description: The part of the product that the readings are about.
  returned: success
  type: str
  sample: host
samples:
  description: Readings for the history.
  returned: success
  type: list
  elements: dict
  contains:
    metric: {description: What was read., type: str, returned: always, sample: host.disk.used_percent}
    value: {description: The reading., type: float, returned: always, sample: 41.2}
    unit: {description: Its unit., type: str, returned: always, sample: percent}
    labels: {description: What it was read of., type: dict, returned: always, sample: {mount: /}}
counters:
  description:
    - Counters that only grow, with the time at which they were read, for O(previous) of the next run.
    - Of each file system also what was used at a point up to twelve hours earlier, or two, each with its age in seconds.
  returned: success
  type: dict
  sample: {at: "2026-11-21T14:00:00Z", oom_kills: 0, "disk_used_bytes:/": 44834975744, "disk_used_age:/": 7200}
host:
  description: What was read. Null is what could not be read.
  returned: success
  type: dict
  contains:
    cpus: {description: Processors., type: int, returned: always, sample: 4}
    busiest:
      description: Processes that used the processors most while they were watched.
      type: list
      elements: dict
      returned: always
      contains:
        command: {description: Name., type: str, returned: always, sample: postgres}
        pid: {description: Process., type: int, returned: always, sample: 4711}
        cpu_percent: {description: Share of one processor., type: float, returned: always, sample: 99.0}
    load: {description: "Load averages of 1, 5 and 15 minutes.", type: list, elements: float, returned: always, sample: [0.5, 0.7, 0.6]}
    memory_of: {description: "V(host), or V(container) where its limit is lower.", type: str, returned: always, sample: host}
    memory_total_bytes: {description: Memory., type: int, returned: always, sample: 8589934592}
    memory_available_bytes: {description: What another program could have., type: int, returned: always, sample: 4294967296}
    biggest:
      description: Processes with the most memory.
      type: list
      elements: dict
      returned: always
      contains:
        command: {description: Name., type: str, returned: always, sample: node}
        pid: {description: Process., type: int, returned: always, sample: 812}
        bytes: {description: "Its memory, the shared part included.", type: int, returned: always, sample: 734003200}
    swap_total_bytes: {description: Swap., type: int, returned: always, sample: 2147483648}
    swap_used_bytes: {description: Used swap., type: int, returned: always, sample: 0}
    uptime_seconds: {description: Time since the boot., type: float, returned: always, sample: 864000.5}
    failed_units: {description: "Units that have failed, twenty at most.", type: list, elements: str, returned: always, sample: [nginx.service]}
    file_systems:
      description: The real file systems.
      type: list
      elements: dict
      returned: always
      contains:
        mount: {description: Where it is mounted., type: str, returned: always, sample: /var}
        type: {description: Its type., type: str, returned: always, sample: ext4}
        source: {description: What is mounted., type: str, returned: always, sample: /dev/sda2}
        read_only: {description: Whether nothing can be written to it., type: bool, returned: always, sample: false}
        total_bytes: {description: Size., type: int, returned: always, sample: 21474836480}
        used_bytes: {description: Used., type: int, returned: always, sample: 10737418240}
        free_bytes: {description: Free for ordinary users., type: int, returned: always, sample: 9663676416}
        used_percent: {description: Use as C(df) shows it., type: float, returned: always, sample: 52.6}
        inodes_used_percent: {description: Use of inodes., type: float, returned: always, sample: 8.4}
        error: {description: Why it could not be looked at., type: str, returned: always, sample: ""}
    deleted_files:
      description: Deleted files that processes hold open, the twenty largest.
      type: list
      elements: dict
      returned: always
      contains:
        path: {description: Name that it had., type: str, returned: always, sample: /var/log/app.log}
        bytes: {description: Room that it takes., type: int, returned: always, sample: 5368709120}
        pids: {description: Processes that hold it., type: list, elements: int, returned: always, sample: [812]}
        commands: {description: Their names., type: list, elements: str, returned: always, sample: [node]}
"""

from ..module_utils._module.host_health import HostHealth, host_health_spec
from ..module_utils._module.run import run


def main() -> None:
    run(host_health_spec(), HostHealth)


if __name__ == "__main__":
    main()
