#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_backup
short_description: Copy configuration files with mode and owner into an encrypted repository
version_added: 0.1.0
description:
  - Stores files, folders and links as one snapshot with their facts (mode, owner, size, SHA-256) in C(manifest.json).
  - Everything is read first into a folder that only the user of the module may read. A link is stored as a link and
    never followed; devices, fifos and sockets are left out and named; a file that changes while it is read is read
    again. When one path cannot be read whole, nothing is stored.
  - Neither results nor logs ever hold the content of a file.
options:
  paths:
    description:
      - Absolute paths of files and folders, and patterns with C(*), C(?), C([...]) and C(**).
      - As in a shell, C(*) does not fit names that begin with a dot; a folder is stored with all of them.
      - A path that does not exist is a failure, a pattern that fits nothing is a warning.
    type: list
    elements: str
    required: true
  exclude:
    description: Patterns of what is left out, compared with the whole path and with the name.
    type: list
    elements: str
    default: []
  max_size:
    description: The most that all files together may have.
    type: str
    default: 1GB
  min_files:
    description:
      - Store nothing, and fail, when there are fewer files than this (C(failure.code) V(too_few_files)). A disk that is not
        mounted is an empty folder, and an empty copy must not be the newest good one.
    type: int
    default: 0
  only_if_changed:
    description: Store nothing when content, modes and owners are those of the newest copy.
    type: bool
    default: false
  staging:
    description:
      - How the files wait to be stored. V(copy) copies them, so that what is stored is what was read, whatever happens.
      - V(link) makes a second link to each file, for big trees such as uploads. O(staging_dir) must be on the same file
        system. A file that is written in place meanwhile makes the whole copy fail.
    type: str
    choices: [copy, link]
    default: copy
  name:
    description: Name of the copy, where a host has several sets of files.
    type: str
    default: config
  repository_create:
    description: Make the repository when there is none.
    type: bool
    default: false
  staging_dir:
    description: Folder where the copy is put together. The system's folder for temporary files by default.
    type: path
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: partial
    details: With O(only_if_changed). Otherwise each run is a copy of its own.
notes:
  - >-
    Further codes: V(incomplete) with the paths in C(failure.details), V(too_big), V(nothing_chosen), V(other_filesystem),
    V(not_enough_space), V(disk_full), V(no_workspace), V(stopped), V(invalid_value).
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.repository
  - oncall.runbooks.repository.source
  - oncall.runbooks.progress
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Environment and configuration are in the repository
  oncall.runbooks.config_backup:
    product: shop
    source_host: "{{ inventory_hostname }}"
    paths:
      - /etc/shop
      - /etc/nginx
      - /srv/shop/.env*
    exclude: ["*.swp"]
    repository: sftp:backup@vault.example:/srv/restic
    repository_password: "{{ vault_restic_password }}"
    only_if_changed: true

- name: Uploads are in the repository, without a second copy of them on the way
  oncall.runbooks.config_backup:
    product: shop
    source_host: "{{ inventory_hostname }}"
    name: uploads
    paths: [/srv/shop/uploads]
    max_size: 200GB
    staging: link
    staging_dir: /srv
    repository: sftp:backup@vault.example:/srv/restic
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
  description: Id of the snapshot; of the newest copy when nothing has changed.
  returned: success, outside check mode
  type: str
  sample: 4bb2f5f2
taken_at:
  description: When the copy was taken.
  returned: success, outside check mode
  type: str
  sample: "2026-09-18T04:00:00Z"
changes:
  description: Names of what was added, changed and removed since the newest copy, at most 500 of each.
  returned: success
  type: dict
  sample: {added: [], changed: [/etc/shop/env], removed: []}
files:
  description: Files in the copy.
  returned: after a real run
  type: int
  sample: 41
size_bytes:
  description: Size of all files.
  returned: after a real run
  type: int
  sample: 120000
added_bytes:
  description: What was new to the repository, in bytes.
  returned: after a real run
  type: int
  sample: 2048
newest:
  description: The file of the copy that was written last; V(null) without files.
  returned: after a real run
  type: dict
  contains:
    path: {description: Its path., type: str, returned: always, sample: /srv/shop/uploads/2026/11/41.jpg}
    at: {description: When that was., type: str, returned: always, sample: '2026-11-21T04:12:29Z'}
"""

from ..module_utils._module.config_backup import ConfigBackup
from ..module_utils._module.copy_options import copy_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    own = ArgumentSpec(
        {
            "paths": {"type": "list", "elements": "str", "required": True},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "max_size": {"type": "str", "default": "1GB"},
            "staging": {"type": "str", "choices": ["copy", "link"], "default": "copy"},
            "min_files": {"type": "int", "default": 0},
            "only_if_changed": {"type": "bool", "default": False},
            "repository_create": {"type": "bool", "default": False},
        }
    )
    return copy_spec("config").merge(own)


def main() -> None:
    run(argument_spec(), ConfigBackup)


if __name__ == "__main__":
    main()
