# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Skins over _core: what is to be looked at in each area, and whether what was seen is good enough."""

from __future__ import annotations

from typing import Any, Callable

from ..module_utils._core.backup_catalog import expected_sources
from ..module_utils._core.health import area_options, bad_areas, group_areas, host_areas, unseen_areas, verdicts
from ..plugin_utils.filters import filters_of


class FilterModule:
    """The filters of health checks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return filters_of(area_options, host_areas, group_areas, unseen_areas, verdicts, bad_areas, expected_sources)
