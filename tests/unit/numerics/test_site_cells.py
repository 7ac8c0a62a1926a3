"""Sums lose nothing: the likelihood of cells is that of people, whatever the family."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbveval.numerics.bivariate_twin import bivariate_twin
from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.priors import HalfNormal, Normal
from gbveval.numerics.site_approximation import Nuisance, arm_levels
from gbveval.numerics.site_cells import MOST_LEVELS, site_cells


def people(rng: np.random.Generator, n: int = 300, sites: int = 4) -> tuple[np.ndarray, np.ndarray]:
    site = np.concatenate([np.repeat(np.arange(sites), 2), rng.integers(0, sites, n - 2 * sites)])
    arm = np.concatenate([np.tile([0, 1], sites), rng.integers(0, 2, n - 2 * sites)])
    return site, arm


@given(st.integers(0, 2**32 - 1))
def test_sums_do_not_depend_on_the_order_of_people(seed: int) -> None:
    rng = np.random.default_rng(seed)
    site, arm = people(rng)
    y, x = rng.poisson(2.0, site.size).astype(float), rng.integers(0, 3, (site.size, 1)).astype(float)
    order = rng.permutation(site.size)
    a = site_cells(y, site, arm, family="hurdle", n_arms=2, covariates=x)
    b = site_cells(y[order], site[order], arm[order], family="hurdle", n_arms=2, covariates=x[order])
    for name in ("site", "arm", "n", "total", "positive", "values", "people"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert np.allclose(a.covariates, b.covariates, rtol=0, atol=1e-12)


def test_every_person_is_in_one_cell() -> None:
    rng = np.random.default_rng(1)
    site, arm = people(rng)
    cluster, y = rng.integers(0, 5, site.size), rng.integers(0, 4, site.size).astype(float)
    cells = site_cells(y, site, arm, family="ordinal", n_arms=2, cluster=cluster)
    assert cells.n.sum() == site.size
    assert np.array_equal(cells.categories.sum(axis=1), cells.n)
    assert np.array_equal(cells.categories.sum(axis=0), np.bincount(y.astype(int)))
    assert cells.n_cells == len(set(zip(site, arm, cluster, strict=True)))


def test_cross_products_are_those_of_a_regression_on_people() -> None:
    """Least squares with an intercept for every cell, by way of the sums."""
    rng = np.random.default_rng(2)
    site, arm = people(rng)
    # A level far from zero: sums of squares that are not centred would lose their digits.
    x = 1e6 + rng.normal(size=(site.size, 2))
    y = 1e7 + x @ [0.5, -0.3] + 0.2 * arm + rng.normal(size=site.size)
    cells = site_cells(y, site, arm, family="normal", n_arms=2, covariates=x)
    slopes = np.linalg.solve(cells.within[1:, 1:], cells.within[1:, 0])
    dummies = (site * 2 + arm)[:, None] == np.arange(8)
    wanted = np.linalg.lstsq(np.hstack([dummies, x - x.mean(axis=0)]), y - y.mean(), rcond=None)[0]
    assert slopes == pytest.approx(wanted[-2:], rel=1e-8)


def test_a_covariate_with_many_values_is_refused_except_where_cross_products_hold_it() -> None:
    rng = np.random.default_rng(3)
    site, arm = people(rng)
    x, y = rng.normal(size=(site.size, 1)), rng.integers(0, 2, site.size).astype(float)
    with pytest.raises(ValueError, match=f"more than {MOST_LEVELS}"):
        site_cells(y, site, arm, family="binomial", n_arms=2, covariates=x)
    assert site_cells(y, site, arm, family="normal", n_arms=2, covariates=x).n_cells == 8


def test_levels_are_log_odds_with_half_a_person_at_each_end() -> None:
    y, site, arm = np.repeat([0.0, 1, 0], [30, 10, 20]), np.zeros(60, dtype=int), np.repeat([0, 1], [40, 20])
    level, variance = arm_levels(site_cells(y, site, arm, family="binomial", n_arms=2), "binomial")
    assert level[0] == pytest.approx(np.log([10.5 / 30.5, 0.5 / 20.5]), abs=1e-9)
    assert variance[0] == pytest.approx([1 / 10.5 + 1 / 30.5, 1 / 0.5 + 1 / 20.5], rel=1e-8)


def test_two_ordered_levels_are_a_yes_or_no_outcome() -> None:
    rng = np.random.default_rng(4)
    site, arm = people(rng)
    y = rng.integers(0, 2, site.size).astype(float)
    binary = arm_levels(site_cells(y, site, arm, family="binomial", n_arms=2), "binomial")
    ordered = site_cells(y, site, arm, family="ordinal", n_arms=2)
    levels = arm_levels(ordered, "ordinal", Nuisance(cutpoints=np.zeros(1)))
    assert levels[0] == pytest.approx(binary[0], abs=1e-8)
    assert levels[1] == pytest.approx(binary[1], rel=1e-7)


def test_a_level_of_counts_is_nearly_the_log_mean() -> None:
    rng = np.random.default_rng(5)
    site, arm = np.repeat([0, 1], 4000), np.tile([0, 1], 4000)
    y = rng.negative_binomial(1.5, 1.5 / (1.5 + 2.0), 8000).astype(float)
    cells = site_cells(y, site, arm, family="negative_binomial", n_arms=2)
    level, variance = arm_levels(cells, "negative_binomial", Nuisance(dispersion=1.5))
    means = np.array([[y[(site == s) & (arm == a)].mean() for a in (0, 1)] for s in (0, 1)])
    # Half an event in some 4,000, as many as are expected of it.
    assert level == pytest.approx(np.log(means), abs=1e-4)
    assert variance == pytest.approx((1 / means + 1 / 1.5) / 2000, rel=2e-3)


PRIORS = {"means": (Normal(0, 2), Normal(0, 1)), "sds": (HalfNormal(1), HalfNormal(0.5))}


def test_the_twin_is_the_exact_hierarchy_of_effects_where_control_says_nothing() -> None:
    """Control levels without error share nothing with the effects, and no correlation ties them."""
    y, se = np.array([0.3, -0.1, 0.4, 0.9, 0.2]), np.array([0.2, 0.15, 0.3, 0.25, 0.1])
    control = np.array([0.1, -0.6, 0.3, 0.2, -0.4])
    variance = np.column_stack([np.full(5, 1e-12), se**2])
    twin = bivariate_twin(np.column_stack([control, control + y]), variance, eta=1e6, **PRIORS)
    exact = normal_hierarchy(y, se, mu_prior=Normal(0, 1), tau_prior=HalfNormal(0.5))
    assert twin.average_effect == pytest.approx(float(exact.mu.mean[0]), abs=2e-6)
    assert twin.between_site_sd == pytest.approx(float(exact.tau.mean), abs=2e-6)


def test_the_twin_agrees_with_draws_from_its_prior_weighted_by_the_likelihood() -> None:
    rng = np.random.default_rng(6)
    level = np.array([[0.2, 0.9], [-0.4, 0.4], [0.9, 0.8], [0.1, 0.6]])
    variance = np.array([[0.05, 0.06], [0.08, 0.07], [0.04, 0.05], [0.1, 0.1]])
    twin = bivariate_twin(level, variance, eta=2.0, **PRIORS)
    n = 400_000
    mu = rng.normal(size=(n, 2)) * [2.0, 1.0]
    sd = np.abs(rng.normal(size=(n, 2)) * [1.0, 0.5])
    r = 2.0 * rng.beta(2.0, 2.0, n) - 1.0
    log = np.zeros(n)
    for (e0, e1), (v0, v1) in zip(level, variance, strict=True):
        a, b, c = v0 + sd[:, 0] ** 2, r * sd[:, 0] * sd[:, 1] - v0, v0 + v1 + sd[:, 1] ** 2
        x, y, d = e0 - mu[:, 0], e1 - e0 - mu[:, 1], a * c - b**2
        log += -0.5 * np.log(d) - 0.5 * (c * x**2 - 2 * b * x * y + a * y**2) / d
    weight = np.exp(log - log.max())
    found = np.column_stack([mu, sd, r])
    mean = weight @ found / weight.sum()
    error = np.sqrt((weight**2) @ (found - mean) ** 2) / weight.sum()
    wanted = [twin.control_mean, twin.average_effect, twin.between_site_sd_control, twin.between_site_sd]
    # Four Monte Carlo errors of each of five means: a false alarm in 3,000 draws of the seed.
    assert np.all(np.abs(mean - [*wanted, twin.correlation]) < 4 * error)
