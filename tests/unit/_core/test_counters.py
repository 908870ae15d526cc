from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.counters import Growth, Previous, growth, read_moment, read_previous, render_counters
from plugins.module_utils._core.errors import InvalidValue

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
HOUR_AGO = Previous(NOON - timedelta(hours=1), {"kills": 5.0})


@pytest.mark.parametrize(
    ("value", "previous", "age", "expected"),
    [
        (7, HOUR_AGO, 86400.0, Growth(2.0, 3600.0, "the last run, 1 h ago")),
        (5, HOUR_AGO, 86400.0, Growth(0.0, 3600.0, "the last run, 1 h ago")),
        (7, None, 86400.0, Growth(7, 86400.0, "the boot, 1 d ago")),
        (3, HOUR_AGO, 86400.0, Growth(3, 86400.0, "the boot, 1 d ago")),  # it went back
        (9, HOUR_AGO, 60.0, Growth(9, 60.0, "the boot, 1 min ago")),  # it began anew and has overtaken
        (7, Previous(NOON + timedelta(hours=1), {"kills": 5.0}), 60.0, Growth(7, 60.0, "the boot, 1 min ago")),
        (7, Previous(HOUR_AGO.at, {}), 60.0, Growth(7, 60.0, "the boot, 1 min ago")),
        (3, HOUR_AGO, None, None),
        (None, HOUR_AGO, 60.0, None),
    ],
)
def test_growth(value: Any, previous: Any, age: Any, expected: Any) -> None:
    assert growth("kills", value, NOON, previous, age, "the boot") == expected


@given(
    value=st.floats(0, 1e15),
    earlier=st.floats(0, 1e15),
    hours=st.floats(-100, 100),
    age=st.one_of(st.none(), st.floats(0, 1e9)),
)
def test_growth_is_never_negative_nor_in_no_time(value: float, earlier: float, hours: float, age: float | None) -> None:
    previous = Previous(NOON - timedelta(hours=hours), {"kills": earlier})
    counted = growth("kills", value, NOON, previous, age, "the boot")
    assert counted is None or (0 <= counted.count <= value and counted.seconds > 0)


def test_what_a_run_returns_is_what_the_next_one_reads() -> None:
    returned = render_counters(NOON, {"kills": 5, "unknown": None})
    assert returned == {"at": "2026-11-21T12:00:00Z", "kills": 5}
    assert read_previous(returned) == Previous(NOON, {"kills": 5.0})
    assert read_previous({}) is None


@pytest.mark.parametrize("raw", ["2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00z", NOON.timestamp(), "1795262400"])
def test_moments(raw: Any) -> None:
    assert read_moment(raw, "at") == NOON


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ({"kills": 3}, "previous.at"),
        ({"at": "yesterday"}, "previous.at"),
        ({"at": "2026-11-21T12:00:00"}, "previous.at"),
        ({"at": "1e400"}, "previous.at"),
        ({"at": 0, "kills": "many"}, "previous.kills"),
        ({"at": 0, "kills": True}, "previous.kills"),
        ({"at": 0, "kills": float("inf")}, "previous.kills"),
    ],
)
def test_what_no_run_returned_is_refused_by_name(raw: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValue, match=name):
        read_previous(raw)
