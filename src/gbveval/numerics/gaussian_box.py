"""Probabilities and means of normal vectors inside a box, by a lattice rule without random numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import normal_quantile

FloatArray = NDArray[np.float64]
POINTS, SHIFTS = 2048, 8
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101)


def box_probability(mean: FloatArray, sigma: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """Return the probability that a normal vector lies in a box.

    Parameters
    ----------
    mean : ndarray, shape (k,)
    sigma : ndarray, shape (k, k)
        Positive definite.
    low, high : ndarray, shape (k,)
        The box.

    Notes
    -----
    One variable after the other is conditioned on those before it, which leaves an integral over the unit cube of
    dimension k - 1 (Genz). It is averaged over a lattice with generators that are square roots of primes, each folded
    by the baker's map. The same points serve every call, so that the answer is a smooth function of its arguments.

    References
    ----------
    Genz (1992), Journal of Computational and Graphical Statistics 1(2), 141-149.

    Examples
    --------
    >>> one = np.array([1.0])
    >>> round(box_probability(np.zeros(1), np.eye(1), -one, one), 6)
    0.682689
    """
    from scipy.special import ndtr

    k = len(mean)
    if k == 0:
        return 1.0
    L = np.linalg.cholesky(sigma)
    points = _lattice(k - 1)
    y = np.zeros((len(points), k))
    total = np.ones(len(points))
    for i in range(k):
        centre = mean[i] + y[:, :i] @ L[i, :i]
        below, above = ndtr((low[i] - centre) / L[i, i]), ndtr((high[i] - centre) / L[i, i])
        total *= above - below
        if i < k - 1:
            share = below + points[:, i] * (above - below)
            y[:, i] = normal_quantile(np.clip(share, 1e-300, 1.0 - 1e-16))
    return float(total.mean())


def _lattice(dimension: int) -> FloatArray:
    if dimension == 0:
        return np.zeros((1, 0))
    if dimension > len(PRIMES):
        raise ValueError(f"a box of more than {len(PRIMES) + 1} dimensions")
    step = np.sqrt(np.array(PRIMES[:dimension], dtype=float))
    # The shifts are a lattice too, with other generators, so that nothing depends on a seed.
    shift = np.outer(np.arange(1, SHIFTS + 1), np.sqrt(step + 1.0))
    points = (np.arange(1, POINTS + 1)[:, None] * step)[None, :, :] + shift[:, None, :]
    folded: FloatArray = np.abs(2.0 * (points % 1.0) - 1.0)
    return folded.reshape(-1, dimension)


def box_mean(mean: FloatArray, sigma: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the coefficients g of a mean inside a box: E[X | box] = mean + sigma g.

    Notes
    -----
    g_i = (f_i(low_i) - f_i(high_i)) / P(box), where f_i(x) is the density of X_i at x times the probability that the
    others lie in the box given X_i = x. A vector that is jointly normal with X and outside the box moves by its
    covariance with X times g.

    References
    ----------
    Tallis (1961), Journal of the Royal Statistical Society B 23(1), 223-229.
    """
    inside = box_probability(mean, sigma, low, high)
    g = np.zeros(len(mean))
    for i in range(len(mean)):
        others = np.delete(np.arange(len(mean)), i)
        slope = sigma[others, i] / sigma[i, i]
        rest = sigma[np.ix_(others, others)] - np.outer(slope, sigma[i, others])
        for edge, side in ((low[i], 1.0), (high[i], -1.0)):
            z = (edge - mean[i]) / np.sqrt(sigma[i, i])
            density = np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi * sigma[i, i])
            moved = mean[others] + slope * (edge - mean[i])
            g[i] += side * density * box_probability(moved, rest, low[others], high[others])
    return g / inside
