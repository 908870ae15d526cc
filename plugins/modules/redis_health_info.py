#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_health_info
short_description: Say whether a Redis server is well
version_added: 0.1.0
description:
  - Looks at memory, clients, latency, persistence, replication, the slow log and the cluster over one connection, with a few
    questions that cost the server next to nothing. Keys are counted, never read.
  - A reading that is out of its limits is a finding, never a failure. What could not be looked at is V(unknown), and its
    message says how to get it. The playbook decides.
  - "The checks, their units, and their limits (warning, critical). Those without limits have a verdict of their own:"
  - "C(reachable), V(critical) when there is no answer, the password is wrong, or the server is busy with a script. All other
    checks are V(unknown) then. C(loading), V(critical) while the server reads its data and serves nobody."
  - "C(latency) (s, 0.05, 0.5), the 95th percentile of O(pings) answers."
  - "C(memory) (%, 80, 90), of C(maxmemory). Not judged where the server makes room by evicting keys. C(memory_host) (%, 80,
    90), what the server holds of its host's memory. C(fragmentation) (ratio, 1.5, 3), from 64 MiB of data."
  - "C(evictions) (per_minute, 60, none), C(rejected_connections) (per_hour, 1, 60) and C(hit_ratio) (%, 80, none, lower is
    worse), since O(previous), or on average since the server's start. The hit ratio is read from a thousand lookups."
  - "C(clients) (%, 80, 90), of C(maxclients). C(blocked_clients) (count, 100, none)."
  - "C(last_save), V(critical) when the last save has failed. C(save_age) (s, 7200, 86400), since the last save, when saves are
    configured and something has changed since. C(append_only_file), V(critical) when its last write or rewrite has failed."
  - "C(role), V(critical) when it is not O(expected_role). C(replicas), V(warning) when there are fewer than
    O(expected_replicas), V(critical) when there is none. C(replication_link), V(critical) when a replica has lost its master,
    V(warning) while one is being filled. C(replication_lag) (s, 10, 60) and C(replication_lag_bytes) (bytes, 10 MiB, 100 MiB),
    on a master for each replica."
  - "C(slow_log) (count, 10, none), commands that were logged since O(previous), or in the last hour. C(slowest_command) (s, 1,
    10), the worst of them, 0 when there was none. What they were about is not shown."
  - "C(cluster), V(critical) when the cluster does not serve, V(warning) when slots are suspected. C(uptime) (s, 3600, none,
    lower is worse)."
options:
  expected_role:
    description: What the server should be. V(any) leaves the check out.
    type: str
    choices: [any, master, replica]
    default: any
  expected_replicas:
    description: How many replicas a master should have. Left out, they are not counted.
    type: int
  pings:
    description: How many answers the latency is made of, from 1 to 1000.
    type: int
    default: 10
  timeout:
    description: How long everything together may take, as a duration. One command may take half of it at most.
    type: str
    default: 20s
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
  - >-
    A user of the server's ACL needs C(+ping +info +config|get +slowlog|get), and C(+cluster|info) in a cluster. Without one
    of them its checks are V(unknown), and the others are not.
  - "Bad options have C(failure.code): V(invalid_value), V(invalid_arguments)."
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.info
  - oncall.runbooks.redis
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Redis is looked at
  oncall.runbooks.redis_health_info:
    redis_username: ops
    redis_password: "{{ vault_redis_password }}"
    expected_role: master
    expected_replicas: 1
  register: redis
  failed_when: redis.status == 'critical'

- name: Redis is compared with the run before, with limits of its own
  oncall.runbooks.redis_health_info:
    redis_unix_socket: /run/redis/redis.sock
    previous: "{{ last_run.counters }}"
    limits:
      memory: {warning: 70, critical: 80}
      hit_ratio: false
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
  sample: redis
samples:
  description: Readings for the history.
  returned: success
  type: list
  elements: dict
  contains:
    metric: {description: What was read., type: str, returned: always, sample: redis.memory.used_percent}
    value: {description: The reading., type: float, returned: always, sample: 61.4}
    unit: {description: Its unit., type: str, returned: always, sample: percent}
    labels: {description: What it was read of., type: dict, returned: always, sample: {server: "127.0.0.1:6379"}}
counters:
  description: Counters that only grow, with the time at which they were read, for O(previous) of the next run.
  returned: success
  type: dict
  sample: {at: "2026-11-21T14:00:00Z", evicted_keys: 0, keyspace_hits: 91234, keyspace_misses: 812, slow_log_id: 17}
redis:
  description: What was read. Null is what could not be read.
  returned: success
  type: dict
  contains:
    server: {description: Address or socket., type: str, returned: always, sample: "127.0.0.1:6379"}
    version: {description: Release., type: str, returned: always, sample: 7.0.15}
    role: {description: "V(master) or V(replica).", type: str, returned: always, sample: master}
    uptime_seconds: {description: Time since its start., type: float, returned: always, sample: 864000.0}
    used_memory_bytes: {description: Memory of its data and buffers., type: float, returned: always, sample: 52428800.0}
    maxmemory_bytes: {description: "How much that may be, 0 without a limit.", type: float, returned: always, sample: 104857600.0}
    maxmemory_policy: {description: What it does when that is reached., type: str, returned: always, sample: noeviction}
    connected_clients: {description: Connections of clients., type: float, returned: always, sample: 42.0}
    databases:
      description: Numbered databases that hold a key.
      type: list
      elements: dict
      returned: always
      contains:
        database: {description: Number., type: int, returned: always, sample: 0}
        keys: {description: Keys., type: int, returned: always, sample: 120000}
        expires: {description: Keys that have an end., type: int, returned: always, sample: 118000}
    replicas:
      description: Replicas of a master, twenty at most.
      type: list
      elements: dict
      returned: always
      contains:
        address: {description: Address and port., type: str, returned: always, sample: "192.0.2.7:6379"}
        state: {description: "Its state, V(online) when it follows.", type: str, returned: always, sample: online}
        lag_seconds: {description: Time since it was heard of., type: float, returned: always, sample: 0.0}
        lag_bytes: {description: What it does not have yet., type: float, returned: always, sample: 0.0}
    slow_commands:
      description: The slowest entries of the slow log, twenty at most.
      type: list
      elements: dict
      returned: always
      contains:
        command: {description: The command without what it was about., type: str, returned: always, sample: "HGETALL session:?"}
        seconds: {description: How long it held up everybody else., type: float, returned: always, sample: 0.21}
"""

from ..module_utils._module.redis_health import RedisHealth, redis_health_spec
from ..module_utils._module.run import run


def main() -> None:
    run(redis_health_spec(), RedisHealth)


if __name__ == "__main__":
    main()
