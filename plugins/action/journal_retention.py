# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..module_utils._module.journal_retention import JournalRetention, journal_retention_spec
from ..plugin_utils.here import Near


class ActionModule(Near):
    """Prune the journal here where it is on the controller."""

    spec = staticmethod(journal_retention_spec)
    start = JournalRetention
