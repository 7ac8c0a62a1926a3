"""Fits the truncated Poisson model of positive counts with scipy, or says why there is no maximum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, IdentificationError
from gbveval.estimators._model_design import Design
from gbveval.estimators._model_rows import separated
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.separation import count_direction
from gbveval.numerics.truncated_poisson import positive_part

FloatArray = NDArray[np.float64]
SCORE_TOLERANCE = 1e-8


def fit_positive_part(design: Design, outcome: str) -> FloatArray:
    """Return the coefficients on the basis of the design.

    Parameters
    ----------
    design : Design
        Rows and columns; those with a positive outcome are used.
    outcome : str
        Name of the outcome, for messages.

    Raises
    ------
    IdentificationError
        If an arm or category has nobody with more than one, or nobody with any.
    ConvergenceError
        If the search does not end.
    """
    from scipy.optimize import minimize, root

    some = design.y > 0
    z, y = design.z[some], design.y[some]
    weight = np.ones(y.size) if design.weight is None else design.weight[some]
    k = z.shape[1]
    if y.size <= k or make_basis(z[:, 1:], weights=weight).dropped.size:
        raise IdentificationError(
            f"Too few units have any {outcome!r} to tell the columns of the model apart. Use fewer covariates, or "
            "merge small categories."
        )
    direction = count_direction(z, y - 1.0)
    if direction is not None:
        raise IdentificationError(
            f"In some group, by {', '.join(separated(design, direction))}, nobody has more than one of {outcome!r}, so "
            "that how many there are has no finite maximum. Merge categories, or compare the risk of any alone."
        )

    def gradient(gamma: FloatArray) -> FloatArray:
        return np.asarray(z.T @ (weight * (y - positive_part(z @ gamma).mean)) / y.size, dtype=np.float64)

    def objective(gamma: FloatArray) -> tuple[float, FloatArray]:
        eta = z @ gamma
        return -float(weight @ (y * eta - positive_part(eta).log_partition)) / y.size, -gradient(gamma)

    start = np.zeros(k)
    start[0] = np.log(max(float(np.average(y, weights=weight)) - 1.0, 0.1))
    with np.errstate(all="ignore"):
        rough = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 500}).x
        gamma = np.asarray(root(gradient, rough, method="hybr", options={"xtol": 1e-13}).x, dtype=np.float64)
    size = np.abs(z).T @ (weight * y) / y.size
    if not (np.isfinite(gamma).all() and np.all(np.abs(gradient(gamma)) <= SCORE_TOLERANCE * size)):
        raise ConvergenceError(
            f"The model of how many of {outcome!r} there are found no solution. Use fewer covariates, or compare the "
            "risk of any alone."
        )
    return gamma
