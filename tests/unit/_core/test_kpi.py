from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.kpi import FAST_BURN, Kpi, read_kpis

UPTIME: dict[str, Any] = {
    "name": "availability",
    "source": {"metric": "availability.success_percent", "aggregate": "min"},
    "unit": "%",
    "direction": "lower_is_worse",
    "warning": 99.9,
    "critical": 99.5,
    "for": "5m",
    "interval": "1m",
    "objective": {"target": 99.9, "window": "30d"},
}


def read(**changes: Any) -> Kpi:
    return read_kpis([{**UPTIME, **changes}])[0]


def test_what_is_not_said_has_a_default() -> None:
    (kpi,) = read_kpis([{"name": "load", "source": {"metric": "host.load.1m"}, "unit": "count", "critical": 8}])
    assert (kpi.aggregate, kpi.sustained, kpi.interval, kpi.max_age) == ("mean", 0, 3600, 7200)
    assert kpi.title == "load" and kpi.objective is None and not kpi.limit.lower_is_worse


def test_good_is_what_is_no_warning_yet() -> None:
    kpi = read()
    assert kpi.objective is not None
    assert kpi.objective.good.critical == 99.9 and kpi.objective.good.lower_is_worse
    assert kpi.objective.fast == FAST_BURN
    assert kpi.lookback() == 30 * 86400 + 90


def test_numbers_may_be_texts_as_templates_leave_them() -> None:
    assert read(critical="99.5").limit.critical == 99.5


def test_null_is_the_same_as_nothing() -> None:
    assert read(objective=None, owner=None).objective is None


def test_windows_of_burn_rates_fit_into_a_short_objective() -> None:
    objective = read(objective={"target": 99, "window": "2h"}).objective
    assert objective is not None
    assert (objective.slow.window, objective.slow.short_window) == (7200, 600)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"critical": "many"}, r"product_kpis\[1\].critical must be a number"),
        ({"critical": True}, r"product_kpis\[1\].critical must be a number"),
        ({"critical": float("nan")}, r"product_kpis\[1\].critical must be a number"),
        ({"critical": 99.95}, r"product_kpis\[1\].critical .* must be below warning"),
        ({"name": "Up time"}, r"product_kpis\[1\].name"),
        ({"name": "other"}, r"product_kpis\[1\].name is 'other', as product_kpis\[0\]"),
        ({"unit": None}, r"product_kpis\[1\].unit is missing"),
        ({"unit": "%\x1b[31m"}, r"product_kpis\[1\].unit"),
        ({"direction": "down"}, r"product_kpis\[1\].direction must be one of"),
        ({"for": "five minutes"}, r"product_kpis\[1\].for must be a duration"),
        ({"for": ["5m"]}, r"product_kpis\[1\].for must be a duration"),
        ({"interval": "0"}, r"product_kpis\[1\].interval must be longer"),
        ({"max_age": "30s"}, r"product_kpis\[1\].max_age is shorter than interval"),
        ({"critcal": 1}, r"product_kpis\[1\].critcal is no key"),
        ({"source": None}, r"product_kpis\[1\].source must be a mapping"),
        ({"source": {}}, r"product_kpis\[1\].source.metric is missing"),
        ({"source": {"metric": "cpu"}}, r"product_kpis\[1\].source.metric must be a dotted name"),
        ({"source": {"metric": "a.b", "aggregate": "median"}}, r"product_kpis\[1\].source.aggregate must be one of"),
        ({"source": {"metric": "a.b", "hosts": 5}}, r"product_kpis\[1\].source.hosts must be a list"),
        ({"source": {"metric": "a.b", "labels": ["x"]}}, r"product_kpis\[1\].source.labels must be a mapping"),
        ({"objective": {"target": 100}}, r"product_kpis\[1\].objective.target must be a percentage"),
        ({"objective": {}}, r"product_kpis\[1\].objective.target must be a percentage"),
        ({"objective": {"target": 99, "window": "soon"}}, r"product_kpis\[1\].objective.window must be a duration"),
        ({"objective": {"target": 99, "minimum_observed": 120}}, r"objective.minimum_observed must be from 0 to 100"),
        ({"objective": {"target": 99, "fast_burn": {"rate": 0}}}, r"objective.fast_burn.rate must be from 1"),
        ({"objective": {"target": 99, "fast_burn": {"window": "60d"}}}, r"objective.fast_burn.window is longer"),
        ({"objective": {"target": 99, "fast_burn": {"short_window": "2h"}}}, r"fast_burn.short_window is longer"),
        ({"unit": "s", "objective": {"target": 99, "attained_by": "value"}}, r"objective.attained_by value needs"),
        ({"warning": None, "critical": None, "objective": None}, r"product_kpis\[1\].warning is missing"),
        ({"warning": None, "critical": None}, r"product_kpis\[1\].objective.good is missing"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidValue, match=place) as refused:
        read_kpis([{**UPTIME, "name": "other"}, {**UPTIME, **changes}], "product_kpis")
    assert refused.value.details["variable"].startswith("product_kpis[1].")


@pytest.mark.parametrize("raw", [None, "x", {"name": "x"}])
def test_a_list_is_needed(raw: Any) -> None:
    with pytest.raises(InvalidValue, match="product_kpis must be a list"):
        read_kpis(raw, "product_kpis")


def test_an_entry_is_a_mapping() -> None:
    with pytest.raises(InvalidValue, match=r"kpis\[0\] must be a mapping"):
        read_kpis(["availability"])
