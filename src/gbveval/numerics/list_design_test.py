"""The test that a list experiment has no design effect: no joint share of counts and answers is negative.

If the sensitive item changes nobody's count of the others, and answers are true, then with F_t the distribution of
counts in the list t (1 long), P(control count = j, sensitive = 1) = F_0(j) - F_1(j) and P(control count = j, sensitive
= 0) = F_1(j) - F_0(j - 1), none of which may be below zero (Blair and Imai 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import f_upper

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
SELECTIONS = ("standard_error", "spread")


@dataclass(frozen=True, eq=False, slots=True)
class JointShares:
    """Shares of respondents by control count 0, ..., J (columns) and sensitive answer 1, then 0 (rows).

    Attributes
    ----------
    value, std_error : ndarray, shape (2, J + 1)
    covariance : ndarray, shape (2, J + 1, J + 1)
        Of each row.
    n : int
        Respondents.
    """

    value: FloatArray
    std_error: FloatArray
    covariance: FloatArray
    n: int


@dataclass(frozen=True, eq=False, slots=True)
class DesignEffectTest:
    """The test of each row of joint shares, and of both together.

    Attributes
    ----------
    statistic : ndarray, shape (2,)
        Squared distance of the shares from those that are possible.
    each : ndarray, shape (2,)
        p-values of the two rows.
    p_value : float
        Twice the smaller one, at most one (Bonferroni).
    kept : ndarray of int, shape (2,)
        Inequalities that moment selection did not set aside.
    """

    statistic: FloatArray
    each: FloatArray
    p_value: float
    kept: NDArray[np.intp]


def joint_shares(y: FloatArray, long: BoolArray, items: int) -> JointShares:
    """Return the joint shares with their covariances.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Counts.
    long : ndarray of bool, shape (n,)
        Who got the list with the sensitive item.
    items : int
        J.

    Examples
    --------
    >>> shares = joint_shares(np.array([0.0, 1.0, 1.0, 2.0]), np.array([False, False, True, True]), 1)
    >>> shares.value.tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    levels = np.arange(items + 1)
    below = [np.mean(y[group][:, None] <= levels, axis=0) for group in (~long, long)]
    before = np.concatenate([[0.0], below[0][:-1]])
    spread = [_spread(below[1], long), _spread(below[0], ~long), _spread(before, ~long)]
    covariance = np.stack([spread[0] + spread[1], spread[0] + spread[2]])
    error = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    return JointShares(np.stack([below[0] - below[1], below[1] - before]), error, covariance, int(y.size))


def _spread(distribution: FloatArray, group: BoolArray) -> FloatArray:
    """Return the covariance of an empirical distribution at several points: (F(min) - F F') / n."""
    lower = np.minimum(distribution[:, None], distribution[None, :])
    result: FloatArray = (lower - np.outer(distribution, distribution)) / group.sum()
    return result


def design_effect_test(
    shares: JointShares, *, rng: np.random.Generator, n_draws: int = 50_000, selection: str = "standard_error"
) -> DesignEffectTest:
    """Test that no joint share is negative, with generalised moment selection (Andrews and Soares 2010).

    The statistic is the squared distance of each row from the positive orthant, in the metric of its covariance. Under
    the least favourable null it is a mixture of chi-squares; inequalities that are slack by more than log(n)^(1/2)
    standard errors have no part in it. Weights of the mixture are drawn.

    With the selection "spread", as in the R package list, inequalities are slack beyond (log(n) / n)^(1/2) times the
    standard deviation of the shares among each other, which is a far lower bar, and have no part in the statistic
    either.

    Parameters
    ----------
    shares : JointShares
    rng : numpy.random.Generator
    n_draws : int
        Draws for the weights.
    selection : str
        One of `SELECTIONS`.

    References
    ----------
    Blair and Imai (2012), Political Analysis 20. Andrews and Soares (2010), Econometrica 78. Kudo (1963), Biometrika
    50, for the mixture.
    """
    slack = np.sqrt(np.log(shares.n))
    spread = selection == "spread"
    statistic, each, kept = np.zeros(2), np.ones(2), np.zeros(2, dtype=np.intp)
    for row in range(2):
        # Two shares are shares of people seen, and cannot be negative: all items with, and none without the sensitive
        # one. Others without a standard error have been seen in nobody, or in everybody.
        varies = shares.std_error[row] > 1e-12
        varies[-1 if row == 0 else 0] = False
        varies = _independent(shares.value[row], shares.covariance[row], varies)
        value, covariance = shares.value[row][varies], shares.covariance[row][np.ix_(varies, varies)]
        if not value.size:
            continue
        bar = slack * np.sqrt(np.diag(covariance))
        if spread:
            bar = np.full(value.size, slack * value.std(ddof=1) / np.sqrt(shares.n) if value.size > 1 else np.inf)
        near = value <= bar
        kept[row] = near.sum()
        counted = near if spread else np.ones(value.size, dtype=bool)
        if counted.any():
            statistic[row] = float(_distance(value[None, counted], covariance[np.ix_(counted, counted)])[0][0])
        if statistic[row] > 0.0 and near.any():
            each[row] = _mixture_tail(statistic[row], covariance[np.ix_(near, near)], rng, n_draws)
    return DesignEffectTest(statistic, each, float(min(1.0, 2.0 * each.min())), kept)


