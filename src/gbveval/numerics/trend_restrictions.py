"""What is assumed of departures from parallel trends, written as unions of sets of linear inequalities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SHAPES = ("positive", "negative", "increasing", "decreasing")


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """All departures delta with A delta <= d.

    Attributes
    ----------
    A : ndarray, shape (rows, n_pre + n_post)
        One inequality a row, before the reference period first.
    d : ndarray, shape (rows,)
    """

    A: FloatArray
    d: FloatArray


def first_differences(n_pre: int, n_post: int) -> FloatArray:
    """Return D with D delta the changes between neighbouring periods; delta is zero in the reference period between.

    Examples
    --------
    >>> first_differences(1, 2)
    array([[-1.,  0.,  0.],
           [ 0.,  1.,  0.],
           [ 0., -1.,  1.]])
    """
    levels = np.zeros((n_pre + n_post + 1, n_pre + n_post))
    levels[:n_pre, :n_pre] = np.eye(n_pre)
    levels[n_pre + 1 :, n_pre:] = np.eye(n_post)
    return np.diff(levels, axis=0)


def second_differences(n_pre: int, n_post: int) -> FloatArray:
    """Return D with D delta the changes of slope; the first `n_pre - 1` of them lie before the reference period."""
    return np.diff(first_differences(n_pre, n_post), axis=0)


def relative_magnitude(n_pre: int, n_post: int, m: float, *, shape: str | None = None) -> tuple[Piece, ...]:
    """Return the departures whose changes after the reference period are at most m times the largest one before.

    Parameters
    ----------
    n_pre, n_post : int
        Periods before and after the reference period.
    m : float
        How many times; zero or more.
    shape : str, optional
        "positive" or "negative" after the reference period, or "increasing" or "decreasing" throughout.

    Returns
    -------
    tuple of Piece
        The set is their union: one piece for each period before and each direction of the change that is the largest.

    Notes
    -----
    |change after| <= m max |change before| holds exactly if |change after| <= m s (change before) for *some* period and
    sign s. That period need not be said to be the largest, so that no inequality is about the time before alone.
    Under a monotone shape the largest change has the direction of the shape.

    References
    ----------
    Rambachan and Roth (2023), Review of Economic Studies 90(5), 2555-2591.
    """
    steps = first_differences(n_pre, n_post)
    before, after = steps[:n_pre], steps[n_pre:]
    signs = {"increasing": (1.0,), "decreasing": (-1.0,)}.get(shape or "", (1.0, -1.0))
    extra = shape_rows(n_pre, n_post, shape)
    pieces = []
    for change in before:
        for sign in signs:
            A = np.vstack([after - m * sign * change, -after - m * sign * change, extra])
            pieces.append(Piece(A, np.zeros(len(A))))
    return tuple(pieces)


def smoothness(n_pre: int, n_post: int, m: float, *, shape: str | None = None) -> tuple[Piece, ...]:
    """Return the departures whose slope changes by at most m from one period to the next.

    Parameters
    ----------
    n_pre, n_post : int
        Periods before and after the reference period.
    m : float
        Largest change of slope; zero means a straight line.
    shape : str, optional
        As in `relative_magnitude`.

    Returns
    -------
    tuple of Piece
        One piece, without the inequalities that are about the time before alone.
    """
    bends = second_differences(n_pre, n_post)[n_pre - 1 :]
    A = np.vstack([bends, -bends, shape_rows(n_pre, n_post, shape)])
    d = np.concatenate([np.full(2 * n_post, float(m)), np.zeros(len(A) - 2 * n_post)])
    return (Piece(A, d),)


def shape_rows(n_pre: int, n_post: int, shape: str | None) -> FloatArray:
    """Return A with A delta <= 0 for a shape, the rows about the time before alone left out."""
    if shape is None:
        return np.zeros((0, n_pre + n_post))
    if shape not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, not {shape!r}.")
    levels = np.hstack([np.zeros((n_post, n_pre)), np.eye(n_post)])
    rows = levels if shape in ("positive", "negative") else first_differences(n_pre, n_post)[n_pre:]
    return -rows if shape in ("positive", "increasing") else rows
