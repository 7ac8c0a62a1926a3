"""Regressions saturated in cohort and period, linear or not, and the effects that their cells imply.

With columns for cohorts, periods, treated cells and (centred) covariates, the effect in a cell is the mean over its
rows of the fitted outcome with the cell's own coefficients and without them:

    tau_c = mean of m(x'b) - m(x0'b),        x0 = x with the cell's columns set to zero,

and its influence follows from that of the coefficients by the derivative, mean of m'(x'b) x - m'(x0'b) x0. Rows are
taken as fixed. Wooldridge (2021, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.glm import Family
from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class CellMeans:
    """Fitted outcomes of cells with and without treatment.

    Attributes
    ----------
    treated, untreated : ndarray, shape (cells,)
        Mean over the rows of each cell.
    by_treated, by_untreated : ndarray, shape (coefficients, cells)
        Derivatives in the coefficients.
    weight : ndarray, shape (cells,)
    """

    treated: FloatArray
    untreated: FloatArray
    by_treated: FloatArray
    by_untreated: FloatArray
    weight: FloatArray


def cell_means(
    family: Family,
    columns: FloatArray,
    effect: FloatArray,
    coefficients: FloatArray,
    cell: IntArray,
    count: int,
    *,
    offset: FloatArray | None = None,
    weight: FloatArray | None = None,
) -> CellMeans:
    """Return fitted means of treated rows by cell.

    Parameters
    ----------
    family : Family
    columns : ndarray, shape (n, k)
        All columns.
    effect : ndarray of bool, shape (k,)
        Which of them belong to cells: they are zero without treatment.
    coefficients : ndarray, shape (k,)
    cell : ndarray of int, shape (n,)
        Cell of each row; -1 for none.
    count : int
        Cells.
    offset, weight : ndarray, shape (n,), optional
    """
    used = cell >= 0
    code, x = cell[used], columns[used]
    w = np.ones(code.size) if weight is None else weight[used]
    total = group_sums(code, w, count)
    share = w / total[code]
    x0 = np.where(effect[None, :], 0.0, x)
    base = np.zeros(code.size) if offset is None else offset[used]
    found = []
    for rows in (x, x0):
        eta = rows @ coefficients + base
        mean = group_sums(code, share * family.mean(eta), count)
        slope = share * family.slope(eta)
        found.append((mean, np.array([group_sums(code, slope * column, count) for column in rows.T])))
    return CellMeans(found[0][0], found[1][0], found[0][1], found[1][1], total)
