"""Unit and period effects from untreated rows alone, and means of what treated rows have beyond them.

With Z0 the indicators of units and periods (and covariates) on untreated rows and W the weights, untreated outcomes are
predicted for every row; the effect of a set k of rows is the weighted mean of y less its prediction there. It is linear
in y. Its weights on untreated rows are -W Z0 (Z0'W Z0)^+ z_k with z_k the mean of Z over set k, so that a unit's
influence is

    sum over its rows in k of (w / W_k)(y - prediction - centre)  -  (its weighted residuals' sums over Z0)' (Z0'W
    Z0)^+ z_k.

Residuals of untreated rows add to zero within units, so that only periods (and covariates) are left in the second part:
a matrix of units by periods times one of periods by sets. Unit effects are eliminated first, which leaves a system of
periods; its null space has one direction for each set of periods that no unit connects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.fixed_effects import Groups
from gbveval.numerics.groups import group_sums
from gbveval.numerics.least_squares import independent_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
# A covariate whose variance beside the fixed effects is below this share counts as explained by them.
TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class _Effects:
    """Solves the normal equations of unit and period effects on untreated rows.

    Attributes
    ----------
    table : scipy.sparse matrix, shape (units, periods)
        Weights of untreated rows.
    by_unit : ndarray, shape (units,)
        One over their sum by unit; zero for units without.
    periods : ndarray, shape (periods, periods)
        Pseudo-inverse of the system that is left when units are eliminated.
    """

    table: Any
    by_unit: FloatArray
    periods: FloatArray

    def solve(self, of_units: FloatArray, of_periods: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return unit and period effects for right-hand sides of shape (units, m) and (periods, m)."""
        scaled = self.by_unit[:, None] * of_units
        period = self.periods @ (of_periods - self.table.T @ scaled)
        unit = scaled - self.by_unit[:, None] * (self.table @ period)
        return np.asarray(unit), np.asarray(period)


