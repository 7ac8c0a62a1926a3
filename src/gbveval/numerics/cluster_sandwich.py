"""Cluster-robust covariances from cluster cross-products, CR0 to CR3, with Satterthwaite degrees of freedom.

Rows enter only through S_g = Z_g'Z_g and s_g = Z_g'e_g, so memory and time are linear in rows whatever the cluster
sizes. With M = (sum S_g)^-1, R = M^(1/2) symmetric and R S_g R = Q diag(lambda) Q', the hat block of a cluster,
Z_g M Z_g', has eigenvalues lambda, and the adjustment A_g = (I - H_gg)^(-1/2) of Bell and McCaffrey (2002) acts on
its column space only: with d = (1 - lambda)^(-1/2),

    Z_g'A_g e_g  = s_g + S_g R Q diag((d - 1)/lambda) Q'R s_g,
    a_g'a_g      = c'M Z_g'A_g^2 Z_g M c,
    Z_g'a_g      = Z_g'A_g Z_g M c.

CR3 takes d = 1/(1 - lambda) in place of its root (jackknife type), CR0 and CR1 take d = 1 and a factor.

The degrees of freedom of a contrast c follow Pustejovsky and Tipton (2018): with
P_gh = 1{g = h} a_g'a_g - (Z_g'a_g)' M (Z_h'a_h), df = tr(P)^2 / sum of P_gh^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.least_squares import BLOCK_ROWS, LeastSquares, blocks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# 1 - lambda below this is a direction that a cluster fits perfectly: the pseudo-inverse gives it no weight.
SINGULAR = 1e-9
CLUSTER_KINDS = ("CR0", "CR1", "CR1S", "CR2", "CR3")


@dataclass(frozen=True, slots=True)
class ClusterCrossProducts:
    """What a cluster-robust covariance needs from the rows.

    Attributes
    ----------
    gram : ndarray, shape (clusters, k, k)
        S_g = Z_g'Z_g on the basis of the fit.
    score : ndarray, shape (clusters, k, outcomes)
        s_g = Z_g'e_g.
    sizes : ndarray, shape (clusters,)
        Rows a cluster.
    """

    gram: FloatArray
    score: FloatArray
    sizes: FloatArray


@dataclass(frozen=True, slots=True)
class ClusterRobust:
    """A cluster-robust covariance on the scale of the original columns.

    Attributes
    ----------
    covariance : ndarray, shape (k, k, outcomes)
        Of the coefficients.
    influence : ndarray, shape (clusters, k, outcomes)
        Adjusted scores by cluster; the covariance is their cross-product.
    df : ndarray, shape (k,)
        Satterthwaite degrees of freedom for each coefficient (clusters minus one for CR0 and CR1).
    singular_clusters : int
        Clusters whose I - H_gg is singular, where the pseudo-inverse was taken.
    """

    covariance: FloatArray
    influence: FloatArray
    df: FloatArray
    singular_clusters: int


def _cluster_order(cluster: IntArray, n_clusters: int) -> tuple[IntArray | None, IntArray]:
    """Return an order that makes clusters contiguous (None if they are already) and the ends of each cluster."""
    ends = np.cumsum(np.bincount(cluster, minlength=n_clusters))
    if np.all(cluster[1:] >= cluster[:-1]):
        return None, ends
    return np.argsort(cluster, kind="stable"), ends


def cross_products(
    fit: LeastSquares, design: FloatArray, outcome: FloatArray, cluster: IntArray, n_clusters: int
) -> ClusterCrossProducts:
    """Return the cluster cross-products of a fit.

    Parameters
    ----------
    fit : LeastSquares
        Unweighted fit of `outcome` on `design`.
    design, outcome : ndarray
        As given to the fit.
    cluster : ndarray of int, shape (n,)
        Codes 0 .. n_clusters - 1.
    n_clusters : int
        Number of clusters.
    """
    columns = outcome[:, None] if outcome.ndim == 1 else outcome
    k, m = fit.gamma.shape
    gram = np.zeros((n_clusters, k, k))
    score = np.zeros((n_clusters, k, m))
    sizes = np.bincount(cluster, minlength=n_clusters).astype(float)
    many_small = n_clusters * 64 > design.shape[0]
    if many_small:
        _add_by_row(fit, design, columns, cluster, (gram, score))
    else:
        _add_by_cluster(fit, design, columns, cluster, (gram, score))
    return ClusterCrossProducts(gram, score, sizes)


def _add_by_cluster(
    fit: LeastSquares,
    design: FloatArray,
    columns: FloatArray,
    cluster: IntArray,
    into: tuple[FloatArray, FloatArray],
) -> None:
    """Few large clusters: one matrix product a block of a cluster."""
    gram, score = into
    order, ends = _cluster_order(cluster, gram.shape[0])
    start = 0
    for g, end in enumerate(ends):
        for low in range(start, int(end), BLOCK_ROWS):
            high = min(low + BLOCK_ROWS, int(end))
            where: slice | IntArray = slice(low, high) if order is None else order[low:high]
            z = fit.basis.rows(design, where)
            gram[g] += z.T @ z
            score[g] += z.T @ (columns[where] - z @ fit.gamma)
        start = int(end)


def _add_by_row(
    fit: LeastSquares,
    design: FloatArray,
    columns: FloatArray,
    cluster: IntArray,
    into: tuple[FloatArray, FloatArray],
) -> None:
    """Many small clusters: weighted counts, one a product of columns."""
    gram, score = into
    count = gram.shape[0]
    k, m = fit.gamma.shape
    for where in blocks(design.shape[0], max(BLOCK_ROWS, design.shape[0] // 8)):
        z = fit.basis.rows(design, where)
        codes = cluster[where]
        residual = columns[where] - z @ fit.gamma
        for a in range(k):
            for b in range(a, k):
                gram[:, a, b] += np.bincount(codes, weights=z[:, a] * z[:, b], minlength=count)
            for c in range(m):
                score[:, a, c] += np.bincount(codes, weights=z[:, a] * residual[:, c], minlength=count)
    lower = np.tril_indices(k, -1)
    gram[:, lower[0], lower[1]] = gram[:, lower[1], lower[0]]


def bias_reduced(fit: LeastSquares, sums: ClusterCrossProducts) -> ClusterRobust:
    """Return the CR2 covariance with Satterthwaite degrees of freedom (identity working model).

    Parameters
    ----------
    fit : LeastSquares
        The fit.
    sums : ClusterCrossProducts
        From `cross_products` on the same rows.
    """
    return cluster_adjusted(fit, sums, kind="CR2")


def cluster_adjusted(fit: LeastSquares, sums: ClusterCrossProducts, *, kind: str) -> ClusterRobust:
    """Return a cluster-robust covariance with Satterthwaite degrees of freedom (identity working model).

    Parameters
    ----------
    fit : LeastSquares
        The fit.
    sums : ClusterCrossProducts
        From `cross_products` on the same rows.
    kind : str
        "CR0" (no correction), "CR1" (G / (G - 1)), "CR1S" (also (n - 1) / (n - k)), "CR2" (Bell and McCaffrey 2002) or
        "CR3" (jackknife type). The degrees of freedom do not depend on a factor.
    """
    if kind not in CLUSTER_KINDS:
        raise ValueError(f"The covariance is one of {', '.join(CLUSTER_KINDS)}, not {kind!r}.")
    bread = fit.basis.gram_inverse
    values, vectors = np.linalg.eigh(bread)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    lam, q = np.linalg.eigh(root @ sums.gram @ root)
    lam = np.clip(lam, 0.0, 1.0)
    open_direction = 1.0 - lam > SINGULAR
    left = np.where(open_direction, 1.0 - lam, 1.0)
    power = {"CR2": -0.5, "CR3": -1.0}.get(kind, 0.0)
    d = np.where(open_direction | (power == 0.0), left**power, 0.0)
    present = lam > 1e-14
    safe = np.where(present, lam, 1.0)
    # The limits of (d - 1)/lambda and (d^2 - 1)/lambda as lambda falls to zero.
    first = np.where(present, (d - 1.0) / safe, -power)
    second = np.where(present, (d**2 - 1.0) / safe, -2.0 * power)
    half = root @ q
    turned = np.swapaxes(half, 1, 2)
    g1 = (half * first[:, None, :]) @ turned
    g2 = (half * second[:, None, :]) @ turned
    adjusted = sums.score + sums.gram @ (g1 @ sums.score)
    lift = fit.basis.to_original @ bread
    influence = np.sqrt(_factor(kind, sums, fit)) * (lift @ adjusted)
    contrast = lift.T
    za = sums.gram @ contrast + sums.gram @ (g1 @ (sums.gram @ contrast))
    zaa = sums.gram + sums.gram @ g2 @ sums.gram
    own = np.einsum("ij,gij->gj", contrast, zaa @ contrast)
    df = _satterthwaite(za, own, bread)
    covariance = np.einsum("gjo,glo->jlo", influence, influence)
    singular = int(np.sum(np.any(present & ~open_direction, axis=1))) if power else 0
    return ClusterRobust(covariance, influence, df, singular)


def _factor(kind: str, sums: ClusterCrossProducts, fit: LeastSquares) -> float:
    clusters = float(sums.sizes.size)
    if kind not in ("CR1", "CR1S"):
        return 1.0
    rows = (fit.n - 1.0) / (fit.n - fit.k) if kind == "CR1S" else 1.0
    return clusters / (clusters - 1.0) * rows


def _satterthwaite(za: FloatArray, own: FloatArray, bread: FloatArray) -> FloatArray:
    """Return tr(P)^2 / sum P^2 for each contrast, in time linear in the clusters."""
    leverage = np.einsum("gij,il,glj->gj", za, bread, za)
    trace = (own - leverage).sum(axis=0)
    inner = np.einsum("gij,glj->jil", za, za)
    product = bread @ inner
    cross = np.einsum("jil,jli->j", product, product)
    squares = (own**2).sum(axis=0) - 2.0 * (own * leverage).sum(axis=0) + cross
    with np.errstate(divide="ignore", invalid="ignore"):
        df: FloatArray = np.where(squares > 0, trace**2 / squares, np.nan)
    return df


def plain_cluster_robust(fit: LeastSquares, sums: ClusterCrossProducts, *, factor: float = 1.0) -> ClusterRobust:
    """Return the covariance without adjustment of the scores, times a factor (1: CR0; G/(G-1): CR1)."""
    lift = fit.basis.to_original @ fit.basis.gram_inverse
    influence = np.sqrt(factor) * (lift @ sums.score)
    covariance = np.einsum("gjo,glo->jlo", influence, influence)
    df = np.full(fit.k, sums.gram.shape[0] - 1.0)
    return ClusterRobust(covariance, influence, df, 0)
