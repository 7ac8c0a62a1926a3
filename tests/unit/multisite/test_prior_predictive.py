"""What priors say in outcome units: closed forms, plain random draws, and the words in every answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.numerics.prior_draws import even_points

TABLES = gbv.TablePrior(gbv.Normal(0.1, 0.5), gbv.HalfNormal(0.3), site_control=gbv.Normal(-2, 1))
SITES = gbv.SitePrior(gbv.Normal(-1, 0.7), gbv.Normal(0.2, 0.5), gbv.HalfNormal(0.5), gbv.HalfNormal(0.4), 1.0)


def rows(model: object, **options: str) -> dict[str, tuple[float, float, float]]:
    return {row[0]: row[2:] for row in gbv.prior_predictive(model, **options).rows}


def near(found: tuple[float, ...], values: np.ndarray) -> None:
    """Compare on the normal score of the probability, where quantiles by 4,096 even points are good to 0.03."""
    place = [np.mean(values <= x) for x in found]
    np.testing.assert_allclose(stats.norm.ppf(place), stats.norm.ppf([0.025, 0.5, 0.975]), atol=0.05)


def test_levels_and_averages_have_closed_forms() -> None:
    found = rows(gbv.TableHierarchy(TABLES))
    score = stats.norm.ppf([0.025, 0.5, 0.975])
    # A hundredth of the sd on the scale of log odds.
    np.testing.assert_allclose(logit(np.array(found["control arm of a site"]) / 100), -2 + score, atol=0.015)
    np.testing.assert_allclose(np.log(found["average odds ratio"]), 0.1 + 0.5 * score, atol=0.01)


def test_arms_and_ratios_are_those_of_random_draws() -> None:
    rng, n = np.random.default_rng(1), 400_000
    level, mu, tau = rng.normal(-2, 1, n), rng.normal(0.1, 0.5, n), 0.3 * np.abs(rng.normal(size=n))
    for df, shape in ((None, rng.normal(size=n)), (3.0, rng.standard_t(3.0, size=n))):
        found, theta = rows(gbv.TableHierarchy(TABLES, df=df)), mu + tau * shape
        near(found["odds ratio in a site"], np.exp(theta))
        near(found["intervention arm of a site"], 100 * expit(level + theta))
        near(found["difference between arms"], 100 * (expit(level + theta) - expit(level)))


@pytest.mark.parametrize(
    ("family", "shown"), [("binomial", lambda x: 100 * expit(x)), ("negative_binomial", lambda x: 100 * np.exp(x))]
)
def test_people_have_correlated_levels_and_effects(family: str, shown: object) -> None:
    rng, n = np.random.default_rng(2), 400_000
    a, t = 0.5 * np.abs(rng.normal(size=n)), 0.4 * np.abs(rng.normal(size=n))
    # LKJ of eta 1 is uniform for two.
    r, z = rng.uniform(-1, 1, n), rng.normal(size=(2, n))
    level = rng.normal(-1, 0.7, n) + a * z[0]
    effect = rng.normal(0.2, 0.5, n) + t * (r * z[0] + np.sqrt(1 - r**2) * z[1])
    found = rows(gbv.HierarchicalModel(SITES), outcome=family)
    near(found["control arm of a site"], shown(level))
    near(found["intervention arm of a site"], shown(level + effect))


def test_estimates_are_shown_as_their_contrast_is() -> None:
    prior = gbv.HierarchyPrior(gbv.Normal(0, 0.5), gbv.HalfNormal(0.5))
    plain, ratio = rows(gbv.NormalHierarchy(prior)), rows(gbv.NormalHierarchy(prior), outcome="risk_ratio")
    # Quantiles lie between two points, on one scale or the other.
    np.testing.assert_allclose(np.log(ratio["risk ratio in a site"]), plain["mean difference in a site"], atol=1e-3)


def test_a_hurdle_has_both_parts() -> None:
    whole = gbv.SitePrior(
        gbv.Normal(1, 0.5), gbv.Normal(0, 0.3), gbv.HalfNormal(0.3), gbv.HalfNormal(0.2),
        dispersion=gbv.HalfNormal(2), any_outcome=SITES,
    )  # fmt: skip
    found = rows(gbv.HierarchicalModel(whole, family="hurdle"))
    assert {"control arm of a site", "control arm of a site, any at all"} <= set(found)


def test_every_answer_says_it() -> None:
    frame = {"site": ["a", "a", "b", "b"], "arm": ["new", "usual"] * 2, "y": [0, 4, 5, 9], "n": [40, 38, 60, 61]}
    tables = gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", n="n")
    said = gbv.TableHierarchy(TABLES).estimate(tables).method.small_sample
    assert "the control arm of a site at 1.9 to 48.8 events per 100 people" in said
    sites = gbv.SiteEffects({"y": [0.1, 0.3], "se": [0.1, 0.2]}, estimate="y", std_error="se", contrast="odds_ratio")
    prior = gbv.HierarchyPrior(gbv.Normal(0, 0.5), gbv.HalfNormal(0.5))
    assert "the odds ratio in a site at 0.2" in gbv.NormalHierarchy(prior).estimate(sites).method.small_sample
    flat = gbv.HierarchyPrior(gbv.Flat(), gbv.HalfNormal(0.5))
    assert "they put" not in gbv.NormalHierarchy(flat).estimate(sites).method.small_sample


def test_points_are_even() -> None:
    for dimensions in (1, 3, 7):
        points = even_points(4096, dimensions)
        assert points.shape == (4096, dimensions)
        # Distance between empirical and uniform distribution: for random points about 1 / 64.
        steps = np.arange(1, 4097)[:, None] / 4096
        assert np.abs(np.sort(points, axis=0) - steps).max() < 10 / 4096


def test_refusals() -> None:
    with pytest.raises(DesignError, match="flat"):
        gbv.prior_predictive(gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Flat(), gbv.HalfNormal(1))))
    with pytest.raises(DesignError, match="conditional"):
        gbv.prior_predictive(gbv.TableHierarchy(gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(1))))
    with pytest.raises(DesignError, match="must be one of"):
        gbv.prior_predictive(gbv.HierarchicalModel(SITES), outcome="weibull")
    with pytest.raises(DesignError, match="takes a model"):
        gbv.prior_predictive(gbv.RandomEffects())
