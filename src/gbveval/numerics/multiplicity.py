"""Several p-values at once: adjusted for the family-wise error rate or the false discovery rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.null_distribution import tail

FloatArray = NDArray[np.float64]
METHODS = (
    "bonferroni",
    "sidak",
    "holm",
    "hochberg",
    "hommel",
    "BH",
    "BY",
    "two_stage_bh",
    "two_stage_bky",
    "sharpened_q",
)


def adjust(p: FloatArray, method: str, *, alpha: float = 0.05) -> FloatArray:
    """Return adjusted p-values in the order given.

    Parameters
    ----------
    p : ndarray, shape (hypotheses,)
        Raw p-values, none missing.
    method : str
        Family-wise: "bonferroni", "sidak", "holm" (1979), "hochberg" (1988), "hommel" (1988). False discovery rate:
        "BH" (Benjamini and Hochberg 1995), "BY" (Benjamini and Yekutieli 2001), "two_stage_bh" and "two_stage_bky"
        (Benjamini, Krieger and Yekutieli 2006, the number of true nulls estimated with BH at alpha, or at alpha/(1 +
        alpha)), "sharpened_q" (the smallest rate at which the two-stage procedure rejects; Anderson 2008).
    alpha : float
        Level of the first stage of the two-stage methods.

    Examples
    --------
    >>> adjust(np.array([0.01, 0.04, 0.03]), "holm").round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    if p.size == 0:
        return p.copy()
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = _on_sorted(p[order], method, alpha)
    return np.minimum(adjusted, 1.0)


def _on_sorted(p: FloatArray, method: str, alpha: float) -> FloatArray:
    m = p.size
    rank = np.arange(1, m + 1)
    if method == "bonferroni":
        return np.asarray(m * p)
    if method == "sidak":
        return np.asarray(-np.expm1(m * np.log1p(-np.minimum(p, 1.0 - 1e-16))))
    if method == "holm":
        return np.asarray(np.maximum.accumulate((m - rank + 1) * p))
    if method == "hochberg":
        return _from_above((m - rank + 1) * p)
    if method == "hommel":
        return _hommel(p)
    if method == "BY":
        return _from_above(np.sum(1.0 / rank) * m / rank * p)
    if method == "sharpened_q":
        return sharpened(p)
    bh = _from_above(m / rank * p)
    if method == "BH":
        return bh
    stage = alpha / (1.0 + alpha) if method == "two_stage_bky" else alpha
    nulls = m - int(np.count_nonzero(np.minimum(bh, 1.0) <= stage))
    # With no null left the first stage has rejected all, and with all left it has said nothing.
    factor = 1.0 + alpha if method == "two_stage_bky" else 1.0
    return np.asarray(np.minimum(bh, 1.0) * (nulls / m if nulls else 1.0) * factor)


def _from_above(values: FloatArray) -> FloatArray:
    """Return the running minimum from the largest p-value down, at most one."""
    return np.asarray(np.minimum(np.minimum.accumulate(values[::-1])[::-1], 1.0))


def _hommel(p: FloatArray) -> FloatArray:
    """Return Hommel's adjusted p-values of sorted p: Simes's test of every intersection, closed (Hommel 1988).

    For k hypotheses the Simes p-value of the least significant ones is min over i of k p_(m-k+i)/i. The adjusted
    p-value of a hypothesis is the largest Simes p-value of a set that holds it: of the k - 1 largest with it, for
    each k.
    """
    m = p.size
    adjusted = p.copy()
    for k in range(2, m + 1):
        last = p[m - k + 1 :]
        simes = float(np.min(k * last / np.arange(2, k + 1)))
        largest = min(simes, 1.0)
        own = np.minimum(k * p, largest)
        # Among the k largest the hypothesis is one of the set; a smaller one replaces its smallest.
        own[m - k + 1 :] = np.minimum(largest, k * p[m - k])
        adjusted = np.maximum(adjusted, own)
    return adjusted


def sharpened(p: FloatArray, *, step: float = 0.001) -> FloatArray:
    """Return sharpened q-values of sorted p-values on a grid of rates: 1 where no rate rejects (Anderson 2008).

    At a rate q the procedure of Benjamini, Krieger and Yekutieli (2006) applies BH at q' = q/(1 + q); with r1
    rejections it applies BH again at q' m/(m - r1).
    """
    m = p.size
    share = np.arange(1, m + 1) / m
    rates = np.arange(1, round(1.0 / step) + 1) * step
    first = rates / (1.0 + rates)
    r1 = _rejected(p, share, first)
    second = np.where(r1 < m, first * m / np.maximum(m - r1, 1), 1.0)
    r2 = np.where(r1 == 0, 0, np.where(r1 == m, m, _rejected(p, share, second)))
    q = np.ones(m)
    for rank in range(m):
        found = np.flatnonzero(r2 > rank)
        if found.size:
            q[rank] = rates[found[0]]
    return q


def _rejected(p: FloatArray, share: FloatArray, rate: FloatArray) -> NDArray[np.intp]:
    """Return how many sorted p-values BH rejects at each rate."""
    below = p[None, :] <= rate[:, None] * share[None, :]
    last = p.size - np.argmax(below[:, ::-1], axis=1)
    return np.where(below.any(axis=1), last, 0)


def step_down(values: FloatArray, observed: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Return p-values adjusted by the step-down maximum of jointly resampled statistics.

    Parameters
    ----------
    values : ndarray, shape (resamples, hypotheses)
        Statistics of which large ones are extreme, under the joint null.
    observed : ndarray, shape (hypotheses,)
        The observed statistics.
    weight : ndarray, optional
        Probability of each resample when all are listed; without it the observed statistics count as one more.

    Notes
    -----
    The hypotheses are taken from the most to the least extreme; each is compared with the maximum over itself and all
    that are less extreme, and the p-values are made monotone (Westfall and Young 1993; Romano and Wolf 2016).
    """
    order = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(values[:, order[::-1]], axis=1)[:, ::-1]
    found = [tail(largest[:, i], float(observed[order[i]]), weight, rule="greater") for i in range(observed.size)]
    adjusted = np.empty(observed.size)
    adjusted[order] = np.maximum.accumulate(found)
    return adjusted
