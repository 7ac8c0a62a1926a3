"""Two-stage least squares with one endogenous regressor, and its sandwich on the fitted regressors.

With instruments Z and exogenous X, W = [d, X] and the projection W_hat of W on [Z, X], the estimate is
(W_hat'W)^-1 W_hat'y = (W_hat'W_hat)^-1 W_hat'y and its residuals are y - W b, not y - W_hat b. So ordinary least
squares of y - (W - W_hat) b on W_hat returns the same b, with the right residuals, and any sandwich of it is the one
with W_hat in the place of the regressors (Pustejovsky and Tipton 2018 for CR2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.linear_inference import LinearInference

FloatArray = NDArray[np.float64]
# A first stage that explains less than this share of what is received is none.
NO_FIRST_STAGE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class TwoStage:
    """Both stages and the reduced form.

    Attributes
    ----------
    second : LinearInference
        Intercept, endogenous regressor, exogenous columns.
    first, outcome : LinearInference
        The endogenous regressor, and the outcome, on intercept, instruments and exogenous columns.
    n_instruments : int
        Instruments.
    correlation : float
        Of the residuals of first stage and reduced form.
    """

    second: LinearInference
    first: LinearInference
    outcome: LinearInference
    n_instruments: int
    correlation: float

    def reduced(self) -> tuple[FloatArray, FloatArray, float]:
        """Return the effects of the one instrument on outcome and regressor, their covariance and df."""
        values = np.array([self.outcome.beta[1], self.first.beta[1]])
        if self.first.influence is not None and self.outcome.influence is not None:
            pair = np.column_stack([self.outcome.influence[:, 1], self.first.influence[:, 1]])
            return values, pair.T @ pair, float(self.outcome.df[1])
        # Classical errors: the covariance of the two residuals takes the place of the error variance.
        variance = np.array([self.outcome.covariance[1, 1], self.first.covariance[1, 1]])
        between = self.correlation * np.sqrt(variance[0] * variance[1])
        return values, np.array([[variance[0], between], [between, variance[1]]]), float(self.outcome.df[1])


def two_stage_least_squares(
    y: FloatArray,
    received: FloatArray,
    instruments: FloatArray,
    exogenous: FloatArray,
    *,
    fit: Callable[[FloatArray, FloatArray], LinearInference],
    weights: FloatArray | None = None,
) -> TwoStage | None:
    """Return two-stage least squares, or None if the instruments do not move the regressor at all.

    Parameters
    ----------
    y, received : ndarray, shape (n,)
        Outcome and endogenous regressor.
    instruments, exogenous : ndarray, shape (n, columns)
        Without an intercept column, which both stages have.
    fit : callable
        `linear_inference` with its options, from columns and outcome.
    weights : ndarray, shape (n,), optional
        The regression weights among those options.
    """
    both = np.column_stack([instruments, exogenous])
    first = fit(both, received)
    without = fit_least_squares(exogenous, received, weights=weights)
    w = 1.0 if weights is None else weights
    alone = float(np.sum(w * without.residuals(exogenous, received) ** 2))
    if alone - first.residual_squares <= NO_FIRST_STAGE * max(first.total_squares, 1e-300):
        return None
    fitted = received - first.fit.residuals(both, received)
    design = np.column_stack([fitted, exogenous])
    start = fit_least_squares(design, y, weights=weights)
    effect = float(start.beta[1, 0])
    second = fit(design, y - effect * (received - fitted))
    centred = y - np.average(y, weights=weights)
    second = replace(second, total_squares=float(np.sum(w * centred**2)))
    outcome = fit(both, y)
    residuals = outcome.fit.residuals(both, y), first.fit.residuals(both, received)
    product = float(np.sum(w * residuals[0] * residuals[1]))
    scale = np.sqrt(outcome.residual_squares * first.residual_squares)
    return TwoStage(second, first, outcome, instruments.shape[1], product / scale if scale > 0 else 0.0)
