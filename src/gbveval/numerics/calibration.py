"""Weights that meet known population totals, and what calibration leaves of the sampling variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Calibrated:
    """Weights after calibration.

    Attributes
    ----------
    weights : ndarray, shape (n,)
        Calibrated weights.
    gap : float
        Largest remaining difference from a total, relative to it.
    """

    weights: FloatArray
    gap: float


def rake(
    weights: FloatArray,
    codes: Sequence[IntArray],
    totals: Sequence[FloatArray],
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-10,
) -> Calibrated:
    """Return weights that meet margins by iterative proportional fitting; one margin is poststratification.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Sampling weights.
    codes : sequence of ndarray of int, shape (n,)
        Category of each respondent in each margin.
    totals : sequence of ndarray
        Population total of each category; each holds respondents of positive weight.
    max_iterations : int
        Rounds at most.
    tolerance : float
        Relative difference from every margin at which to stop.

    References
    ----------
    Deming and Stephan (1940), Annals of Mathematical Statistics 11.

    Examples
    --------
    >>> found = rake(np.ones(4), [np.array([0, 0, 0, 1])], [np.array([30.0, 70.0])])
    >>> found.weights.tolist()
    [10.0, 10.0, 10.0, 70.0]
    """
    w = weights.astype(np.float64, copy=True)
    gap = np.inf
    for _ in range(max_iterations):
        for code, total in zip(codes, totals, strict=True):
            # A replicate can give a whole category weight zero; its total is then out of reach, and the gap says so.
            with np.errstate(divide="ignore", invalid="ignore"):
                w = w * (total / group_sums(code, w, total.size))[code]
        gap = max(
            float(np.max(np.abs(group_sums(code, w, total.size) / total - 1.0)))
            for code, total in zip(codes, totals, strict=True)
        )
        if gap <= tolerance:
            break
    return Calibrated(w, gap)


@dataclass(frozen=True, slots=True)
class Linear:
    """The chi-square distance: a weight is multiplied by 1 + u, within bounds if there are some."""

    low: float = -np.inf
    high: float = np.inf

    def factor(self, u: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the factor, its derivative and its integral from zero."""
        value = np.clip(1.0 + u, self.low, self.high)
        inside = np.clip(u, self.low - 1.0, self.high - 1.0)
        return value, (value == 1.0 + u).astype(np.float64), inside + inside**2 / 2.0 + value * (u - inside)


@dataclass(frozen=True, slots=True)
class Raking:
    """The distance of raking: a weight is multiplied by exp(u), so that it stays above zero."""

    def factor(self, u: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the factor, its derivative and its integral, up to a constant."""
        # A step too far overflows, and is taken back.
        with np.errstate(over="ignore"):
            value = np.exp(u)
        return value, value, value


def calibrate(
    weights: FloatArray,
    columns: FloatArray,
    totals: FloatArray,
    *,
    distance: Linear | Raking,
    max_iterations: int = 100,
    tolerance: float = 1e-10,
) -> Calibrated:
    """Return the weights nearest to those given under which the columns have known totals.

    With d the weights and x the columns, w = d F(x'lambda), where lambda solves sum of w x = totals (Deville and
    Saerndal 1992). F = 1 + u gives the generalised regression estimator. lambda is where the convex function
    sum of d G(x'lambda) - totals'lambda is least, G the integral of F; Newton's steps are halved where they overshoot.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Sampling weights.
    columns : ndarray, shape (n, k)
        Numbers and indicators; a column of ones fixes the number of people. They may be linearly dependent, if their
        totals are too.
    totals : ndarray, shape (k,)
        Their totals in the population.
    distance : Linear or Raking
        What "nearest" means.
    max_iterations : int
        Steps at most.
    tolerance : float
        Difference from every total at which to stop, relative to the larger of it and the sum of absolute values.

    References
    ----------
    Deville and Saerndal (1992), Journal of the American Statistical Association 87.

    Examples
    --------
    Two people, ten in the population, whose hours add to forty:

    >>> x = np.array([[1.0, 2.0], [1.0, 7.0]])
    >>> calibrate(np.ones(2), x, np.array([10.0, 40.0]), distance=Linear()).weights.round(6).tolist()
    [6.0, 4.0]
    """
    size = np.maximum(np.abs(totals), weights @ np.abs(columns))
    scale = np.where(size > 0.0, size, 1.0)
    x, target = columns / scale, totals / scale
    multiplier = np.zeros(x.shape[1])
    factor, slope, integral = distance.factor(x @ multiplier)
    for _ in range(max_iterations):
        missing = target - x.T @ (weights * factor)
        if np.max(np.abs(missing)) <= tolerance:
            break
        curvature = (x * (weights * slope)[:, None]).T @ x
        step = np.linalg.pinv(curvature, hermitian=True) @ missing
        reached = float(weights @ integral - target @ multiplier)
        for halving in range(60):
            trial = multiplier + step / 2.0**halving
            factor, slope, integral = distance.factor(x @ trial)
            value = float(weights @ integral - target @ trial)
            if value <= reached + 1e-13 * (abs(reached) + float(weights.sum())):
                break
        multiplier = trial
    gap = float(np.max(np.abs(target - x.T @ (weights * factor))))
    return Calibrated(weights * factor, gap)


def margin_columns(codes: Sequence[IntArray], sizes: Sequence[int]) -> FloatArray:
    """Return the indicators of every category of every margin, shape (n, categories)."""
    parts = [code[:, None] == np.arange(size)[None, :] for code, size in zip(codes, sizes, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def calibrated_residuals(
    row_values: FloatArray, *, columns: FloatArray, base: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return linearised values less what the known totals explain of them.

    With u the linearised variable, w u its row values and x the calibration columns, they become w (u - x'B), where B
    is the regression of u on x under the weights before calibration.

    Parameters
    ----------
    row_values : ndarray, shape (n, terms)
        Linearised values, calibrated weights included.
    columns : ndarray, shape (n, k)
        Calibration columns; they may be linearly dependent.
    base, weights : ndarray, shape (n,)
        Weights before and after calibration.

    References
    ----------
    Deville and Saerndal (1992), Journal of the American Statistical Association 87.
    """
    used = weights > 0
    u = row_values[used] / weights[used][:, None]
    root = np.sqrt(base[used])[:, None]
    # Numbers of any unit: what counts as dependent must not rest on how large a column is.
    size = np.sqrt((columns[used] ** 2).mean(axis=0))
    x = columns[used] / np.where(size > 0.0, size, 1.0)
    slope = np.linalg.lstsq(x * root, u * root, rcond=None)[0]
    result = np.zeros_like(row_values)
    result[used] = (u - x @ slope) * weights[used][:, None]
    return result
