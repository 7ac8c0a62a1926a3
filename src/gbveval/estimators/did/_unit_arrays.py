"""A panel as arrays of units by periods, for methods that follow each unit's path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import unit_weight

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class UnitArrays:
    """Units over time.

    Attributes
    ----------
    outcome, treatment : ndarray, shape (units, periods)
        NaN where there is no row (and, for the outcome, where it is missing).
    covariates : ndarray, shape (units, periods, k)
    weight : ndarray, shape (units,)
        Ones where the panel has none.
    cluster : ndarray of int, shape (units,)
        The unit itself where the panel names no clusters.
    """

    outcome: FloatArray
    treatment: FloatArray
    covariates: FloatArray
    weight: FloatArray
    cluster: IntArray

    def take(self, units: BoolArray) -> UnitArrays:
        """Return some units."""
        return UnitArrays(
            self.outcome[units],
            self.treatment[units],
            self.covariates[units],
            self.weight[units],
            self.cluster[units],
        )


def unit_arrays(estimator: str, data: Panel) -> UnitArrays:
    """Return outcome, treatment, covariates, weight and cluster of every unit; raise where weights vary within one."""
    weight, cluster = unit_weight(estimator, data), data.cluster_of_unit()
    in_force = data.treated.astype(np.float64) if data.treatment is None else data.treatment
    return UnitArrays(
        outcome=data.table(data.outcome),
        treatment=data.table(in_force),
        covariates=data.table(data.covariates),
        weight=np.ones(data.n_units) if weight is None else weight,
        cluster=np.arange(data.n_units) if cluster is None else cluster,
    )


def filled_treatment(treatment: FloatArray) -> FloatArray:
    """Return treatment with gaps filled where it was the same before and after them, and after a unit's last row.

    Examples
    --------
    >>> nan = np.nan
    >>> filled_treatment(np.array([[0.0, nan, 0.0, 1.0, nan], [0.0, nan, 1.0, 1.0, 1.0]])).tolist()
    [[0.0, 0.0, 0.0, 1.0, 1.0], [0.0, nan, 1.0, 1.0, 1.0]]
    """
    before = _carried(treatment)
    after = _carried(treatment[:, ::-1])[:, ::-1]
    known = np.isnan(after) | (before == after)
    return np.where(np.isnan(treatment) & known, before, treatment)


def _carried(values: FloatArray) -> FloatArray:
    """Return every value that is missing as the last one before it."""
    place = np.where(np.isnan(values), 0, np.arange(values.shape[1])[None, :])
    return np.asarray(np.take_along_axis(values, np.maximum.accumulate(place, axis=1), axis=1))
