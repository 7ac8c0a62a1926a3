"""CR2 and its degrees of freedom against dense matrices: explicit (I - H)^(-1/2), explicit P."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbveval.numerics import cluster_sandwich
from gbveval.numerics.cluster_sandwich import bias_reduced, cross_products, plain_cluster_robust
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.mean_difference import clustered

FloatArray = NDArray[np.float64]


def dense(design: FloatArray, y: FloatArray, cluster: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Return the CR2 covariance and Satterthwaite df of every coefficient, by n-by-n matrices."""
    x = np.column_stack([np.ones(len(y)), design])
    bread = np.linalg.inv(x.T @ x)
    hat = x @ bread @ x.T
    residual = y - hat @ y
    meat = np.zeros((x.shape[1], x.shape[1]))
    adjusted = []
    for g in np.unique(cluster):
        rows = np.flatnonzero(cluster == g)
        values, vectors = np.linalg.eigh(np.eye(rows.size) - hat[np.ix_(rows, rows)])
        root = np.where(values > 1e-9, 1 / np.sqrt(np.where(values > 1e-9, values, 1.0)), 0.0)
        a = (vectors * root) @ vectors.T
        score = x[rows].T @ a @ residual[rows]
        meat += np.outer(score, score)
        adjusted.append((rows, a))
    df = []
    for j in range(x.shape[1]):
        columns = []
        for rows, a in adjusted:
            w = a @ x[rows] @ bread[:, j]
            columns.append((np.eye(len(y)) - hat)[:, rows] @ w)
        p = np.column_stack(columns)
        gram = p.T @ p
        df.append(np.trace(gram) ** 2 / np.sum(gram**2))
    return bread @ meat @ bread, np.array(df)


def agrees(design: FloatArray, y: FloatArray, cluster: NDArray[np.intp], rtol: float = 1e-8) -> None:
    fit = fit_least_squares(design, y)
    robust = bias_reduced(fit, cross_products(fit, design, y, cluster, int(cluster.max()) + 1))
    covariance, df = dense(design, y, cluster)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(robust.covariance[:, :, 0] / scale, covariance / scale, atol=rtol)
    np.testing.assert_allclose(robust.df, df, rtol=1e-6)


def made(seed: int, sizes: list[int], k: int = 3) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    level = rng.normal(size=(len(sizes), k))
    design = level[cluster] + rng.normal(size=(cluster.size, k))
    y = rng.normal(size=len(sizes))[cluster] + rng.normal(size=cluster.size)
    return design, y, cluster


@pytest.mark.parametrize(
    "sizes", [[5] * 10, [1] * 30, [1, 2, 3, 40, 5, 6, 1, 1], [30, 30, 2, 2, 2, 2], [8, 1, 8, 1, 8]]
)
def test_cr2_and_df_are_those_of_dense_matrices(sizes: list[int]) -> None:
    agrees(*made(1, sizes))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=6, max_size=12), st.integers(1, 3))
def test_cr2_and_df_for_any_sizes(seed: int, sizes: list[int], k: int) -> None:
    if sum(sizes) > 3 * k + 8:
        agrees(*made(seed, sizes, k), rtol=1e-6)


def test_treatment_by_cluster() -> None:
    design, y, cluster = made(2, [3, 9, 4, 4, 12, 1, 7, 5], 2)
    treated = (cluster % 2).astype(float)
    agrees(np.column_stack([treated, design, treated[:, None] * (design - design.mean(axis=0))]), y, cluster)


def test_a_cluster_that_fits_a_coefficient_exactly_is_counted() -> None:
    design, y, cluster = made(3, [5] * 8, 2)
    own = (cluster == 4).astype(float)
    full = np.column_stack([design, own])
    agrees(full, y, cluster, rtol=1e-6)
    fit = fit_least_squares(full, y)
    assert bias_reduced(fit, cross_products(fit, full, y, cluster, 8)).singular_clusters == 1
    one_row = np.zeros(40)
    one_row[3] = 1.0
    agrees(np.column_stack([design, one_row]), y, cluster, rtol=1e-6)


def test_fixed_effects_of_every_cluster() -> None:
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(6), 8)
    dummies = (cluster[:, None] == np.arange(1, 6)).astype(float)
    x = rng.normal(size=48)
    y = rng.normal(size=48)
    full = np.column_stack([x, dummies])
    fit = fit_least_squares(full, y)
    robust = bias_reduced(fit, cross_products(fit, full, y, cluster, 6))
    covariance, df = dense(full, y, cluster)
    # Only the coefficient of x has a variance here; the rest is a cluster's own and fitted exactly.
    assert robust.covariance[1, 1, 0] == pytest.approx(covariance[1, 1], rel=1e-6)
    assert robust.df[1] == pytest.approx(df[1], rel=1e-6)


