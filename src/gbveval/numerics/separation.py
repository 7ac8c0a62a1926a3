"""Whether the maximum of a likelihood exists: separation, found exactly by a linear programme."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# The programme's columns are scaled to at most one; its solver is exact to about 1e-7.
TOLERANCE = 1e-6


def binomial_direction(x: FloatArray, y: FloatArray) -> FloatArray | None:
    """Return a direction in which the likelihood of a binary outcome never falls, or None where its maximum exists.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        All columns, the constant included, of full rank.
    y : ndarray, shape (n,)
        Outcomes from 0 to 1; rows strictly between allow no movement.

    Notes
    -----
    Maximises the sum of s x'b subject to s x'b >= 0 for all rows, with s = 2y - 1, and -1 <= b <= 1. A positive optimum
    is complete or quasi-complete separation (Albert and Anderson 1984); the programme is that of Konis (2007).

    Examples
    --------
    >>> x = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    >>> binomial_direction(x, np.array([0.0, 1.0, 1.0, 1.0])).tolist()
    [0.0, 1.0]
    >>> binomial_direction(x, np.array([0.0, 1.0, 0.0, 1.0])) is None
    True
    """
    ends = (y == 0.0) | (y == 1.0)
    sign = 2.0 * y[ends] - 1.0
    return _direction(x[ends] * sign[:, None], x[~ends])


def count_direction(x: FloatArray, y: FloatArray) -> FloatArray | None:
    """Return a direction in which the likelihood of a count with a log link never falls, or None.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        All columns, the constant included, of full rank.
    y : ndarray, shape (n,)
        Outcomes, zero or more.

    Notes
    -----
    The mean of rows with y = 0 may fall for ever while that of the others stays: x'b <= 0 where y = 0 and x'b = 0
    elsewhere (Correia, Guimaraes and Zylkin 2019).
    """
    return _direction(-x[y == 0.0], x[y > 0.0])


def _direction(never_falls: FloatArray, fixed: FloatArray) -> FloatArray | None:
    """Maximise the sum of `never_falls` b with each row at least zero and `fixed` b = 0, -1 <= b <= 1."""
    from scipy.optimize import linprog

    k = never_falls.shape[1]
    scale = np.maximum(np.abs(np.vstack([never_falls, fixed])).max(axis=0), 1e-300)
    rows = np.unique(never_falls / scale, axis=0)
    if rows.shape[0] == 0:
        return None
    held = np.unique(fixed / scale, axis=0) if fixed.shape[0] else None
    found = linprog(
        -rows.sum(axis=0),
        A_ub=-rows,
        b_ub=np.zeros(rows.shape[0]),
        A_eq=held,
        b_eq=None if held is None else np.zeros(held.shape[0]),
        bounds=[(-1.0, 1.0)] * k,
        method="highs",
    )
    if found.x is None or found.fun is None or found.fun >= -TOLERANCE:
        return None
    direction: FloatArray = np.where(np.abs(found.x) > TOLERANCE, found.x, 0.0) / scale
    return np.asarray(direction / np.abs(direction).max(), dtype=np.float64)
