"""The rank-sum test of Wilcoxon, by its normal approximation with ties and continuity correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import t_two_sided
from gbveval.numerics.ranks import midranks


@dataclass(frozen=True, slots=True)
class RankSum:
    """A rank-sum test.

    Attributes
    ----------
    statistic : float
        Rank sum of the treated less the smallest possible, the Mann-Whitney count of pairs won (ties a half).
    z : float
        Standardised, continuity corrected; NaN where all values are the same.
    p_value : float
        Two-sided.
    """

    statistic: float
    z: float
    p_value: float


def rank_sum(y: NDArray[np.float64], treated: NDArray[np.bool_], *, continuity: bool = True) -> RankSum:
    """Return the rank-sum test of two groups.

    The variance is n1 n0 / 12 times (n + 1 - sum(t^3 - t) / (n (n - 1))) over groups of t ties (Hollander, Wolfe and
    Chicken 2014).

    Parameters
    ----------
    y : ndarray, shape (n,)
        Values.
    treated : ndarray of bool, shape (n,)
        Group.
    continuity : bool
        Whether half a unit is taken off the distance from the mean.

    Examples
    --------
    >>> rank_sum(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])).statistic
    4.0
    """
    n, n1 = y.size, int(treated.sum())
    ranks = midranks(y)
    ties = np.unique(y, return_counts=True)[1]
    statistic = float(ranks[treated].sum()) - n1 * (n1 + 1) / 2.0
    spread = n + 1.0 - float(np.sum(ties**3 - ties)) / (n * (n - 1.0))
    variance = n1 * (n - n1) / 12.0 * spread
    if variance <= 0:
        return RankSum(statistic, float("nan"), float("nan"))
    distance = statistic - n1 * (n - n1) / 2.0
    shift = np.sign(distance) * min(0.5, abs(distance)) if continuity else 0.0
    z = float((distance - shift) / np.sqrt(variance))
    return RankSum(statistic, z, float(t_two_sided(z, np.inf)))
