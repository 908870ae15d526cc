# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Every module: what it promises about check mode, the diff and a second run.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode; the plan that is returned then is the one that a real run carries out.
    support: full
  diff_mode:
    description: Returns what is different before and after, made from RV(ignore:before) and RV(ignore:after).
    support: full
"""

    # Modules that change something, but have nothing left to do in a second run.
    IDEMPOTENT = r"""
options: {}
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: full
"""

    # Modules that only look.
    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Changes nothing, in check mode and outside it.
    support: full
  diff_mode:
    description: There is never a difference.
    support: N/A
  idempotent:
    description: Changes nothing.
    support: full
"""
