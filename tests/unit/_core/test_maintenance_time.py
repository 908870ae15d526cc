from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed
from plugins.module_utils._core.maintenance_time import end_of_window, seconds_allowed

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=timezone.utc)
TOKYO = timezone(timedelta(hours=9))


def in_tokyo(naive: datetime) -> datetime:
    return naive.replace(tzinfo=TOKYO)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("06:00Z", 4),
        ("02:30Z", 0.5),
        ("14:00Z", 12),
        ("15:00", 4),
        ("20:00", 9),
        ("24:00Z", None),
        ("01:59Z", None),
        ("02:00Z", None),
        ("11:00", None),
        ("2026-11-21T03:00:00Z", 1),
        ("2026-11-21T13:00:00+09:00", 2),
        ("2026-11-25T02:00:00Z", 96),
        ("2026-11-21T01:59:59Z", None),
    ],
)
def test_the_end_of_the_window(text: str, hours: float | None) -> None:
    if hours is None:
        with pytest.raises(PreconditionFailed) as error:
            end_of_window(text, NOW, in_tokyo)
        assert error.value.code == "window_closed"
    else:
        assert end_of_window(text, NOW, in_tokyo) == NOW + timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "6", "840", "2026-11-21", "2026-11-21T06:00:00", "06:00X"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        end_of_window(text, NOW, in_tokyo)


@pytest.mark.parametrize(
    ("budget", "window", "seconds"),
    [(None, None, None), (60.0, None, 60), (None, "03:00Z", 3600), (60.0, "03:00Z", 60), (7200.0, "03:00Z", 3600)],
)
def test_the_shorter_of_both_counts(budget: float | None, window: str | None, seconds: float | None) -> None:
    assert seconds_allowed(budget, window, NOW, in_tokyo) == seconds


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidValue):
        seconds_allowed(0, None, NOW, in_tokyo)
