#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_backup
short_description: Copy a Redis server into an encrypted repository, proven to load
version_added: 0.1.0
description:
  - Lets the server write its RDB and waits for that very save, not for a time. A save that is already at work is waited
    for, and then one of our own is made.
  - Takes the server's own file where it can be read (only when it was written by this very save), otherwise fetches it
    as a replica would with C(redis-cli --rdb), for servers on other hosts.
  - The file is checked with C(redis-check-rdb) where that is installed, loaded by a throwaway server, and compared with
    the live one; only then it is stored, as one snapshot that holds C(dump.rdb) and its facts in C(manifest.json).
  - Compared exactly are, of keys that stood still during the save, type, value and end. The number of keys may differ
    from the live server's by as many as were changed, expired or evicted since the save began, and by no more.
  - Kept for later verifications are the keys of each database, a sample of keys with type, end and a digest of the
    value, and the server's own digest over everything, all read from the copy itself by the throwaway server.
options:
  method:
    description:
      - V(file) takes the server's own file, V(transfer) fetches it over the connection. V(auto) takes the file where
        the server is on this host and its folder can be read.
    type: str
    choices: [auto, file, transfer]
    default: auto
  name:
    description: Name of the copy, where a host has several servers.
    type: str
    default: redis
  prove:
    description:
      - Load the copy with a throwaway server before it is stored. It needs C(redis-server) and as much memory as the
        data; it has no network and does not run as root.
      - Without it the copy is stored as it came, and a later verification can compare less.
    type: bool
    default: true
  sample:
    description: How many keys of each database are read one by one, at most 10000.
    type: int
    default: 100
  save_timeout:
    description: Longest time for the save, the transfer, and the loading, each, as a duration.
    type: str
    default: 1h
  repository_create:
    description: Make the repository when there is none.
    type: bool
    default: false
  server_bin_dirs:
    description: Folders with C(redis-server). When given, no other place is looked at.
    type: list
    elements: path
    default: []
  staging_dir:
    description: Folder where the copy is put together. It needs room for the RDB. The system's folder for temporary
      files by default.
    type: path
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: none
    details: Each run is a copy of its own.
notes:
  - >-
    Further codes: V(bgsave_failed) (when C(failure.details.writes_refused) is true, the server refuses writes until a
    save succeeds), V(rdb_damaged), V(verification_failed), V(not_this_server), V(transfer_failed), V(disk_full),
    V(not_enough_space), V(not_enough_memory), V(server_too_old), V(command_missing), V(no_workspace), V(stopped),
    V(invalid_value).
  - Nothing gets into the repository unless every step before succeeded.
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.repository
  - oncall.runbooks.repository.source
  - oncall.runbooks.progress
  - oncall.runbooks.redis
  - oncall.runbooks.redis.copies
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The session store is in the repository
  oncall.runbooks.redis_backup:
    product: shop
    source_host: "{{ inventory_hostname }}"
    redis_password: "{{ vault_redis_password }}"
    repository: sftp:backup@vault.example:/srv/restic
    repository_password: "{{ vault_restic_password }}"

- name: A managed server, from this host
  oncall.runbooks.redis_backup:
    product: shop
    source_host: cache1
    redis_host: cache1.example
    redis_port: 6380
    redis_tls: true
    redis_password: "{{ vault_redis_password }}"
    method: transfer
    repository: /srv/restic
    repository_password_file: /etc/restic/password
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
snapshot:
  description: Id of the snapshot.
  returned: after a real run
  type: str
  sample: 4bb2f5f2
taken_at:
  description: The moment whose state the copy holds, by the server's own clock.
  returned: after a real run
  type: str
  sample: "2026-09-18T04:00:00Z"
method:
  description: How the RDB was had, V(file) or V(transfer).
  returned: after a real run
  type: str
  sample: file
keys:
  description: Keys in the copy. None where nobody counted them.
  returned: after a real run
  type: int
  sample: 120000
size_bytes:
  description: Size of the RDB.
  returned: after a real run
  type: int
  sample: 52428800
added_bytes:
  description: What was new to the repository, in bytes.
  returned: after a real run
  type: int
  sample: 1048576
proven:
  description: Whether a throwaway server loaded the copy before it was stored.
  returned: after a real run
  type: bool
  sample: true
"""

from ..module_utils._module.copy_options import copy_spec
from ..module_utils._module.redis_backup import RedisBackup
from ..module_utils._module.redis_options import redis_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    own = ArgumentSpec(
        {
            "method": {"type": "str", "choices": ["auto", "file", "transfer"], "default": "auto"},
            "prove": {"type": "bool", "default": True},
            "sample": {"type": "int", "default": 100},
            "save_timeout": {"type": "str", "default": "1h"},
            "repository_create": {"type": "bool", "default": False},
            "server_bin_dirs": {"type": "list", "elements": "path", "default": []},
        }
    )
    return copy_spec("redis").merge(redis_spec()).merge(own)


def main() -> None:
    run(argument_spec(), RedisBackup)


if __name__ == "__main__":
    main()
