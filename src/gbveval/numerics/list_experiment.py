"""Item counts with and without a sensitive item: least squares, two steps, and the test that the list changes nothing.

With J control items, counts Y, T whether the list has the sensitive item, and covariates x (a constant among them):
E(Y | x, T) = g(x) + T f(x), with f the prevalence of the sensitive item given x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MAXIMUM_STEPS = 200
# Log odds beyond this are shares that no sample tells from 0 or 1.
TOO_FAR = 30.0


@dataclass(frozen=True, eq=False, slots=True)
class ListFit:
    """Coefficients of the sensitive item and of the control count.

    Attributes
    ----------
    sensitive, control : ndarray, shape (k,)
        On the log-odds scale, or plain for least squares.
    covariance : ndarray, shape (2k, 2k)
        Sensitive coefficients first.
    log_likelihood : float
        NaN where there is none.
    converged : bool
    """

    sensitive: FloatArray
    control: FloatArray
    covariance: FloatArray
    log_likelihood: float = float("nan")
    converged: bool = True


def logistic(eta: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-eta)), without overflow."""
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
    return result


def linear_list(x: FloatArray, y: FloatArray, long: FloatArray) -> ListFit:
    """Return least squares of the count on x and T x with HC3 errors; the coefficients of T x are the sensitive ones.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        Of full rank in each list.
    y : ndarray, shape (n,)
        Counts.
    long : ndarray, shape (n,)
        1 where the list has the sensitive item.

    References
    ----------
    Holbrook and Krosnick (2010), Public Opinion Quarterly 74. Imai (2011), Journal of the American Statistical
    Association 106.

    Examples
    --------
    >>> y = np.array([1.0, 2.0, 2.0, 3.0])
    >>> linear_list(np.ones((4, 1)), y, np.array([0.0, 0.0, 1.0, 1.0])).sensitive.round(6)
    array([1.])
    """
    k = x.shape[1]
    z = np.column_stack([long[:, None] * x, x])
    q, r = np.linalg.qr(z)
    back = np.linalg.inv(r)
    beta = back @ (q.T @ y)
    leverage = np.einsum("ij,ij->i", q, q)
    residual = y - z @ beta
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = q * (residual / (1.0 - leverage))[:, None]
    return ListFit(beta[:k], beta[k:], back @ (moved.T @ moved) @ back.T)


def two_step_list(x: FloatArray, y: FloatArray, long: FloatArray, items: int) -> ListFit:
    """Return non-linear least squares in two steps, with the sandwich of both (Imai 2011).

    The short lists give g = J F(x'c) by least squares; the long ones, g taken out, f = F(x'b). The estimating equations
    of both steps are stacked: the first step's error is part of the second's.

    Parameters
    ----------
    x, y, long : ndarray
        As in `linear_list`.
    items : int
        J.

    References
    ----------
    Imai (2011), Journal of the American Statistical Association 106. Newey and McFadden (1994), Handbook of
    Econometrics 4.
    """
    k = x.shape[1]
    first, second = long == 0.0, long == 1.0
    x0, x1 = x[first], x[second]
    control, done = _curve(x0, y[first], float(items))
    rest = y[second] - items * logistic(x1 @ control)
    sensitive, settled = _curve(x1, rest, 1.0)
    g0, g1, f1 = logistic(x0 @ control), logistic(x1 @ control), logistic(x1 @ sensitive)
    slope0, slope1 = items * g0 * (1.0 - g0), items * g1 * (1.0 - g1)
    slope = f1 * (1.0 - f1)
    scores1 = x1 * (slope * (rest - f1))[:, None]
    scores0 = x0 * (slope0 * (y[first] - items * g0))[:, None]
    # Expected derivatives: terms with a residual vanish on average.
    jacobian = np.zeros((2 * k, 2 * k))
    jacobian[:k, :k] = -(x1 * (slope**2)[:, None]).T @ x1
    jacobian[:k, k:] = -(x1 * (slope * slope1)[:, None]).T @ x1
    jacobian[k:, k:] = -(x0 * (slope0**2)[:, None]).T @ x0
    meat = np.zeros_like(jacobian)
    meat[:k, :k], meat[k:, k:] = scores1.T @ scores1, scores0.T @ scores0
    try:
        inverse = np.linalg.inv(jacobian)
    except np.linalg.LinAlgError:
        return ListFit(sensitive, control, np.full_like(jacobian, np.nan), converged=False)
    return ListFit(sensitive, control, inverse @ meat @ inverse.T, converged=done and settled)


def _curve(x: FloatArray, y: FloatArray, top: float) -> tuple[FloatArray, bool]:
    """Return c that minimises sum (y - top F(x'c))^2, by damped Newton steps, and whether it was found."""
    share = float(np.clip(y.mean() / top, 0.02, 0.98))
    beta = np.linalg.lstsq(x, np.full(y.size, np.log(share / (1.0 - share))), rcond=None)[0]
    damping = 1e-3
    for _ in range(MAXIMUM_STEPS):
        fitted = logistic(x @ beta)
        residual = y - top * fitted
        slope = top * fitted * (1.0 - fitted)
        gradient = x.T @ (slope * residual)
        curvature = (x * (slope**2 - residual * slope * (1.0 - 2.0 * fitted))[:, None]).T @ x
        roots, axes = np.linalg.eigh(curvature)
        best, largest = float(residual @ residual), max(float(np.max(np.abs(roots))), 1e-300)
        while damping < 1e12:
            # Directions of the wrong curvature are walked by its size.
            step = axes @ ((axes.T @ gradient) / (np.abs(roots) + damping * largest))
            reached = float(((y - top * logistic(x @ (beta + step))) ** 2).sum())
            # Sums of squares are equal up to rounding near the minimum.
            if reached <= best * (1.0 + 1e-14):
                break
            damping = max(10.0 * damping, 1e-12)
        else:
            return beta, False
        beta = beta + step
        damping = damping / 10.0 if damping > 1e-14 else 0.0
        if float(np.max(np.abs(step))) < 1e-9 * (1.0 + float(np.max(np.abs(beta)))) and damping < 1e-9:
            return beta, bool(roots[0] > 0.0 and np.max(np.abs(x @ beta)) < TOO_FAR)
    return beta, False
