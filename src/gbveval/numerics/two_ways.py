"""Covariances clustered in two ways at once, by inclusion and exclusion.

With V_a and V_b the sums over clusters of either way of the cross-products of summed influence, and V_ab the same over
the intersections, V = V_a + V_b - V_ab allows for dependence within both. It need not be a covariance: negative
eigenvalues are set to zero, and that is told. Cameron, Gelbach and Miller (2011), Journal of Business and Economic
Statistics 29(2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import compact, group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def two_way_covariance(
    covariance: Callable[[IntArray], FloatArray], first: IntArray, second: IntArray
) -> tuple[FloatArray, bool]:
    """Return the covariance clustered in both ways, and whether negative variances were set to zero.

    Parameters
    ----------
    covariance : callable
        From cluster codes to the covariance clustered by them.
    first, second : ndarray of int, shape (n,)
        Codes of the clusters that each unit is in.

    Examples
    --------
    >>> influence = np.array([[1.0], [2.0], [-3.0], [0.5]])
    >>> by = lambda codes: (lambda s: s.T @ s)(np.array([influence[codes == c].sum(axis=0) for c in np.unique(codes)]))
    >>> two_way_covariance(by, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))[0].tolist()
    [[11.25]]
    """
    crossed = first * (int(second.max(initial=0)) + 1) + second
    return mended(covariance(first) + covariance(second) - covariance(np.asarray(crossed, dtype=np.intp)))


def mended(total: FloatArray) -> tuple[FloatArray, bool]:
    """Return a symmetric matrix with negative eigenvalues set to zero, and whether there were any.

    Rows and columns with NaN stay as they are.
    """
    known = np.flatnonzero(np.isfinite(np.diag(total)))
    part = total[np.ix_(known, known)]
    values, vectors = np.linalg.eigh((part + part.T) / 2.0)
    if not (values.size and values[0] < -1e-12 * values[-1]):
        return total, False
    result = total.copy()
    result[np.ix_(known, known)] = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return result, True


@dataclass(frozen=True, eq=False, slots=True)
class Clustered:
    """Influence of units, clustered.

    Attributes
    ----------
    covariance : ndarray, shape (terms, terms)
    influence : ndarray, shape (clusters, terms), or None
        Rows whose cross-product is the covariance; None with two ways.
    repaired : bool
        Whether negative variances were set to zero.
    """

    covariance: FloatArray
    influence: FloatArray | None
    repaired: bool


def clustered(influence: FloatArray, ways: tuple[IntArray, ...]) -> Clustered:
    """Return the covariance of estimates from the influence of units.

    Parameters
    ----------
    influence : ndarray, shape (units, terms)
    ways : tuple of ndarray of int, shape (units,)
        Clusters in one way or two; none where units are independent.

    Examples
    --------
    >>> clustered(np.array([[1.0], [2.0], [-3.0]]), (np.array([0, 0, 1]),)).covariance.tolist()
    [[18.0]]
    """

    def summed(codes: IntArray) -> FloatArray:
        count = int(codes.max(initial=0)) + 1
        return np.column_stack([group_sums(codes, column, count) for column in influence.T])

    def covariance(codes: IntArray) -> FloatArray:
        sums = summed(compact(codes, int(codes.max(initial=0)) + 1)[1])
        return np.asarray(sums.T @ sums)

    if len(ways) == 2:
        total, repaired = two_way_covariance(covariance, *ways)
        return Clustered(total, None, repaired)
    rows = summed(ways[0]) if ways else influence
    return Clustered(np.asarray(rows.T @ rows), rows, False)
