"""Weighted CR2, the jackknife and joint tests against dense matrices, deletion and other systems."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gbveval.numerics.cluster_sandwich import cluster_robust, cross_products
from gbveval.numerics.cluster_wald import WALD_TESTS, cluster_wald
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.weighted_cluster_sandwich import weighted_bias_reduced

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def made(seed: int, sizes: list[int], k: int = 3) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    design = rng.normal(size=(len(sizes), k))[cluster] + rng.normal(size=(cluster.size, k))
    y = rng.normal(size=len(sizes))[cluster] + rng.normal(size=cluster.size)
    return design, y, cluster, rng.uniform(0.2, 5.0, cluster.size)


def dense(
    design: FloatArray, y: FloatArray, cluster: IntArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return covariance, df and the parts (I - H)'A_g W_g X_g M of every cluster, by n-by-n matrices."""
    x = np.column_stack([np.ones(len(y)), design])
    bread = np.linalg.inv(x.T @ (weights[:, None] * x))
    left = np.eye(len(y)) - x @ bread @ x.T * weights
    spread = left @ left.T
    residual = left @ y
    meat = np.zeros_like(bread)
    parts = []
    for g in np.unique(cluster):
        rows = np.flatnonzero(cluster == g)
        values, vectors = np.linalg.eigh(spread[np.ix_(rows, rows)])
        keep = values > 1e-9
        a = (vectors * np.where(keep, 1 / np.sqrt(np.where(keep, values, 1.0)), 0.0)) @ vectors.T
        heavy = weights[rows, None] * x[rows]
        score = heavy.T @ a @ residual[rows]
        meat += np.outer(score, score)
        parts.append(left.T[:, rows] @ a @ heavy @ bread)
    stacked = np.stack(parts)
    gram = np.einsum("gnj,hnj->jgh", stacked, stacked)
    df = np.array([np.trace(p) ** 2 / np.sum(p**2) for p in gram])
    return bread @ meat @ bread, df, stacked


@pytest.mark.parametrize("sizes", [[5] * 8, [1] * 25, [1, 2, 3, 30, 5, 6, 1, 1], [20, 20, 2, 2, 2, 2]])
def test_weighted_cr2_is_that_of_dense_matrices(sizes: list[int]) -> None:
    design, y, cluster, weights = made(1, sizes)
    fit = fit_least_squares(design, y, weights=weights)
    robust = weighted_bias_reduced(fit, design, y, cluster, len(sizes), weights=weights)
    covariance, df, _ = dense(design, y, cluster, weights)
    # Two square roots and an eigen-decomposition of small cross-products: ten digits are left.
    np.testing.assert_allclose(robust.covariance[:, :, 0], covariance, rtol=1e-8, atol=1e-10 * covariance.max())
    np.testing.assert_allclose(robust.df, df, rtol=1e-7)


