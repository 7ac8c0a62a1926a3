"""Hides the numerical integration over a logistic-normal distribution of cluster risks."""

from __future__ import annotations

import math

import numpy as np

# Latent variance of one respondent: that of the standard logistic distribution.
LOGISTIC_VARIANCE = math.pi**2 / 3.0
# Beyond this standard deviation (a latent ICC of 0.9997) cluster risks are all but 0 or 1.
LARGEST_SIGMA = 100.0
# The normal density is below 1e-17 of its maximum there.
REACH = 9.0
# e^-37 is the rounding error of a double.
DIGITS = 37.0


def moments(intercept: float, sigma: float) -> tuple[float, float]:
    """Return mean and variance of expit(intercept + sigma Z), Z standard normal.

    The trapezoidal rule converges geometrically here: the integrand is analytic up to a distance of pi / sigma from
    the real line, so with step h its error is e^(-2 pi^2 / (sigma h)) (Trefethen and Weideman 2014).
    """
    step = min(0.05, 2.0 * math.pi**2 / (max(sigma, 1e-12) * DIGITS))
    z = np.arange(-math.ceil(REACH / step), math.ceil(REACH / step) + 1) * step
    weight = np.exp(-0.5 * z**2)
    weight /= weight.sum()
    risk = 0.5 * (1.0 + np.tanh(0.5 * (intercept + sigma * z)))
    mean = float(weight @ risk)
    return mean, float(weight @ (risk - mean) ** 2)


def intercept_for(risk: float, sigma: float) -> float:
    """Return the intercept at which the mean risk over clusters is `risk`."""
    from scipy.optimize import brentq

    far = abs(math.log(risk / (1.0 - risk))) + 10.0 * sigma + 10.0
    return float(brentq(lambda a: moments(a, sigma)[0] - risk, -far, far, xtol=1e-13, rtol=1e-14))


def observed_icc(sigma: float, risk: float) -> float:
    """Return the share of the variance of a 0/1 outcome that lies between clusters."""
    return moments(intercept_for(risk, sigma), sigma)[1] / (risk * (1.0 - risk))


def sigma_for(observed: float, risk: float) -> float:
    """Return the latent between-cluster standard deviation; infinite where it would exceed `LARGEST_SIGMA`."""
    from scipy.optimize import brentq

    if observed == 0.0:
        return 0.0
    if observed >= observed_icc(LARGEST_SIGMA, risk):
        return math.inf
    return float(brentq(lambda s: observed_icc(s, risk) - observed, 1e-9, LARGEST_SIGMA, xtol=1e-12, rtol=1e-13))
