"""Cluster-robust covariances and degrees of freedom for many small clusters, without a decomposition for each.

On whitened columns Z R, with R the symmetric root of M = (Z'Z)^-1, the cross-products S_g of all clusters add up to the
identity, and with g(x) = (1 - x)^(-1/2) for CR2, (1 - x)^-1 for CR3, 1 for CR0 and CR1, and v = R c for a contrast c:

    adjusted score        g(S_g) s_g,
    F_g'a_g = L_g         S_g w_g,   w_g = g(S_g) v,
    a_g'a_g               w_g'S_g w_g,
    their overlap         -L_g'L_g.

The traces of all S_g add up to the number of coefficients k, so at most k / t clusters have one above t. Those few are
decomposed; for the others g is its power series, whose length the largest trace decides: with 100,000 clusters four or
five terms are exact to rounding. Everything is done on arrays with the clusters last, where each step is one vector
operation over thousands of clusters, in blocks that stay in the cache. Clusters of one row need their leverage only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import CLUSTER_KINDS, SINGULAR, ClusterRobust, small_sample_factor
from gbveval.numerics.least_squares import LeastSquares

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Above this trace a cluster is decomposed: below it the series needs at most thirty terms.
DECOMPOSE = 0.25
ROUNDING = 1e-17
BLOCK = 16_384
_POWER = {"CR2": 0.5, "CR3": 1.0}


class Sums:
    """What adds up over clusters for the degrees of freedom of every contrast.

    Parameters
    ----------
    kernel : ndarray, shape (m, m)
        The overlap of a cluster's lifted contrast L is L' kernel L.
    contrasts : int
        Number of contrasts.
    """

    def __init__(self, kernel: FloatArray, contrasts: int) -> None:
        self.kernel = kernel
        self.trace = np.zeros(contrasts)
        self.own_squares = np.zeros(contrasts)
        self.own_overlap = np.zeros(contrasts)
        self.inner = np.zeros((contrasts, *kernel.shape))
        self.singular = 0

    def add(self, lifted: FloatArray, own: FloatArray) -> None:
        """Add clusters: `lifted` has shape (m, contrasts, clusters), `own` (contrasts, clusters)."""
        for j in range(own.shape[0]):
            overlap = (lifted[:, j] * (self.kernel @ lifted[:, j])).sum(axis=0)
            self.add_parts(j, own[j], overlap, lifted[:, j] @ lifted[:, j].T)

    def add_parts(self, contrast: int, own: FloatArray, overlap: FloatArray, inner: FloatArray) -> None:
        """Add clusters to one contrast, whose sum of L L' is known."""
        self.trace[contrast] += float((own + overlap).sum())
        self.own_squares[contrast] += float(own @ own)
        self.own_overlap[contrast] += float(own @ overlap)
        self.inner[contrast] += inner

    def df(self) -> FloatArray:
        """Return Satterthwaite degrees of freedom."""
        product = self.kernel @ self.inner
        squares = self.own_squares + 2.0 * self.own_overlap + np.einsum("jil,jli->j", product, product)
        with np.errstate(divide="ignore", invalid="ignore"):
            result: FloatArray = np.where(squares > 0, self.trace**2 / squares, np.nan)
        return result


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Some clusters, in order of their size.

    Attributes
    ----------
    clusters : ndarray of int
        Their codes.
    rows : ndarray of int
        Their rows, one cluster after the other.
    begins : ndarray of int
        Where in `rows` each cluster begins.
    single : bool
        Whether each has one row.
    """

    clusters: IntArray
    rows: IntArray
    begins: IntArray
    single: bool


def blocks_by_size(cluster: IntArray, n_clusters: int) -> Iterator[Block]:
    """Yield all clusters in blocks that stay in the cache, those of one row together."""
    sizes = np.bincount(cluster, minlength=n_clusters)
    by_size = np.argsort(sizes, kind="stable")
    rank = np.empty(n_clusters, dtype=np.intp)
    rank[by_size] = np.arange(n_clusters)
    order = np.argsort(rank[cluster], kind="stable")
    ends = np.cumsum(sizes[by_size])
    first = 0
    while first < n_clusters:
        start = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, start + BLOCK, side="right")))
        chosen = by_size[first:last]
        yield Block(
            chosen,
            order[start : int(ends[last - 1])],
            ends[first:last] - sizes[chosen] - start,
            bool(sizes[chosen[-1]] == 1),
        )
        first = last


def many_cluster_robust(
    fit: LeastSquares,
    design: FloatArray,
    outcome: FloatArray,
    cluster: IntArray,
    n_clusters: int,
    *,
    kind: str,
    weights: FloatArray | None = None,
) -> ClusterRobust:
    """Return what `cluster_robust` returns for one outcome, without the moments for joint tests.

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
    kind : str
        "CR0", "CR1", "CR1S", "CR2" or "CR3".
    weights : ndarray, shape (n,), optional
        Regression weights; CR2 then takes their inverses for variances.
    """
    if kind not in CLUSTER_KINDS:
        raise ValueError(f"The covariance is one of {', '.join(CLUSTER_KINDS)}, not {kind!r}.")
    k = fit.k
    values, vectors = np.linalg.eigh(fit.basis.gram_inverse)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    contrasts = root @ fit.basis.to_original.T
    sums = Sums(-np.eye(k), k)
    score = np.empty((k, n_clusters))
    for block in blocks_by_size(cluster, n_clusters):
        z = fit.basis.rows(design, block.rows)
        residual = outcome[block.rows] - z @ fit.gamma[:, 0]
        z = z @ root
        if weights is not None:
            heavy = np.sqrt(weights[block.rows])
            z, residual = z * heavy[:, None], residual * heavy
        of = _singles if block.single else _groups
        score[:, block.clusters] = of(np.ascontiguousarray(z.T), residual, block.begins, contrasts, kind, sums)
    scale = np.sqrt(small_sample_factor(kind, n_clusters, fit.n, k))
    influence = scale * (score.T @ contrasts)
    return ClusterRobust(
        (influence.T @ influence)[:, :, None], influence[:, :, None], sums.df(), sums.singular if kind in _POWER else 0
    )


def _singles(
    z: FloatArray, residual: FloatArray, starts: IntArray, contrasts: FloatArray, kind: str, sums: Sums
) -> FloatArray:
    """Return the adjusted scores of clusters of one row, whose S_g is z z' with the leverage as its only root."""
    leverage = np.minimum((z**2).sum(axis=0), 1.0)
    exact = 1.0 - leverage <= SINGULAR
    sums.singular += int(exact.sum())
    power = _POWER.get(kind, 0.0)
    stretch = np.where(exact, 0.0, np.where(exact, 1.0, 1.0 - leverage) ** -power) if power else np.ones_like(leverage)
    reach = (contrasts.T @ z) * stretch
    own = reach**2
    for j in range(own.shape[0]):
        sums.add_parts(j, own[j], -own[j] * leverage, (z * own[j]) @ z.T)
    return z * (residual * stretch)


