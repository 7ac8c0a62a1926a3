"""What imputation and two-stage estimates share: predicted untreated outcomes, and cells of ever-treated rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Check
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import CellContext
from gbveval.estimators.did._rollout import Rows, rounding
from gbveval.numerics.groups import group_sums
from gbveval.numerics.untreated_model import UntreatedModel, fit_untreated

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Imputed:
    """Rows with their predicted untreated outcomes.

    Attributes
    ----------
    rows : Rows
    model : UntreatedModel
    cell : ndarray of int, shape (n,)
        Cell (cohort and period) of rows of units that are ever treated; -1 for others and where nothing is predicted.
    cohort, time : ndarray, shape (cells,)
    weight : ndarray, shape (cells,)
    n_lost : int
        Treated rows without a prediction.
    lost_covariates : tuple of str
    """

    rows: Rows
    model: UntreatedModel
    cell: IntArray
    cohort: FloatArray
    time: FloatArray
    weight: FloatArray
    n_lost: int
    lost_covariates: tuple[str, ...]

    def by_cluster(self, influence: FloatArray) -> FloatArray:
        """Return influence of units summed within clusters."""
        unit, cluster = self.rows.unit, self.rows.clusters[0]
        of_unit = np.zeros(unit.count, dtype=np.intp)
        of_unit[unit.codes] = cluster.codes
        return np.column_stack([group_sums(of_unit, column, cluster.count) for column in influence.T])


def impute(data: Panel, rows: Rows) -> Imputed:
    """Fit untreated rows and place the rows of ever-treated units in cells."""
    if len(rows.clusters) == 2:
        raise DesignError("Imputation clusters in one way. Give the coarser of the two cluster columns.")
    untreated = ~rows.treated
    covariates, names = over_time(data, rows)
    model = fit_untreated(rows.y, untreated, rows.unit, rows.time, weight=rows.weight, covariates=covariates)
    usable = model.identified & np.isfinite(rows.cohort)
    if not (usable & rows.treated).any():
        raise IdentificationError(
            "No treated row has an untreated outcome to compare with: its unit is never observed untreated, or nobody "
            "is untreated in its period. Use a longer panel, or leave those periods out."
        )
    cohort, time, cell = rows.cells(usable)
    return Imputed(
        rows=rows,
        model=model,
        cell=cell,
        cohort=cohort,
        time=time,
        weight=group_sums(cell[usable], model.weight[usable], cohort.size),
        n_lost=int((rows.treated & ~model.identified).sum()),
        lost_covariates=tuple(names[i] for i in model.dropped),
    )


def over_time(data: Panel, rows: Rows) -> tuple[FloatArray, list[str]]:
    """Return covariates that change within units; those that do not are multiplied by indicators of periods."""
    columns, names = [], []
    for position, name in enumerate(data.covariate_names):
        x = rows.covariates[:, position]
        first = np.zeros(rows.unit.count)
        first[rows.unit.codes] = x
        if not np.array_equal(first[rows.unit.codes], x):
            columns.append(x)
            names.append(name)
            continue
        for period in range(1, data.periods.size):
            columns.append(np.where(rows.time.codes == period, x, 0.0))
            names.append(f"{name} in {data.calendar.name(float(data.periods[period]))}")
    return (np.column_stack(columns) if columns else np.zeros((rows.n, 0))), names


def context_of(data: Panel, found: Imputed) -> CellContext:
    """Return what the rows of cells say beside their numbers."""
    rows = found.rows
    untreated = np.bincount(rows.time.codes[~rows.treated], minlength=data.periods.size)
    place = np.searchsorted(data.periods, found.time)
    compared = {
        (float(g), float(t)): int(untreated[k]) for g, t, k in zip(found.cohort, found.time, place, strict=True)
    }
    return CellContext(
        data=data,
        sizes={g: n for g, n in rows.cohort_sizes().items() if np.isfinite(g)},
        comparison=compared,
        df=np.inf,
        n_units=rows.n_units,
        n_clusters=rows.clusters[0].present,
        least=rounding(rows),
    )


def imputed_checks(found: Imputed) -> tuple[Check, ...]:
    """Return which rows and covariates were left out."""
    checks = []
    if found.n_lost:
        text = (
            f"{found.n_lost:,} treated rows have no prediction and are left out: their units are never observed "
            "untreated, or nobody connected to them is untreated in their period."
        )
        checks.append(Check("already treated", "warn", text))
    if found.lost_covariates:
        text = f"explained by the fixed effects or other covariates: {', '.join(found.lost_covariates)}."
        checks.append(Check("collinear columns", "info", text))
    return tuple(checks)
