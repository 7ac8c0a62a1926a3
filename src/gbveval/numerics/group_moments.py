"""Weighted means of overlapping groups of cells, and the influence of clusters on smooth functions of them.

Rows lie in cells (a cohort in a period); a group q is a union of cells, such as the comparison units of one period.
With weights w its mean is M_q = sum w x / W_q, W_q = sum w, and a row in it moves the mean by w (x - M_q) / W_q. A
function f of the means, and of the weights of cells where those enter as estimated shares, is moved by

    w [ sum over q with the row of f_q' (x - M_q) / W_q  +  f_c ],

f_q the derivative in M_q and f_c that in the weight of the row's own cell. For a cell c this is linear in (w x, w), so
that only their sums by cluster and cell are needed, whatever the number of functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class GroupMoments:
    """Means of groups and what influence needs.

    Attributes
    ----------
    mean : ndarray, shape (groups, k)
        NaN for groups without a row.
    moved : ndarray, shape (groups, k)
        Means less the mean of all rows, so that large levels do not cancel; zero for groups without a row.
    weight : ndarray, shape (groups,)
    size : ndarray of int, shape (groups,)
        Rows.
    member : ndarray of bool, shape (groups, cells)
    sums : scipy.sparse matrix, shape (clusters, cells times (k + 1))
        Of w (x - mean of all) and of w, by cluster and cell.
    """

    mean: FloatArray
    moved: FloatArray
    weight: FloatArray
    size: IntArray
    member: BoolArray
    sums: Any

    def influence(self, gradient: FloatArray, by_weight: FloatArray | None = None) -> FloatArray:
        """Return the influence of clusters on functions of the means, shape (clusters, functions).

        Parameters
        ----------
        gradient : ndarray, shape (functions, groups, k)
            Zero for groups without a row.
        by_weight : ndarray, shape (functions, cells), optional
            Derivatives in the weights of cells.
        """
        n_functions, _, k = gradient.shape
        scaled = gradient / np.where(self.weight > 0, self.weight, 1.0)[None, :, None]
        coefficient = np.empty((n_functions, self.member.shape[1], k + 1))
        coefficient[:, :, :k] = (scaled.transpose(0, 2, 1) @ self.member.astype(np.float64)).transpose(0, 2, 1)
        coefficient[:, :, k] = -(scaled * self.moved).sum(axis=2) @ self.member
        if by_weight is not None:
            coefficient[:, :, k] += by_weight
        return np.asarray(self.sums @ coefficient.reshape(n_functions, -1).T)


def group_moments(
    values: FloatArray,
    cell: IntArray,
    member: BoolArray,
    cluster: IntArray,
    n_clusters: int,
    *,
    weight: FloatArray | None = None,
) -> GroupMoments:
    """Return the means of groups of cells.

    Parameters
    ----------
    values : ndarray, shape (n, k)
    cell : ndarray of int, shape (n,)
        Cell of each row.
    member : ndarray of bool, shape (groups, cells)
        Which cells make up each group.
    cluster : ndarray of int, shape (n,)
        Independent clusters.
    n_clusters : int
    weight : ndarray, shape (n,), optional
        Above zero.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> found = group_moments(x, np.array([0, 0, 1]), np.array([[1, 0], [1, 1]], dtype=bool), np.arange(3), 3)
    >>> found.mean[:, 0].tolist()
    [2.0, 4.0]
    >>> found.influence(np.array([[[1.0], [0.0]]]))[:, 0].tolist()
    [-0.5, 0.5, 0.0]
    """
    from scipy import sparse

    n, k = values.shape
    n_cells = member.shape[1]
    w = np.ones(n) if weight is None else weight
    centre = w @ values / w.sum()
    heavy = np.column_stack([w[:, None] * (values - centre), w])
    place = cell[:, None] * (k + 1) + np.arange(k + 1)
    row = np.repeat(cluster, k + 1)
    sums = sparse.csr_matrix((heavy.ravel(), (row, place.ravel())), shape=(n_clusters, n_cells * (k + 1)))
    groups = member.astype(np.float64)
    plain, moved = (
        groups @ np.column_stack([group_sums(cell, column, n_cells) for column in columns.T])
        for columns in (w[:, None] * values, heavy)
    )
    mass = moved[:, k]
    safe = np.where(mass > 0, mass, 1.0)[:, None]
    rows = np.bincount(cell, minlength=n_cells)
    return GroupMoments(
        mean=np.where(mass[:, None] > 0, plain / safe, np.nan),
        moved=np.where(mass[:, None] > 0, moved[:, :k] / safe, 0.0),
        weight=mass,
        size=np.asarray(member.astype(np.intp) @ rows, dtype=np.intp),
        member=member,
        sums=sums,
    )
