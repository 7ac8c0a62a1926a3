"""Leave-one-site-out, power scaling and one more site, against reference values, refits and integration."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats
from tests.unit.numerics.site_summaries import site_summaries

from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.hierarchy_checks import leave_one_site_out, one_more_site, power_scaled_hierarchy
from gbveval.numerics.priors import (
    Exponential,
    Flat,
    HalfCauchy,
    HalfNormal,
    LogNormal,
    Normal,
    Uniform,
)

Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SE = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SCHOOLS = {"mu_prior": Normal(0.0, 5.0), "tau_prior": HalfCauchy(5.0)}


def reference_cases(part):
    for case in site_summaries(student=False):
        if part in case.results:
            yield case.y, case.se, case.priors, case.results, case.tolerance


def test_reference_leave_one_site_out():
    count = 0
    for y, se, priors, results, tolerance in reference_cases("loo_site"):
        wanted = results["loo_site"]
        found = leave_one_site_out(y, se, **priors)
        np.testing.assert_allclose(found.pointwise, wanted["pointwise"], atol=tolerance)
        assert found.elpd == pytest.approx(wanted["elpd_loo_site"], abs=tolerance)
        assert found.std_error == pytest.approx(wanted["se"], abs=tolerance)
        count += 1
    assert count >= 7


def test_reference_power_scaling():
    count = 0
    for y, se, priors, results, tolerance in reference_cases("powerscaling"):
        for name, wanted in results["powerscaling"].items():
            if name == "meaning":
                continue
            part, power = name.split("^")
            fit = power_scaled_hierarchy(y, se, **priors, **{f"{part}_power": float(power)})
            for value, key in [(fit.mu.mean[0], "mu_mean"), (fit.mu.sd[0], "mu_sd")]:
                assert value == pytest.approx(wanted[key], abs=tolerance * wanted["mu_sd"])
            for value, key in [(fit.tau.mean, "tau_mean"), (fit.tau.sd, "tau_sd")]:
                assert value == pytest.approx(wanted[key], abs=tolerance * wanted["tau_sd"])
            count += 1
    assert count >= 8


def test_reference_one_more_site():
    count = 0
    for y, se, priors, results, tolerance in reference_cases("assurance"):
        wanted = results["assurance"]
        fit = normal_hierarchy(y, se, **priors)
        found = one_more_site(fit, wanted["inputs"].pop("se_new"), **wanted["inputs"])
        sd = fit.mu.sd[0]
        spread = wanted["predictive_sd_of_new_estimate"]
        assert found.predictive_mean == pytest.approx(wanted["predictive_mean_of_new_estimate"], abs=tolerance * spread)
        assert found.predictive_sd == pytest.approx(spread, abs=tolerance * spread)
        assert found.probability_now == pytest.approx(wanted["expected_updated_probability"], abs=tolerance)
        assert found.assurance == pytest.approx(wanted["assurance"], abs=tolerance)
        assert found.evsi == pytest.approx(wanted["evsi_of_mean_effect_per_unit"], abs=tolerance * sd)
        assert found.evppi == pytest.approx(wanted["evppi_of_mean_effect_per_unit"], abs=tolerance * sd)
        # The reference interpolates its critical estimates on a grid and is off by up to 3e-6 predictive sds: at its
        # values a refit with that site misses the needed probability by 8e-8, at ours by 1e-15 (next test).
        assert len(found.critical_estimates) == len(wanted["critical_new_estimates"])
        np.testing.assert_allclose(found.critical_estimates, wanted["critical_new_estimates"], atol=1e-5 * spread)
        count += 1
    assert count >= 2


def refit_probability(estimate, se_new, priors, threshold=0.0):
    fit = normal_hierarchy(np.append(Y, estimate), np.append(SE, se_new), **priors)
    return float(fit.mu.sf(threshold)[0]), float(fit.mu.mean[0])


def test_critical_estimates_are_where_a_refit_meets_the_needed_probability():
    found = one_more_site(normal_hierarchy(Y, SE, **SCHOOLS), 8.0, probability_needed=0.95)
    assert len(found.critical_estimates) == 2
    for estimate in found.critical_estimates:
        assert refit_probability(estimate, 8.0, SCHOOLS)[0] == pytest.approx(0.95, abs=1e-10)
    low, high = found.critical_estimates
    assert refit_probability(0.5 * (low + high), 8.0, SCHOOLS)[0] > 0.95
    assert refit_probability(high + 5.0, 8.0, SCHOOLS)[0] < 0.95


@pytest.mark.parametrize(
    ("priors", "se_new", "threshold", "direction"),
    [
        (SCHOOLS, 8.0, 4.0, "above"),
        ({"mu_prior": Flat(), "tau_prior": HalfNormal(6.0)}, 5.0, 6.0, "above"),
        ({"mu_prior": Normal(0.0, 20.0), "tau_prior": LogNormal(1.0, 0.7)}, 12.0, 5.0, "below"),
    ],
)
def test_one_more_site_agrees_with_refits(priors, se_new, threshold, direction):
    fit = normal_hierarchy(Y, SE, **priors)
    needed, sign = 0.7, (1.0 if direction == "above" else -1.0)
    found = one_more_site(fit, se_new, threshold=threshold, direction=direction, probability_needed=needed)
    x = np.linspace(found.predictive_mean - 90.0, found.predictive_mean + 90.0, 301)
    weights, tau = fit.effects.weights, fit.tau_nodes
    sds = np.sqrt(fit.effects.sds[:, 0] ** 2 + tau**2 + se_new**2)
    density = stats.norm.pdf(x[:, None], fit.effects.means[:, 0], sds) @ weights
    refits = np.array([refit_probability(at, se_new, priors, threshold) for at in x])
    probability = refits[:, 0] if sign > 0 else 1.0 - refits[:, 0]
    step = x[1] - x[0]
    # The law of total probability checks the grid itself.
    assert (probability * density).sum() * step == pytest.approx(found.probability_now, abs=2e-6)
    # A step function on a grid of 0.6 is good to about density x step; a kink to its square.
    assert ((probability >= needed) * density).sum() * step == pytest.approx(found.assurance, abs=0.02)
    value_now = max(0.0, sign * (fit.mu.mean[0] - threshold))
    gain = np.maximum(0.0, sign * (refits[:, 1] - threshold))
    assert (gain * density).sum() * step - value_now == pytest.approx(found.evsi, abs=1e-3)
    assert 0.0 <= found.evsi <= found.evppi
    edges = np.array([-math.inf, *found.critical_estimates, math.inf])
    mass = np.diff(weights @ stats.norm.cdf(edges, fit.effects.means[:, [0]], sds[:, None]))
    goes = [_middle_reaches(a, b, se_new, priors, threshold, sign, needed) for a, b in pairwise(edges)]
    assert mass[goes].sum() == pytest.approx(found.assurance, abs=1e-10)


def _middle_reaches(low, high, se_new, priors, threshold, sign, needed):
    middle = 0.5 * (max(low, -300.0) + min(high, 300.0))
    probability = refit_probability(middle, se_new, priors, threshold)[0]
    return (probability if sign > 0 else 1.0 - probability) >= needed


def test_evppi_is_the_expected_value_of_the_average_itself():
    fit = normal_hierarchy(Y, SE, **SCHOOLS)
    found = one_more_site(fit, 8.0, threshold=5.0)
    value, _ = integrate.quad(lambda x: float(fit.mu.sf(x)[0]), 5.0, 60.0, epsabs=1e-12)
    assert found.evppi == pytest.approx(value, abs=1e-9)


def test_needing_nearly_nothing_or_nearly_everything():
    fit = normal_hierarchy(Y, SE, **SCHOOLS)
    assert one_more_site(fit, 8.0, probability_needed=1e-6).assurance == pytest.approx(1.0, abs=1e-5)
    impossible = one_more_site(fit, 500.0, probability_needed=0.999)
    assert impossible.assurance < 1e-6


def test_a_precise_new_site_is_worth_no_more_than_knowing_the_average():
    fit = normal_hierarchy(Y, SE, mu_prior=Normal(0.0, 20.0), tau_prior=HalfNormal(1e-6))
    # Without differences between sites a perfect new site is the average.
    found = one_more_site(fit, 1e-6, threshold=6.0)
    assert found.evsi == pytest.approx(found.evppi, rel=1e-6)
    assert found.assurance == pytest.approx(found.probability_now, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"se_new": 0.0}, "above 0"),
        ({"se_new": 1.0, "direction": "up"}, "'above' or 'below'"),
        ({"se_new": 1.0, "probability_needed": 1.0}, "strictly between 0 and 1"),
    ],
)
def test_options_of_one_more_site_are_checked(options, message):
    fit = normal_hierarchy(Y, SE, **SCHOOLS)
    with pytest.raises(ValueError, match=message):
        one_more_site(fit, **options)


def test_one_more_site_needs_a_finite_variance():
    fit = normal_hierarchy(Y[:2], SE[:2], mu_prior=Flat(), tau_prior=HalfCauchy(5.0))
    with pytest.raises(ValueError, match="no finite variance"):
        one_more_site(fit, 8.0)


@pytest.mark.parametrize("tau_prior", [HalfCauchy(2.0), Uniform(30.0), LogNormal(1.0, 1.0), Exponential(4.0)])
def test_leave_one_out_is_the_predictive_density_of_the_others(tau_prior):
    y, se = Y[:4], SE[:4]
    found = leave_one_site_out(y, se, mu_prior=Normal(1.0, 9.0), tau_prior=tau_prior)
    for site in range(4):
        others = normal_hierarchy(
            np.delete(y, site), np.delete(se, site), mu_prior=Normal(1.0, 9.0), tau_prior=tau_prior
        )
        new = others.new_site
        density = new.weights @ stats.norm.pdf(y[site], new.means[:, 0], np.hypot(new.sds[:, 0], se[site]))
        assert found.pointwise[site] == pytest.approx(math.log(density), abs=1e-10)


def test_leave_one_out_with_a_single_site_is_the_prior_predictive():
    found = leave_one_site_out([2.0], [1.0], mu_prior=Normal(0.0, 3.0), tau_prior=LogNormal(0.0, 1e-5))
    # tau is 1 to within 1e-5.
    assert found.elpd == pytest.approx(stats.norm.logpdf(2.0, 0.0, math.sqrt(11.0)), abs=1e-8)
    assert math.isnan(found.std_error)
    with pytest.raises(ValueError, match="both be proper"):
        leave_one_site_out([2.0], [1.0], mu_prior=Flat(), tau_prior=HalfNormal(1.0))


def test_powers_of_one_change_nothing_and_powers_act_as_defined():
    plain = normal_hierarchy(Y, SE, **SCHOOLS)
    same = power_scaled_hierarchy(Y, SE, **SCHOOLS)
    np.testing.assert_allclose(same.effects.mean, plain.effects.mean, rtol=1e-12)
    # A half-normal to the power a is a half-normal with sd / sqrt(a); likewise the normal.
    powered = power_scaled_hierarchy(Y, SE, mu_prior=Normal(1.0, 5.0), tau_prior=HalfNormal(4.0), prior_power=0.5)
    direct = normal_hierarchy(Y, SE, mu_prior=Normal(1.0, 5.0 * 2**0.5), tau_prior=HalfNormal(4.0 * 2**0.5))
    np.testing.assert_allclose(powered.effects.sd, direct.effects.sd, rtol=1e-10)
    assert powered.log_marginal_likelihood is None
    with pytest.raises(ValueError, match="power must be"):
        power_scaled_hierarchy(Y, SE, **SCHOOLS, prior_power=0.0)
