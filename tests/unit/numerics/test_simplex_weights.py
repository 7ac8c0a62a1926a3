"""Weights on the simplex against every set of weights that could be positive, one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbveval.numerics.simplex_weights import simplex_weights

FloatArray = NDArray[np.float64]


def by_enumeration(a: FloatArray, b: FloatArray, penalty: float, intercept: bool) -> tuple[FloatArray, float]:
    """Return the best weights: the problem with the equality alone, on every set of columns, where none is negative."""
    n, k = a.shape
    best, least = np.zeros(k), np.inf
    for size in range(1, k + 1):
        for chosen in combinations(range(k), size):
            used = list(chosen)
            free = np.column_stack([a[:, used], np.ones(n)]) if intercept else a[:, used]
            ridge = np.diag([n * penalty**2] * size + [0.0] * int(intercept))
            total = np.append(np.ones(size), np.zeros(int(intercept)))
            m = total.size
            system = np.block([[free.T @ free + ridge, total[:, None]], [total[None, :], np.zeros((1, 1))]])
            solved = np.linalg.lstsq(system, np.append(free.T @ b, 1.0), rcond=None)[0]
            w = solved[:size]
            if w.min() < -1e-12:
                continue
            value = float(np.mean((free @ solved[:m] - b) ** 2) + penalty**2 * w @ w)
            if value < least:
                best, least = np.zeros(k), value
                best[used] = w
    return best, least


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(2, 8),
    k=st.integers(2, 5),
    penalty=st.sampled_from([0.01, 0.3, 2.0]),
    intercept=st.booleans(),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_weights_are_the_best_of_all(seed: int, n: int, k: int, penalty: float, intercept: bool, size: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = size * (5.0 + rng.normal(size=(n, k))), size * (5.0 + rng.normal(size=n))
    found = simplex_weights(a, b, penalty=size * penalty, intercept=intercept)
    # The witness solves normal equations in original units, so that it knows about half of the digits.
    best, least = by_enumeration(a / size, b / size, penalty, intercept)
    assert found.objective == pytest.approx(least * size**2, rel=1e-7, abs=1e-9 * size**2)
    np.testing.assert_allclose(found.weight, best, atol=1e-5)
    assert found.weight.min() >= 0
    assert found.weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert found.gap < 1e-9


def test_more_columns_than_rows_and_next_to_no_penalty() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(6, 40)), 0.1 * rng.normal(size=6)
    found = simplex_weights(a, b, penalty=1e-6, intercept=False)
    # The hull of forty points around the origin of six dimensions holds points near it: the fit is perfect but for the
    # penalty, whose part of the objective is at most that of one weight of one.
    assert 0 < found.objective <= 1e-12
    assert found.gap < 1e-6


def test_a_column_that_is_the_target_takes_all() -> None:
    a = np.array([[1.0, 4.0, 0.0], [2.0, 0.0, 5.0], [3.0, 1.0, 7.0]])
    found = simplex_weights(a, a[:, 0], penalty=0.0, intercept=False)
    np.testing.assert_allclose(found.weight, [1.0, 0.0, 0.0], atol=1e-12)


def test_equal_weights_where_nothing_or_everything_is_penalised() -> None:
    a = np.arange(6.0).reshape(3, 2)
    assert simplex_weights(a, a[:, 0], penalty=np.inf, intercept=True).weight.tolist() == [0.5, 0.5]
    same = np.ones((3, 2))
    assert simplex_weights(same, np.ones(3), penalty=0.0, intercept=True).weight.tolist() == [0.5, 0.5]
