"""Shortest fixed-length intervals for a target of an event study whose departures are smooth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import folded_normal_quantile
from gbveval.numerics.trend_restrictions import first_differences, second_differences

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Frontier:
    """Affine estimators of a target that are best for some trade-off between bias and variance.

    Attributes
    ----------
    weights : ndarray, shape (steps, n_pre + n_post)
        Weights of the event-study coefficients at each corner of the path; between corners they are linear. The first
        has the least bias, the last the least variance.
    unit_bias : ndarray, shape (steps,)
        Largest bias where slopes change by at most one a period.
    sigma : ndarray, shape (n_pre + n_post, n_pre + n_post)
    """

    weights: FloatArray
    unit_bias: FloatArray
    sigma: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class FixedLength:
    """A fixed-length confidence interval.

    Attributes
    ----------
    estimate, half_length : float
        Centre and half the length.
    std_error, bias : float
        Standard error and largest bias of the centre.
    weights : ndarray, shape (n_pre + n_post,)
        The centre is their product with the coefficients.
    """

    estimate: float
    half_length: float
    std_error: float
    bias: float
    weights: FloatArray


def frontier(sigma: FloatArray, n_pre: int, target: FloatArray) -> Frontier:
    """Return the frontier of bias and variance of affine estimators under smooth departures.

    Parameters
    ----------
    sigma : ndarray, shape (n_pre + n_post, n_pre + n_post)
        Covariance of the coefficients.
    n_pre : int
        How many lie before the reference period.
    target : ndarray, shape (n_post,)
        The target is its product with the effects after the reference period.

    Notes
    -----
    Write a departure as s, its last change before the reference period, and its changes of slope w. An estimator
    target' beta_post + v' beta_pre has finite bias only if its weight on s is zero. Its largest bias is then M (|a|_1 +
    |c|_1), where a are its weights on changes of slope before the reference period, which v sets at will, and c those
    after it, which the target fixes. So the best v for each trade-off solves

        minimise over a:  variance(a) / 2 + mu |a|_1,

    a quadratic function with an absolute-value penalty, whose solutions are piecewise linear in mu. The whole path
    costs a few small linear systems and serves every M, where a convex programme for each M and each point of a grid is
    the usual way.

    References
    ----------
    Rambachan and Roth (2023), Review of Economic Studies 90(5). Armstrong and Kolesar (2020), Quantitative Economics
    11(1). Osborne, Presnell and Turlach (2000), IMA Journal of Numerical Analysis 20(3), for the path.
    """
    n_post = len(target)
    coordinates = np.vstack([first_differences(n_pre, n_post)[n_pre - 1], second_differences(n_pre, n_post)])
    back = np.round(np.linalg.inv(coordinates))
    after = target @ back[n_pre:]
    inside = np.linalg.inv(back[:n_pre, :n_pre])
    start = np.concatenate([-after[0] * inside[0], target])
    move = np.hstack([inside[1:], np.zeros((n_pre - 1, n_post))])
    path = _penalised_path(move @ sigma @ move.T, move @ sigma @ start)
    fixed = float(np.abs(after[n_pre:]).sum())
    return Frontier(start + path @ move, fixed + np.abs(path).sum(axis=1), sigma)


def _penalised_path(Q: FloatArray, q: FloatArray) -> FloatArray:
    """Return the corners of a(mu) = argmin a'Qa/2 + q'a + mu |a|_1, from a = 0 to the unpenalised minimum."""
    a = np.zeros(len(q))
    corners = [a]
    active: list[int] = []
    sign = np.zeros(len(q))
    mu = float(np.abs(q).max(initial=0.0))
    left = -1
    while mu > 0:
        slope = -(Q @ a + q)
        if not active or left < 0:
            others = [j for j in range(len(q)) if j not in active]
            joins = [j for j in others if abs(slope[j]) >= mu * (1.0 - 1e-10)]
            for j in joins:
                active.append(j)
                sign[j] = np.sign(slope[j])
        direction = np.zeros(len(q))
        direction[active] = np.linalg.solve(Q[np.ix_(active, active)], sign[active])
        # Moving along `direction` by t lowers mu by t; the first event ends the step.
        steepness = Q @ direction
        step, left = mu, -1
        for j in range(len(q)):
            if j in active:
                t = -a[j] / direction[j] if a[j] * direction[j] < 0 else np.inf
                if t < step * (1.0 - 1e-12):
                    step, left = t, j
            else:
                for side in (1.0, -1.0):
                    gap = 1.0 - side * steepness[j]
                    t = (mu - side * slope[j]) / gap if gap > 0 else np.inf
                    if 1e-12 * mu < t < step:
                        step, left = t, -1
        a = a + step * direction
        if left >= 0:
            a[left] = 0.0
            active.remove(left)
        mu -= step
        corners.append(a)
    return np.array(corners)


def fixed_length_interval(front: Frontier, beta: FloatArray, m: float, level: float) -> FixedLength:
    """Return the shortest interval that covers the target whatever smooth departure there is.

    Parameters
    ----------
    front : Frontier
    beta : ndarray, shape (n_pre + n_post,)
        Coefficients.
    m : float
        Largest change of slope from one period to the next.
    level : float
        Coverage.

    Notes
    -----
    The half length is the standard error times a quantile of |N(bias / standard error, 1)|. Along the frontier it is
    convex in the standard error, so the shortest lies in the piece of the path on either side of the shortest corner.
    """
    from scipy.optimize import minimize_scalar

    def at(position: float) -> FixedLength:
        low = min(int(position), len(front.weights) - 1)
        high, share = min(low + 1, len(front.weights) - 1), position - low
        weights = (1.0 - share) * front.weights[low] + share * front.weights[high]
        bias = m * float((1.0 - share) * front.unit_bias[low] + share * front.unit_bias[high])
        error = float(np.sqrt(weights @ front.sigma @ weights))
        half = error * folded_normal_quantile(level, bias / error)
        return FixedLength(float(weights @ beta), half, error, bias, weights)

    corners = [at(float(k)) for k in range(len(front.weights))]
    best = int(np.argmin([corner.half_length for corner in corners]))
    found = corners[best]
    for low in (best - 1, best):
        if 0 <= low < len(corners) - 1:
            inner = minimize_scalar(
                lambda x: at(float(x)).half_length, bounds=(low, low + 1.0), method="bounded", options={"xatol": 1e-9}
            )
            found = min(found, at(float(inner.x)), key=lambda one: one.half_length)
    return found
