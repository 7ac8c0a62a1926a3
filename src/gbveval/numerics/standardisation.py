"""Standardised means and their contrasts: averages of a model's predictions with everybody in one arm.

With m_a(x) = g^-1(eta_a(x)) the prediction for a person with covariates x under arm a, and shares p_i = w_i / sum of w,

    mu_a = sum of p_i m_a(x_i),      G_a = sum of p_i d_a(x_i) z_a(x_i),

d_a being the derivative of m_a by its linear predictor and z_a its columns. To first order the error of mu_a is

    sum of p_i (m_a(x_i) - mu_a) + G_a'(beta_hat - beta).

The first part is the sampling of covariates; without it the
inference is for people with these covariates (stacked estimating equations: Stefanski and Boos 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.glm import Family

FloatArray = NDArray[np.float64]
DIFFERENCES = ("risk_difference", "mean_difference")
RATIOS = ("risk_ratio", "rate_ratio", "mean_ratio")


@dataclass(frozen=True, eq=False, slots=True)
class ArmMean:
    """The standardised mean of one arm.

    Attributes
    ----------
    value : float
        mu_a.
    gradient : ndarray, shape (k,)
        G_a.
    sampling : ndarray, shape (n,)
        Each row's part by the sampling of covariates; it sums to zero.
    """

    value: float
    gradient: FloatArray
    sampling: FloatArray


def arm_mean(family: Family, z: FloatArray, gamma: FloatArray, weight: FloatArray | None = None) -> ArmMean:
    """Return the standardised mean of the arm whose columns everybody has in `z`.

    Parameters
    ----------
    family : Family
        Family and link.
    z : ndarray, shape (n, k)
        All columns, as if everybody were in the arm; without offset, so that rates are for one unit of exposure.
    gamma : ndarray, shape (k,)
        Coefficients.
    weight : ndarray, shape (n,), optional
        Weights of the people averaged over.
    """
    eta = z @ gamma
    prediction = family.mean(eta)
    share = np.full(eta.size, 1.0 / eta.size) if weight is None else weight / weight.sum()
    value = float(share @ prediction)
    return ArmMean(value, z.T @ (share * family.slope(eta)), share * (prediction - value))


def contrast_of(contrast: str, treated: ArmMean, control: ArmMean) -> tuple[float, float, float] | None:
    """Return a contrast on its link scale and its derivatives by the two means; None where it is not defined.

    Parameters
    ----------
    contrast : str
        "risk_difference", "mean_difference", "risk_ratio", "rate_ratio", "mean_ratio" or "odds_ratio".
    treated, control : ArmMean
        The two arms.

    Examples
    --------
    >>> half, fifth = (ArmMean(x, np.zeros(1), np.zeros(1)) for x in (0.5, 0.2))
    >>> value, by_treated, by_control = contrast_of("odds_ratio", half, fifth)
    >>> round(float(np.exp(value)), 6), round(by_treated, 6), round(by_control, 6)
    (4.0, 4.0, -6.25)
    """
    a, b = treated.value, control.value
    if contrast in DIFFERENCES:
        return a - b, 1.0, -1.0
    if a <= 0.0 or b <= 0.0:
        return None
    if contrast in RATIOS:
        return float(np.log(a / b)), 1.0 / a, -1.0 / b
    if a >= 1.0 or b >= 1.0:
        return None
    odds = np.log(a) - np.log1p(-a) - np.log(b) + np.log1p(-b)
    return float(odds), 1.0 / (a * (1.0 - a)), -1.0 / (b * (1.0 - b))
