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


def present(codes: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return the codes below `count` that occur, in order, without sorting the rows."""
    return np.flatnonzero(np.bincount(codes, minlength=count))


def compact(codes: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the codes that occur, and the rows' codes among them; both as `np.unique` gives them.

    Examples
    --------
    >>> [part.tolist() for part in compact(np.array([5, 2, 5]), 8)]
    [[2, 5], [1, 0, 1]]
    """
    found = present(codes, count)
    if found.size == count:
        return found, codes
    place = np.zeros(count, dtype=np.intp)
    place[found] = np.arange(found.size)
    return found, place[codes]
