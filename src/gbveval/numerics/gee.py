"""Generalised estimating equations on rows that are whitened within clusters (Liang and Zeger 1986).

With r the Pearson residuals and R(alpha) the working correlation of a cluster, the equations sum of D'V^-1 (y - mu) = 0
are X~'e~ = 0 for X~ = R^(-1/2) X*, e~ = R^(-1/2) r, with X* as in `numerics.glm`. Any root of R^-1 will do. The
exchangeable one treats the cluster's mean and the deviations from it apart,

    R^(-1/2) v = (v - mean v) / (1 - alpha)^(1/2) + mean v / (1 + (n - 1) alpha)^(1/2),

the autoregressive one subtracts the neighbour before, (v_t - alpha v_(t-1)) / (1 - alpha^2)^(1/2). Both cost one pass.
The sandwich of Liang and Zeger is then CR0 of least squares on these rows, that of Kauermann and Carroll (2001) CR2,
that of Mancl and DeRouen (2001) CR3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.groups import group_sizes, group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
CORRELATIONS = ("independence", "exchangeable", "ar1")
MOMENTS = ("no_parameter_correction", "parameters_subtracted")
MAXIMUM_STEPS = 300
# Steps in the coefficients of a well-scaled basis below this are rounding.
STEP_TOLERANCE = 1e-11


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """Rows sorted by cluster, and within it in the order that an autoregressive correlation needs.

    Attributes
    ----------
    cluster : ndarray of int, shape (n,)
        Codes 0 .. G - 1, not decreasing.
    sizes : ndarray, shape (G,)
        Rows a cluster.
    """

    cluster: IntArray
    sizes: FloatArray

    @property
    def pairs(self) -> float:
        """Pairs of rows within clusters."""
        return float((self.sizes * (self.sizes - 1.0)).sum() / 2.0)

    def mean(self, values: FloatArray) -> FloatArray:
        """Return the mean of each row's cluster, shape of `values`."""
        if values.ndim == 1:
            means = group_sums(self.cluster, values, self.sizes.size) / self.sizes
            return np.asarray(means[self.cluster], dtype=np.float64)
        return np.column_stack([self.mean(values[:, j]) for j in range(values.shape[1])])


@dataclass(frozen=True, eq=False, slots=True)
class Gee:
    """A solution of the estimating equations.

    Attributes
    ----------
    gamma : ndarray, shape (k,)
        Coefficients.
    alpha : float
        Correlation parameter (zero for independence).
    phi : float
        Dispersion.
    design, residual : ndarray, shape (n, k) and (n,)
        X~ and e~.
    converged : bool
        Whether the steps ended, at a correlation that exists.
    """

    gamma: FloatArray
    alpha: float
    phi: float
    design: FloatArray
    residual: FloatArray
    converged: bool


def layout(cluster: IntArray) -> Layout:
    """Return the layout of rows that are sorted by cluster."""
    return Layout(cluster, group_sizes(cluster, int(cluster.max()) + 1))


def exists(correlation: str, alpha: float, largest: float) -> bool:
    """Whether the working correlation is positive definite in clusters up to the largest."""
    if correlation == "exchangeable":
        return bool(alpha < 1.0 and 1.0 + (largest - 1.0) * alpha > 0.0)
    return bool(abs(alpha) < 1.0)


def whiten_within(correlation: str, alpha: float, rows: Layout, values: FloatArray) -> FloatArray:
    """Return R^(-1/2) times the values of each cluster.

    Parameters
    ----------
    correlation : str
        "independence", "exchangeable" or "ar1".
    alpha : float
        Its parameter.
    rows : Layout
        Clusters.
    values : ndarray, shape (n,) or (n, k)
        In the order of the layout.
    """
    if correlation == "independence" or alpha == 0.0:
        return values
    column = values[:, None] if values.ndim == 1 else values
    if correlation == "exchangeable":
        mean = rows.mean(column)
        weight = 1.0 / np.sqrt(1.0 + (rows.sizes[rows.cluster] - 1.0) * alpha)
        result = (column - mean) / np.sqrt(1.0 - alpha) + mean * weight[:, None]
    else:
        result = column.copy()
        later = np.flatnonzero(rows.cluster[1:] == rows.cluster[:-1]) + 1
        result[later] = (column[later] - alpha * column[later - 1]) / np.sqrt(1.0 - alpha**2)
    return np.asarray(result[:, 0] if values.ndim == 1 else result, dtype=np.float64)


