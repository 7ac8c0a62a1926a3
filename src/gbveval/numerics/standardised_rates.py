"""Rates made comparable over ages: directly, with a standard's people; indirectly, with a standard's rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import check_level, wald_interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate, or a ratio of counts, with its limits."""

    value: float
    low: float
    high: float


def direct(events: FloatArray, exposure: FloatArray, standard: FloatArray, *, level: float = 0.95) -> Rate:
    """Return the rate that the standard's age structure would have, with gamma limits (Fay and Feuer 1997).

    With weights w_i = s_i / sum s, rate R = sum w_i d_i / t_i, variance v = sum w_i^2 d_i / t_i^2 and
    m = max w_i / t_i, the lower limit is the quantile of a gamma of mean R and variance v, the upper limit that of one
    of mean R + m and variance v + m^2.

    Parameters
    ----------
    events, exposure, standard : ndarray, shape (groups,)
        Events and person-time in each group, and the standard population.
    level : float
        Coverage.

    Examples
    --------
    With one group these are the exact Poisson limits:

    >>> found = direct(np.array([5.0]), np.array([100.0]), np.array([1.0]))
    >>> round(found.low, 5), round(found.high, 5)
    (0.01623, 0.11668)
    """
    from scipy.special import gammaincinv

    tail = (1.0 - check_level(level)) / 2.0
    weight = standard / standard.sum()
    rate = float(weight @ (events / exposure))
    variance = float((weight**2) @ (events / exposure**2))
    largest = float(np.max(weight / exposure))
    low = 0.0
    if rate > 0.0:
        low = float(gammaincinv(rate**2 / variance, tail)) * variance / rate
    shifted, spread = rate + largest, variance + largest**2
    high = float(gammaincinv(shifted**2 / spread, 1.0 - tail)) * spread / shifted
    return Rate(rate, low, high)


def indirect(observed: float, expected: float, *, level: float = 0.95) -> Rate:
    """Return observed over expected events, with Wald limits on the log scale (standard error 1 / observed^(1/2)).

    The expected number is taken as known. Without events there are no limits.
    """
    check_level(level)
    ratio = observed / expected
    if observed <= 0:
        return Rate(ratio, float("nan"), float("nan"))
    error = np.array([1.0 / np.sqrt(observed)])
    low, high = wald_interval(np.log(np.array([ratio])), error, df=np.array([np.inf]), level=level)
    return Rate(ratio, float(np.exp(low[0])), float(np.exp(high[0])))