def _independent(value: FloatArray, covariance: FloatArray, among: BoolArray) -> BoolArray:
    """Return which shares are left when those that are sums of others (but for a constant) are taken out.

    In a small sample counts that nobody gives tie shares to each other: with none of two, "at most one" and "at most
    two" are the same people. The lowest shares are kept, for it is these that the test is about.
    """
    kept: list[int] = []
    for k in sorted(np.flatnonzero(among).tolist(), key=lambda k: value[k] / np.sqrt(covariance[k, k])):
        own = covariance[k, k]
        if kept:
            with_kept = covariance[np.ix_([k], kept)][0]
            own = own - with_kept @ np.linalg.solve(covariance[np.ix_(kept, kept)], with_kept)
        if own > 1e-9 * covariance[k, k]:
            kept.append(k)
    result = np.zeros(among.size, dtype=bool)
    result[kept] = True
    return result


def _mixture_tail(statistic: float, covariance: FloatArray, rng: np.random.Generator, n_draws: int) -> float:
    """Return P(distance of a normal vector from the positive orthant >= statistic)."""
    size = covariance.shape[0]
    tails = np.array([f_upper(statistic / k, float(k), np.inf) for k in range(1, size + 1)])
    if size == 1:
        return float(0.5 * tails[0])
    root = np.linalg.cholesky(covariance + 1e-14 * np.trace(covariance) * np.eye(size))
    bound = _distance(rng.standard_normal((n_draws, size)) @ root.T, covariance)[1]
    weight = np.bincount(bound, minlength=size + 1)[1:] / n_draws
    return float(weight @ tails)


def _distance(values: FloatArray, covariance: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return squared distances from the positive orthant, and how many coordinates end on its walls.

    min over m >= 0 of (v - m)' S^-1 (v - m), by trying each set of walls: with the coordinates B on the walls the
    distance is v_B' S_BB^-1 v_B, the multipliers are minus S_BB^-1 v_B, and the others move to v - S_.B S_BB^-1 v_B.
    One set has no negative multiplier and no negative coordinate.
    """
    n, size = values.shape
    distance, count = np.zeros(n), np.zeros(n, dtype=np.intp)
    open_ = ~np.all(values >= 0.0, axis=1)
    for number in range(1, 2**size):
        if not open_.any():
            break
        wall = np.array([bool(number >> k & 1) for k in range(size)])
        at = np.flatnonzero(open_)
        v = values[at]
        pull = np.linalg.solve(covariance[np.ix_(wall, wall)], v[:, wall].T)
        moved = v[:, ~wall] - (covariance[np.ix_(~wall, wall)] @ pull).T
        found = np.all(pull <= 0.0, axis=0) & np.all(moved >= 0.0, axis=1)
        distance[at[found]] = np.einsum("ij,ji->i", v[found][:, wall], pull[:, found])
        count[at[found]] = wall.sum()
        open_[at[found]] = False
    return distance, count
