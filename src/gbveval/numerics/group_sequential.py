"""Hides the recursive integration of a test statistic that is looked at several times.

With information I_1 < I_2 < ... the statistics are jointly normal, and a Markov chain: given Z_j, Z_k is normal with
mean sqrt(I_j / I_k) Z_j and variance 1 - I_j / I_k around its own mean (Jennison and Turnbull 1997, Journal of the
American Statistical Association 92). The density of those not stopped yet is carried from look to look (Armitage,
McPherson and Rowe 1969, Journal of the Royal Statistical Society A 132) on Gauss-Legendre nodes. Statistics are centred
here: what a true effect adds is taken off the bounds instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# Beyond this a normal tail is below the rounding error of a double.
FAR = 8.5
# Twelve nodes on a panel no wider than two standard deviations of whatever varies fastest: the error is below 1e-13.
NODES, WIDTH = 12, 2.0
NODE, WEIGHT = np.polynomial.legendre.leggauss(NODES)
# Bounds are sought between these; a tail of 1e-300 lies at 37.
FURTHEST = 37.0


@dataclass(frozen=True, slots=True)
class Going:
    """Those not stopped yet.

    Attributes
    ----------
    information : float
        Information at the last look; zero before the first.
    z : ndarray
        Nodes of the centred statistic at the last look.
    mass : ndarray
        Probability at each node; they sum to the probability of not having stopped.
    """

    information: float
    z: FloatArray
    mass: FloatArray


def begin(information: float = 0.0, z: float = 0.0) -> Going:
    """Return the state before the first look, or after one at which the centred statistic was seen to be `z`."""
    return Going(information, np.array([z]), np.ones(1))


def _step(state: Going, information: float) -> tuple[FloatArray, float]:
    """Return means and standard deviation of the statistic at the next look, given the one at the last."""
    kept = state.information / information
    return math.sqrt(kept) * state.z, math.sqrt(1.0 - kept)


def above(state: Going, information: float, bound: float) -> float:
    """Return the probability of going on to this look and being above a bound there."""
    from scipy.special import ndtr

    mean, sd = _step(state, information)
    return float(state.mass @ ndtr((mean - bound) / sd))


def below(state: Going, information: float, bound: float) -> float:
    """Return the probability of going on to this look and being below a bound there."""
    from scipy.special import ndtr

    mean, sd = _step(state, information)
    return float(state.mass @ ndtr((bound - mean) / sd))


def go_on(state: Going, information: float, lower: float, upper: float, *, after: float) -> Going:
    """Return those between two bounds at this look; `after` is the information at the next one, which sets the grid."""
    mean, sd = _step(state, information)
    low, high = max(lower, -FAR, float(mean.min()) - FAR * sd), min(upper, FAR, float(mean.max()) + FAR * sd)
    if not low < high:
        return Going(information, np.zeros(1), np.zeros(1))
    finest = min(sd, math.sqrt(after / information - 1.0))
    panels = max(1, math.ceil((high - low) / (WIDTH * finest)))
    edges = np.linspace(low, high, panels + 1)
    half = 0.5 * np.diff(edges)
    z = (0.5 * (edges[:-1] + edges[1:])[:, None] + half[:, None] * NODE).ravel()
    weight = (half[:, None] * WEIGHT).ravel()
    kernel = np.exp(-0.5 * ((z[:, None] - mean) / sd) ** 2) / (sd * math.sqrt(2.0 * math.pi))
    return Going(information, z, weight * (kernel @ state.mass))


def upper_bound(state: Going, information: float, probability: float) -> float:
    """Return the bound that is crossed upwards at this look with this probability; infinite for none."""
    return -_bound(lambda b: above(state, information, -b), probability)


def lower_bound(state: Going, information: float, probability: float) -> float:
    """Return the bound that is crossed downwards at this look with this probability; minus infinity for none."""
    return _bound(lambda b: below(state, information, b), probability)


def _bound(crossed: Callable[[float], float], probability: float) -> float:
    """Return where an increasing probability equals the one asked for."""
    from scipy.optimize import brentq

    if probability <= crossed(-FURTHEST):
        return -math.inf
    if probability >= crossed(FURTHEST):
        return math.inf
    return float(brentq(lambda b: crossed(b) - probability, -FURTHEST, FURTHEST, xtol=1e-13, rtol=1e-14))


@dataclass(frozen=True, slots=True)
class Crossing:
    """Probabilities of stopping at each look.

    Attributes
    ----------
    above, below : ndarray, shape (looks,)
        Probabilities that the statistic is at this look, and not before, above the upper or below the lower bound.
    """

    above: FloatArray
    below: FloatArray


def crossing(
    lower: Sequence[float], upper: Sequence[float], information: Sequence[float], *, start: Going | None = None
) -> Crossing:
    """Return the probabilities of stopping at each look.

    Parameters
    ----------
    lower, upper : sequence of float
        Bounds of the centred statistic at each look, infinite where there is none.
    information : sequence of float
        Strictly increasing.
    start : Going, optional
        What is known already; by default nothing.

    Examples
    --------
    >>> bound = 2.41317622
    >>> found = crossing([-bound] * 5, [bound] * 5, [1, 2, 3, 4, 5])
    >>> round(float(found.above.sum() + found.below.sum()), 6)
    0.05
    """
    state = begin() if start is None else start
    up, down = np.zeros(len(information)), np.zeros(len(information))
    for k, now in enumerate(information):
        up[k], down[k] = above(state, now, upper[k]), below(state, now, lower[k])
        if k + 1 < len(information):
            state = go_on(state, now, lower[k], upper[k], after=information[k + 1])
    return Crossing(up, down)
