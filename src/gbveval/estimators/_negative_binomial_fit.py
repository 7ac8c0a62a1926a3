"""Fits the negative binomial's coefficients and theta jointly, with scipy, or says why there is no maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, IdentificationError
from gbveval.estimators._glm_fit import fit_glm
from gbveval.estimators._model_design import Design
from gbveval.estimators._model_rows import raise_unless_converged
from gbveval.numerics.glm import LARGEST_LOG, Family
from gbveval.numerics.negative_binomial import (
    eta_score_rows,
    log_likelihood_rows,
    overdispersion_score,
    theta_score_rows,
)

FloatArray = NDArray[np.float64]
ADVICE = "Merge categories, leave such a column out, or use GeneralisedLinear(family='poisson', estimation='firth')."
# Beyond this the variance is the mean's to seven digits.
LARGEST_THETA = 1e7
SCORE_TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False, slots=True)
class NegativeBinomialFit:
    """The joint maximum of the likelihood.

    Attributes
    ----------
    gamma : ndarray, shape (k,)
        Coefficients on the basis.
    theta : float
        The dispersion parameter; the variance is mu + mu^2 / theta.
    mu : ndarray, shape (n,)
        Fitted means.
    log_likelihood : float
        At the maximum.
    """

    gamma: FloatArray
    theta: float
    mu: FloatArray
    log_likelihood: float


def fit_negative_binomial(design: Design, outcome: str) -> NegativeBinomialFit:
    """Return the joint maximum over coefficients and theta.

    Parameters
    ----------
    design : Design
        Rows and columns.
    outcome : str
        Name of the outcome, for messages.

    Raises
    ------
    IdentificationError
        If an arm or category has no events, or the counts vary no more than Poisson counts do.
    ConvergenceError
        If the search does not end.
    """
    from scipy.optimize import minimize, root

    z, y = design.z, design.y
    weight = np.ones(y.size) if design.weight is None else design.weight
    start = fit_glm(Family("poisson", "log"), z, y, offset=design.offset, weight=design.weight)
    raise_unless_converged(design, start, outcome, ADVICE)
    base = np.zeros(y.size) if design.offset is None else design.offset
    mu = np.exp(z @ start.gamma + base)
    if overdispersion_score(y, mu, weight) <= 0.0:
        raise IdentificationError(_too_regular(outcome))
    excess = float(weight @ ((y - mu) ** 2 - y)) / float(weight @ mu**2)

    def mean(point: FloatArray) -> FloatArray:
        return np.asarray(np.exp(np.minimum(z @ point[:-1] + base, LARGEST_LOG)), dtype=np.float64)

    def gradient(point: FloatArray) -> FloatArray:
        here, theta = mean(point), float(np.exp(point[-1]))
        score = z.T @ (weight * eta_score_rows(y, here, theta))
        return np.append(score, theta * (weight @ theta_score_rows(y, here, theta))) / y.size

    def objective(point: FloatArray) -> tuple[float, FloatArray]:
        theta = float(np.exp(point[-1]))
        return -float(weight @ log_likelihood_rows(y, mean(point), theta)) / y.size, -gradient(point)

    bounds = [(None, None)] * z.shape[1] + [(-30.0, float(np.log(10.0 * LARGEST_THETA)))]
    with np.errstate(all="ignore"):
        point = np.append(start.gamma, np.log(1.0 / excess))
        found = minimize(objective, point, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
        polished = root(gradient, found.x, method="hybr", options={"xtol": 1e-13})
    point = np.asarray(polished.x, dtype=np.float64)
    theta = float(np.exp(min(point[-1], 700.0)))
    if found.x[-1] > np.log(LARGEST_THETA) or theta > LARGEST_THETA:
        raise IdentificationError(_too_regular(outcome))
    mu = mean(point)
    size = np.append(np.abs(z).T @ (weight * mu), float(weight.sum())) / y.size
    if not (np.isfinite(point).all() and np.all(np.abs(gradient(point)) <= SCORE_TOLERANCE * size)):
        raise ConvergenceError(
            f"The negative binomial model of outcome {outcome!r} found no solution. Use fewer covariates, or a "
            "randomisation test of the difference in means."
        )
    return NegativeBinomialFit(point[:-1], theta, mu, float(weight @ log_likelihood_rows(y, mu, theta)))


def _too_regular(outcome: str) -> str:
    return (
        f"The counts of {outcome!r} vary no more than Poisson counts do, so that theta has no finite maximum. Use "
        "GeneralisedLinear with family 'poisson', whose robust standard errors are valid here too."
    )
