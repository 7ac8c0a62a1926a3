"""Hides the likelihood of events by site and arm whose log odds ratios are normal over sites, with no constant added.

Site i has a log odds ratio b_i = m + t z_i, z_i standard normal, and events that are binomial: with a site intercept
s_i, logit p = s_i + b_i / 2 in the treated arm and s_i - b_i / 2 in the control arm (Jackson and others 2018, model 4:
"unconditional"); or, given the site's events in both arms, those of the treated arm with logit b_i + log(n1 / n0)
(Stijnen, Hamza and Ozdemir 2010: "conditional", exact for rates with time at risk, and close for rare events). z_i is
integrated by Gauss-Hermite quadrature about its mode; slopes of the log likelihood are means over the same nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MODELS = ("unconditional", "conditional")
# More nodes than these change the estimate of the reference tables in the seventh digit.
POINTS = 25
# Intercepts beyond this are a risk of zero or one for every purpose; without a bound they wander.
WIDEST = 30.0
# Gain in log likelihood that the search resolves.
GAIN = 1e-8
# Step of the numerical slopes of the score, as a share of a parameter's own scale.
STEP = 1e-4


@dataclass(frozen=True, slots=True)
class OneStageFit:
    """A one-stage fit.

    Attributes
    ----------
    estimate, std_error : float
        Average log odds (or rate) ratio; from the observed information.
    tau : float
        Between-site sd.
    se_tau : float
        NaN at zero.
    log_likelihood : float
        Without the binomial coefficients.
    no_spread : float
        The same when sites do not differ; twice the gain is the likelihood-ratio statistic.
    converged : bool
        Whether the slopes vanish at the answer.
    """

    estimate: float
    std_error: float
    tau: float
    se_tau: float
    log_likelihood: float
    no_spread: float
    converged: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Binomial rows of every site, shape (sites, rows): events, trials, offset, and what multiplies b."""

    events: FloatArray
    trials: FloatArray
    offset: FloatArray
    times: FloatArray
    intercepts: bool


def fit_one_stage(events: FloatArray, size: FloatArray, *, model: str = "unconditional") -> OneStageFit:
    """Return the maximum-likelihood fit.

    Parameters
    ----------
    events, size : ndarray, shape (sites, 2)
        Events, and people (or time at risk, for the conditional model); control first. Sites in which nobody or
        everybody has the outcome must be left out of the unconditional model, and those without events of both.
    model : str
        One of MODELS.
    """
    from scipy.optimize import minimize

    if model == "conditional":
        offset = np.log(size[:, 1:]) - np.log(size[:, :1])
        rows = _Rows(events[:, 1:], events.sum(axis=1, keepdims=True), offset, np.ones_like(offset), False)
    else:
        rows = _Rows(events, size, np.zeros_like(events), np.tile([-0.5, 0.5], (len(events), 1)), True)
    start = _start(events, size, rows)
    bounds: Any = [(-WIDEST, WIDEST), (0.0, WIDEST), *[(-WIDEST, WIDEST)] * (len(start) - 2)]
    # Without spread there is nothing to integrate.
    many, one = (np.polynomial.hermite_e.hermegauss(points) for points in (POINTS, 1))

    def negative(parameters: Any) -> tuple[float, FloatArray]:
        value, slope = _log_likelihood(parameters, rows, many if parameters[1] > 0.0 else one)
        return -value, -slope

    def search(tau: float | None) -> tuple[FloatArray, float]:
        limits, first = list(bounds), start.copy()
        if tau is not None:
            limits[1], first[1] = (tau, tau), tau
        options: Any = {"ftol": 1e-12, "gtol": 1e-6, "maxiter": 5000, "maxfun": 50_000}
        found: Any = minimize(negative, first, jac=True, method="L-BFGS-B", bounds=limits, options=options)
        return found.x, -float(found.fun)

    (best, height), (flat, lowest) = search(None), search(0.0)
    # A gain below what the search resolves is none.
    if height - lowest < GAIN:
        best = flat
    free = np.ones(len(best), dtype=bool)
    free[1] = best[1] > 0.0
    fixed = np.arange(len(best)) != 1
    best = _polished(best, free, negative)
    height, lowest = -negative(best)[0], -negative(_polished(flat, fixed, negative))[0]
    covariance = np.full((len(best), len(best)), np.nan)
    with np.errstate(invalid="ignore"):
        covariance[np.ix_(free, free)] = np.linalg.pinv(_information(best, free, negative))
        errors = np.sqrt(np.diag(covariance))
    slopes = np.abs(negative(best)[1][free])
    converged = bool(slopes.max() < 1e-3 and np.abs(best[0]) < WIDEST and np.isfinite(errors[0]))
    tau = abs(float(best[1])) if free[1] else 0.0
    return OneStageFit(float(best[0]), float(errors[0]), tau, float(errors[1]), height, lowest, converged)


