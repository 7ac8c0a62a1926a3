"""Weighted CR2 under an identity working model for many small clusters, by power series.

In the notation of `weighted_cluster_sandwich`, B_g = I + F_g K F_g' and N_g = -F_g'F_g K, the powers of I - B_g pass
through F_g: F_g'(I - B_g)^j = N_g^j F_g'. With g(x) = (1 - x)^(-1/2) and s_g = F_g'e_g, v = E'M c the contrast on the
columns of F_g,

    adjusted score    the second half of g(N_g) s_g,
    F_g'a_g           g(N_g) F_g'F_g v,
    a_g'a_g           v'F_g'F_g v - (F_g'a_g)' K (F_g'a_g), since A_g B_g A_g is the identity.

On whitened columns the N_g of small clusters are small, and a few terms of the series are exact to rounding; the few
clusters for which they are not are decomposed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import SINGULAR, ClusterRobust
from gbveval.numerics.least_squares import LeastSquares, blocks
from gbveval.numerics.many_clusters import DECOMPOSE, Sums, blocks_by_size, power_series, times
from gbveval.numerics.weighted_cluster_sandwich import decomposed

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def many_weighted_bias_reduced(
    fit: LeastSquares,
    design: FloatArray,
    outcome: FloatArray,
    cluster: IntArray,
    n_clusters: int,
    *,
    weights: FloatArray,
) -> ClusterRobust:
    """Return what `weighted_bias_reduced` returns for one outcome, without the moments for joint tests.

    Parameters
    ----------
    fit : LeastSquares
        Fit of `outcome` on `design` with the same weights.
    design : ndarray, shape (n, columns)
        Without an intercept column.
    outcome : ndarray, shape (n,)
        Outcome.
    cluster : ndarray of int, shape (n,)
        Codes 0 .. n_clusters - 1, each of which occurs.
    n_clusters : int
        Number of clusters.
    weights : ndarray, shape (n,)
        Positive regression weights.
    """
    k = fit.k
    w = weights / weights.mean()
    values, vectors = np.linalg.eigh(fit.basis.gram_inverse * weights.mean())
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    squared = np.zeros((k, k))
    for where in blocks(design.shape[0]):
        heavy = (fit.basis.rows(design, where) @ root) * w[where, None]
        squared += heavy.T @ heavy
    kernel = np.block([[squared, -np.eye(k)], [-np.eye(k), np.zeros((k, k))]])
    contrasts = np.vstack([np.zeros((k, k)), root @ fit.basis.to_original.T])
    sums = Sums(kernel, k)
    score = np.empty((k, n_clusters))
    for block in blocks_by_size(cluster, n_clusters):
        z = fit.basis.rows(design, block.rows)
        residual = outcome[block.rows] - z @ fit.gamma[:, 0]
        z = z @ root
        span = np.ascontiguousarray(np.column_stack([z, z * w[block.rows, None]]).T)
        of = _singles if block.single else _groups
        score[:, block.clusters] = of(span, residual, block.begins, contrasts, sums)[k:]
    influence = score.T @ contrasts[k:]
    return ClusterRobust((influence.T @ influence)[:, :, None], influence[:, :, None], sums.df(), sums.singular)


def _groups(span: FloatArray, residual: FloatArray, begins: IntArray, contrasts: FloatArray, sums: Sums) -> FloatArray:
    """Return g(N_g) s_g of some clusters, and add what they contribute to the degrees of freedom."""
    width = span.shape[0]
    gram = np.empty((width, width, begins.size))
    for a in range(width):
        for b in range(a, width):
            gram[a, b] = gram[b, a] = np.add.reduceat(span[a] * span[b], begins)
    score = np.add.reduceat(span * residual, begins, axis=1)
    # No root of N_g is larger than its Frobenius norm, and that no larger than the product of the norms.
    size = np.sqrt(np.einsum("abg,abg->g", gram, gram)) * float(np.linalg.norm(sums.kernel))
    small, large = np.flatnonzero(size <= DECOMPOSE), np.flatnonzero(size > DECOMPOSE)
    result = np.empty_like(score)
    if small.size:
        chosen = gram if small.size == begins.size else np.ascontiguousarray(gram[:, :, small])
        bound = float(size[small].max())
        half = power_series(0.5, bound)
        result[:, small] = _apply(chosen, score[:, small], half, sums.kernel)
        lifted = np.empty((width, contrasts.shape[1], small.size))
        own = np.empty((contrasts.shape[1], small.size))
        for j in range(contrasts.shape[1]):
            reach = times(chosen, np.repeat(contrasts[:, [j]], small.size, axis=1))
            lifted[:, j] = _apply(chosen, reach, half, sums.kernel)
            overlap = (lifted[:, j] * (sums.kernel @ lifted[:, j])).sum(axis=0)
            own[j] = contrasts[:, j] @ reach - overlap
        sums.add(lifted, own)
    if large.size:
        some = np.moveaxis(gram[:, :, large], 2, 0)
        adjusted, lifted, own, singular = decomposed(some, score[:, large].T[:, :, None], sums.kernel, contrasts)
        result[:, large] = adjusted[:, :, 0].T
        sums.singular += singular
        sums.add(np.moveaxis(lifted, 0, 2), np.diagonal(own, axis1=1, axis2=2).T)
    return result


def _singles(span: FloatArray, residual: FloatArray, begins: IntArray, contrasts: FloatArray, sums: Sums) -> FloatArray:
    """Return the same for clusters of one row, whose B_g is a number."""
    spread = 1.0 + (span * (sums.kernel @ span)).sum(axis=0)
    exact = spread <= SINGULAR
    sums.singular += int(exact.sum())
    stretch = np.where(exact, 0.0, 1.0 / np.sqrt(np.where(exact, 1.0, spread)))
    reach = (contrasts.T @ span) * stretch
    own = reach**2
    for j in range(own.shape[0]):
        sums.add_parts(j, own[j], own[j] * (spread - 1.0), (span * own[j]) @ span.T)
    return span * (residual * stretch)


def _apply(gram: FloatArray, vector: FloatArray, series: list[float], kernel: FloatArray) -> FloatArray:
    """Return a power series of N_g times a vector, by Horner's rule."""
    result = series[-1] * vector
    for coefficient in series[-2::-1]:
        result = times(gram, -(kernel @ result))
        result += coefficient * vector
    return result
