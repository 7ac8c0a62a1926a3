"""Priors from past evidence: the mixture is what it stands for, gives way to data, and is worth what it says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.hierarchy_mixture import mixture_evidence, mixture_hierarchy
from gbveval.numerics.mixture_fit import fit_mixture
from gbveval.numerics.normal_mixture import information_sample_size

BESIDE = Path(__file__).parents[4] / "shared" / "data"
EFFECTS = Path(os.environ.get("GBVEVAL_DATA", BESIDE)) / "sexual_violence_prevention_meta.csv"
Y, SE = np.array([0.31, 0.12, -0.05, 0.4]), np.array([0.15, 0.1, 0.2, 0.12])
MIXTURE = gbv.NormalMixture((0.7, 0.3), (0.3, 0.0), (0.05, 1.0))
SPREAD = gbv.HalfNormal(0.2)

parts = st.tuples(st.floats(0.05, 1.0), st.floats(-3, 3), st.floats(0.05, 3))


def mixture_of(found: list[tuple[float, float, float]]) -> gbv.NormalMixture:
    weight = np.array([part[0] for part in found])
    return gbv.NormalMixture(
        tuple(weight / weight.sum()), tuple(part[1] for part in found), tuple(part[2] for part in found)
    )


def by_grid(y: NDArray[np.float64], se: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return evidence, mean and sd of the average, and mean of the sd, by a plain grid over both."""
    tau = np.linspace(0.0, 2.0, 2001)[1:] - 0.0005
    mu = np.linspace(-6.0, 6.0, 6001)
    log = MIXTURE.log_density(mu)[:, None] + SPREAD.log_density(tau)
    for value, error in zip(y, se, strict=True):
        v = error**2 + tau**2
        log = log - 0.5 * (value - mu[:, None]) ** 2 / v - 0.5 * np.log(2 * np.pi * v)
    density = np.exp(log) * (mu[1] - mu[0]) * (tau[1] - tau[0])
    total = density.sum()
    average = float((density * mu[:, None]).sum() / total)
    sd = float(np.sqrt((density * (mu[:, None] - average) ** 2).sum() / total))
    return float(np.log(total)), average, sd, float((density * tau).sum() / total)


def test_a_mixture_prior_gives_the_posterior_that_a_grid_gives() -> None:
    evidence, mean, sd, spread = by_grid(Y, SE)
    fit = mixture_hierarchy(Y, SE, mu_prior=MIXTURE, tau_prior=SPREAD)
    # The midpoint rule over tau errs by about (0.001 / 0.05)^2 / 24 = 2e-5, and less where it cancels.
    assert fit.log_marginal_likelihood == pytest.approx(evidence, abs=1e-5)
    assert float(fit.mu.mean[0]) == pytest.approx(mean, abs=1e-5)
    assert float(fit.mu.sd[0]) == pytest.approx(sd, abs=1e-5)
    assert fit.tau.mean == pytest.approx(spread, abs=1e-5)
    # The density of the spread, and the nodes of the effects, are two ways to the same posterior.
    assert float(fit.effects.weights @ fit.tau_nodes) == pytest.approx(fit.tau.mean, rel=1e-9)
    assert float(fit.effects.weights @ (fit.tau_nodes <= fit.tau.quantile(0.5))) == pytest.approx(0.5, abs=0.05)


def test_components_that_are_one_are_one() -> None:
    twice = gbv.NormalMixture((0.4, 0.6), (0.1, 0.1), (0.5, 0.5))
    one = normal_hierarchy(Y, SE, mu_prior=gbv.Normal(0.1, 0.5), tau_prior=SPREAD)
    both = mixture_hierarchy(Y, SE, mu_prior=twice, tau_prior=SPREAD)
    np.testing.assert_allclose(both.effects.mean, one.effects.mean, rtol=1e-12)
    np.testing.assert_allclose(both.effects.sd, one.effects.sd, rtol=1e-12)
    np.testing.assert_allclose(both.effects.covariance, one.effects.covariance, rtol=1e-10)
    np.testing.assert_allclose(both.tau.quantile([0.01, 0.5, 0.99]), one.tau.quantile([0.01, 0.5, 0.99]), rtol=1e-9)
    assert both.isq_mean == pytest.approx(one.isq_mean)


@settings(max_examples=40, deadline=None)
@given(st.lists(parts, min_size=1, max_size=3), st.floats(-4, 4), st.floats(0.05, 2))
def test_one_estimate_updates_as_the_density_does(
    found: list[tuple[float, float, float]], estimate: float, error: float
) -> None:
    prior = mixture_of(found)
    after = prior.updated(estimate, error)
    x = np.linspace(-3, 3, 13)
    ratio = after.log_density(x) - prior.log_density(x) + 0.5 * ((x - estimate) / error) ** 2
    # Bayes' rule: what is left does not depend on the effect. Log densities of a few hundred lose 1e-12 of that.
    seen = after.log_density(x) > -300
    assert np.ptp(ratio[seen]) < 1e-9 if seen.any() else True