def _start(events: FloatArray, size: FloatArray, rows: _Rows) -> FloatArray:
    totals = events.sum(axis=0) + 0.5
    crude = float(np.log(totals[1] / totals[0]) - np.log(size[:, 1].sum() / size[:, 0].sum()))
    if not rows.intercepts:
        return np.array([crude, 0.3])
    risk = (events.sum(axis=1) + 0.5) / (size.sum(axis=1) + 1.0)
    return np.concatenate([[crude, 0.3], np.log(risk / (1.0 - risk))])


def _polished(
    best: FloatArray, free: NDArray[np.bool_], negative: Callable[[FloatArray], tuple[float, FloatArray]]
) -> FloatArray:
    """Return the maximum to rounding: three of Newton's steps from where a search by slopes stops."""
    for _ in range(3):
        step = np.zeros_like(best)
        step[free] = np.linalg.pinv(_information(best, free, negative)) @ negative(best)[1][free]
        moved = best - step
        if not (np.abs(step).max() < 1e-2 and negative(moved)[0] <= negative(best)[0] + 1e-9):
            break
        best = moved
    return best


def _information(
    best: FloatArray, free: NDArray[np.bool_], negative: Callable[[FloatArray], tuple[float, FloatArray]]
) -> FloatArray:
    """Return minus the slopes of the score, by central differences."""
    places = np.flatnonzero(free)
    found = np.empty((places.size, places.size))
    for column, place in enumerate(places):
        step = np.zeros_like(best)
        step[place] = STEP
        ahead, behind = (negative(best + sign * step)[1] for sign in (1.0, -1.0))
        found[:, column] = (ahead - behind)[places] / (2.0 * STEP)
    return (found + found.T) / 2.0


def _log_likelihood(
    parameters: FloatArray, rows: _Rows, nodes: tuple[FloatArray, FloatArray]
) -> tuple[float, FloatArray]:
    """Return the log likelihood and its slopes in the average, the sd, and the intercepts."""
    from scipy.special import expit, log_expit

    average, tau = parameters[0], parameters[1]
    own = parameters[2:] if rows.intercepts else np.zeros(len(rows.events))
    base = rows.offset + own[:, None] + rows.times * average
    z, spread = _mode(base, tau, rows)
    points = z[:, None] + spread[:, None] * nodes[0]
    eta = base[:, :, None] + rows.times[:, :, None] * tau * points[:, None, :]
    heights = (rows.events[:, :, None] * eta + rows.trials[:, :, None] * log_expit(-eta)).sum(axis=1)
    # Weights are for exp(-x^2/2); the integrand has exp(-z^2/2) / sqrt(2 pi).
    logs = heights - points**2 / 2.0 + nodes[0] ** 2 / 2.0 + np.log(nodes[1])
    top = logs.max(axis=1, keepdims=True)
    shares = np.exp(logs - top)
    total = shares.sum(axis=1, keepdims=True)
    shares /= total
    by_site = (top + np.log(total))[:, 0] + np.log(spread) - 0.5 * np.log(2.0 * np.pi)
    surplus = rows.events[:, :, None] - rows.trials[:, :, None] * expit(eta)
    toward = (rows.times[:, :, None] * surplus).sum(axis=1)
    slopes = [(shares * toward).sum(), (shares * points * toward).sum()]
    if rows.intercepts:
        slopes = [*slopes, *(shares * surplus.sum(axis=1)).sum(axis=1)]
    return float(by_site.sum()), np.array(slopes)


def _mode(base: FloatArray, tau: float, rows: _Rows) -> tuple[FloatArray, FloatArray]:
    """Return mode and width of each site's integrand over z, by Newton's method with halved steps."""
    from scipy.special import expit, log_expit

    z = np.zeros(len(base))

    def height(at: FloatArray) -> FloatArray:
        eta = base + rows.times * tau * at[:, None]
        result: FloatArray = (rows.events * eta + rows.trials * log_expit(-eta)).sum(axis=1) - at**2 / 2.0
        return result

    curvature = np.ones_like(z)
    for _ in range(60):
        risk = expit(base + rows.times * tau * z[:, None])
        slope = tau * (rows.times * (rows.events - rows.trials * risk)).sum(axis=1) - z
        curvature = 1.0 + tau**2 * (rows.times**2 * rows.trials * risk * (1.0 - risk)).sum(axis=1)
        step = slope / curvature
        for _ in range(30):
            worse = height(z + step) < height(z) - 1e-12
            if not worse.any():
                break
            step = np.where(worse, step / 2.0, step)
        z = z + step
        if np.abs(step).max() < 1e-10:
            break
    return z, 1.0 / np.sqrt(curvature)
