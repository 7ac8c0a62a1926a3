"""Weighted Poisson quasi-likelihood with a log link, fitted by statsmodels, with its linearised values by row."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MAXIMUM_STEPS = 200
# The score at the solution, relative to the sum of its absolute parts: rounding leaves about 1e-15.
SCORE_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class LogPoisson:
    """A fitted log-link model.

    Attributes
    ----------
    gamma : ndarray, shape (k,)
        Coefficients on the columns given.
    fitted : ndarray, shape (n,)
        Fitted means.
    pull : ndarray, shape (n, k)
        What a unit of residual of a row of weight one does to the coefficients: inverse information times columns.
    row_values : ndarray, shape (n, k)
        Linearised values of the coefficients by row: inverse information times weighted score.
    converged : bool
        Whether the score is zero up to rounding.
    """

    gamma: FloatArray
    fitted: FloatArray
    pull: FloatArray
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
    Where there is no maximum (a direction in which fitted means of rows with y = 0 fall for ever) the steps stop when
    those means are negligible; the caller looks for them.

    Examples
    --------
    With one indicator this is the logarithm of the ratio of two weighted means:

    >>> x = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    >>> fit = fit_log_poisson(x, np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4))
    >>> round(float(np.exp(fit.gamma[1])), 8), fit.converged
    (2.0, True)
    """
    from statsmodels.genmod.families import Poisson
    from statsmodels.genmod.generalized_linear_model import GLM

    w = weights / weights.mean()
    start = np.zeros(x.shape[1])
    start[0] = np.log(np.average(y, weights=w)) / x[0, 0]
    with warnings.catch_warnings():
        # What statsmodels warns of (separation, no convergence) is judged below by the score and the fitted means.
        warnings.simplefilter("ignore")
        model: Any = GLM(y, x, family=Poisson(), var_weights=w)
        try:
            fit = model.fit(start_params=start, maxiter=MAXIMUM_STEPS, tol=1e-14, tol_criterion="deviance")
        except ValueError:
            # A weight that is nearly all of the sum can send a step beyond what a float holds.
            nothing = np.full(x.shape, np.nan)
            return LogPoisson(np.full(x.shape[1], np.nan), nothing[:, 0], nothing, nothing, False)
    gamma = np.asarray(fit.params, dtype=np.float64)
    # One more scoring step squares what the stopping rule left.
    gamma = gamma + _step(x, y, w, gamma)
    mu = np.exp(x @ gamma)
    parts = x * (w * (y - mu))[:, None]
    # A model that fits every row has parts of rounding size only.
    floor = 1e-12 * (np.abs(x) * (w * (y + mu))[:, None]).sum(axis=0)
    balanced = np.abs(parts.sum(axis=0)) <= SCORE_TOLERANCE * np.abs(parts).sum(axis=0) + floor
    inverse = np.linalg.pinv((x * (w * mu)[:, None]).T @ x, hermitian=True)
    converged = bool(np.all(np.isfinite(gamma)) and balanced.all())
    return LogPoisson(gamma, mu, x @ inverse / weights.mean(), parts @ inverse, converged)


def _step(x: FloatArray, y: FloatArray, w: FloatArray, gamma: FloatArray) -> FloatArray:
    mu = np.exp(np.minimum(x @ gamma, 600.0))
    score = x.T @ (w * (y - mu))
    result: FloatArray = np.linalg.pinv((x * (w * mu)[:, None]).T @ x, hermitian=True) @ score
    return result
