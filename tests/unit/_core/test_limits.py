from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.limits import Limit, read_limits

DEFAULTS = {"disk": Limit(80, 90), "cache_hit": Limit(95, 90, lower_is_worse=True)}


def test_what_is_not_named_keeps_its_default() -> None:
    assert read_limits({}, DEFAULTS) == DEFAULTS
    assert read_limits({"disk": {"critical": 99}}, DEFAULTS)["disk"] == Limit(80, 99)


def test_a_level_that_is_null_is_never_reached() -> None:
    limit = read_limits({"disk": {"critical": None}}, DEFAULTS)["disk"]
    assert limit is not None and limit.judge(1e9) == "warning"


def test_infinity_is_a_level_that_is_never_reached() -> None:
    limit = read_limits({"disk": {"critical": float("inf")}}, DEFAULTS)["disk"]
    assert limit is not None and limit.judge(1e9) == "warning"


def test_a_check_can_be_switched_off() -> None:
    assert read_limits({"disk": False}, DEFAULTS)["disk"] is None


@pytest.mark.parametrize(
    ("value", "status"), [(95.1, "ok"), (95, "warning"), (90, "critical"), (float("nan"), "unknown")]
)
def test_lower_can_be_worse(value: float, status: str) -> None:
    assert DEFAULTS["cache_hit"].judge(value) == status


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ({"dsik": {}}, "dsik"),
        ({"disk": 80}, "limits.disk"),
        ({"disk": {"warn": 80}}, "limits.disk"),
        ({"disk": {"warning": "many"}}, "limits.disk.warning"),
        ({"disk": {"warning": True}}, "limits.disk.warning"),
        ({"disk": {"warning": 95}}, "limits.disk"),
        ({"cache_hit": {"critical": 97}}, "below warning"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(raw: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidValue, match=word):
        read_limits(raw, DEFAULTS)
