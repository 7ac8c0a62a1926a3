"""Design-based linearisation: against textbook variances, brute force over samples, and its own invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gbveval.numerics.survey import design_effect, mean, ratio, sample_design, total, unit_influence

RNG_SEED = 20260101


def _variance(design, row_values) -> float:
    return float((unit_influence(design, row_values) ** 2).sum())


def test_simple_random_sample_gives_the_textbook_variance_of_a_mean():
    y = np.random.default_rng(RNG_SEED).normal(size=30)
    found = mean(y, np.full(30, 7.0), np.ones(30, bool))
    assert found.value == pytest.approx(y.mean(), rel=1e-12)
    assert _variance(sample_design(30), found.row_values) == pytest.approx(y.var(ddof=1) / 30, rel=1e-12)


def test_strata_add_their_own_variances():
    rng = np.random.default_rng(RNG_SEED)
    stratum = np.repeat([0, 1, 2], [4, 7, 9])
    y, w = rng.normal(size=20) + stratum, np.array([3.0, 1.0, 2.0])[stratum]
    found = total(y, w, np.ones(20, bool))
    by_hand = sum(
        m * np.var(w[stratum == h] * y[stratum == h], ddof=1) for h, m in zip(range(3), (4, 7, 9), strict=True)
    )
    assert _variance(sample_design(20, stratum=stratum), found.row_values) == pytest.approx(by_hand, rel=1e-12)


def test_primary_units_count_by_their_totals():
    rng = np.random.default_rng(RNG_SEED)
    psu = np.repeat(np.arange(6), [2, 3, 1, 4, 2, 3])
    y, w = rng.normal(size=15), rng.uniform(1, 3, 15)
    found = mean(y, w, np.ones(15, bool))
    z = w * (y - found.value) / w.sum()
    totals = np.array([z[psu == g].sum() for g in range(6)])
    assert _variance(sample_design(15, psu=psu), found.row_values) == pytest.approx(
        6 / 5 * (totals**2).sum(), rel=1e-12
    )


def test_variance_of_a_total_is_unbiased_over_all_samples_with_replacement():
    """Every one of the 5^3 ordered samples of three units from five: the mean variance is the variance of the total."""
    population = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    w = np.full(3, 5 / 3)
    design = sample_design(3)
    totals, variances = [], []
    for draw in itertools.product(range(5), repeat=3):
        found = total(population[list(draw)], w, np.ones(3, bool))
        totals.append(found.value)
        variances.append(_variance(design, found.row_values))
    assert np.mean(totals) == pytest.approx(population.sum(), rel=1e-12)
    assert np.mean(variances) == pytest.approx(np.var(totals), rel=1e-12)


def test_a_domain_keeps_units_without_a_member():
    """The variance of a domain total counts empty units as zeros, which a subset of the file would forget."""
    psu = np.repeat(np.arange(5), 2)
    y = np.arange(1.0, 11.0)
    member = psu < 3
    found = total(y, np.ones(10), member)
    totals = np.array([y[(psu == g) & member].sum() for g in range(5)])
    assert _variance(sample_design(10, psu=psu), found.row_values) == pytest.approx(
        5 * np.var(totals, ddof=1), rel=1e-12
    )


def test_cross_product_is_the_covariance_of_a_difference_of_domains():
    rng = np.random.default_rng(RNG_SEED)
    n = 60
    psu, y, w = np.repeat(np.arange(12), 5), rng.normal(size=n), rng.uniform(1, 2, n)
    stratum = (psu >= 6).astype(np.intp)
    group = rng.integers(0, 2, n).astype(bool)
    design = sample_design(n, psu=psu, stratum=stratum)
    a, b = mean(y, w, group), mean(y, w, ~group)
    influence = unit_influence(design, np.column_stack([a.row_values, b.row_values]))
    covariance = influence.T @ influence
    direct = _variance(design, a.row_values - b.row_values)
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] == pytest.approx(direct, rel=1e-12)


def test_ratio_is_linearised_like_the_numeric_derivative_in_the_weights():
    """The linearised value of a respondent is its weight times the derivative of the estimate in its weight."""
    rng = np.random.default_rng(RNG_SEED)
    y, x, w = rng.uniform(1, 2, 8), rng.uniform(1, 3, 8), rng.uniform(1, 2, 8)
    everyone = np.ones(8, bool)
    found = ratio(y, x, w, everyone)
    for i in range(8):
        step = np.zeros(8)
        step[i] = 1e-6
        slope = (ratio(y, x, w + step, everyone).value - ratio(y, x, w - step, everyone).value) / 2e-6
        # Central differences with a step of 1e-6 are exact to about 1e-9.
        assert found.row_values[i] == pytest.approx(w[i] * slope, abs=1e-8)


def test_scale_of_weights_row_order_and_unit_numbers_do_not_matter():
    rng = np.random.default_rng(RNG_SEED)
    n = 40
    psu, y, w = np.repeat(np.arange(10), 4), rng.integers(0, 2, n).astype(float), rng.uniform(1, 5, n)
    stratum = psu // 5
    everyone = np.ones(n, bool)
    base = _variance(sample_design(n, psu=psu, stratum=stratum), mean(y, w, everyone).row_values)
    rows, names = rng.permutation(n), rng.permutation(10)
    moved = sample_design(n, psu=names[psu][rows], stratum=1 - stratum[rows])
    again = mean(y[rows], 1000 * w[rows], everyone)
    assert _variance(moved, again.row_values) == pytest.approx(base, rel=1e-10)


def test_two_copies_of_every_respondent_in_its_unit_change_nothing():
    rng = np.random.default_rng(RNG_SEED)
    psu, y, w = np.repeat(np.arange(8), 3), rng.normal(size=24), rng.uniform(1, 2, 24)
    one = _variance(sample_design(24, psu=psu), mean(y, w, np.ones(24, bool)).row_values)
    twice = np.tile(np.arange(24), 2)
    two = mean(y[twice], w[twice], np.ones(48, bool))
    assert _variance(sample_design(48, psu=psu[twice]), two.row_values) == pytest.approx(one, rel=1e-12)


def test_lonely_units_are_refused_with_their_number_or_centred_at_the_overall_mean():
    stratum = np.array([0, 0, 1, 2, 2, 3])
    with pytest.raises(ValueError, match="2 of 4 strata have a single primary"):
        sample_design(6, stratum=stratum)
    design = sample_design(6, stratum=stratum, lonely_psu="adjust")
    z = np.array([1.0, 3.0, 5.0, 2.0, 6.0, 4.0])
    centre = z.mean()
    by_hand = 2 * np.var(z[:2], ddof=1) + (5 - centre) ** 2 + 2 * np.var(z[3:5], ddof=1) + (4 - centre) ** 2
    assert _variance(design, z) == pytest.approx(by_hand, rel=1e-12)
    assert (design.n_lonely, design.df()) == (2, 2.0)


def test_a_unit_in_two_strata_and_an_unknown_policy_are_refused():
    with pytest.raises(ValueError, match="more than one stratum"):
        sample_design(3, psu=np.array([0, 0, 1]), stratum=np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="lonely_psu"):
        sample_design(3, lonely_psu="remove")


def test_degrees_of_freedom_of_a_domain_count_units_and_strata_with_a_member():
    psu = np.arange(8)
    design = sample_design(8, psu=psu, stratum=psu // 4)
    assert design.df() == 6.0
    assert design.df(psu < 3) == 2.0
    assert design.df(np.isin(psu, [0, 5])) == 0.0


def test_an_empty_domain_has_no_ratio():
    assert np.isnan(mean(np.ones(3), np.ones(3), np.zeros(3, bool)).value)


def test_design_effect_is_one_for_a_simple_random_sample_and_the_cluster_size_for_copies():
    rng = np.random.default_rng(RNG_SEED)
    y = rng.integers(0, 2, 50).astype(float)
    everyone = np.ones(50, bool)
    found = mean(y, np.ones(50), everyone)
    assert design_effect(_variance(sample_design(50), found.row_values), y, np.ones(50), everyone) == pytest.approx(1)
    copied = np.repeat(y, 4)
    cluster = mean(copied, np.ones(200), np.ones(200, bool))
    variance = _variance(sample_design(200, psu=np.repeat(np.arange(50), 4)), cluster.row_values)
    found = design_effect(variance, copied, np.ones(200), np.ones(200, bool))
    # s^2 divides by n - 1, once with 50 and once with 200 respondents.
    assert found == pytest.approx(4 * (199 / 200) * (50 / 49), rel=1e-12)
    assert np.isnan(design_effect(0.1, np.ones(5), np.ones(5), np.ones(5, bool)))
    assert np.isnan(design_effect(0.1, y, np.ones(50), np.arange(50) == 3))
