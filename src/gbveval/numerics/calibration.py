"""Weights that meet known population totals, and what calibration leaves of the sampling variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Raked:
    """Weights after raking.

    Attributes
    ----------
    weights : ndarray, shape (n,)
        Calibrated weights.
    gap : float
        Largest remaining difference from a margin, relative to it.
    """

    weights: FloatArray
    gap: float


def rake(
    weights: FloatArray,
    codes: Sequence[IntArray],
    totals: Sequence[FloatArray],
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-10,
) -> Raked:
    """Return weights that meet margins by iterative proportional fitting; one margin is poststratification.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Sampling weights.
    codes : sequence of ndarray of int, shape (n,)
        Category of each respondent in each margin.
    totals : sequence of ndarray
        Population total of each category; each holds respondents of positive weight.
    max_iterations : int
        Rounds at most.
    tolerance : float
        Relative difference from every margin at which to stop.

    References
    ----------
    Deming and Stephan (1940), Annals of Mathematical Statistics 11.

    Examples
    --------
    >>> found = rake(np.ones(4), [np.array([0, 0, 0, 1])], [np.array([30.0, 70.0])])
    >>> found.weights.tolist()
    [10.0, 10.0, 10.0, 70.0]
    """
    w = weights.astype(np.float64, copy=True)
    gap = np.inf
    for _ in range(max_iterations):
        for code, total in zip(codes, totals, strict=True):
            # A replicate can give a whole category weight zero; its total is then out of reach, and the gap says so.
            with np.errstate(divide="ignore", invalid="ignore"):
                w = w * (total / group_sums(code, w, total.size))[code]
        gap = max(
            float(np.max(np.abs(group_sums(code, w, total.size) / total - 1.0)))
            for code, total in zip(codes, totals, strict=True)
        )
        if gap <= tolerance:
            break
    return Raked(w, gap)


def margin_columns(codes: Sequence[IntArray], sizes: Sequence[int]) -> FloatArray:
    """Return the indicators of every category of every margin, shape (n, categories)."""
    parts = [code[:, None] == np.arange(size)[None, :] for code, size in zip(codes, sizes, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def calibrated_residuals(
    row_values: FloatArray, *, columns: FloatArray, base: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return linearised values less what the known totals explain of them.

    With u the linearised variable, w u its row values and x the calibration columns, they become w (u - x'B), where B
    is the regression of u on x under the weights before calibration.

    Parameters
    ----------
    row_values : ndarray, shape (n, terms)
        Linearised values, calibrated weights included.
    columns : ndarray, shape (n, k)
        Calibration columns; they may be linearly dependent.
    base, weights : ndarray, shape (n,)
        Weights before and after calibration.

    References
    ----------
    Deville and Saerndal (1992), Journal of the American Statistical Association 87.
    """
    used = weights > 0
    u = row_values[used] / weights[used][:, None]
    root = np.sqrt(base[used])[:, None]
    slope = np.linalg.lstsq(columns[used] * root, u * root, rcond=None)[0]
    result = np.zeros_like(row_values)
    result[used] = (u - columns[used] @ slope) * weights[used][:, None]
    return result
