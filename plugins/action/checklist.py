# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..module_utils._module.checklist import Checklist, checklist_spec
from ..plugin_utils.here import Near


class ActionModule(Near):
    """Answer the list here: nothing of a host is needed."""

    spec = staticmethod(checklist_spec)
    start = Checklist