@dataclass(frozen=True, eq=False, slots=True)
class UntreatedModel:
    """The fit on untreated rows.

    Attributes
    ----------
    beyond : ndarray, shape (n,)
        Outcome less predicted untreated outcome, for all rows; NaN where the prediction is not identified.
    identified : ndarray of bool, shape (n,)
    weight : ndarray, shape (n,)
    untreated : ndarray of bool, shape (n,)
    unit, time : Groups
    dropped : ndarray of int
        Covariates that the fixed effects, or covariates before them, explain on untreated rows.
    n_rows : int
        Untreated rows.
    """

    beyond: FloatArray
    identified: BoolArray
    weight: FloatArray
    untreated: BoolArray
    unit: Groups
    time: Groups
    dropped: IntArray
    n_rows: int
    effects: _Effects
    swept: FloatArray
    information: FloatArray

    def means(self, label: IntArray, count: int, *, centre: IntArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return weighted means of what rows have beyond the prediction, by label, and their influence.

        Parameters
        ----------
        label : ndarray of int, shape (n,)
            Set of each row; -1 for none. Rows that are not identified may be in none.
        count : int
            Sets.
        centre : ndarray of int, shape (n,), optional
            Sets about whose means (weighted by squared weights) the rows' residuals are taken; `label` with plain
            weights by default.

        Returns
        -------
        value : ndarray, shape (count,)
        influence : ndarray, shape (units, count)
        """
        from scipy import sparse

        used = label >= 0
        code, w, beyond = label[used], self.weight[used], self.beyond[used]
        total = group_sums(code, w, count)
        value = group_sums(code, w * beyond, count) / total
        share = w / total[code]
        if centre is None:
            residual = beyond - value[code]
        else:
            group, width = centre[used], int(centre.max()) + 1
            squares = group_sums(group, w**2, width)
            means = group_sums(group, w**2 * beyond, width) / np.where(squares > 0, squares, 1.0)
            residual = beyond - means[group]
        unit, time = self.unit.codes[used], self.time.codes[used]
        shape = (self.unit.count, count)
        own = sparse.csr_matrix((share * residual, (unit, code)), shape=shape)
        of_units = sparse.csr_matrix((share, (unit, code)), shape=shape).toarray()
        of_periods = sparse.csr_matrix((share, (time, code)), shape=(self.time.count, count)).toarray()
        _, period = self.effects.solve(of_units, of_periods)
        rows = self.untreated
        left = np.where(rows, self.weight * np.where(rows, self.beyond, 0.0), 0.0)[rows]
        scores = sparse.csr_matrix(
            (left, (self.unit.codes[rows], self.time.codes[rows])), shape=(self.unit.count, self.time.count)
        )
        influence = own.toarray() - scores @ period
        if self.swept.shape[1]:
            x = np.column_stack([group_sums(code, share * column, count) for column in self.swept[used].T])
            by_unit = np.column_stack(
                [group_sums(self.unit.codes[rows], left * column, self.unit.count) for column in self.swept[rows].T]
            )
            influence -= by_unit @ (self.information @ x.T)
        return value, np.asarray(influence)


def fit_untreated(
    y: FloatArray,
    untreated: BoolArray,
    unit: Groups,
    time: Groups,
    *,
    weight: FloatArray | None = None,
    covariates: FloatArray | None = None,
) -> UntreatedModel:
    """Fit unit and period effects (and slopes of covariates) to untreated rows.

    Parameters
    ----------
    y : ndarray, shape (n,)
    untreated : ndarray of bool, shape (n,)
    unit, time : Groups
    weight : ndarray, shape (n,), optional
        Positive.
    covariates : ndarray, shape (n, k), optional

    References
    ----------
    Borusyak, Jaravel and Spiess (2024), Review of Economic Studies 91. Gardner (2022), two-stage differences in
    differences.
    """
    w = np.ones(y.size) if weight is None else weight
    x = np.zeros((y.size, 0)) if covariates is None else covariates
    effects, identified = _normal_equations(untreated, unit, time, w)
    swept = _sweep(np.column_stack([y, x]), effects, untreated, unit, time, w)
    y_swept, x_swept = swept[:, 0], swept[:, 1:]
    heavy = x_swept[untreated] * w[untreated, None]
    gram = heavy.T @ x_swept[untreated]
    before = np.einsum("ij,i,ij->j", x[untreated], w[untreated], x[untreated])
    kept = independent_columns(gram, np.diag(gram) > TOLERANCE * before, TOLERANCE)
    information = np.asarray(np.linalg.inv(gram[np.ix_(kept, kept)])) if kept.size else np.zeros((0, 0))
    slope = information @ (heavy[:, kept].T @ y_swept[untreated])
    beyond = y_swept - x_swept[:, kept] @ slope
    return UntreatedModel(
        beyond=np.where(identified, beyond, np.nan),
        identified=identified,
        weight=w,
        untreated=untreated,
        unit=unit,
        time=time,
        dropped=np.setdiff1d(np.arange(x.shape[1]), kept).astype(np.intp),
        n_rows=int(untreated.sum()),
        effects=effects,
        swept=x_swept[:, kept],
        information=information,
    )


def _normal_equations(
    untreated: BoolArray, unit: Groups, time: Groups, weight: FloatArray
) -> tuple[_Effects, BoolArray]:
    """Return the solver, and for which rows the sum of unit and period effect is identified."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    entries = (weight[untreated], (unit.codes[untreated], time.codes[untreated]))
    table = sparse.csr_matrix(entries, shape=(unit.count, time.count))
    of_unit = np.asarray(table.sum(axis=1)).ravel()
    by_unit = np.divide(1.0, of_unit, out=np.zeros_like(of_unit), where=of_unit > 0)
    shared = (table.T @ sparse.diags(by_unit) @ table).toarray()
    system = np.diag(np.asarray(table.sum(axis=0)).ravel()) - shared
    values, vectors = np.linalg.eigh(system)
    keep = values > 1e-11 * max(float(values[-1]), 1e-300)
    inverse = (vectors * np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)) @ vectors.T
    _, island = connected_components(shared > 0, directed=False)
    there = np.diag(shared) > 0
    island = np.where(there, island, -1)
    of_units = np.full(unit.count, -2)
    of_units[unit.codes[untreated]] = island[time.codes[untreated]]
    identified = of_units[unit.codes] == island[time.codes]
    return _Effects(table, by_unit, inverse), np.asarray(identified)


def _sweep(
    columns: FloatArray, effects: _Effects, untreated: BoolArray, unit: Groups, time: Groups, weight: FloatArray
) -> FloatArray:
    """Return all rows of columns less the unit and period effects that untreated rows give them."""
    left = columns.copy()
    w = weight[untreated]
    for _ in range(2):
        # The second pass takes out the rounding of the first.
        part = left[untreated] * w[:, None]
        of_units = np.column_stack([group_sums(unit.codes[untreated], c, unit.count) for c in part.T])
        of_periods = np.column_stack([group_sums(time.codes[untreated], c, time.count) for c in part.T])
        a, b = effects.solve(of_units, of_periods)
        left -= a[unit.codes] + b[time.codes]
    return np.asarray(left)
