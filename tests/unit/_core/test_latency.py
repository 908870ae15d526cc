from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.latency import Latency, in_words, latency_of, latency_samples


@pytest.mark.parametrize(
    ("seconds", "latency"),
    [
        ([], Latency(0)),
        ([0.2], Latency(1, 0.2, 0.2, 0.2)),
        ([0.3, 0.1, 0.2, 0.5, 0.4], Latency(5, 0.3, 0.48, 0.5)),  # as percentile_cont(0.95): 0.4 + 0.8 * 0.1
        ([float(number) for number in range(101)], Latency(101, 50, 95, 100)),
    ],
)
def test_percentiles(seconds: list[float], latency: Latency) -> None:
    assert latency_of(seconds) == latency


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_they_are_in_order_and_within_what_was_measured(seconds: list[float]) -> None:
    latency = latency_of(seconds)
    assert latency.p50 is not None and latency.p95 is not None and latency.max == max(seconds)
    assert min(seconds) - 1e-6 <= latency.p50 <= latency.p95 <= latency.max + 1e-6


def test_without_answers_there_are_no_samples_and_with_them_three() -> None:
    assert list(latency_samples("x", Latency(0), {})) == []
    names = [one.metric for one in latency_samples("x", latency_of([1.0]), {"endpoint": "e"})]
    assert names == ["x.latency.p50", "x.latency.p95", "x.latency.max"]
    assert in_words(latency_of([2.5]), "max", 2.5) == "max of 1 answer is 2.5 s"
