"""Every non-negative combination of inequalities in which nuisance parameters cancel, from a few extreme ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MOST_RAYS = 5000
# Candidates whose neighbourhood is tested at once; it bounds memory, not the answer.
BLOCK = 4096


class TooManyRaysError(ValueError):
    """The combinations are too many to list."""


def target_rays(A_post: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the extreme rays of the combinations of rows that leave nothing but a target.

    With A_post tau <= b and the target theta = weights' tau, each ray g >= 0 has g' A_post proportional to `weights`,
    so that g' A_post tau is a number times theta: the other directions of tau are eliminated (Fourier-Motzkin
    elimination, without redundant rows).

    Parameters
    ----------
    A_post : ndarray, shape (rows, periods)
        Its first `periods` rows are a basis, such as differences between neighbouring periods.
    weights : ndarray, shape (periods,)
        Not all zero.

    Returns
    -------
    ndarray, shape (rays, rows)
        The largest entry of each is one.

    Examples
    --------
    >>> target_rays(np.array([[1.0], [-1.0]]), np.array([1.0])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    periods = len(weights)
    # Differences and sums of periods have integer inverses; rounding removes the noise of the solver.
    inverse = np.linalg.inv(A_post[:periods])
    whole = np.round(inverse)
    inverse = whole if np.allclose(inverse, whole, atol=1e-6) else inverse
    rows, target = A_post @ inverse, weights @ inverse
    pivot = int(np.argmax(np.abs(target)))
    directions = np.eye(periods)
    directions[pivot] -= target / target[pivot]
    return extreme_rays(rows @ np.delete(directions, pivot, axis=1))


def extreme_rays(equalities: FloatArray) -> FloatArray:
    """Return the extreme rays of {g >= 0, g' equalities = 0} by the double description method.

    Parameters
    ----------
    equalities : ndarray, shape (rows, columns)
        One equality a column.

    Raises
    ------
    TooManyRaysError
        If there are more than `MOST_RAYS`.

    References
    ----------
    Motzkin, Raiffa, Thompson and Thrall (1953), in Contributions to the Theory of Games II. Fukuda and Prodon (1996),
    Combinatorics and Computer Science, 91-111.

    Examples
    --------
    >>> extreme_rays(np.array([[1.0], [-2.0], [0.0]])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.5, 0.0]]
    """
    rays = np.eye(len(equalities))
    for number in range(equalities.shape[1]):
        column = equalities[:, number]
        value = rays @ column
        value[np.abs(value) <= 1e-10 * (rays @ np.abs(column))] = 0.0
        up, down = _neighbours(rays > 0, value, number)
        made = rays[up] * -value[down][:, None] + rays[down] * value[up][:, None]
        rays = np.vstack([rays[value == 0], made / made.max(axis=1, keepdims=True, initial=0.0)])
        if len(rays) > MOST_RAYS:
            raise TooManyRaysError(f"more than {MOST_RAYS:,} combinations of inequalities")
    return rays


def _neighbours(support: NDArray[np.bool_], value: FloatArray, number: int) -> tuple[NDArray[np.intp], ...]:
    """Return pairs of rays on either side of an equality that span a face without any third ray."""
    above, below = np.flatnonzero(value > 0), np.flatnonzero(value < 0)
    up, down = np.repeat(above, below.size), np.tile(below, above.size)
    # An extreme ray that meets k equalities has at most k + 1 entries.
    few = np.count_nonzero(support[up] | support[down], axis=1) <= number + 2
    up, down = up[few], down[few]
    joint = support[up] | support[down]
    keep = np.zeros(up.size, dtype=bool)
    inside = support.astype(np.float32)
    for start in range(0, up.size, BLOCK):
        outside = (~joint[start : start + BLOCK]).astype(np.float32)
        keep[start : start + BLOCK] = np.count_nonzero(inside @ outside.T == 0, axis=0) == 2
    return up[keep], down[keep]