def _groups(
    z: FloatArray, residual: FloatArray, starts: IntArray, contrasts: FloatArray, kind: str, sums: Sums
) -> FloatArray:
    """Return the adjusted scores of clusters of several rows."""
    k = z.shape[0]
    gram = np.empty((k, k, starts.size))
    for a in range(k):
        for b in range(a, k):
            gram[a, b] = gram[b, a] = np.add.reduceat(z[a] * z[b], starts)
    score = np.add.reduceat(z * residual, starts, axis=1)
    trace = np.einsum("aag->g", gram)
    large = np.flatnonzero(trace > DECOMPOSE) if kind in _POWER else np.zeros(0, dtype=np.intp)
    small = np.flatnonzero(trace <= DECOMPOSE) if kind in _POWER else np.arange(starts.size)
    result = np.empty_like(score)
    if small.size:
        chosen = gram if small.size == starts.size else np.ascontiguousarray(gram[:, :, small])
        series = power_series(_POWER.get(kind, 0.0), float(trace[small].max()))
        result[:, small] = _apply(chosen, score[:, small], series)
        lifted = np.empty((k, k, small.size))
        own = np.empty((k, small.size))
        for j in range(k):
            w = _apply(chosen, np.repeat(contrasts[:, [j]], small.size, axis=1), series)
            lifted[:, j] = times(chosen, w)
            own[j] = (w * lifted[:, j]).sum(axis=0)
        sums.add(lifted, own)
    if large.size:
        _decomposed(gram, score, large, contrasts, kind, sums, result)
    return result


def power_series(power: float, largest: float) -> list[float]:
    """Return the coefficients of (1 - x)^-power, as many as matter for roots up to `largest`."""
    coefficients = [1.0]
    term = 1.0
    while power and term * largest ** len(coefficients) > ROUNDING and len(coefficients) < 60:
        term *= (power + len(coefficients) - 1.0) / len(coefficients)
        coefficients.append(term)
    return coefficients


def times(gram: FloatArray, vector: FloatArray) -> FloatArray:
    """Return S_g times a vector, for all clusters, shape (k, clusters)."""
    result = gram[0] * vector[0]
    for b in range(1, gram.shape[0]):
        result += gram[b] * vector[b]
    return np.asarray(result, dtype=np.float64)


def _apply(gram: FloatArray, vector: FloatArray, series: list[float]) -> FloatArray:
    """Return g(S_g) times a vector by Horner's rule."""
    result = series[-1] * vector
    for coefficient in series[-2::-1]:
        result = times(gram, result)
        result += coefficient * vector
    return result


def _decomposed(
    gram: FloatArray,
    score: FloatArray,
    which: IntArray,
    contrasts: FloatArray,
    kind: str,
    sums: Sums,
    into: FloatArray,
) -> None:
    """Put the adjusted scores of clusters with a large trace into their places, by eigenvalues."""
    lam, q = np.linalg.eigh(np.moveaxis(gram[:, :, which], 2, 0))
    lam = np.clip(lam, 0.0, 1.0)
    open_direction = 1.0 - lam > SINGULAR
    stretch = np.where(open_direction, np.where(open_direction, 1.0 - lam, 1.0) ** -_POWER[kind], 0.0)
    sums.singular += int(np.sum(np.any(~open_direction, axis=1)))
    turned = np.swapaxes(q, 1, 2)
    into[:, which] = (q @ (stretch[:, :, None] * (turned @ score[:, which].T[:, :, None])))[:, :, 0].T
    w = q @ (stretch[:, :, None] * (turned @ contrasts))
    lifted = q @ (lam[:, :, None] * (turned @ w))
    own = np.einsum("gaj,gaj->jg", w, lifted)
    sums.add(np.moveaxis(lifted, 0, 2), own)
