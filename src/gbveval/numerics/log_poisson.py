"""Weighted Poisson quasi-likelihood with a log link: Newton's steps on a well-conditioned basis, and its scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MAXIMUM_STEPS = 100
# The score at the solution, relative to the sum of its absolute parts: rounding leaves about 1e-15.
SCORE_TOLERANCE = 1e-11
# The largest argument whose exponential is finite, with room for weights.
MAXIMUM_ETA = 600.0


@dataclass(frozen=True, eq=False, slots=True)
class LogPoisson:
    """A fitted log-link model.

    Attributes
    ----------
    gamma : ndarray, shape (k,)
        Coefficients on the columns given.
    fitted : ndarray, shape (n,)
        Fitted means.
    row_values : ndarray, shape (n, k)
        Linearised values of the coefficients by row: inverse information times weighted score.
    converged : bool
        Whether the score is zero up to rounding.
    """

    gamma: FloatArray
    fitted: FloatArray
    row_values: FloatArray
    converged: bool


def fit_log_poisson(x: FloatArray, y: FloatArray, weights: FloatArray) -> LogPoisson:
    """Return the maximum of the weighted Poisson quasi-likelihood, sum of w (y eta - exp eta) with eta = x gamma.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        Columns of full rank, the first one constant, the others on comparable scales.
    y : ndarray, shape (n,)
        Outcomes, zero or more, not all zero.
    weights : ndarray, shape (n,)
        Positive weights; their scale does not matter.

    Notes
    -----
    The function is concave, so Newton's steps, halved until it rises, find its maximum. Where there is none (a
    direction in which fitted means of rows with y = 0 fall for ever) they stop when those means are negligible.

    Examples
    --------
    With one indicator this is the logarithm of the ratio of two weighted means:

    >>> x = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    >>> fit = fit_log_poisson(x, np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4))
    >>> round(float(np.exp(fit.gamma[1])), 10), fit.converged
    (2.0, True)
    """
    w = weights / weights.mean()
    gamma = np.zeros(x.shape[1])
    gamma[0] = np.log(np.average(y, weights=w)) / x[0, 0]
    height, mu = _height(x, y, w, gamma)
    converged = False
    for _ in range(MAXIMUM_STEPS):
        parts = x * (w * (y - mu))[:, None]
        score = parts.sum(axis=0)
        if np.all(np.abs(score) <= SCORE_TOLERANCE * np.abs(parts).sum(axis=0) + 1e-300):
            converged = True
            break
        step = np.linalg.pinv((x * (w * mu)[:, None]).T @ x, hermitian=True) @ score
        for halving in range(40):
            tried = gamma + step / 2.0**halving
            new_height, new_mu = _height(x, y, w, tried)
            # Near the maximum the rise drowns in rounding, so a fall of that size is none.
            if new_height >= height - 1e-13 * abs(height):
                break
        gamma, height, mu = tried, new_height, new_mu
    inverse = np.linalg.pinv((x * (w * mu)[:, None]).T @ x, hermitian=True)
    return LogPoisson(gamma, mu, (x * (w * (y - mu))[:, None]) @ inverse, converged)


def _height(x: FloatArray, y: FloatArray, w: FloatArray, gamma: FloatArray) -> tuple[float, FloatArray]:
    """Return the quasi-likelihood and the fitted means."""
    eta = np.minimum(x @ gamma, MAXIMUM_ETA)
    mu = np.exp(eta)
    return float(w @ (y * eta - mu)), mu
