"""How survey estimates vary: linearised, after calibration, or over replicate weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gbveval.data.survey import Survey
from gbveval.numerics.calibration import calibrated_residuals
from gbveval.numerics.survey import SampleDesign, unit_influence

FloatArray = NDArray[np.float64]
AtWeights = Callable[[FloatArray], float]
Row = tuple[float | None, AtWeights | FloatArray | None]


def influence_of(survey: Survey, design: SampleDesign, values: FloatArray, rows: Sequence[Row]) -> FloatArray:
    """Return influence values whose cross-product is the covariance of the rows.

    Parameters
    ----------
    survey : Survey
        Its replicate weights decide, if it has some; its calibration is taken into account otherwise.
    design : SampleDesign
        Strata and units.
    values : ndarray, shape (n, rows)
        Linearised values by respondent, weights included; NaN in a column without any.
    rows : sequence of (value, callable or ndarray)
        Each row's value, and its value under other weights, or under those of each replicate.
    """
    if survey.replicates is not None:
        return _replicated(survey, rows)
    if survey.calibration is not None:
        usable = np.isfinite(values).all(axis=0)
        values = values.copy()
        values[:, usable] = calibrated_residuals(
            values[:, usable],
            columns=survey.calibration.columns,
            base=survey.calibration.base,
            weights=survey.weights(),
        )
    return unit_influence(design, values)


def variance_of(survey: Survey, design: SampleDesign, row_values: FloatArray, value: float, at: AtWeights) -> float:
    """Return the variance of one estimate."""
    influence = influence_of(survey, design, row_values[:, None], [(value, at)])
    return float((influence**2).sum())


def _replicated(survey: Survey, rows: Sequence[Row]) -> FloatArray:
    assert survey.replicates is not None
    found = np.full((survey.replicates.count, len(rows)), np.nan)
    for column, (value, at) in enumerate(rows):
        if value is not None and at is not None:
            over = survey.replicates.weights.T
            found[:, column] = at if isinstance(at, np.ndarray) else [at(weights) for weights in over]
    middle = np.array([np.nan if value is None else value for value, _ in rows])
    return survey.replicates.deviations(middle, found)
