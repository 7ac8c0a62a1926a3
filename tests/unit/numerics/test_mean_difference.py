"""Differences in means: direct formulas, and every allocation of tiny trials enumerated."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from gbveval.numerics.mean_difference import (
    clustered,
    matched_pairs,
    neyman,
    paired_clusters,
    stratified,
    stratified_clusters,
)

FloatArray = NDArray[np.float64]
CONTROL = np.array([0.0, 1.0, 3.5, 2.0, -1.0, 4.0])
EFFECTS = np.array([1.0, -0.5, 2.0, 0.0, 3.0, 0.25])


def variance(found: object) -> float:
    influence: FloatArray = found.influence  # type: ignore[attr-defined]
    return float(influence @ influence)


# -- formulas -------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12), st.floats(-1e6, 1e6))
def test_neyman_is_welch(seed: int, n1: int, n0: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    y = offset + rng.normal(size=n1 + n0) * rng.uniform(0.5, 2.0)
    treated = np.arange(n1 + n0) < n1
    found = neyman(y, treated)
    welch = stats.ttest_ind(y[treated], y[~treated], equal_var=False)
    # The offset costs digits of the difference, not of the method.
    assert found.value == pytest.approx(y[treated].mean() - y[~treated].mean(), abs=1e-9 * max(abs(offset), 1))
    assert found.df == pytest.approx(welch.df, rel=1e-6)
    assert found.value / np.sqrt(variance(found)) == pytest.approx(welch.statistic, rel=1e-6)


def test_stratified_is_the_weighted_mean_of_strata() -> None:
    rng = np.random.default_rng(1)
    stratum = np.repeat([0, 1, 2], [4, 6, 10])
    treated = np.tile([True, False], 10)
    y = rng.normal(size=20)
    found = stratified(y, treated, stratum)
    value = total = 0.0
    for s in range(3):
        m = stratum == s
        part = neyman(y[m], treated[m])
        value += m.mean() * part.value
        total += m.mean() ** 2 * variance(part)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert variance(found) == pytest.approx(total, rel=1e-12)
    assert found.df == 14.0
    one = stratified(y, treated, np.zeros(20, dtype=np.intp))
    assert variance(one) == pytest.approx(variance(neyman(y, treated)), rel=1e-12)


def test_pairs_are_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    pair = np.tile(np.arange(7), 2)
    treated = np.repeat([True, False], 7)
    y = rng.normal(size=14)
    order = rng.permutation(14)
    found = matched_pairs(y[order], treated[order], pair[order], 7)
    paired = stats.ttest_rel(y[:7], y[7:])
    assert found.value / np.sqrt(variance(found)) == pytest.approx(paired.statistic, rel=1e-12)
    assert found.df == paired.df == 6


def test_paired_clusters_follow_the_published_formula() -> None:
    rng = np.random.default_rng(3)
    pairs = 6
    sizes = rng.integers(3, 30, 2 * pairs).astype(float)
    pair, treated = np.tile(np.arange(pairs), 2), np.repeat([True, False], pairs)
    totals = rng.normal(size=2 * pairs) * sizes
    found = paired_clusters(totals, sizes, treated, pair, pairs)
    mean = totals / sizes
    difference = mean[:pairs] - mean[pairs:]
    weight = sizes[:pairs] + sizes[pairs:]
    n = weight.sum()
    value = weight @ difference / n
    # Imai, King and Nall (2009): pairs / ((pairs - 1) n^2) times the sum of squared deviations of weighted differences.
    expected = pairs / ((pairs - 1) * n**2) * np.sum((weight * difference - n * value / pairs) ** 2)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert variance(found) == pytest.approx(expected, rel=1e-12)
    assert found.df == pairs - 1
    equal = paired_clusters(mean * 5.0, np.full(2 * pairs, 5.0), treated, pair, pairs)
    assert variance(equal) == pytest.approx(stats.sem(difference) ** 2, rel=1e-12)


def test_clusters_of_equal_size_are_the_means_of_clusters() -> None:
    rng = np.random.default_rng(4)
    means = rng.normal(size=9)
    treated = np.arange(9) < 4
    value, influence, _ = clustered(means * 6.0, np.full(9, 6.0), treated)
    plain = neyman(means, treated)
    assert float(value) == pytest.approx(plain.value, rel=1e-12)
    assert float(influence @ influence) == pytest.approx(variance(plain), rel=1e-12)


def test_clusters_of_one_are_people() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(size=11)
    treated = np.arange(11) % 3 == 0
    value, influence, _ = clustered(y, np.ones(11), treated)
    assert float(value) == pytest.approx(neyman(y, treated).value, rel=1e-12)
    assert float(influence @ influence) == pytest.approx(variance(neyman(y, treated)), rel=1e-12)


def test_many_draws_at_once_are_the_draws_one_by_one() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 20, 8).astype(float)
    treated = np.arange(8) % 2 == 0
    totals = rng.normal(size=(5, 8))
    value, influence, df = clustered(totals, sizes, treated)
    for draw in range(5):
        one = clustered(totals[draw], sizes, treated)
        assert value[draw] == pytest.approx(float(one[0]), rel=1e-12)
        np.testing.assert_allclose(influence[draw], one[1], rtol=1e-12)
        assert df == one[2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(-50, 50), st.floats(0.01, 100))
def test_influence_adds_to_zero_in_each_arm_and_scales(seed: int, n: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=2 * n)
    treated = np.arange(2 * n) < n
    found, moved = neyman(y, treated), neyman(scale * y + shift, treated)
    assert abs(found.influence[treated].sum()) < 1e-10
    assert moved.value == pytest.approx(scale * found.value, rel=1e-7, abs=1e-9)
    assert variance(moved) == pytest.approx(scale**2 * variance(found), rel=1e-7)
    swapped = neyman(y, ~treated)
    assert swapped.value == pytest.approx(-found.value, abs=1e-12)
    assert variance(swapped) == pytest.approx(variance(found), rel=1e-12)


# -- all allocations ------------------------------------------------------------------------------------------------


def outcomes(treated: NDArray[np.bool_]) -> FloatArray:
    return CONTROL + EFFECTS * treated


def test_complete_randomisation_enumerated() -> None:
    values, variances = [], []
    for chosen in combinations(range(6), 3):
        treated = np.isin(np.arange(6), chosen)
        found = neyman(outcomes(treated), treated)
        values.append(found.value)
        variances.append(variance(found))
    assert np.mean(values) == pytest.approx(EFFECTS.mean(), rel=1e-12)
    # Neyman (1923): the estimate exceeds the truth by the variance of the effects over the units.
    excess = np.mean(variances) - np.var(values)
    assert excess == pytest.approx(EFFECTS.var(ddof=1) / 6, rel=1e-10)


def test_stratified_randomisation_enumerated() -> None:
    control, effects = np.concatenate([CONTROL, CONTROL[:4] + 5]), np.concatenate([EFFECTS, -EFFECTS[:4]])
    stratum = np.repeat([0, 1], [6, 4])
    values, variances = [], []
    for first in combinations(range(6), 2):
        for second in combinations(range(6, 10), 2):
            treated = np.isin(np.arange(10), [*first, *second])
            found = stratified(control + effects * treated, treated, stratum)
            values.append(found.value)
            variances.append(variance(found))
    assert np.mean(values) == pytest.approx(effects.mean(), rel=1e-12)
    excess = sum((m.mean() ** 2) * effects[m].var(ddof=1) / m.sum() for m in (stratum == 0, stratum == 1))
    assert np.mean(variances) - np.var(values) == pytest.approx(excess, rel=1e-10)


def test_paired_randomisation_enumerated() -> None:
    pair = np.array([0, 0, 1, 1, 2, 2])
    values, variances = [], []
    for flips in product([0, 1], repeat=3):
        treated = np.array([(i % 2) == flips[i // 2] for i in range(6)])
        found = matched_pairs(outcomes(treated), treated, pair, 3)
        values.append(found.value)
        variances.append(variance(found))
    assert np.mean(values) == pytest.approx(EFFECTS.mean(), rel=1e-12)
    per_pair = EFFECTS.reshape(3, 2).mean(axis=1)
    # Imai (2008): the excess is the variance between pairs of the average effect.
    assert np.mean(variances) - np.var(values) == pytest.approx(per_pair.var(ddof=1) / 3, rel=1e-10)


def test_cluster_randomisation_enumerated() -> None:
    control, effects = CONTROL, EFFECTS
    values, variances = [], []
    for chosen in combinations(range(6), 3):
        treated = np.isin(np.arange(6), chosen)
        value, influence, _ = clustered((control + effects * treated) * 4.0, np.full(6, 4.0), treated)
        values.append(float(value))
        variances.append(float(influence @ influence))
    assert np.mean(values) == pytest.approx(effects.mean(), rel=1e-12)
    assert np.mean(variances) - np.var(values) == pytest.approx(effects.var(ddof=1) / 6, rel=1e-10)


def test_paired_clusters_enumerated() -> None:
    pair = np.array([0, 0, 1, 1, 2, 2])
    sizes = np.array([3.0, 3.0, 8.0, 8.0, 5.0, 5.0])  # Equal within pairs, where the estimator is unbiased.
    values, variances = [], []
    for flips in product([0, 1], repeat=3):
        treated = np.array([(i % 2) == flips[i // 2] for i in range(6)])
        found = paired_clusters(outcomes(treated) * sizes, sizes, treated, pair, 3)
        values.append(found.value)
        variances.append(variance(found))
    assert np.mean(values) == pytest.approx(float(sizes @ EFFECTS / sizes.sum()), rel=1e-12)
    assert np.mean(variances) >= np.var(values)


# -- clusters within strata -------------------------------------------------------------------------------------------


def _clusters_in_strata(seed: int) -> tuple[FloatArray, FloatArray, NDArray[np.bool_], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    stratum = np.repeat([0, 1, 2], [5, 7, 4]).astype(np.intp)
    treated = np.array([1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0], dtype=bool)
    sizes = rng.integers(2, 30, 16).astype(float)
    return rng.normal(size=16) * sizes, sizes, treated, stratum


def test_clusters_in_one_stratum_are_clusters() -> None:
    totals, sizes, treated, stratum = _clusters_in_strata(1)
    value, influence, df = clustered(totals, sizes, treated)
    found = stratified_clusters(totals, sizes, treated, np.zeros_like(stratum), weights=np.array([sizes.sum()]))
    # The same sums in the same order, up to the multiplication by a share of one.
    assert found.value == pytest.approx(float(value), rel=1e-14)
    np.testing.assert_allclose(found.influence, influence, rtol=1e-14)
    assert found.df == pytest.approx(df, rel=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_in_strata_are_a_saturated_regression_with_cr2(seed: int) -> None:
    """Dense matrices, straight from the definition: one column a stratum and arm, CR2 by eigenvectors, 2 E^2 / Var."""
    totals, sizes, treated, stratum = _clusters_in_strata(seed)
    people = np.bincount(stratum, weights=sizes)
    found = stratified_clusters(totals, sizes, treated, stratum, weights=people)
    member = np.repeat(np.arange(16), sizes.astype(int))
    # Residuals of people about their cluster's mean meet columns that are constant in it, so any will do.
    y = (totals / sizes)[member]
    column = 2 * stratum + treated
    x = (column[member][:, None] == np.arange(6)).astype(float)
    bread = np.linalg.inv(x.T @ x)
    contrast = np.repeat(people / people.sum(), 2) * np.tile([-1.0, 1.0], 3)
    beta = bread @ x.T @ y
    hat = x @ bread @ x.T
    weights = np.zeros((16, y.size))
    for g in range(16):
        rows = member == g
        values, vectors = np.linalg.eigh(np.eye(int(rows.sum())) - hat[np.ix_(rows, rows)])
        weights[g, rows] = contrast @ bread @ x[rows].T @ (vectors / np.sqrt(values)) @ vectors.T
    residual_maker = np.eye(y.size) - hat
    variance_of_parts = weights @ residual_maker @ weights.T
    expected, spread = np.trace(variance_of_parts), 2.0 * np.sum(variance_of_parts**2)
    # Matrices of a few hundred rows, inverted and multiplied in double precision.
    assert found.value == pytest.approx(float(contrast @ beta), rel=1e-10)
    assert variance(found) == pytest.approx(float(np.sum((weights @ (y - x @ beta)) ** 2)), rel=1e-9)
    assert found.df == pytest.approx(2.0 * expected**2 / spread, rel=1e-9)


def test_equal_clusters_in_strata_have_neymans_variance_over_cluster_means() -> None:
    rng = np.random.default_rng(4)
    _, _, treated, stratum = _clusters_in_strata(1)
    means = rng.normal(size=16)
    sizes = np.full(16, 12.0)
    found = stratified_clusters(means * sizes, sizes, treated, stratum, weights=np.bincount(stratum) * 12.0)
    summaries = stratified(means, treated, stratum)
    assert found.value == pytest.approx(summaries.value, rel=1e-12)
    assert variance(found) == pytest.approx(variance(summaries), rel=1e-12)


def test_unequal_shares_of_clusters_are_right_over_all_allocations() -> None:
    """One in three treated in the first stratum, where outcomes are high, and two in three in the second.

    Every allocation is enumerated. With clusters of one size the mean estimate is the average over participants
    exactly, and the mean variance estimate is the true variance plus what effects differ within strata (Neyman).
    """
    rng = np.random.default_rng(5)
    stratum = np.repeat([0, 1], 6).astype(np.intp)
    control = np.where(stratum == 0, 5.0, 0.0) + rng.normal(size=12)
    effect = np.where(stratum == 0, 2.0, -1.0) + rng.normal(size=12)
    sizes = np.full(12, 8.0)
    estimates, variances = [], []
    for first in combinations(range(6), 2):
        for second in combinations(range(6, 12), 4):
            treated = np.isin(np.arange(12), (*first, *second))
            totals = sizes * (control + treated * effect)
            found = stratified_clusters(totals, sizes, treated, stratum, weights=np.array([48.0, 48.0]))
            estimates.append(found.value)
            variances.append(variance(found))
    # Sums of 225 terms of order one.
    assert np.mean(estimates) == pytest.approx(effect.mean(), abs=1e-12)
    excess = sum(0.25 * np.var(effect[stratum == s], ddof=1) / 6.0 for s in (0, 1))
    assert np.mean(variances) == pytest.approx(np.var(estimates) + excess, rel=1e-10)
    crude = np.mean(
        [
            clustered(sizes * (control + t * effect), sizes, t)[0]
            for t in (np.isin(np.arange(12), [0, 1, 6, 7, 8, 9]), np.isin(np.arange(12), [4, 5, 8, 9, 10, 11]))
        ]
    )
    assert abs(crude - effect.mean()) > 0.5, "a comparison that leaves strata out is far off here"
