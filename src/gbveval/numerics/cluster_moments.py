"""A least-squares fit and its cluster cross-products from one pass over the rows, by cluster sums.

Everything that a cluster-robust fit needs of the rows is, for each cluster, the number of rows, the sums, and the
cross-products of columns and outcome. Columns that are constant in a cluster (arms, strata) need no pass at all. Sums
are taken about a first guess of the means, so that large values that vary little keep their digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import ClusterCrossProducts
from gbveval.numerics.least_squares import BLOCK_ROWS, RANK_TOLERANCE, LeastSquares, basis_from_moments

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Means of this many rows are guess enough: the rest is taken off afterwards.
GUESS = 1_000


@dataclass(frozen=True, eq=False, slots=True)
class ClusterMoments:
    """Sums of columns by cluster, the outcome last.

    Attributes
    ----------
    sizes : ndarray, shape (clusters,)
        Rows.
    shift : ndarray, shape (columns + 1,)
        What was taken off every column.
    sums : ndarray, shape (clusters, columns + 1)
        Of the shifted columns.
    products : ndarray, shape (clusters, columns + 1, columns + 1)
        Cross-products of the shifted columns.
    """

    sizes: FloatArray
    shift: FloatArray
    sums: FloatArray
    products: FloatArray


def row_moments(columns: FloatArray, y: FloatArray, cluster: IntArray, n_clusters: int) -> ClusterMoments:
    """Return the sums of row-level columns and the outcome, in one pass.

    Parameters
    ----------
    columns : ndarray, shape (n, columns)
        Row-level columns.
    y : ndarray, shape (n,)
        Outcome.
    cluster : ndarray of int, shape (n,)
        Codes 0 .. n_clusters - 1.
    n_clusters : int
        Number of clusters.
    """
    n, k = columns.shape
    step = max(1, n // GUESS)
    shift = np.append(columns[::step].mean(axis=0), y[::step].mean())
    sizes = np.bincount(cluster, minlength=n_clusters)
    sums = np.zeros((n_clusters, k + 1))
    products = np.zeros((n_clusters, k + 1, k + 1))
    in_order = n_clusters * 64 <= n and bool(np.all(cluster[1:] >= cluster[:-1]))
    if in_order:
        start = 0
        for g, end in enumerate(np.cumsum(sizes)):
            for low in range(start, int(end), BLOCK_ROWS):
                high = min(low + BLOCK_ROWS, int(end))
                block = np.empty((k + 1, high - low))
                np.subtract(columns[low:high].T, shift[:k, None], out=block[:k])
                np.subtract(y[low:high], shift[k], out=block[k])
                sums[g] += block.sum(axis=1)
                products[g] += block @ block.T
            start = int(end)
    else:
        for low in range(0, n, 8 * BLOCK_ROWS):
            where = slice(low, min(low + 8 * BLOCK_ROWS, n))
            codes = cluster[where]
            block = np.column_stack([columns[where], y[where]]) - shift
            for a in range(k + 1):
                sums[:, a] += np.bincount(codes, weights=block[:, a], minlength=n_clusters)
                for b in range(a, k + 1):
                    products[:, a, b] += np.bincount(codes, weights=block[:, a] * block[:, b], minlength=n_clusters)
        lower = np.tril_indices(k + 1, -1)
        products[:, lower[0], lower[1]] = products[:, lower[1], lower[0]]
    return ClusterMoments(sizes.astype(float), shift, sums, products)


def with_constants(moments: ClusterMoments, constants: FloatArray) -> ClusterMoments:
    """Return the moments with columns that are constant in a cluster put after the row-level ones.

    Parameters
    ----------
    moments : ClusterMoments
        Of the row-level columns and the outcome.
    constants : ndarray, shape (clusters, constants)
        Their value in each cluster.
    """
    k = moments.sums.shape[1] - 1
    q = constants.shape[1]
    order = [*range(k), *range(k + 1, k + 1 + q), k]
    sizes = moments.sizes
    sums = np.column_stack([moments.sums, constants * sizes[:, None]])
    products = np.zeros((sizes.size, k + 1 + q, k + 1 + q))
    products[:, : k + 1, : k + 1] = moments.products
    cross = moments.sums[:, :, None] * constants[:, None, :]
    products[:, : k + 1, k + 1 :] = cross
    products[:, k + 1 :, : k + 1] = np.swapaxes(cross, 1, 2)
    products[:, k + 1 :, k + 1 :] = sizes[:, None, None] * constants[:, :, None] * constants[:, None, :]
    shift = np.append(moments.shift, np.zeros(q))
    return ClusterMoments(sizes, shift[order], sums[:, order], products[np.ix_(range(sizes.size), order, order)])


def fit_from_moments(moments: ClusterMoments) -> tuple[LeastSquares, ClusterCrossProducts]:
    """Return least squares of the last column on an intercept and the others, and its cluster cross-products."""
    total = float(moments.sizes.sum())
    k = moments.sums.shape[1] - 1
    away = moments.sums.sum(axis=0) / total
    # About the means: P - s d' - d s' + n d d', cluster by cluster.
    outer = moments.sums[:, :, None] * away
    centred = moments.products - outer - np.swapaxes(outer, 1, 2) + moments.sizes[:, None, None] * np.outer(away, away)
    sums = moments.sums - moments.sizes[:, None] * away
    whole = centred.sum(axis=0)
    mean = (moments.shift + away)[:k]
    basis = basis_from_moments(mean, whole[:k, :k], total, intercept=True, tolerance=RANK_TOLERANCE)
    scale = basis.scale[basis.kept]
    inner = centred[:, basis.kept][:, :, basis.kept] / np.outer(scale, scale)
    column_sums = sums[:, basis.kept] / scale
    size = basis.kept.size + 1
    gram = np.empty((moments.sizes.size, size, size))
    gram[:, 0, 0] = moments.sizes
    gram[:, 0, 1:] = gram[:, 1:, 0] = column_sums
    gram[:, 1:, 1:] = inner
    right = np.column_stack([sums[:, k], centred[:, basis.kept, k] / scale])
    # The outcome was centred, so its mean comes back in the constant of the basis.
    gamma = basis.gram_inverse @ right.sum(axis=0)
    score = right - gram @ gamma
    gamma[0] += moments.shift[k] + away[k]
    fit = LeastSquares(basis, gamma[:, None], (basis.to_original @ gamma)[:, None], int(total), size)
    return fit, ClusterCrossProducts(gram, score[:, :, None], moments.sizes)
