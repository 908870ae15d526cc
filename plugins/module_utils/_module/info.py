# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What all modules have in common that only look."""

from __future__ import annotations

from .._core.result import Decision, Outcome
from .run import Operation


class InfoOperation(Operation):
    """An operation whose plan is always empty."""

    def apply(self, decision: Decision) -> Outcome:
        """Do nothing: there is never a plan."""
        return Outcome(decision.msg)
