# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Student's t and Fisher's F, from the regularised incomplete beta function; to be had without numpy and scipy.

Sources: NIST Digital Library of Mathematical Functions, 8.17 (https://dlmf.nist.gov/8.17): the continued fraction
8.17.22 and the symmetry 8.17.4, evaluated by Lentz's method (Numerical Recipes, 3rd edition, 5.2 and 6.4);
Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.1 for t and 26.6.2 for F.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_PRECISION = 1e-15
_ITERATIONS = 10000


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) for 0 <= x <= 1 and positive a and b.

    Raises:
        ValueError: the arguments are outside of its domain.

    >>> round(incomplete_beta(0.5, 2, 3), 12)
    0.6875
    """
    if not (0 <= x <= 1 and a > 0 and b > 0):
        raise ValueError(f"I_{x}({a}, {b}) is not defined")
    if x in (0, 1):
        return float(x)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)) with the coefficients of DLMF 8.17.23."""
    value, c, d = 1.0, 1.0, 0.0
    for n in range(1, _ITERATIONS):
        m = n // 2
        if n % 2:
            coefficient = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            coefficient = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + coefficient * d) or _TINY)
        c = (1 + coefficient / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def t_probability(t: float, freedom: float) -> float:
    """Return the probability that Student's t with ``freedom`` degrees of freedom is at most ``t``."""
    tail = incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


def f_tail(f: float, above: float, below: float) -> float:
    """Return the probability that F with ``above`` and ``below`` degrees of freedom is more than ``f``."""
    return incomplete_beta(below / (below + above * f), below / 2, above / 2) if f > 0 else 1.0


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: float) -> float:
    """Return the t that Student's t with ``freedom`` degrees of freedom does not exceed with a probability.

    Raises:
        ValueError: the probability is not between 0 and 1, or there is no degree of freedom.

    >>> round(t_quantile(0.975, 10), 3)
    2.228
    """
    if not 0 < probability < 1 or freedom <= 0:
        raise ValueError(f"no quantile {probability} of t with {freedom} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        low, high = high, high * 2
    for _halving in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if t_probability(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return high
