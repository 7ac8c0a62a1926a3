"""Critical values against closed forms, exact enumeration and Monte Carlo bands."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from gbveval.numerics.uniform_band import multiplier_critical, sup_t_critical


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("terms", [2, 5, 40])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_independent_terms_have_the_sidak_value(terms: int, level: float) -> None:
    """P(max |Z| <= c) = (2 Phi(c) - 1)^terms; four Monte Carlo errors leave one false alarm in 16,000."""
    got = sup_t_critical(np.diag(np.arange(1.0, terms + 1) ** 2), rng=rng(), level=level)
    want = norm.ppf((1 + level ** (1 / terms)) / 2)
    assert abs(got.value - want) < 4 * got.mc_error
    assert 0 < got.mc_error < 0.03
    np.testing.assert_allclose(got.scale, np.arange(1.0, terms + 1))


def test_monte_carlo_error_is_honest() -> None:
    values = [sup_t_critical(np.eye(4), rng=rng(s), n_draws=2000) for s in range(200)]
    spread = np.std([v.value for v in values])
    # The sd of 200 values has a relative error of 5 %, the average reported error about 3 %.
    assert np.mean([v.mc_error for v in values]) == pytest.approx(spread, rel=0.25)


def test_perfectly_correlated_terms_are_one_term() -> None:
    got = sup_t_critical(np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), rng=rng())
    assert abs(got.value - norm.ppf(0.975)) < 4 * got.mc_error
    assert got.n_terms == 3


def test_singular_covariance_and_terms_without_variance() -> None:
    scores = rng(3).normal(size=(4, 9))
    covariance = np.zeros((11, 11))
    covariance[:9, :9] = scores.T @ scores
    covariance[10, 10] = np.nan
    got = sup_t_critical(covariance, rng=rng())
    assert got.n_terms == 9
    assert np.isnan(got.scale).tolist() == [False] * 9 + [True, True]
    draws = rng(5).normal(size=(100_000, 4)) @ scores / np.sqrt(np.diag(scores.T @ scores))
    want = np.quantile(np.abs(draws).max(axis=1), 0.95)
    assert abs(got.value - want) < 4 * 1.2 * got.mc_error


def test_nothing_to_cover() -> None:
    assert np.isnan(sup_t_critical(np.zeros((2, 2)), rng=rng()).value)
    assert np.isnan(multiplier_critical(np.zeros((9, 2)), rng=rng()).value)


def test_never_below_the_pointwise_quantile() -> None:
    values = [sup_t_critical([[1.0]], rng=rng(s), n_draws=200).value for s in range(20)]
    assert min(values) == norm.ppf(0.975)
    assert multiplier_critical(np.ones((1, 2)), rng=rng(), scale="std_error").value == norm.ppf(0.975)


@pytest.mark.parametrize("scale", ["std_error", "interquartile"])
def test_few_clusters_are_enumerated_exactly(scale: str) -> None:
    scores = rng(7).normal(size=(7, 3))
    signs = np.array(list(product([-1.0, 1.0], repeat=7)))
    draws = signs @ scores / np.sqrt(np.sum(scores**2, axis=0))
    unit = np.ones(3)
    if scale == "interquartile":
        quartile = np.quantile(draws, [0.25, 0.75], axis=0, method="inverted_cdf")
        unit = (quartile[1] - quartile[0]) / (norm.ppf(0.75) - norm.ppf(0.25))
    want = np.quantile(np.abs(draws / unit).max(axis=1), 0.95, method="inverted_cdf")
    got = multiplier_critical(scores, rng=rng(), scale=scale)  # type: ignore[arg-type]
    assert got.value == pytest.approx(max(want, norm.ppf(0.975)), rel=1e-12)
    np.testing.assert_allclose(got.scale, unit * np.sqrt(np.sum(scores**2, axis=0)))
    assert (got.n_draws, got.mc_error) == (64, 0.0)


@pytest.mark.parametrize("multiplier", ["rademacher", "mammen"])
def test_many_clusters_agree_with_the_normal_limit(multiplier: str) -> None:
    """With 400 clusters of normal scores the excess kurtosis of a draw is of order 1/400."""
    scores = rng(8).normal(size=(400, 6))
    scores[:, 5] = scores[:, 0]
    scores = np.c_[scores, np.full(400, np.nan), np.zeros(400)]
    got = multiplier_critical(scores, rng=rng(), multiplier=multiplier)  # type: ignore[arg-type]
    want = sup_t_critical(scores[:, :6].T @ scores[:, :6], rng=rng(2))
    assert abs(got.value - want.value) < 4 * np.hypot(got.mc_error, want.mc_error) + 0.01
    assert got.n_terms == 6


def test_mammen_draws_have_their_exact_distribution() -> None:
    """Five clusters: the 32 combinations of the two points have known probabilities, so the quantile is known."""
    scores = rng(9).normal(size=(5, 2))
    root = 5**0.5
    points = np.array(list(product([(1 - root) / 2, (1 + root) / 2], repeat=5)))
    chance = np.prod(np.where(points < 0, (root + 1) / (2 * root), (root - 1) / (2 * root)), axis=1)
    largest = np.abs(points @ scores / np.sqrt(np.sum(scores**2, axis=0))).max(axis=1)
    order = np.argsort(largest)
    cumulative = np.cumsum(chance[order])
    for level in (0.9, 0.935, 0.98):
        # The distribution is discrete: away from its steps the simulated quantile is one of the 32 values exactly.
        assert np.abs(cumulative - level).min() > 4 * np.sqrt(level * (1 - level) / 50_000)
        got = multiplier_critical(scores, rng=rng(), multiplier="mammen", level=level, n_draws=50_000)
        want = largest[order][np.searchsorted(cumulative, level)]
        assert got.value == pytest.approx(max(want, norm.ppf(0.5 + level / 2)))


def test_repeats_and_refuses() -> None:
    assert sup_t_critical(np.eye(3), rng=rng(4)).value == sup_t_critical(np.eye(3), rng=rng(4)).value
    with pytest.raises(ValueError, match="square"):
        sup_t_critical(np.ones((2, 3)), rng=rng())
    with pytest.raises(ValueError, match="n_draws"):
        sup_t_critical(np.eye(2), rng=rng(), n_draws=10)
    with pytest.raises(ValueError, match="level"):
        sup_t_critical(np.eye(2), rng=rng(), level=95)
    with pytest.raises(ValueError, match="multiplier"):
        multiplier_critical(np.ones((3, 1)), rng=rng(), multiplier="normal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale"):
        multiplier_critical(np.ones((3, 1)), rng=rng(), scale="mad")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clusters by terms"):
        multiplier_critical(np.ones(3), rng=rng())
