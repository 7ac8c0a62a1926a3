"""Weights that are not negative and sum to one, chosen by penalised least squares, solved to the optimum.

The problem is  min |A w - b|^2 / n + zeta^2 |w|^2  over w >= 0 with sum(w) = 1, with an intercept taken out of A and
b first where there is one. As the weights sum to one, A w - b = (A - b 1') w, so that the objective is |B w|^2 with B
the rows of A - b 1' above sqrt(n) zeta I. The minimum over the simplex is the direction of the solution of

    min |B x|^2 + (1' x - 1)^2  over  x >= 0:

for x = s w the objective is s^2 q + (s - 1)^2 with q = |B w|^2, at its best over s equal to q / (1 + q), which grows
with q. So non-negative least squares (Lawson and Hanson 1974) solves it exactly, in finitely many steps. On the
weights that are not zero the answer is then computed once more from a QR decomposition, to the last digits.

At the optimum the gradient is at its least for every weight that is not zero: with g = B'B w, every g_j is at least
w' g. The largest violation v bounds what is left to gain: the objective is at most 2 v above the least one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# Diagonal entries of R below this share of the largest are rounding: the answer is then not computed again.
SINGULAR = 1e-13
# Columns that differ from the target by less than this share of their size differ by rounding.
ROUNDING = 1e-14
# Of the largest column's sum of squares: an objective below it is a perfect fit.
PERFECT = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class SimplexWeights:
    """Weights at the optimum.

    Attributes
    ----------
    weight : ndarray, shape (columns,)
    objective : float
        |A w - b|^2 / n + zeta^2 |w|^2.
    gap : float
        How far the objective may be above the least one, over its value (or over 1e-10 of the largest column's, where
        the fit is perfect and rounding is all there is).
    """

    weight: FloatArray
    objective: float
    gap: float


def simplex_weights(columns: FloatArray, target: FloatArray, *, penalty: float, intercept: bool) -> SimplexWeights:
    """Return the weights of columns whose average comes closest to a target.

    Parameters
    ----------
    columns : ndarray, shape (n, k)
    target : ndarray, shape (n,)
    penalty : float
        zeta, in units of the columns; infinite for equal weights.
    intercept : bool
        Whether the average may differ from the target by a constant.

    Examples
    --------
    >>> found = simplex_weights(np.array([[0.0, 4.0], [2.0, 2.0]]), np.array([1.0, 2.0]), penalty=0.0, intercept=False)
    >>> found.weight.round(12).tolist()
    [0.75, 0.25]
    """
    n, k = columns.shape
    a, b = columns, target
    if intercept:
        a, b = a - a.mean(axis=0), b - b.mean()
    if np.isinf(penalty):
        weight = np.full(k, 1.0 / k)
        return SimplexWeights(weight, np.inf, 0.0)
    stacked = np.vstack([a - b[:, None], penalty * np.sqrt(n) * np.eye(k)])
    scale = float(np.sqrt(np.square(stacked).sum(axis=0).max()))
    if scale <= ROUNDING * np.sqrt(n) * max(float(np.abs(columns).max()), float(np.abs(target).max())):
        return SimplexWeights(np.full(k, 1.0 / k), 0.0, 0.0)
    stacked = stacked / scale
    weight = _solve(stacked)
    gradient = stacked.T @ (stacked @ weight)
    level = float(weight @ gradient)
    gap = 2.0 * float(np.max(level - gradient)) / (level + PERFECT)
    return SimplexWeights(weight, level * scale**2 / n, max(gap, 0.0))


def _solve(stacked: FloatArray) -> FloatArray:
    from scipy.optimize import nnls

    rows, k = stacked.shape
    # Rows beyond the columns tell nothing that their triangle does not.
    triangle = _triangle(stacked) if rows > k else stacked
    x, _ = nnls(np.vstack([triangle, np.ones(k)]), np.append(np.zeros(triangle.shape[0]), 1.0), maxiter=50 * k)
    weight = x / x.sum()
    used = np.flatnonzero(weight > 0)
    r = _triangle(triangle[:, used])
    size = np.abs(np.diag(r))
    if r.shape[0] < used.size or size.min() <= SINGULAR * size.max():
        return np.asarray(weight)
    direction = np.linalg.solve(r, np.linalg.solve(r.T, np.ones(used.size)))
    if not (direction > 0).all():
        return np.asarray(weight)
    exact = np.zeros(k)
    exact[used] = direction / direction.sum()
    return exact


def _triangle(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.qr(matrix, mode="r"), dtype=np.float64)
