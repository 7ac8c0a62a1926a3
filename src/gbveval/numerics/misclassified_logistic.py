"""Logistic regression of an outcome behind answers that chance or misreporting distorts at known rates.

P(yes | x) = c + d F(x'b), with F logistic. A forced design has c = probability of a forced yes and d = probability of
the truthful question; Warner's mirrored one c = 1 - p and d = 2 p - 1; misreporting c = 1 - Sp and d = Se + Sp - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MAXIMUM_STEPS = 100
# Log odds beyond this are shares that no sample tells from 0 or 1.
TOO_FAR = 30.0


@dataclass(frozen=True, eq=False, slots=True)
class DistortedFit:
    """A maximum of the weighted likelihood.

    Attributes
    ----------
    beta : ndarray, shape (k,)
        Coefficients.
    scores : ndarray, shape (n, k)
        Weighted scores at the maximum; their columns sum to zero.
    information : ndarray, shape (k, k)
        Observed information: minus the second derivatives.
    log_likelihood : float
    converged : bool
        Whether the steps ended at a maximum with finite coefficients.
    """

    beta: FloatArray
    scores: FloatArray
    information: FloatArray
    log_likelihood: float
    converged: bool


def fit_distorted(x: FloatArray, y: FloatArray, weights: FloatArray, *, floor: float, span: float) -> DistortedFit:
    """Return the maximum likelihood fit by Newton's method with step halving.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        Covariates, the constant included, of full rank.
    y, weights : ndarray, shape (n,)
        Answers of 0 and 1, and positive weights.
    floor, span : float
        c and d: share of yes without the outcome, and by how much it rises with it (span may be negative).

    References
    ----------
    Scheers and Dayton (1988), Journal of the American Statistical Association 83. Blair, Imai and Zhou (2015), Journal
    of the American Statistical Association 110.

    Examples
    --------
    With a constant alone the fit is the moment estimate: (0.5 - 1/6) / (2/3) = 1/2.

    >>> y = np.array([0.0, 1.0] * 50)
    >>> fit = fit_distorted(np.ones((100, 1)), y, np.ones(100), floor=1 / 6, span=2 / 3)
    >>> bool(abs(fit.beta[0]) < 1e-9), round(float(fit.information[0, 0]), 4)
    (True, 11.1111)
    """
    k = x.shape[1]
    beta = np.zeros(k)
    share = float(np.clip((np.average(y, weights=weights) - floor) / span, 0.02, 0.98))
    # The constant is a column, or a combination of columns: start at the moment estimate along it.
    ones = np.linalg.lstsq(x, np.ones(y.size), rcond=None)[0]
    beta = beta + ones * np.log(share / (1.0 - share))
    value, slope, curve = _parts(x, y, beta, floor, span)
    best = float(weights @ value)
    converged = False
    for _ in range(MAXIMUM_STEPS):
        gradient = x.T @ (weights * slope)
        information = -(x * (weights * curve)[:, None]).T @ x
        if not np.all(np.isfinite(information)):
            break
        step = _ascent(information, gradient, x, weights, slope)
        scale = 1.0
        for _ in range(40):
            trial = beta + scale * step
            found = _parts(x, y, trial, floor, span)
            reached = float(weights @ found[0])
            if np.isfinite(reached) and reached >= best - 1e-12 * abs(best):
                break
            scale /= 2.0
        else:
            break
        moved = float(np.max(np.abs(scale * step)))
        beta, best = trial, reached
        value, slope, curve = found
        if moved < 1e-10 * (1.0 + float(np.max(np.abs(beta)))):
            converged = True
            break
    information = -(x * (weights * curve)[:, None]).T @ x
    inside = float(np.max(np.abs(x @ beta))) < TOO_FAR
    positive = bool(np.all(np.isfinite(information)) and np.linalg.eigvalsh(information)[0] > 0.0)
    return DistortedFit(beta, x * (weights * slope)[:, None], information, best, converged and inside and positive)


def _ascent(
    information: FloatArray, gradient: FloatArray, x: FloatArray, weights: FloatArray, slope: FloatArray
) -> FloatArray:
    """Return Newton's step, or one along the outer product of scores where the likelihood is not concave."""
    if np.linalg.eigvalsh(information)[0] <= 0.0:
        scores = x * slope[:, None]
        information = (scores * weights[:, None]).T @ scores
    step: FloatArray = np.linalg.pinv(information, hermitian=True) @ gradient
    return step


def _parts(
    x: FloatArray, y: FloatArray, beta: FloatArray, floor: float, span: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return each answer's log likelihood with its first and second derivative in the linear predictor."""
    eta = x @ beta
    share = 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
    first = share * (1.0 - share)
    second = first * (1.0 - 2.0 * share)
    yes = floor + span * share
    chance = np.where(y == 1.0, yes, 1.0 - yes)
    sign = np.where(y == 1.0, span, -span)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(chance)
        slope = sign * first / chance
        curve = sign * second / chance - slope**2
    return value, slope, curve
