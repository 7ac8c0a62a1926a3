"""The hierarchy of shares against importance sampling from its prior, its two limits, and nobody's group."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from gbveval.numerics.small_areas import fit_small_areas


def _centre(x):
    return norm.logpdf(x, 0.0, 1.5)


def _spread(x):
    return norm.logpdf(x, 0.0, 1.0)


def test_moments_are_those_of_draws_from_the_prior_weighted_by_the_likelihood() -> None:
    events, n = np.array([2.0, 6.5, 0.0, 3.0]), np.array([10.0, 12.0, 4.0, 3.0])
    rng = np.random.default_rng(12)
    size = 400_000
    mu, tau = rng.normal(0.0, 1.5, size), np.abs(rng.normal(size=size))
    theta = mu[:, None] + tau[:, None] * rng.normal(size=(size, 4))
    log_weight = (events * theta - n * np.logaddexp(0.0, theta)).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    effective = 1.0 / (weight**2).sum()
    found = fit_small_areas(events, n, centre=_centre, spread=_spread)
    draws, found_mu, found_tau = found.draw(20_000, np.random.default_rng(13))
    for ours, theirs in ((draws, theta), (found_mu[:, None], mu[:, None]), (found_tau[:, None], tau[:, None])):
        mean = weight @ theirs
        sd = np.sqrt(weight @ (theirs - mean) ** 2)
        # Five Monte Carlo errors of both samples.
        error = 5.0 * sd * np.sqrt(1.0 / effective + 1.0 / 20_000)
        assert np.all(np.abs(ours.mean(axis=0) - mean) < error)
        # The error of a standard deviation is about sd / sqrt(2 n) for a normal; tau's tails are heavier.
        assert np.all(np.abs(ours.std(axis=0) / sd - 1.0) < 8.0 * np.sqrt(0.5 / effective))


def test_without_spread_all_groups_are_one() -> None:
    events, n = np.array([20.0, 35.0, 0.0]), np.array([100.0, 100.0, 5.0])
    found = fit_small_areas(events, n, centre=lambda x: np.zeros_like(x), spread=lambda x: -0.5 * (x / 1e-3) ** 2)
    draws, mu, _ = found.draw(4000, np.random.default_rng(1))
    assert np.abs(draws - mu[:, None]).max() < 0.05
    # Beta(55, 150) is the posterior of one share under the prior 1 / (p (1 - p)), flat in the log odds.
    assert (1 / (1 + np.exp(-mu))).mean() == pytest.approx(55 / 205, abs=0.002)


def test_large_groups_keep_their_own_share() -> None:
    n = np.full(4, 1e5)
    share = np.array([0.1, 0.2, 0.3, 0.4])
    found = fit_small_areas(n * share, n, centre=_centre, spread=_spread)
    draws = 1 / (1 + np.exp(-found.draw(2000, np.random.default_rng(2))[0]))
    # Standard errors are at most 0.0016; shrinkage moves a share by less than a tenth of that.
    np.testing.assert_allclose(draws.mean(axis=0), share, atol=0.0005)
    np.testing.assert_allclose(draws.std(axis=0), np.sqrt(share * (1 - share) / n), rtol=0.08)


def test_nobodys_group_is_predicted_from_the_others() -> None:
    events, n = np.array([10.0, 14.0, 22.0, 0.0]), np.array([80.0, 70.0, 90.0, 0.0])
    found = fit_small_areas(events, n, centre=_centre, spread=_spread)
    draws, mu, tau = found.draw(20_000, np.random.default_rng(3))
    # Given mu and tau it is a normal draw: its mean is mu's, its variance tau^2 more.
    assert draws[:, 3].mean() == pytest.approx(mu.mean(), abs=5 * draws[:, 3].std() / np.sqrt(20_000))
    assert draws[:, 3].var() == pytest.approx(mu.var() + (tau**2).mean(), rel=0.1)
