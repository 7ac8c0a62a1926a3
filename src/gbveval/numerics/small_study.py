"""Hides what is done about effects that depend on the size of their standard errors: trim and fill, and its side.

Duval and Tweedie (2000): effects are centred at the average of those not trimmed, ranked by size, and the signed rank
sum estimates how many are missing on one side (L0), or the longest run of one sign does (R0). The k0 most extreme are
trimmed, the average is taken anew until k0 settles, and the k0 are reflected about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.random_effects import between_variance, weighted_fit

FloatArray = NDArray[np.float64]
ESTIMATORS = ("L0", "R0")
# The number of trimmed effects settles in a few rounds, or goes round in a circle.
ROUNDS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """Effects with reflections of the trimmed ones.

    Attributes
    ----------
    estimate, variance : ndarray, shape (sites + filled,)
        The filled ones last.
    filled : int
    side : str
        Where effects were missing.
    settled : bool
        Whether the number of trimmed effects came to rest.
    """

    estimate: FloatArray
    variance: FloatArray
    filled: int
    side: str
    settled: bool


def missing_side(y: FloatArray, v: FloatArray, *, method: str) -> str:
    """Return on which side small sites are missing: left where effects grow with their standard error.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Estimates and variances.
    method : str
        How the variance between sites is estimated.
    """
    x = np.column_stack([np.ones(len(y)), np.sqrt(v)])
    if np.ptp(x[:, 1]) == 0.0 or len(y) < 3:
        return "left"
    slope = weighted_fit(y, v, x, between_variance(y, v, x, method=method)[0]).coefficients[1]
    return "right" if slope < 0 else "left"


def trim_and_fill(y: FloatArray, v: FloatArray, *, method: str, side: str, estimator: str = "L0") -> Filled:
    """Return the effects with those filled in that are missing on a side.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Estimates and variances.
    method : str
        How the variance between sites is estimated.
    side : str
        "left" or "right".
    estimator : str
        One of ESTIMATORS.

    Examples
    --------
    >>> y = np.array([0.0, 0.1, -0.1, 0.05, -0.05])
    >>> trim_and_fill(y, np.full(5, 0.04), method="DL", side="left").filled
    0
    """
    # Missing on the right is missing on the left of the effects turned round.
    sign = -1.0 if side == "right" else 1.0
    order = np.argsort(sign * y, kind="stable")
    turned, spread = sign * y[order], v[order]
    k, trimmed, missing = len(y), -1, 0
    seen: set[int] = set()
    while missing != trimmed and missing not in seen and len(seen) < ROUNDS:
        trimmed = missing
        seen.add(trimmed)
        kept = slice(0, k - trimmed)
        ones = np.ones((k - trimmed, 1))
        tau2 = between_variance(turned[kept], spread[kept], ones, method=method)[0]
        centre = float(weighted_fit(turned[kept], spread[kept], ones, tau2).coefficients[0])
        missing = min(_missing(turned - centre, estimator), k - 2)
    extreme = slice(k - missing, k)
    reflected = 2.0 * centre - turned[extreme]
    return Filled(
        np.concatenate([y, sign * reflected]),
        np.concatenate([v, spread[extreme]]),
        missing,
        side,
        missing == trimmed,
    )


def _missing(centred: FloatArray, estimator: str) -> int:
    k = len(centred)
    ranks = np.empty(k)
    ranks[np.argsort(np.abs(centred), kind="stable")] = np.arange(1.0, k + 1.0)
    if estimator == "R0":
        below = ranks[centred < 0]
        # The largest effects in size that all lie above: the run beyond the largest one below.
        found = k - (below.max() if below.size else 0.0) - 1.0
    else:
        above = ranks[centred > 0].sum()
        found = (4.0 * above - k * (k + 1.0)) / (2.0 * k - 1.0)
    return max(0, round(float(found)))
