from __future__ import annotations

from plugins.module_utils._core.samples import AREAS, Sample, render_samples


def test_what_is_not_a_finite_number_was_not_read() -> None:
    read = [Sample("host.load", value, "count") for value in (1.5, float("nan"), float("inf"), float("-inf"))]
    assert render_samples(read) == [{"metric": "host.load", "value": 1.5, "unit": "count", "labels": {}}]


def test_areas_are_told_apart() -> None:
    assert len(set(AREAS)) == len(AREAS)
