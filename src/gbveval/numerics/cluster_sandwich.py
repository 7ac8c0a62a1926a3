"""Cluster-robust covariances from cluster cross-products: CR0 to CR3 and their Satterthwaite degrees of freedom.

Rows enter only through S_g = Z_g'Z_g and s_g = Z_g'e_g, so memory and time are linear in rows whatever the cluster
sizes. With M = (sum S_g)^-1, R = M^(1/2) symmetric and R S_g R = Q diag(lambda) Q', the hat block of a cluster,
Z_g M Z_g', has eigenvalues lambda, and the adjustment A_g = (I - H_gg)^(-1/2) of Bell and McCaffrey (2002) acts on
its column space only: with d = (1 - lambda)^(-1/2),

    Z_g'A_g e_g  = s_g + S_g R Q diag((d - 1)/lambda) Q'R s_g,
    a_g'a_g      = c'M Z_g'A_g^2 Z_g M c,
    Z_g'a_g      = Z_g'A_g Z_g M c.

CR3 (the cluster jackknife) takes d = (1 - lambda)^(-1), CR0 and CR1 take d = 1. With weights the rows carry their root
weights: CR0, CR1 and CR3 are then what they should be, and CR2 takes the inverse weights for the variances; for an
identity working model with weights see `weighted_cluster_sandwich`.

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
class ClusterMoments:
    """What degrees of freedom and joint tests need of the adjusted clusters, for every coefficient as a contrast.

    With a_gj = A_g Z_g M c_j and F_g the columns that span the adjustment (Z_g where there are no weights), the
    covariance of c_i'(estimate)'s parts in clusters g and h under the working model is
    P_gh = 1{g = h} own_g + lifted_g' kernel lifted_h.

    Attributes
    ----------
    lifted : ndarray, shape (clusters, m, k)
        F_g'a_gj.
    own : ndarray, shape (clusters, k, k)
        a_gi'a_gj.
    kernel : ndarray, shape (m, m)
        Minus M where there are no weights.
    """

    lifted: FloatArray
    own: FloatArray
    kernel: FloatArray


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
    moments : ClusterMoments or None
        For joint tests; None where the degrees of freedom are clusters minus one.
    """

    covariance: FloatArray
    influence: FloatArray
    df: FloatArray
    singular_clusters: int
    moments: ClusterMoments | None = None


def _cluster_order(cluster: IntArray, n_clusters: int) -> tuple[IntArray | None, IntArray]:
    """Return an order that makes clusters contiguous (None if they are already) and the ends of each cluster."""
    ends = np.cumsum(np.bincount(cluster, minlength=n_clusters))
    if np.all(cluster[1:] >= cluster[:-1]):
        return None, ends
    return np.argsort(cluster, kind="stable"), ends


def cross_products(
    fit: LeastSquares,
    design: FloatArray,
    outcome: FloatArray,
    cluster: IntArray,
    n_clusters: int,
    *,
    weights: FloatArray | None = None,
) -> ClusterCrossProducts:
    """Return the cluster cross-products of a fit.

    Parameters
    ----------
    fit : LeastSquares
        Fit of `outcome` on `design` with the same weights.
    design, outcome : ndarray
        As given to the fit.
    cluster : ndarray of int, shape (n,)
        Codes 0 .. n_clusters - 1.
    n_clusters : int
        Number of clusters.
    weights : ndarray, shape (n,), optional
        Regression weights.
    """
    columns = outcome[:, None] if outcome.ndim == 1 else outcome
    k, m = fit.gamma.shape
    gram = np.zeros((n_clusters, k, k))
    score = np.zeros((n_clusters, k, m))
    sizes = np.bincount(cluster, minlength=n_clusters).astype(float)
    many_small = n_clusters * 64 > design.shape[0]
    add = _add_by_row if many_small else _add_by_cluster
    add(fit, design, columns, cluster, (gram, score), weights)
    return ClusterCrossProducts(gram, score, sizes)