def test_equal_weights_change_nothing() -> None:
    design, y, cluster, _ = made(2, [4, 7, 3, 3, 9, 2, 5])
    even = np.full(y.size, 3.0)
    fit = fit_least_squares(design, y)
    plain = cluster_robust(fit, cross_products(fit, design, y, cluster, 7), kind="CR2")
    weighted = weighted_bias_reduced(fit_least_squares(design, y, weights=even), design, y, cluster, 7, weights=even)
    np.testing.assert_allclose(weighted.covariance, plain.covariance, rtol=1e-9)
    np.testing.assert_allclose(weighted.df, plain.df, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_cr3_is_the_jackknife(weighted: bool) -> None:
    design, y, cluster, weights = made(3, [6, 4, 9, 5, 7, 3])
    w = weights if weighted else np.ones(y.size)
    fit = fit_least_squares(design, y, weights=w)
    robust = cluster_robust(fit, cross_products(fit, design, y, cluster, 6, weights=w), kind="CR3")
    x = np.column_stack([np.ones(y.size), design])
    full = np.linalg.solve(x.T @ (w[:, None] * x), x.T @ (w * y))
    jackknife = np.zeros((4, 4))
    for g in range(6):
        keep = cluster != g
        part = np.linalg.solve(x[keep].T @ (w[keep, None] * x[keep]), x[keep].T @ (w[keep] * y[keep]))
        jackknife += np.outer(part - full, part - full)
    np.testing.assert_allclose(robust.covariance[:, :, 0], jackknife, rtol=1e-8)


def test_hotelling_degrees_of_freedom_are_those_of_dense_matrices() -> None:
    design, y, cluster, weights = made(4, [6, 4, 9, 5, 7, 3, 8, 5])
    fit = fit_least_squares(design, y, weights=weights)
    robust = weighted_bias_reduced(fit, design, y, cluster, 8, weights=weights)
    constraints = np.zeros((3, 4))
    constraints[[0, 1, 2], [1, 2, 3]] = 1.0
    _, _, parts = dense(design, y, cluster, weights)
    q = 3
    turned = parts @ constraints.T
    omega = np.einsum("gns,gnt->st", turned, turned)
    values, vectors = np.linalg.eigh(omega)
    turned = turned @ ((vectors / np.sqrt(values)) @ vectors.T)
    p = np.einsum("gns,hnt->ghst", turned, turned)
    total = np.einsum("ghss,ghtt->", p, p) + np.einsum("ghst,ghts->", p, p)
    assert robust.moments is not None
    found = cluster_wald(fit.beta[:, 0], robust.covariance[:, :, 0], constraints, robust.moments)
    eta = q * (q + 1) / total
    assert found.df2 == pytest.approx(eta - q + 1, rel=1e-7)
    b = constraints @ fit.beta[:, 0]
    statistic = b @ np.linalg.solve(constraints @ robust.covariance[:, :, 0] @ constraints.T, b) / q
    assert found.statistic == pytest.approx(statistic * (eta - q + 1) / eta, rel=1e-7)
    assert found.p_value == pytest.approx(stats.f.sf(found.statistic, q, found.df2), rel=1e-9)


def test_one_constraint_is_the_t_test_in_every_hotelling_version() -> None:
    design, y, cluster, _ = made(5, [6, 4, 9, 5, 7, 3, 8, 5])
    fit = fit_least_squares(design, y)
    robust = cluster_robust(fit, cross_products(fit, design, y, cluster, 8), kind="CR2")
    assert robust.moments is not None
    one = np.array([[0.0, 1.0, 0.0, 0.0]])
    t = fit.beta[1, 0] / np.sqrt(robust.covariance[1, 1, 0])
    for test in ("HTZ", "HTA", "HTB", "EDF"):
        found = cluster_wald(fit.beta[:, 0], robust.covariance[:, :, 0], one, robust.moments, test=test)
        assert found.df2 == pytest.approx(robust.df[1], rel=1e-9), test
        assert found.p_value == pytest.approx(2 * stats.t.sf(abs(t), robust.df[1]), rel=1e-9), test


def test_the_hotelling_test_holds_its_size_where_the_naive_ones_do_not() -> None:
    rng = np.random.default_rng(20)
    sizes = [3, 5, 8, 20, 4, 6, 3, 12, 5, 30]
    cluster = np.repeat(np.arange(10), sizes)
    level = rng.normal(size=(10, 3))
    design = level[cluster] + 0.5 * rng.normal(size=(cluster.size, 3))
    constraints = np.eye(4)[1:]
    draws = 2000
    rejected = dict.fromkeys(WALD_TESTS, 0)
    for _ in range(draws):
        y = rng.normal(size=cluster.size)
        fit = fit_least_squares(design, y)
        robust = cluster_robust(fit, cross_products(fit, design, y, cluster, 10), kind="CR2")
        assert robust.moments is not None
        for test in WALD_TESTS:
            found = cluster_wald(fit.beta[:, 0], robust.covariance[:, :, 0], constraints, robust.moments, test=test)
            rejected[test] += bool(found.p_value < 0.05)
    size = {test: count / draws for test, count in rejected.items()}
    # Under the working model itself; four standard errors of a share of .05 over 2,000 draws are .02. The test may be
    # conservative with this few degrees of freedom, and must not exceed its level.
    assert size["HTZ"] < 0.07, size
    assert size["chi-squared"] > 0.2, size
    assert size["naive-F"] > 0.1, size
