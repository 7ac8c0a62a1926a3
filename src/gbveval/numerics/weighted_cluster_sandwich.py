"""CR2 for weighted least squares under an identity working model, from cluster cross-products.

With weights W the hat matrix H = X M X'W, M = (X'WX)^-1, is not symmetric. Under homoskedastic, independent errors the
residuals of cluster g have covariance B_g = [(I - H)(I - H)']_gg, and the adjustment is A_g = B_g^(-1/2) (Bell and
McCaffrey 2002; Pustejovsky and Tipton 2018, with the working model set to the identity). With F_g = [X_g, W_g X_g] and
S2 = X'W^2 X,

    B_g = I + F_g K F_g',    K = [[M S2 M, -M], [-M, 0]],

so A_g differs from I on the span of F_g only. With F_g'F_g = V D V' and D^(1/2) V' K V D^(1/2) = Q diag(mu) Q', the
orthonormal U_g = F_g V D^(-1/2) Q gives A_g = I + U_g diag((1 + mu)^(-1/2) - 1) U_g'. Only F_g'F_g, which holds X'X,
X'WX and X'W^2 X of the cluster, and F_g'e_g are needed. The parts of the working covariance between clusters are
P_gh = 1{g = h} a_g'a_g + (F_g'a_g)' K (F_h'a_h).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import SINGULAR, ClusterMoments, ClusterRobust, satterthwaite
from gbveval.numerics.least_squares import LeastSquares, blocks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Directions of F_g'F_g below this share of the largest are rounding: X and WX are collinear where weights are equal.
NEGLIGIBLE = 1e-13


def _span_products(
    fit: LeastSquares,
    design: FloatArray,
    columns: FloatArray,
    weights: FloatArray,
    cluster: IntArray,
    n_clusters: int,
) -> tuple[FloatArray, FloatArray]:
    """Return F_g'F_g, shape (clusters, 2k, 2k), and F_g'e_g, shape (clusters, 2k, outcomes)."""
    k, m = fit.gamma.shape
    gram = np.zeros((n_clusters, 2 * k, 2 * k))
    score = np.zeros((n_clusters, 2 * k, m))
    for where in blocks(design.shape[0]):
        z = fit.basis.rows(design, where)
        span = np.column_stack([z, z * weights[where, None]])
        residual = columns[where] - z @ fit.gamma
        codes = cluster[where]
        for a in range(2 * k):
            for b in range(a, 2 * k):
                gram[:, a, b] += np.bincount(codes, weights=span[:, a] * span[:, b], minlength=n_clusters)
            for c in range(m):
                score[:, a, c] += np.bincount(codes, weights=span[:, a] * residual[:, c], minlength=n_clusters)
    lower = np.tril_indices(2 * k, -1)
    gram[:, lower[0], lower[1]] = gram[:, lower[1], lower[0]]
    return gram, score


def weighted_bias_reduced(
    fit: LeastSquares,
    design: FloatArray,
    outcome: FloatArray,
    cluster: IntArray,
    n_clusters: int,
    *,
    weights: FloatArray,
) -> ClusterRobust:
    """Return the CR2 covariance and degrees of freedom of a weighted fit, identity working model.

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
    weights : ndarray, shape (n,)
        Positive regression weights.
    """
    columns = outcome[:, None] if outcome.ndim == 1 else outcome
    # The answer does not depend on the scale of the weights; near one they keep X and WX on one scale.
    w = weights / weights.mean()
    bread = fit.basis.gram_inverse * weights.mean()
    k = fit.k
    gram, score = _span_products(fit, design, columns, w, cluster, n_clusters)
    squared = bread @ gram[:, k:, k:].sum(axis=0) @ bread
    kernel = np.block([[squared, -bread], [-bread, np.zeros((k, k))]])
    lift = fit.basis.to_original @ bread
    contrast = np.vstack([np.zeros((k, lift.shape[0])), lift.T])
    adjusted, lifted, own, singular = decomposed(gram, score, kernel, contrast)
    influence = lift @ adjusted[:, k:, :]
    moments = ClusterMoments(lifted, own, kernel)
    covariance = np.einsum("gjo,glo->jlo", influence, influence)
    return ClusterRobust(covariance, influence, satterthwaite(moments), singular, moments)


def decomposed(
    gram: FloatArray, score: FloatArray, kernel: FloatArray, contrast: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Return what CR2 needs of each cluster, by two decompositions.

    Parameters
    ----------
    gram : ndarray, shape (clusters, 2k, 2k)
        F_g'F_g.
    score : ndarray, shape (clusters, 2k, outcomes)
        F_g'e_g.
    kernel : ndarray, shape (2k, 2k)
        K.
    contrast : ndarray, shape (2k, contrasts)
        Contrasts on the columns of F_g.

    Returns
    -------
    adjusted : ndarray, shape (clusters, 2k, outcomes)
        F_g'A_g e_g.
    lifted : ndarray, shape (clusters, 2k, contrasts)
        F_g'a_g.
    own : ndarray, shape (clusters, contrasts, contrasts)
        a_g'a_g.
    singular : int
        Clusters with a direction that is fitted exactly.
    """
    sizes, axes = np.linalg.eigh(gram)
    keep = sizes > NEGLIGIBLE * sizes[:, -1:]
    length = np.sqrt(np.where(keep, sizes, 0.0))
    stretched = axes * length[:, None, :]
    mu, q = np.linalg.eigh(np.swapaxes(stretched, 1, 2) @ kernel @ stretched)
    open_direction = 1.0 + mu > SINGULAR
    d = np.where(open_direction, 1.0 / np.sqrt(np.where(open_direction, 1.0 + mu, 1.0)), 0.0)
    # F_g'U_g, and U_g'e_g by way of F_g'e_g.
    along = stretched @ q
    inverse = np.where(keep, 1.0 / np.where(keep, length, 1.0), 0.0)
    across = np.swapaxes(q, 1, 2) @ (inverse[:, :, None] * (np.swapaxes(axes, 1, 2) @ score))
    adjusted = score + along @ ((d - 1.0)[:, :, None] * across)
    turned = np.swapaxes(along, 1, 2) @ contrast
    lifted = gram @ contrast + along @ ((d - 1.0)[:, :, None] * turned)
    own = contrast.T @ gram @ contrast + np.swapaxes(turned, 1, 2) @ ((d**2 - 1.0)[:, :, None] * turned)
    return adjusted, lifted, own, int(np.sum(np.any(~open_direction, axis=1)))
