"""Site likelihoods and the hierarchy over them against direct integration, limits and each other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit

from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.hierarchy_student import student_hierarchy
from gbveval.numerics.priors import Beta, Flat, HalfCauchy, HalfNormal, LogNormal, Normal
from gbveval.numerics.share_density import share_density
from gbveval.numerics.site_effects_given import read_off
from gbveval.numerics.table_hierarchy import table_hierarchy
from gbveval.numerics.table_likelihood import Reported, SiteLikelihoods, Tables, site_likelihoods

EVENTS = np.array([[4.0, 0.0], [9.0, 5.0], [0.0, 0.0], [12.0, 3.0]])
PEOPLE = np.array([[38.0, 40.0], [61.0, 60.0], [25.0, 30.0], [50.0, 50.0]])
TABLES = Tables(EVENTS, PEOPLE, False)
LEVEL = Normal(-2.0, 1.0)
EFFECTS = np.array([-6.0, -1.7, -0.3, 0.0, 0.9, 4.0])


def at(likelihoods: SiteLikelihoods, theta) -> np.ndarray:
    flat = likelihoods.log_values.reshape(-1, *likelihoods.log_values.shape[2:])
    return read_off(likelihoods.panels, flat, np.asarray(theta, float)).reshape(*likelihoods.log_values.shape[:2], -1)


def direct(density, low=-14.0, high=10.0):
    pieces = np.linspace(low, high, 13)
    return sum(integrate.quad(density, a, b, epsabs=0, epsrel=1e-11, limit=200)[0] for a, b in pairwise(pieces))


@pytest.mark.parametrize("seen", [(1.0, 1.0, 1.0, 1.0), (0.6, 0.8, 0.97, 0.99)])
def test_integrated_binomial(seen):
    s0, s1, f0, f1 = seen
    found = at(
        site_likelihoods(TABLES, LEVEL, Reported(np.array([[s0, s1]]), np.array([[f0, f1]]), np.ones(1))), EFFECTS
    )
    for site in range(4):
        for place, theta in enumerate(EFFECTS):

            def density(a, site=site, theta=theta):
                p, q = expit(a), expit(a + theta)
                p, q = s0 * p + (1 - f0) * (1 - p), s1 * q + (1 - f1) * (1 - q)
                (x, y), (n, m) = EVENTS[site], PEOPLE[site]
                return stats.binom.pmf(x, n, p) * stats.binom.pmf(y, m, q) * stats.norm.pdf(a, -2.0, 1.0)

            # Log series are good to 1e-6 where a likelihood is far below its best, to 1e-9 near it.
            assert found[0, site, place] == pytest.approx(np.log(direct(density)), abs=1e-6)


def test_integrated_poisson():
    exposure = np.array([[100.0, 250.0], [40.0, 40.0], [9.0, 1.0], [500.0, 20.0]])
    tables = Tables(EVENTS, exposure, True)
    found = at(site_likelihoods(tables, LEVEL, Reported(np.full((1, 2), 0.7), np.ones((1, 2)), np.ones(1))), EFFECTS)
    for site in range(4):
        for place, theta in enumerate(EFFECTS):

            def density(a, site=site, theta=theta):
                (x, y), (n, m) = EVENTS[site], exposure[site]
                rate = 0.7 * np.exp(a)
                both = stats.poisson.pmf(x, n * rate) * stats.poisson.pmf(y, m * rate * np.exp(theta))
                return both * stats.norm.pdf(a, -2.0, 1.0)

            assert found[0, site, place] == pytest.approx(np.log(direct(density)), abs=1e-6)


def test_conditional_is_the_noncentral_hypergeometric():
    found = at(site_likelihoods(TABLES, None, Reported.fully()), EFFECTS)
    for site in range(4):
        (x, y), (n, m) = EVENTS[site], PEOPLE[site]
        for place, theta in enumerate(EFFECTS):
            if x + y == 0:
                wanted = 0.0
            else:
                law = stats.nchypergeom_fisher(int(n + m), int(m), int(x + y), np.exp(theta))
                wanted = law.logpmf(int(y))
            # scipy's own constant is good to 1e-9 or so.
            assert found[0, site, place] == pytest.approx(wanted, abs=1e-6)
    rates = at(site_likelihoods(Tables(EVENTS, PEOPLE, True), None, Reported.fully()), EFFECTS)
    share = PEOPLE[0, 1] * np.exp(EFFECTS) / (PEOPLE[0, 1] * np.exp(EFFECTS) + PEOPLE[0, 0])
    np.testing.assert_allclose(rates[0, 0], stats.binom.logpmf(0, 4, share), atol=1e-6)


def test_a_flat_level_is_refused_where_its_integral_has_no_end():
    with pytest.raises(ValueError, match="have no event in either arm"):
        site_likelihoods(TABLES, Flat(), Reported.fully())
    everybody = Tables(PEOPLE[:1], PEOPLE[:1], False)
    with pytest.raises(ValueError, match="1 nothing else"):
        site_likelihoods(everybody, Flat(), Reported.fully())
    some = Tables(EVENTS[:2], PEOPLE[:2], False)
    half = Reported(np.full((1, 2), 0.5), np.ones((1, 2)), np.ones(1))
    with pytest.raises(ValueError, match="under-reporting a flat"):
        site_likelihoods(some, Flat(), half)
    with pytest.raises(ValueError, match="conditional likelihood needs every event"):
        site_likelihoods(some, None, half)
    flat, wide = (site_likelihoods(some, prior, Reported.fully()) for prior in (Flat(), Normal(0.0, 300.0)))
    gap = at(flat, EFFECTS) - at(wide, EFFECTS)
    # Only a constant apart: a normal of sd 300 varies by a thousandth over the levels in question.
    np.testing.assert_allclose(gap - gap.mean(axis=2, keepdims=True), 0.0, atol=2e-3)


HALF = HalfNormal(0.5)


def fit(tables=TABLES, control=LEVEL, tau=HALF, **options):
    return table_hierarchy(
        site_likelihoods(tables, control, Reported.fully()), mu_prior=Normal(0.0, 1.0), tau_prior=tau, **options
    )


def test_against_a_plain_grid():
    """A log-normal prior keeps the spread away from zero, so that plain grids converge."""
    likelihoods = site_likelihoods(TABLES, LEVEL, Reported.fully())
    theta = np.linspace(-30.0, 14.0, 8801)
    step = theta[1] - theta[0]
    ell = np.exp(at(likelihoods, theta)[0])
    tau, mu = np.exp(-0.7 + 0.3 * np.linspace(-5, 5, 61)), np.linspace(-7.0, 7.0, 281)
    weight = stats.norm.pdf(mu)[:, None] * stats.norm.pdf(np.linspace(-5, 5, 61)) * (mu[1] - mu[0]) / 6.0
    L, M = np.empty((4, len(mu), len(tau))), np.empty((4, len(mu), len(tau)))
    for k, spread in enumerate(tau):
        kernel = stats.norm.pdf(theta, mu[:, None], spread) * step
        L[:, :, k], M[:, :, k] = ell @ kernel.T, (ell * theta) @ kernel.T
    joint = weight * L.prod(axis=0)
    found = fit(tau=LogNormal(-0.7, 0.3))
    # Equal steps of a sixth of an sd, and five sds of the prior of the log spread: 6e-7 is cut off.
    assert found.log_marginal_likelihood == pytest.approx(np.log(joint.sum()), abs=5e-6)
    share = joint / joint.sum()
    assert found.margins[0].mean == pytest.approx((share * mu[:, None]).sum(), abs=5e-6)
    assert found.margins[-1].mean == pytest.approx((share * tau).sum(), abs=5e-6)
    for site in range(4):
        assert found.margins[1 + site].mean == pytest.approx((share * M[site] / L[site]).sum(), abs=2e-5)
        left = weight * np.delete(L, site, axis=0).prod(axis=0)
        wanted = np.log(joint.sum()) - np.log(left.sum())
        assert found.loo_pointwise[site] == pytest.approx(wanted, abs=1e-5)
    below = stats.norm.cdf(-0.5, mu[:, None], tau)
    assert float(found.margins[-2].cdf(-0.5)) == pytest.approx((share * below).sum(), abs=5e-6)


def test_margins_and_moments_are_found_twice():
    """Densities come from one integration, the covariance from another."""
    for options in ({}, {"df": 6.0}):
        found = fit(**options)
        sds = np.array([margin.sd for margin in found.margins])
        np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), sds, rtol=2e-5)
        assert np.linalg.eigvalsh(found.covariance).min() > 0.0


@pytest.mark.parametrize(("people_an_arm", "df", "close"), [(4e6, None, 1e-5), (4e3, None, 5e-4), (4e3, 4.0, 5e-4)])
def test_many_people_are_the_normal_hierarchy(people_an_arm, df, close):
    """A likelihood of n events is skewed by 1 / sqrt(n), and its error is as small: both shrink the difference."""
    rng = np.random.default_rng(3)
    people = np.full((5, 2), people_an_arm)
    events = np.rint(people * expit(np.column_stack([np.full(5, -1.0), -1.0 + rng.normal(0.2, 0.3, 5)])))
    y = np.log(events[:, 1] / (people - events)[:, 1]) - np.log(events[:, 0] / (people - events)[:, 0])
    se = np.sqrt((1 / events + 1 / (people - events)).sum(axis=1))
    found = fit(Tables(events, people, False), Normal(-1.0, 5.0), df=df)
    if df is None:
        wanted = normal_hierarchy(y, se, mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(0.5))
        average, spread = float(wanted.mu.mean[0]), wanted.tau.mean
    else:
        heavy = student_hierarchy(y, se, df=df, mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(0.5))
        average, spread = heavy.mu.mean, heavy.tau.mean
    assert found.margins[0].mean == pytest.approx(average, abs=close)
    assert found.margins[-1].mean == pytest.approx(spread, abs=close)


def test_many_degrees_of_freedom_are_normal():
    a, b = fit(), fit(df=1e5)
    # The t differs from the normal by one over its degrees of freedom.
    assert b.margins[0].mean == pytest.approx(a.margins[0].mean, abs=2e-5)
    assert b.log_marginal_likelihood == pytest.approx(a.log_marginal_likelihood, abs=2e-4)


def test_swapping_the_arms_turns_the_sign():
    """With the conditional likelihood nothing else differs between the arms."""
    a = fit(control=None)
    b = fit(Tables(EVENTS[:, ::-1].copy(), PEOPLE[:, ::-1].copy(), False), None)
    assert b.margins[0].mean == pytest.approx(-a.margins[0].mean, abs=1e-6)
    assert b.margins[0].sd == pytest.approx(a.margins[0].sd, abs=1e-6)


def test_a_site_that_says_nothing_changes_nothing():
    """Without events the conditional likelihood is one: the site's effect is that of a new site."""
    a, b = fit(control=None), fit(Tables(np.delete(EVENTS, 2, 0), np.delete(PEOPLE, 2, 0), False), None)
    assert a.margins[0].mean == pytest.approx(b.margins[0].mean, abs=1e-6)
    assert a.loo_pointwise[2] == pytest.approx(0.0, abs=1e-8)
    assert a.margins[3].sd == pytest.approx(a.margins[-2].sd, rel=1e-6)


