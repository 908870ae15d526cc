# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress_file:
    description:
      - File that always holds the newest progress line, as JSON.
      - The action plugin of the same name sets it and shows the lines while the module works; leave it alone.
    type: path
notes:
  - >-
    To show its progress the module runs in the background of its host, and its options lie there in a folder that only
    its user may read until it ends. In check mode, with C(no_log), with the task's own C(async), or with the variable
    C(oncall_progress) set to V(false) it runs without progress lines, as any other module.
"""
