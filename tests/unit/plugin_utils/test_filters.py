"""Functions of _core as filters."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from plugins.module_utils._core.errors import InvalidValue
from plugins.plugin_utils.filters import filters_of


def double(number: int) -> int:
    """Return twice a number; of nothing there is no double."""
    if not number:
        raise InvalidValue("a number is needed")
    return 2 * number


def test_a_function_is_a_filter_by_its_name() -> None:
    filters = filters_of(double)
    assert list(filters) == ["double"] and filters["double"](2) == 4


def test_its_error_is_a_template_s() -> None:
    with pytest.raises(AnsibleFilterError, match="a number is needed"):
        filters_of(double)["double"](0)