def test_a_hierarchy_without_spread_is_the_update() -> None:
    """With a between-site sd of nearly nothing, sites are one estimate after the other."""
    after = MIXTURE.updated(Y[0], SE[0]).updated(Y[1], SE[1])
    fit = mixture_hierarchy(Y[:2], SE[:2], mu_prior=MIXTURE, tau_prior=gbv.HalfNormal(1e-5))
    assert float(fit.mu.mean[0]) == pytest.approx(after.mean, abs=1e-7)
    assert float(fit.mu.sd[0]) == pytest.approx(after.sd, abs=1e-7)


def test_the_vague_component_takes_over_when_the_past_does_not_apply() -> None:
    past = gbv.NormalMixture((1.0,), (0.3,), (0.05,))
    robust = past.robust(0.2, gbv.Normal(0, 1))
    against = np.array([-0.6, -0.5, -0.7, -0.55])
    error = np.full(4, 0.1)
    stubborn = mixture_hierarchy(against, error, mu_prior=past, tau_prior=SPREAD)
    open_minded = mixture_hierarchy(against, error, mu_prior=robust, tau_prior=SPREAD)
    assert float(stubborn.mu.mean[0]) > -0.25
    assert float(open_minded.mu.mean[0]) < -0.5


def test_leave_one_out_is_a_ratio_of_evidences() -> None:
    sites = gbv.SiteEffects({"y": Y, "se": SE}, estimate="y", std_error="se")
    scores = gbv.leave_one_site_out(sites, gbv.HierarchyPrior(MIXTURE, SPREAD))
    without = [by_grid(np.delete(Y, i), np.delete(SE, i))[0] for i in range(4)]
    whole = by_grid(Y, SE)[0]
    np.testing.assert_allclose([row[1] for row in scores.rows[:-1]], whole - np.array(without), atol=2e-5)
    assert mixture_evidence(Y, SE, MIXTURE, SPREAD) == pytest.approx(whole, abs=1e-5)


def test_the_size_of_a_normal_prior_is_the_ratio_of_variances() -> None:
    assert gbv.prior_effective_sample_size(gbv.Normal(0.1, 0.2), unit_sd=2.0) == pytest.approx(100.0)
    alike = gbv.NormalMixture((0.5, 0.5), (0.1, 0.1), (0.2, 0.2))
    assert gbv.prior_effective_sample_size(alike, unit_sd=2.0) == pytest.approx(100.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(parts, min_size=1, max_size=3), st.floats(0.2, 5), st.floats(-2, 2))
def test_size_scales_with_the_square_of_the_unit_and_ignores_where(
    found: list[tuple[float, float, float]], scale: float, shift: float
) -> None:
    prior = mixture_of(found)
    moved = gbv.NormalMixture(
        prior.weights, tuple(shift + scale * m for m in prior.means), tuple(scale * s for s in prior.sds)
    )
    size = information_sample_size(prior, 1.0)
    # Twelve-point panels of a third of an sd: ten digits.
    assert information_sample_size(moved, scale) == pytest.approx(size, rel=1e-8)
    # The information of a mixture is at most the average of its parts' (it is convex).
    assert size <= sum(w / s**2 for w, s in zip(prior.weights, prior.sds, strict=True)) * (1 + 1e-8)
    # Cramer and Rao: at least that of a normal with its variance.
    assert size >= (1 - 1e-8) / prior.sd**2


def test_size_is_consistent_in_what_the_data_add() -> None:
    """The expected size after n people is the size before plus n (Neuenschwander and others 2020)."""
    unit, n = 2.0, 50
    error = unit / np.sqrt(n)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    expected = 0.0
    for w, m, s in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.sds, strict=True):
        for z, q in zip(nodes, weights / weights.sum(), strict=True):
            after = MIXTURE.updated(m + np.hypot(s, error) * z, error)
            expected += w * q * information_sample_size(after, unit)
    # Gauss-Hermite on a function with a bend where the components change places.
    assert expected == pytest.approx(information_sample_size(MIXTURE, unit) + n, rel=5e-3)


def test_a_fitted_mixture_is_close_in_every_quantile() -> None:
    sites = gbv.SiteEffects({"y": Y, "se": SE}, estimate="y", std_error="se")
    pooled = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), SPREAD)).estimate(sites)
    prior = gbv.prior_from_evidence(pooled)
    p = np.array([0.01, 0.025, 0.1, 0.5, 0.9, 0.975, 0.99])
    place = pooled.index("effect in a new site")
    exact = np.array([pooled.posterior.quantile(place, x) for x in p])
    # 0.001 nats: probabilities off by at most sqrt(0.001 / 2) (Pinsker), 0.022; here less than a hundredth.
    np.testing.assert_allclose(prior.cdf(exact), p, atol=0.01)


