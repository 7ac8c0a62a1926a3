"""Hides the likelihood of effects that were reported with a probability that depends on their p-value.

Vevea and Hedges (1995): with one-sided p-values p_i = 1 - Phi(y_i / se_i), cut points a_1 < ... < a_J and relative
probabilities w_j of being reported (the first one), a reported effect has density
w(p_i) phi((y_i - x_i'b) / s_i) / (s_i sum_j w_j B_ij), s_i^2 = v_i + t, B_ij the probability of p in interval j.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import normal_quantile
from gbveval.numerics.random_effects import between_variance, weighted_fit

FloatArray = NDArray[np.float64]
# Relative probabilities outside exp(+-this) are zero or infinite for every purpose.
WIDEST = 8.0
# Step of numerical slopes, of order one in the parameters (standardised); central differences of this step are right
# to about its square.
STEP = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class SelectionFit:
    """A fit of the selection model.

    Attributes
    ----------
    coefficients, errors : ndarray, shape (p,)
        Adjusted for selection.
    tau2 : float
    relative : ndarray, shape (intervals,)
        Probabilities of being reported against the first interval.
    log_relative_errors : ndarray, shape (intervals,)
        Standard errors of their logarithms; zero for the first.
    log_likelihood, unselected : float
        With and without selection; twice the gain is chi-squared with intervals - 1 degrees of freedom.
    edge : bool
        Whether a relative probability lies at the end of what is searched, so that there is no maximum inside.
    """

    coefficients: FloatArray
    errors: FloatArray
    tau2: float
    relative: FloatArray
    log_relative_errors: FloatArray
    log_likelihood: float
    unselected: float
    edge: bool


def interval_of(y: FloatArray, v: FloatArray, steps: tuple[float, ...], *, direction: str) -> NDArray[np.intp]:
    """Return the interval of each one-sided p-value.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Estimates and variances.
    steps : tuple of float
        Ends of the intervals but the last, rising, between 0 and 1.
    direction : str
        "greater" or "less": which effects are significant on one side.
    """
    from scipy.special import ndtr

    sign = 1.0 if direction == "greater" else -1.0
    return np.searchsorted(np.asarray(steps), ndtr(-sign * y / np.sqrt(v)), side="left")


def log_likelihood(
    y: FloatArray,
    v: FloatArray,
    x: FloatArray,
    steps: tuple[float, ...],
    *,
    coefficients: FloatArray,
    tau2: float,
    log_relative: FloatArray,
    direction: str,
) -> float:
    """Return the log likelihood of reported effects.

    Parameters
    ----------
    y, v, x : ndarray
        Estimates, variances and design.
    steps, direction
        As for `interval_of`.
    coefficients, tau2, log_relative
        Where it is taken; one log relative probability an interval.
    """
    from scipy.special import ndtr

    sign = 1.0 if direction == "greater" else -1.0
    error, spread = np.sqrt(v), np.sqrt(v + tau2)
    centre = x @ coefficients
    # sign y lies above these limits in the intervals up to each step.
    limits = error[:, None] * -normal_quantile(np.asarray(steps))[None, :]
    beyond = ndtr((sign * centre[:, None] - limits) / spread[:, None])
    within = np.diff(np.column_stack([np.zeros(len(y)), beyond, np.ones(len(y))]), axis=1)
    chance = within @ np.exp(log_relative)
    plain = -0.5 * ((y - centre) / spread) ** 2 - np.log(spread) - 0.5 * np.log(2.0 * np.pi)
    which = interval_of(y, v, steps, direction=direction)
    with np.errstate(divide="ignore"):
        return float((plain + log_relative[which] - np.log(chance)).sum())


def fit_selection(
    y: FloatArray, v: FloatArray, x: FloatArray, steps: tuple[float, ...], *, direction: str
) -> SelectionFit:
    """Return the maximum-likelihood fit; every interval must hold an effect.

    Parameters
    ----------
    y, v, x : ndarray
        Estimates, variances and design of full rank.
    steps, direction
        As for `interval_of`.
    """
    from scipy.optimize import minimize

    p, free = x.shape[1], len(steps)
    start2 = between_variance(y, v, x, method="ML")[0]
    plain = weighted_fit(y, v, x, start2)
    unit = np.sqrt(np.diag(plain.unscaled))
    scale = float(np.sqrt(np.median(v)))

    def negative(parameters: Any) -> float:
        value = log_likelihood(
            y,
            v,
            x,
            steps,
            coefficients=plain.coefficients + unit * parameters[:p],
            tau2=(scale * parameters[p]) ** 2,
            log_relative=np.concatenate([[0.0], parameters[p + 1 :]]),
            direction=direction,
        )
        return -value if np.isfinite(value) else 1e10

    bounds: Any = [(None, None)] * p + [(0.0, None)] + [(-WIDEST, WIDEST)] * free
    tries: list[Any] = []
    for first in (np.sqrt(start2) / scale, 0.3, 0.0):
        begin = np.concatenate([np.zeros(p), [first], np.zeros(free)])
        options: Any = {"ftol": 1e-14, "gtol": 1e-8, "maxiter": 2000, "maxfun": 100_000}
        tries.append(minimize(negative, begin, method="L-BFGS-B", bounds=bounds, options=options, jac="3-point"))
    best = min(tries, key=lambda found: found.fun).x
    inside = np.ones(len(best), dtype=bool)
    inside[p] = best[p] > 1e-3
    edge = np.abs(best[p + 1 :]) > WIDEST - 1e-3
    inside[p + 1 :] = ~edge
    errors = np.full(len(best), np.nan)
    with np.errstate(invalid="ignore"):
        errors[inside] = np.sqrt(np.diag(np.linalg.pinv(_hessian(negative, best, inside))))
    unselected = -negative(np.concatenate([np.zeros(p), [np.sqrt(start2) / scale], np.zeros(free)]))
    return SelectionFit(
        plain.coefficients + unit * best[:p],
        unit * errors[:p],
        float((scale * best[p]) ** 2),
        np.exp(np.concatenate([[0.0], best[p + 1 :]])),
        np.concatenate([[0.0], errors[p + 1 :]]),
        float(-negative(best)),
        float(unselected),
        bool(edge.any()),
    )


def _hessian(negative: Callable[[FloatArray], float], best: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
    """Return second slopes at the parameters that lie inside, by central differences."""
    places = [int(place) for place in np.flatnonzero(inside)]
    found = np.empty((len(places), len(places)))

    def height(*moves: tuple[int, float]) -> float:
        at = best.copy()
        for place, step in moves:
            at[place] += step
        return float(negative(at))

    h = STEP**0.75
    for a, i in enumerate(places):
        for b, j in enumerate(places[: a + 1]):
            if i == j:
                value = (height((i, h)) - 2.0 * height() + height((i, -h))) / h**2
            else:
                corners = (height((i, s * h), (j, t * h)) * s * t for s in (1.0, -1.0) for t in (1.0, -1.0))
                value = sum(corners) / (4.0 * h**2)
            found[a, b] = found[b, a] = value
    return found
