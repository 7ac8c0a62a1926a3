"""Least squares weighted by one over an estimated probability of response, and what the estimation does to errors.

With p_i = F(z_i'g) the probability that unit i responds, R_i whether it did, and prior weights v_i, the estimate solves
sum R_i v_i / p_i x_i (y_i - x_i'b) = 0. Its error is, to first order (stacked estimating equations, Newey and McFadden
1994),

    b - beta = M sum [R_i v_i / p_i x_i e_i + D I^-1 s_i],      M = (sum R_i v_i / p_i x_i x_i')^-1,
    D = -sum R_i v_i d_i / p_i^2 x_i e_i z_i',

where s_i is the score of the response model, I its information and d_i the derivative of p_i by its linear predictor.
Leaving out the second part (weights taken as known) overstates the variance as a rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.glm import Family, whiten

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Response:
    """A fitted response model.

    Attributes
    ----------
    probability : ndarray, shape (n,)
        Fitted probability of response of every unit.
    slope : ndarray, shape (n,)
        Its derivative by the linear predictor.
    influence : ndarray, shape (n, k)
        Influence of every unit on the coefficients (of the basis).
    """

    probability: FloatArray
    slope: FloatArray
    influence: FloatArray


def response_model(
    family: Family, z: FloatArray, responded: BoolArray, gamma: FloatArray, *, weight: FloatArray | None = None
) -> Response:
    """Return what the correction needs of a response model that was fitted on columns `z`.

    Parameters
    ----------
    family : Family
        Binomial, with its link.
    z : ndarray, shape (n, k)
        Columns of the response model.
    responded : ndarray of bool, shape (n,)
        Who responded.
    gamma : ndarray, shape (k,)
        Coefficients.
    weight : ndarray, shape (n,), optional
        Prior weights of the response model.
    """
    y = responded.astype(float)
    white = whiten(family, z, y, gamma, weight=weight)
    score = white.design * white.residual[:, None]
    information = white.design.T @ white.design
    return Response(white.mu, family.slope(white.eta), score @ np.linalg.inv(information))


def weight_correction(
    bread: FloatArray, x: FloatArray, weighted_residual: FloatArray, responders: BoolArray, z: FloatArray, fit: Response
) -> FloatArray:
    """Return the part of each unit's influence on b that comes from estimating the weights, shape (n, columns of x).

    Parameters
    ----------
    bread : ndarray
        M, on the scale of the coefficients wanted and the columns `x`: coefficients = bread @ x'(...).
    x : ndarray, shape (responders, columns)
        Columns of the outcome model.
    weighted_residual : ndarray, shape (responders,)
        v / p times the residual.
    responders : ndarray of bool, shape (n,)
        Who responded.
    z : ndarray, shape (n, k)
        Columns of the response model.
    fit : Response
        From `response_model`.
    """
    ratio = fit.slope[responders] / fit.probability[responders]
    moved = -(x * (weighted_residual * ratio)[:, None]).T @ z[responders]
    result: FloatArray = fit.influence @ (bread @ moved).T
    return result
