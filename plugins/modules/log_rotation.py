#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_rotation
short_description: Rotate, compress and prune the logs of a directory, and prove that nothing is lost
version_added: 0.1.0
description:
  - Rotates the logs of one directory that are due, compresses what was rotated, and prunes generations by age, number and
    size. Nothing outside O(path) is ever touched.
  - A rotated log is called after the moment of its rotation (UTC), for example C(app.log-20261121T074500Z.gz). The names are
    the only state that is kept. No file is ever overwritten, also when the clock was set back.
  - It may be killed at any moment, or run into a full disk, and no line is lost. An original goes only when its compressed
    successor is on the disk under its final name. The next run removes what was half done, and goes on.
  - A log that a process holds open is rotated only when that process can be told about its new file (O(reopen)). It is
    proven that the process writes to the new file before the old one is compressed.
  - Deleted files that a process still holds open are reported with the process and the space that they take.
  - Symbolic links, files with several names, pipes, devices, files of others (without root), and directories in which others
    could exchange files under the hands of root are left alone and reported.
  - For logs that logrotate already rotates, use the role P(oncall.runbooks.log_management#role) instead.
options:
  path:
    description:
      - Directory of the logs. It must be absolute and without symbolic links.
      - Directories of the system, such as V(/) and everything below V(/etc), are refused.
    type: path
    required: true
  patterns:
    description: Shell patterns of the logs' file names, without a slash. A leading dot must be in the pattern.
    type: list
    elements: str
    default: ["*.log"]
  exclude:
    description: Shell patterns of file names that are never touched, although they match O(patterns).
    type: list
    elements: str
    default: []
  recurse:
    description: Whether the directories below O(path) are worked in too. Symbolic links are never followed.
    type: bool
    default: false
  min_size:
    description: A log that is smaller is not rotated, as a size (V(1MB)). Empty logs are never rotated.
    type: str
    default: "1"
  max_size:
    description: A log that is as large is rotated whatever its age, as a size.
    type: str
  max_age:
    description:
      - A log is due when its last rotation is that long ago, or there was none, as a duration.
      - Keep it a little below the time between two runs.
    type: str
    default: 20h
  keep:
    description: Rotated generations to keep of each log. V(0) is no limit.
    type: int
    default: 14
  prune_age:
    description: Generations that were rotated longer ago are deleted, as a duration (V(30d)). Not less than O(max_age).
    type: str
  max_total_size:
    description:
      - All generations below O(path) together take at most that much, as a size. The oldest ones go first.
      - What is yet to be compressed counts with its estimated size.
    type: str
  prune_logs_age:
    description:
      - Logs (not generations) that were not written for so long, and that nobody holds open, are deleted instead of rotated,
        as a duration. For applications that begin a new file each day.
    type: str
  prune_existing:
    description:
      - Whether O(keep), O(prune_age) and O(max_total_size) are also about the generations of logrotate and others
        (C(app.log.1), C(app.log.2.gz), C(app.log-20261121)). By default they are left alone.
    type: bool
    default: false
  compress:
    description:
      - Format of the rotated logs. C(gzip) is fast when Python's C(isal) is on the host. C(zstd) needs Python's C(zstandard)
        or the program C(zstd).
    type: str
    choices: [gzip, zstd, none]
    default: gzip
  compress_level:
    description:
      - Level of the compression, from 1 (fast) to 9 (gzip) or 19 (zstd).
      - By default 3 for zstd. For gzip 2 with C(isal), else 6. Levels above 3 are done without C(isal).
    type: int
  delay_compress:
    description: Leave the newest generation of each log uncompressed until the next rotation.
    type: bool
    default: false
  create:
    description:
      - Put an empty log with the same owner and permissions in the place of a rotated one.
      - Has no meaning for O(reopen.method=copytruncate), which keeps the file.
    type: bool
    default: true
  reopen:
    description: How the process that writes the logs learns of its new file. It is asked once, and only when it has one of them.
    type: dict
    suboptions:
      method:
        description:
          - V(signal) signals the main process of O(reopen.unit) or the one of O(reopen.pid_file). It is refused when neither
            that process nor one of its children has one of the logs open.
          - V(command) runs O(reopen.command).
          - V(copytruncate) copies the log and empties it. Lines that are written in the few microseconds between both are
            lost, and after a power failure in that moment what a busy log got during the last sync of the copy. A process that
            does not append (C(O_APPEND)) is left alone, because it would leave a hole.
          - V(none) leaves logs alone that a process has open for writing.
        type: str
        choices: [none, signal, command, copytruncate]
        default: none
      unit:
        description: Unit of systemd whose main process is signalled.
        type: str
      pid_file:
        description: File with the number of the process that is signalled.
        type: path
      signal:
        description: The signal.
        type: str
        choices: [HUP, USR1, USR2]
        default: HUP
      command:
        description: Program with its arguments. No shell is in between.
        type: list
        elements: str
      timeout:
        description: Time for the command, and time within which the new files must be open, as a duration.
        type: str
        default: 10s
  jobs:
    description: Files that are compressed at the same time. V(0) is as many as there are cores.
    type: int
    default: 0
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.progress
notes:
  - In check mode RV(bytes) and the sizes afterwards are estimated from the beginnings of the largest files.
  - A user that is not root sees only its own processes. Whether somebody else writes to a file is then asked of the kernel by
    a lease (C(fcntl)). Deleted files that others hold open are V(unknown).
  - On a network file system nobody can tell whether another host has a log open. Where no process of this host has it and the
    kernel gives no lease, it is rotated with a finding V(unknown), compressed only when it was not written for an hour, and
    never deleted as idle.
  - When the work is done and the directory cannot be looked at again, the task fails. RV(steps), RV(files) and C(changed)
    tell what was done, RV(after) is empty, and the finding C(logs) is V(unknown).
  - While a run works there is a lock file C(.oncall-log-rotation.lock) in O(path).
  - Above 200 operations RV(plan) and RV(steps) sum up the files of a directory. RV(files) names 200 of them, those with trouble
    first.
  - >-
    A failure has C(failure.code): V(path_missing), V(path_refused), V(path_unsafe), V(not_a_directory),
    V(insufficient_privilege), V(read_only), V(compressor_missing), V(lock_busy), V(lock_unusable), V(reopen_target_missing), V(reopen_target_wrong),
    V(reopen_failed), V(reopen_unproven), V(verification_failed), V(disk_full), V(file_too_large), V(io_error),
    V(command_failed), V(timed_out), V(invalid_value), V(invalid_arguments).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Logs of the shop are rotated each night
  oncall.runbooks.log_rotation:
    path: /var/log/shop
    min_size: 1MB
    keep: 30
    compress: zstd
    reopen:
      method: signal
      unit: shop.service

- name: Logs of a program that never opens its log again are rotated
  oncall.runbooks.log_rotation:
    path: /var/log/legacy
    patterns: [importer.log]
    reopen:
      method: copytruncate

- name: Disk is full. Rotated logs go after 3 days, forgotten ones after 7
  oncall.runbooks.log_rotation:
    path: /var/log/shop
    recurse: true
    max_age: 0s
    prune_age: 3d
    prune_logs_age: 7d
    prune_existing: true
    reopen:
      method: command
      command: [pm2, reloadLogs]
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
files:
  description: The files one by one, at most 200, those with trouble first.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    path: {description: "The file, relative to O(path).", type: str, returned: always, sample: app.log}
    action: {description: "V(clean), V(settle), V(create), V(remove), V(rotate), V(prune) or V(compress).", type: str, returned: always, sample: compress}
    reason: {description: Why., type: str, returned: always, sample: rotated now}
    status: {description: "V(planned) in check mode, else V(done), V(skipped) or V(failed).", type: str, returned: always, sample: done}
    detail: {description: "What happened, or why not.", type: str, returned: always, sample: ""}
    generation: {description: The file that is there afterwards., type: str, returned: always, sample: app.log-20261121T074500Z.gz}
    size_before: {description: Bytes before., type: int, returned: always, sample: 10485760}
    size_after: {description: Bytes afterwards. Estimated in check mode., type: int, returned: always, sample: 1572864}
files_total:
  description: How many files there would be in RV(files) without a limit.
  returned: success, and after a failure half way
  type: int
  sample: 5000
bytes:
  description: The space of all logs and generations.
  returned: success, and after a failure half way
  type: dict
  contains:
    before: {description: Bytes before., type: int, returned: always, sample: 2147483648}
    after: {description: Bytes afterwards., type: int, returned: always, sample: 700000000}
    freed: {description: Bytes that were given back., type: int, returned: always, sample: 1447483648}
    estimated: {description: "Whether RV(bytes.after) and RV(bytes.freed) are estimates, as in check mode.", type: bool, returned: always, sample: false}
"""

from ..module_utils._module.log_rotation import LogRotation, log_rotation_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return log_rotation_spec()


def main() -> None:
    run(argument_spec(), LogRotation)


if __name__ == "__main__":
    main()
