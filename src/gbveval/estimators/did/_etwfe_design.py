"""Columns of a regression saturated in cohort and period: cohorts, periods, cells, covariates about cohort means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.estimators.did._rollout import Rows
from gbveval.numerics.fixed_effects import Groups, indicators
from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class EtwfeDesign:
    """The regression's columns.

    Attributes
    ----------
    rows : Rows
    columns : ndarray, shape (n, k)
        Without an intercept: cohorts and periods, covariates with both, cells times centred covariates, cells.
    is_effect : ndarray of bool, shape (k,)
    cell : ndarray of int, shape (n,)
        Cell of each row; -1 for the comparison.
    cohort, time : ndarray, shape (cells,)
    n_already, n_late : int
        Rows left out: of cohorts treated throughout, and of periods without a comparison.
    """

    rows: Rows
    columns: FloatArray
    is_effect: NDArray[np.bool_]
    cell: IntArray
    cohort: FloatArray
    time: FloatArray
    n_already: int
    n_late: int


def etwfe_design(rows: Rows, *, leads: bool, anticipation: float = 0.0) -> EtwfeDesign:
    """Return the design; with `leads`, cells before treatment too, the period before treatment left out.

    Rows that may anticipate treatment are in cells, and the period before treatment is the last before those.
    """
    n_late = 0
    if not np.isinf(rows.cohort).any():
        if leads:
            raise DesignError("Nobody is never treated; say control='not_yet_treated'.")
        # Where everybody is treated nothing is compared.
        early = rows.period < rows.cohort.max() - anticipation
        n_late = int((~early).sum())
        rows = rows.take(early)
    levels, groups = rows.cohorts()
    first = np.full(levels.size, np.inf)
    np.minimum.at(first, groups.codes, rows.period)
    usable = np.asarray((first < levels - anticipation)[groups.codes])
    n_already = int((~usable).sum())
    rows = rows.take(usable).anticipating(anticipation)
    if rows.n == 0 or not rows.treated.any() or rows.treated.all():
        raise IdentificationError(
            "No cohort is observed before and after its treatment began beside rows that are not treated."
        )
    inside = rows.treated.copy()
    if leads:
        last = _last_before(rows, anticipation)
        inside = np.isfinite(rows.cohort) & (rows.period != last)
    cohort, time, cell = rows.cells(inside)
    cells = np.asarray(cell[:, None] == np.arange(cohort.size)[None, :], dtype=np.float64)
    _, cohorts = rows.cohorts()
    by_cohort, by_period = indicators(cohorts), indicators(rows.time)
    parts, effect = [by_cohort, by_period], [False] * (by_cohort.shape[1] + by_period.shape[1])
    for x in rows.covariates.T:
        centred = x - _means(cohorts, x, rows.weight)
        own = np.column_stack([x, by_cohort * x[:, None], by_period * x[:, None]])
        parts += [own, cells * centred[:, None]]
        effect += [False] * own.shape[1] + [True] * cells.shape[1]
    return EtwfeDesign(
        rows=rows,
        columns=np.column_stack([*parts, cells]),
        is_effect=np.array([*effect, *[True] * cells.shape[1]], dtype=bool),
        cell=cell,
        cohort=cohort,
        time=time,
        n_already=n_already,
        n_late=n_late,
    )


def _last_before(rows: Rows, anticipation: float) -> FloatArray:
    """Return the last period before treatment or its anticipation in which the cohort is seen; NaN if never treated."""
    result = np.full(rows.n, np.nan)
    for g in np.unique(rows.cohort[np.isfinite(rows.cohort)]):
        member = rows.cohort == g
        result[member] = rows.period[member & (rows.period < g - anticipation)].max()
    return result


def _means(groups: Groups, x: FloatArray, weight: FloatArray | None) -> FloatArray:
    w = np.ones(x.size) if weight is None else weight
    means = group_sums(groups.codes, w * x, groups.count) / group_sums(groups.codes, w, groups.count)
    return np.asarray(means[groups.codes])
