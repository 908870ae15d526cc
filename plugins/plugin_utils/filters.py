# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions of _core as filters."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils._core.errors import OpsError


def filters_of(*functions: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return functions by their names, with their errors as a template's."""
    return {function.__name__: _told(function) for function in functions}


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except OpsError as error:
            raise AnsibleFilterError(error.message) from error

    return call
