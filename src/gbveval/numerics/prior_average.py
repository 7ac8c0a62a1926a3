"""Hides how a function of uncertain numbers is averaged over them: a sum over normal scores, or scrambled Sobol points.

Each number is Q(Phi(t)) with Q the quantile function of its prior and t a standard normal score. The trapezoidal rule
in t converges faster than any power of the step for smooth functions, because the normal density and all its
derivatives vanish at the ends (Trefethen and Weideman 2014, SIAM Review 56); halving the step says how near it is.
Beyond two numbers scrambled Sobol points (Owen 1998) are used, whose error is that between independent scramblings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import normal_quantile

FloatArray = NDArray[np.float64]
# Beyond this score a normal has 6e-14 of its mass.
END = 7.5
FIRST, LAST = 32, {1: 1024, 2: 128}
TOLERANCE = 1e-10
SCRAMBLINGS, POINTS = 8, 1024
SAMPLE = 16384


@dataclass(frozen=True, slots=True)
class PriorAverage:
    """The average of a function over standard normal scores.

    Attributes
    ----------
    value : float
        The average over scores where the function is defined.
    error : float
        How far it is known to be off at most, about: the change by halving the step, or three Monte Carlo errors.
    outside : float
        Share of scores at which the function is not defined.
    evaluations : int
        How often it was asked.
    sample : (m,) array
        Its values at points that represent the scores equally.
    """

    value: float
    error: float
    outside: float
    evaluations: int
    sample: FloatArray


def average(function: Callable[[FloatArray], float], dimensions: int, *, seed: int) -> PriorAverage:
    """Return the average of a function of independent standard normal scores, shape (dimensions,), nan where undefined.

    Examples
    --------
    >>> found = average(lambda t: float(t[0] ** 2), 1, seed=1)
    >>> round(found.value, 9)
    1.0
    """
    if dimensions == 0:
        value = float(function(np.empty(0)))
        return PriorAverage(value, 0.0, 0.0, 1, np.array([value]))
    if dimensions > max(LAST):
        return _scrambled(function, dimensions, seed)
    return _stepped(function, dimensions, seed)


def _stepped(function: Callable[[FloatArray], float], dimensions: int, seed: int) -> PriorAverage:
    known: dict[tuple[float, ...], float] = {}

    def at(score: tuple[float, ...]) -> float:
        if score not in known:
            known[score] = function(np.array(score))
        return known[score]

    before = math.nan
    steps = FIRST
    while True:
        t = np.linspace(-END, END, steps + 1)
        axes = np.meshgrid(*[t] * dimensions, indexing="ij")
        scores = np.stack([axis.ravel() for axis in axes], axis=1)
        values = np.array([at(tuple(row)) for row in scores.tolist()])
        weight = np.exp(-0.5 * (scores**2).sum(axis=1))
        value, outside = _mean(values, weight)
        error = abs(value - before)
        if math.isnan(value):
            return PriorAverage(value, math.inf, outside, len(known), np.empty(0))
        if error < TOLERANCE or steps >= LAST[dimensions]:
            break
        before, steps = value, 2 * steps
    sample = _spread(t, values.reshape([t.size] * dimensions), dimensions, seed)
    return PriorAverage(value, error, outside, len(known), sample)


def _spread(t: FloatArray, values: FloatArray, dimensions: int, seed: int) -> FloatArray:
    """Return the function at scores that represent the normal equally, by splines between the nodes."""
    from scipy.interpolate import CubicSpline, RectBivariateSpline, RegularGridInterpolator

    scores = _equal_scores(dimensions, seed)
    if not np.all(np.isfinite(values)):
        found = RegularGridInterpolator([t] * dimensions, values)(scores)
    elif dimensions == 1:
        found = CubicSpline(t, values)(scores[:, 0])
    else:
        found = RectBivariateSpline(t, t, values).ev(scores[:, 0], scores[:, 1])
    found = np.asarray(found, dtype=np.float64)
    found = found[np.isfinite(found)]
    # A spline may pass what it interpolates by a little.
    return np.clip(found, np.nanmin(values), np.nanmax(values))


def _equal_scores(dimensions: int, seed: int) -> FloatArray:
    """Return scores that represent independent standard normals equally, shape (SAMPLE, dimensions)."""
    if dimensions == 1:
        u = (np.arange(SAMPLE) + 0.5)[:, None] / SAMPLE
    else:
        u = _sobol(dimensions, SAMPLE, np.random.default_rng(seed))
    return np.clip(np.asarray(normal_quantile(u), dtype=np.float64), -END, END)


def _scrambled(function: Callable[[FloatArray], float], dimensions: int, seed: int) -> PriorAverage:
    means, shares, sample = [], [], []
    for rng in np.random.default_rng(seed).spawn(SCRAMBLINGS):
        scores = np.clip(normal_quantile(_sobol(dimensions, POINTS, rng)), -END, END)
        values = np.array([function(row) for row in scores])
        value, outside = _mean(values, np.ones(POINTS))
        means.append(value)
        shares.append(outside)
        sample.append(values[np.isfinite(values)])
    error = 3.0 * float(np.std(means, ddof=1)) / math.sqrt(SCRAMBLINGS)
    return PriorAverage(
        float(np.mean(means)), error, float(np.mean(shares)), SCRAMBLINGS * POINTS, np.concatenate(sample)
    )


def _sobol(dimensions: int, count: int, rng: np.random.Generator) -> FloatArray:
    from scipy.stats.qmc import Sobol

    points = Sobol(dimensions, scramble=True, seed=rng).random(count)
    return np.asarray(points, dtype=np.float64)


def _mean(values: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Return the weighted mean of what is defined, and the share that is not."""
    defined = np.isfinite(values)
    total, inside = float(weight.sum()), float(weight[defined].sum())
    if inside == 0.0:
        return math.nan, 1.0
    return float((weight * np.where(defined, values, 0.0)).sum()) / inside, max(0.0, 1.0 - inside / total)
