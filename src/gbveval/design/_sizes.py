"""Hides the law of cluster sizes: fixed, or a rounded gamma with the planned mean and coefficient of variation."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# A cluster of unequal size keeps at least two respondents, so that no cluster is empty.
LEAST = 2


def draw_sizes(count: int, mean: int, cv: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the sizes of `count` clusters: all equal when `cv` is zero (nothing is drawn then)."""
    if cv == 0.0:
        return np.full(count, mean, dtype=np.intp)
    shape = 1.0 / cv**2
    drawn = rng.gamma(shape, mean / shape, size=count)
    return np.maximum(np.rint(drawn), LEAST).astype(np.intp)


@lru_cache(maxsize=1024)
def mean_inverse(mean: float, cv: float) -> float:
    """Return E[1 / n], exactly: summed over the sizes that occur. `mean` may be any real number above zero."""
    if math.isinf(mean):
        return 0.0
    if cv == 0.0:
        return 1.0 / mean
    from scipy.special import gammainc, gammaincinv

    shape = 1.0 / cv**2
    scale = mean / shape
    largest = math.ceil(scale * float(gammaincinv(shape, 1.0 - 1e-12))) + LEAST
    n = np.arange(LEAST, largest + 1, dtype=float)
    below = gammainc(shape, (n + 0.5) / scale)
    below[-1] = 1.0
    share = np.diff(below, prepend=0.0)
    return float((share / n).sum())
