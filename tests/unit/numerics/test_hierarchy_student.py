"""Student-t site effects against reference posteriors, direct integration, and the normal limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from tests.unit.numerics.site_summaries import site_summaries

from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.hierarchy_checks import leave_one_site_out
from gbveval.numerics.hierarchy_student import student_hierarchy
from gbveval.numerics.priors import Flat, HalfNormal, LogNormal, Normal, Uniform
from gbveval.numerics.student_sites import mixing_nodes


def reference_fits():
    for case in site_summaries(student=True):
        yield student_hierarchy(case.y, case.se, df=case.df, **case.priors), case.results


def test_reference_posteriors():
    count = 0
    for fit, wanted in reference_fits():
        # The case allows 0.002 sds; its own grid agrees with ours to 2e-6.
        limit = 1e-5
        mu, tau = wanted["mu"], wanted["tau"]
        assert fit.mu.mean == pytest.approx(mu["mean"], abs=limit * mu["sd"])
        assert fit.mu.sd == pytest.approx(mu["sd"], abs=limit * mu["sd"])
        for p, value in mu["quantiles"].items():
            assert float(fit.mu.quantile(float(p))) == pytest.approx(value, abs=limit * mu["sd"])
        assert float(fit.mu.cdf(0.0)) == pytest.approx(mu["P(<0)"], abs=limit)
        assert fit.tau.mean == pytest.approx(tau["mean"], abs=limit * tau["sd"])
        assert fit.tau.sd == pytest.approx(tau["sd"], abs=limit * tau["sd"])
        assert fit.log_marginal_likelihood == pytest.approx(wanted["log_marginal_likelihood"], abs=limit)
        np.testing.assert_allclose(fit.loo_pointwise, wanted["loo_site"]["pointwise"], atol=limit)
        sds = np.array([site["sd"] for site in wanted["theta"]])
        assert np.all(np.abs(fit.theta_mean - [site["mean"] for site in wanted["theta"]]) < limit * sds)
        assert np.all(np.abs(fit.theta_sd - sds) < limit * sds)
        # Probabilities of single site effects are good to 5e-4 only in the reference, as it says.
        np.testing.assert_allclose(fit.theta_cdf(0.0), [site["P(<0)"] for site in wanted["theta"]], atol=5e-4)
        count += 1
    assert count >= 1


@pytest.mark.parametrize("df", [0.5, 1.0, 4.0, 30.0])
def test_the_scale_mixture_is_the_t(df):
    mixing = mixing_nodes(df)
    for x in (0.0, 1.0, 10.0, 300.0):
        density = mixing.weight @ stats.norm.pdf(x, 0.0, mixing.precision**-0.5)
        wanted = stats.t.pdf(x, df)
        if wanted > 1e-25:
            # Where the t itself is that small it does not matter.
            assert density == pytest.approx(wanted, rel=1e-6)


def direct(y, se, df, mu_prior, tau_prior):
    """Integrate site effects, average and scale on plain grids; the prior keeps tau away from 0."""
    mu = np.linspace(-9.0, 10.5, 281)
    log_tau = np.linspace(-2.2, 2.2, 61)
    tau = np.exp(log_tau)
    log = mu_prior.log_density(mu)[:, None] + tau_prior.log_density(tau) + log_tau
    each, first, below = [], [], []
    for estimate, error in zip(y, se, strict=True):
        theta = estimate + error * np.linspace(-9.0, 9.0, 721)
        step = theta[1] - theta[0]
        likelihood = stats.norm.pdf(estimate, theta, error) * step
        # Half a cell at the threshold, so that the step function is integrated to second order.
        under = np.where(np.abs(theta) < 0.5 * step, 0.5, theta < 0.0)
        weights = np.stack([likelihood, likelihood * theta, likelihood * under])
        sums = np.stack(
            [weights @ (1.0 + ((theta[:, None] - mu) / t) ** 2 / df) ** (-0.5 * (df + 1.0)) for t in tau], axis=-1
        )
        each.append(sums[0] * stats.t.pdf(0.0, df) / tau)
        first.append(sums[1] / sums[0])
        below.append(sums[2] / sums[0])
    joint = np.exp(log + np.sum(np.log(each), axis=0))
    cell = (mu[1] - mu[0]) * (log_tau[1] - log_tau[0])
    total = joint.sum() * cell
    weight = joint * cell / total
    return {
        "evidence": math.log(total),
        "mu": (weight * mu[:, None]).sum(),
        "tau": (weight * tau).sum(),
        "theta": [(weight * value).sum() for value in first],
        "below": [(weight * value).sum() for value in below],
        "new_below": (weight * stats.t.cdf(-mu[:, None] / tau, df)).sum(),
    }


def test_direct_integration():
    # The first two estimates are multiples of 0.025 errors: the threshold is a node of the grid.
    y, se = np.array([1.5, -0.4, 6.0]), np.array([0.75, 0.5, 0.6])
    priors = {"mu_prior": Normal(0.5, 1.2), "tau_prior": LogNormal(0.0, 0.3)}
    fit = student_hierarchy(y, se, df=3.0, **priors)
    wanted = direct(y, se, 3.0, **priors)
    assert fit.log_marginal_likelihood == pytest.approx(wanted["evidence"], abs=1e-6)
    assert fit.mu.mean == pytest.approx(wanted["mu"], abs=1e-6)
    assert fit.tau.mean == pytest.approx(wanted["tau"], abs=1e-6)
    np.testing.assert_allclose(fit.theta_mean, wanted["theta"], atol=1e-5)
    np.testing.assert_allclose(fit.theta_cdf(0.0), wanted["below"], atol=2e-5)
    assert fit.new_site_cdf(0.0) == pytest.approx(wanted["new_below"], abs=1e-6)


@pytest.mark.parametrize("mu_prior", [Normal(0.0, 2.0), Flat()], ids=lambda prior: prior.describe())
def test_many_degrees_of_freedom_are_the_normal_hierarchy(mu_prior):
    y, se = np.array([0.9, -0.3, 0.4, 1.6]), np.array([0.5, 0.4, 0.8, 0.6])
    priors = {"mu_prior": mu_prior, "tau_prior": HalfNormal(0.7)}
    student = student_hierarchy(y, se, df=1e7, **priors)
    normal = normal_hierarchy(y, se, **priors)
    # A t with so many degrees of freedom differs from the normal by about 1 / df.
    assert student.mu.mean == pytest.approx(normal.mu.mean[0], abs=1e-6)
    assert student.mu.sd == pytest.approx(normal.mu.sd[0], abs=1e-6)
    assert float(student.tau.quantile(0.1)) == pytest.approx(float(normal.tau.quantile(0.1)), abs=1e-6)
    np.testing.assert_allclose(student.theta_mean, normal.theta.mean, atol=1e-6)
    np.testing.assert_allclose(student.theta_sd, normal.theta.sd, atol=1e-6)
    # Here tau reaches 0, where P(theta < x) given mu becomes a step.
    np.testing.assert_allclose(student.theta_cdf(0.25), normal.theta.cdf(0.25), atol=2e-6)
    assert student.new_site_cdf(0.25) == pytest.approx(normal.new_site.cdf(0.25)[0], abs=2e-6)
    assert student.new_site_sd == pytest.approx(normal.new_site.sd[0], abs=1e-5)
    np.testing.assert_allclose(student.loo_pointwise, leave_one_site_out(y, se, **priors).pointwise, atol=1e-6)


def test_units_and_order_do_not_matter():
    y, se = np.array([0.9, -0.3, 0.4]), np.array([0.5, 0.4, 0.8])
    order = np.array([2, 0, 1])
    plain = student_hierarchy(y, se, df=4.0, mu_prior=Normal(0.0, 2.0), tau_prior=HalfNormal(0.7))
    other = student_hierarchy(
        1e5 * y[order] + 3e5, 1e5 * se[order], df=4.0, mu_prior=Normal(3e5, 2e5), tau_prior=HalfNormal(0.7e5)
    )
    assert (other.mu.mean - 3e5) / 1e5 == pytest.approx(plain.mu.mean, abs=1e-8)
    np.testing.assert_allclose((other.theta_mean - 3e5) / 1e5, plain.theta_mean[order], atol=1e-7)
    np.testing.assert_allclose(other.loo_pointwise, plain.loo_pointwise[order] - math.log(1e5), atol=1e-7)


def test_an_odd_site_pulls_less():
    y, se = np.array([0.1, -0.1, 0.0, 0.2, 9.0]), np.full(5, 0.3)
    priors = {"mu_prior": Normal(0.0, 5.0), "tau_prior": HalfNormal(0.5)}
    assert abs(student_hierarchy(y, se, df=3.0, **priors).mu.mean) < 0.2 < normal_hierarchy(y, se, **priors).mu.mean[0]


def test_what_does_not_exist():
    one = student_hierarchy([1.0], [0.5], df=1.5, mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(1.0))
    assert np.isfinite(one.new_site_mean)
    assert np.isinf(one.new_site_sd)
    np.testing.assert_allclose(one.loo_pointwise, one.log_marginal_likelihood)
    flat = student_hierarchy([1.0, 2.0], [0.5, 0.5], df=4.0, mu_prior=Flat(), tau_prior=Uniform(2.0))
    assert flat.log_marginal_likelihood is None
    assert flat.mu.mean == pytest.approx(1.5, abs=1e-7)
    with pytest.raises(ValueError, match="posterior does not exist"):
        student_hierarchy([1.0], [0.5], df=4.0, mu_prior=Flat(), tau_prior=Flat())
    with pytest.raises(ValueError, match=r"at least 0\.5"):
        student_hierarchy([1.0], [0.5], df=0.1, mu_prior=Normal(0.0, 1.0), tau_prior=HalfNormal(1.0))
