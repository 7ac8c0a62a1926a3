"""Weighted quantiles, and Woodruff's limits: those of the share below, turned back through the distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import wald_interval
from gbveval.numerics.survey import Linearised, mean

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
AtWeights = Callable[[FloatArray], float]
# Cumulated weights reach a round share up to rounding.
SLACK = 1e-12
# Where those at the quantile are a share above this many of its standard errors, which of the neighbouring values the
# sample's quantile falls on is chance, and the share at or below it is no centre.
MANY_TIES = 0.5


def weighted_quantile(y: FloatArray, weights: FloatArray, member: BoolArray, p: float) -> float:
    """Return the smallest observed value whose weighted distribution function reaches p; NaN without members.

    Examples
    --------
    >>> y = np.array([1.0, 2.0, 3.0, 10.0])
    >>> weighted_quantile(y, np.ones(4), np.ones(4, bool), 0.5)
    2.0
    """
    used = member & (weights > 0)
    if not used.any():
        return float("nan")
    order = np.argsort(y[used], kind="stable")
    values, share = y[used][order], np.cumsum(weights[used][order])
    place = int(np.searchsorted(share, (p - SLACK) * share[-1], side="left"))
    return float(values[min(place, values.size - 1)])


@dataclass(frozen=True, eq=False, slots=True)
class Quantile:
    """A quantile with Woodruff's limits.

    Attributes
    ----------
    value : float
        The quantile.
    low, high : float
        Limits; infinite where the limit of the share leaves 0 to 1, NaN where the share has no variance.
    slope : float
        How much the quantile moves with the share at or below it: the width of the limits over that of the share's
        limits. NaN where a limit is infinite or there is no width.
    share : Linearised
        The share at or below the quantile.
    share_at : callable
        That share under other weights.
    """

    value: float
    low: float
    high: float
    slope: float
    share: Linearised
    share_at: AtWeights

    @property
    def row_values(self) -> FloatArray:
        """Linearised values by respondent, weights included, shape (n,)."""
        return -self.slope * self.share.row_values

    def at(self, weights: FloatArray) -> float:
        """Return the linearised quantile under other weights."""
        return self.value - self.slope * (self.share_at(weights) - self.share.value)


def woodruff(
    y: FloatArray,
    weights: FloatArray,
    member: BoolArray,
    p: float,
    *,
    variance: Callable[[Linearised, AtWeights], float],
    df: float,
    level: float = 0.95,
) -> Quantile:
    """Return a quantile with limits at the t limits of the share of people at or below it (Woodruff 1952).

    With an outcome of many values that share is p but for a respondent, and limits are around the share itself, as in
    the R package survey. Where many are tied at the quantile it can be far above p: limits are then around p, which
    are those that Woodruff has.

    Parameters
    ----------
    y, weights : ndarray, shape (n,)
        Outcome (NaN outside `member`) and sampling weights; some member has a positive one.
    member : ndarray of bool, shape (n,)
        Who counts.
    p : float
        Which quantile, between 0 and 1.
    variance : callable
        Design-based variance of a linearised share, which is also given under other weights.
    df : float
        Degrees of freedom.
    level : float
        Coverage.

    References
    ----------
    Woodruff (1952), Journal of the American Statistical Association 47. Francisco and Fuller (1991), Annals of
    Statistics 19, for the linearisation.
    """
    value = weighted_quantile(y, weights, member, p)
    indicator = (np.where(member, y, np.inf) <= value).astype(float)

    def share_at(w: FloatArray) -> float:
        return mean(indicator, w, member).value

    below = mean(indicator, weights, member)
    spread = np.array([np.sqrt(variance(below, share_at))])
    tied = mean((np.where(member, y, np.inf) == value).astype(float), weights, member).value
    centre = p if tied > MANY_TIES * float(spread[0]) else below.value
    limits = wald_interval(np.array([centre]), spread, df=np.array([df]), level=level)
    share_low, share_high = (float(x[0]) for x in limits)
    if not np.isfinite(share_low + share_high):
        return Quantile(value, np.nan, np.nan, np.nan, below, share_at)
    low = weighted_quantile(y, weights, member, share_low) if share_low > 0.0 else -np.inf
    high = weighted_quantile(y, weights, member, share_high) if share_high < 1.0 else np.inf
    slope = (high - low) / (share_high - share_low)
    return Quantile(value, low, high, slope if 0.0 < slope < np.inf else np.nan, below, share_at)
