"""Many exact hierarchies at once: the answers of one by one, and calibration over 5,000 pilots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.numerics.many_hierarchies import many_hierarchies, spread_cdf

SE = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
PRIORS: list[tuple[Any, Any]] = [
    (gbv.Normal(0, 5), gbv.HalfCauchy(5)),
    (gbv.Normal(3, 20), gbv.HalfNormal(10)),
    (gbv.Normal(0, 5), gbv.Uniform(30)),
    (gbv.Flat(), gbv.HalfNormal(5)),
    (gbv.Normal(0, 5), gbv.Exponential(8.0)),
    (gbv.Normal(0, 5), gbv.LogNormal(1.0, 1.0)),
]


@pytest.mark.parametrize(("average", "spread"), PRIORS)
def test_every_study_has_the_answer_it_has_alone(average: Any, spread: Any) -> None:
    rng = np.random.default_rng(1)
    seen = np.vstack([SCHOOLS, rng.normal(size=(3, 8)) * np.sqrt(SE**2 + 36.0) + 4.0])
    many = many_hierarchies(seen, SE, mu_prior=average, tau_prior=spread)
    ends = np.array([2.0, 5.0, 0.5, 9.0])
    sds = spread_cdf(many, ends, mu_prior=average, tau_prior=spread)
    for row, y in enumerate(seen):
        sites = gbv.SiteEffects({"y": y, "s": SE}, estimate="y", std_error="s")
        one = gbv.NormalHierarchy(gbv.HierarchyPrior(average, spread)).estimate(sites)
        # Both integrate analytic functions by Gauss rules; a log-normal spread bends most in a panel.
        assert many.average_cdf(1.0)[row] == pytest.approx(one.probability("average effect", below=1.0), abs=1e-8)
        assert many.new_site_cdf(0.0)[row] == pytest.approx(
            one.probability("effect in a new site", below=0.0), abs=1e-8
        )
        assert many.site_cdf(2, 1.0)[row] == pytest.approx(one.probability("effect in site 03", below=1.0), abs=1e-8)
        assert sds[row] == pytest.approx(one.probability("between-site sd", below=ends[row]), abs=1e-7)
        assert many.spread_mean()[row] == pytest.approx(one["between-site sd"].value, rel=1e-7)
        assert many.average_moments()[0][row] == pytest.approx(one["average effect"].value, abs=1e-7)


def test_the_exact_engine_is_calibrated_over_five_thousand_pilots() -> None:
    average, spread, pilots = gbv.Normal(0.0, 5.0), gbv.HalfNormal(8.0), 5000
    rng = np.random.default_rng(20_261_126)
    mu, tau = rng.normal(0.0, 5.0, pilots), np.abs(rng.normal(0.0, 8.0, pilots))
    theta = mu[:, None] + tau[:, None] * rng.normal(size=(pilots, 8))
    many = many_hierarchies(theta + SE * rng.normal(size=theta.shape), SE, mu_prior=average, tau_prior=spread)
    new = mu + tau * rng.normal(size=pilots)
    ranks = {
        "average effect": many.average_cdf(mu),
        "effect in a new site": many.new_site_cdf(new),
        "between-site sd": spread_cdf(many, tau, mu_prior=average, tau_prior=spread),
        **{f"effect in site {site + 1}": many.site_cdf(site, theta[:, site]) for site in range(8)},
    }
    # Where the posterior is exact, the truth's place in it is uniform: the largest distance of the empirical
    # distribution from it stays below 1.63 / sqrt(n) in 99 of 100 such tests (Kolmogorov).
    for name, rank in ranks.items():
        order = np.sort(rank)
        steps = np.arange(1, pilots + 1) / pilots
        distance = max(np.max(steps - order), np.max(order - steps + 1.0 / pilots))
        assert distance < 1.63 / np.sqrt(pilots), name


def test_standard_errors_that_are_too_small_are_found_by_calibration() -> None:
    rng, pilots = np.random.default_rng(4), 5000
    mu, tau = rng.normal(0.0, 5.0, pilots), np.abs(rng.normal(0.0, 8.0, pilots))
    seen = mu[:, None] + tau[:, None] * rng.normal(size=(pilots, 8)) + SE * rng.normal(size=(pilots, 8))
    many = many_hierarchies(seen, SE / 2.0, mu_prior=gbv.Normal(0, 5), tau_prior=gbv.HalfNormal(8.0))
    order = np.sort(many.average_cdf(mu))
    assert np.max(np.abs(np.arange(1, pilots + 1) / pilots - order)) > 1.63 / np.sqrt(pilots)
