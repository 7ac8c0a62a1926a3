"""A fit from cluster sums against the fit from rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.numerics.cluster_moments import fit_from_moments, row_moments, with_constants
from gbveval.numerics.cluster_sandwich import cross_products
from gbveval.numerics.least_squares import fit_least_squares


def agree(seed: int, sizes: list[int], k: int, *, shuffled: bool, level: float = 0.0) -> None:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    if shuffled:
        cluster = rng.permutation(cluster)
    constants = np.column_stack([np.arange(len(sizes)) % 2, rng.normal(size=len(sizes))]).astype(float)
    columns = level + rng.normal(size=(cluster.size, k))
    y = level + rng.normal(size=cluster.size) + constants[cluster, 0]
    moments = with_constants(row_moments(columns, y, cluster, len(sizes)), constants)
    fit, sums = fit_from_moments(moments)
    design = np.column_stack([columns, constants[cluster]])
    expected = fit_least_squares(design, y)
    products = cross_products(expected, design, y, cluster, len(sizes))
    # Cross-products about the mean, in one pass and in two: ten digits, fewer where a level of 1e6 was taken off.
    tight = 1e-9 if level == 0.0 else 1e-7
    assert fit.n == expected.n
    assert fit.basis.kept.tolist() == expected.basis.kept.tolist()
    size = np.abs(expected.beta).max()
    np.testing.assert_allclose(
        fit.beta[1:], expected.beta[1:], rtol=tight, atol=tight * np.abs(expected.beta[1:]).max()
    )
    np.testing.assert_allclose(fit.beta[0], expected.beta[0], atol=tight * size)
    np.testing.assert_allclose(sums.gram, products.gram, rtol=tight, atol=tight * np.abs(products.gram).max())
    np.testing.assert_allclose(sums.score, products.score, atol=tight * np.abs(products.score).max())


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("level", [0.0, 1e6])
@pytest.mark.parametrize("sizes", [[200] * 10, [3, 9, 1, 40, 7, 7], [2] * 200, [9_000, 20_000]])
def test_the_fit_from_sums_is_that_from_rows(sizes: list[int], level: float, shuffled: bool) -> None:
    if len(sizes) == 2:
        sizes = [*sizes, 5_000, 4_000]
    agree(1, sizes, 2, shuffled=shuffled, level=level)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(2, 30), min_size=6, max_size=20), st.integers(0, 4))
def test_for_any_sizes_and_no_columns_too(seed: int, sizes: list[int], k: int) -> None:
    agree(seed, sizes, k, shuffled=bool(seed % 2))


def test_a_collinear_column_is_dropped_and_the_last_one_goes() -> None:
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(8), 10)
    x = rng.normal(size=80)
    constants = (np.arange(8)[:, None] % 2).astype(float)
    moments = with_constants(row_moments(np.column_stack([x, 2.0 * x]), x, cluster, 8), constants)
    fit, _ = fit_from_moments(moments)
    assert fit.basis.dropped.tolist() == [1]
