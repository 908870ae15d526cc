#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_restore
short_description: Prove a copy of a Redis server, put it in place, or take that back
version_added: 0.1.0
description:
  - With O(target=throwaway) a real server without network and persistence loads the copy; what it finds is compared with
    the facts that were taken with the copy, and the verdict is kept in the repository as a proof. Compared are the file
    byte for byte, the number of keys, the keys without an end of each database, type, value and end of sampled keys,
    and the server's digest over everything where no key has ended since. A bad copy is a finding and a verdict
    V(critical), not a failure.
  - With O(target=live) the data of a server on this host is replaced. The copy is proven first; writers wait while what
    is in memory is saved; the server is stopped; its files are renamed aside and the copy's into their place; the server
    is started and compared with the copy. A failure after the stop puts the old data back.
  - A server with C(appendonly yes) ignores an RDB; there the copy becomes the base of its append-only file, so that no
    setting has to be changed.
  - O(state=undone) takes the newest restore back by renames.
options:
  target:
    description: V(throwaway) only proves the copy, V(live) replaces the data of the server.
    type: str
    choices: [throwaway, live]
    required: true
  state:
    description: V(restored) puts a copy in place, V(undone) puts back what was there before the newest restore. What
      was written since the restore is kept only as far as the server has saved it.
    type: str
    choices: [restored, undone]
    default: restored
  name:
    description: Name of the copy, where a host has several servers.
    type: str
    default: redis
  at:
    description: The newest good copy at or before this time, C(YYYYMMDD-HHMMSS) (UTC) or RFC 3339. Now by default.
    type: str
  snapshot:
    description: Id of the copy, instead of O(at).
    type: str
  confirm:
    description: With O(target=live) it must be the O(target_host), so that nobody replaces data by accident.
    type: str
  target_host:
    description: Name of the host whose data is replaced, when it is not the one that was copied. The O(source_host) by
      default.
    type: str
  force:
    description: With O(state=undone), when the newest restore was undone already, take back the one before it. Without
      it nothing is done then.
    type: bool
    default: false
  other_place:
    description: Allow a target whose port or folder differs from those of the server that was copied.
    type: bool
    default: false
  fence_replicas:
    description:
      - Make the replicas that follow the target masters first, so that they keep what they have. Without it a target
        with replicas is refused.
      - When the restore fails they are made to follow again, provided that the server serves what it served; the message
        names those that do not. After a restore, and after its undo, they do not follow again by themselves, as they may
        have been written to; the undo names those that follow nobody in a critical finding. With Sentinel or in a
        cluster stop that management first.
    type: bool
    default: false
  systemd_unit:
    description: Unit of the server, instead of O(stop_command) and O(start_command).
    type: str
  stop_command:
    description: Command that stops the server. It must stay stopped.
    type: list
    elements: str
    default: []
  start_command:
    description: Command that starts the server.
    type: list
    elements: str
    default: []
  start_timeout:
    description: Longest time for a server to load the data, and for writers to wait before the stop, as a duration.
    type: str
    default: 10m
  data_dir:
    description: Folder of the server's data, needed when the server does not run or does not tell.
    type: path
  rdb_filename:
    description: Name of its RDB file, for a server that does not run or does not tell.
    type: str
    default: dump.rdb
  server_bin_dirs:
    description: Folders with C(redis-server) for the throwaway. When given, no other place is looked at.
    type: list
    elements: path
    default: []
  staging_dir:
    description: Folder where the copy is fetched to. It needs room for the RDB. The system's folder for temporary files
      by default.
    type: path
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: partial
    details: With O(target=live). Each proof is a new one.
notes:
  - >-
    Further codes: V(no_copy), V(no_copy_old_enough), V(no_good_copy), V(manifest_unreadable), V(confirmation_missing),
    V(is_standby), V(replicas_attached), V(no_kept_restore), V(fingerprint_mismatch), V(target_in_use),
    V(restore_interrupted), V(record_unreadable), V(insecure_directory), V(lock_busy), V(verification_failed),
    V(place_failed), V(bgsave_failed), V(disk_full), V(not_enough_space), V(command_missing), V(command_failed),
    V(no_workspace), V(stopped), V(invalid_value).
  - The old data stays in the folder C(oncall-restore-...) of the server's data folder. Remove it when it is not needed.
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
- name: The newest copy is proven
  oncall.runbooks.redis_restore:
    target: throwaway
    product: shop
    source_host: cache1
    repository: /srv/restic
    repository_password: "{{ vault_restic_password }}"

