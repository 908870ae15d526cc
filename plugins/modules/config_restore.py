#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_restore
short_description: Prove a copy of configuration files, write it aside, put it in place, or take that back
version_added: 0.1.0
description:
  - With O(target=throwaway) the copy is decrypted and every file compared with the SHA-256 that was taken with it; the
    verdict is kept in the repository as a proof. A bad copy is a finding and a verdict V(critical), not a failure.
  - With O(target=aside) the files are written below O(directory), with O(target=live) where they were.
  - Each file is written beside its place, flushed, and renamed, so that it is whole at any time. Below a root no link is
    followed. Files that are not in the copy are left alone.
  - With O(target=live) everything that is replaced is kept, and a failure half way takes back what was written.
  - What would change is shown by names, sizes, modes and the first digits of hashes, never by content.
options:
  target:
    description: What is done with the copy.
    type: str
    choices: [throwaway, aside, live]
    required: true
  state:
    description: V(undone) puts back what the newest restore with O(target=live) replaced. What somebody has changed
      since is left alone and named.
    type: str
    choices: [restored, undone]
    default: restored
  name:
    description: Name of the copy, where a host has several sets of files.
    type: str
    default: config
  at:
    description: The newest good copy at or before this time, C(YYYYMMDD-HHMMSS) (UTC) or RFC 3339. Now by default.
    type: str
  snapshot:
    description: Id of the copy, instead of O(at).
    type: str
  only:
    description: Patterns of the paths to restore, compared with the whole path and with the name. All by default.
    type: list
    elements: str
    default: []
  roots:
    description:
      - Folders and files that may be written to, needed with O(target=live). A copy that wants to write elsewhere is
        refused as a whole.
    type: list
    elements: str
    default: []
  directory:
    description: Folder for O(target=aside).
    type: str
  confirm:
    description: With O(target=live) it must be the O(target_host), so that nobody replaces files by accident.
    type: str
  target_host:
    description: Name of the host whose files are replaced, when it is not the one that was copied. The O(source_host) by
      default.
    type: str
  force:
    description: With O(state=undone), when the newest restore was undone already, take back the one before it. Without
      it nothing is done then.
    type: bool
    default: false
  restore_owner:
    description: Give the files their owners. Without it a file keeps the owner it has. The default is true for root.
    type: bool
  undo_dir:
    description: Folder of what was replaced. C(/var/lib/oncall-runbooks/config-undo) for root by default, and
      C(~/.local/state/oncall-runbooks/config-undo) for others.
    type: path
  staging_dir:
    description: Folder where the copy is fetched to. The system's folder for temporary files by default.
    type: path
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: partial
    details: Each proof (O(target=throwaway)) is a new one.
notes:
  - >-
    Further codes: V(no_copy), V(no_copy_old_enough), V(no_good_copy), V(manifest_unreadable), V(confirmation_missing),
    V(path_refused), V(nothing_chosen), V(no_kept_restore), V(type_conflict), V(restore_interrupted),
    V(record_unreadable), V(lock_busy), V(insecure_directory), V(verification_failed), V(write_failed), V(read_only),
    V(not_enough_space), V(no_workspace), V(stopped), V(invalid_value).
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.repository
  - oncall.runbooks.repository.source
  - oncall.runbooks.progress
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The newest copy is proven
  oncall.runbooks.config_restore:
    target: throwaway
    product: shop
    source_host: app1
    repository: /srv/restic
    repository_password: "{{ vault_restic_password }}"

- name: The environment is as it was at four
  oncall.runbooks.config_restore:
    target: live
    at: 20260918-040000
    confirm: "{{ confirm }}"
    roots: [/etc/shop]
    only: [/etc/shop/env]
    product: shop
    source_host: "{{ inventory_hostname }}"
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
snapshot:
  description: Id of the copy.
  returned: success
  type: str
  sample: 4bb2f5f2f1d2a4bb2f5f2f1d2a4bb2f5f2f1d2a4bb2f5f2f1d2a4bb2f5f2f1d2
taken_at:
  description: When the copy was taken.
  returned: success
  type: str
  sample: "2026-09-18T04:00:00Z"
verdict:
  description: What a proof found out, V(ok) or V(critical).
  returned: with O(target=throwaway), after a real run
  type: str
  sample: ok
proof:
  description: Id of the proof's snapshot.
  returned: with O(target=throwaway), after a real run
  type: str
  sample: 51ad9c22
"""

from ..module_utils._module.config_restore import config_restore
from ..module_utils._module.copy_options import choice_spec, copy_spec, live_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    own = ArgumentSpec(
        {
            "target": {"type": "str", "choices": ["throwaway", "aside", "live"], "required": True},
            "state": {"type": "str", "choices": ["restored", "undone"], "default": "restored"},
            "only": {"type": "list", "elements": "str", "default": []},
            "roots": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "str"},
            "restore_owner": {"type": "bool"},
            "undo_dir": {"type": "path"},
        }
    )
    return copy_spec("config").merge(choice_spec()).merge(live_spec()).merge(own)


def main() -> None:
    run(argument_spec(), config_restore)


if __name__ == "__main__":
    main()