def test_a_mixture_is_found_again() -> None:
    found = fit_mixture(MIXTURE.quantile, MIXTURE.log_density, enough=1e-7)
    assert len(found.mixture.weights) == 2
    np.testing.assert_allclose(sorted(found.mixture.sds), [0.05, 1.0], rtol=0.02)
    np.testing.assert_allclose(sorted(found.mixture.weights), [0.3, 0.7], atol=0.01)


@pytest.mark.skipif(not EFFECTS.exists(), reason="neither ../shared/data nor GBVEVAL_DATA has the data")
def test_past_programmes_promise_more_for_ideas_than_for_behaviour() -> None:
    """One estimate a study, the inverse-variance average of its rows; behaviour is the outcome that matters."""
    frame = pd.read_csv(EFFECTS)
    sizes = {}
    for kind in ("ideas", "behavior"):
        rows = frame[frame["scale_type"] == kind]
        each = rows.groupby("unique_study_id").apply(
            lambda g: pd.Series({"y": np.average(g["d"], weights=1 / g["var_d"]), "se": np.sqrt(np.mean(g["var_d"]))}),
            include_groups=False,
        )
        sites = gbv.SiteEffects(each, estimate="y", std_error="se", contrast="standardised_mean_difference")
        prior = gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))
        pooled = gbv.NormalHierarchy(prior).estimate(sites)
        next_study = gbv.prior_from_evidence(pooled)
        sizes[kind] = (next_study.mean, gbv.prior_effective_sample_size(next_study, unit_sd=2.0))
    assert sizes["ideas"][0] > 0.25 > 0.15 > sizes["behavior"][0] > 0.0
    # Hundreds of studies, and yet they are worth a few dozen people of the next one, because studies differ so much.
    assert 10 < sizes["ideas"][1] < 60 < sizes["behavior"][1] < 400


def test_refusals() -> None:
    sites = gbv.SiteEffects({"y": Y, "se": SE}, estimate="y", std_error="se")
    pooled = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), SPREAD)).estimate(sites)
    with pytest.raises(DesignError, match="standard deviation"):
        gbv.prior_from_evidence(pooled, term="between-site sd")
    with pytest.raises(DesignError, match="from 1 to 8"):
        gbv.prior_from_evidence(pooled, components=0)
    with pytest.raises(DesignError, match="no posterior"):
        gbv.prior_from_evidence(gbv.RandomEffects().estimate(sites), term="average effect")
    with pytest.raises(DesignError, match="unit_sd"):
        gbv.prior_effective_sample_size(MIXTURE, unit_sd=0.0)
    with pytest.raises(DesignError, match="raised to a power"):
        gbv.prior_sensitivity(sites, gbv.HierarchyPrior(MIXTURE, SPREAD))
    with pytest.raises(DesignError, match="Normal or a Flat"):
        gbv.heavy_tailed_sites(sites, gbv.HierarchyPrior(MIXTURE, SPREAD))
    with pytest.raises(gbv.IdentificationError, match="proper prior"):
        gbv.NormalHierarchy(gbv.HierarchyPrior(MIXTURE, gbv.Flat())).estimate(sites)
    for bad in (((0.5, 0.4), (0, 0), (1, 1)), ((1.0,), (0, 1), (1,)), ((1.5, -0.5), (0, 0), (1, 1))):
        with pytest.raises(ValueError, match="weights"):
            gbv.NormalMixture(*bad)
    with pytest.raises(ValueError, match="strictly between"):
        MIXTURE.robust(1.0, gbv.Normal(0, 1))


def test_a_rule_decides_by_a_mixture_prior_one_set_of_pilots_at_a_time() -> None:
    criteria = gbv.ProgressionCriteria(
        go=(gbv.DecisionRule("average effect", 0.8, above=0.1),),
        stop=(gbv.DecisionRule("average effect", 0.8, below=0.0),),
    )
    common = {"std_errors": [0.1] * 4, "average_effects": [0.3], "between_site_sd": 0.05, "seed": 3, "n_draws": 60}
    mixed = gbv.NormalMixture((0.5, 0.5), (0.0, 0.0), (1.0, 1.0))
    alone, together = (
        gbv.operating_characteristics(criteria, gbv.NormalHierarchy(gbv.HierarchyPrior(prior, SPREAD)), **common)
        for prior in (mixed, gbv.Normal(0.0, 1.0))
    )
    assert alone.rows == together.rows
