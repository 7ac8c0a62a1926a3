"""The exact normal hierarchy against reference posteriors, brute-force integration and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats
from tests.unit.numerics.site_summaries import site_summaries

from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.priors import (
    Exponential,
    Flat,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    LogNormal,
    Normal,
    Uniform,
)

SCALE_PRIORS = [
    HalfNormal(1.5),
    HalfCauchy(0.7),
    HalfStudentT(3.0, 1.0),
    Uniform(2.0),
    Exponential(0.8),
    LogNormal(-0.3, 0.6),
    Flat(),
]
SCHOOLS = ([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def reference_fits():
    for case in site_summaries(student=False):
        yield normal_hierarchy(case.y, case.se, **case.priors), case.results, case.tolerance


def check_marginal(mean, sd, quantile, cdf, wanted, tolerance):
    limit = tolerance * wanted["sd"]
    assert mean == pytest.approx(wanted["mean"], abs=limit)
    assert sd == pytest.approx(wanted["sd"], abs=limit)
    for p, value in wanted["quantiles"].items():
        assert quantile(float(p)) == pytest.approx(value, abs=limit)
    if "P(<0)" in wanted:
        assert cdf(0.0) == pytest.approx(wanted["P(<0)"], abs=tolerance)


def check_term(mixture, wanted, tolerance):
    check_marginal(
        mixture.mean[0],
        mixture.sd[0],
        lambda p: mixture.quantile(p)[0],
        lambda x: mixture.cdf(x)[0],
        wanted,
        tolerance,
    )


def test_reference_marginals():
    count = 0
    for fit, results, tolerance in reference_fits():
        check_term(fit.mu, results["mu"], tolerance)
        check_term(fit.new_site, results["new_site_effect"], tolerance)
        for site, wanted in enumerate(results["theta"]):
            check_term(fit.theta.select([site]), wanted, tolerance)
        tau = fit.tau
        check_marginal(tau.mean, tau.sd, tau.quantile, tau.cdf, results["tau"], tolerance)
        count += 1
    assert count >= 8


def test_reference_summaries():
    names = [
        "pooling_site_mean",
        "weights_mean",
        "isq_mean",
        "pooling_total_mean",
        "typical_within_variance",
        "shrinkage_of_posterior_mean",
        "log_marginal_likelihood",
    ]
    for fit, results, tolerance in reference_fits():
        for name in names:
            found, wanted = getattr(fit, name), results.get(name)
            if wanted is None:
                assert found is None
            else:
                np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_reference_probabilities():
    for fit, results, tolerance in reference_fits():
        for name, wanted in results.items():
            if not name.startswith("P("):
                continue
            term, threshold = name[2:-1].split(">")
            mixture = fit.mu if term == "mu" else fit.new_site
            assert mixture.sf(float(threshold))[0] == pytest.approx(wanted, abs=tolerance)


def random_problem(seed, sites):
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.3, 2.0, sites)
    return rng.normal(0.4, 1.0, sites) + se * rng.standard_normal(sites), se


def brute_force(y, se, mu_prior, tau_prior):
    """Integrate over mu on a grid and over tau by adaptive quadrature: nothing closed but the likelihood of a site."""
    mu = np.linspace(-40.0, 40.0, 4001)
    step = mu[1] - mu[0]
    prior = mu_prior.log_density(mu)

    def joint(tau):
        scale = np.sqrt(se**2 + tau**2)
        log = stats.norm.logpdf(y, mu[:, None], scale).sum(axis=1) + prior + tau_prior.log_density(tau)
        return np.exp(log + 20.0)

    def integral(function):
        end = min(tau_prior.support_upper, 400.0)
        edges = [edge for edge in (0.5, 1.0, 2.0, 5.0, 15.0, 60.0) if edge < end]
        value, _ = integrate.quad_vec(lambda tau: function(tau), 0.0, end, points=edges, epsabs=0, epsrel=1e-11)
        return value

    def statistics(tau):
        weight = joint(tau) * step
        shrink = se[0] ** 2 / (se[0] ** 2 + tau**2)
        theta = (1 - shrink) * y[0] + shrink * mu
        square = (1 - shrink) * se[0] ** 2 + theta**2
        functions = [np.ones_like(mu), mu, mu**2, theta, square, theta * mu, np.full_like(mu, tau)]
        return np.array([(weight * f).sum() for f in functions])

    total = integral(statistics)
    moments = total[1:] / total[0]
    return {"log_evidence": math.log(total[0]) - 20.0, "moments": moments}


@pytest.mark.parametrize("tau_prior", SCALE_PRIORS, ids=lambda prior: prior.describe())
@pytest.mark.parametrize("mu_prior", [Normal(0.5, 1.3), Flat()], ids=lambda prior: prior.describe())
def test_moments_agree_with_brute_force(mu_prior, tau_prior):
    y, se = random_problem(11, sites=12)
    fit = normal_hierarchy(y, se, mu_prior=mu_prior, tau_prior=tau_prior)
    brute = brute_force(y, se, mu_prior, tau_prior)
    mu, mu2, theta, theta2, theta_mu, tau = brute["moments"]
    # The grid of mu ends at 40 and that of tau at 400: with 12 sites what lies beyond is below 1e-9.
    assert fit.mu.mean[0] == pytest.approx(mu, abs=1e-7)
    assert fit.mu.sd[0] ** 2 == pytest.approx(mu2 - mu**2, abs=1e-6)
    assert fit.theta.mean[0] == pytest.approx(theta, abs=1e-7)
    assert fit.theta.sd[0] ** 2 == pytest.approx(theta2 - theta**2, abs=1e-6)
    assert fit.effects.covariance[0, 1] == pytest.approx(theta_mu - theta * mu, abs=1e-6)
    assert fit.tau.mean == pytest.approx(tau, abs=1e-7)
    if mu_prior.is_proper and tau_prior.is_proper:
        assert fit.log_marginal_likelihood == pytest.approx(brute["log_evidence"], abs=1e-8)
    else:
        assert fit.log_marginal_likelihood is None


@pytest.mark.parametrize("exponent", [-6, 6])
@pytest.mark.parametrize("name", ["HalfNormal", "HalfCauchy", "Uniform", "Exponential"])
def test_units_do_not_matter(name, exponent):
    y, se = np.array(SCHOOLS[0]), np.array(SCHOOLS[1])
    unit, shift = 10.0**exponent, 3.0
    kinds = {"HalfNormal": HalfNormal, "HalfCauchy": HalfCauchy, "Uniform": Uniform, "Exponential": Exponential}
    plain = normal_hierarchy(y, se, mu_prior=Normal(0.0, 5.0), tau_prior=kinds[name](5.0))
    other = normal_hierarchy(
        unit * (y + shift), unit * se, mu_prior=Normal(unit * shift, unit * 5.0), tau_prior=kinds[name](unit * 5.0)
    )
    for p in (0.01, 0.5, 0.99):
        np.testing.assert_allclose(
            other.effects.quantile(p) / unit - shift, plain.effects.quantile(p), atol=1e-8 * plain.mu.sd[0]
        )
        assert other.tau.quantile(p) / unit == pytest.approx(float(plain.tau.quantile(p)), rel=1e-7)
    np.testing.assert_allclose(other.pooling_site_mean, plain.pooling_site_mean, atol=1e-10)


def test_a_log_normal_prior_and_units():
    y, se = np.array(SCHOOLS[0]), np.array(SCHOOLS[1])
    plain = normal_hierarchy(y, se, mu_prior=Flat(), tau_prior=LogNormal(1.0, 0.5))
    other = normal_hierarchy(1e6 * y, 1e6 * se, mu_prior=Flat(), tau_prior=LogNormal(1.0 + math.log(1e6), 0.5))
    np.testing.assert_allclose(other.effects.sd / 1e6, plain.effects.sd, rtol=1e-9)


def test_site_order_does_not_matter():
    y, se = np.array(SCHOOLS[0]), np.array(SCHOOLS[1])
    order = np.array([3, 1, 7, 0, 6, 2, 5, 4])
    plain = normal_hierarchy(y, se, mu_prior=Normal(0.0, 5.0), tau_prior=HalfCauchy(5.0))
    other = normal_hierarchy(y[order], se[order], mu_prior=Normal(0.0, 5.0), tau_prior=HalfCauchy(5.0))
    np.testing.assert_allclose(other.theta.mean, plain.theta.mean[order], rtol=1e-12)
    np.testing.assert_allclose(other.weights_mean, plain.weights_mean[order], rtol=1e-12)


def test_a_known_tau_gives_the_normal_closed_form():
    y, se, tau, prior_sd = np.array([1.0, -0.5, 2.0]), np.array([0.5, 1.0, 0.7]), 0.8, 2.0
    # The prior's sd of the log is 1e-4: second-order effects are of size 1e-8.
    fit = normal_hierarchy(y, se, mu_prior=Normal(0.3, prior_sd), tau_prior=LogNormal(math.log(tau), 1e-4))
    covariance = prior_sd**2 + np.diag(se**2 + tau**2)
    gain = prior_sd**2 * np.linalg.solve(covariance, np.ones(3))
    assert fit.mu.mean[0] == pytest.approx(0.3 + gain @ (y - 0.3), abs=1e-7)
    assert fit.mu.sd[0] ** 2 == pytest.approx(prior_sd**2 - prior_sd**2 * gain.sum(), abs=1e-7)
    wanted = stats.multivariate_normal(np.full(3, 0.3), covariance).logpdf(y)
    assert fit.log_marginal_likelihood == pytest.approx(wanted, abs=1e-7)


def test_extremely_unequal_sites():
    rng = np.random.default_rng(4)
    se = 10.0 ** rng.uniform(-6, 6, 30)
    fit = normal_hierarchy(se * rng.standard_normal(30), se, mu_prior=Normal(0.0, 1.0), tau_prior=HalfCauchy(1.0))
    p = np.array([0.01, 0.5, 0.99])
    for row, q in enumerate(fit.effects.quantile(p)):
        np.testing.assert_allclose(fit.effects.cdf(q), p[row], rtol=1e-8)
    np.testing.assert_allclose(fit.tau.cdf(fit.tau.quantile(p)), p, rtol=1e-9)
    assert np.isfinite(fit.effects.covariance).all()
    assert fit.typical_within_variance == pytest.approx(29.0 * np.sum(se**-2.0) / _pairs(se**-2.0), rel=1e-9)


def _pairs(w):
    # In exact rational arithmetic, because the textbook form cancels here.
    from fractions import Fraction

    exact = [Fraction(float(x)) for x in w]
    return float(sum(exact) ** 2 - sum(x * x for x in exact))


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_a_prior_far_from_the_data_rules_or_yields(scale):
    y, se = np.array([0.2, -0.1, 0.4, 0.0]), np.full(4, 0.5)
    fit = normal_hierarchy(y, se, mu_prior=Normal(0.0, 10.0), tau_prior=HalfNormal(scale))
    if scale < 1.0:
        # Nothing in the data sees so small a tau: the posterior is the prior.
        assert fit.tau.mean / scale == pytest.approx(math.sqrt(2.0 / math.pi), rel=1e-9)
        assert float(fit.tau.quantile(0.5)) / scale == pytest.approx(stats.halfnorm.median(), rel=1e-9)
    else:
        flat = normal_hierarchy(y, se, mu_prior=Normal(0.0, 10.0), tau_prior=Flat())
        assert float(fit.tau.quantile(0.9)) == pytest.approx(float(flat.tau.quantile(0.9)), rel=1e-6)


def test_the_upper_edge_of_a_uniform_prior_holds():
    y, se = np.array([-20.0, 0.0, 25.0]), np.full(3, 0.5)
    fit = normal_hierarchy(y, se, mu_prior=Flat(), tau_prior=Uniform(2.0))
    assert float(fit.tau.quantile(0.999999)) <= 2.0
    assert fit.tau.cdf(2.0) == pytest.approx(1.0, abs=1e-12)
    assert fit.tau.mean > 1.9


def test_moments_that_do_not_exist():
    one = normal_hierarchy([1.0], [0.5], mu_prior=Normal(0.0, 1.0), tau_prior=HalfCauchy(1.0))
    assert np.isfinite(one.tau.mean)
    assert np.isinf(one.tau.sd)
    assert np.isinf(one.new_site.sd[0])
    assert np.isfinite(one.mu.sd[0])
    assert np.isfinite(one.theta.sd[0])
    flat = normal_hierarchy([1.0], [0.5], mu_prior=Flat(), tau_prior=HalfCauchy(1.0))
    assert np.isinf(flat.tau.mean)
    assert np.isnan(flat.mu.mean[0])
    # With one site and a flat average tau keeps its prior, and mu is symmetric around the estimate.
    assert float(flat.tau.quantile(0.9)) == pytest.approx(stats.halfcauchy.ppf(0.9), rel=1e-8)
    assert flat.mu.quantile(0.5)[0] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("sites", "mu_prior"), [(1, Flat()), (2, Flat()), (1, Normal(0.0, 1.0))])
def test_no_posterior_is_said(sites, mu_prior):
    with pytest.raises(ValueError, match="posterior does not exist"):
        normal_hierarchy(np.arange(sites), np.ones(sites), mu_prior=mu_prior, tau_prior=Flat())


@pytest.mark.parametrize(
    ("y", "se", "message"),
    [
        ([], [], "at least one site"),
        ([1.0, 2.0], [1.0], "two vectors of one length"),
        ([[1.0]], [[1.0]], "two vectors of one length"),
        ([1.0, np.nan], [1.0, 1.0], "1 of 2 are not"),
        ([1.0, 2.0], [0.0, 1.0], "above 0; 1 of 2"),
    ],
)
def test_unusable_data_are_refused(y, se, message):
    with pytest.raises(ValueError, match=message):
        normal_hierarchy(y, se, mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(1.0))


def test_priors_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match="Normal or Flat"):
        normal_hierarchy([1.0], [1.0], mu_prior=HalfNormal(1.0), tau_prior=HalfNormal(1.0))
    with pytest.raises(ValueError, match="use HalfNormal"):
        normal_hierarchy([1.0], [1.0], mu_prior=Normal(0.0, 1.0), tau_prior=Normal(0.0, 1.0))


def test_draws_have_the_joint_law():
    fit = normal_hierarchy(*SCHOOLS, mu_prior=Normal(0.0, 5.0), tau_prior=HalfNormal(8.0))
    n, rng = 100_000, np.random.default_rng(12)
    node = rng.choice(len(fit.tau_nodes), size=n, p=fit.effects.weights)
    joint, tau = fit.effects.given(node, rng), fit.tau_nodes[node]
    sd = fit.effects.sd
    # Five standard errors of a mean; correlations have a standard error of at most 1 / sqrt(n) times about 1.5 here.
    assert np.all(np.abs(joint.mean(axis=0) - fit.effects.mean) < 5.0 * sd / math.sqrt(n))
    correlation = fit.effects.covariance / np.outer(sd, sd)
    np.testing.assert_allclose(np.corrcoef(joint.T), correlation, atol=8.0 / math.sqrt(n))
    # Given tau the new site is mu plus normal noise of sd tau, independent of mu.
    z = (joint[:, -1] - joint[:, 0]) / tau
    assert z.std() == pytest.approx(1.0, abs=5.0 / math.sqrt(2 * n))
    assert abs(np.corrcoef(z, joint[:, 0])[0, 1]) < 5.0 / math.sqrt(n)


def test_shrinkage_is_undefined_where_an_estimate_equals_the_average():
    fit = normal_hierarchy([0.0], [1.0], mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(1.0))
    assert np.isnan(fit.shrinkage_of_posterior_mean[0])
    assert fit.isq_mean is None
    assert fit.pooling_total_mean is None