- name: The session store is as it was at four
  oncall.runbooks.redis_restore:
    target: live
    at: 20260918-040000
    confirm: "{{ confirm }}"
    product: shop
    source_host: "{{ inventory_hostname }}"
    redis_password: "{{ vault_redis_password }}"
    systemd_unit: redis-server.service
    repository: /srv/restic
    repository_password: "{{ vault_restic_password }}"

- name: That was the wrong time
  oncall.runbooks.redis_restore:
    target: live
    state: undone
    confirm: "{{ confirm }}"
    product: shop
    source_host: "{{ inventory_hostname }}"
    redis_password: "{{ vault_redis_password }}"
    systemd_unit: redis-server.service
    repository: /srv/restic
    repository_password: "{{ vault_restic_password }}"
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
verdict:
  description: What a proof found out, V(ok), V(critical) (it does not restore) or V(unknown) (nobody could tell).
  returned: with O(target=throwaway), after a real run
  type: str
  sample: ok
proof:
  description: Id of the proof's snapshot.
  returned: with O(target=throwaway), after a real run
  type: str
  sample: 51ad9c22
snapshot:
  description: Id of the copy.
  returned: with O(target=throwaway)
  type: str
  sample: 4bb2f5f2f1d2a4bb2f5f2f1d2a4bb2f5f2f1d2a4bb2f5f2f1d2a4bb2f5f2f1d2
taken_at:
  description: The moment whose state the copy holds.
  returned: with O(target=throwaway)
  type: str
  sample: "2026-09-18T04:00:00Z"
keys:
  description: Keys in the copy, those included whose time is over.
  returned: with O(target=throwaway), after a real run
  type: int
  sample: 120000
redis_version:
  description: Release of the throwaway server.
  returned: with O(target=throwaway), after a real run
  type: str
  sample: 7.0.15
facts:
  description: V(exact) when the facts were read from the copy when it was made, V(observed) when from the live server.
  returned: with O(target=throwaway), after a real run
  type: str
  sample: exact
restore:
  description: The restore that was made or taken back.
  returned: with O(target=live), after a real run
  type: dict
  contains:
    id: {description: Its name in the server's folder., type: str, returned: always, sample: 20260918-053012-123456}
    copy: {description: Id of the copy., type: str, returned: always, sample: 4bb2f5f2f1d2}
    taken_at: {description: The moment whose state the copy holds., type: str, returned: always, sample: "2026-09-18T04:00:00Z"}
    fenced: {description: Replicas that no longer follow., type: list, elements: str, returned: always, sample: ["10.0.0.7:6379"]}
"""

from ..module_utils._module.copy_options import choice_spec, copy_spec, live_spec
from ..module_utils._module.redis_options import redis_spec
from ..module_utils._module.redis_restore import redis_restore
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    own = ArgumentSpec(
        {
            "target": {"type": "str", "choices": ["throwaway", "live"], "required": True},
            "state": {"type": "str", "choices": ["restored", "undone"], "default": "restored"},
            "other_place": {"type": "bool", "default": False},
            "fence_replicas": {"type": "bool", "default": False},
            "systemd_unit": {"type": "str"},
            "stop_command": {"type": "list", "elements": "str", "default": []},
            "start_command": {"type": "list", "elements": "str", "default": []},
            "start_timeout": {"type": "str", "default": "10m"},
            "data_dir": {"type": "path"},
            "rdb_filename": {"type": "str", "default": "dump.rdb"},
            "server_bin_dirs": {"type": "list", "elements": "path", "default": []},
        }
    )
    return copy_spec("redis").merge(choice_spec()).merge(live_spec()).merge(redis_spec()).merge(own)


def main() -> None:
    run(argument_spec(), redis_restore)


if __name__ == "__main__":
    main()
