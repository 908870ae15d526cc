# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Skins over _core: a whole server back to a moment."""

from __future__ import annotations

from typing import Any, Callable

from ..module_utils._core import point_in_time
from ..plugin_utils.filters import filters_of


class FilterModule:
    """The filters of recovery to a point in time."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return filters_of(
            point_in_time.point_in_time_target,
            point_in_time.point_in_time_mistakes,
            point_in_time.point_in_time_obstacles,
            point_in_time.point_in_time_restore,
            point_in_time.newest_kept,
            point_in_time.point_in_time_undo_obstacles,
        )
