"""Sums by group: one pass, whatever the number of groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def group_sums(codes: NDArray[np.intp], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the sum of `values` in each of `count` groups.

    Examples
    --------
    >>> group_sums(np.array([0, 1, 0]), np.array([1.0, 2.0, 3.0]), 2).tolist()
    [4.0, 2.0]
    """
    return np.asarray(np.bincount(codes, weights=values, minlength=count), dtype=np.float64)


def group_sizes(codes: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Return how many rows lie in each of `count` groups, as floats."""
    return np.asarray(np.bincount(codes, minlength=count), dtype=np.float64)
