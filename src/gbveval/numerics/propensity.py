"""Odds of being treated, by maximum likelihood or by calibration, with their influence functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Controls more likely treated than this are given no weight (the convention of Sant'Anna and Zhao's software).
MOST_LIKELY = 0.995
# Log odds beyond this are a probability that doubles do not tell from 0 or 1: treated and controls separate.
SEPARATED = 30.0
# Log odds of a treated unit beyond this (one control in a million) have no control to compare with.
ALONE = 13.8
ITERATIONS = 100
# Steps after the sum has stopped rising: two reach the last digit, one is to spare.
POLISH = 3


@dataclass(frozen=True, eq=False, slots=True)
class Propensity:
    """Odds of being treated.

    Attributes
    ----------
    odds : ndarray, shape (n,)
        Of every unit; zero for controls that are trimmed.
    influence : ndarray, shape (n, k)
        Of every unit on the coefficients.
    n_trimmed : int
        Controls whose probability is `MOST_LIKELY` or more.
    reason : str
        Empty, or why there are no odds.
    """

    odds: FloatArray
    influence: FloatArray
    n_trimmed: int = 0
    reason: str = ""


def logit_odds(treated: BoolArray, x: FloatArray, weight: FloatArray) -> Propensity:
    """Return odds from a logistic regression by maximum likelihood.

    Parameters
    ----------
    treated : ndarray of bool, shape (n,)
    x : ndarray, shape (n, k)
        With an intercept, columns of like size.
    weight : ndarray, shape (n,)

    Notes
    -----
    Newton's method on a concave likelihood, with halved steps. The influence of a unit is H^-1 w (D - p) x, H the sum
    of w p (1 - p) x x'.
    """
    d = treated.astype(float)

    def value(eta: FloatArray) -> float:
        return float(np.sum(weight * (d * eta - np.logaddexp(0.0, eta))))

    def derivatives(eta: FloatArray) -> tuple[FloatArray, FloatArray]:
        p = 1.0 / (1.0 + np.exp(-eta))
        return weight * (d - p), weight * p * (1.0 - p)

    found = _newton(x, value, derivatives, np.zeros(x.shape[1]))
    if found is None:
        return _separated(x)
    coefficient, slope, inverse = found
    eta = x @ coefficient
    if eta[treated].max() > ALONE:
        return _separated(x)
    trimmed = ~treated & (1.0 / (1.0 + np.exp(-eta)) >= MOST_LIKELY)
    odds = np.where(trimmed, 0.0, np.exp(eta))
    return Propensity(odds, (x @ inverse) * slope[:, None], int(trimmed.sum()))


def calibrated_odds(treated: BoolArray, x: FloatArray, weight: FloatArray) -> Propensity:
    """Return odds under which the weighted controls have the treated units' covariate means exactly.

    Parameters
    ----------
    treated, x, weight : ndarray
        As in `logit_odds`.

    Notes
    -----
    Inverse probability tilting (Graham, Pinto and Egel 2012, Review of Economic Studies 79) for the treated: maximises
    the sum of w (D x'b - (1 - D) exp(x'b)), which is concave.
    """
    d = treated.astype(float)
    start = np.zeros(x.shape[1])
    share = float(weight[treated].sum() / weight[~treated].sum())
    # The first column is the intercept: start where the weights have the right total.
    start[0] = np.log(share) / x[0, 0]

    def value(eta: FloatArray) -> float:
        with np.errstate(over="ignore"):
            return float(np.sum(weight * np.where(treated, eta, -np.exp(eta))))

    def derivatives(eta: FloatArray) -> tuple[FloatArray, FloatArray]:
        odds = np.exp(eta)
        return weight * (d - (1.0 - d) * odds), weight * (1.0 - d) * odds

    found = _newton(x, value, derivatives, start)
    if found is None:
        return _separated(x)
    coefficient, slope, inverse = found
    eta = x @ coefficient
    if eta[treated].max() > ALONE:
        return _separated(x)
    trimmed = ~treated & (1.0 / (1.0 + np.exp(-eta)) >= MOST_LIKELY)
    return Propensity(np.where(trimmed, 0.0, np.exp(eta)), (x @ inverse) * slope[:, None], int(trimmed.sum()))


def _separated(x: FloatArray) -> Propensity:
    reason = "the covariates tell treated from comparison units apart: a propensity is 0 or 1"
    return Propensity(np.full(x.shape[0], np.nan), np.full(x.shape, np.nan), 0, reason)


def _newton(
    x: FloatArray,
    value: Callable[[FloatArray], float],
    derivatives: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    start: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Maximise a concave sum; return coefficients, slopes by unit and the inverse information, or None.

    `value` is of the units' linear predictors; `derivatives` gives each unit's slope and (negative) curvature in its
    own.
    """
    coefficient, polished = start, 0
    eta = x @ start
    slope, curvature = derivatives(eta)
    for _ in range(ITERATIONS):
        gradient = slope @ x
        try:
            inverse = np.asarray(np.linalg.inv((x * curvature[:, None]).T @ x), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        step = inverse @ gradient
        decrement = float(gradient @ step)
        if not np.isfinite(decrement) or max(eta.max(), -eta.min()) > SEPARATED:
            return None
        scale = max(1.0, float(np.abs(slope).sum()))
        if decrement <= 1e-24 * scale or polished == POLISH:
            return coefficient, slope, inverse
        trial = coefficient + step
        eta = x @ trial
        with np.errstate(over="ignore", invalid="ignore"):
            found = derivatives(eta)
            rising = float((found[0] @ x) @ step) >= 0.0
        if decrement <= 1e-8 * scale:
            # Newton's method doubles the digits from here on, and the sum itself no longer tells a rise from rounding.
            polished += 1
        elif not rising:
            # Only past the maximum along the step may a concave sum have fallen.
            trial = _shortened(lambda at: value(x @ at), coefficient, step)
            eta = x @ trial
            found = derivatives(eta)
        coefficient, (slope, curvature) = trial, found
    return None


def _shortened(value: Callable[[FloatArray], float], start: FloatArray, step: FloatArray) -> FloatArray:
    """Return the first point along halved steps at which the sum is no lower than at the start."""
    size, before = 1.0, value(start)
    while not value(start + size * step) >= before and size > 1e-10:
        size /= 2.0
    return np.asarray(start + size * step)