def _add_by_cluster(
    fit: LeastSquares,
    design: FloatArray,
    columns: FloatArray,
    cluster: IntArray,
    into: tuple[FloatArray, FloatArray],
    weights: FloatArray | None,
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
            heavy = z if weights is None else z * weights[where, None]
            gram[g] += heavy.T @ z
            score[g] += heavy.T @ (columns[where] - z @ fit.gamma)
        start = int(end)


def _add_by_row(
    fit: LeastSquares,
    design: FloatArray,
    columns: FloatArray,
    cluster: IntArray,
    into: tuple[FloatArray, FloatArray],
    weights: FloatArray | None,
) -> None:
    """Many small clusters: weighted counts, one a product of columns."""
    gram, score = into
    count = gram.shape[0]
    k, m = fit.gamma.shape
    for where in blocks(design.shape[0], max(BLOCK_ROWS, design.shape[0] // 8)):
        z = fit.basis.rows(design, where)
        codes = cluster[where]
        residual = columns[where] - z @ fit.gamma
        heavy = z if weights is None else z * weights[where, None]
        for a in range(k):
            for b in range(a, k):
                gram[:, a, b] += np.bincount(codes, weights=heavy[:, a] * z[:, b], minlength=count)
            for c in range(m):
                score[:, a, c] += np.bincount(codes, weights=heavy[:, a] * residual[:, c], minlength=count)
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
    return cluster_robust(fit, sums, kind="CR2")


def small_sample_factor(kind: str, n_clusters: int, n: int, k: int) -> float:
    """Return the factor of a covariance: G/(G-1) for CR1, times (n-1)/(n-k) for CR1S, one for the others."""
    if kind == "CR1":
        return n_clusters / (n_clusters - 1.0)
    if kind == "CR1S":
        return n_clusters / (n_clusters - 1.0) * (n - 1.0) / (n - k)
    return 1.0


def cluster_robust(fit: LeastSquares, sums: ClusterCrossProducts, *, kind: str) -> ClusterRobust:
    """Return a cluster-robust covariance with the Satterthwaite degrees of freedom that belong to it.

    Parameters
    ----------
    fit : LeastSquares
        The fit.
    sums : ClusterCrossProducts
        From `cross_products` on the same rows.
    kind : str
        "CR0" (no adjustment), "CR1" (times G/(G-1)), "CR1S" (Stata's: also times (n-1)/(n-k)), "CR2" (bias-reduced
        linearisation) or "CR3" (jackknife).
    """
    if kind not in CLUSTER_KINDS:
        raise ValueError(f"The covariance is one of {', '.join(CLUSTER_KINDS)}, not {kind!r}.")
    bread = fit.basis.gram_inverse
    values, vectors = np.linalg.eigh(bread)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    lam, q = np.linalg.eigh(root @ sums.gram @ root)
    lam = np.clip(lam, 0.0, 1.0)
    open_direction = 1.0 - lam > SINGULAR
    present = lam > 1e-14
    first, second = hat_adjustment(kind, lam, present, open_direction)
    half = root @ q
    turned = np.swapaxes(half, 1, 2)
    g1 = (half * first[:, None, :]) @ turned
    g2 = (half * second[:, None, :]) @ turned
    adjusted = sums.score + sums.gram @ (g1 @ sums.score)
    lift = fit.basis.to_original @ bread
    scale = np.sqrt(small_sample_factor(kind, sums.gram.shape[0], fit.n, fit.k))
    influence = scale * (lift @ adjusted)
    contrast = lift.T
    za = sums.gram @ contrast + sums.gram @ (g1 @ (sums.gram @ contrast))
    zaa = sums.gram + sums.gram @ g2 @ sums.gram
    moments = ClusterMoments(za, contrast.T @ zaa @ contrast, -bread)
    covariance = np.einsum("gjo,glo->jlo", influence, influence)
    singular = int(np.sum(np.any(present & ~open_direction, axis=1))) if kind in ("CR2", "CR3") else 0
    return ClusterRobust(covariance, influence, satterthwaite(moments), singular, moments)


def hat_adjustment(
    kind: str, lam: FloatArray, present: NDArray[np.bool_], open_direction: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Return (d - 1)/lambda and (d^2 - 1)/lambda on the eigenvalues of the hat blocks, with their limits at zero."""
    if kind not in ("CR2", "CR3"):
        return np.zeros_like(lam), np.zeros_like(lam)
    left = np.where(open_direction, 1.0 - lam, 1.0)
    power, limit = (0.5, 0.5) if kind == "CR2" else (1.0, 1.0)
    d = np.where(open_direction, left**-power, 0.0)
    safe = np.where(present, lam, 1.0)
    return np.where(present, (d - 1.0) / safe, limit), np.where(present, (d**2 - 1.0) / safe, 2.0 * limit)


def satterthwaite(moments: ClusterMoments) -> FloatArray:
    """Return tr(P)^2 / sum P^2 for each coefficient, in time linear in the clusters."""
    lifted, kernel = moments.lifted, moments.kernel
    own = np.diagonal(moments.own, axis1=1, axis2=2)
    overlap = np.einsum("gij,il,glj->gj", lifted, kernel, lifted)
    trace = (own + overlap).sum(axis=0)
    inner = np.einsum("gij,glj->jil", lifted, lifted)
    product = kernel @ inner
    cross = np.einsum("jil,jli->j", product, product)
    squares = (own**2).sum(axis=0) + 2.0 * (own * overlap).sum(axis=0) + cross
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
