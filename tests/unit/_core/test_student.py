from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.module_utils._core.student import f_tail, incomplete_beta, t_probability, t_quantile

# Quantiles as printed in tables of Student's t (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2).
TABLE = {
    # degrees of freedom: 0.90, 0.95, 0.975, 0.99, 0.995, 0.999
    1: (3.078, 6.314, 12.706, 31.821, 63.657, 318.309),
    2: (1.886, 2.920, 4.303, 6.965, 9.925, 22.327),
    3: (1.638, 2.353, 3.182, 4.541, 5.841, 10.215),
    5: (1.476, 2.015, 2.571, 3.365, 4.032, 5.893),
    10: (1.372, 1.812, 2.228, 2.764, 3.169, 4.144),
    20: (1.325, 1.725, 2.086, 2.528, 2.845, 3.552),
    30: (1.310, 1.697, 2.042, 2.457, 2.750, 3.385),
    60: (1.296, 1.671, 2.000, 2.390, 2.660, 3.232),
    100: (1.290, 1.660, 1.984, 2.364, 2.626, 3.174),
}
PROBABILITIES = (0.90, 0.95, 0.975, 0.99, 0.995, 0.999)


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_printed_table(freedom: int) -> None:
    found = [t_quantile(probability, freedom) for probability in PROBABILITIES]
    assert found == pytest.approx(TABLE[freedom], abs=6e-4)


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_one_and_two_degrees_of_freedom_have_closed_forms(probability: float) -> None:
    assert t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-9)
    two = (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    assert t_quantile(probability, 2) == pytest.approx(two, rel=1e-9)


def test_many_degrees_of_freedom_come_near_the_normal_distribution() -> None:
    assert t_quantile(0.975, 1e6) == pytest.approx(1.959964, abs=1e-5)


@pytest.mark.parametrize(
    # From printed tables of F at 5 % and 1 %.
    ("f", "above", "below", "tail"),
    [(4.96, 1, 10, 0.05), (2.42, 6, 30, 0.05), (3.47, 6, 30, 0.01), (4.10, 2, 10, 0.05), (5.39, 2, 30, 0.01)],
)
def test_f_is_that_of_the_printed_table(f: float, above: int, below: int, tail: float) -> None:
    assert f_tail(f, above, below) == pytest.approx(tail, abs=2e-4)


def test_f_with_one_degree_above_is_t_squared() -> None:
    assert f_tail(t_quantile(0.975, 17) ** 2, 1, 17) == pytest.approx(0.05, abs=1e-12)


@given(st.floats(0, 1), st.floats(0.5, 200), st.floats(0.5, 200))
def test_the_beta_function_is_a_probability_with_its_symmetry(x: float, a: float, b: float) -> None:
    value = incomplete_beta(x, a, b)
    assert -1e-12 <= value <= 1 + 1e-12
    assert value + incomplete_beta(1 - x, b, a) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("x", "a", "b"), [(0.25, 1, 1), (0.25, 1, 3), (0.4, 5, 1)])
def test_the_beta_function_has_closed_forms_for_ones(x: float, a: float, b: float) -> None:
    expected = 1 - (1 - x) ** b if a == 1 else x**a
    assert incomplete_beta(x, a, b) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.integers(1, 500))
def test_a_quantile_is_the_inverse(probability: float, freedom: int) -> None:
    assert t_probability(t_quantile(probability, freedom), freedom) == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0, 5), (1, 5), (0.5, 0)])
def test_what_is_not_defined_is_refused(probability: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(probability, freedom)
