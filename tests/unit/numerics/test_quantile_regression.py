"""Quantile regression against order statistics, enumeration of vertices, and statsmodels where it converges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from statsmodels.regression.quantile_regression import QuantReg

from gbveval.numerics.quantile_regression import (
    check_loss,
    group_quantiles,
    hall_sheather,
    quantile_coefficients,
    quantile_covariance,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.booleans())
@example(0, 0.19999803, False)
def test_two_arms_are_order_statistics(seed: int, quantile: float, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(100.0, 3.0, 40)
    y = np.round(y) if rounded else y
    arm = np.arange(40) % 2
    x = np.column_stack([np.ones(40), arm]).astype(float)
    beta = quantile_coefficients(x, y, quantile)
    assert beta is not None
    levels = group_quantiles(y, arm, quantile)
    assert check_loss(y - x @ beta, quantile) == pytest.approx(check_loss(y - levels[arm], quantile), rel=1e-10)


def test_the_upper_quantile_is_taken_where_minimisers_are_a_set() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0, 10.0, 20.0])
    arm = np.array([0, 0, 0, 0, 1, 1])
    beta = quantile_coefficients(np.column_stack([np.ones(6), arm]).astype(float), y, 0.5)
    np.testing.assert_allclose(beta, [3.0, 17.0])
    assert group_quantiles(y, arm, 0.5).tolist() == [3.0, 20.0]


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.83])
def test_no_vertex_is_better(quantile: float) -> None:
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(14), np.arange(14) % 2, rng.normal(size=14)])
    y = x @ [1.0, 0.5, 2.0] + rng.normal(size=14)
    beta = quantile_coefficients(x, y, quantile)
    assert beta is not None
    best = min(
        check_loss(y - x @ np.linalg.solve(x[list(rows)], y[list(rows)]), quantile)
        for rows in itertools.combinations(range(14), 3)
        if abs(np.linalg.det(x[list(rows)])) > 1e-9
    )
    assert check_loss(y - x @ beta, quantile) == pytest.approx(best, rel=1e-12)


def test_it_is_at_least_as_good_as_statsmodels() -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(300), np.arange(300) % 2, rng.normal(size=300)])
    y = x @ [1.0, 0.5, 2.0] + rng.standard_t(3, size=300)
    beta = quantile_coefficients(x, y, 0.4)
    assert beta is not None
    peer = np.asarray(QuantReg(y, x).fit(q=0.4).params)
    assert check_loss(y - x @ beta, 0.4) <= check_loss(y - x @ peer, 0.4) + 1e-9
    # statsmodels stops its reweighting before the solution; in this sample by less than a thousandth.
    np.testing.assert_allclose(beta, peer, atol=1e-3)


def test_the_bandwidth_is_that_of_the_formula() -> None:
    # n^(-1/3) z_.975^(2/3) (1.5 phi(0)^2)^(1/3) at the median, where 2 z^2 + 1 = 1.
    assert hall_sheather(0.5, 1000) == pytest.approx(
        0.1 * 1.959964 ** (2 / 3) * (1.5 / (2 * np.pi)) ** (1 / 3), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["iid", "kernel", "nid"])
def test_standard_errors_of_a_median_are_those_of_theory(kind: str) -> None:
    rng = np.random.default_rng(5)
    x = np.column_stack([np.ones(4000), np.arange(4000) % 2]).astype(float)
    y = rng.normal(size=4000)
    beta = quantile_coefficients(x, y, 0.5)
    assert beta is not None
    covariance = quantile_covariance(x, y, beta, 0.5, kind=kind)
    assert covariance is not None
    # t (1 - t) / f^2 over n, twice for two arms of half the size: f is estimated to about a tenth.
    expected = np.sqrt(0.25 / (1.0 / (2.0 * np.pi)) * 4.0 / 4000)
    assert np.sqrt(covariance[1, 1]) == pytest.approx(expected, rel=0.15)


def test_tied_outcomes_have_no_density() -> None:
    y = np.concatenate([np.zeros(60), np.arange(1.0, 41.0)])
    x = np.column_stack([np.ones(100), np.arange(100) % 2]).astype(float)
    beta = quantile_coefficients(x, y, 0.3)
    assert beta is not None
    assert quantile_covariance(x, y, beta, 0.3, kind="nid") is None