def moments(correlation: str, moment: str, r: FloatArray, rows: Layout, k: int) -> tuple[float, float]:
    """Return the moment estimators of the correlation parameter and the dispersion.

    Parameters
    ----------
    correlation, moment : str
        "no_parameter_correction" divides by rows and pairs, "parameters_subtracted" by rows and pairs less k.
    r : ndarray, shape (n,)
        Pearson residuals.
    rows : Layout
        Clusters.
    k : int
        Coefficients.

    Notes
    -----
    phi = sum of r^2 / N. Exchangeable: alpha is the mean over pairs of r_s r_t / phi. ar1: alpha minimises the sum over
    pairs of (r_s r_t / phi - alpha^lag)^2, the lag being the difference in position.
    """
    less = k if moment == "parameters_subtracted" else 0
    phi = float(r @ r) / (r.size - less)
    if correlation == "independence":
        return 0.0, phi
    if correlation == "exchangeable":
        sums = group_sums(rows.cluster, r, rows.sizes.size)
        total = float(sums @ sums - r @ r) / 2.0
        return total / phi / (rows.pairs - less), phi
    return _autoregressive(r, phi, rows), phi


def _autoregressive(r: FloatArray, phi: float, rows: Layout) -> float:
    from scipy.optimize import brentq

    sums, counts = [], []
    for lag in range(1, int(rows.sizes.max())):
        together = rows.cluster[lag:] == rows.cluster[:-lag]
        sums.append(float(np.sum(np.where(together, r[lag:] * r[:-lag], 0.0))) / phi)
        counts.append(float(together.sum()))
    s, n, lags = np.array(sums), np.array(counts), np.arange(1, len(sums) + 1)

    def distance(alpha: float) -> float:
        power = alpha**lags
        return float(n @ power**2 - 2.0 * (s @ power))

    def slope(alpha: float) -> float:
        return float((2.0 * lags * alpha ** (lags - 1)) @ (n * alpha**lags - s))

    # The distance is a polynomial that may have several minima: near the best point of a grid its slope has a root. A
    # search for the least distance itself would know half of the digits, and the coefficients would not settle.
    grid = np.linspace(-0.999, 0.999, 400)
    best = int(np.argmin([distance(alpha) for alpha in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])
    if slope(low) < 0.0 < slope(high):
        return float(brentq(slope, low, high, xtol=1e-15))
    return float(grid[best])


def solve_gee(
    family: Family,
    z: FloatArray,
    y: FloatArray,
    start: FloatArray,
    rows: Layout,
    *,
    correlation: str,
    moment: str,
    offset: FloatArray | None = None,
) -> Gee:
    """Return the solution of the estimating equations, correlation and coefficients in turn.

    Parameters
    ----------
    family : Family
        Family and link.
    z, y : ndarray, shape (n, k) and (n,)
        Columns and outcome, sorted as the layout is.
    start : ndarray, shape (k,)
        Coefficients under independence.
    rows : Layout
        Clusters.
    correlation, moment : str
        Working correlation and how its parameter is estimated.
    offset : ndarray, shape (n,), optional
        Offset of the linear predictor.
    """
    gamma = start
    largest = float(rows.sizes.max())
    done = False
    for _ in range(MAXIMUM_STEPS):
        white = whiten(family, z, y, gamma, offset=offset)
        alpha, phi = moments(correlation, moment, white.residual, rows, z.shape[1])
        if not (np.isfinite(alpha) and exists(correlation, alpha, largest)):
            return Gee(gamma, alpha, phi, white.design, white.residual, False)
        design = whiten_within(correlation, alpha, rows, white.design)
        residual = whiten_within(correlation, alpha, rows, white.residual)
        if done or not (np.isfinite(design).all() and np.isfinite(residual).all()):
            return Gee(gamma, alpha, phi, design, residual, done)
        step = np.linalg.lstsq(design, residual, rcond=None)[0]
        gamma = gamma + step
        done = bool(np.abs(step).max() <= STEP_TOLERANCE * max(1.0, float(np.abs(gamma).max())))
    return Gee(gamma, alpha, phi, design, residual, False)


def fay_graubard(design: FloatArray, residual: FloatArray, rows: Layout, lift: FloatArray, bound: float) -> FloatArray:
    """Return influence by cluster whose cross-product is the covariance of Fay and Graubard (2001), shape (G, k).

    Parameters
    ----------
    design, residual : ndarray, shape (n, k) and (n,)
        X~ and e~.
    rows : Layout
        Clusters.
    lift : ndarray, shape (k, k)
        Turns coefficients on the columns of X~ into those wanted, on whose scale the correction is made: unlike the
        others it changes when a covariate is shifted.
    bound : float
        Largest share of the information that a cluster is corrected for.

    Notes
    -----
    M sum of H_g U_g U_g' H_g M, with U_g the cluster's score, M the inverse information and H_g diagonal with entries
    (1 - min(bound, [D'V^-1 D M]_jj))^(-1/2).
    """
    x = design @ np.linalg.inv(lift)
    count, k = rows.sizes.size, x.shape[1]
    inverse = np.linalg.inv(x.T @ x)
    scores = np.column_stack([group_sums(rows.cluster, x[:, j] * residual, count) for j in range(k)])
    shares = np.column_stack([group_sums(rows.cluster, x[:, j] * (x @ inverse[:, j]), count) for j in range(k)])
    influence: FloatArray = (scores / np.sqrt(1.0 - np.minimum(shares, bound))) @ inverse
    return influence
