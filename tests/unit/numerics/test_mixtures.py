"""Mixtures and grid densities against closed forms and scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gbveval.numerics.hierarchy_quadrature import adaptive_panels
from gbveval.numerics.mixtures import GridDensity, NormalMixtures

PROBABILITIES = np.array([1e-9, 1e-3, 0.01, 0.3, 0.5, 0.7, 0.99, 1.0 - 1e-6])


def random_mixture(seed, *, nodes=40, terms=5, decades=1.0):
    rng = np.random.default_rng(seed)
    sds = 10.0 ** rng.uniform(-decades, decades, (nodes, terms))
    return NormalMixtures(weights=rng.dirichlet(np.ones(nodes)), means=rng.normal(0, 3, (nodes, terms)), sds=sds)


def brute_cdf(mixture, x, term):
    return float(mixture.weights @ stats.norm.cdf(x, mixture.means[:, term], mixture.sds[:, term]))


@pytest.mark.parametrize("decades", [0.3, 2.0, 6.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_quantiles_invert_the_cdf(seed, decades):
    mixture = random_mixture(seed, decades=decades)
    quantiles = mixture.quantile(PROBABILITIES)
    for row, p in enumerate(PROBABILITIES):
        for term in range(len(mixture)):
            # A cdf summed over 40 nodes is rounded at some 1e-15.
            assert brute_cdf(mixture, quantiles[row, term], term) == pytest.approx(p, rel=1e-8, abs=2e-15)


def test_one_component_is_the_normal_itself():
    mixture = NormalMixtures(weights=np.ones(1), means=np.array([[3.0]]), sds=np.array([[2.0]]))
    np.testing.assert_allclose(
        mixture.quantile(PROBABILITIES)[:, 0], stats.norm.ppf(PROBABILITIES, 3.0, 2.0), rtol=1e-10
    )
    assert mixture.sf(63.0)[0] == pytest.approx(stats.norm.sf(30.0), rel=1e-12)


def test_shape_follows_the_probability():
    mixture = random_mixture(4)
    assert mixture.quantile(0.5).shape == (5,)
    assert mixture.quantile([0.5]).shape == (1, 5)
    assert mixture.cdf(0.0).shape == (5,)
    assert mixture.cdf(np.zeros((7, 1))).shape == (7, 5)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, np.nan])
def test_probabilities_outside_are_refused(p):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        random_mixture(5).quantile(p)


def test_point_masses():
    mixture = NormalMixtures(
        weights=np.array([0.25, 0.75]), means=np.array([[1.0, 5.0], [2.0, 5.0]]), sds=np.zeros((2, 2))
    )
    np.testing.assert_allclose(mixture.quantile([0.1, 0.2, 0.3, 0.9])[:, 0], [1.0, 1.0, 2.0, 2.0], atol=1e-9)
    np.testing.assert_allclose(mixture.quantile([0.1, 0.9])[:, 1], 5.0, atol=1e-9)
    np.testing.assert_array_equal(mixture.cdf([1.0, 4.999]), [0.25, 0.0])
    np.testing.assert_array_equal(mixture.sf([1.0, 5.0]), [0.75, 0.0])


def test_a_point_mass_beside_a_normal():
    mixture = NormalMixtures(weights=np.array([0.5, 0.5]), means=np.zeros((2, 1)), sds=np.array([[0.0], [1.0]]))
    found = mixture.quantile([0.1, 0.4, 0.6, 0.9])[:, 0]
    low = stats.norm.ppf(0.2)
    np.testing.assert_allclose(found, [low, 0.0, 0.0, -low], atol=1e-9)


def test_moments_follow_the_laws_of_total_expectation_and_covariance():
    mixture = NormalMixtures(
        weights=np.array([0.3, 0.7]),
        means=np.array([[0.0, 1.0], [2.0, -1.0]]),
        sds=np.array([[1.0, 2.0], [0.5, 1.0]]),
        loadings=np.array([[1.0, 0.5], [0.2, 0.9]]),
    )
    np.testing.assert_allclose(mixture.mean, [1.4, -0.4])
    variance = 0.3 * 1.0 + 0.7 * 0.25 + 0.21 * 4.0
    assert mixture.sd[0] == pytest.approx(np.sqrt(variance))
    expected = 0.3 * 0.5 + 0.7 * 0.18 - 0.21 * 4.0
    assert mixture.covariance[0, 1] == pytest.approx(expected)
    # 200,000 draws: the sd of a sample covariance of variables of sd about 1.5 is 0.005; five of them.
    draws = mixture.sample(200_000, np.random.default_rng(6))
    np.testing.assert_allclose(np.cov(draws.T), mixture.covariance, atol=0.03)
    np.testing.assert_allclose(draws.mean(axis=0), mixture.mean, atol=0.02)


def test_missing_moments_are_said_to_be_missing():
    base = random_mixture(7, terms=3)
    mixture = NormalMixtures(weights=base.weights, means=base.means, sds=base.sds, finite_moments=np.array([2, 1, 0]))
    assert np.isfinite(mixture.mean).tolist() == [True, True, False]
    assert np.isfinite(mixture.sd).tolist() == [True, False, False]
    assert np.isfinite(mixture.select([0]).sd).all()
    assert np.isnan(mixture.covariance[0, 1])
    assert np.isinf(mixture.covariance[1, 1])


@pytest.mark.parametrize("shape", [0.4, 1.0, 7.0])
def test_grid_density_on_a_log_axis_is_a_gamma(shape):
    witness = stats.gamma(shape, scale=2.0)
    panels = adaptive_panels(
        lambda t: witness.logpdf(np.exp(t)) + t, np.concatenate([[-90.0, -40.0, -15.0], np.arange(-5.0, 6.0)])
    )
    density = GridDensity.from_panels(panels, log_axis=True)
    p = np.array([1e-4, 0.01, 0.3, 0.5, 0.9, 0.9999])
    np.testing.assert_allclose(density.quantile(p), witness.ppf(p), rtol=1e-7)
    np.testing.assert_allclose(density.cdf(witness.ppf(p)), p, atol=1e-10)
    np.testing.assert_allclose(density.density([0.5, 3.0]), witness.pdf([0.5, 3.0]), rtol=1e-7)
    assert density.mean == pytest.approx(witness.mean(), rel=1e-10)
    assert density.sd == pytest.approx(witness.std(), rel=1e-10)
    np.testing.assert_array_equal(density.cdf([0.0, 1e9]), [0.0, 1.0])
    assert float(density.quantile(0.5)) == pytest.approx(witness.median(), rel=1e-9)


def test_panels_find_a_spike_and_refuse_a_zero():
    spike = stats.norm(0.123456, 1e-4)
    density = GridDensity.from_panels(adaptive_panels(spike.logpdf, np.linspace(-3.0, 3.0, 60)), log_axis=False)
    assert density.mean == pytest.approx(0.123456, abs=1e-9)
    assert density.sd == pytest.approx(1e-4, rel=1e-6)
    with pytest.raises(ValueError, match="zero or undefined"):
        adaptive_panels(lambda t: np.full_like(t, -np.inf), np.array([0.0, 1.0]))
