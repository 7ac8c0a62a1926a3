"""Streamed cluster-robust inference against the decomposition of every cluster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import CLUSTER_KINDS, cluster_robust, cross_products
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.linear_inference import MANY_CLUSTERS, linear_inference
from gbveval.numerics.many_clusters import many_cluster_robust
from gbveval.numerics.many_weighted_clusters import many_weighted_bias_reduced
from gbveval.numerics.weighted_cluster_sandwich import weighted_bias_reduced

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def made(seed: int, sizes: list[int], k: int = 3) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    design = rng.normal(size=(len(sizes), k))[cluster] + rng.normal(size=(cluster.size, k))
    y = rng.normal(size=len(sizes))[cluster] + rng.normal(size=cluster.size)
    return design, y, cluster, rng.uniform(0.5, 2.0, cluster.size)


def agree(data: tuple[FloatArray, FloatArray, IntArray, FloatArray], count: int, kind: str, weighted: bool) -> None:
    design, y, cluster, weights = data
    w = weights if weighted else None
    fit = fit_least_squares(design, y, weights=w)
    plain = cluster_robust(fit, cross_products(fit, design, y, cluster, count, weights=w), kind=kind)
    streamed = many_cluster_robust(fit, design, y, cluster, count, kind=kind, weights=w)
    scale = np.sqrt(np.outer(*[np.diag(plain.covariance[:, :, 0])] * 2))
    # Two routes through roots and series in double precision: twelve digits, less two for cancellation.
    np.testing.assert_allclose(streamed.covariance[:, :, 0] / scale, plain.covariance[:, :, 0] / scale, atol=1e-10)
    np.testing.assert_allclose(streamed.influence, plain.influence, atol=1e-10 * np.abs(plain.influence).max())
    np.testing.assert_allclose(streamed.df, plain.df, rtol=1e-9)
    assert streamed.singular_clusters == plain.singular_clusters


@pytest.mark.parametrize("kind", CLUSTER_KINDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "sizes", [[1] * 60, [2] * 40, [1] * 20 + [3] * 20 + [60], [40, 30, 2, 2, 1, 1, 1, 5], [1, 2, 3, 4, 5] * 30]
)
def test_streamed_answers_are_those_of_the_decomposition(kind: str, weighted: bool, sizes: list[int]) -> None:
    agree(made(1, sizes), len(sizes), kind, weighted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=8, max_size=40), st.integers(1, 4))
def test_for_any_sizes(seed: int, sizes: list[int], k: int) -> None:
    if sum(sizes) > 3 * k + 8:
        agree(made(seed, sizes, k), len(sizes), "CR2", False)


@pytest.mark.parametrize(
    "sizes", [[1] * 400, [2] * 300, [1] * 200 + [3] * 200 + [60], [40, 30, 2, 2, 1, 1, 1, 5], [1, 2, 3, 4, 5] * 100]
)
def test_weighted_answers_under_an_identity_model_are_those_of_the_decomposition(sizes: list[int]) -> None:
    design, y, cluster, weights = made(5, sizes)
    fit = fit_least_squares(design, y, weights=weights)
    plain = weighted_bias_reduced(fit, design, y, cluster, len(sizes), weights=weights)
    streamed = many_weighted_bias_reduced(fit, design, y, cluster, len(sizes), weights=weights)
    scale = np.sqrt(np.outer(*[np.diag(plain.covariance[:, :, 0])] * 2))
    np.testing.assert_allclose(streamed.covariance[:, :, 0] / scale, plain.covariance[:, :, 0] / scale, atol=1e-9)
    np.testing.assert_allclose(streamed.influence, plain.influence, atol=1e-9 * np.abs(plain.influence).max())
    np.testing.assert_allclose(streamed.df, plain.df, rtol=1e-8)
    assert streamed.singular_clusters == plain.singular_clusters


def test_several_blocks_of_rows() -> None:
    # More rows than a block holds, clusters of one among them.
    agree(made(2, [1] * 9_000 + [2] * 6_000 + [700] * 20), 15_020, "CR2", False)


def test_a_cluster_that_is_fitted_exactly_is_counted() -> None:
    design, y, cluster, _ = made(3, [1] * 50 + [6] * 4)
    own = np.column_stack([design, (cluster == 52).astype(float), (cluster == 7).astype(float)])
    fit = fit_least_squares(own, y)
    streamed = many_cluster_robust(fit, own, y, cluster, 54, kind="CR2")
    plain = cluster_robust(fit, cross_products(fit, own, y, cluster, 54), kind="CR2")
    assert streamed.singular_clusters == plain.singular_clusters == 2
    assert streamed.covariance[1, 1, 0] == pytest.approx(plain.covariance[1, 1, 0], rel=1e-8)


def test_the_switch_between_the_two_is_not_seen() -> None:
    found = []
    for count in (MANY_CLUSTERS, MANY_CLUSTERS + 1):
        design, y, cluster, _ = made(4, [2] * count)
        answer = linear_inference(design, y, std_error="CR2", df="satterthwaite", cluster=cluster, n_clusters=count)
        fit = fit_least_squares(design, y)
        plain = cluster_robust(fit, cross_products(fit, design, y, cluster, count), kind="CR2")
        np.testing.assert_allclose(answer.covariance, plain.covariance[:, :, 0], rtol=1e-9)
        found.append(answer.moments is None)
    assert found == [False, True]
