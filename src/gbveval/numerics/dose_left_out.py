"""How a regression along the dose changes without each independent unit, and what its covariance is good for.

Thirty units are eight for each coefficient of a cubic, and their residuals are smaller than errors. So at given doses
the influence on beta_gt is by how much beta_gt changes without an independent unit, exactly. With C_c the sum of
w_i b_i b_i' over the units of cluster c in cohort g,

    beta_gt - beta_gt without c = (sum_g w b b' - C_c)^-1 sum_(i in c) w_i b_i e_it,

since residuals are orthogonal to the basis and so those of the others sum to minus those of c. It is the jackknife of
clusters (Bell and McCaffrey 2002, their HC3 analogue); for clusters of one unit it is e_it / (1 - h_i) in place of
e_it, with h_i = w_i b_i' (sum_g w b b')^-1 b_i (HC3 of MacKinnon and White 1985). Where doses go by cluster h_i is next
to nothing, and C_c is not.

Test of q rows at once. Their covariance is a sum over the groups j of independent units (each cohort, the untreated) of
S_j with f_j degrees of freedom. A Wishart matrix with the first two moments of the sum has

    nu = (q + q^2) / sum_j (tr(S_j S^-1)^2 + tr(S_j S^-1 S_j S^-1)) / f_j

degrees of freedom (Krishnamoorthy and Yu 2004), and the Wald statistic is then Hotelling's T squared with nu. For the
untreated f_j is their number less one. A cohort's S_j is itself a sum, over clusters that count by their leverage: with
errors alike, and L_c = A C_c for the inverse A of the cohort's cross-products, the same formula has S_c S_j^-1 = L_c,

    f_j = (K + K^2) / sum_c (tr(L_c)^2 + tr(L_c L_c)),

at most the clusters less K. It is derived here; a few clusters at the ends of the doses hold the ends of a curve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Units (clusters) of this leverage have no residual in part of the curve: what they say there nobody can confirm.
ALONE = 1.0 - 1e-6


class LeftOut(Protocol):
    """How much the coefficients of a cohort change without each of its independent units."""

    def change(self, scores: FloatArray) -> FloatArray:
        """Return the part of each unit in the change, from its weighted residual times its basis; both (n, K)."""

    @property
    def df(self) -> float:
        """Degrees of freedom of the covariance that the changes add up to; zero if there are too few."""


@dataclass(frozen=True, eq=False, slots=True)
class UnitsLeftOut:
    """Units are independent.

    Attributes
    ----------
    inverse : ndarray, shape (K, K)
        Of the weighted cross-products of the basis.
    leverage : ndarray, shape (n,)
        Share of a unit in its own fitted value.
    """

    inverse: FloatArray = field(repr=False)
    leverage: FloatArray = field(repr=False)

    def change(self, scores: FloatArray) -> FloatArray:
        """Return the change of the coefficients without each unit."""
        return np.asarray(scores / (1.0 - self.leverage)[:, None] @ self.inverse)

    @property
    def df(self) -> float:
        """Degrees of freedom of the covariance that the changes add up to."""
        size = len(self.inverse)
        return float(min(self.leverage.size - size, size * (size + 1) / (2.0 * np.sum(self.leverage**2))))


@dataclass(frozen=True, eq=False, slots=True)
class ClustersLeftOut:
    """Clusters are independent.

    Attributes
    ----------
    place : ndarray of int, shape (n,)
        Position of each unit's cluster.
    inverse : ndarray, shape (clusters, K, K)
        Of the weighted cross-products of the basis over the other clusters.
    df : float
        Degrees of freedom of the covariance that the changes add up to.
    """

    place: IntArray = field(repr=False)
    inverse: FloatArray = field(repr=False)
    df: float

    def change(self, scores: FloatArray) -> FloatArray:
        """Return what each unit adds to the change of the coefficients without its cluster."""
        return sum((column[:, None] * self.inverse[self.place, k] for k, column in enumerate(scores.T)), 0.0 * scores)


def left_out_of(x: FloatArray, w: FloatArray, inverse: FloatArray, cluster: IntArray | None) -> LeftOut | None:
    """Return the changes without each independent unit; None if without one the curve is not determined.

    Parameters
    ----------
    x : ndarray, shape (n, K)
    w : ndarray, shape (n,)
    inverse : ndarray, shape (K, K)
        Of the weighted cross-products of `x`.
    cluster : ndarray of int, shape (n,), or None
        None where the n are independent.

    Examples
    --------
    The mean of 1, 2 and 6 is 3; without the pair it is 6, a change of 3 to which the two units add 2 and 1.

    >>> one = np.ones((3, 1))
    >>> found = left_out_of(one, np.ones(3), np.array([[1.0 / 3.0]]), np.array([7, 7, 9]))
    >>> (-found.change(np.array([[-2.0], [-1.0], [3.0]]))).round(9).ravel().tolist()
    [2.0, 1.0, -1.5]
    """
    if cluster is None:
        leverage = w * np.einsum("ij,jk,ik->i", x, inverse, x)
        return UnitsLeftOut(inverse, leverage) if leverage.max() < ALONE else None
    place = np.unique(cluster, return_inverse=True)[1].astype(np.intp)
    count, size = int(place.max()) + 1, x.shape[1]
    own = np.empty((count, size, size))
    for j in range(size):
        for k in range(j + 1):
            own[:, j, k] = own[:, k, j] = group_sums(place, w * x[:, j] * x[:, k], count)
    # On the scale on which all clusters together are the identity, eigenvalues are those of the cluster's leverage.
    values, axes = np.linalg.eigh(inverse)
    root = axes * np.sqrt(np.maximum(values, 0.0))
    share = root.T @ own @ root
    if float(np.linalg.eigvalsh(share).max()) >= ALONE:
        return None
    squares = np.trace(share, axis1=1, axis2=2) ** 2 + np.sum(share**2, axis=(1, 2))
    df = float(min(count - size, (size + size**2) / squares.sum()))
    return ClustersLeftOut(place, np.asarray(root @ np.linalg.inv(np.eye(size) - share) @ root.T), df)


def wishart_df(influence: FloatArray, group: IntArray, df: FloatArray) -> float:
    """Return the degrees of freedom of a covariance to which several groups of independent units add.

    Parameters
    ----------
    influence : ndarray, shape (independent units, q)
        Whose cross-product is the covariance; not singular.
    group : ndarray of int, shape (independent units,)
    df : ndarray, shape (groups,)
        Degrees of freedom of what each group adds.

    Returns
    -------
    float
        Zero where some group that adds to the covariance has none.

    Examples
    --------
    One row and two groups alike: twice their degrees of freedom, as Satterthwaite has it.

    >>> wishart_df(np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([0, 0, 1, 1]), np.ones(2))
    2.0
    """
    q = influence.shape[1]
    inverse = np.linalg.pinv(influence.T @ influence, hermitian=True)
    bottom = 0.0
    for j, own_df in enumerate(df):
        own = influence[group == j]
        if not own.any():
            continue
        if own_df <= 0:
            return 0.0
        share = own.T @ own @ inverse
        bottom += float(np.trace(share @ share) + np.trace(share) ** 2) / own_df
    return float((q + q**2) / bottom)
