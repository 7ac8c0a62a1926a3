"""Exact variances of two-way fixed effects regressions on panels whose errors follow each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# Directions of event times below this share of the largest are collinear.
COLLINEAR = 1e-9
# A correlation between neighbours nearer to 1 cannot be told from a random walk.
LARGEST_CORRELATION = 0.999


def two_way_residual(columns: FloatArray, units: FloatArray) -> FloatArray:
    """Return columns less their means by unit and by period, on a balanced panel whose units come in cohorts.

    Parameters
    ----------
    columns : ndarray, shape (cohorts, periods) or (cohorts, periods, k)
        What every unit of a cohort has in a period.
    units : ndarray, shape (cohorts,)
        Units in each cohort; any real numbers, as sizes are solved for.
    """
    by_unit = columns.mean(axis=1, keepdims=True)
    by_period = np.tensordot(units / units.sum(), columns, axes=1)[None]
    found: FloatArray = columns - by_unit - by_period + by_period.mean(axis=1, keepdims=True)
    return found


def two_way_variance(treatment: FloatArray, units: FloatArray, covariance: FloatArray) -> float:
    """Return the variance of the coefficient of treatment with unit and period effects.

    Parameters
    ----------
    treatment : ndarray, shape (cohorts, periods)
        1 where a cohort is treated.
    units : ndarray, shape (cohorts,)
    covariance : ndarray, shape (periods, periods)
        Of the errors of a unit; units are independent of each other.

    Returns
    -------
    float
        sum over units of d' V d / (sum of d' d)^2, d what is left of treatment beside unit and period effects; not a
        number if nothing is left.

    Notes
    -----
    With one cohort that starts after m of m + r periods, and controls, d is proportional to (-1/m, ..., 1/r, ...), and
    the variance is that of Burlig, Preonas and Woerman (2020), (1/n1 + 1/n0) ((m + r)/(m r) s^2 + (m - 1)/m psi_B +
    (r - 1)/r psi_A - 2 psi_X) with s^2 the variance of an error and psi the mean covariances before, after and across.

    Examples
    --------
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0]])
    >>> round(two_way_variance(x, np.array([50.0, 50.0]), np.array([[1.0, 0.5], [0.5, 1.0]])), 6)
    0.04
    """
    left = two_way_residual(treatment, units)
    information = float(units @ (left**2).sum(axis=1))
    # Rounding leaves 1e-32 of a treatment that unit and period effects explain.
    if information <= COLLINEAR * float(units.sum()):
        return float("nan")
    return float(units @ np.einsum("ct,ts,cs->c", left, covariance, left)) / information**2


def event_covariance(
    event: FloatArray, times: FloatArray, units: FloatArray, covariance: FloatArray
) -> FloatArray | None:
    """Return the covariance of the coefficients of event times, with unit and period effects.

    Parameters
    ----------
    event : ndarray, shape (cohorts, periods)
        Periods since treatment; not a number for cohorts that are never treated.
    times : ndarray, shape (k,)
        Event times with a coefficient; those without are the reference.
    units : ndarray, shape (cohorts,)
    covariance : ndarray, shape (periods, periods)
        Of the errors of a unit.

    Returns
    -------
    ndarray, shape (k, k), or None
        None if the coefficients are collinear with unit and period effects.
    """
    left = two_way_residual((event[:, :, None] == times).astype(float), units)
    information = np.einsum("c,ctk,ctl->kl", units, left, left)
    values = np.linalg.eigvalsh(information)
    if values[0] <= COLLINEAR * values[-1]:
        return None
    meat = np.einsum("c,ctk,ts,csl->kl", units, left, covariance, left)
    half = np.linalg.solve(information, meat)
    found: FloatArray = np.linalg.solve(information, half.T)
    return found


def residual_covariance(outcomes: FloatArray) -> FloatArray:
    """Return the covariance over periods of what unit and period effects leave of untreated outcomes.

    Parameters
    ----------
    outcomes : ndarray, shape (units, periods)
        A balanced panel without treatment.

    Returns
    -------
    ndarray, shape (periods, periods)
        Its expectation is M V M, V the covariance of errors and M = I - 11'/periods: the means by period are paid for
        by dividing by units - 1, those by unit are not. Weights over periods that sum to zero lose nothing by M.
    """
    left = two_way_residual(outcomes, np.ones(len(outcomes)))
    found: FloatArray = left.T @ left / (len(outcomes) - 1.0)
    return found


@dataclass(frozen=True, slots=True)
class FadingErrors:
    """Errors of a first-order autoregression.

    Attributes
    ----------
    correlation : float
        Of neighbouring periods.
    variance : float
        Of an error.
    """

    correlation: float
    variance: float


def fit_fading(covariance: FloatArray) -> FadingErrors:
    """Return the autoregression whose residuals, after unit and period effects, have nearly this covariance.

    Parameters
    ----------
    covariance : ndarray, shape (periods, periods)
        As `residual_covariance` gives it; of three periods or more, or the two numbers cannot be told apart.

    Notes
    -----
    Minimises the squared distance from M V M, M = I - 11'/periods, so that what unit levels take out of variances and
    correlations is put back; the correlation of neighbouring residuals themselves is too low (Nickell 1981). Given the
    correlation the variance is linear.
    """
    from scipy.optimize import minimize_scalar

    lag = np.abs(np.subtract.outer(np.arange(len(covariance)), np.arange(len(covariance))))

    def shape(correlation: float) -> FloatArray:
        V = correlation**lag
        centred: FloatArray = V - V.mean(axis=0) - V.mean(axis=1)[:, None] + V.mean()
        return centred / (1.0 - correlation)

    def distance(correlation: float) -> float:
        # The shape is scaled so that it has a limit as the correlation goes to 1.
        S = shape(correlation)
        return -float((S * covariance).sum() ** 2 / (S * S).sum())

    grid = np.linspace(-LARGEST_CORRELATION, LARGEST_CORRELATION, 41)
    best = int(np.argmin([distance(each) for each in grid]))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = float(minimize_scalar(distance, bounds=ends, method="bounded", options={"xatol": 1e-10}).x)
    S = shape(found)
    return FadingErrors(found, float((S * covariance).sum() / (S * S).sum()) / (1.0 - found))
