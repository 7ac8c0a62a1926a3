"""Normal boxes, folded and truncated tails, and what a test of pre-trends does, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import chi2, foldnorm, ncx2, norm, truncnorm

from gbveval.numerics.gaussian_box import PRIMES, box_mean, box_probability
from gbveval.numerics.inference import (
    chi2_quantile,
    folded_normal_lower,
    folded_normal_quantile,
    truncated_normal_upper,
)
from gbveval.numerics.pretrend_test import PretrendTest

FloatArray = NDArray[np.float64]


@pytest.mark.parametrize("k", [1, 2, 3, 6, 9])
def test_equal_correlations_of_a_half_put_one_in_k_plus_one_above_zero(k: int) -> None:
    sigma = 0.5 * (np.eye(k) + 1.0)
    found = box_probability(np.zeros(k), sigma, np.zeros(k), np.full(k, np.inf))
    # 16,384 points of a lattice leave an error of a few 1e-5 in nine dimensions; powers are read to two digits.
    assert found == pytest.approx(1.0 / (k + 1.0), abs=1e-4)


def test_independent_variables_multiply() -> None:
    mean, sd = np.array([0.3, -1.0, 2.0, 0.0]), np.array([1.0, 2.0, 0.5, 3.0])
    low, high = mean - np.array([1.0, 3.0, 0.2, 9.0]), mean + np.array([0.5, 1.0, 2.0, 0.1])
    expected = np.prod(norm.cdf(high, mean, sd) - norm.cdf(low, mean, sd))
    assert box_probability(mean, np.diag(sd**2), low, high) == pytest.approx(expected, rel=1e-12)


def test_two_correlated_variables_agree_with_quadrature() -> None:
    rho, a, b = 0.7, 0.8, 1.3
    sigma = np.array([[1.0, rho], [rho, 1.0]])
    root = np.sqrt(1 - rho**2)

    def inner(x: float) -> float:
        return float(norm.pdf(x) * (norm.cdf((b - rho * x) / root) - norm.cdf((-b - rho * x) / root)))

    expected = quad(inner, -a, a, epsabs=1e-12)[0]
    edge = np.array([a, b])
    assert box_probability(np.zeros(2), sigma, -edge, edge) == pytest.approx(
        expected, abs=5e-6
    )  # the lattice in one dimension


def test_more_dimensions_than_generators_are_refused() -> None:
    k = len(PRIMES) + 3
    with pytest.raises(ValueError, match="dimensions"):
        box_probability(np.zeros(k), np.eye(k), np.full(k, -1.0), np.ones(k))


def test_means_inside_a_box() -> None:
    one = box_mean(np.array([0.4]), np.array([[4.0]]), np.array([-1.0]), np.array([2.0]))
    expected = truncnorm.mean((-1 - 0.4) / 2, (2 - 0.4) / 2, loc=0.4, scale=2.0)
    assert 0.4 + 4.0 * one[0] == pytest.approx(expected, rel=1e-10)
    sigma = np.array([[1.0, 0.6, 0.2], [0.6, 2.0, 0.5], [0.2, 0.5, 1.5]])
    mean, edge = np.array([0.5, -0.2, 1.0]), np.array([1.0, 1.5, 2.0])
    found = mean + sigma @ box_mean(mean, sigma, -edge, edge)
    draws = np.random.default_rng(1).multivariate_normal(mean, sigma, size=400_000)
    kept = draws[np.all(np.abs(draws) <= edge, axis=1)]
    error = kept.std(axis=0) / np.sqrt(len(kept))
    assert np.all(np.abs(found - kept.mean(axis=0)) < 4.5 * error)


def test_tails_of_truncated_normal_variables() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        low, middle, high = np.sort(rng.normal(scale=3.0, size=3))
        expected = truncnorm.sf(middle, low, high)
        assert float(truncated_normal_upper(middle, low, high)) == pytest.approx(expected, rel=1e-8, abs=1e-12)
    # Far out, the tail over an interval (a, infinity) falls like exp(-a (x - a)).
    assert float(truncated_normal_upper(60.01, 60.0, np.inf)) == pytest.approx(np.exp(-0.6), rel=2e-3)
    mirrored = float(truncated_normal_upper(-60.01, -np.inf, -60.0))
    assert mirrored == pytest.approx(1.0 - np.exp(-0.6), rel=2e-3)
    np.testing.assert_array_equal(truncated_normal_upper([1.0, 3.0], 1.0, 3.0), [1.0, 0.0])


@pytest.mark.parametrize("mean", [0.0, 0.3, -2.0, 8.0])
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
def test_folded_normal_quantiles(mean: float, probability: float) -> None:
    found = folded_normal_quantile(probability, mean)
    assert found == pytest.approx(foldnorm.ppf(probability, abs(mean)), rel=1e-8)
    assert folded_normal_lower(found, mean) == pytest.approx(probability, abs=1e-10)


def test_chi_square_quantiles() -> None:
    assert chi2_quantile(0.9, 5.0) == pytest.approx(chi2.ppf(0.9, 5))


def sigma_of(k: int) -> FloatArray:
    return 0.01 * (np.eye(k) + 0.8 * np.exp(-0.5 * np.abs(np.subtract.outer(np.arange(k), np.arange(k)))))


@pytest.mark.parametrize("joint", [False, True])
def test_power_and_bias_after_passing_agree_with_simulation(joint: bool) -> None:
    sigma, delta = sigma_of(5), np.array([-0.25, -0.12, -0.05])
    test = PretrendTest(sigma, 3, joint, 0.05)
    n = 400_000
    trend = np.append(delta, [0.05, 0.1])
    draws = np.random.default_rng(5).multivariate_normal(trend, sigma, size=n)
    before = draws[:, :3]
    if joint:
        kept = np.einsum("ij,jk,ik->i", before, np.linalg.inv(sigma[:3, :3]), before) <= chi2.ppf(0.95, 3)
    else:
        kept = np.all(np.abs(before) <= norm.isf(0.025) * np.sqrt(np.diag(sigma)[:3]), axis=1)
    share = float(kept.mean())
    assert abs(test.passes(delta) - share) < 4.5 * np.sqrt(share * (1 - share) / n)
    found = trend + test.mean_if_passed(delta)
    passed = draws[kept]
    error = passed.std(axis=0) / np.sqrt(len(passed))
    assert np.all(np.abs(found - passed.mean(axis=0)) < 4.5 * error)


def test_the_slope_found_has_the_power_asked_for() -> None:
    sigma, direction = sigma_of(5), np.array([-3.0, -2.0, -1.0])
    for joint in (False, True):
        test = PretrendTest(sigma, 3, joint, 0.05)
        slope = test.slope_for(0.8, direction)
        assert 1.0 - test.passes(slope * direction) == pytest.approx(0.8, abs=1e-8)
        assert test.slope_for(0.01, direction) == 0.0  # less than the test's size
    distance = (slope * direction) @ np.linalg.solve(sigma[:3, :3], slope * direction)
    assert ncx2.sf(chi2.ppf(0.95, 3), 3, distance) == pytest.approx(0.8, abs=1e-8)
    # One period: power of a two-sided z test in closed form.
    single = PretrendTest(np.diag([0.04, 1.0]), 1, False, 0.05)
    expected = norm.sf(norm.isf(0.025) - 2.0) + norm.cdf(-norm.isf(0.025) - 2.0)
    assert 1.0 - single.passes(np.array([0.4])) == pytest.approx(expected, rel=1e-10)