def test_singletons_give_hc2() -> None:
    design, y, _ = made(5, [1] * 40)
    fit = fit_least_squares(design, y)
    robust = bias_reduced(fit, cross_products(fit, design, y, np.arange(40), 40))
    model = sm.OLS(y, sm.add_constant(design)).fit(cov_type="HC2")
    np.testing.assert_allclose(robust.covariance[:, :, 0], model.cov_params(), rtol=1e-8, atol=1e-12)


def test_plain_covariances_are_those_of_statsmodels() -> None:
    design, y, cluster = made(6, [4, 9, 1, 6, 6, 3, 8])
    fit = fit_least_squares(design, y)
    sums = cross_products(fit, design, y, cluster, 7)
    for factor, correct in ((1.0, False), (7 / 6 * 36 / 33, True)):
        model = sm.OLS(y, sm.add_constant(design)).fit(
            cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": correct}
        )
        robust = plain_cluster_robust(fit, sums, factor=factor)
        np.testing.assert_allclose(robust.covariance[:, :, 0], model.cov_params(), rtol=1e-8, atol=1e-12)
        assert robust.df.tolist() == [6.0] * 4


def test_both_ways_of_adding_up_agree() -> None:
    design, y, cluster = made(7, [3] * 50, 2)
    columns = np.column_stack([y, y**2])
    fit = fit_least_squares(design, columns)
    shape = (50, 3, 3), (50, 3, 2)
    few, many = ((np.zeros(shape[0]), np.zeros(shape[1])) for _ in range(2))
    cluster_sandwich._add_by_cluster(fit, design, columns, cluster, few, None)
    cluster_sandwich._add_by_row(fit, design, columns, cluster, many, None)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize("sizes", [[4] * 6, [2] * 90])
def test_the_order_of_rows_and_labels_does_not_matter(sizes: list[int]) -> None:
    design, y, cluster = made(8, sizes, 2)
    rng = np.random.default_rng(0)
    count = len(sizes)

    def answer(d: FloatArray, v: FloatArray, c: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        fit = fit_least_squares(d, v)
        robust = bias_reduced(fit, cross_products(fit, d, v, c, count))
        return robust.covariance[:, :, 0], robust.df

    first = answer(design, y, cluster)
    rows = rng.permutation(y.size)
    shuffled = answer(design[rows], y[rows], cluster[rows])
    renamed = answer(design, y, rng.permutation(count)[cluster])
    for other in (shuffled, renamed):
        for a, b in zip(first, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_codes_without_rows_change_nothing() -> None:
    design, y, cluster = made(9, [5, 6, 7, 8, 9, 5], 2)
    fit = fit_least_squares(design, y)
    full = bias_reduced(fit, cross_products(fit, design, y, cluster, 6))
    gaps = bias_reduced(fit, cross_products(fit, design, y, 3 * cluster + 1, 20))
    np.testing.assert_allclose(gaps.covariance, full.covariance, rtol=1e-10)
    np.testing.assert_allclose(gaps.df, full.df, rtol=1e-9)
    assert gaps.singular_clusters == full.singular_clusters


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 30), min_size=4, max_size=14))
def test_the_closed_form_for_two_arms_is_the_general_one(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    treated = np.arange(len(sizes)) % 2 == 1
    y = rng.normal(size=cluster.size) + rng.normal(size=len(sizes))[cluster]
    totals = np.bincount(cluster, weights=y)
    value, influence, df = clustered(totals, np.array(sizes, dtype=float), treated)
    design = treated[cluster].astype(float)[:, None]
    fit = fit_least_squares(design, y)
    robust = bias_reduced(fit, cross_products(fit, design, y, cluster, len(sizes)))
    assert float(value) == pytest.approx(fit.beta[1, 0], rel=1e-8, abs=1e-10)
    assert float(influence @ influence) == pytest.approx(robust.covariance[1, 1, 0], rel=1e-7)
    assert df == pytest.approx(robust.df[1], rel=1e-7)


def test_equal_clusters_have_the_classical_df() -> None:
    sizes = np.full(10, 7.0)
    treated = np.arange(10) < 5
    assert clustered(np.arange(10.0), sizes, treated)[2] == pytest.approx(8.0, rel=1e-10)


def test_memory_does_not_grow_with_the_size_of_clusters() -> None:
    import tracemalloc

    rng = np.random.default_rng(10)
    design = rng.normal(size=(200_000, 3))
    y = rng.normal(size=200_000)
    cluster = np.repeat(np.arange(4), 50_000)
    fit = fit_least_squares(design, y)
    tracemalloc.start()
    bias_reduced(fit, cross_products(fit, design, y, cluster, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * design.nbytes
