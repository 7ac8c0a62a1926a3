"""Means of cells that share clusters, and linear combinations of them, with CR2 influence and Satterthwaite df.

A cell is a group of people that is spread over clusters, such as the treated under one saturation; a cluster can lie in
several cells, and people in one only. Least squares on an indicator of each cell has, for cluster g, the hat block
that is 11'/N_k among its n_gk rows in cell k and zero between cells. So the adjustment (I - H_gg)^(-1/2) of Bell and
McCaffrey (2002) multiplies the residual total e_gk = T_gk - n_gk m_k by d_gk = (1 - n_gk / N_k)^(-1/2), and

    psi_gk = d_gk e_gk / N_k,      Cov(m) = sum_g psi_g psi_g'.

With one number for each cluster and cell (T the cluster's mean, n one, N the J clusters of the cell) d^2 = J / (J - 1):
the variance of a mean is s^2 / J, and two cells of the same clusters covary by the sample covariance over J.

For a combination w'm under independent errors of one variance, the covariance of the parts of g and h is
P_gh = 1{g = h} sum_k w_k^2 n_gk d_gk^2 / N_k^2 - sum_k w_k^2 l_gk l_hk / N_k with l_gk = n_gk d_gk / N_k, and
df = tr(P)^2 / sum P_gh^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import ClusterMoments, satterthwaite

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class CellMeans:
    """Means of cells, jointly.

    Attributes
    ----------
    mean : ndarray, shape (cells,)
        m.
    influence : ndarray, shape (clusters, cells)
        psi; the cross-product is the covariance of the means.
    own, lifted : ndarray, shape (clusters, cells)
        n d^2 / N^2 and l, for degrees of freedom.
    size : ndarray, shape (cells,)
        N.
    """

    mean: FloatArray
    influence: FloatArray
    own: FloatArray
    lifted: FloatArray
    size: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class Combinations:
    """Linear combinations of cell means.

    Attributes
    ----------
    value, df : ndarray, shape (rows,)
        Estimates and their degrees of freedom.
    influence : ndarray, shape (clusters, rows)
        The cross-product is the joint covariance.
    """

    value: FloatArray
    influence: FloatArray
    df: FloatArray


def cell_means(totals: FloatArray, sizes: FloatArray) -> CellMeans:
    """Return the means of cells with the CR2 influence of each cluster.

    Parameters
    ----------
    totals, sizes : ndarray, shape (clusters, cells)
        Sum of the outcome, and people, of each cluster in each cell; size zero where it has nobody there. Each cell
        needs two clusters.

    Examples
    --------
    >>> found = cell_means(np.array([[1.0, 2.0], [3.0, 8.0]]), np.ones((2, 2)))
    >>> found.mean.tolist(), (found.influence.T @ found.influence).round(6).tolist()
    ([2.0, 5.0], [[1.0, 3.0], [3.0, 9.0]])
    """
    size = sizes.sum(axis=0)
    mean = totals.sum(axis=0) / size
    stretch = 1.0 / np.sqrt(1.0 - sizes / size)
    influence = stretch * (totals - sizes * mean) / size
    return CellMeans(mean, influence, sizes * (stretch / size) ** 2, sizes * stretch / size, size)


def combine(cells: CellMeans, weights: FloatArray) -> Combinations:
    """Return linear combinations of cell means, their joint influence and Satterthwaite degrees of freedom.

    Parameters
    ----------
    cells : CellMeans
        From `cell_means`.
    weights : ndarray, shape (rows, cells)
        w of each combination.
    """
    lifted = cells.lifted[:, :, None] * weights.T[None, :, :]
    own = np.einsum("gk,ik,jk->gij", cells.own, weights, weights, optimize=True)
    df = satterthwaite(ClusterMoments(lifted, own, -np.diag(1.0 / cells.size)))
    return Combinations(weights @ cells.mean, cells.influence @ weights.T, df)
