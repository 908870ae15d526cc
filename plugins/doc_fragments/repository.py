# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Where the repository of backups is and how to open it.
    DOCUMENTATION = r"""
options:
  repository:
    description:
      - Where the restic repository is, as restic's own C(--repo). A local path, or C(sftp:user@host:/path),
        C(s3:https://host/bucket), C(rest:https://host/path) and so on.
    type: str
    required: true
  repository_password:
    description:
      - Password that opens the repository. It travels in the environment of restic, never in a command line.
    type: str
  repository_password_file:
    description: File with the password on the host where the module runs.
    type: path
  repository_environment:
    description:
      - Environment variables that the storage needs, for example C(AWS_ACCESS_KEY_ID) and C(AWS_SECRET_ACCESS_KEY).
      - All of their values count as secrets.
    type: dict
    default: {}
  repository_ssh_config:
    description:
      - Configuration file of ssh for a repository at C(sftp:), instead of the user's own. It says with which key the host
        logs in, and by which keys the other one is known (C(IdentityFile), C(UserKnownHostsFile), C(Port), C(ProxyJump) and
        so on). Other repositories don't use it.
      - Nothing is ever asked. A host key that is not known, or is another one than before, is refused
        (V(host_key_refused)).
    type: path
  restic_path:
    description: The program to run.
    type: path
    default: restic
  restic_cache_dir:
    description: Folder of restic's cache. Restic's own default is the user's cache folder.
    type: path
  transfer_timeout:
    description: Longest time of one transfer to or from the repository, as a duration.
    type: str
    default: 6h
requirements:
  - restic (0.14 or newer) on the host where the module runs
notes:
  - >-
    Whoever writes has a lock in the repository, and whoever fetches a copy, so that nobody removes it meanwhile. A copy is
    fetched all the same where no lock can be had; small looks never need one.
  - >-
    Locks of runs that died are removed when they are in the way: on their own host at once, otherwise 30 minutes after their
    last sign of life. Hosts that share a repository need names (C(hostname)) of their own. The lock of a living run fails
    the module with V(repository_locked).
  - >-
    A failure of the repository has C(failure.code): V(repository_missing), V(repository_locked), V(wrong_key),
    V(repository_damaged), V(repository_unreachable), V(host_key_refused), V(disk_full), V(insufficient_privilege),
    V(incomplete), V(command_missing), V(timed_out), V(restic_failed).
"""

    # Whose copy it is.
    SOURCE = r"""
options:
  product:
    description: Name of the product that the copy belongs to.
    type: str
    required: true
  source_host:
    description:
      - Inventory name of the host whose copy it is. It is the name in the repository, whatever the host calls itself.
    type: str
    required: true
"""
