"""Turns what a trial saw in each stratum into `Strata` whose random level is the effect, in any of four ways.

Effects of stratum j are t_j = x_j'd + v_j, v_j ~ N(0, s^2). What the data say of t_j needs nothing on the level of the
outcome in the stratum:

    odds     the treated's events given all events of the cell, Fisher's noncentral hypergeometric in the log odds
             ratio;
    rates    the treated's events given all events, binomial in the log rate ratio and the log ratio of exposures;
    means    the difference of two means, normal, with one variance within arms and cells;
    known    estimates of many t_j with a joint covariance C, normal. Turned by the eigenvectors of C they are
             independent, and s^2 I stays what it is.

Conditioning on the margins is what a randomised trial does: no level of a stratum, however small, is estimated
(Stijnen, Hamza and Ozdemir 2010, for studies in place of strata).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.random_strata import Strata

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def odds_strata(events: FloatArray, size: FloatArray, stratum: IntArray, levels: FloatArray) -> Strata:
    """Return strata of log odds ratios.

    Parameters
    ----------
    events, size : ndarray, shape (cells, 2)
        With the outcome, and all; control first. Cells of which one table only is possible say nothing.
    stratum : ndarray of int, shape (cells,)
        Stratum of each cell.
    levels : ndarray, shape (strata, p)
        Intercept and main effects.
    """
    from scipy.special import gammaln

    total = events.sum(axis=1)
    low = np.maximum(0.0, total - size[:, 0])
    counts = np.minimum(size[:, 1], total) - low + 1.0
    kept = counts > 1.0
    total, low, size = total[kept], low[kept], size[kept]
    step = np.arange(int(counts.max(initial=1.0)))
    treated = low[:, None] + step
    possible = step < counts[kept][:, None]

    def log_choose(n: FloatArray, k: FloatArray) -> FloatArray:
        k = np.clip(k, 0.0, n)
        return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), dtype=np.float64)

    ways = log_choose(size[:, 1:], treated) + log_choose(size[:, :1], total[:, None] - treated)
    weights = np.where(possible, ways, -np.inf)
    weights -= weights.max(axis=1, keepdims=True)
    return Strata(weights, events[kept, 1] - low, levels[stratum[kept]], "tilted", stratum=stratum[kept], level=levels)


def rate_strata(events: FloatArray, exposure: FloatArray, stratum: IntArray, levels: FloatArray) -> Strata:
    """Return strata of log rate ratios.

    Parameters
    ----------
    events, exposure : ndarray, shape (cells, 2)
        Events and time at risk (or people), control first. Cells without events say nothing.
    stratum, levels
        As for `odds_strata`.
    """
    total = events.sum(axis=1)
    kept = total > 0
    size = np.column_stack([total, np.log(exposure[:, 1]) - np.log(exposure[:, 0])])[kept]
    return Strata(size, events[kept, 1], levels[stratum[kept]], "split", stratum=stratum[kept], level=levels)


def mean_strata(
    mean: FloatArray, size: FloatArray, within: float, within_df: float, stratum: IntArray, levels: FloatArray
) -> Strata:
    """Return strata of differences in means.

    Parameters
    ----------
    mean, size : ndarray, shape (cells, 2)
        Of the outcome, control first; no size is zero.
    within, within_df : float
        Sum of squares about the means of cells and arms, and its degrees of freedom.
    stratum, levels
        As for `odds_strata`.
    """
    weight = size[:, 0] * size[:, 1] / size.sum(axis=1)
    seen = weight * (mean[:, 1] - mean[:, 0])
    return Strata(weight, seen, levels[stratum], "normal", within, within_df, stratum, levels)


def known_strata(estimate: FloatArray, covariance: FloatArray, where: IntArray, levels: FloatArray) -> Strata:
    """Return strata of effects that were estimated together, with their covariance taken as known.

    Parameters
    ----------
    estimate : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        Of full rank.
    where : ndarray of int, shape (k,)
        Stratum of each estimate; the other strata have none.
    levels : ndarray, shape (strata, p)
    """
    variance, axes = np.linalg.eigh(covariance)
    turn = np.zeros((len(levels), len(where)))
    turn[where] = axes
    weight = 1.0 / variance
    return Strata(
        n=weight,
        total=weight * (axes.T @ estimate),
        X=axes.T @ levels[where],
        family="normal",
        stratum=np.arange(len(where)),
        level=levels,
        rotation=turn,
    )
