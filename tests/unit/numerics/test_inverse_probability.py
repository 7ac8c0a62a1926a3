"""Horvitz-Thompson variances against the exact distribution over all assignments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from gbveval.numerics.inverse_probability import (
    Assigned,
    complete_assignment,
    constant_effect_variance,
    inverse_probability_difference,
    young_variance,
)

FloatArray = NDArray[np.float64]


def complete(n: int, m: int) -> list[NDArray[np.bool_]]:
    found = []
    for chosen in itertools.combinations(range(n), m):
        z = np.zeros(n, dtype=bool)
        z[list(chosen)] = True
        found.append(z)
    return found


def outcomes(effect: FloatArray, n: int, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    y0 = np.random.default_rng(seed).normal(3.0, 1.0, n)
    return y0, y0 + effect


@pytest.mark.parametrize(("n", "m"), [(7, 3), (6, 1), (6, 5)])
def test_unbiased_and_conservative_over_all_complete_assignments(n: int, m: int) -> None:
    y0, y1 = outcomes(np.random.default_rng(2).normal(1.0, 0.7, n), n)
    found = []
    for z in complete(n, m):
        total = np.where(z, y1, y0)
        at = complete_assignment(z, ~z, np.zeros(n, dtype=np.intp))
        found.append((inverse_probability_difference(total, at, n), young_variance(total, at, n)))
    value, variance = np.array(found).T
    assert value.mean() == pytest.approx((y1 - y0).mean(), rel=1e-12)
    assert variance.mean() >= value.var()


def test_the_bound_is_an_equality_without_any_effect() -> None:
    n = 6
    y = np.random.default_rng(3).normal(size=n)
    found = []
    for z in complete(n, 3):
        at = complete_assignment(z, ~z, np.zeros(n, dtype=np.intp))
        found.append((inverse_probability_difference(y, at, n), young_variance(y, at, n)))
    value, variance = np.array(found).T
    assert variance.mean() == pytest.approx(value.var(), rel=1e-10)


def test_independent_draws_over_all_assignments() -> None:
    n = 6
    p = np.array([0.3, 0.5, 0.5, 0.7, 0.4, 0.6])
    y0, y1 = outcomes(np.full(n, 1.0), n)
    moments = np.zeros(3)
    constant = 0.0
    for draw in itertools.product([False, True], repeat=n):
        z = np.array(draw)
        chance = np.prod(np.where(z, p, 1 - p))
        total = np.where(z, y1, y0)
        at = Assigned(z, ~z, p, 1 - p, None)
        value = inverse_probability_difference(total, at, n)
        moments += chance * np.array([value, value**2, young_variance(total, at, n)])
        constant += chance * constant_effect_variance(total, np.ones(n), at, n)
    true = moments[1] - moments[0] ** 2
    assert moments[0] == pytest.approx(1.0, rel=1e-12)
    assert moments[2] >= true
    assert constant >= 0


def test_the_constant_effect_variance_is_exact_where_the_estimated_effect_is_right() -> None:
    n, m = 7, 3
    y0, y1 = outcomes(np.zeros(n), n)
    values = []
    for z in complete(n, m):
        at = complete_assignment(z, ~z, np.zeros(n, dtype=np.intp))
        values.append(inverse_probability_difference(np.where(z, y1, y0), at, n))
    # With y_1 = y_0 = y known, a = y (1/p_1 + 1/p_0), and its variance under the design is that over all assignments.
    z = complete(n, m)[0]
    at = complete_assignment(z, ~z, np.zeros(n, dtype=np.intp))
    exact = np.var(values)
    a = y0 * (n / m + n / (n - m))
    formula = (m / n) * (1 - m / n) * n / (n - 1) * np.sum((a - a.mean()) ** 2) / n**2
    assert formula == pytest.approx(exact, rel=1e-12)
    flat = np.full(n, 2.0)
    assert constant_effect_variance(flat, np.ones(n), at, n) == pytest.approx(0.0, abs=1e-20)


def test_blocks_add_up() -> None:
    block = np.repeat([0, 1], [4, 5])
    z = np.array([1, 1, 0, 0, 1, 0, 0, 1, 0], dtype=bool)
    y = np.random.default_rng(4).normal(size=9)
    whole = young_variance(y, complete_assignment(z, ~z, block), 9)
    parts = 0.0
    for code, n in ((0, 4), (1, 5)):
        here = block == code
        at = complete_assignment(z[here], ~z[here], np.zeros(n, dtype=np.intp))
        parts += young_variance(y[here], at, n) * (n / 9) ** 2
    assert whole == pytest.approx(parts, rel=1e-12)
