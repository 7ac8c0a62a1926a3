"""Conditional logistic regression: in each matched set, which members are the cases, given how many are.

With c cases among the members of a set, the likelihood is exp(sum of x'b over cases) over the sum, over all subsets of
c members, of exp(sum of x'b over the subset) (Breslow and Day 1980). The sum over subsets and its two derivatives
follow by recursion over members (Gail, Lubin and Rubinstein 1981), here for all sets of one size at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
STEPS, TOLERANCE = 60, 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class SetsOfOneSize:
    """Matched sets with as many members and cases as each other.

    Attributes
    ----------
    x : ndarray, shape (sets, members, k)
        Covariates, cases first.
    cases : int
        Cases in each.
    """

    x: FloatArray
    cases: int


@dataclass(frozen=True, eq=False, slots=True)
class ConditionalFit:
    """A fitted model.

    Attributes
    ----------
    beta : ndarray, shape (k,)
        Log odds ratios.
    covariance : ndarray, shape (k, k)
        Inverse of the observed information.
    scores : ndarray, shape (sets, k)
        Score of each set at the solution, sets in the order given.
    log_likelihood : float
        At the solution.
    converged : bool
        Whether the score is zero up to rounding.
    """

    beta: FloatArray
    covariance: FloatArray
    scores: FloatArray
    log_likelihood: float
    converged: bool


def likelihood(sets: SetsOfOneSize, beta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log likelihoods (sets,), scores (sets, k) and the summed information (k, k).

    Examples
    --------
    A pair that differs by one: the log odds of the case being the exposed one.

    >>> pair = SetsOfOneSize(np.array([[[1.0], [0.0]]]), 1)
    >>> value, score, information = likelihood(pair, np.zeros(1))
    >>> round(float(np.exp(value[0])), 6), score.tolist(), information.tolist()
    (0.5, [[0.5]], [[0.25]])
    """
    n, members, k = sets.x.shape
    eta = sets.x @ beta
    top = eta.max(axis=1, keepdims=True)
    weight = np.exp(eta - top)
    total = np.zeros((sets.cases + 1, n))
    first = np.zeros((sets.cases + 1, n, k))
    second = np.zeros((sets.cases + 1, n, k, k))
    total[0] = 1.0
    for member in range(members):
        w, x = weight[:, member], sets.x[:, member]
        for size in range(min(sets.cases, member + 1), 0, -1):
            outer = first[size - 1][:, :, None] * x[:, None, :]
            square = total[size - 1][:, None, None] * x[:, :, None] * x[:, None, :]
            second[size] += w[:, None, None] * (second[size - 1] + outer + outer.transpose(0, 2, 1) + square)
            first[size] += w[:, None] * (first[size - 1] + total[size - 1][:, None] * x)
            total[size] += w * total[size - 1]
    bottom = total[sets.cases]
    mean = first[sets.cases] / bottom[:, None]
    spread = second[sets.cases] / bottom[:, None, None] - mean[:, :, None] * mean[:, None, :]
    value = eta[:, : sets.cases].sum(axis=1) - sets.cases * top[:, 0] - np.log(bottom)
    return value, sets.x[:, : sets.cases].sum(axis=1) - mean, spread.sum(axis=0)


def fit_conditional_logit(groups: Sequence[SetsOfOneSize]) -> ConditionalFit:
    """Return the maximum of the conditional likelihood, by Newton's steps halved where they overshoot.

    Parameters
    ----------
    groups : sequence of SetsOfOneSize
        Informative sets; the columns have full rank within sets, and a maximum exists.
    """
    k = groups[0].x.shape[2]
    beta = np.zeros(k)
    value, scores, information = _everything(groups, beta)
    for _ in range(STEPS):
        step = np.linalg.solve(information, scores.sum(axis=0))
        scale = 1.0
        while True:
            found = _everything(groups, beta + scale * step)
            if found[0] >= value - 1e-12 * abs(value) or scale < 1e-6:
                break
            scale /= 2.0
        beta = beta + scale * step
        value, scores, information = found
        if np.abs(step).max() < TOLERANCE:
            break
    size = np.abs(scores).sum(axis=0)
    converged = bool(np.all(np.abs(scores.sum(axis=0)) <= 1e-8 * size + 1e-12))
    return ConditionalFit(beta, np.asarray(np.linalg.inv(information), np.float64), scores, value, converged)


def _everything(groups: Sequence[SetsOfOneSize], beta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    parts = [likelihood(sets, beta) for sets in groups]
    information: FloatArray = np.sum([part[2] for part in parts], axis=0)
    return float(sum(part[0].sum() for part in parts)), np.concatenate([part[1] for part in parts]), information