def test_a_heavy_prior_of_the_spread_leaves_an_open_site_without_variance():
    two = Tables(np.array([[2.0, 0.0], [0.0, 3.0]]), np.full((2, 2), 20.0), False)
    found = fit(two, None, HalfCauchy(1.0))
    assert np.isinf(found.margins[1].sd)
    assert np.isinf(found.margins[-2].sd)
    assert np.isfinite(found.margins[0].sd)
    assert np.isfinite(float(found.margins[1].quantile(0.5)))


def test_priors_of_the_wrong_kind_are_refused():
    likelihoods = site_likelihoods(TABLES, LEVEL, Reported.fully())
    for mu, tau, df in (
        (Flat(), HalfNormal(1), None),
        (Normal(0, 1), Flat(), None),
        (Normal(0, 1), HalfNormal(1), 0.1),
    ):
        with pytest.raises(ValueError, match=r"Normal|proper|degrees"):
            table_hierarchy(likelihoods, mu_prior=mu, tau_prior=tau, df=df)


def test_a_share_keeps_its_prior_where_nothing_speaks():
    prior = Beta(14.0, 7.0)
    nodes, weights = prior.nodes(12)
    assert weights @ nodes == pytest.approx(2 / 3, abs=1e-12)
    same = share_density(nodes, np.ones(12), prior)
    law = stats.beta(14, 7)
    assert same.mean == pytest.approx(law.mean(), abs=1e-8)
    assert float(same.quantile(0.1)) == pytest.approx(law.ppf(0.1), abs=1e-6)
    updated = share_density(nodes, nodes**3, prior)
    # Three more reports among three events: conjugate. Constant beyond the last node, where 1e-6 of it lies.
    assert updated.mean == pytest.approx(17 / 24, abs=1e-5)
