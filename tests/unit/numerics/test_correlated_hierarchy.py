"""The hierarchy over correlated estimates: the diagonal case, brute-force integration, and draws from the model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from gbveval.core.replicate import binomial_band
from gbveval.numerics.correlated_hierarchy import correlated_hierarchy
from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.priors import Flat, HalfCauchy, HalfNormal, Normal, Uniform

SCHOOLS = (
    np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
)


def random_covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size + 3))
    return root @ root.T / (size + 3)


@pytest.mark.parametrize("mu_prior", [Normal(0.0, 5.0), Flat()], ids=["normal", "flat"])
@pytest.mark.parametrize("tau_prior", [HalfCauchy(5.0), HalfNormal(3.0), Uniform(20.0)], ids=lambda p: p.describe())
def test_a_diagonal_covariance_is_the_hierarchy_of_sites(mu_prior, tau_prior):
    y, se = SCHOOLS
    wanted = normal_hierarchy(y, se, mu_prior=mu_prior, tau_prior=tau_prior)
    found = correlated_hierarchy(y, np.diag(se**2), mu_prior=mu_prior, tau_prior=tau_prior)
    # Two quadratures, each exact to about 1e-10 of the spread.
    np.testing.assert_allclose(found.effects.mean, wanted.effects.mean, rtol=1e-8)
    np.testing.assert_allclose(found.effects.sd, wanted.effects.sd, rtol=1e-8)
    np.testing.assert_allclose(found.effects.covariance, wanted.effects.covariance, rtol=1e-8)
    p = [0.001, 0.025, 0.5, 0.975]
    np.testing.assert_allclose(found.effects.quantile(p), wanted.effects.quantile(p), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.pooling_mean, wanted.pooling_site_mean, rtol=1e-8)
    np.testing.assert_allclose(found.tau.quantile(p), wanted.tau.quantile(p), rtol=1e-8)


def brute_force(d, V, scale):
    """Posterior moments of the effects by integrals over mu and tau of the textbook densities, by Simpson's rule."""
    k, identity = d.size, np.eye(d.size)
    taus, mus = np.linspace(0.0, 8.0, 1601), np.linspace(-8.0, 9.0, 341)
    gap = d - mus[:, None]
    rows = []
    for tau in taus:
        inverse = np.linalg.inv(V + tau**2 * identity)
        weight = np.exp(-0.5 * np.einsum("mi,ij,mj->m", gap, inverse, gap)) * np.sqrt(np.linalg.det(inverse))
        weight = weight * stats.norm.pdf(mus, 0.3, 1.2) * stats.halfnorm.pdf(tau, scale=scale)
        mean = mus[:, None] + tau**2 * gap @ inverse
        second = tau**2 * identity - tau**4 * inverse + mean[:, :, None] * mean[:, None, :]
        parts = np.column_stack([np.ones(mus.size), mean, second.reshape(mus.size, -1), np.full(mus.size, tau)])
        rows.append(integrate.simpson(parts * weight[:, None], x=mus, axis=0))
    whole = integrate.simpson(np.array(rows), x=taus, axis=0)
    whole = whole / whole[0]
    mean = whole[1 : 1 + k]
    covariance = whole[1 + k : 1 + k + k * k].reshape(k, k) - np.outer(mean, mean)
    return mean, covariance, whole[-1]


@pytest.mark.parametrize("size", [2, 3])
def test_moments_are_those_of_integrals_in_two_dimensions(size):
    rng = np.random.default_rng(size)
    d, V = np.array([0.9, -0.4, 0.2])[:size], random_covariance(rng, size)
    mean, covariance, tau = brute_force(d, V, 0.8)
    found = correlated_hierarchy(d, V, mu_prior=Normal(0.3, 1.2), tau_prior=HalfNormal(0.8))
    # Simpson's rule with steps of a hundredth of the scales of smooth integrands that have faded at the ends.
    np.testing.assert_allclose(found.theta.mean, mean, atol=1e-7)
    np.testing.assert_allclose(found.theta.covariance, covariance, atol=1e-7)
    assert found.tau.mean == pytest.approx(tau, rel=1e-6)


