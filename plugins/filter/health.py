# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Skins over _core: what is to be looked at in each area, and whether what was seen is good enough."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils._core.errors import OpsError
from ..module_utils._core.health import area_options, bad_areas, host_areas, verdicts


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its errors as a template's."""

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except OpsError as error:
            raise AnsibleFilterError(error.message) from error

    return call


class FilterModule:
    """The filters of health checks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        functions = (area_options, host_areas, verdicts, bad_areas)
        return {function.__name__: _told(function) for function in functions}
