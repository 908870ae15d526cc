# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Skins over _core: whether logrotate is alive."""

from __future__ import annotations

from typing import Any, Callable

from ..module_utils._core.logrotate import logrotate_faults
from ..plugin_utils.filters import filters_of


class FilterModule:
    """The filters of logrotate."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return filters_of(logrotate_faults)