def test_correlation_matters():
    d, se = np.array([0.0, 1.0, 3.0]), np.ones(3)
    V = np.full((3, 3), 0.9) + 0.1 * np.eye(3)
    priors = {"mu_prior": Flat(), "tau_prior": HalfNormal(1.0)}
    shared = correlated_hierarchy(d, V, **priors)
    alone = normal_hierarchy(d, se, **priors)
    # What clusters share cancels in differences, which are then known well and hardly shrunken.
    assert np.ptp(shared.theta.mean) > 1.5 * np.ptp(alone.theta.mean)


def test_draws_have_the_moments_of_the_mixture():
    rng = np.random.default_rng(3)
    d, V = rng.normal(size=4), random_covariance(rng, 4)
    found = correlated_hierarchy(d, V, mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(0.5))
    draws = found.effects.sample(200_000, rng)
    # Five standard errors of a mean, and of a covariance of near-normal draws.
    np.testing.assert_allclose(
        draws.mean(axis=0), found.effects.mean, atol=5 * found.effects.sd.max() / np.sqrt(200_000)
    )
    np.testing.assert_allclose(np.cov(draws.T), found.effects.covariance, atol=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(2, 6), shift=st.floats(-50, 50), factor=st.floats(0.01, 100))
def test_shift_scale_and_order(seed, size, shift, factor):
    rng = np.random.default_rng(seed)
    d, V = rng.normal(size=size), random_covariance(rng, size)
    first = correlated_hierarchy(d, V, mu_prior=Flat(), tau_prior=HalfNormal(0.7))
    moved = correlated_hierarchy(factor * d + shift, factor**2 * V, mu_prior=Flat(), tau_prior=HalfNormal(0.7 * factor))
    # Sums of squares about another origin; shifts of fifty standard deviations cost a few digits.
    scale = factor * first.theta.sd.max()
    np.testing.assert_allclose(moved.theta.mean, factor * first.theta.mean + shift, rtol=1e-8, atol=1e-7 * scale)
    np.testing.assert_allclose(moved.theta.sd, factor * first.theta.sd, rtol=1e-6)
    order = rng.permutation(size)
    turned = correlated_hierarchy(d[order], V[np.ix_(order, order)], mu_prior=Flat(), tau_prior=HalfNormal(0.7))
    np.testing.assert_allclose(turned.theta.mean, first.theta.mean[order], atol=1e-8)


def test_intervals_hold_truths_drawn_from_the_model():
    rng = np.random.default_rng(8)
    V = 0.04 * (0.5 * np.eye(4) + 0.5) * np.outer([1, 1, 2, 3], [1, 1, 2, 3])
    root = np.linalg.cholesky(V)
    inside, closer = [], []
    for _ in range(1500):
        tau = abs(0.3 * rng.normal())
        theta = 0.2 + 0.5 * rng.normal() + tau * rng.normal(size=4)
        d = theta + root @ rng.normal(size=4)
        found = correlated_hierarchy(d, V, mu_prior=Normal(0.2, 0.5), tau_prior=HalfNormal(0.3))
        low, high = found.theta.quantile([0.1, 0.9])
        inside.append((low <= theta) & (theta <= high))
        closer.append(np.sum((d - theta) ** 2) - np.sum((found.theta.mean - theta) ** 2))
    # Averaged over the prior a posterior interval holds exactly as often as it says.
    for share in np.mean(inside, axis=0):
        low, high = binomial_band(0.8, 1500, false_alarm=1e-5)
        assert low <= share <= high
    # The posterior mean has the smallest expected squared error of all estimators.
    assert np.mean(closer) > 5 * np.std(closer) / np.sqrt(1500)


@pytest.mark.parametrize(
    ("d", "V", "says"),
    [
        ([1.0, 2.0], np.ones((2, 2)), "not of full rank"),
        ([1.0, 2.0], np.eye(3), "square covariance"),
        ([1.0, np.nan], np.eye(2), "must be finite"),
    ],
)
def test_impossible_inputs_are_refused(d, V, says):
    with pytest.raises(ValueError, match=says):
        correlated_hierarchy(d, V, mu_prior=Flat(), tau_prior=HalfNormal(1.0))


def test_a_posterior_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="does not exist"):
        correlated_hierarchy([1.0, 2.0], np.eye(2), mu_prior=Flat(), tau_prior=Flat())
