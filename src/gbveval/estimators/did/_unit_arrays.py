"""A panel as arrays of units by periods, for methods that follow each unit's path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data._frame import plural
from gbveval.data.panel import Panel

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
    assert data.unit is not None
    shape = (data.n_units, data.periods.size)
    outcome, treatment = np.full(shape, np.nan), np.full(shape, np.nan)
    covariates = np.full((*shape, len(data.covariate_names)), np.nan)
    place = (data.unit.codes, data.time)
    outcome[place] = data.outcome
    treatment[place] = data.treated if data.treatment is None else data.treatment
    covariates[place] = data.covariates
    weight, cluster = np.ones(data.n_units), np.arange(data.n_units)
    if data.weight is not None:
        weight[data.unit.codes] = data.weight
        varying = np.unique(data.unit.codes[weight[data.unit.codes] != data.weight]).size
        if varying:
            raise DesignError(
                f"The weight varies within {plural(int(varying), 'unit')}; {estimator} needs one weight a unit. Use "
                "the weight of the first period in all periods."
            )
    if data.cluster is not None:
        cluster[data.unit.codes] = data.cluster.codes
    return UnitArrays(outcome, treatment, covariates, weight, cluster.astype(np.intp))


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
